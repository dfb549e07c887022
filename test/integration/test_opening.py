"""A store with many records opens in slices: who asks meanwhile is told so at once, and nothing waits for it in vain."""

import os
import re
import shutil
import signal
import subprocess

import pytest

import fes
from fes import ROOT, wait_until

FILL_STORE = os.path.join(ROOT, "build/test/fill_store")
RECORDS = 200_000
COMMIT = RECORDS // 150


def revision(commit):
    """As fill_store.c makes it; each is said twice by 50 objects."""
    return f"main@sha1:{commit * 0x165667B1 & 0xFFFFFFFF:08x}{commit:032x}"


LAST_REVISION = revision((RECORDS - 1) // 100)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    data = tmp_path_factory.mktemp("filled") / "data"
    subprocess.run([FILL_STORE, data, str(RECORDS)], check=True)
    yield data
    shutil.rmtree(data)


@pytest.fixture
def opening(make_server, tmp_path, filled):
    """A server that was stopped by a signal while it opens. What was sent to it is read when it goes on."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(filled / "data.mdb", data)

    servers = []

    def start(**options):
        server = make_server(wait_ready=False, data_dir=data, **options)
        servers.append(server)
        server.wait_listening()
        server.process.signal(signal.SIGSTOP)
        for _ in range(20):  # a test that has no processor for a moment comes too late
            if not started(server):
                return server
            server.kill9()
            server.start(wait_ready=False)
            server.wait_listening()
            server.process.signal(signal.SIGSTOP)
        raise AssertionError("the store was open before the test was ready: more records are needed")
    yield start
    for server in servers:
        server.process.signal(signal.SIGCONT)
    (data / "data.mdb").unlink()  # it is large


def started(server):
    return [line for line in server.logs(since_start=True) if line.get("msg") == "started"]


def send(server, request):
    client = server.socket()
    client.sendall(request.encode())
    return client


def receive(client):
    answer = b""
    with client:
        while piece := client.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


POST = "POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 14\r\n\r\n{\"reason\":\"x\"}"
STREAM = get("/events").replace("Host: x", "Host: x\r\nAccept: text/event-stream")
REFUSED = [POST, STREAM, get("/events"), get("/events/1"), get("/verdict?revision=a"), get("/wait?revision=a&timeout=60s")]


def test_who_asks_while_it_opens_is_told_so(opening):
    server = opening()
    alive = [send(server, get(path)) for path in ("/healthz", "/health")]
    ready = send(server, get("/readyz"))
    refused = [send(server, request) for request in REFUSED]
    runs = send(server, get("/runs"))
    metrics = send(server, get("/metrics"))
    server.process.signal(signal.SIGCONT)
    for client in alive:
        assert receive(client)[0].startswith("HTTP/1.1 200 ")
    head, body = receive(ready)
    assert head.startswith("HTTP/1.1 503 ") and "\r\nRetry-After: 2" in head, (head, body)
    done, total = map(int, re.search(r"the store is being opened \((\d+) of (\d+) records\)", body).groups())
    assert 0 < done < total == RECORDS
    for request, client in zip(REFUSED, refused):
        head, body = receive(client)
        assert head.startswith("HTTP/1.1 503 ") and "\r\nRetry-After: 2" in head, (request, head, body)
        assert body == '{"error":"the store is being opened: try again"}\n', (request, body)
    assert receive(runs)[0].startswith("HTTP/1.1 200 ")
    assert "\nflux_event_store_store_ready 0\n" in receive(metrics)[1], "all this was answered while it was opening"
    wait_until(lambda: server.get("/readyz").status == 200, what="open")
    assert started(server)[0]["records"] == RECORDS
    assert [r["id"] for r in server.get(f"/events?revision={LAST_REVISION}&limit=1&order=desc").json()] == [str(RECORDS)]
    assert server.get(f"/verdict?revision={LAST_REVISION}").json()["verdict"] == "succeeded"
    assert server.post({"reason": "x"}).json() == {"id": str(RECORDS + 1)}


def test_runs_wait_for_the_store(opening, make_fake):
    """A Run is matched against what is stored: the API server is not asked before that can be done."""
    fake = make_fake()
    fake.create_customrun("wait", LAST_REVISION)
    fake.clear_log()
    server = opening(fake=fake)
    ready = send(server, get("/readyz"))
    server.process.signal(signal.SIGCONT)
    assert '"runs":{"ready":false,"why":"begins when the store is open"}' in receive(ready)[1]
    fake.wait_condition("customruns", "wait", "True")
    opened = fes.instant(started(server)[0]["time"]) * 1000
    first = [entry["ms"] for entry in fake.log() if entry["userAgent"].startswith("flux-event-store")][0]
    assert first >= opened, f"asked {opened - first} ms before the store was open"


def test_it_stops_while_it_opens(opening):
    server = opening()
    client = send(server, get("/readyz"))
    server.process.signal(signal.SIGTERM)
    server.process.signal(signal.SIGCONT)
    assert server.process.wait_exit(5) == 0, server.tail()
    assert not started(server)
    client.close()


def test_a_damaged_record_ends_it(opening):
    server = opening()
    data = os.path.join(server.data_dir, "data.mdb")
    server.kill9()
    with open(data, "rb") as file:
        content = file.read()
    head = f"Kustomizationflux-systemapp-7infoProgressing{revision(COMMIT)}".encode()
    assert head in content
    with open(data, "wb") as file:  # all of it: the file has old copies of pages
        file.write(content.replace(head, b"k" + head[1:]))
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=fes.DEADLINE)
    assert done.returncode == 2, done
    assert re.search(rf"cannot be used: record {COMMIT * 100 + 8}: its checksum is wrong\n$", done.stderr), done
    assert '"started"' not in done.stderr
