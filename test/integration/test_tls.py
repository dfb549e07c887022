"""TLS on --listen and the listener for probes, through the real binary, with certificates made by openssl."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from fes import SERVER_BINARY, Answer, instant, wait_until

ROTATIONS = 100
SENDERS = 4


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """A CA in a folder, and what it has signed."""

    def __init__(self, folder, name):
        self.folder = folder
        self.cert, self.key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
        self.number = 0
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                f"/CN={name}", "-keyout", self.key, "-out", self.cert)

    def sign(self, name):
        """Paths of a certificate for 127.0.0.1 and of its key."""
        self.number += 1
        base = str(self.folder / f"{name}-{self.number}")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", base + ".key", "-out", base + ".csr")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.cert, "-CAkey", self.key, "-days", "1",
                "-copy_extensions", "copy", "-out", base + ".crt")
        return base + ".crt", base + ".key"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "ca")


def install(folder, pair):
    """As a pod's Secret volume changes: a new folder, and one link that is turned."""
    number = len(os.listdir(folder))
    new = os.path.join(folder, f"..data_{number}")
    os.makedirs(new)
    for name, path in zip(("tls.crt", "tls.key"), pair):
        with open(path, "rb") as source, open(os.path.join(new, name), "wb") as target:
            target.write(source.read())
    os.symlink(os.path.basename(new), os.path.join(folder, "..data_tmp"))
    os.rename(os.path.join(folder, "..data_tmp"), os.path.join(folder, "..data"))
    for name in "tls.crt", "tls.key":
        if not os.path.lexists(os.path.join(folder, name)):
            os.symlink(os.path.join("..data", name), os.path.join(folder, name))


@pytest.fixture
def start(tmp_path, make_server, authority):
    """start(flags...): a server with a certificate in a mounted volume, and probes beside it. Returns it, ready."""
    def go(*flags):
        volume = tmp_path / "volume"
        volume.mkdir()
        install(str(volume), authority.sign("server"))
        server = make_server("--tls-cert-file", str(volume / "tls.crt"), "--tls-key-file", str(volume / "tls.key"),
                             "--admin-listen", "127.0.0.1:0", *flags, wait_ready=False)
        server.volume = str(volume)
        server.wait_listening()
        ports = {}

        def found():
            for line in server.logs():
                if line.get("msg") == "listening":
                    ports[line["serves"]] = int(line["address"].rsplit(":", 1)[1])
            return len(ports) == 2
        wait_until(found, what="both listeners in the log")
        server.port, server.admin_port = ports["https"], ports["http, probes and metrics"]
        wait_until(lambda: admin(server, "/readyz").status == 200, what="ready")
        return server
    return go


def admin(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=10)
    try:
        connection.request("GET", path)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def counted(server, name):
    found = re.search(rf"^flux_event_store_{re.escape(name)} (\d+)$", admin(server, "/metrics").text, re.MULTILINE)
    assert found, name
    return int(found.group(1))


def context_for(authority, pair=None):
    context = ssl.create_default_context(cafile=authority.cert)
    if pair:
        context.load_cert_chain(*pair)
    return context


def connect(server, context):
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)


def send(connection, method="GET", path="/healthz", body=None):
    connection.request(method, path, body)
    return Answer(connection.getresponse())


def event(revision):
    return json.dumps({"metadata": {"revision": revision}, "reason": "BuildFailed"})


def test_events_over_tls_and_probes_beside(start, authority):
    server = start()
    connection = connect(server, context_for(authority))
    assert send(connection, "POST", "/events", event("a")).json() == {"id": "1"}
    assert send(connection, path="/events").json()[0]["id"] == "1"
    large = json.dumps({"metadata": {"revision": "b"}, "reason": "BuildFailed", "message": "x" * (4 << 20)})
    assert send(connection, "POST", "/events", large[:(4 << 20) - 3] + '"}').json() == {"id": "2"}
    assert send(connection, path="/healthz").status == 200
    assert send(connection, path="/metrics").status == 404, "metrics are on --admin-listen when there is one"
    connection.close()
    assert admin(server, "/metrics").status == 200
    refused = admin(server, "/events")
    assert refused.status == 404 and "/healthz" in refused.text and "/wait" not in refused.text


def test_one_byte_at_a_time_and_a_head_that_is_refused(start, authority):
    server = start()
    for head, status in ((b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
                         (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
                         (b"POST /events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"411")):
        with socket.create_connection(("127.0.0.1", server.port), 10) as raw:
            with context_for(authority).wrap_socket(raw, server_hostname="127.0.0.1") as tls:
                for byte in head:
                    tls.send(bytes([byte]))
                assert tls.recv(4096).split(b" ")[1] == status, head


def test_plain_text_is_refused_on_the_tls_port(start):
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), 10) as raw:
        raw.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        answer = raw.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"this port speaks TLS" in answer
    assert counted(server, 'events_received_total{via="webhook"}') == 0
    assert counted(server, 'http_rejected_total{cause="plain_http"}') == 1
    assert counted(server, 'http_requests_total{code="400"}') == 1


def ping(address, *flags):
    begun = time.monotonic()
    done = subprocess.run([SERVER_BINARY, "ping", address, *flags], capture_output=True, timeout=60, text=True)
    assert time.monotonic() - begun < 10, "it was tried again"
    assert (done.stdout + done.stderr).count("\n") == 1, done
    return done


def test_ping_says_at_once_what_is_wrong(start, authority, tmp_path):
    server = start()
    https = f"https://127.0.0.1:{server.port}"
    assert ping(https, "--server-ca-file", authority.cert).returncode == 0
    for flags, cause in [
        (("--server-ca-file", Authority(tmp_path, "other").cert), "certificate verify failed: "),
        ((), "(with --server-ca-file: the system's certificates); give the CA that signed it with --server-ca-file"),
    ]:
        done = ping(https, *flags)
        assert done.returncode == 1 and cause in done.stderr, done
    done = ping(https.replace("https", "http"))
    assert done.returncode == 1 and "this port speaks TLS: use https" in done.stderr, done


def test_ping_without_the_certificate_that_is_asked_for(start, authority, tmp_path):
    server = start("--tls-client-ca-file", Authority(tmp_path, "clients").cert)
    done = ping(f"https://127.0.0.1:{server.port}", "--server-ca-file", authority.cert)
    assert done.returncode == 1 and "alert certificate required; the server's log says more" in done.stderr, done


def failed_handshakes(server):
    return {cause: counted(server, f'tls_handshakes_failed_total{{cause="{cause}"}}')
            for cause in ("client_certificate", "refused_by_client", "protocol")}


def test_failed_handshakes_are_counted_and_logged_once_a_second(start, authority, tmp_path):
    """Each by its cause: no certificate from the client, a client that does not know the CA, no protocol in common."""
    server = start("--tls-client-ca-file", Authority(tmp_path, "clients").cert)
    http2 = context_for(authority)
    http2.set_alpn_protocols(["h2"])
    contexts = {"client_certificate": context_for(authority), "refused_by_client": ssl.create_default_context(),
                "protocol": http2}
    sent, begun = 0, time.monotonic()
    while time.monotonic() < begun + 2.2 or sent < 10:
        for context in contexts.values():
            with pytest.raises((ssl.SSLError, ConnectionError)):
                send(connect(server, context))
        sent += 1
    most = time.monotonic() - begun + 2  # one a second; the first, and the rest behind them
    wait_until(lambda: failed_handshakes(server) == dict.fromkeys(contexts, sent), what=f"{sent} of each")
    for cause in contexts:
        lines = [line for line in server.logs() if line.get("cause") == cause]
        assert {(line["msg"], line["level"]) for line in lines} == {("TLS handshake failed", "warn")}, lines
        times = [instant(line["time"]) for line in lines]
        assert 2 <= len(lines) <= most and len(lines) < sent, (sent, lines)
        assert min(b - a for a, b in zip(times, times[1:])) >= 0.99, lines
        assert lines[0]["handshakes"] == 1
        assert lines[0]["client"] == "127.0.0.1", lines
        wait_until(lambda cause=cause: sum(line["handshakes"] for line in server.logs() if line.get("cause") == cause) == sent,
                   what="the rest, though no other comes")


def test_client_certificates(start, authority, tmp_path):
    clients = Authority(tmp_path, "clients")
    strangers = Authority(tmp_path, "strangers")
    server = start("--tls-client-ca-file", clients.cert)
    connection = connect(server, context_for(authority, clients.sign("flux")))
    assert send(connection, "POST", "/events", event("a")).status == 200
    connection.close()
    for pair in (None, strangers.sign("flux"), authority.sign("flux")):
        # With TLS 1.3 a client hears of its refusal when it reads.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            send(connect(server, context_for(authority, pair)))
    assert admin(server, "/healthz").status == 200
    wait_until(lambda: any(line.get("msg") == "TLS handshake failed" for line in server.logs()), what="a log line")


def test_a_certificate_that_is_no_root_is_trusted_too(start, authority, tmp_path):
    """As in Kubernetes and Go: what is in the file, and nothing else that its issuer has signed."""
    clients = Authority(tmp_path, "clients")
    pair = clients.sign("flux")
    server = start("--tls-client-ca-file", pair[0])
    assert send(connect(server, context_for(authority, pair)), "POST", "/events", event("a")).status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        send(connect(server, context_for(authority, clients.sign("flux"))))


def test_another_client_ca(start, authority, tmp_path):
    """Taken over without a restart: the clients of the CA that is gone are refused, those of the new one are served."""
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    trusted = tmp_path / "trusted.crt"

    def trust(*authorities):
        before = reads(server)
        new = tmp_path / "trusted.new"
        new.write_text("".join(open(a.cert, encoding="ascii").read() for a in authorities))
        new.rename(trusted)
        server.process.signal(signal.SIGHUP)
        wait_until(lambda: reads(server) > before, what="the CA was read again")

    def posts(context):
        try:
            return send(connect(server, context), "POST", "/events", event("a")).status
        except (ssl.SSLError, ConnectionError):
            return "refused"

    trusted.write_text(open(first.cert, encoding="ascii").read())
    server = start("--tls-client-ca-file", str(trusted))
    old, new = (context_for(authority, a.sign("flux")) for a in (first, second))
    standing = connect(server, old)
    assert send(standing, "POST", "/events", event("a")).status == 200
    assert (posts(old), posts(new)) == (200, "refused")
    trust(first, second)
    assert (posts(old), posts(new)) == (200, 200)
    trust(second)
    assert (posts(old), posts(new)) == ("refused", 200)
    assert send(standing, "POST", "/events", event("a")).status == 200, "a connection that stands goes on"
    standing.close()


def test_a_hundred_rotations_lose_no_request(start, authority):
    """Half of the senders keep their connection, half make one for each request; all of them post while files turn."""
    server = start()
    context = context_for(authority)
    pairs = [authority.sign("server") for _ in range(4)]
    stop, answered, failures = threading.Event(), [0] * SENDERS, []

    def sender(number):
        connection = connect(server, context)
        try:
            while not stop.is_set():
                if number % 2:
                    connection.close()
                answer = send(connection, "POST", "/events", event(f"{number}-{answered[number]}"))
                assert answer.status == 200, answer.text
                answered[number] += 1
        except (OSError, http.client.HTTPException, AssertionError) as error:
            failures.append(f"sender {number}, after {answered[number]}: {error!r}")
        connection.close()

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for number in range(ROTATIONS):
        install(server.volume, pairs[number % len(pairs)])
        server.process.signal(signal.SIGHUP)
        wait_until(lambda number=number: reads(server) > number, what=f"rotation {number} was read")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures and all(answered), (failures, answered)
    total = sum(answered)
    assert f'flux_event_store_events_received_total{{via="webhook"}} {total}\n' in admin(server, "/metrics").text


def reads(server):
    return sum(line.get("msg") == "TLS certificate read again" for line in server.logs())


def served(server, context):
    with socket.create_connection(("127.0.0.1", server.port), 10) as raw:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
            return tls.getpeercert(binary_form=True)


def test_a_changed_file_is_read_without_a_signal_and_a_bad_one_is_not_taken(start, authority, tmp_path):
    server = start()
    context = context_for(authority)
    first = served(server, context)
    install(server.volume, authority.sign("server"))
    wait_until(lambda: served(server, context) != first, what="the new certificate is served")
    second = served(server, context)
    cert, _ = authority.sign("server")
    _, other_key = authority.sign("server")
    install(server.volume, (cert, other_key))
    server.process.signal(signal.SIGHUP)
    wait_until(lambda: any(line["level"] == "warn" and "tls" in json.dumps(line).lower() for line in server.logs()
                           if "level" in line), what="a warning")
    assert served(server, context) == second
    log = "\n".join(json.dumps(line) for line in server.logs())
    with open(other_key, encoding="ascii") as file:
        for secret in [line for line in file.read().splitlines() if "-" not in line]:
            assert secret not in log


@pytest.mark.parametrize("what, word", [("missing", "No such file"), ("other key", "key"), ("no key flag", "--tls-key-file"),
                                        ("garbage", "crt")])
def test_bad_files_end_the_start_with_one_line(tmp_path, authority, what, word):
    cert, key = authority.sign("server")
    if what == "missing":
        key = str(tmp_path / "nowhere")
    elif what == "other key":
        key = authority.sign("server")[1]
    elif what == "garbage":
        with open(cert, "w", encoding="ascii") as file:
            file.write("garbage\n")
    flags = ["--tls-cert-file", cert] + ([] if what == "no key flag" else ["--tls-key-file", key])
    for check in ["--check"], []:
        ran = subprocess.run([os.environ.get("FES_BINARY", "build/flux-event-store"), "--no-kube", "--listen", "127.0.0.1:0",
                              "--allow-network-fs", "--data-dir", str(tmp_path / "data"), *flags, *check],
                             capture_output=True, text=True, timeout=30, check=False)
        assert ran.returncode == 2, ran.stderr
        assert ran.stderr.count("\n") == 1 and word in ran.stderr and "tls" in ran.stderr, ran.stderr


def test_sigterm_answers_what_was_accepted(start, authority):
    server = start()
    connection = connect(server, context_for(authority))
    waiting = connect(server, context_for(authority))
    waiting.request("GET", "/wait?revision=never&timeout=1m")
    assert send(connection, "POST", "/events", event("a")).status == 200
    wait_until(lambda: "flux_event_store_wait_clients 1" in admin(server, "/metrics").text, what="the wait")
    server.process.killed = True
    server.process.signal(signal.SIGTERM)
    assert Answer(waiting.getresponse()).status == 503
    assert server.process.wait_exit(10) == 0


def test_streams_and_exports(start, authority):
    """Long answers over TLS come whole, to their last byte, and end with a clean close."""
    server = start()
    context = context_for(authority)
    poster = connect(server, context)
    n = 40

    def record(i):
        body = json.dumps({"reason": "r", "message": f"{i} " + "x" * 60000})
        assert send(poster, "POST", "/events", body).status == 200

    for i in range(n):
        record(i)
    for _ in range(5):
        reader = connect(server, context)
        reader.request("GET", "/events", headers={"Accept": "application/x-ndjson"})
        lines = Answer(reader.getresponse()).body.splitlines()  # fails when the last chunk is missing
        assert len(lines) == n + 1 and json.loads(lines[-1])["records"] == n
        reader.close()
    reader = connect(server, context)
    reader.request("GET", "/events?after=0", headers={"Accept": "text/event-stream"})
    answer = reader.getresponse()
    text = b""
    while text.count(b"\ndata: ") < n:
        text += answer.read1()
    record(n)
    while text.count(b"\ndata: ") <= n:
        text += answer.read1()
    assert server.terminate() == 0
    text += answer.read()  # fails when the last chunk is missing
    assert text.endswith(b"}\n\n") and text.count(b"\ndata: ") == n + 1
    head = connect(start_again(server), context)
    head.request("HEAD", "/events", headers={"Accept": "application/x-ndjson"})
    assert Answer(head.getresponse()).status == 200


def start_again(server):
    server.start(wait_ready=False)
    server.wait_listening()

    def port():
        return [int(line["address"].rsplit(":", 1)[1]) for line in server.logs(since_start=True)
                if line.get("serves") == "https"]
    server.port = wait_until(port, what="it listens")[0]
    wait_until(lambda: any(line.get("msg") == "started" for line in server.logs(since_start=True)), what="started")
    return server


@pytest.mark.slow
def test_whoever_waits_for_an_answer_is_not_idle(start, authority):
    """As without TLS: a /wait is quiet for longer than an idle connection may be, which ends meanwhile."""
    server = start()
    context = context_for(authority)
    waiting, idle = connect(server, context), connect(server, context)
    assert send(idle, path="/healthz").status == 200
    waiting.request("GET", "/wait?revision=a&timeout=1h")
    waiting.sock.settimeout(125)
    with pytest.raises(TimeoutError):
        waiting.sock.recv(1)
    assert idle.sock.recv(1) == b"", "an idle one ends"
    assert send(connect(server, context), "POST", "/events", event("a")).status == 200
    assert waiting.getresponse().status == 409
