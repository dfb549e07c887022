"""The documents, run and compared with the program.

A fenced block marked `sh` is run, all of a document in one shell and in order; the block marked `text` or `json` right
behind it is what it has to print, where "…" stands for anything within a line. Blocks marked `shell` need a cluster, docker or
a registry, and are not run here; YAML is applied by test/e2e/examples_test.go.
"""

import glob
import os
import re
import subprocess
import threading
import time

import pytest
import yaml

import fes

ROOT = fes.ROOT
DOCS = [".github/SECURITY.md", ".github/CONTRIBUTING.md"] + sorted(
    os.path.relpath(path, ROOT) for pattern in ("*.md", "docs/*.md", "chart/*.md", "test/*/*.md")
    for path in glob.glob(os.path.join(ROOT, pattern)))
SHA = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"

# `make` has built the binary under test. The documents' server listens on :8080; here it gets a port of the kernel's, which
# `curl` reads from its log. Waits are bounded by the time limit of the whole script.
PRELUDE = r"""
export CURL_HOME=$PWD
printf 'silent\nshow-error\n' >.curlrc
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
make() { [ $# -eq 0 ]; }
curl() {
  local address= args=("$@")
  until address=$(sed -n '/listening/s/.*\(127\.0\.0\.1:[1-9][0-9]*\).*/\1/p' server.log 2>/dev/null | tail -n 1) && [ -n "$address" ]; do :; done
  command curl "${args[@]//127.0.0.1:8080/$address}"
}
"""
WRAPPER = """#!/usr/bin/env bash
case ${1:-serve} in
  serve | --no-kube) : >server.log; exec "$FES_BINARY" --listen 127.0.0.1:0 --allow-network-fs "$@" 2>server.log ;;
  export | import | verify) exec "$FES_BINARY" "$@" --allow-network-fs ;;
esac
exec "$FES_BINARY" "$@"
"""


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def blocks(path):
    """(marking, content) of each fenced block."""
    return [(found.group(2), found.group(3))
            for found in re.finditer(r"^( *)```([a-z]*)\n(.*?)^ *```$", text_of(path), re.M | re.S)]


def same(line, expected):
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("…")), line) is not None


def check_output(command, printed, expected):
    """All lines, in any order where two processes print at once, or curl has a word about what it printed."""
    printed, expected = printed.splitlines(), expected.splitlines()
    if "wait $!" in command or "curl: (" in "".join(expected):
        printed, expected = sorted(printed), sorted(expected)
    wrong = [(p, e) for p, e in zip(printed, expected) if not same(p, e)]
    assert not wrong and len(printed) == len(expected), \
        f"{command}\nprinted\n" + "\n".join(printed) + "\nand the document says\n" + "\n".join(expected)


def with_sh(path):
    return any(marking == "sh" for marking, _ in blocks(path))


@pytest.mark.parametrize("path", [path for path in DOCS if with_sh(path)])
def test_commands_print_what_the_document_says(path, tmp_path):
    found = blocks(path)
    commands = [i for i, (marking, _) in enumerate(found) if marking == "sh"]
    (tmp_path / "build").mkdir()
    for name in ("build/flux-event-store", "flux-event-store"):
        (tmp_path / name).write_text(WRAPPER)
        (tmp_path / name).chmod(0o755)
    os.symlink(os.path.join(ROOT, "docs"), tmp_path / "docs")
    script = PRELUDE + "".join(f"{found[i][1]}echo '@@ end {i}'\n" for i in commands)
    env = {**os.environ, "FES_BINARY": fes.SERVER_BINARY, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=fes.DEADLINE * 3, check=False)
    rest = done.stdout.decode()
    for i in commands:
        printed, mark, rest = rest.partition(f"@@ end {i}\n")
        assert mark, f"{path}: {found[i][1]} did not end; it printed {printed}"
        expected = found[i + 1] if i + 1 < len(found) and found[i + 1][0] in ("text", "json") else None
        if expected:
            check_output(found[i][1], printed, expected[1])


# ---- examples for CI ----

def example(name):
    return text_of("docs/examples/" + name)


def gitlab():
    return "\n".join(yaml.safe_load(example("gitlab-ci.yml"))["wait-for-flux"]["script"])


def github():
    return yaml.safe_load(example("github-actions.yml"))["jobs"]["wait-for-flux"]["steps"][0]["run"]


def jenkins():
    return re.search(r"sh '''(.*?)'''", example("Jenkinsfile"), re.S).group(1).replace("\\\\", "\\")


CI = {"gitlab": (gitlab, "CI_COMMIT_SHA"), "github": (github, "GITHUB_SHA"), "jenkins": (jenkins, "GIT_COMMIT")}


def event(revision, reason="ReconciliationSucceeded"):
    return {"involvedObject": {"kind": "Kustomization", "namespace": "flux-system", "name": "apps"}, "reason": reason,
            "severity": "info" if reason.endswith("Succeeded") else "error", "message": "said so",
            "metadata": {"revision": "main@sha1:" + revision}}


def run(command, server, **env):
    env = {**os.environ, "FLUX_EVENT_STORE": f"http://127.0.0.1:{server.port}", **env}
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=fes.DEADLINE * 3, check=False)


@pytest.mark.parametrize("name", CI)
@pytest.mark.parametrize("reason, code", [("ReconciliationSucceeded", 0), ("BuildFailed", 22)])
def test_ci_step(name, reason, code, make_server, tmp_path):
    (tmp_path / "read").write_text("a-token")
    server = make_server("--read-token-file", str(tmp_path / "read"))
    script, variable = CI[name]
    assert server.post(event(SHA, reason)).status == 200
    done = run(["sh", "-c", script()], server, FLUX_EVENT_STORE_TOKEN="a-token", **{variable: SHA})
    assert done.returncode == code, done
    assert f"Kustomization/flux-system/apps said {reason}" in done.stdout
    wrong = run(["sh", "-c", script()], server, FLUX_EVENT_STORE_TOKEN="another", **{variable: SHA})
    assert wrong.returncode == 22 and "401" in wrong.stderr


@pytest.mark.parametrize("name", CI)
def test_ci_step_asks_again_after_408(name, make_server):
    server = make_server()
    script, variable = CI[name]
    done = []
    command = script().replace("timeout=50s", "timeout=100ms")
    assert command != script()
    thread = threading.Thread(target=lambda: done.append(run(["sh", "-c", command], server, **{variable: SHA})))
    thread.start()
    time.sleep(0.5)  # for at least one 408; without one the step is right all the same
    assert server.post(event(SHA)).status == 200
    thread.join()
    assert done[0].returncode == 0, done[0]


@pytest.mark.parametrize("reasons, parameters, code", [
    (["ReconciliationSucceeded"], [], 0),
    (["ReconciliationSucceeded"], ["objects=Kustomization/flux-system/apps", "cluster="], 0),
    (["HealthCheckFailed"], [], 1),
    ([], [], 2),
    (["ReconciliationSucceeded"], ["colour=red&blue"], 4),
])
def test_curl_sh(reasons, parameters, code, make_server):
    server = make_server()
    for reason in reasons:
        assert server.post(event(SHA, reason)).status == 200
    done = run([os.path.join(ROOT, "docs/examples/curl.sh"), SHA] + parameters, server, WAIT_SECONDS="0")
    assert done.returncode == code, done
    if code == 4:
        assert "colour: is no parameter" in done.stdout


def test_curl_sh_superseded(make_server):
    server = make_server()
    for second, revision in enumerate(("a" * 40, "b" * 40)):
        reason = "ReconciliationSucceeded" if second else "Progressing"
        answer = server.post({**event(revision, reason), "severity": "info", "timestamp": f"2026-08-01T10:00:0{second}Z"})
        assert answer.status == 200
    done = run([os.path.join(ROOT, "docs/examples/curl.sh"), "a" * 40], server, WAIT_SECONDS="0")
    assert done.returncode == 3, done


def test_curl_sh_without_a_server():
    environment = {**os.environ, "FLUX_EVENT_STORE": "http://127.0.0.1:1", "WAIT_SECONDS": "0"}
    done = subprocess.run([os.path.join(ROOT, "docs/examples/curl.sh"), SHA], capture_output=True, text=True, timeout=60,
                          env=environment)
    assert done.returncode == 4 and "nobody answers at http://127.0.0.1:1\n" in done.stderr, done


def test_post_sh(make_server, tmp_path):
    (tmp_path / "key").write_text("a key\n")
    server = make_server("--hmac-key-file", str(tmp_path / "key"))
    command = [os.path.join(ROOT, "docs/examples/post.sh"), str(tmp_path / "key"),
               os.path.join(ROOT, "test/golden/flux/01-ks-success.json")]
    done = run(command, server)
    assert (done.returncode, done.stdout) == (0, '{"id":"1"}\n'), done
    (tmp_path / "key2").write_text("another key\n")
    assert run(command[:1] + [str(tmp_path / "key2")] + command[2:], server).returncode == 22
    done = run(command[:1], server)
    assert done.returncode == 2 and "usage: " in done.stderr, done


# ---- tables ----

def table(path, heading):
    """The first column of the table below a heading, each cell without its marks."""
    part = text_of(path).split("\n" + heading + "\n", 1)[1]
    rows = re.search(r"^\|.*\n\|[-| ]+\n((?:\|.*\n)+)", part, re.M).group(1)
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in rows.splitlines()]


def flat(rows):
    return [name for row in rows for name in row]


def test_parameters(make_server):
    error = make_server().get("/verdict?no=1").json()["error"]
    known = re.search(r"known are ([^;]+)", error).group(1).split(", ")
    assert flat(table("docs/runs.md", "## Parameters")) == known


def source_words(function):
    body = re.search(r"^[^\n]*\b" + function + r"\([^;{]*\)\n\{\n(.*?)^\}", text_of("controller/say.c"), re.M | re.S).group(1)
    return set(re.findall(r'"([A-Za-z]+)"', body))


def test_reasons_and_verdicts():
    assert set(flat(table("docs/runs.md", "## Reasons"))) == source_words("say_reason") | source_words("fault_reason")
    assert set(flat(table("docs/runs.md", "## Verdicts"))) == source_words("say_verdict")


def test_results():
    listed = re.search(r"#define RESULTS\(X\)(.*?)\nstruct|#define RESULTS\(X\)(.*?)\n#define", text_of("controller/say_priv.h"),
                       re.S).group(0)
    assert flat(table("docs/runs.md", "## Results")) == re.findall(r"\bX\((\w+),", listed)


MATCHES = {SHA: "ac", "5394cb7": "a", "sha1:5394cb7": "a", "main@sha1:" + SHA: "ac", "main/" + SHA: "ac",
           "sha256:6f132a51cacdd080a2efc97cdc20b1807c025b6464c58a530f3803373d5f12cf": "bd", "sha256:6f132a5": "bd",
           "latest@sha256:6f132a51cacdd080a2efc97cdc20b1807c025b6464c58a530f3803373d5f12cf": "bd",
           "6.5.1": "b", "6.5.1+6f132a51cacd": "b"}


def test_revisions(make_server):
    """The forms of docs/runs.md, each with the objects that report it."""
    server = make_server()
    for name, metadata in (("a", {"revision": "main@sha1:" + SHA}), ("e", {"revision": "dev@sha1:" + "e" * 40}),
                           ("b", {"revision": "6.5.1+6f132a51cacd", "oci-digest": max(MATCHES, key=len).split("@")[1]}),
                           ("c", {"revision": "6.5.0+5394cb7f4833.3"}), ("d", {"revision": max(MATCHES, key=len)})):
        said = {**event(SHA), "metadata": metadata}
        said["involvedObject"]["name"] = name
        if name in "bc":
            said["involvedObject"]["kind"], said["reason"] = "HelmRelease", "UpgradeSucceeded"
        assert server.post(said).status == 200
    assert flat(table("docs/runs.md", "## Revisions")) == list(MATCHES)
    for revision, names in MATCHES.items():
        verdict = server.get("/verdict?revision=" + revision).json()
        assert sorted(o["name"] for o in verdict["objects"]) == list(names), revision
    for revision in ("main", "5394cb", "6f132a5", "6.5.1+ffffffffffff", "dev@sha1:" + "d" * 40):
        assert server.get("/verdict?revision=" + revision).json()["objects"] == [], revision


# ---- what a document names exists ----

def anchors(path):
    """As GitHub makes them of headings."""
    text = re.sub(r"^```.*?^```$", "", text_of(path), flags=re.M | re.S)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("path", DOCS)
def test_links(path):
    text = re.sub(r"^ *```.*?^ *```$", "", text_of(path), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.M):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        full = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        assert os.path.exists(os.path.join(ROOT, full)), f"{path}: there is no {target}"
        assert not anchor or anchor in anchors(full), f"{path}: there is no {target}"


FLAGS_OF_OTHERS = {"--events-addr", "--no-cross-namespace-refs", "--plain"}  # of Flux's controllers, and of test/fake


def test_flags():
    known = set(re.findall(r"^  (--[a-z0-9-]+)", subprocess.run([fes.SERVER_BINARY, "--help"], check=True, text=True,
                                                                 capture_output=True).stdout, re.M))
    named = {(path, flag) for path in DOCS for flag in re.findall(r"`(--[a-z0-9-]+)[^`\n]*`", text_of(path))}
    assert len(named) > 40
    assert {(path, flag) for path, flag in named if flag not in known | FLAGS_OF_OTHERS} == set()
    operations = {flag for path, flag in named if path == "docs/operations.md"}
    assert known - operations == set(), "flags that docs/operations.md leaves out"


# Where a bound is in the code, the row of docs/api.md or docs/runs.md that tells it, and what a unit of the code is there.
BOUNDS = [
    ("http/server.h", "HTTP_MAX_HEAD", "docs/api.md", "request line and headers", "{} KiB", 1 << 10),
    ("http/server.h", "HTTP_MAX_BODY", "docs/api.md", "a body", "{} MiB", 1 << 20),
    ("http/server.h", "HTTP_MAX_BODIES", "docs/api.md", "bodies that", "{} MiB", 1 << 20),
    ("http/server.h", "HTTP_MAX_ANSWERS", "docs/api.md", "answers of", "{} MiB", 1 << 20),
    ("http/server.h", "HTTP_MAX_CONNECTIONS", "docs/api.md", "connections", "{},", 1),
    ("http/server.h", "HTTP_MAX_IDLE", "docs/api.md", "idle connections", "{}", 1),
    ("http/server.h", "HTTP_IDLE_SECONDS", "docs/api.md", "an idle connection", "{} s", 1),
    ("http/server.h", "HTTP_HEAD_SECONDS", "docs/api.md", "a head, a body", "{} s,", 1),
    ("http/server.h", "HTTP_BODY_SECONDS", "docs/api.md", "a head, a body", " {} s:", 1),
    ("http/server.h", "HTTP_RETRY_AFTER", "docs/api.md", "`503`", "`Retry-After: {}`", 1),
    ("http/wait.h", "WAIT_MAX_CLIENTS", "docs/api.md", "clients of `/wait`", "{}", 1),
    ("http/events_priv.h", "LIST_MAX_RUNNING", "docs/api.md", "lists being gathered", "{} (`/events`)", 1),
    ("http/runs.h", "RUNS_MAX_RUNNING", "docs/api.md", "lists being gathered", "{} (`/runs`)", 1),
    ("http/auth.h", "AUTH_MAX_KEYS", "docs/api.md", "`--hmac-key-file`", "up to {}:", 1),
    ("store/filter.h", "FILTER_LIMIT_MAX", "docs/api.md", "`limit`", "1 to {}.", 1),
    ("store/filter.h", "FILTER_LIMIT", "docs/api.md", "`limit`", "| {} |", 1),
    ("store/question.h", "QUESTION_MAX_OBJECTS", "docs/runs.md", "`objects`", "at most {},", 1),
    ("store/question.h", "QUESTION_MAX_EXPECT", "docs/runs.md", "`expect`", "1 to {};", 1),
]


@pytest.mark.parametrize("source, name, path, row, text, unit", BOUNDS)
def test_bounds(source, name, path, row, text, unit):
    value = re.search(r"#define " + name + r"\s+(.*?)(?: +/\*.*)?$", text_of(source), re.M).group(1)
    number = eval(re.sub(r"(\d)u\b|UINT64_C\((\d+)\)|INT64_C\((\d+)\)", r"\1\2\3", value)) // unit  # an expression of C
    rows = [line for line in text_of(path).splitlines() if line.startswith(f"| {row}")]
    wanted = {text.format(f"{number:,}"), text.format(number)}
    assert any(want in line for line in rows for want in wanted), (rows, wanted)
