"""What is said again is one record, and what nobody says any more goes: seen from outside."""

import json
import os

from fes import wait_until


def event(minute, revision="main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738", name="apps"):
    return {"involvedObject": {"kind": "Kustomization", "namespace": "flux-system", "name": name},
            "severity": "info", "timestamp": f"2026-08-01T10:{minute:02}:00Z", "reason": "ReconciliationSucceeded",
            "message": f"Reconciliation finished in {minute}s", "metadata": {"revision": revision}}


def test_a_success_every_minute_is_one_record(make_server):
    server = make_server()
    for minute in range(10):
        assert server.post(event(minute)).json() == {"id": "1"}
    assert server.post(event(10, revision="main@sha1:bd88a9156325322a124e55a369b59063470310eb")).json() == {"id": "2"}
    for _ in range(2):
        first, second = server.get("/events").json()[:2]
        assert (first["id"], first["count"], first["timestamp"]) == ("1", 10, "2026-08-01T10:00:00Z"), first
        assert first["lastTimestamp"] == "2026-08-01T10:09:00Z", first
        assert first["message"] == "Reconciliation finished in 0s"
        assert second["id"] == "2" and second["count"] == 1
        server.kill9()
        server.restart()


def test_what_is_not_repeated_goes(make_server):
    """The only timer of an idle server takes it away; ids are not given twice."""
    server = make_server("--retention", "4s")  # for its commit not to take as long
    assert server.post(event(0)).json() == {"id": "1"}
    assert server.get("/events/1").status == 200
    wait_until(lambda: server.get("/events/1").status == 404, what="the record is gone")
    assert server.get("/events").json() == []
    server.restart()
    assert server.post(event(1)).json() == {"id": "2"}
    server.restart(wait_ready=True)
    wait_until(lambda: server.get("/events/2").status == 404, what="also after a restart, which begins with it")


def test_the_file_stays_below_its_size(make_server):
    limit = 8 << 20
    server = make_server("--max-size", "8MiB", "--retention", "0")
    assert server.post(event(0)).json() == {"id": "1"}
    filler = "x" * 60000
    data = os.path.join(server.data_dir, "data.mdb")
    for i in range(250):
        answer = server.post(json.dumps({"involvedObject": {"kind": "Bucket", "name": "noise"}, "reason": f"r{i}",
                                         "message": filler}))
        assert answer.status == 200, answer
        assert os.path.getsize(data) <= limit
    kept = server.get("/events?limit=1000").json()
    assert kept[0]["id"] == "1", "the newest success of an object goes last"
    assert 30 < len(kept) < 200
    assert server.get("/events?order=desc&limit=1").json()[0]["reason"] == "r249"
