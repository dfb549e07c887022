"""What somebody else's code in the running process can still do: test/lib/intruder.c, in the released binary.

The released one, because a sanitizer must read files that the sandbox would refuse (store/sandbox.c)."""

import os
import re
import signal
import socket

import pytest

import fes
from fes import PLAIN_BINARY, ROOT, wait_until

OLDER_KERNEL = os.path.join(ROOT, "build/test/landlock_abi.so")
INTRUDER = os.path.join(ROOT, "build/test/intruder.so")
REFUSED = 13  # EACCES

pytestmark = pytest.mark.skipif(fes.LANDLOCK < 4,
                                reason=f"Landlock 4 (Linux 6.7) is needed to see all of it; here it is {fes.LANDLOCK}")


@pytest.fixture
def intruded(make_server, monkeypatch):
    """intruded(server flags..., words=[...], abi=None): a server, on a kernel whose Landlock is of that version, and {(thread, word): errno} of what the intruder tried."""
    def run(*flags, words, abi=None, **options):
        monkeypatch.setattr(fes, "SERVER_BINARY", PLAIN_BINARY)
        env = {"LD_PRELOAD": INTRUDER, "FES_INTRUDE": ";".join(words)}
        if abi is not None:
            env = {**env, "LD_PRELOAD": f"{INTRUDER}:{OLDER_KERNEL}", "FES_LANDLOCK_ABI": str(abi)}
        server = make_server(*flags, env=env, **options)
        server.process.signal(signal.SIGUSR2)
        assert server.request("POST", "/events", b'{"reason":"x"}').status == 200  # the writer's thread

        def tried():
            lines = re.findall(r"^intruder (\w+) (\S+) (\d+)$", server.process.stderr(), re.MULTILINE)
            seen = {(who, word): int(error) for who, word, error in lines}
            return seen if len(seen) == 2 * len(words) else None
        return server, wait_until(tried, what="the intruder has tried all in both threads")
    return run


def both(word, value):
    return {("loop", word): value, ("writer", word): value}


def test_intruder_gets_nowhere(intruded, make_fake, tmp_path):
    fake = make_fake()
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "token").write_text("s3cret")
    data = tmp_path / "data"
    data.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        want = {
            **both("read:/etc/passwd", REFUSED),
            **both("read:/etc", REFUSED),
            **both("read:/proc/self/environ", REFUSED),
            **both("read:/proc/self/mem", REFUSED),
            **both(f"write:{tmp_path}/new", REFUSED),
            **both(f"write:{secret}/token", REFUSED),
            **both(f"connect:{other.getsockname()[1]}", REFUSED),
            **both("bind:0", REFUSED),
            **both("dumpable:", 0),
            # What it must go on with.
            **both(f"write:{data}/new", 0),
            **both(f"read:{secret}/token", 0),
            **both("read:/etc/hosts", 0),
            **both("read:/proc/self/stat", 0),
            **both("read:/proc/self/statm", 0),
            **both("read:/proc/self/limits", 0),
            **both("read:/proc/self/fd", 0),
            **both(f"connect:{fake.port}", 0),
        }
        server, seen = intruded("--read-token-file", str(secret / "token"), fake=fake, data_dir=data,
                                words=[word for who, word in want if who == "loop"])
    assert seen == want
    for task in os.listdir(f"/proc/{server.process.child.pid}/task"):
        with open(f"/proc/{server.process.child.pid}/task/{task}/status", encoding="ascii") as status:
            assert "\nNoNewPrivs:\t1\n" in status.read()
    lines = [line for line in server.logs() if "confined" in line.get("msg", "")]
    assert len(lines) == 1 and lines[0]["level"] == "info", lines


def test_without_kubernetes_it_connects_nowhere(intruded, make_fake):
    word = f"connect:{make_fake().port}"
    _, seen = intruded(words=[word])
    assert seen == both(word, REFUSED)


def test_no_sandbox_leaves_all_open(intruded):
    """Also the test of the tests above: the intruder does get what it tries."""
    server, seen = intruded("--no-sandbox", words=["read:/etc/passwd", "bind:0", "dumpable:"])
    assert seen == {**both("read:/etc/passwd", 0), **both("bind:0", 0), **both("dumpable:", 1)}
    assert not [line for line in server.logs() if "confined" in line.get("msg", "")]


@pytest.mark.parametrize("abi", [1, 2, 3])
def test_an_older_landlock_confines_what_it_can(intruded, abi):
    """Files, but not yet connections, which the one line says."""
    server, seen = intruded(words=["read:/etc/passwd", "bind:0"], abi=abi)
    assert seen == {**both("read:/etc/passwd", REFUSED), **both("bind:0", 0)}
    lines = [line for line in server.logs() if "confined" in line.get("msg", "")]
    assert [(line["level"], line["landlock"], line["tcp"]) for line in lines] == [
        ("info", abi, "not restricted: needs Landlock 4")]


def test_without_landlock_it_serves_and_says_so_once(intruded):
    server, seen = intruded(words=["read:/etc/passwd", "dumpable:"], abi=0)
    assert seen == {**both("read:/etc/passwd", 0), **both("dumpable:", 0)}, "what does not need Landlock is given up"
    lines = [line for line in server.logs() if "confined" in line.get("msg", "")]
    assert [(line["level"], line["error"]) for line in lines] == [("warn", "Function not implemented")]
    assert lines[0]["msg"].startswith("not confined: this kernel has no Landlock")


def test_secret_rotates_as_the_kubelet_does(make_server, monkeypatch, tmp_path):
    """token -> ..data/token, ..data -> ..1: a new folder ..2, and ..data is turned. The new one is read, inside the sandbox."""
    monkeypatch.setattr(fes, "SERVER_BINARY", PLAIN_BINARY)

    def publish(name, token):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(token)
        (tmp_path / "..turning").symlink_to(name)
        os.replace(tmp_path / "..turning", tmp_path / "..data")

    publish("..1", "first")
    (tmp_path / "token").symlink_to("..data/token")
    server = make_server("--read-token-file", str(tmp_path / "token"))
    answers = lambda token: server.request("GET", "/events", headers={"Authorization": f"Bearer {token}"}).status  # noqa: E731
    assert (answers("first"), answers("second")) == (200, 401)
    publish("..2", "second")
    wait_until(lambda: answers("second") == 200, what="the new token is read")
    assert answers("first") == 401


def test_secret_in_the_root_folder_opens_that_file_only(intruded, tmp_path):
    """The folder of a secret stays readable for its successor. If it is "/", that would be everything."""
    if os.geteuid() != 0:
        pytest.skip("makes a file in /")
    with open(f"/fes-test-{os.getpid()}", "w", encoding="ascii") as file:
        file.write("s3cret")
    try:
        _, seen = intruded("--read-token-file", file.name, words=["read:/etc/passwd", f"read:{file.name}"])
    finally:
        os.unlink(file.name)
    assert seen == {**both("read:/etc/passwd", REFUSED), **both(f"read:{file.name}", 0)}
