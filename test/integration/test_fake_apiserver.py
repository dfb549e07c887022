"""The fake API server, against what a real kube-apiserver does on the wire.

Each test asks the fake as a client would, over a socket of its own, so that a fault in the fake is found here and not in
a test of the product.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

import fes

RUN = {"ref": {"apiVersion": fes.V0, "kind": "FluxDeploymentWait"}, "params": [{"name": "revision", "value": "a"}]}


def waiting(reason="Waiting", status="Unknown", **more):
    return {"status": {"conditions": [{"type": "Succeeded", "status": status, "reason": reason}], **more}}


class RawWatch:
    """A watch on its own socket; lines as they come, chunk framing checked."""

    def __init__(self, fake, resource, query="", namespace=None, extra=""):
        self.connection = fake.connect()
        separator = "?watch=1" + (("&" + query) if query else "")
        self.response = fake.send(self.connection, "GET", fake.path(resource, namespace=namespace) + separator + extra)
        self.status = self.response.status

    def next(self):
        """The next event; None at a clean end."""
        line = self.response.readline()
        return json.loads(line) if line else None

    def take(self, count):
        return [self.next() for _ in range(count)]

    def close(self):
        self.connection.close()


@pytest.fixture
def watch(fake):
    opened = []

    def make(*args, **options):
        opened.append(RawWatch(fake, *args, **options))
        return opened[-1]
    yield make
    for each in opened:
        each.close()


def raw_exchange(fake, text):
    """Sends bytes over TLS and returns all bytes of the answer until the end; no close_notify is an SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options &= ~0x80  # SSL_OP_IGNORE_UNEXPECTED_EOF, which Python sets and gives no name
    with socket.create_connection(("127.0.0.1", fake.port), fes.DEADLINE) as plain, \
            context.wrap_socket(plain, suppress_ragged_eofs=False) as tls:
        tls.sendall(text)
        received = b""
        while piece := tls.recv(65536):
            received += piece
        return received


def raw_get(fake, path, more=""):
    return (f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {fake.token()}\r\n"
            f"Connection: close\r\n{more}\r\n").encode()


def is_status(answer, code, reason):
    body = answer.json()
    assert answer.status == code, answer
    assert (body["kind"], body["apiVersion"], body["metadata"], body["status"]) == ("Status", "v1", {}, "Failure")
    assert (body["code"], body["reason"]) == (code, reason), body
    return body


# Files, TLS, token


def test_tells_where_it_is(fake):
    assert sorted(os.listdir(fake.dir)) == ["ca.crt", "info", "other-ca.crt", "ready", "stderr.log", "token"]
    assert fake.url == f"https://127.0.0.1:{fake.port}"
    assert os.stat(fake.token_file).st_size == 48


def test_certificate_is_for_127_0_0_1_and_localhost(fake):
    context = ssl.create_default_context(cafile=fake.ca_file)
    for name in ("127.0.0.1", "localhost"):
        with socket.create_connection(("127.0.0.1", fake.port)) as plain, \
                context.wrap_socket(plain, server_hostname=name) as tls:
            assert tls.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("flag,word", [("--wrong-san", "IP address mismatch"), ("--expired", "expired")])
def test_certificate_made_wrong_is_refused(make_fake, flag, word):
    fake = make_fake(flag)
    with pytest.raises(ssl.SSLCertVerificationError, match=word):
        fake.connect(verify=True).connect()


def test_unrelated_ca_does_not_verify(fake):
    with pytest.raises(ssl.SSLCertVerificationError):
        fake.connect(verify=True, ca_file=fake.other_ca_file).connect()


def test_alpn_is_http_1_1(fake):
    context = ssl.create_default_context(cafile=fake.ca_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", fake.port)) as plain, \
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        assert tls.selected_alpn_protocol() == "http/1.1"


def test_wrong_token_is_401(fake):
    body = is_status(fake.request("GET", fake.path("runs"), token="wrong"), 401, "Unauthorized")
    assert body["message"] == "Unauthorized"


def test_rotated_token(fake):
    old = fake.token()
    fake.rotate("token")
    assert fake.token() != old
    assert fake.request("GET", fake.path("runs"), token=old).status == 401
    assert fake.request("GET", fake.path("runs")).status == 200


def test_rotated_ca(fake):
    with open(fake.ca_file, encoding="utf-8") as file:
        old = file.read()
    fake.rotate("ca", write=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        fake.connect(verify=True).connect()
    fake.rotate("ca")
    fake.connect(verify=True).connect()
    with open(fake.ca_file, encoding="utf-8") as file:
        assert file.read() != old


def test_plain_needs_no_token(make_fake):
    fake = make_fake("--plain")
    assert fake.url.startswith("http://")
    connection = http.client.HTTPConnection("127.0.0.1", fake.port)
    connection.request("GET", fake.path("runs"))
    assert connection.getresponse().status == 200


@pytest.mark.parametrize("flags", [["--listen", "nowhere"], ["--off", "pods"], ["--bookmark-ms", "x"], []])
def test_bad_flags_exit_2(tmp_path, flags):
    command = [fes.FAKE_BINARY, *(["--dir", str(tmp_path)] if flags else []), *flags]
    done = subprocess.run(command, capture_output=True, timeout=fes.DEADLINE, check=False)
    assert done.returncode == 2 and done.stderr


# Objects


def test_create_settles_metadata(fake):
    created = fake.create("runs", "a", RUN, status={"conditions": []}, metadata={"labels": {"l": "v"}})
    metadata = created["metadata"]
    assert created["spec"] == RUN and "status" not in created
    assert metadata["namespace"] == "default" and metadata["generation"] == 1 and metadata["labels"] == {"l": "v"}
    assert len(metadata["uid"]) == 36 and metadata["creationTimestamp"].endswith("Z")
    assert fake.get("runs", "a") == created


def test_create_refusals(fake):
    fake.create("runs", "a", RUN)
    path = fake.path("runs")
    body = {"apiVersion": "tekton.dev/v1alpha1", "kind": "Run", "metadata": {"name": "a"}, "spec": RUN}
    again = is_status(fake.request("POST", path, body), 409, "AlreadyExists")
    assert again["message"] == 'runs.tekton.dev "a" already exists'
    assert again["details"] == {"name": "a", "group": "tekton.dev", "kind": "runs"}
    is_status(fake.request("POST", path, {**body, "kind": "CustomRun"}), 422, "Invalid")
    is_status(fake.request("POST", path, {**body, "apiVersion": "tekton.dev/v1beta1"}), 400, "BadRequest")
    unnamed = is_status(fake.request("POST", path, {**body, "metadata": {}}), 422, "Invalid")
    assert unnamed["details"]["causes"] == [{"field": "metadata.name", "reason": "FieldValueRequired",
                                            "message": "Required value: name or generateName is required"}]
    is_status(fake.request("POST", path, body, content_type="text/plain"), 415, "UnsupportedMediaType")
    is_status(fake.request("POST", path, {**body, "metadata": {"name": "b", "namespace": "x"}}), 400, "BadRequest")
    is_status(fake.request("POST", path, "{"), 400, "BadRequest")


def test_generate_name(fake):
    path = fake.path("customruns")
    body = {"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"generateName": "x-"}, "spec": {}}
    names = {fake.request("POST", path, body).json()["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("x-") and len(name) == 7 for name in names)


def test_missing_object_is_a_status(fake):
    body = is_status(fake.request("GET", fake.path("customruns", "x")), 404, "NotFound")
    assert body["message"] == 'customruns.tekton.dev "x" not found'
    assert body["details"] == {"name": "x", "group": "tekton.dev", "kind": "customruns"}


def test_same_name_in_both_kinds_and_namespaces(fake):
    uids = {fake.create(kind, "a", RUN, namespace=ns)["metadata"]["uid"]
            for kind in ("runs", "customruns") for ns in ("one", "two")}
    assert len(uids) == 4
    assert [i["metadata"]["namespace"] for i in fake.list("runs")["items"]] == ["one", "two"]
    assert len(fake.list("runs", namespace="one")["items"]) == 1


def test_status_patch_changes_only_status(fake):
    before = fake.create("customruns", "a", RUN)
    answer = fake.patch("customruns", "a", {**waiting(), "spec": {"x": 1}, "metadata": {"labels": {"no": "no"}}},
                        status=True)
    after = answer.json()
    assert answer.status == 200 and after["status"] == waiting()["status"]
    assert after["spec"] == before["spec"] and "labels" not in after["metadata"]
    assert after["metadata"]["generation"] == 1
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_main_patch_leaves_status_and_bumps_generation(fake):
    fake.create("customruns", "a", RUN)
    fake.patch("customruns", "a", waiting(), status=True)
    patched = fake.patch("customruns", "a", {"spec": {"status": "RunCancelled"}, "status": {"x": 1}}).json()
    assert patched["spec"] == {**RUN, "status": "RunCancelled"}
    assert patched["status"] == waiting()["status"] and patched["metadata"]["generation"] == 2
    labelled = fake.patch("customruns", "a", {"metadata": {"labels": {"a": "b"}, "creationTimestamp": "no"}}).json()
    assert labelled["metadata"]["generation"] == 2 and labelled["metadata"]["labels"] == {"a": "b"}
    assert labelled["metadata"]["creationTimestamp"] == patched["metadata"]["creationTimestamp"]
    is_status(fake.patch("customruns", "a", {"metadata": {"uid": "no"}}), 422, "Invalid")
    is_status(fake.patch("customruns", "a", {"metadata": {"name": "no"}}), 400, "BadRequest")


def test_merge_patch_rules(fake):
    fake.create("customruns", "a", RUN)
    def patch(**members):
        return fake.patch("customruns", "a", {"status": {"extraFields": members}}, status=True).json()["status"]
    patch(keep=1, gone=2, list=[1, 2], deep={"a": 1, "b": 2})
    after = patch(gone=None, list=[3, None], deep={"a": None, "c": {"d": None, "e": 1}})
    assert after == {"extraFields": {"keep": 1, "list": [3, None], "deep": {"b": 2, "c": {"e": 1}}}}


def test_no_op_patch_keeps_the_revision(fake):
    fake.create("runs", "a", RUN)
    first = fake.patch("runs", "a", waiting(), status=True).json()
    again = fake.patch("runs", "a", waiting(), status=True)
    assert again.status == 200 and again.json() == first
    assert len(fake.writes("runs", "a")) == 2


def test_resource_version_is_a_precondition(fake):
    created = fake.create("customruns", "a", RUN)
    version = created["metadata"]["resourceVersion"]
    assert fake.patch("customruns", "a", {"metadata": {"resourceVersion": version}, **waiting()}, status=True).status == 200
    stale = {"metadata": {"resourceVersion": version}, **waiting("Other")}
    body = is_status(fake.patch("customruns", "a", stale, status=True), 409, "Conflict")
    assert body["message"] == ('Operation cannot be fulfilled on customruns.tekton.dev "a": the object has been modified; '
                               'please apply your changes to the latest version and try again')
    for version, status in ((1, 422), ("", 422), ("abc", 500)):
        answer = fake.patch("customruns", "a", {"metadata": {"resourceVersion": version}, **waiting("C")}, status=True)
        assert answer.status == status, answer
    assert fake.condition("customruns", "a")["reason"] == "Waiting"


def test_wrong_patch_type_is_415(fake):
    fake.create("runs", "a", RUN)
    for content_type in ("application/json", "application/strategic-merge-patch+json", "application/merge-patch"):
        answer = fake.request("PATCH", fake.path("runs", "a"), {}, content_type=content_type)
        is_status(answer, 415, "UnsupportedMediaType")
    assert fake.request("PATCH", fake.path("runs", "a"), "{}", content_type=fes.MERGE_PATCH + "; charset=utf-8").status == 200


def test_unknown_status_keys_of_a_run_are_denied(fake):
    fake.create("runs", "a", RUN)
    body = is_status(fake.patch("runs", "a", waiting(retriesStatus=[]), status=True), 400, "BadRequest")
    assert body["message"] == ('admission webhook "webhook.pipeline.tekton.dev" denied the request: mutation failed: '
                               'cannot decode incoming new object: json: unknown field "retriesStatus"')
    allowed = waiting(startTime="2026-01-01T00:00:00Z", completionTime="2026-01-01T00:00:00Z", results=[],
                      extraFields={}, observedGeneration=1, annotations={})
    assert fake.patch("runs", "a", allowed, status=True).status == 200
    fake.create("customruns", "a", RUN)
    assert fake.patch("customruns", "a", waiting(retriesStatus=[]), status=True).status == 200


@pytest.mark.parametrize("status,field,message", [
    ("x", "status", "Invalid value: \"string\":  in body must be of type object: \"string\""),
    ({"conditions": [{"type": "Succeeded"}]}, "status.conditions[0].status", "Required value"),
    ({"results": [{"name": "a", "value": 1}]}, "status.results[0].value",
     "Invalid value: \"integer\": results[0].value in body must be of type string: \"integer\""),
    ({"startTime": "yesterday"}, "status.startTime",
     "Invalid value: \"yesterday\": startTime in body must be of type date-time: \"yesterday\""),
])
def test_schema_of_customruns(fake, status, field, message):
    fake.create("customruns", "a", RUN)
    body = is_status(fake.patch("customruns", "a", {"status": status}, status=True), 422, "Invalid")
    assert body["message"] == f'CustomRun.tekton.dev "a" is invalid: {field}: {message}'
    assert body["details"]["causes"][0]["field"] == field


def test_unknown_status_keys_of_a_customrun_vanish(fake):
    fake.create("customruns", "a", RUN)
    answer = fake.patch("customruns", "a", waiting(unknown=1, extraFields={"x": 1}), status=True)
    assert answer.status == 200 and answer.json()["status"] == waiting(extraFields={"x": 1})["status"]


def test_delete(fake):
    uid = fake.create("runs", "a", RUN)["metadata"]["uid"]
    answer = fake.delete("runs", "a").json()
    assert answer["status"] == "Success" and answer["details"]["uid"] == uid
    assert fake.get("runs", "a") is None and fake.delete("runs", "a").status == 404
    assert fake.create("runs", "a", RUN)["metadata"]["uid"] != uid


def test_finalizer_delays_deletion(fake):
    fake.create("runs", "a", RUN, metadata={"finalizers": ["x/y"]})
    marked = fake.delete("runs", "a").json()["metadata"]
    assert "deletionTimestamp" in marked and marked["generation"] == 2
    assert fake.patch("runs", "a", waiting(), status=True).status == 200
    fake.patch("runs", "a", {"metadata": {"finalizers": None}})
    assert fake.get("runs", "a") is None


def test_events_are_kept(fake):
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a.1"}, "reason": "Waiting", "type": "Normal",
             "involvedObject": {"kind": "Run", "name": "a"}}
    answer = fake.request("POST", "/api/v1/namespaces/default/events", event)
    assert answer.status == 201
    listed = fake.list("events", namespace="default")
    assert listed["kind"] == "EventList" and listed["apiVersion"] == "v1"
    assert [item["reason"] for item in listed["items"]] == ["Waiting"]


def test_other_methods_and_paths(fake):
    fake.create("runs", "a", RUN)
    is_status(fake.request("PUT", fake.path("runs", "a"), {}), 405, "MethodNotAllowed")
    assert fake.request("POST", fake.path("runs", namespace=None), {}).text == "404 page not found\n"
    is_status(fake.request("GET", fake.path("runs", "a") + "/scale"), 404, "NotFound")
    for path in ("/", "/apis", "/apis/x.dev/v1/things", "/apis/tekton.dev/v1beta1/runs", "/api/v1/pods"):
        answer = fake.request("GET", path)
        assert (answer.status, answer.text) == (404, "404 page not found\n"), path


def test_discovery(fake):
    names = [r["name"] for r in fake.request("GET", "/apis/tekton.dev/v1alpha1").json()["resources"]]
    assert names == ["runs", "runs/status"]
    fake.serve("runs", False)
    assert fake.request("GET", "/apis/tekton.dev/v1alpha1").status == 404


def test_crd_switched_off_and_on(make_fake):
    fake = make_fake("--off", "runs")
    assert fake.request("GET", fake.path("runs")).status == 404
    fake.serve("runs")
    fake.create("runs", "a", RUN)
    fake.serve("runs", False)
    assert fake.request("GET", fake.path("runs")).text == "404 page not found\n"
    fake.serve("runs")
    assert fake.list("runs")["items"] == []


# Lists


def test_list_shape(fake):
    created = fake.create("runs", "a", RUN)
    listed = fake.list("runs")
    assert listed["kind"] == "RunList" and listed["apiVersion"] == "tekton.dev/v1alpha1"
    assert listed["items"] == [created]
    assert listed["metadata"] == {"continue": "", "resourceVersion": created["metadata"]["resourceVersion"]}


def pages(fake, resource, limit):
    query, result = f"?limit={limit}", []
    while True:
        page = fake.list(resource, query=query)
        result.append(page)
        token = page["metadata"]["continue"]
        if not token:
            return result
        query = f"?limit={limit}&continue=" + fes.urllib.parse.quote(token, safe="")


def test_pages_show_one_moment(fake):
    for i in range(5):
        fake.create("runs", f"r{i}", RUN)
    first = fake.list("runs", query="?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    fake.delete("runs", "r3")
    fake.create("runs", "r9", RUN)
    token = fes.urllib.parse.quote(first["metadata"]["continue"], safe="")
    second = fake.list("runs", query=f"?limit=2&continue={token}")
    assert [i["metadata"]["name"] for i in second["items"]] == ["r2", "r3"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert [len(p["items"]) for p in pages(fake, "runs", 2)] == [2, 2, 1]
    # From the cache there are no pages.
    assert len(fake.list("runs", query="?limit=2&resourceVersion=0")["items"]) == 5


def test_expired_continue_is_410(fake):
    for i in range(3):
        fake.create("runs", f"r{i}", RUN)
    token = fake.list("runs", query="?limit=1")["metadata"]["continue"]
    fake.patch("runs", "r0", waiting(), status=True)
    fake.compact()
    answer = fake.request("GET", fake.path("runs", namespace=None) + "?limit=1&continue=" + fes.urllib.parse.quote(token))
    is_status(answer, 410, "Expired")


def test_bad_and_future_versions(fake):
    path = fake.path("runs", namespace=None)
    is_status(fake.request("GET", path + "?resourceVersion=x"), 400, "BadRequest")
    assert fake.request("GET", path + "?watch=1&resourceVersion=x").status == 500  # sic
    answer = fake.request("GET", path + "?resourceVersion=999999")
    body = is_status(answer, 504, "Timeout")
    assert answer.headers["Retry-After"] == "1" and body["details"]["retryAfterSeconds"] == 1
    assert body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    is_status(fake.request("GET", path + "?limit=1&continue=junk"), 400, "BadRequest")


def test_watch_from_the_future_is_silent(fake, watch):
    version = int(fake.create("runs", "a", RUN)["metadata"]["resourceVersion"])
    stream = watch("runs", f"resourceVersion={version + 2}&timeoutSeconds=5")
    for name in ("b", "c", "d"):
        fake.create("runs", name, RUN)
    assert stream.next()["object"]["metadata"]["name"] == "d"


def test_long_answers_are_chunked_and_short_ones_are_not(fake):
    fake.create("runs", "a", RUN)
    short = raw_exchange(fake, raw_get(fake, fake.path("runs", "a")))
    assert b"\r\nContent-Length: " in short and b"chunked" not in short
    fake.create("runs", "b", {"blob": "x" * 5000})
    long = raw_exchange(fake, raw_get(fake, fake.path("runs", "b")))
    assert b"Transfer-Encoding: chunked\r\n" in long and long.endswith(b"\r\n0\r\n\r\n")


# Watches


def test_watch_from_a_version(fake, watch):
    start = fake.create("runs", "a", RUN)["metadata"]["resourceVersion"]
    fake.create("runs", "b", RUN, namespace="other")
    stream = watch("runs", f"resourceVersion={start}")
    assert stream.status == 200
    assert stream.response.headers["Transfer-Encoding"] == "chunked"
    assert stream.response.headers["Content-Type"] == "application/json"
    patched = fake.patch("runs", "a", waiting(), status=True).json()
    fake.delete("runs", "a")
    added, modified, deleted = stream.take(3)
    assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "b")
    assert modified == {"type": "MODIFIED", "object": patched}
    assert deleted["type"] == "DELETED" and deleted["object"]["status"] == patched["status"]
    assert int(deleted["object"]["metadata"]["resourceVersion"]) > int(patched["metadata"]["resourceVersion"])
    assert fake.state()["watches"] == 1


def test_watch_without_a_version_begins_with_all(fake, watch):
    for name in ("a", "b"):
        fake.create("runs", name, RUN)
    assert [e["object"]["metadata"]["name"] for e in watch("runs").take(2)] == ["a", "b"]


def test_watch_of_one_namespace_and_kind(fake, watch):
    version = fake.list("runs")["metadata"]["resourceVersion"]
    stream = watch("runs", f"resourceVersion={version}", namespace="one")
    fake.create("runs", "x", RUN, namespace="two")
    fake.create("customruns", "x", RUN, namespace="one")
    fake.create("runs", "y", RUN, namespace="one")
    assert stream.next()["object"]["metadata"]["name"] == "y"


def test_watch_ends_cleanly_at_its_timeout(fake, watch):
    version = fake.list("runs")["metadata"]["resourceVersion"]
    begin = time.monotonic()
    stream = watch("runs", f"resourceVersion={version}&timeoutSeconds=1")
    assert stream.next() is None
    assert 0.9 < time.monotonic() - begin < 5
    # A clean final chunk leaves the connection usable.
    assert fake.send(stream.connection, "GET", "/version").status == 200


def test_bookmarks(fake, watch):
    version = fake.create("runs", "a", RUN)["metadata"]["resourceVersion"]
    fake.settings(bookmark_ms=20)
    quiet = watch("runs", f"resourceVersion={version}&timeoutSeconds=1")
    stream = watch("runs", f"resourceVersion={version}&allowWatchBookmarks=true")
    fake.create("customruns", "b", RUN)
    newest = fake.list("runs")["metadata"]["resourceVersion"]
    def mark_of(version):
        return {"type": "BOOKMARK", "object": {"apiVersion": "tekton.dev/v1alpha1", "kind": "Run",
                                               "metadata": {"resourceVersion": version}}}
    while (mark := stream.next()) != mark_of(newest):
        assert mark == mark_of(version), "made before b was"
    assert stream.take(2) == [mark, mark]
    assert quiet.next() is None


def test_gone_in_the_stream_and_as_status(fake, watch):
    version = fake.create("runs", "a", RUN)["metadata"]["resourceVersion"]
    fake.patch("runs", "a", waiting(), status=True)
    assert watch("runs", f"resourceVersion={version}").next()["type"] == "MODIFIED"
    fake.compact()
    stream = watch("runs", f"resourceVersion={version}")
    assert stream.status == 200
    error = stream.next()
    assert error["type"] == "ERROR" and error["object"]["kind"] == "Status"
    assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
    assert error["object"]["message"].startswith(f"too old resource version: {version} (")
    assert stream.next() is None
    fake.settings(gone_as_status=True)
    assert watch("runs", f"resourceVersion={version}").status == 410


def test_compaction_is_of_all_resources(fake, watch):
    version = fake.list("runs")["metadata"]["resourceVersion"]
    fake.create("customruns", "a", RUN)
    fake.compact()
    assert watch("runs", f"resourceVersion={version}").next()["object"]["code"] == 410


def test_crd_deleted_under_a_watch(fake, watch):
    version = fake.create("runs", "a", RUN)["metadata"]["resourceVersion"]
    stream = watch("runs", f"resourceVersion={version}")
    fake.serve("runs", False)
    assert stream.next()["type"] == "DELETED"
    assert stream.next() is None


def test_unsupported_watch_options_are_not_ignored(fake, watch):
    assert watch("runs", "labelSelector=a").status == 400
    assert watch("runs", "sendInitialEvents=true").status == 422


def test_chunks_unrelated_to_objects(fake, watch):
    fake.settings(watch_chunk_bytes=7)
    fake.create("runs", "a", RUN)
    assert watch("runs").next()["object"]["spec"] == RUN
    fake.inject("runs", "")  # nothing to send must not end the stream
    raw = raw_exchange(fake, raw_get(fake, fake.path("runs", namespace=None) + "?watch=1&timeoutSeconds=1"))
    assert b"\r\n7\r\n{\"type\"\r\n7\r\n:\"ADDED\r\n" in raw


def test_inject_raw_bytes(fake, watch):
    stream = watch("runs", "resourceVersion=" + fake.list("runs")["metadata"]["resourceVersion"])
    fake.inject("runs", "\n{garbage\n")
    assert stream.response.readline() == b"\n"
    assert stream.response.readline() == b"{garbage\n"


# Faults


def test_status_fault_is_not_applied_and_counts(fake):
    fake.create("runs", "a", RUN)
    fake.fault("status", method="PATCH", path="/runs/a", times=2, status=429, retry_after=3)
    for _ in range(2):
        answer = fake.patch("runs", "a", waiting(), status=True)
        assert is_status(answer, 429, "TooManyRequests")["details"] == {"retryAfterSeconds": 3}
        assert answer.headers["Retry-After"] == "3"
    assert fake.faults() == [{"action": "status", "hits": 2, "left": 0}]
    assert fake.condition("runs", "a") == {}
    assert fake.patch("runs", "a", waiting(), status=True).status == 200


def test_status_fault_with_a_body_and_skip(fake):
    fake.fault("status", method="GET", path="limit=", skip=1, status=200, body="not json")
    path = fake.path("runs") + "?limit=1"
    assert fake.request("GET", path).json()["kind"] == "RunList"
    assert fake.request("GET", path).text == "not json"


def test_body_contains(fake):
    fake.create("runs", "a", RUN)
    fake.fault("status", body_contains='"True"', status=500, times=-1)
    assert fake.patch("runs", "a", waiting(), status=True).status == 200
    body = is_status(fake.patch("runs", "a", waiting("x", "True"), status=True), 500, "InternalError")
    assert "failed calling webhook" in body["message"]


@pytest.mark.parametrize("flags", [[], ["--plain"]])
def test_reset(make_fake, flags):
    fake = make_fake(*flags)
    fake.create("runs", "a", RUN)
    fake.fault("reset", method="PATCH")
    with pytest.raises(ConnectionResetError) as raised:
        fake.patch("runs", "a", waiting(), status=True)
    # Python takes a reset below TLS for an end, which it reports as a RemoteDisconnected.
    assert raised.type is (ConnectionResetError if flags else http.client.RemoteDisconnected)
    assert fake.condition("runs", "a") == {}


def test_reset_in_the_middle_of_a_watched_object(fake, watch):
    version = fake.list("runs")["metadata"]["resourceVersion"]
    fake.fault("reset", path="watch=1", after_bytes=400)
    stream = watch("runs", "resourceVersion=" + version)
    fake.create("runs", "a", RUN)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        stream.response.read(4096)
    fes.wait_until(lambda: fake.state()["watches"] == 0)


def test_hang_never_answers(fake):
    fake.create("runs", "a", RUN)
    fake.fault("hang", method="GET", path="/runs/a")
    connection = fake.connect()
    connection.connect()
    connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        fake.send(connection, "GET", fake.path("runs", "a"))
    connection.close()
    assert fake.get("runs", "a")


def test_silent_stall_of_a_watch(fake, watch):
    stream = watch("runs", "resourceVersion=" + fake.list("runs")["metadata"]["resourceVersion"])
    fes.wait_until(lambda: fake.state()["watches"] == 1)
    fake.drop("watches", "hang")
    fake.create("runs", "a", RUN)
    stream.connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        stream.next()
    stream.close()
    fes.wait_until(lambda: fake.state()["watches"] == 0)


@pytest.mark.parametrize("close_notify", [True, False])
def test_truncated_answer(fake, close_notify):
    fake.create("runs", "a", {"blob": "x" * 5000})
    request = raw_get(fake, fake.path("runs", "a"))
    whole = raw_exchange(fake, request)
    fake.fault("truncate", method="GET", path="/runs/a", close_notify=close_notify)
    if close_notify:
        part = raw_exchange(fake, request)
        assert whole[:2000] == part[:2000] and len(whole) / 3 < len(part) < len(whole)
    else:
        with pytest.raises(ssl.SSLError, match="UNEXPECTED_EOF"):
            raw_exchange(fake, request)


def test_truncated_chunk_of_a_watch(fake, watch):
    version = fake.list("runs")["metadata"]["resourceVersion"]
    fake.fault("truncate", path="watch=1")
    stream = watch("runs", "resourceVersion=" + version)
    fake.create("runs", "a", RUN)
    with pytest.raises(http.client.IncompleteRead):
        stream.response.read()


def test_drop_answer_applies_the_patch(fake):
    fake.create("runs", "a", RUN)
    fake.fault("drop_answer", method="PATCH")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        fake.patch("runs", "a", waiting(), status=True)
    assert fake.condition("runs", "a")["reason"] == "Waiting"
    assert fake.log(method="PATCH")[0]["status"] == 200


def test_dribble_one_byte_at_a_time(fake):
    fake.create("runs", "a", RUN)
    fake.fault("dribble", method="GET", path="/runs/a")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", fake.port)) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(raw_get(fake, fake.path("runs", "a")))
        pieces = []
        while piece := tls.recv(4096):
            pieces.append(piece)
    assert set(map(len, pieces)) == {1}
    assert json.loads(b"".join(pieces).split(b"\r\n\r\n", 1)[1])["spec"] == RUN


def test_garbage(fake):
    fake.create("runs", "a", RUN)
    fake.fault("garbage", method="GET", path="/runs/a")
    with pytest.raises(http.client.BadStatusLine):
        fake.get("runs", "a")


def test_delay(fake):
    fake.fault("delay", method="GET", delay_ms=200)
    begin = time.monotonic()
    fake.list("runs")
    assert time.monotonic() - begin >= 0.2


def test_requests_in_flight_are_counted(fake):
    fake.fault("delay", method="GET", delay_ms=1500, times=-1)  # for the fifth to come before the first is answered
    threads = [threading.Thread(target=fake.list, args=("runs",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    fes.wait_until(lambda: fake.state()["inFlight"] == 5)
    for thread in threads:
        thread.join()
    assert (fake.state()["inFlight"], fake.state()["inFlightPeak"]) == (0, 5)


def test_misspelt_fault_is_refused(fake):
    for body in ({"action": "resett"}, {"action": "reset", "timez": 1}, {"action": "status"},
                 {"action": "hang", "match": {"verb": "GET"}}):
        with pytest.raises(AssertionError):
            fake.control("POST", "faults", body)


def test_drop_watches(fake, watch):
    version = fake.list("runs")["metadata"]["resourceVersion"]
    streams = {how: None for how in ("end", "clean", "dirty", "reset")}
    for how in streams:
        stream = watch("runs", "resourceVersion=" + version)
        fes.wait_until(lambda: fake.state()["watches"] == 1)
        fake.drop("watches", how)
        if how == "end":
            assert stream.next() is None
        else:
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError, ssl.SSLError)):
                stream.response.read()
        fes.wait_until(lambda: fake.state()["watches"] == 0)


def test_pause_refuses_connections_and_comes_back(fake):
    control = fake.connect()
    fake.send(control, "POST", "/_control/pause", {"ms": 1500}).read()
    with pytest.raises(ConnectionRefusedError):
        fake.list("runs")
    with socket.socket() as another, pytest.raises(OSError, match="Address already in use"):
        another.bind(("127.0.0.1", fake.port))  # nor may anybody else listen there meanwhile
    def back():
        try:
            return fake.list("runs")
        except ConnectionRefusedError:
            return None
    fes.wait_until(back)
    control.close()


def test_pause_stalls(fake):
    fake.pause(300, stall=True)
    with socket.create_connection(("127.0.0.1", fake.port)):
        pass
    assert fake.list("runs")["items"] == []


# Requests on the wire


@pytest.mark.parametrize("text,status", [
    (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: a\n\r\n\r\n", 400),
    (b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3145729\r\n\r\n", 413),
])
def test_malformed_requests_are_refused(fake, text, status):
    assert raw_exchange(fake, text).startswith(b"HTTP/1.1 %d " % status)


def test_pipelined_and_split_requests(fake):
    one = raw_get(fake, "/version").replace(b"Connection: close\r\n", b"")
    two = raw_get(fake, "/readyz")
    received = raw_exchange(fake, one + two)
    assert received.count(b"HTTP/1.1 200 OK") == 2 and received.endswith(b"\r\n\r\nok")


def test_large_object_and_100_continue(fake):
    blob = base64.b64encode(os.urandom(1_050_000)).decode()
    created = fake.create("customruns", "big", {"blob": blob})
    assert len(json.dumps(created)) > 1_400_000
    assert fake.get("customruns", "big")["spec"]["blob"] == blob
    body = json.dumps({"apiVersion": "tekton.dev/v1alpha1", "kind": "Run", "metadata": {"name": "e"}}).encode()
    head = (f"POST {fake.path('runs')} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {fake.token()}\r\n"
            f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n").encode()
    context = ssl.create_default_context(cafile=fake.ca_file)
    with socket.create_connection(("127.0.0.1", fake.port)) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(head)
        assert tls.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        tls.sendall(body)
        assert tls.recv(100).startswith(b"HTTP/1.1 201 Created")


def test_client_that_resets_is_survived(fake):
    for _ in range(20):
        plain = socket.create_connection(("127.0.0.1", fake.port))
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plain.sendall(b"\x16\x03\x01")
        plain.close()
    assert fake.list("runs")["items"] == []


# What people and tests read


def test_table(fake):
    fake.create("runs", "wait-for-a", RUN)
    fake.create("runs", "b", RUN)
    fake.patch("runs", "wait-for-a", waiting("Waiting", startTime="2026-01-01T00:00:00Z"), status=True)
    assert fake.table("runs") == (
        "NAME         SUCCEEDED   REASON    STARTTIME              COMPLETIONTIME\n"
        "b\n"
        "wait-for-a   Unknown     Waiting   2026-01-01T00:00:00Z\n")


def test_request_log(fake):
    fake.clear_log()
    fake.request("GET", fake.path("runs", "x"), headers={"User-Agent": "me/1"})
    (entry,) = fake.log()
    assert (entry["method"], entry["status"], entry["userAgent"]) == ("GET", 404, "me/1")
    assert entry["target"] == fake.path("runs", "x") and abs(entry["ms"] / 1000 - time.time()) < 10
    assert fake.log(method="PATCH") == [] and len(fake.log(path="/runs/")) == 1
    assert fake.state()["requests"] == 1


def test_times_of_writes(fake):
    before = time.time() * 1000
    fake.create("runs", "a", RUN)
    fake.patch("runs", "a", waiting("Done", "True"), status=True)
    created, patched = fake.writes("runs", "a")
    assert before <= created.ms <= patched.ms <= time.time() * 1000
    assert (created.type, patched.type, patched.succeeded, patched.reason) == ("ADDED", "MODIFIED", "True", "Done")


def test_thousands_of_objects(fake):
    connection = fake.connect()
    for i in range(2000):
        body = {"apiVersion": "tekton.dev/v1beta1", "kind": "CustomRun", "metadata": {"name": f"r{i}"}, "spec": RUN}
        fake.send(connection, "POST", fake.path("customruns"), body).read()
    connection.close()
    assert sum(len(page["items"]) for page in pages(fake, "customruns", 250)) == 2000
