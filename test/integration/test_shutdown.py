"""SIGTERM while clients are busy: whoever has begun to send is answered, within five seconds.

What a stopping server owes one client, and how it ends on a stuck disk, is in test_durable.py and test/unit/http_server.c.
"""

import http.client
import json
import signal
import threading
import time

import pytest

import fes
from fes import wait_until
from test_stream import Stream

SENDERS = 64
WAITS = 100
STREAMS = 20
QUEUED = 200


def stopping(server):
    return any(line.get("msg") == "stopping" for line in server.logs(since_start=True))


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_that_is_on_its_way(make_server, expect):
    """Its head was accepted, so it is waited for, and stored."""
    server = make_server()
    with server.socket() as client:
        client.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n" + expect + b"\r\n")
        if expect:
            assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        else:
            client.sendall(b'{"rea')
            wait_until(lambda: "http_body_bytes 5" in server.get("/metrics").text, what="the body has begun")
        server.process.killed = True
        server.process.signal(signal.SIGTERM)
        wait_until(lambda: stopping(server), what="it stops")
        with pytest.raises(AssertionError):
            server.process.wait_exit(0.3)
        answered = time.time()
        client.sendall(b'{"reason":"bye"}' if expect else b'son":"bye"}')
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nConnection: close\r\n" in answer, answer
    assert server.process.wait_exit() == 0
    last = server.logs()[-1]
    took = fes.instant(last["time"]) - answered
    assert last["msg"] == "stopped" and last["unanswered"] == 0 and took < 2, f"{took} s: it waited for its deadline"
    server.process.killed = False
    server.restart()
    assert server.get("/events/1").json()["reason"] == "bye"


def test_clients_that_are_connected_and_not_yet_accepted(make_server):
    """The kernel has connected them and taken their requests while the server had no turn."""
    server = make_server()
    server.process.killed = True
    server.process.signal(signal.SIGSTOP)
    clients = [server.socket() for _ in range(QUEUED)]
    for number, client in enumerate(clients):
        body = b'{"reason":"%d"}' % number
        client.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    server.process.signal(signal.SIGTERM)
    server.process.signal(signal.SIGCONT)
    for client in clients:
        with client:
            answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nConnection: close\r\n" in answer, answer
    assert server.process.wait_exit(5) == 0
    assert server.logs()[-1]["unanswered"] == 0
    server.process.killed = False
    server.restart()
    assert sorted(int(reason) for reason in stored(server).values()) == list(range(QUEUED))


def test_a_body_that_does_not_come_is_not_waited_for(make_server):
    server = make_server()
    with server.socket() as client:
        client.sendall(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{")
        wait_until(lambda: "http_body_bytes 1" in server.get("/metrics").text, what="the body has begun")
        assert server.terminate() == 0
    assert server.took_to_end() < 5
    last = server.logs()[-1]
    assert last["msg"] == "stopped" and last["unanswered"] == 1, last


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_changes_nothing(make_server, again):
    """Whatever comes up to the last moment: it ends as it would have, with exit code 0."""
    server = make_server()
    server.process.killed = True
    server.process.signal(signal.SIGTERM)
    while server.process.child.poll() is None:
        server.process.signal(again)
    assert server.process.child.returncode == 0, server.tail()
    assert [line["msg"] for line in server.logs() if line["msg"].startswith("stop")] == ["stopping", "stopped"]


class Sender(threading.Thread):
    """Posts on one connection until the server ends it. `cut`: an answer that began and did not come whole."""

    def __init__(self, server, number):
        super().__init__()
        self.server, self.number = server, number
        self.acknowledged, self.ended, self.cut = {}, None, None

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=fes.DEADLINE)
        for i in range(1_000_000):
            reason = f"{self.number}-{i}"
            response = None
            try:
                connection.request("POST", "/events", json.dumps({"reason": reason, "message": "x" * 2000}))
                response = connection.getresponse()
                body = response.read()
            except (http.client.HTTPException, OSError) as error:
                # No byte of an answer: the request came when the server had gone from this connection.
                whole = response is None and isinstance(error, (ConnectionError, http.client.RemoteDisconnected))
                self.cut = None if whole else repr(error)
                self.ended = "unread"
                return
            assert response.status == 200, (response.status, body)
            self.acknowledged[json.loads(body)["id"]] = reason
            if response.getheader("Connection") == "close":
                self.ended = "told"
                return


class Waiter(threading.Thread):
    def __init__(self, server, number):
        super().__init__()
        self.server, self.number, self.answer = server, number, None

    def run(self):
        self.answer = self.server.get(f"/wait?revision=never-{self.number}&timeout=1m")


class Reader(threading.Thread):
    def __init__(self, server):
        super().__init__()
        self.stream = Stream(server, "?after=0")

    def run(self):
        self.stream.until_closed(4 * fes.DEADLINE)


def stored(server):
    found = {}
    while page := server.get(f"/events?limit=1000&after={max(map(int, found), default=0)}").json():
        found.update({record["id"]: record["reason"] for record in page})
    return found


def test_under_load(make_server):
    """64 senders, 100 waits, 20 streams: no answer is cut, and what is stored was answered, each one."""
    server = make_server()
    senders = [Sender(server, i) for i in range(SENDERS)]
    waiters = [Waiter(server, i) for i in range(WAITS)]
    readers = [Reader(server) for _ in range(STREAMS)]
    clients = senders + waiters + readers
    for client in clients:
        client.start()
    wait_until(lambda: f"wait_clients {WAITS}\n" in server.get("/metrics").text, what="all wait")
    wait_until(lambda: all(len(sender.acknowledged) > 5 for sender in senders), what="a load")
    began = time.monotonic()
    assert server.terminate() == 0, server.tail()
    took = time.monotonic() - began
    for client in clients:
        client.join(fes.DEADLINE)
    assert took < 5
    last = server.logs()[-1]
    assert last["msg"] == "stopped" and last["unanswered"] == 0, last
    assert [sender.cut for sender in senders if sender.cut] == []
    assert sum(sender.ended == "told" for sender in senders) > 0, "none was in hand"
    assert {waiter.answer.status for waiter in waiters} == {503}
    acknowledged = {identity: reason for sender in senders for identity, reason in sender.acknowledged.items()}
    assert len(acknowledged) == sum(len(sender.acknowledged) for sender in senders)
    for reader in readers:
        ids = reader.stream.ids()
        assert reader.stream.whole and not reader.stream.was_reset() and ids == list(range(1, len(ids) + 1))
    server.process.killed = False
    server.restart()
    assert stored(server) == acknowledged, "what was stored was answered, and what was answered is stored"
