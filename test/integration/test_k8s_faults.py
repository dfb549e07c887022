"""The API client through faults: what the server holds is known within a second of healing, and nothing is lost.

Each case makes a fault, creates a CustomRun while it lasts where that is possible, heals, and waits for the Run to be
taken up. The unit tests (k8s_watch.c) have the finer cases; here it is TLS, the real binary, and all of it at once.
"""

import time

import pytest

from fes import wait_until

WATCHED = "/apis/tekton.dev/v1beta1/customruns"


def waits(fake, name, deadline=1.0):
    """Creates a Run, which must be taken up in time."""
    start = time.monotonic()
    fake.create_customrun(name, "r")
    fake.wait_condition("customruns", name, "Unknown", "Waiting")
    assert time.monotonic() - start < deadline, f"{name} took {time.monotonic() - start:.2f} s"


def watching(fake):
    wait_until(lambda: fake.state()["watches"] >= 2, what="both watches are open")


@pytest.mark.parametrize("how", ["reset", "clean", "dirty", "end"])
def test_watches_dropped(fake, server, how):
    watching(fake)
    waits(fake, "first")
    fake.clear_log()
    fake.drop("watches", how)
    waits(fake, "second")
    assert not [r for r in fake.log(path="limit=")], "listed again for nothing"


@pytest.mark.parametrize("as_status", [False, True])
def test_410_lists_again(fake, server, as_status):
    watching(fake)
    waits(fake, "first")
    fake.settings(gone_as_status=as_status)
    fake.fault("status", path="watch=1", status=503, times=-1)
    fake.drop("watches", "reset")
    fake.create_customrun("meanwhile", "r")
    fake.compact()
    fake.clear_faults()
    fake.wait_condition("customruns", "meanwhile", "Unknown", "Waiting")
    waits(fake, "second")


def test_token_rotated(fake, server):
    watching(fake)
    waits(fake, "first")
    fake.rotate("token")
    fake.drop("watches", "reset")
    waits(fake, "second")
    assert not [line for line in server.logs() if line["level"] == "error"]


def test_ca_rotated(fake, server):
    watching(fake)
    waits(fake, "first")
    fake.rotate("ca")
    fake.drop("all", "reset")
    waits(fake, "second", deadline=2.5)


def test_byte_by_byte_and_small_chunks(fake, server):
    fake.settings(watch_chunk_bytes=1)
    fake.drop("watches", "reset")
    watching(fake)
    for n in range(5):
        waits(fake, f"run{n}")


def test_refused_for_a_while(fake, server):
    watching(fake)
    waits(fake, "first")
    fake.clear_log()
    fake.pause(3000)
    fake.drop("all", "reset")
    time_of_fault = time.monotonic()
    wait_until(lambda: [line for line in server.logs() if line["msg"] == "API server unreachable"], what="the outage")
    wait_until(lambda: [line for line in server.logs() if line["msg"] == "API server reachable again"], what="its end")
    assert 2.5 < time.monotonic() - time_of_fault < 4.2
    waits(fake, "second")
    assert len([line for line in server.logs() if "reachable" in line["msg"]]) == 2


def test_too_many_requests(fake, server):
    watching(fake)
    waits(fake, "first")
    fake.clear_log()
    fake.fault("status", path="watch=1", status=429, retry_after=1)
    fake.drop("watches", "reset")
    start = time.monotonic()
    fake.create_customrun("second", "r")
    fake.wait_condition("customruns", "second", "Unknown", "Waiting")
    assert time.monotonic() - start < 2.0
    assert not [r for r in fake.log(path="limit=")], "listed again for nothing"


def test_answer_of_a_patch_lost(fake, server):
    watching(fake)
    fake.fault("drop_answer", method="PATCH", path="/status")
    fake.create_customrun("lost", "r")
    fake.wait_condition("customruns", "lost", "Unknown", "Waiting")
    waits(fake, "next", deadline=2.0)
    assert len(fake.writes("customruns", "lost")) == 2, "one creation and one status"


def ours(fake):
    """What the binary asked for since the log was cleared, watches not counted."""
    return [r for r in fake.log() if r["userAgent"].startswith("flux-event-store") and "watch=1" not in r["target"]]


def test_patch_with_429_holds_all_requests(fake, server):
    """Retry-After is for the whole account: the Run that was told and all others wait, and then all are written."""
    watching(fake)
    for n in range(20):
        fake.create_customrun(f"run{n}", "r")
    for n in range(20):
        fake.wait_condition("customruns", f"run{n}", "Unknown", "Waiting")
    wait_until(lambda: len(fake.list("events", namespace="default")["items"]) == 20, what="the Events of waiting")
    fake.fault("status", method="PATCH", path="/status", status=429, retry_after=3)
    fake.clear_log()
    start = time.monotonic()
    assert server.post({"metadata": {"revision": "r"}, "reason": "ReconciliationSucceeded"}).status == 200
    wait_until(lambda: [r for r in ours(fake) if r["status"] == 429], what="the 429")
    # What was under way goes on: at most sixteen. Of twenty PATCHes and twenty Events the others must wait.
    while time.monotonic() - start < 2.8:
        assert len(ours(fake)) <= 16, "went on in spite of the 429"
        time.sleep(0.05)
    for n in range(20):
        fake.wait_condition("customruns", f"run{n}", "True", "ReconciliationSucceeded")
    took = time.monotonic() - start
    assert 2.9 < took < 4.2, f"the last Run was done after {took:.2f} s"
    assert len([r for r in ours(fake) if r["status"] == 429]) == 1
    for n in range(20):
        assert len(fake.writes("customruns", f"run{n}")) == 3, "created, Waiting, done: one write each"
