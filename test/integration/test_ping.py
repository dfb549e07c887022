"""ping URL: posts an event to a server and reads it back; what `helm test` runs."""

import contextlib
import http.server
import itertools
import socket
import subprocess
import threading
import time

import pytest

import fes


def ping(*arguments):
    return subprocess.run([fes.SERVER_BINARY, "ping", *map(str, arguments)], capture_output=True, timeout=60, text=True)


def url(server):
    return f"http://127.0.0.1:{server.port}"


def test_is_stored_and_given_back(make_server):
    server = make_server()
    done = ping(url(server))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == f"{url(server)} stored an event and gives it back: id 1\n"
    [record] = server.get("/events").json()
    assert (record["reason"], record["class"], record["via"]) == ("Ping", "other", "webhook")


def test_again_is_one_record(make_server):
    server = make_server()
    assert [ping(url(server)).returncode for _ in range(3)] == [0, 0, 0]
    assert len(server.get("/events").json()) == 1


def test_by_name(make_server):
    server = make_server()
    done = ping(f"http://localhost:{server.port}/")
    assert done.returncode == 0, done


def test_with_the_tokens_it_is_given(make_server, tmp_path):
    for name in ("post", "read"):
        (tmp_path / name).write_text(f"{name}-secret\n")
    flags = ("--post-token-file", tmp_path / "post", "--read-token-file", tmp_path / "read")
    server = make_server(*map(str, flags))
    done = ping(url(server), *flags)
    assert done.returncode == 0, done

    done = ping(url(server), "--read-token-file", tmp_path / "read")
    assert done.returncode == 1 and "POST /events: 401 " in done.stderr and done.stderr.count("\n") == 1, done
    done = ping(url(server), "--post-token-file", tmp_path / "post")
    assert done.returncode == 1 and "GET /events/ID: 401 " in done.stderr, done
    done = ping(url(server), "--post-token-file", tmp_path / "read", "--read-token-file", tmp_path / "post")
    assert done.returncode == 1 and "secret" not in done.stdout + done.stderr, done


def test_one_line_that_names_what_is_wrong(tmp_path):
    missing = tmp_path / "missing"
    for arguments, line in [
        (["ftp://x"], "ping ftp://x: not of the form http(s)://host[:port]"),
        (["http://x/events"], "ping http://x/events: not of the form http(s)://host[:port]"),
        (["http://127.0.0.1:1", "--post-token-file", missing], f"--post-token-file {missing}: No such file"),
        (["http://127.0.0.1:1", "--read-token-file", missing], f"--read-token-file {missing}: No such file"),
        (["https://127.0.0.1:1", "--server-ca-file", missing], f"--server-ca-file {missing}: "),
    ]:
        done = ping(*arguments)
        assert done.returncode == 2 and line in done.stderr and done.stderr.count("\n") == 1, (arguments, done)
    done = ping()
    assert done.returncode == 2 and "ping URL" in done.stderr, done


AT_ONCE = 10  # seconds, a third of those for which it tries again


def fails_at_once(address, *flags):
    """The one line that it ends with, without having tried again."""
    begun = time.monotonic()
    done = ping(address, *flags)
    assert time.monotonic() - begun < AT_ONCE, done
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done
    return done.stderr


def test_https_where_no_tls_is_spoken(make_server):
    server = make_server()
    line = fails_at_once(f"https://127.0.0.1:{server.port}")
    assert "POST /events: no answer: TLS: wrong version number; " in line and "give http://" in line


def test_who_does_not_speak_http():
    """Most servers that speak TLS say so with an alert of seven bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x15\x03\x01\x00\x02\x02\x16")
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            line = fails_at_once(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            thread.join()
    assert "no answer: a TLS alert instead of an HTTP answer; " in line and "give https://" in line


@pytest.fixture
def silent_tls(tmp_path):
    """The port of a server that speaks TLS and hangs up on anything else without a word."""
    files = tmp_path / "tls.key", tmp_path / "tls.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                    "-subj", "/CN=x", "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    child = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:0", "-key", files[0], "-cert", files[1], "-www"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield next(int(line.rsplit(":", 1)[1]) for line in child.stdout if line.startswith("ACCEPT "))
    finally:
        child.kill()
        child.communicate()


def test_who_speaks_tls_and_says_nothing(silent_tls):
    line = fails_at_once(f"http://127.0.0.1:{silent_tls}")
    assert "POST /events: no answer: " in line and line.endswith("; the server speaks TLS on this port: give https://\n"), line
    line = fails_at_once(f"https://127.0.0.1:{silent_tls}")  # and there it is the certificate
    assert "certificate verify failed" in line and "--server-ca-file" in line, line


def test_our_own_server_says_so_itself(make_server, tmp_path, silent_tls):
    server = make_server("--tls-cert-file", str(tmp_path / "tls.crt"), "--tls-key-file", str(tmp_path / "tls.key"),
                         wait_ready=False)
    server.wait_listening()
    assert "use https" in fails_at_once(f"http://127.0.0.1:{server.port}")


def test_who_hangs_up_may_be_starting(make_server, reserved):
    """It is asked over TLS, too, and where no TLS is spoken asked again until there is a server."""
    address = f"http://127.0.0.1:{reserved}"
    heard = []
    with socket.create_server(("127.0.0.1", reserved)) as listener:
        child = subprocess.Popen([fes.SERVER_BINARY, "ping", address], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            listener.settimeout(fes.DEADLINE)
            while sum(first_byte == b"P" for first_byte in heard) < 2:
                connection, _ = listener.accept()
                with connection:
                    heard.append(connection.recv(1))
        except BaseException:
            child.kill()
            child.communicate()
            raise
    try:
        assert b"\x16" in heard and set(heard) == {b"P", b"\x16"}, heard
        again = make_server("--listen", address.removeprefix("http://"))
        assert child.wait(fes.DEADLINE) == 0, child.stderr.read()
        assert len(again.get("/events").json()) == 1
    finally:
        child.kill()
        child.communicate()


def test_what_to_do_about_a_token(make_server, tmp_path):
    for name in ("post", "read"):
        (tmp_path / name).write_text(f"{name}-secret\n")
    post, read = ("--post-token-file", tmp_path / "post"), ("--read-token-file", tmp_path / "read")
    address = url(make_server(*map(str, post + read)))
    for flags, remedy in [
        ((), "give its token with --post-token-file"),
        (("--post-token-file", tmp_path / "read"), "the token of --post-token-file is not the server's"),
        (post, "give its token with --read-token-file"),
        (post + ("--read-token-file", tmp_path / "post"), "the token of --read-token-file is not the server's"),
    ]:
        line = fails_at_once(address, *flags)
        assert line.endswith(f": 401 {{\"error\":\"unauthorized\"}}; {remedy}\n"), line


class Stranger(http.server.BaseHTTPRequestHandler):
    """A web server that says the same to everything, 200 as a wrong address often does, or one status after the other."""

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = self.server.answers[self.command]
        self.send_response(next(self.server.statuses))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def stranger_with(answers, *statuses):
    """The last status is said again and again."""
    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        stranger.answers, stranger.statuses = answers, itertools.chain(statuses, itertools.repeat(statuses[-1]))
        thread = threading.Thread(target=stranger.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{stranger.server_port}"
        finally:
            stranger.shutdown()
            thread.join()


def test_another_server_is_no_success():
    for answers, line in [
        ({"POST": b"<html>hello</html>"}, "POST /events is not answered as flux-event-store does: <html>hello</html>"),
        ({"POST": b'{"id":"../runs"}'}, "POST /events is not answered"),
        ({"POST": b'{"id":"7"}', "GET": b'{"id":"8","reason":"Ping","involvedObject":{"name":"flux-event-store"}}'},
         "GET /events/ID is not answered"),
        ({"POST": b'{"id":"7"}', "GET": b"[]"}, "GET /events/ID is not answered"),
    ]:
        with stranger_with(answers, 200) as address:
            assert line in fails_at_once(address), answers


def test_who_forbids_it():
    with stranger_with({"POST": b"no"}, 403) as address:
        assert "POST /events: 403 no; a proxy, or another server" in fails_at_once(address)


def test_asks_again_while_the_store_is_being_opened():
    """503 to either request is no end."""
    answers = {"POST": b'{"id":"7"}', "GET": b'{"id":"7","reason":"Ping","involvedObject":{"name":"flux-event-store"}}'}
    with stranger_with(answers, 503, 200, 503, 200) as address:
        done = ping(address)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == f"{address} stored an event and gives it back: id 7\n"


@pytest.mark.slow
def test_gives_up_after_30_seconds(reserved):
    """With what went wrong the last time."""
    begun = time.monotonic()
    done = ping(f"http://127.0.0.1:{reserved}")
    took = time.monotonic() - begun
    assert 29 < took < 35, done
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done
    assert done.stderr.endswith(": POST /events: no answer: Connection refused\n"), done


def test_waits_for_a_server_that_starts(make_server, reserved):
    address = f"http://127.0.0.1:{reserved}"
    child = subprocess.Popen([fes.SERVER_BINARY, "ping", address], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        again = make_server("--listen", address.removeprefix("http://"))
        assert child.wait(fes.DEADLINE) == 0, child.stderr.read()
        assert len(again.get("/events").json()) == 1
    finally:
        child.kill()
        child.communicate()
