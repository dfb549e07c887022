"""docs/openapi.yaml against the binary: its routes, methods, query parameters, statuses, and the form of its answers."""

import copy
import os
import re

import jsonschema
import pytest
import yaml

import fes
from test_docs import event

SHA = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
with open(os.path.join(fes.ROOT, "docs/openapi.yaml"), encoding="utf-8") as file:
    SPEC = yaml.safe_load(file)
STRICT = ("Verdict", "Run", "Error", "ExportLine", "ExportTrailer")


def resolved(node):
    while "$ref" in node:
        name = node["$ref"]
        node = SPEC
        for part in name[2:].split("/"):
            node = node[part]
    return node


def operation(path, method="get"):
    return SPEC["paths"][path][method]


def query_parameters(path, method="get"):
    parameters = [resolved(p) for p in operation(path, method).get("parameters", [])]
    return [p["name"] for p in parameters if p["in"] == "query"]


def strict_spec():
    """With no member allowed that the document does not name."""
    spec = copy.deepcopy(SPEC)
    for name in STRICT:
        spec["components"]["schemas"][name]["additionalProperties"] = False
    spec["components"]["schemas"]["Verdict"]["properties"]["objects"]["items"]["additionalProperties"] = False
    spec["components"]["schemas"]["Record"]["unevaluatedProperties"] = False
    return spec


def check(answer, path, method="get"):
    """The answer is one that the document names, and has its form."""
    responses = operation(path, method)["responses"]
    assert str(answer.status) in responses, (path, answer)
    response = resolved(responses[str(answer.status)])
    kind = answer.headers["Content-Type"].split(";")[0]
    assert kind in response["content"], (path, answer)
    if kind == "application/json":
        resolver = jsonschema.RefResolver("", strict_spec())
        jsonschema.Draft202012Validator(response["content"][kind]["schema"], resolver=resolver).validate(answer.json())
    for header in response.get("headers", {}):
        assert header == "Link" or answer.headers[header], (path, answer)
    return answer


def test_paths(make_server):
    error = make_server().get("/").json()["error"]
    assert set(re.search(r"served are (.*)", error).group(1).split(", ")) == set(SPEC["paths"])


@pytest.mark.parametrize("path", SPEC["paths"])
def test_methods(path, make_server):
    answer = make_server().request("DELETE", path.replace("{id}", "1"))
    assert answer.status == 405
    documented = {method.upper() for method in SPEC["paths"][path]}
    if "GET" in documented and path != "/wait":
        documented.add("HEAD")
    assert set(answer.headers["Allow"].split(", ")) == documented


@pytest.mark.parametrize("path", SPEC["paths"])
def test_parameters(path, make_server):
    server = make_server()
    for method in SPEC["paths"][path]:
        answer = check(server.request(method.upper(), path.replace("{id}", "1") + "?no-such=1", "{}" if method == "post" else None),
                       path, method)
        assert answer.status == 400
        known = re.search(r"known are ([^;]+)", answer.json()["error"])
        assert (known.group(1).split(", ") if known else []) == query_parameters(path, method)


def test_answers(make_server, fake, tmp_path):
    server = make_server(fake=fake)
    assert check(server.post(event(SHA)), "/events", "post").json() == {"id": "1"}
    for name in ("11-ks-oci-origin.json", "12-hr-upgrade-succeeded.json", "13-hr-upgrade-failed.json", "26-null-timestamp-null-metadata.json"):
        check(server.post(fes.golden(name)), "/events", "post")
    check(server.post("x"), "/events", "post")
    assert len(check(server.get("/events"), "/events").json()) == 5
    assert check(server.get("/events?limit=1"), "/events").headers["Link"]
    check(server.get("/events/1"), "/events/{id}")
    check(server.get("/events/1", headers={"Accept": "application/octet-stream"}), "/events/{id}")
    check(server.get("/events/99"), "/events/{id}")
    for path in ("/verdict", "/wait"):
        for query in (SHA, "6.5.1", "nothing&timeout=0"):
            check(server.get(f"{path}?revision={query}"), path)
            check(server.get(f"{path}?revision={query}", headers={"Accept": "text/plain"}), path)
    fake.create_customrun("one", SHA)
    fake.create_customrun("two", "nothing", params=[("failAfter", "1m")])
    fake.wait_condition("customruns", "one", "True")
    fake.wait_condition("customruns", "two", "Unknown")
    def runs():
        found = check(server.get("/runs"), "/runs").json()
        return [len(found["waiting"]), len(found["finished"])]
    fes.wait_until(lambda: runs() == [1, 1], what="the answer to its last write has come, too")
    for path in ("/healthz", "/health", "/readyz"):
        assert check(server.get(path), path).status == 200


def test_answers_of_each_verdict(make_server):
    server = make_server()
    for second, (revision, reason) in enumerate((("a", "BuildFailed"), ("b", "ReconciliationSucceeded"), ("c", "Progressing"),
                                                ("d", "ReconciliationSucceeded"))):
        said = {**event(revision * 40, reason), "timestamp": f"2026-08-01T10:00:0{second}Z"}
        said["involvedObject"]["name"] = "alone" if revision == "a" else "apps"
        assert server.post(said).status == 200
    statuses = [check(server.get(f"/wait?revision={r * 40}&timeout=0"), "/wait").status for r in "abcd"]
    assert statuses == [409, 200, 410, 200]


def test_unauthorized(make_server, tmp_path):
    (tmp_path / "token").write_text("secret")
    server = make_server("--read-token-file", str(tmp_path / "token"), "--post-token-file", str(tmp_path / "token"))
    for path, methods in SPEC["paths"].items():
        for method, what in methods.items():
            answer = server.request(method.upper(), path.replace("{id}", "1") + ("?revision=a&timeout=0" if path == "/wait" else ""),
                                    "{}" if method == "post" else None)
            closed = "401" in what["responses"]
            assert (answer.status == 401) == closed, (path, answer)
            if closed:
                check(answer, path, method)


def test_schemas():
    schemas = [*SPEC["components"]["schemas"].values()] + [p["schema"] for p in SPEC["components"]["parameters"].values()]
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
