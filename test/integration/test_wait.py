"""GET /wait, /verdict and /runs of the real binary: every status, a CI step with curl, many clients, restarts."""

import asyncio
import datetime
import json
import re
import resource
import socket
import subprocess
import threading
import time

import pytest

import fes
from fes import V1, wait_until

SHA = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
MANY = 1000


def stamp(ago=0):
    """The time `ago` seconds ago, as Flux writes it."""
    time_then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=ago)
    return time_then.strftime("%Y-%m-%dT%H:%M:%SZ")


def event(revision, reason="ReconciliationSucceeded", name="apps", ago=0):
    return {"involvedObject": {"kind": "Kustomization", "namespace": "flux-system", "name": name},
            "severity": "info" if reason == "ReconciliationSucceeded" else "error", "timestamp": stamp(ago),
            "reason": reason, "message": f"{reason} of {revision}", "metadata": {"revision": revision},
            "reportingController": "kustomize-controller"}


def stored(server, *args, **kwargs):
    answer = server.post(event(*args, **kwargs))
    assert answer.status == 200, answer
    return answer.json()["id"]


class Waiting:
    """A GET /wait in a thread of its own."""

    def __init__(self, server, query, headers=None):
        self.answer = None
        self.thread = threading.Thread(target=self._run, args=(server, query, headers), daemon=True)
        self.thread.start()

    def _run(self, server, query, headers):
        self.answer = server.get("/wait?" + query, headers=headers)

    def result(self):
        self.thread.join(fes.DEADLINE)
        assert self.answer is not None, "not answered"
        return self.answer


def connections(server):
    """Sockets of the process that are, or were, connected to a client."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return sum(int(row[1].split(":")[1], 16) == server.port and row[3] != "0A" and row[9] != "0" for row in rows)


def wait_until_waiting(server, n):
    """The server has n requests that wait."""
    wait_until(lambda: f"\nflux_event_store_wait_clients {n}\n" in server.get("/metrics").text, what=f"{n} wait")


CASES = [
    ("succeeded", f"revision={SHA}", 200, "succeeded", "ReconciliationSucceeded"),
    ("short", "revision=5394cb7", 200, "succeeded", "ReconciliationSucceeded"),
    ("failed", "revision=bad", 409, "failed", "ReconciliationFailed"),
    ("superseded", "revision=old&objects=Kustomization/flux-system/moved", 410, "superseded", "Superseded"),
    ("counts as success", "revision=old&objects=Kustomization/flux-system/moved&onSuperseded=succeed", 200, "succeeded",
     "ReconciliationSucceeded"),
    ("ambiguous", "revision=1234567", 409, "failed", "AmbiguousRevision"),
    ("waiting", "revision=none&timeout=50ms", 408, "waiting", "Waiting"),
]


def tell_all(server):
    stored(server, f"main@sha1:{SHA}", ago=60)
    stored(server, "bad", "BuildFailed", name="bad", ago=50)
    stored(server, "old", "BuildFailed", name="moved", ago=40)
    stored(server, "new", name="moved", ago=30)
    stored(server, "main@sha1:1234567" + "0" * 33, name="x", ago=20)
    stored(server, "main@sha1:1234567" + "1" * 33, name="x", ago=10)


def test_every_status_before_and_after_a_restart(make_server):
    server = make_server()
    tell_all(server)
    seen = []
    for _ in range(2):
        answers = []
        for name, query, status, verdict, reason in CASES:
            answer = server.get("/wait?" + query)
            assert answer.status == status, f"{name}: {answer}"
            assert answer.headers["Content-Type"] == "application/json"
            body = answer.json()
            assert (body["verdict"], body["reason"]) == (verdict, reason), f"{name}: {answer}"
            now = server.get("/verdict?" + query)
            assert now.status == 200 and now.json() == body, f"{name}: {now}"
            text = server.get("/wait?" + query, headers={"Accept": "text/plain"})
            assert text.status == status and text.text == body["message"] + "\n", f"{name}: {text}"
            answers.append(body)
        seen.append(answers)
        server.kill9()
        server.restart()
    assert seen[0] == seen[1]


def test_the_body_names_objects_and_events(make_server):
    server = make_server()
    identity = stored(server, f"main@sha1:{SHA}", "BuildFailed")
    body = server.get(f"/verdict?revision={SHA}&objects=Kustomization/flux-system/apps,Kustomization/flux-system/b").json()
    assert body["revision"] == SHA and body["object"] == "Kustomization/flux-system/apps"
    assert body["eventId"] == identity and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["timestamp"])
    assert "BuildFailed" in body["message"] and "Kustomization/flux-system/apps" in body["message"]
    said, silent = body["objects"]
    assert said["state"] == "failed" and said["reported"] and said["eventId"] == identity
    assert said["reason"] == "BuildFailed" and said["revision"] == f"main@sha1:{SHA}"
    assert said["timestamp"] <= said["receivedAt"] and said["failingSince"] == said["timestamp"]
    assert silent["name"] == "b" and silent["state"] == "waiting" and not silent["reported"]


@pytest.mark.parametrize("query", ["", "revision=a&branch=main", "revision=a&revision=a", "revision=a&expect=0",
                                   "revision=a&failAfter=5", "revision=a&objects=A/b/c/d/e", "revision=a&timeout=90m",
                                   "revision=a&since=2999-01-01T00:00:00Z"])
def test_bad_parameters(make_server, query):
    server = make_server()
    answer = server.get("/wait?" + query)
    assert answer.status == 400 and answer.body.count(b"\n") == 1, answer
    assert list(answer.json()) == ["error"] and "revision" in answer.text or query.split("&")[-1].split("=")[0] in answer.text
    head = server.request("HEAD", "/wait?revision=a")
    assert head.status == 405 and head.headers["Allow"] == "GET"


def test_curl_is_a_ci_step(make_server):
    server = make_server()
    stored(server, "good")
    stored(server, "bad", "BuildFailed", name="other")

    def curl(revision):
        return subprocess.run(
            ["curl", "-sS", "--fail-with-body", "-H", "Accept: text/plain",
             f"http://127.0.0.1:{server.port}/wait?revision={revision}&timeout=100ms"],
            capture_output=True, text=True, timeout=fes.DEADLINE)

    good, bad, none = curl("good"), curl("bad"), curl("none")
    assert good.returncode == 0 and good.stdout.count("\n") == 1, good
    assert bad.returncode == 22 and "BuildFailed" in bad.stdout, bad
    assert none.returncode == 22 and "none" in none.stdout, none


def test_one_event_answers_a_thousand(make_server):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = make_server()

    async def client():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET /wait?revision={SHA}&timeout=10m HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        line = await reader.readline()
        writer.close()
        return line

    async def run():
        clients = [asyncio.create_task(client()) for _ in range(MANY)]
        await asyncio.to_thread(wait_until_waiting, server, MANY)
        assert not any(task.done() for task in clients)
        await asyncio.to_thread(stored, server, f"main@sha1:{SHA}")
        return await asyncio.wait_for(asyncio.gather(*clients), fes.DEADLINE)

    lines = asyncio.run(run())
    assert lines == [b"HTTP/1.1 200 OK\r\n"] * MANY
    wait_until(lambda: connections(server) == 0, what="all connections are closed")


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_goes_away_is_let_go(make_server, reset):
    server = make_server()
    clients = [server.socket() for _ in range(20)]
    for client in clients:
        client.sendall(b"GET /wait?revision=r&timeout=1h HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until_waiting(server, len(clients))
    for client in clients:
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    wait_until(lambda: connections(server) == 0, what="their connections are closed")
    stored(server, "r")
    assert server.get("/wait?revision=r").status == 200


def test_shutdown_lets_waiting_clients_go(make_server):
    server = make_server()
    waiting = [Waiting(server, "revision=r&timeout=1h"), Waiting(server, "revision=r", {"Accept": "text/plain"})]
    wait_until_waiting(server, 2)
    begin = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - begin < 5
    for one in waiting:
        answer = one.result()
        assert answer.status == 503 and answer.headers["Retry-After"] and answer.headers["Connection"] == "close"
        assert "r was received" in answer.text
    server.restart()
    stored(server, "r")
    assert server.get("/wait?revision=r").status == 200


def test_fail_after_wakes_by_itself(make_server):
    server = make_server()
    said = event("r", "HealthCheckFailed")
    assert server.post(said).status == 200
    answer = server.get("/wait?revision=r&failAfter=2s&timeout=1m")
    assert answer.status == 409 and 2 <= time.time() - fes.instant(said["timestamp"]) < 12
    assert answer.json()["objects"][0]["reason"] == "HealthCheckFailed"


def test_fail_after_is_taken_back_by_a_success(make_server):
    server = make_server()
    stored(server, "r", "HealthCheckFailed", ago=5)
    waiting = Waiting(server, "revision=r&failAfter=30s&timeout=1m")
    wait_until_waiting(server, 1)
    stored(server, "r")
    assert waiting.result().status == 200


# GET /runs

def runs(server):
    answer = server.get("/runs")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json", answer
    return answer.json()


def test_runs_shows_question_age_and_explanation(fake, server):
    fake.create_customrun("one", SHA, params=[("objects", "Kustomization/flux-system/apps"), ("failAfter", "1h")])
    fake.create_run("two", "other", ref=V1)
    for resource, name in (("customruns", "one"), ("runs", "two")):
        fake.wait_condition(resource, name, "Unknown", "Waiting")
    stored(server, f"main@sha1:{SHA}", "BuildFailed")
    shown = {run["name"]: run for run in runs(server)["waiting"]}
    assert set(shown) == {"one", "two"}
    one = shown["one"]
    assert one["kind"] == "CustomRun" and one["namespace"] == "default" and one["uid"]
    assert one["question"] == {"revision": SHA, "objects": ["Kustomization/flux-system/apps"], "failAfter": "1h",
                               "onSuperseded": "fail"}
    assert re.fullmatch(r"\d+m?\d*s", one["age"]) and one["timeout"] == "1h" and one["attempt"] == 1
    assert one["verdict"] == "waiting" and "BuildFailed" in one["message"]
    assert shown["two"]["question"]["expect"] == 1 and "other" in shown["two"]["message"]
    assert server.request("HEAD", "/runs").status == 200
    assert server.get("/runs?x=1").status == 400


def test_runs_shows_the_last_hundred_that_ended(fake, server):
    for i in range(103):
        fake.create_run(f"run-{i:03}", f"r-{i % 2}", ref=V1)
    stored(server, "r-0")
    stored(server, "r-1", "BuildFailed", name="other")
    wait_until(lambda: len([w for w in fake.writes("runs") if w.succeeded in ("True", "False")]) == 103, what="all have ended")
    wait_until(lambda: runs(server)["waiting"] == [], what="no Run waits")
    finished = wait_until(lambda: len(runs(server)["finished"]) == 100 and runs(server)["finished"], what="100")
    assert len({run["name"] for run in finished}) == 100
    for run in finished:
        good = int(run["name"][-3:]) % 2 == 0
        assert run["verdict"] == ("succeeded" if good else "failed")
        assert run["reason"] == ("ReconciliationSucceeded" if good else "ReconciliationFailed")
        assert run["message"].startswith("The revision has been" if good else "The revision failed")
        assert run["finishedAt"] >= run["createdAt"] and run["revision"] == f"r-{int(not good)}"
    assert [run["finishedAt"] for run in finished] == sorted(run["finishedAt"] for run in finished)


def test_runs_shows_rejected_and_cancelled(fake, server):
    fake.create_run("bad", "r", ref=V1, params=[("nonsense", "1")])
    fake.create_run("stopped", "r", ref=V1)
    fake.wait_condition("runs", "stopped", "Unknown", "Waiting")
    fake.patch("runs", "stopped", {"spec": {"status": "RunCancelled"}})
    fake.wait_condition("runs", "stopped", "False", "RunCancelled")
    fake.wait_condition("runs", "bad", "False", "UnexpectedParams")
    finished = wait_until(lambda: len(runs(server)["finished"]) == 2 and runs(server)["finished"])
    assert {run["name"]: run["verdict"] for run in finished} == {"bad": "rejected", "stopped": "cancelled"}
    assert "nonsense" in next(run for run in finished if run["name"] == "bad")["message"]


def test_no_runs_without_kubernetes(make_server):
    assert json.loads(make_server().get("/runs").body) == {"waiting": [], "finished": []}
