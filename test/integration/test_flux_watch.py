"""The second witness: what the status of Flux objects decides reaches Runs when notifications do not."""

import json
import os

import pytest

import fes
from fes import V1, golden, wait_until

SHA = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
FLUX = ("--on", "kustomizations", "--on", "helmreleases")
FORBIDDEN = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403,
             "message": "kustomizations is forbidden: User \"x\" cannot list resource"}


def sample(name):
    with open(os.path.join(fes.ROOT, "test/golden/status", name), encoding="utf-8") as file:
        return json.load(file)


def show(fake, resource, file, **metadata):
    """Creates the golden object, its status with it, as a controller leaves it behind."""
    found = sample(file)
    found["metadata"].update(metadata)
    for server_made in ("resourceVersion", "uid", "creationTimestamp"):
        found["metadata"].pop(server_made, None)
    status = found.pop("status", {})
    namespace = found["metadata"]["namespace"]
    fake.create(resource, found["metadata"]["name"], namespace=namespace, metadata=found["metadata"], spec=found["spec"])
    answer = fake.patch(resource, found["metadata"]["name"], {"status": status}, namespace=namespace, status=True)
    assert answer.status == 200, answer


def events(server):
    return server.get("/events").json()


def in_step(server):
    return server.get("/readyz").json()["fluxObjects"] == {"ready": True}


@pytest.fixture
def flux(make_fake, make_server):
    fake = make_fake(*FLUX)
    server = make_server("--cluster", "eu-1", fake=fake)
    wait_until(lambda: in_step(server), what="fluxObjects ready")
    return fake, server


def test_a_run_whose_notification_was_dropped_completes(flux):
    fake, server = flux
    fake.create_customrun("wait", SHA)
    fake.wait_condition("customruns", "wait", "Unknown", "Waiting")
    show(fake, "kustomizations", "kustomization/ready.json")
    fake.soon("customruns", "wait", "True", "ReconciliationSucceeded")
    run = fake.get("customruns", "wait")
    results = {r["name"]: r["value"] for r in run["status"]["results"]}
    assert results["object"] == "Kustomization/flux-system/apps", results
    event, = events(server)
    assert event["via"] == "status" and server.get("/events?cluster=eu-1").json() == [event], event
    assert event["timestamp"] == "2026-08-01T10:00:12Z" and event["reason"] == "ReconciliationSucceeded"


def test_a_failure_and_a_helm_release(flux):
    fake, _ = flux
    fake.create_run("fails", SHA, ref=V1)
    fake.create_customrun("chart", "6.5.1")
    show(fake, "kustomizations", "kustomization/build-failed.json")
    show(fake, "helmreleases", "helmrelease/ready-upgraded.json")
    fake.wait_condition("customruns", "chart", "True", "ReconciliationSucceeded")
    failed = sample("kustomization/build-failed.json")["status"]["lastAttemptedRevision"]
    fake.create_customrun("failed", failed)
    fake.wait_condition("customruns", "failed", "False", "ReconciliationFailed")


def test_a_cluster_without_any_alert_and_a_status_from_before_the_start(make_fake, make_server):
    fake = make_fake(*FLUX)
    show(fake, "kustomizations", "kustomization/ready.json")
    fake.create_customrun("wait", SHA)
    make_server(fake=fake)
    fake.wait_condition("customruns", "wait", "True", "ReconciliationSucceeded")


def test_nothing_is_stored_twice(flux):
    """A notification, the status, the status again, new lists, restarts: one record."""
    fake, server = flux
    notification = json.loads(golden("01-ks-success.json"))
    del notification["involvedObject"]["uid"]  # the object here has another
    assert server.post(notification).status == 200
    show(fake, "kustomizations", "kustomization/ready.json")
    show(fake, "helmreleases", "helmrelease/ready-upgraded.json")
    wait_until(lambda: len(events(server)) == 2, what="the release's status is stored")
    for number in range(3):
        fake.patch("kustomizations", "apps", {"metadata": {"labels": {"n": str(number)}}}, namespace="flux-system")
    fake.compact()
    fake.drop("watches", "reset")
    for kill in (True, False):
        if kill:
            server.kill9()
        server.restart()
        wait_until(lambda: in_step(server), what="fluxObjects ready")
    # What comes now was preceded by all of that.
    show(fake, "kustomizations", "kustomization/ready-oci-origin.json", name="marker")
    wait_until(lambda: len(events(server)) >= 3)
    assert [event["involvedObject"]["name"] for event in events(server)] == ["apps", "podinfo", "marker"]


def test_a_403_is_told_once_and_is_no_error(make_fake, make_server):
    fake = make_fake(*FLUX)
    fake.fault("status", method="GET", path="kustomizations", times=-1, status=403, body=FORBIDDEN)
    server = make_server(fake=fake)
    show(fake, "helmreleases", "helmrelease/ready-upgraded.json")
    wait_until(lambda: len(events(server)) == 1, what="the other kind works")
    fake.create_customrun("works", "r-1")
    assert server.post({"metadata": {"revision": "r-1"}, "reason": "ReconciliationSucceeded"}).status == 200
    fake.wait_condition("customruns", "works", "True")
    def forbidden():
        return [line for line in server.logs() if "forbids" in line.get("msg", "")]
    told = wait_until(forbidden, what="a line about it")
    assert len(told) == 1 and told[0]["level"] == "info" and "kustomizations" in told[0]["resource"], told
    assert not [line for line in server.logs() if line.get("level") == "error"]
    assert server.get("/readyz").status == 200


def test_absent_kinds_are_told_once_each(make_fake, make_server):
    fake = make_fake()
    server = make_server(fake=fake)
    def told():
        return [line for line in server.logs() if line.get("msg", "").startswith("resource not served")]
    wait_until(lambda: len(told()) == 2)
    asked = [entry["target"] for entry in fake.log(method="GET", path="toolkit.fluxcd.io")]
    assert len(asked) == 6 and len(set(asked)) == 6, asked
    ready = server.get("/readyz")
    assert ready.status == 200 and not ready.json()["fluxObjects"]["ready"]
    assert ready.json()["fluxObjects"]["why"]


def test_a_crd_that_appears_later_is_picked_up(make_fake, make_server):
    fake = make_fake()
    server = make_server(fake=fake)
    wait_until(lambda: len(fake.log(method="GET", path="kustomizations")) == 3, what="asked for all versions")
    fake.serve("kustomizations")
    show(fake, "kustomizations", "kustomization/ready.json")
    wait_until(lambda: len(events(server)) == 1, deadline=45, what="the status is stored")


def test_only_the_flux_namespaces_named(make_fake, make_server):
    fake = make_fake(*FLUX)
    server = make_server("--flux-namespace", "flux-system", "--flux-namespace", "team-a", "--namespace", "default", fake=fake)
    show(fake, "kustomizations", "kustomization/ready.json", namespace="team-b")
    show(fake, "kustomizations", "kustomization/ready.json", namespace="team-a")
    show(fake, "kustomizations", "kustomization/ready.json", namespace="flux-system")
    wait_until(lambda: len(events(server)) == 2)
    assert {event["involvedObject"]["namespace"] for event in events(server)} == {"team-a", "flux-system"}
    assert not fake.log(path="/v1/kustomizations"), "asked for all namespaces"


def test_no_flux_watch(make_fake, make_server):
    fake = make_fake(*FLUX)
    show(fake, "kustomizations", "kustomization/ready.json")
    server = make_server("--no-flux-watch", fake=fake)
    fake.create_customrun("wait", "r-1")
    fake.wait_condition("customruns", "wait", "Unknown", "Waiting")
    assert not fake.log(method="GET", path="toolkit.fluxcd.io")
    assert events(server) == [] and "fluxObjects" not in server.get("/readyz").json()


def test_a_suspended_object_is_named(flux):
    fake, server = flux
    show(fake, "kustomizations", "kustomization/ready-suspended.json")
    name = sample("kustomization/ready-suspended.json")["metadata"]["name"]
    wait_until(lambda: events(server), what="its status is stored")
    fake.create_customrun("wait", "1" * 40, params=[("objects", f"Kustomization/flux-system/{name}")])
    fake.wait_condition("customruns", "wait", "Unknown", "Waiting")
    message = fake.condition("customruns", "wait")["message"]
    assert f"Kustomization/flux-system/{name} (suspended)" in message, message


def test_a_run_that_waits_learns_that_its_object_is_suspended(flux):
    fake, server = flux
    show(fake, "kustomizations", "kustomization/ready.json")
    name = sample("kustomization/ready.json")["metadata"]["name"]
    wait_until(lambda: events(server), what="its status is stored")
    fake.create_customrun("wait", "1" * 40, params=[("objects", f"Kustomization/flux-system/{name}")])
    fake.wait_condition("customruns", "wait", "Unknown", "Waiting")

    def message():
        return fake.condition("customruns", "wait")["message"]
    assert "suspended" not in message()
    fake.patch("kustomizations", name, {"spec": {"suspend": True}}, namespace="flux-system")
    wait_until(lambda: "suspended" in message(), deadline=30, what="the message tells it (at most every 10 s)")
    fake.patch("kustomizations", name, {"spec": {"suspend": False}}, namespace="flux-system")
    wait_until(lambda: "suspended" not in message(), deadline=30, what="the message tells it is resumed")


@pytest.mark.parametrize("revision,part", [
    ("main", f"wait for {SHA}"), (SHA[:6], f"write {SHA[:7]} or more digits"), ("nothing", "no event of revision nothing"),
])
def test_what_would_match_is_explained(make_server, revision, part):
    server = make_server()
    assert server.post(golden("01-ks-success.json")).status == 200
    for _ in range(2):
        verdict = server.get(f"/verdict?revision={revision}").json()
        assert verdict["verdict"] == "waiting" and part in verdict["message"], verdict
        server.restart()


def test_a_thousand_objects(make_fake, make_server):
    """The first list is stored in group commits, and a restart stores nothing again."""
    fake = make_fake("--plain", *FLUX)
    status = sample("kustomization/ready.json")["status"]
    connection = fake.connect()
    for number in range(1000):
        path = fake.path("kustomizations")
        body = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "spec": {"suspend": number % 3 == 0}, "metadata": {"name": f"ks-{number}"}}
        assert fes.Answer(fake.send(connection, "POST", path, body)).status == 201
        answer = fes.Answer(fake.send(connection, "PATCH", f"{path}/ks-{number}/status", {"status": status},
                                      content_type=fes.MERGE_PATCH))
        assert answer.status == 200
    connection.close()
    server = make_server(fake=fake)
    def newest():
        return [event["id"] for event in server.get("/events?order=desc&limit=1").json()]
    wait_until(lambda: newest() == ["1000"], what="all are stored")
    server.restart()
    wait_until(lambda: in_step(server))
    server.post({"reason": "marker"})
    assert newest() == ["1001"]
