"""Who may post and who may read: signatures, tokens, rotation, through the real binary."""

import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import subprocess
import threading

import pytest

import fes
from fes import Answer, golden, wait_until

KEY = "7152fed34dd6149a7c75a276c510da27cb6f82b0"  # of test/golden/flux/SIGNATURES.txt
EVENT = b'{"metadata":{"revision":"a"},"timestamp":"0001-01-01T00:01:00Z","reason":"BuildFailed"}'


def signature(key, body):
    return "sha256=" + hmac.new(key.encode() if isinstance(key, str) else key, body, hashlib.sha256).hexdigest()


def signed(key, body=EVENT):
    return {"X-Signature": signature(key, body)}


def bearer(token):
    return {"Authorization": "Bearer " + token}


@pytest.fixture
def secret(tmp_path):
    """secret("name", "content"): writes the file as a pod's volume does, by a rename; returns its path."""
    def write(name, content):
        path = tmp_path / name
        new = tmp_path / (name + ".new")
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.rename(new, path)
        return str(path)
    return write


def golden_signatures():
    found = []
    for line in golden("SIGNATURES.txt").decode().splitlines():
        if not line.startswith("#"):
            name, size, value = line.split()
            found.append(("flux/" + name, KEY, int(size), value))
    readme = open(os.path.join(fes.ROOT, "test/golden/notification-controller-1.5.0/README.md"), encoding="utf-8").read()
    for name, value in re.findall(r"^(\S+\.hmac\.json)  (sha256=[0-9a-f]{64})$", readme, re.MULTILINE):
        found.append(("notification-controller-1.5.0/" + name, "s3cret", None, value))
    return found


def test_every_golden_signature(make_server, secret):
    server = make_server("--hmac-key-file", secret("one", KEY), "--hmac-key-file", secret("two", "s3cret\n"))
    vectors = golden_signatures()
    assert len(vectors) == 31 + 7
    for name, _, size, value in vectors:
        with open(os.path.join(fes.ROOT, "test/golden", name), "rb") as file:
            body = file.read()
        assert size in (None, len(body)), name
        assert server.post(body, {"X-Signature": value}).status == 200, name
        assert server.post(body + b" ", {"X-Signature": value}).status == 401, name


def test_a_wrong_signature_never_reaches_the_parser(make_server, secret):
    server = make_server("--hmac-key-file", secret("key", KEY))
    for body in (b"{", b"", b"[" * 100000, EVENT):
        answer = server.post(body, signed("another key", body))
        assert answer.status == 401 and answer.json() == {"error": "unauthorized"}, answer
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="flux-event-store"'
    assert server.post(b"{", signed(KEY, b"{")).status == 400
    assert server.get("/events").json() == []


@pytest.mark.parametrize("headers,cause", [
    ({}, "required"),
    ({"X-Signature": "sha256=" + "0" * 64}, "same key at both ends"),
    ({"X-Signature": "sha256=" + "0" * 63}, "64 hexadecimal digits"),
    ({"X-Signature": "sha512=" + "0" * 128}, "64 hexadecimal digits"),
    ({"X-Signature": signature(KEY, EVENT)[7:]}, "64 hexadecimal digits"),
    (bearer(KEY), "required"),
])
def test_the_log_says_why_and_the_answer_does_not(make_server, secret, headers, cause):
    server = make_server("--hmac-key-file", secret("key", KEY))
    answer = server.post(EVENT, headers)
    assert answer.status == 401 and answer.json() == {"error": "unauthorized"}
    line = next(entry for entry in server.logs() if entry.get("msg") == "request denied")
    assert cause in line["error"] and line["path"] == "/events" and line["level"] == "warn"


@pytest.mark.parametrize("stored,used", [
    ("k\n", "k"), ("k\n", "k\n"), (" k ", "k"), (" k ", " k "), ("k", "k"), (b"\x00\xffk\n", b"\x00\xffk"),
])
def test_keys_raw_and_trimmed(make_server, secret, stored, used):
    server = make_server("--hmac-key-file", secret("key", stored))
    assert server.post(EVENT, signed(used)).status == 200
    assert server.post(EVENT, {"X-Signature": signature(used, EVENT).upper().replace("SHA", "sha")}).status == 200
    assert server.post(EVENT, signed(b"x")).status == 401


def test_rotation_with_two_keys_and_a_reload(make_server, secret):
    """Old and new are good at once; then the old one's file gets the new key, and the old key is refused."""
    old = secret("old", "old-key")
    server = make_server("--hmac-key-file", old, "--hmac-key-file", secret("new", "new-key"))
    assert server.post(EVENT, signed("old-key")).status == 200
    assert server.post(EVENT, signed("new-key")).status == 200
    secret("old", "new-key")
    server.process.signal(signal.SIGHUP)
    wait_until(lambda: server.post(EVENT, signed("old-key")).status == 401, what="the old key is refused")
    assert server.post(EVENT, signed("new-key")).status == 200


class Client(threading.Thread):
    """Asks again and again on one connection, with what is current. `used`: the newest secret that served it."""

    def __init__(self, server, number, kind, rotation):
        super().__init__()
        self.server, self.number, self.kind, self.rotation = server, number, kind, rotation
        self.used, self.served, self.denied, self.failure = -1, 0, 0, None

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=fes.DEADLINE)
        try:
            while not self.rotation.stop.is_set():
                self.ask(connection)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.failure = f"{self.kind} {self.number}, after {self.served}: {error!r}"
        connection.close()

    def ask(self, connection):
        before, current = self.rotation.turns, self.rotation.current
        body = json.dumps({"reason": f"{self.number}-{self.served}"}).encode()
        name = f"{self.kind}-{current}"
        headers = signed(name, body) if self.kind == "key" else bearer(name)
        if self.kind == "read":
            connection.request("GET", "/events?limit=1", headers=headers)
        else:
            connection.request("POST", "/events", body, headers)
        answer = Answer(connection.getresponse())
        if answer.status == 200:
            self.served += 1
            self.used = current
            return
        # There are two keys at any time; a token turns at once, and what was sent before may come behind that.
        assert answer.status == 401 and self.kind != "key", answer
        assert before % 2 or self.rotation.turns != before, "denied while nothing turned"
        self.denied += 1


class Rotation:
    def __init__(self):
        self.current = 0
        self.turns = 0  # odd while one is under way
        self.stop = threading.Event()


def test_a_hundred_rotations_lose_no_request(make_server, secret):
    """Keys and both tokens turn under load: no signed request is denied, and a token's only while it turns."""
    rotation, rotations = Rotation(), 100
    server = make_server("--hmac-key-file", secret("even", "key-0"), "--hmac-key-file", secret("odd", "key-x"),
                         "--post-token-file", secret("post", "post-0"), "--read-token-file", secret("read", "read-0"))
    clients = [Client(server, number, kind, rotation) for number, kind in enumerate(["key", "key", "post", "read"])]
    for client in clients:
        client.start()

    def all_use(number):
        assert not [client.failure for client in clients if client.failure]
        return all(client.used == number for client in clients)

    def reads():
        return sum(line.get("msg") == "secret read again" for line in server.logs())

    try:
        wait_until(lambda: all_use(0), what="the first secrets are used")
        for number in range(1, rotations + 1):
            rotation.turns += 1
            secret("odd" if number % 2 else "even", f"key-{number}")
            secret("post", f"post-{number}")
            secret("read", f"read-{number}")
            server.process.signal(signal.SIGHUP)
            wait_until(lambda number=number: reads() >= 3 * number, what=f"rotation {number} was read")
            rotation.current = number
            rotation.turns += 1
            wait_until(lambda number=number: all_use(number), what=f"all use the secrets of rotation {number}")
    finally:
        rotation.stop.set()
        for client in clients:
            client.join()
    assert [client.failure for client in clients if client.failure] == []
    assert reads() == 3 * rotations
    posted = sum(client.served for client in clients if client.kind != "read")
    text = server.get("/metrics").text
    assert f'flux_event_store_events_received_total{{via="webhook"}} {posted}\n' in text
    assert f'flux_event_store_http_rejected_total{{cause="wrong_token"}} {sum(c.denied for c in clients)}\n' in text
    assert 'flux_event_store_http_rejected_total{cause="wrong_signature"} 0\n' in text
    assert server.post(EVENT, signed(f"key-{rotations - 2}")).status == 401
    assert server.post(EVENT, signed(f"key-{rotations - 1}")).status == 200


def test_a_changed_file_is_used_without_a_signal_and_a_missing_one_keeps_the_old(make_server, secret):
    path = secret("key", "one")
    server = make_server("--hmac-key-file", path)
    secret("key", "two")
    wait_until(lambda: server.post(EVENT, signed("two")).status == 200, what="the new key is used")
    assert server.post(EVENT, signed("one")).status == 401
    os.unlink(path)
    server.process.signal(signal.SIGHUP)
    wait_until(lambda: any("cannot be read" in entry.get("msg", "") for entry in server.logs()), what="a warning")
    assert server.post(EVENT, signed("two")).status == 200


def test_either_a_key_or_a_token_suffices(make_server, secret):
    server = make_server("--hmac-key-file", secret("key", KEY), "--post-token-file", secret("token", "t0ken-for-posts\n"))
    assert server.post(EVENT, signed(KEY)).status == 200
    assert server.post(EVENT, bearer("t0ken-for-posts")).status == 200
    assert server.post(EVENT, {"Authorization": "bearer t0ken-for-posts"}).status == 200
    assert server.post(EVENT, {**signed("wrong"), **bearer("t0ken-for-posts")}).status == 200
    assert server.post(EVENT, {**signed(KEY), **bearer("wrong")}).status == 200
    assert server.post(EVENT, {**signed("wrong"), **bearer("wrong")}).status == 401
    assert server.post(EVENT, {"Authorization": "Basic dDo="}).status == 401
    assert server.get("/events").status == 200, "reading was not closed"


def test_the_read_token_closes_everything_but_the_probes_and_posts(make_server, secret):
    server = make_server("--read-token-file", secret("token", "r3ad-token"))
    for path in ("/healthz", "/health", "/readyz"):
        assert server.get(path).status == 200
        assert server.request("HEAD", path).status == 200
    assert server.post(EVENT).status == 200
    for path in ("/events", "/events/1", "/events?nope=1", "/verdict?revision=a", "/wait?revision=a&timeout=0s", "/runs"):
        for headers in ({}, bearer("wrong"), {"X-Signature": "sha256=" + "0" * 64}):
            answer = server.get(path, headers=headers)
            assert answer.status == 401 and answer.json() == {"error": "unauthorized"}
        assert server.request("HEAD", path).status == (405 if path.startswith("/wait") else 401)
        assert server.get(path, headers=bearer("r3ad-token")).status != 401
    assert server.get("/events", headers=bearer("r3ad-token")).json()[0]["id"] == "1"


def test_nothing_secret_in_the_log(make_server, secret):
    secrets = ["s3cret-hmac-key", "s3cret-post-token", "s3cret-read-token", "s3cret-guess"]
    server = make_server("--log-level", "debug", "--hmac-key-file", secret("a", secrets[0]), "--post-token-file",
                         secret("b", secrets[1]), "--read-token-file", secret("c", secrets[2]))
    server.post(EVENT, signed(secrets[0]))
    server.post(EVENT, bearer(secrets[1]))
    server.post(EVENT, bearer(secrets[3]))
    server.post(EVENT, signed(secrets[3]))
    server.get("/events", headers=bearer(secrets[2]))
    server.get("/events", headers=bearer(secrets[3]))
    server.process.signal(signal.SIGHUP)
    wait_until(lambda: any(entry.get("msg") == "files read again" for entry in server.logs()))
    log = server.process.stderr()
    assert "request denied" in log
    for each in secrets:
        assert each not in log
        assert signature(each, EVENT)[7:] not in log


def test_denied_requests_do_not_flood_the_log(make_server, secret):
    server = make_server("--hmac-key-file", secret("key", KEY))
    for _ in range(200):
        server.post(EVENT)
    lines = [entry for entry in server.logs() if entry.get("msg") == "request denied"]
    assert 1 <= len(lines) < 50, len(lines)


@pytest.mark.parametrize("flag", ["--hmac-key-file", "--post-token-file", "--read-token-file"])
@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_bad_file_is_named_and_the_process_does_not_start(tmp_path, flag, content):
    path = tmp_path / "secret"
    if content is not None:
        path.write_text(content)
    done = subprocess.run([fes.SERVER_BINARY, "--no-kube", "--check", "--data-dir", str(tmp_path / "data"), flag, str(path)],
                          capture_output=True, text=True, timeout=fes.DEADLINE)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert flag in done.stderr and str(path) in done.stderr, done.stderr
