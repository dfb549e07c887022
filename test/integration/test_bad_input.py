"""Bad input of every kind: a clear line that names the thing, the right status or exit code, nothing lost."""

import os
import re
import socket
import subprocess
import time

import pytest

import fes
from fes import cpu_seconds, wait_until


def run(*flags, env=None):
    done = subprocess.run([fes.SERVER_BINARY, "--allow-network-fs", *flags], capture_output=True, text=True, timeout=fes.DEADLINE,
                          env={**os.environ, **(env or {})})
    assert done.stderr.count("\n") == (1 if done.returncode else 0), done.stderr
    return done


@pytest.mark.parametrize("body,names", [
    (b"", "JSON"),
    (b"{", "JSON"),
    (b"[]", "object"),
    (b'"x"', "object"),
    (b'{"reason":5}', "reason"),
    (b'{"metadata":{"revision":5}}', "metadata.revision"),
    (b'{"metadata":[]}', "metadata"),
    (b'{"involvedObject":"x"}', "involvedObject"),
    (b'{"involvedObject":{"name":[]}}', "involvedObject.name"),
    (b"[" * 100000, "nested"),
])
def test_bad_event_is_400_and_named(make_server, body, names):
    server = make_server()
    answer = server.post(body)
    assert answer.status == 400 and names in answer.json()["error"], answer
    assert "\n" not in answer.json()["error"]
    assert server.get("/events").json() == []
    assert server.post({"reason": "fine"}).status == 200


@pytest.mark.parametrize("method,path,status", [
    ("GET", "/nope", 404), ("POST", "/", 404), ("GET", "/events/x", 400), ("GET", "/events/99", 404),
    ("DELETE", "/events", 405), ("PUT", "/events/1", 405), ("POST", "/healthz", 405), ("BREW", "/events", 405),
    ("GET", "/events?nope=1", 400), ("GET", "/events?limit=0", 400), ("GET", "/events?limit=1001", 400),
    ("GET", "/events?kind=a&kind=b", 400), ("GET", "/events?since=yesterday", 400), ("GET", "/events?order=up", 400),
    ("GET", "/events?after=-1", 400), ("GET", "/events?name=%zz", 400),
    ("POST", "/events?x=1", 400), ("GET", "/events/1?x=1", 400), ("GET", "/healthz?x=1", 400), ("GET", "/readyz?x=1", 400),
])
def test_bad_request(make_server, method, path, status):
    server = make_server()
    answer = server.request(method, path)
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/json" and answer.json()["error"]
    if status == 405:
        assert "GET" in answer.headers["Allow"]
    assert server.get("/healthz").status == 200


def test_a_body_over_4_mib_is_refused_before_it_is_read(make_server):
    server = make_server()
    with server.socket() as client:
        client.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 5242880\r\n\r\n")
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'{"error":' in answer, answer
    with server.socket() as client:
        client.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 411 ")
    body = b'{"message":"' + b"x" * ((4 << 20) - 14) + b'"}'
    assert server.post(body).status == 200, "4 MiB exactly is allowed"


def test_readers_that_do_not_read_have_a_bound(make_server):
    """Answers that nobody takes fill 64 MiB and no more; events are stored all the same, and it ends with them."""
    server = make_server()
    for i in range(8):
        assert server.post(b'{"reason":"%d","message":"%b"}' % (i, b"x" * (1 << 20))).status == 200
    readers = []
    try:
        def refused():
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            readers.append(client)
            assert len(readers) < 200, "two hundred pages of 4 MiB were made"
            answer = server.get("/events/1")
            return answer if answer.status == 503 else None
        # Looked at once: the kernel may take what a reader does not, and then there is room again.
        assert wait_until(refused, what="503 for readers").headers["Retry-After"] == "2"
        assert server.post({"reason": "stored all the same"}).status == 200
    finally:
        for client in readers:
            client.close()
    wait_until(lambda: server.get("/events/1").status == 200, what="room again")


@pytest.mark.parametrize("flags,names", [
    (["--nope"], "--nope"), (["--listen"], "--listen"), (["--listen", "nonsense", "--no-kube"], "nonsense"),
    (["--check", "--listen", "nonsense", "--no-kube"], "nonsense"),
    (["--default-timeout", "soon"], "--default-timeout"), (["--log-level", "loud", "--no-kube"], "--log-level"),
    (["--log-format", "xml", "--no-kube"], '--log-format: "xml" is neither json nor text'),
    (["--ref", "noslash", "--kube-api", "http://127.0.0.1:1"], "--ref"), (["frobnicate"], "frobnicate"), ([], "--kube-api"),
    (["--ref", "noslash", "--no-kube"], '--ref: "noslash"'), (["--check", "--ref", "foo", "--no-kube"], '--ref: "foo"'),
    (["serve", "extra", "--no-kube"], ": extra: one word too many after serve"), (["verify", "it"], ": it: one word"),
    (["import", "a", "b"], ": b: one word too many"), (["import"], ": import needs a FILE: import FILE;"),
    (["ping"], ": ping needs a URL: ping URL;"), (["help"], ": help: no such command; use serve, "),
    (["--cluster", "--no-kube"], ": --cluster needs a value: --cluster NAME"),
    (["--max-size", "1KiB", "--no-kube"], '--max-size: "1KiB" is too small; give 4MiB or more'),
    (["--check", "--max-size", "4095KiB", "--no-kube"], "--max-size"),
    (["--kube-api", "ftp://x"], "ftp://x"), (["--kube-api", "http://127.0.0.1:1", "--namespace", "a/b"], '"a/b"'),
    (["--kube-api", "http://127.0.0.1:1", "--namespace", "-a"], '"-a"'),
    (["--kube-api", "http://127.0.0.1:1", "--flux-namespace", "a/b"], '--flux-namespace "a/b"'),
    (["--check", "--kube-api", "http://127.0.0.1:1", "--flux-namespace", "a/b"], '--flux-namespace "a/b"'),
    (["--no-kube", "--flux-namespace", "a/b"], '--flux-namespace "a/b"'),
    (["--kube-api", "https://127.0.0.1:1", "--kube-ca-file", "/nonexistent/ca.crt"], "/nonexistent/ca.crt"),
    (["--kube-api", "https://127.0.0.1:1", "--kube-token-file", "/nonexistent/token"], "/nonexistent/token"),
])
def test_bad_flag_is_exit_2_and_named(tmp_path, flags, names):
    env = {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": ""}
    listen = [] if "--listen" in flags else ["--listen", "127.0.0.1:0"]
    done = run("--data-dir", str(tmp_path / "data"), *listen, *flags, env=env)
    assert done.returncode == 2 and names in done.stderr, done
    assert done.stderr.startswith("flux-event-store: ")


def test_an_empty_value_is_refused_for_each_flag():
    flags = re.findall(r"^  (--[a-z0-9-]+) ([A-Z/]+) ", run("--help").stdout, re.M)
    assert len(flags) > 20
    for flag, argument in flags:
        for given in ([f"{flag}="], [flag, ""]):
            done = run("--check", "--no-kube", *given)
            if argument != "NAME":
                line = f"flux-event-store: {flag}: an empty value; give {flag} {argument}, or leave it out\n"
                assert (done.returncode, done.stderr) == (2, line), (given, done)
    assert run("--check", "--no-kube", "--cluster=").returncode == 0  # no name is what it has without


def test_an_import_of_nothing_makes_no_data_directory(tmp_path):
    done = run("import", str(tmp_path / "absent"), "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 2 and f"{tmp_path}/absent: No such file" in done.stderr
    assert not (tmp_path / "data").exists()


def test_help_version_and_check(tmp_path):
    assert "--data-dir" in run("--help").stdout and "--kube-api" in run("--help").stdout
    assert run("--version").stdout.startswith("flux-event-store ")
    assert run("--check", "--no-kube", "--data-dir", str(tmp_path / "d")).stdout == "ok\n"


def test_answers_end_in_a_newline(make_server):
    server = make_server()
    server.post({"reason": "x"})
    for path in ("/healthz", "/readyz", "/events", "/events/1", "/events/2"):
        assert server.get(path).text.endswith("}\n" if path != "/events" else "]\n"), path


def test_unwritable_data_directory(tmp_path):
    done = run("--no-kube", "--listen", "127.0.0.1:0", "--data-dir", "/proc/no-such-place")
    assert done.returncode == 2 and "/proc/no-such-place" in done.stderr, done


def test_port_in_use(make_server, tmp_path):
    server = make_server()
    done = run("--no-kube", "--listen", f"127.0.0.1:{server.port}", "--data-dir", str(tmp_path / "d"))
    assert done.returncode == 2 and f"127.0.0.1:{server.port}" in done.stderr, done


def runs_part(server):
    return server.get("/readyz").json()["runs"]


def check_degraded(server, words):
    """Events are stored, the Runs' part says why it is not ready, one log line says it, and nothing spins."""
    def told():
        part = runs_part(server)
        return part if not part["ready"] and any(word in str(part) for word in words) else None
    wait_until(told, what=f"/readyz tells one of {words}")
    assert server.get("/readyz").status == 200, "the API server never takes the event endpoint out of the Service"
    assert server.post({"reason": "stored all the same"}).status == 200
    def lines():
        return [line for line in server.logs(since_start=True) if any(word in str(line) for word in words)]
    wait_until(lines, what=f"a log line with one of {words}")
    before, cpu = time.monotonic(), cpu_seconds(server)
    wait_until(lambda: time.monotonic() - before > 2, what="two seconds of this")
    assert cpu_seconds(server) - cpu < 0.5, "a busy loop"
    assert len(lines()) <= 3, lines()


def test_wrong_ca(fake, make_server):
    server = make_server("--kube-ca-file", fake.other_ca_file, fake=fake)
    check_degraded(server, ["certificate verify failed", "self-signed", "self signed", "unable to get local issuer"])
    assert fake.log() == [], "a request was sent to a server that was not verified"
    assert fake.other_ca_file in server.process.stderr(), "the log names the file"


@pytest.mark.parametrize("flag", ["--wrong-san", "--expired"])
def test_item_68_wrong_certificate(make_fake, make_server, flag):
    fake = make_fake(flag)
    server = make_server(fake=fake)
    check_degraded(server, ["certificate", "mismatch"])
    assert fake.log() == [], "a request was sent to a server that was not verified"


def test_item_56_expired_token_and_its_replacement(fake, make_server, tmp_path):
    token = tmp_path / "token"
    token.write_text("0utdated-s3cret")
    server = make_server("--kube-token-file", str(token), fake=fake)
    check_degraded(server, [str(token), "401", "Unauthorized"])
    assert "0utdated-s3cret" not in server.process.stderr(), "a secret in the log"
    token.write_text(fake.token())
    wait_until(lambda: runs_part(server)["ready"], deadline=40, what="the new token is used")


def test_the_token_of_the_api_server_is_in_no_log(fake, make_server):
    """Neither while all is well, at the level that says most, nor when it is refused, nor that which replaces it."""
    server = make_server("--log-level", "debug", fake=fake)
    fake.create_customrun("a", "a")
    fake.wait_condition("customruns", "a", "Unknown", "Waiting")
    assert server.post({"metadata": {"revision": "a"}, "reason": "ReconciliationSucceeded"}).status == 200
    fake.wait_condition("customruns", "a", "True")
    assert server.terminate() == 0
    assert "event stored" in server.process.stderr() and len(fake.token()) > 8
    assert fake.token().strip() not in server.process.stderr()


def test_api_server_that_is_not_there(make_server, make_fake, reserved):
    fake = make_fake("--plain")
    server = make_server("--kube-api", f"http://127.0.0.1:{reserved}", fake=fake)
    check_degraded(server, ["refused"])


def test_item_2_8_16_malformed_runs_do_not_stop_the_others(fake, server):
    fake.create("customruns", "no-params", {"customRef": {"apiVersion": fes.V1, "kind": "FluxDeploymentWait"}})
    fake.create("customruns", "bad-params", {"customRef": {"apiVersion": fes.V1, "kind": "FluxDeploymentWait"},
                                             "params": {"revision": "a"}})
    fake.create("customruns", "bad-ref", {"customRef": "FluxDeploymentWait"})
    fake.create("customruns", "nothing", {})
    fake.create_customrun("fine", "r")
    fake.wait_condition("customruns", "fine", "Unknown", "Waiting")
    fake.wait_condition("customruns", "no-params", "False", "UnexpectedParams")
    assert not fake.condition("customruns", "nothing")
