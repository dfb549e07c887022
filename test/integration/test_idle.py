"""Nothing polls: sixty idle seconds with all CRDs served."""

import os
import time

import pytest

from fes import cpu_seconds, wait_until

IDLE_SECONDS = 60


def wakeups(pid):
    """Voluntary context switches of all threads: each is a time somebody went to sleep again."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            total += int(next(line for line in file if line.startswith("voluntary_ctxt_switches")).split()[1])
    return total


@pytest.mark.slow
def test_idle(make_fake, make_server, record_property):
    fake = make_fake("--on", "kustomizations", "--on", "helmreleases")
    server = make_server(fake=fake)
    fake.create_customrun("waits", "r")
    fake.create_run("waits", "r")
    for resource in ("runs", "customruns"):
        fake.wait_condition(resource, "waits", "Unknown", "Waiting")
    wait_until(lambda: len(fake.list("events", namespace="default")["items"]) == 2, what="both Events were created")
    wait_until(lambda: fake.state()["watches"] == 4 and server.get("/readyz").json()["fluxObjects"]["ready"], what="in step")
    fake.clear_log()
    pid = server.process.child.pid
    before, used, start = wakeups(pid), cpu_seconds(server), time.monotonic()
    wait_until(lambda: time.monotonic() - start > IDLE_SECONDS, deadline=IDLE_SECONDS + 10, what="idle time")
    woken, used = wakeups(pid) - before, cpu_seconds(server) - used
    ours = [r for r in fake.log() if r["userAgent"].startswith("flux-event-store")]
    assert ours == [], "a request was made while there was nothing to do"
    assert woken <= IDLE_SECONDS, f"woke {woken} times in {IDLE_SECONDS} s"
    # What "0 %" means to a tool that shows tenths.
    assert used < IDLE_SECONDS / 2000, f"used {used * 1000:.1f} ms of a processor in {IDLE_SECONDS} s"
    record_property("cpu_ms", round(used * 1000, 2))
    record_property("wakeups", woken)
