"""Requests, and what becomes of them: heads and bodies as clients send them, changed in the ways that make two readers
of one connection disagree about where a request ends (request smuggling), and in ways that nobody thought of.

Everything follows from the random.Random that is handed in, so a seed names a case.
"""

SMUGGLED = b"GET /events?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
BODIES = [b"", b"a", b"abc", b'{"reason":"x"}', b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", SMUGGLED, b"0\r\n\r\n" + SMUGGLED,
          b"x" * 200, b"\r\n\r\n", b"\n\n" + SMUGGLED]
TARGETS = [b"/events", b"/events", b"/events?a=b", b"/", b"/events/1", b"/nope", b"/events?a=%0d%0ab", b"/events%20HTTP/1.1",
           b"//x/events", b"http://x/events", b"*", b"/events#f", b"/ev\xc3\xa9nts", b"/a/../events", b"/events?q=\"<>|^`{}\\"]
METHODS = [b"GET", b"POST", b"POST", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"BREW",
           b"get", b"POST\x00", b"PO ST", b""]
VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"HTTP/01.1", b"HTTP/1.10",
                                b"HTTP/1,1", b"HTTP/1.1\x00", b""]
# Header lines that are known to be read in more than one way, most of them from advisories on proxies and servers.
LINES = [
    b"Content-Length: %d", b"content-length: %d", b"Content-Length:%d", b"Content-Length:\t%d ", b"Content-Length : %d",
    b"Content-Length\t: %d", b" Content-Length: %d", b"\tContent-Length: %d", b"Content-Length: +%d", b"Content-Length: -%d",
    b"Content-Length: 0%d", b"Content-Length: 0x%d", b"Content-Length: %d,%d", b"Content-Length: %d, %d", b"Content-Length: %d %d",
    b"Content-Length: %d;a", b"Content-Length: %d.0", b"Content-Length: %de0", b"Content-Length: \"%d\"", b"Content-Length: \x0b%d",
    b"Content-Length: %d\x00", b"Content-Length: %d\r", b"Content-Length: %d\n", b"Content-Length:\r\n %d", b"Content-Length: %d\r\n\t",
    b"Content-Length\x00: %d", b"Content-Length\xa0: %d", b"Content_Length: %d", b"Content-Length", b"Content-Length:", b": %d",
    b"Content-Length: 18446744073709551616%d", b"Content-Length: 00000000000000000000000000000000%d", b"Content-Length: \xd9\xa3",
    b"X: y\rContent-Length: %d", b"X: y\nContent-Length: %d", b"X: y\r\n Content-Length: %d", b"X:\x00\r\nContent-Length: %d",
    b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity",
    b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding:\r\n chunked", b"Transfer_Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked", b"TE: chunked",
    b"Transfer-Encoding: chunked\x00", b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding: c\xc3\xbchunked", b"Transfer-Encoding:",
    b"Host: y", b"Host:", b"Host: x y", b"Host: a@b", b"Host: x/../y", b"Host: x, y", b"Host : x", b"hOST: x", b"Host: x\x00.y",
    b"Connection: close", b"Connection: keep-alive", b"Connection: close, foo", b"Connection: Foo, CLOSE", b"Connection: Content-Length",
    b"Connection: Transfer-Encoding", b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: websocket", b"HTTP2-Settings: AAMAAABk",
    b"Proxy-Connection: close", b"Keep-Alive: timeout=5", b"Expect: 100-continue", b"Expect: 100-Continue ", b"Expect: 200-ok",
    b"Expect: 100-continue, x", b"Authorization: Bearer good\x00evil", b"A: b\r", b"A\x7f: b", b"A(b): c", b"A: \x7f", b"A: \x01", b"A:",
    b"A: \xff\xfe", b"\x00", b"GET /smuggled HTTP/1.1", b"A: b\r\n\r\nGET /events?smuggled HTTP/1.1\r\nHost: x",
    b"X-HTTP-Method-Override: DELETE", b"Trailer: Content-Length", b"Content-Encoding: gzip", b"Content-Type: application/json",
]
ENDS = [b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b" \r\n", b"\x00\r\n", b"\x0b\r\n", b"\x85\r\n", b""]
BYTES = b"\r\n\x00 \t:/?%0919,;azAZ\x0b\x0c\x7f\x80\x85\xa0\xff"


def request(r):
    """One request, most of the time a good one; its lines are good ones with a chance for one or two that are not."""
    wild = r.random() < 0.6
    body = r.choice(BODIES) if r.random() < 0.7 else b""
    method = r.choice(METHODS) if wild and r.random() < 0.2 else b"POST" if body else r.choice([b"GET", b"HEAD", b"POST"])
    target = r.choice(TARGETS) if wild and r.random() < 0.2 else b"/events"
    version = r.choice(VERSIONS) if wild and r.random() < 0.2 else b"HTTP/1.1"
    lines = [b"Host: x", b"User-Agent: t"]
    if method in (b"POST", b"PUT", b"PATCH") or body:
        lines.append(b"Content-Length: %d" % len(body))
    if wild:
        for _ in range(r.choice([0, 1, 1, 1, 2, 3])):
            line = r.choice(LINES)
            number = r.choice([len(body), len(body), 0, 1, 3, len(body) + 1, max(0, len(body) - 1), 5, 37])
            lines.insert(r.randrange(len(lines) + 1), line.replace(b"%d", b"%d" % number))
        if r.random() < 0.2:
            lines.pop(r.randrange(len(lines)))
    end = (lambda: r.choice(ENDS)) if wild and r.random() < 0.4 else (lambda: b"\r\n")
    return b" ".join([method, target, version]) + end() + b"".join(line + end() for line in lines) + end() + body


def disturb(r, data):
    """One to three bytes set, taken out, put in, or flipped; a piece doubled, or cut away."""
    data = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 3])):
        if len(data) < 2:
            break
        at, what = r.randrange(len(data)), r.randrange(7)
        if what == 0:
            data[at] = r.choice(BYTES)
        elif what == 1:
            del data[at]
        elif what == 2:
            data.insert(at, r.choice(BYTES))
        elif what == 3:
            data[at] ^= 1 << r.randrange(8)
        elif what == 4:
            data[at:at] = data[at:at + r.choice([2, 4, 17])]
        elif what == 5:
            del data[at:at + r.choice([2, 4, 17])]
        elif r.random() < 0.3:
            del data[at:]
    return bytes(data)


def case(r):
    """The bytes of one connection, and where they are cut in two on the way (0: nowhere)."""
    data = b"".join(request(r) for _ in range(r.choice([1, 1, 2, 2, 3])))
    if r.random() < 0.4:
        data = disturb(r, data)
    if r.random() < 0.1:
        data += SMUGGLED
    return data, r.randrange(len(data)) if data and r.random() < 0.3 else 0
