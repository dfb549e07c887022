"""export, import, verify: a store as text, and back."""

import json
import os
import shutil
import subprocess

import pytest

import fes
from fes import ROOT, golden

GOLDEN = sorted(name for name in os.listdir(os.path.join(ROOT, "test/golden/flux")) if name.endswith(".json"))
DATA_V1 = os.path.join(ROOT, "test/golden/data-v1")


def run(*arguments):
    return subprocess.run([fes.SERVER_BINARY, *map(str, arguments)], capture_output=True, timeout=60)


def export(data):
    done = run("export", "--data-dir", data)
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture
def filled(make_server):
    """A data directory with every golden event, a coalesced record, and a gap where retention was."""
    server = make_server()
    for name in GOLDEN:
        assert server.post(golden(name)).status == 200
    for minute in range(3):
        server.post({"metadata": {"revision": "z", "cluster": "c\u0001ü"}, "reason": "ReconciliationSucceeded",
                     "timestamp": f"2026-01-01T00:0{minute}:00Z", "message": str(minute)})
    assert run("export", "--data-dir", server.data_dir).returncode == 2, "a server holds it"
    assert server.terminate() == 0
    return server.data_dir


def test_round_trip(filled, make_server, tmp_path):
    text = export(filled)
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[-1]["records"] == len(GOLDEN) + 1 == len(lines) - 1
    assert lines[-2]["count"] == 3
    file = tmp_path / "export.ndjson"
    file.write_bytes(text)
    copy = tmp_path / "copy"
    assert run("import", file, "--data-dir", copy).returncode == 0
    assert export(copy) == text
    assert run("verify", "--data-dir", copy).returncode == 0
    again = run("import", file, "--data-dir", copy)
    assert again.returncode == 2 and b"holds events already" in again.stderr
    server = make_server("--data-dir", str(copy))
    for i, name in enumerate(GOLDEN, 1):
        raw = server.get(f"/events/{i}", headers={"Accept": "application/octet-stream"})
        assert raw.body == golden(name), name
    assert server.post(golden(GOLDEN[0])).json() == {"id": "1"}, "a repeat is known"
    assert server.post({"reason": "new"}).json() == {"id": str(len(GOLDEN) + 2)}


@pytest.mark.parametrize("what, line", [
    ("cut between lines", 9), ("cut in a line", 8), ("a flipped bit", 5), ("a line is missing", 34), ("two lines swapped", 4),
    ("something behind", 35), ("empty", 1)])
def test_a_bad_export_is_refused(filled, tmp_path, what, line):
    lines = export(filled).splitlines(keepends=True)
    total = len(lines)
    if what == "cut between lines":
        lines = lines[:8]
    elif what == "cut in a line":
        lines = lines[:7] + [lines[7][:50]]
    elif what == "a flipped bit":
        lines[4] = lines[4][:90] + bytes([lines[4][90] ^ 1]) + lines[4][91:]
    elif what == "a line is missing":
        del lines[10]
        line = total - 1
    elif what == "two lines swapped":
        lines[2], lines[3] = lines[3], lines[2]
    elif what == "something behind":
        lines.append(lines[0])
        line = total + 1
    else:
        lines = []
    file = tmp_path / "bad.ndjson"
    file.write_bytes(b"".join(lines))
    done = run("import", file, "--data-dir", tmp_path / "copy")
    assert done.returncode == 2 and f"bad.ndjson, line {line}:".encode() in done.stderr, done
    assert len(export(tmp_path / "copy").splitlines()) == 1, "nothing of it was kept"


def test_verify_names_what_is_damaged(filled):
    data = os.path.join(filled, "data.mdb")
    with open(data, "r+b") as file:
        content = bytearray(file.read())
        at = content.find(b'"reason":"BuildFailed"')
        assert at > 0
        while at >= 0:
            content[at + 10] ^= 1
            at = content.find(b'"reason":"BuildFailed"', at)
        file.seek(0)
        file.write(content)
    done = run("verify", "--data-dir", filled)
    assert done.returncode == 2 and b"is damaged: " in done.stdout and b"damaged records" in done.stderr, done
    assert run("export", "--data-dir", filled).returncode == 2, "no export of a damaged store"


@pytest.mark.parametrize("command", ["export", "verify"])
def test_reading_makes_nothing(tmp_path, command):
    none = tmp_path / "none"
    done = run(command, "--data-dir", none)
    assert done.returncode == 2 and b"none/data.mdb: No such file" in done.stderr and done.stdout == b"", done
    assert not none.exists(), "an export of nothing would look like a backup"


def test_the_first_schema_opens_for_ever(make_server, tmp_path):
    """test/golden/data-v1 was written by the first version with schema 1, and export.ndjson beside it then."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(os.path.join(DATA_V1, "data.mdb"), data)
    with open(os.path.join(DATA_V1, "export.ndjson"), "rb") as file:
        assert export(data) == file.read()
    server = make_server("--data-dir", str(data))
    first = server.get("/events/1").json()
    assert first["reason"] == "ReconciliationSucceeded" and first["count"] == 3, first
    assert server.post({"reason": "new"}).status == 200
