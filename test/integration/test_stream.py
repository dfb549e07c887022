"""GET /events as a stream and as an export, from the real binary: restarts, slow and silent readers, many, limits."""

import concurrent.futures
import http.client
import json
import os
import re
import resource
import socket
import subprocess
import threading
import time

import pytest

import fes
from fes import PLAIN_BINARY, ROOT, golden, wait_until

GOLDEN = sorted(name for name in os.listdir(os.path.join(ROOT, "test/golden/flux")) if name.endswith(".json"))
STREAM = {"Accept": "text/event-stream"}
EXPORT = {"Accept": "application/x-ndjson"}
MANY = 1000
MOST = 1024


def event(i, name="apps", filler=0):
    """A record of its own; sent again it is a repeat."""
    return {"involvedObject": {"kind": "Kustomization", "namespace": "flux-system", "name": name}, "severity": "info",
            "timestamp": "2026-08-01T10:00:00Z", "reason": "Progressing", "message": f"number {i}" + "x" * filler,
            "metadata": {"revision": f"main@sha1:{i:040x}"}}


def post(server, *args, **kwargs):
    answer = server.post(event(*args, **kwargs))
    assert answer.status == 200, answer
    return int(answer.json()["id"])


class Stream:
    """One connection. poll() takes what is there: `events` are (id, record); `last_id` is what a client comes back with."""

    def __init__(self, server, query="", last_id=None, receive_bytes=None):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(fes.DEADLINE)
        self.socket.connect(("127.0.0.1", server.port))
        last = "" if last_id is None else f"Last-Event-ID: {last_id}\r\n"
        self.socket.sendall(f"GET /events{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{last}\r\n".encode())
        self.raw = b""      # not yet read as chunks
        self.text = b""     # not yet read as events
        self.status = None
        self.events = []
        self.comments = 0
        self.last_id = last_id
        self.whole = False  # the last chunk came
        self.closed = False
        self.broken = False

    def poll(self, wait=0.0, most=1 << 20):
        if not self.closed:
            self.socket.settimeout(max(wait, 0.0001))
            try:
                data = self.socket.recv(most)
            except TimeoutError:
                return self
            except OSError:
                self.broken, data = True, b""
            self.closed = not data
            self.raw += data
            self._read_chunks()
        return self

    def _read_chunks(self):
        if self.status is None:
            head, end, rest = self.raw.partition(b"\r\n\r\n")
            if not end:
                return
            self.status, self.raw = int(head.split()[1]), rest
        while self.status == 200 and not self.whole:
            length, end, rest = self.raw.partition(b"\r\n")
            if not end or len(rest) < int(length, 16) + 2:
                break
            assert rest[int(length, 16):][:2] == b"\r\n", rest[-100:]
            self.whole = int(length, 16) == 0
            self.text += rest[:int(length, 16)]
            self.raw = rest[int(length, 16) + 2:]
        *blocks, self.text = self.text.split(b"\n\n")
        for block in blocks:
            self._read_block(block)

    def _read_block(self, block):
        data = None
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            if not name:
                self.comments += 1
            elif name == b"id":
                self.last_id = int(value)
            else:
                assert name == b"data" and data is None, block
                data = json.loads(value)
        if data is not None:
            assert str(self.last_id) == data["id"], block
            self.events.append((self.last_id, data))

    def ids(self):
        return [identity for identity, _ in self.events]

    def until(self, n, deadline=fes.DEADLINE):
        wait_until(lambda: len(self.poll(0.05).events) >= n or (self.closed and self.status), deadline, f"{n} events")
        assert len(self.events) >= n, (self.status, self.ids()[-3:], self.raw[:200])
        return self

    def until_closed(self, deadline=fes.DEADLINE):
        wait_until(lambda: self.poll(0.05).closed, deadline, "the stream ends")
        return self

    def was_reset(self):
        """What was sent may be lost to a reset, also when it comes right behind the end."""
        return self.broken or self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def close(self):
        self.socket.close()


def status_of(server, query="", last_id=None):
    headers = dict(STREAM) if last_id is None else {**STREAM, "Last-Event-ID": str(last_id)}
    return server.get("/events" + query, headers=headers).status


def resident_kib(server):
    with open(f"/proc/{server.process.child.pid}/status", encoding="ascii") as file:
        return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))


def test_exactly_once_over_kill9(make_server):
    """Senders, a reader that comes back with the last id it has, and a server that is killed again and again."""
    server = make_server()
    total, kills, senders = 1500, 4, 6
    up = threading.Event()
    up.set()
    seen, stop = [], threading.Event()

    def send(first):
        for i in range(first, total, senders):
            while True:
                up.wait()
                try:
                    if server.post(event(i)).status == 200:
                        break
                except (OSError, http.client.HTTPException):
                    pass

    def read():
        last_id = 0
        while not stop.is_set():
            up.wait()
            try:
                stream = Stream(server, last_id=last_id)
            except OSError:
                continue
            while not stream.closed and not stop.is_set():
                seen.extend(stream.poll(0.02).events)
                stream.events.clear()
            assert stream.status in (None, 200), stream.status
            last_id = stream.last_id
            stream.close()

    with concurrent.futures.ThreadPoolExecutor(senders + 1) as pool:
        reader = pool.submit(read)
        sending = [pool.submit(send, i) for i in range(senders)]
        try:
            for kill in range(kills):
                wait_until(lambda: len(seen) >= total * (kill + 1) // (kills + 2) or reader.done())
                up.clear()
                server.kill9()
                server.restart()
                up.set()
            wait_until(lambda: all(future.done() for future in sending) and len(seen) >= total or reader.done())
        finally:
            up.set()
            stop.set()
        reader.result()
    assert server.get("/events?order=desc&limit=1").json()[0]["id"] == str(total)
    ids = [identity for identity, _ in seen]
    assert ids == list(range(1, total + 1)), "each once, in order, none missing"
    assert {record["message"] for _, record in seen} == {f"number {i}" for i in range(total)}


def test_records_are_those_of_the_list(make_server):
    server = make_server()
    for name in GOLDEN:
        assert server.post(golden(name)).status == 200
    listed = server.get("/events?limit=1000").json()
    stream = Stream(server, "?after=0").until(len(listed))
    assert [record for _, record in stream.events] == listed
    for query in ("kind=Kustomization", "severity=error", "since=2026-08-01T00:00:00Z", "revision=5394cb7",
                  "kind=HelmRelease&namespace=default"):
        wanted = server.get(f"/events?limit=1000&after=3&{query}").json()
        some = Stream(server, f"?after=3&{query}").until(len(wanted))
        assert server.get("/healthz").status == 200
        assert [record for _, record in some.poll().events] == wanted, query
        some.close()
    assert listed[-1]["id"] == str(stream.last_id)


def test_a_repeat_and_a_coalesced_event_are_not_sent(make_server):
    server = make_server()
    stream = Stream(server)
    wait_until(lambda: stream.poll(0.05).comments == 1, what="it has begun")
    said = {"involvedObject": {"kind": "Kustomization", "name": "a"}, "reason": "ReconciliationSucceeded",
            "severity": "info", "metadata": {"revision": "r1"}}
    for minute in range(3):
        assert server.post({**said, "timestamp": f"2026-08-01T10:0{minute}:00Z"}).json() == {"id": "1"}
    post(server, 1)
    post(server, 1)
    assert stream.until(2).ids() == [1, 2]
    assert Stream(server, "?after=0").until(2).events[0][1]["count"] == 3


def test_what_cannot_be_asked(make_server):
    server = make_server()
    post(server, 1)
    for query in ("?limit=5", "?order=asc", "?order=desc", "?what=1", "?kind=a&kind=a", "?after=x", "?since=x"):
        assert status_of(server, query) == 400, query
        assert server.get("/events" + query, headers=EXPORT).status == 400, query
    assert status_of(server, last_id="x") == 400
    assert status_of(server, last_id=2) == 410
    assert status_of(server, "?after=2") == 410
    head = server.request("HEAD", "/events", headers=STREAM)
    assert head.status == 405 and head.headers["Allow"] == "GET, POST"
    head = server.request("HEAD", "/events", headers=EXPORT)
    assert head.status == 200 and head.headers["Content-Type"] == "application/x-ndjson" and head.body == b""


def test_a_position_that_retention_took(make_server):
    server = make_server("--retention", "4s")  # for its commit not to take as long
    assert post(server, 1) == 1
    reader = Stream(server, "?after=0").until(1)
    wait_until(lambda: server.get("/events").json() == [], what="retention")
    assert post(server, 2) == 2
    assert reader.until(2).ids() == [1, 2], "who is connected notices nothing"
    gone = server.get("/events", headers={**STREAM, "Last-Event-ID": "1"})
    assert gone.status == 410 and "no longer stored" in gone.json()["error"], gone
    server.restart()
    assert status_of(server, last_id=1) == 410
    assert status_of(server, last_id=3) == 410, "another store's"


def raise_descriptor_limit(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(n, hard), hard))


def test_a_thousand_clients_and_one_too_many(make_server):
    raise_descriptor_limit(4096)
    server = make_server()
    post(server, 0)
    streams = [Stream(server) for _ in range(MANY)]
    for stream in streams:
        wait_until(lambda: stream.poll(0.05).last_id == 1, what="it has begun")
    for i in range(1, 4):
        post(server, i)
    for stream in streams:
        assert stream.until(3).ids() == [2, 3, 4]
    streams += [Stream(server) for _ in range(MANY, MOST)]
    for stream in streams[MANY:]:
        wait_until(lambda: stream.poll(0.05).status == 200, what="it has begun")
    full = server.get("/events", headers=STREAM)
    assert full.status == 503 and full.headers["Retry-After"] == "2", full
    assert "flux_event_store_stream_clients 1024" in server.get("/metrics").text
    streams.pop().close()
    wait_until(lambda: Stream(server).poll(0.2).status == 200, what="there is room again")
    assert server.terminate() == 0
    for stream in streams:
        assert stream.until_closed().whole and not stream.was_reset()
        stream.close()


def test_shutdown_does_not_wait_for_a_reader(make_server):
    """Clean ends within 5 s, also with a client that takes nothing."""
    server = make_server()
    stuck = Stream(server, receive_bytes=4096)
    for i in range(30):
        post(server, i, filler=100000)
    reader = Stream(server, "?after=0").until(30)
    assert server.terminate() == 0
    assert server.took_to_end() < 5
    assert reader.until_closed().whole and not reader.was_reset()
    assert not stuck.until_closed().whole or len(stuck.events) == 30


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_cut_and_resumes(make_server, monkeypatch):
    monkeypatch.setattr(fes, "SERVER_BINARY", PLAIN_BINARY)  # its memory is measured
    server = make_server()
    post(server, 0)
    clients = [Stream(server, receive_bytes=4096) for _ in range(20)]
    for client in clients:
        wait_until(lambda: client.poll(0.05, most=256).status == 200, what="it has begun")
    before = resident_kib(server)
    n = 300
    first = time.monotonic()  # nobody is stuck before that
    for i in range(1, n + 1):
        post(server, i, filler=30000)
    grown = resident_kib(server) - before
    assert grown < 20 * 300 + 4096, f"{grown} KiB for 9 MiB of events and 20 readers that take nothing"
    began = time.monotonic()
    wait_until(lambda: "flux_event_store_stream_clients 0" in server.get("/metrics").text, 60, "all are cut")
    assert 20 < time.monotonic() - first and time.monotonic() - began < 45
    assert "flux_event_store_stream_cut_total 20\n" in server.get("/metrics").text
    for client in clients[:3]:
        client.until_closed()
        assert not client.whole and len(client.events) < n
        again = Stream(server, last_id=client.last_id).until(n - len(client.events))
        assert client.ids() + again.ids() == list(range(2, n + 2))
    assert any("took nothing" in line.get("msg", "") for line in server.logs())


@pytest.mark.slow
def test_the_end_of_an_answer_is_not_waited_for(make_server):
    """An export that is complete but for what its reader does not take: its connection does not stay."""
    server = make_server()

    def gauge(name):
        return int(re.search(rf"^flux_event_store_{name} (\d+)$", server.get("/metrics").text, re.MULTILINE).group(1))

    for i in range(100):  # until the kernel does not hold all of it
        post(server, i, filler=30000)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n")
        assert client.recv(100, socket.MSG_PEEK)
        wait_until(lambda: gauge("stream_clients") == 0, what="all of it is on its way")
        if all(gauge("http_connections") == 2 for _ in range(20)):
            break
        client.close()
    else:
        raise AssertionError("the kernel holds everything")
    began = time.monotonic()
    wait_until(lambda: gauge("http_connections") == 1, 60, "it is closed")
    assert 20 < time.monotonic() - began < 45
    client.close()


@pytest.mark.slow
def test_comments_keep_an_idle_stream(make_server):
    """Longer than the 120 s after which an idle connection ends."""
    server = make_server()
    post(server, 0)
    stream = Stream(server, "?after=0&name=nobody")
    began = time.monotonic()
    wait_until(lambda: stream.poll(0.5).comments >= 9 or stream.closed, 160, "nine comments")
    assert not stream.closed and 125 < time.monotonic() - began < 145
    assert stream.last_id == 1, "the position goes on behind what the filter leaves out"
    post(server, 1, name="nobody")
    assert stream.until(1).ids() == [2]


@pytest.mark.parametrize("begin", [b"x" * 1000, b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n"])
def test_what_a_client_sends_beside_its_stream(make_server, monkeypatch, begin):
    monkeypatch.setattr(fes, "SERVER_BINARY", PLAIN_BINARY)
    server = make_server()
    streams = [Stream(server) for _ in range(4)]
    for stream in streams:
        wait_until(lambda: stream.poll(0.05).comments == 1, what="it has begun")
    post(server, 0)
    before = resident_kib(server)
    for stream in streams:
        stream.socket.setblocking(False)
    sent, end = 0, time.monotonic() + 1
    rest = {stream: begin for stream in streams}
    while time.monotonic() < end:
        for stream in streams:
            try:
                count = stream.socket.send(rest[stream] or b"x" * 65536)
                rest[stream] = rest[stream][count:]
                sent += count
            except BlockingIOError:
                pass
    assert sent > 1 << 20, "the kernel took that much"
    assert resident_kib(server) - before <= 256
    assert post(server, 1) == 2
    for stream in streams:
        assert stream.until(2).ids() == [1, 2]


def test_a_client_that_goes_away_is_noticed(make_server):
    server = make_server()
    post(server, 0)
    for way in ("close", "reset"):
        stream = Stream(server, "?after=0").until(1)
        if way == "reset":
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
        wait_until(lambda: "flux_event_store_stream_clients 0" in server.get("/metrics").text, what=way)


# ---- export ----

def run(*arguments):
    return subprocess.run([fes.SERVER_BINARY, *map(str, arguments)], capture_output=True, timeout=60)


def check_import(text, tmp_path, name):
    file, data = tmp_path / f"{name}.ndjson", tmp_path / name
    file.write_bytes(text)
    done = run("import", file, "--data-dir", data)
    assert done.returncode == 0, done
    assert run("verify", "--data-dir", data).returncode == 0
    return data


def test_export_import_export(make_server, tmp_path):
    server = make_server()
    for name in GOLDEN:
        assert server.post(golden(name)).status == 200
    for minute in range(3):
        server.post({"metadata": {"revision": "z", "cluster": "c\u0001ü"}, "reason": "ReconciliationSucceeded",
                     "timestamp": f"2026-01-01T00:0{minute}:00Z", "message": str(minute)})
    answer = server.get("/events", headers=EXPORT)
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/x-ndjson"
    copy = check_import(answer.body, tmp_path, "copy")
    exported = run("export", "--data-dir", copy)
    assert exported.stdout == answer.body
    again = make_server("--data-dir", str(copy))
    assert again.get("/events", headers=EXPORT).body == answer.body
    some = server.get("/events?kind=HelmRelease&after=2", headers=EXPORT).body
    wanted = server.get("/events?kind=HelmRelease&after=2&limit=1000").json()
    assert [json.loads(line)["id"] for line in some.splitlines()[:-1]] == [record["id"] for record in wanted]
    check_import(some, tmp_path, "some")
    assert server.terminate() == 0
    assert run("export", "--data-dir", server.data_dir).stdout == answer.body, "the offline one is the same"


def test_export_while_events_come_and_go(make_server, tmp_path):
    """Begun before retention, read slowly while records arrive and go: what was sent is a good export."""
    server = make_server("--retention", "3s")
    n = 150
    for i in range(n):
        post(server, i, filler=20000)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(fes.DEADLINE)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /events HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n")
        text = client.recv(1000)
        wait_until(lambda: server.get("/events?limit=1").json() == [], what="all records are gone")
        for i in range(n, n + 5):
            post(server, i)
        while data := client.recv(65536):
            text += data
    lines = text.partition(b"\r\n\r\n")[2]
    trailer = json.loads(lines.splitlines()[-1])
    assert 0 < trailer["records"] == len(lines.splitlines()) - 1 < n, "some had been sent, the others are gone"
    assert trailer["lastId"] == str(n), "not what came later"
    check_import(lines, tmp_path, "copy")


def test_the_file_does_not_grow_under_readers_that_take_nothing(make_server):
    """A read transaction that stays open would keep LMDB from using any page again."""
    server = make_server()
    for i in range(60):
        post(server, i, filler=100000)
    connections = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(4)]

    def say(n):
        """Coalesced: each a commit that writes the same record anew. Less than half as long as readers may be stuck."""
        end = time.monotonic() + 14
        def one(connection, first):
            for i in range(first, n, len(connections)):
                if time.monotonic() > end:
                    assert i > 500, "that many show it, too"
                    return
                body = json.dumps({"involvedObject": {"kind": "Kustomization", "name": f"app-{first}"}, "severity": "info",
                                   "reason": "ReconciliationSucceeded", "message": f"{i}", "metadata": {"revision": "r"}})
                connection.request("POST", "/events", body)
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
        with concurrent.futures.ThreadPoolExecutor(len(connections)) as pool:
            list(pool.map(one, connections, range(len(connections))))
        return int(re.search(r"^flux_event_store_store_bytes (\d+)$", server.get("/metrics").text, re.MULTILINE).group(1))

    before = say(300)
    stuck = [Stream(server, "?after=0", receive_bytes=4096) for _ in range(3)]
    export = socket.socket()
    export.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    export.connect(("127.0.0.1", server.port))
    export.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n")
    try:
        wait_until(lambda: "flux_event_store_stream_clients 4\n" in server.get("/metrics").text, what="they have begun")
        after = say(2000)
        assert "flux_event_store_stream_clients 4\n" in server.get("/metrics").text, "they are stuck"
    finally:
        for client in [export, *stuck]:
            client.close()
    assert len(server.get("/events?name=app-0").json()) == 1, "all of it was coalesced"
    assert after - before <= 1 << 20, f"{before} -> {after} bytes"


def test_export_of_a_damaged_record_breaks(make_server):
    server = make_server()
    for i in range(3):
        post(server, i)
    server.process.stop()
    data = os.path.join(server.data_dir, "data.mdb")
    with open(data, "r+b") as file:
        content = file.read()
        at = content.find(b'"message": "number 1"')
        assert at > 0
        while at >= 0:
            file.seek(at + 12)
            file.write(b"N")  # of the body only: a record damaged elsewhere would not open
            at = content.find(b'"message": "number 1"', at + 1)
    server.start()
    with pytest.raises((http.client.HTTPException, OSError)):
        server.get("/events", headers=EXPORT)
    for _ in range(50):
        assert [record["id"] for record in server.get("/events").json()] == ["1", "3"]
    told = [line for line in server.logs() if "damaged" in line.get("msg", "")]
    assert 1 <= len(told) < 10 and told[0]["id"] == 2, "not a line for each request"
    stream = Stream(server, "?after=0").until(2)
    assert stream.ids() == [1, 3], "a stream leaves it out, as a list does"
