/* The guard: what stock evhttp lets through is refused with a status, one line of JSON, and a closed
 * connection; what is well-formed is served; deadlines are absolute; limits hold. */
#include "http_test.h"

#include "http/head_priv.h"

#define H "Host: x\r\n"

struct row {
    const char *name;
    struct str bytes;
    int status;
};
#define ROW(name, text, status) \
    {                           \
        name, STR(text), status \
    }

/* clang-format off */
static const struct row rows[] = {
    ROW("two different lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 40\r\n\r\nabc", 400),
    ROW("two equal lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ROW("length with sign", "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", 400),
    ROW("negative length", "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\nabc", 400),
    ROW("hexadecimal length", "POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc", 400),
    ROW("list of lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc", 400),
    ROW("two lengths in one", "POST / HTTP/1.1\r\n" H "Content-Length: 3 3\r\n\r\nabc", 400),
    ROW("empty length", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\nabc", 400),
    ROW("length beyond 64 bits", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\n", 413),
    ROW("length beyond 4 MiB", "POST / HTTP/1.1\r\n" H "Content-Length: 4194305\r\n\r\n", 413),
    ROW("space before colon", "POST / HTTP/1.1\r\n" H "Content-Length : 37\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ROW("tab before colon", "POST / HTTP/1.1\r\n" H "Content-Length\t: 3\r\n\r\nabc", 400),
    ROW("no length", "POST / HTTP/1.1\r\n" H "\r\n", 411),
    ROW("chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    ROW("xchunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 411),
    ROW("gzip, chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 411),
    ROW("chunk size 0x3", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 411),
    ROW("chunk size +3", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", 411),
    ROW("chunk with an extension", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", 411),
    ROW("chunk that does not end", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n", 411),
    ROW("chunked and length", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 411),
    ROW("chunked with 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    ROW("bare LF everywhere", "GET / HTTP/1.1\nHost: x\n\n", 400),
    ROW("bare LF after a value", "GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
    ROW("bare LF at the end", "GET / HTTP/1.1\r\n" H "\n", 400),
    ROW("bare CR in a value", "GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n", 400),
    ROW("CR CR LF", "GET / HTTP/1.1\r\n" H "A: b\r\r\n\r\n", 400),
    ROW("NUL in a value", "GET / HTTP/1.1\r\n" H "Authorization: Bearer good\0evil\r\n\r\n", 400),
    ROW("NUL in a name", "GET / HTTP/1.1\r\n" H "A\0: b\r\n\r\n", 400),
    ROW("DEL in a value", "GET / HTTP/1.1\r\n" H "A: \x7F\r\n\r\n", 400),
    ROW("empty header name", "GET / HTTP/1.1\r\n" H ": b\r\n\r\n", 400),
    ROW("space in a name", "GET / HTTP/1.1\r\n" H "A b: c\r\n\r\n", 400),
    ROW("no colon", "GET / HTTP/1.1\r\n" H "Abc\r\n\r\n", 400),
    ROW("folded line", "GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", 400),
    ROW("folded first line", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    ROW("HTTP/1.9", "GET / HTTP/1.9\r\n" H "\r\n", 505),
    ROW("HTTP/2.0", "GET / HTTP/2.0\r\n" H "\r\n", 505),
    ROW("HTTP/1.1x", "GET / HTTP/1.1x\r\n" H "\r\n", 400),
    ROW("http in lower case", "GET / http/1.1\r\n" H "\r\n", 400),
    ROW("HTTP/0.9", "GET /\r\n\r\n", 400),
    ROW("two spaces", "GET  / HTTP/1.1\r\n" H "\r\n", 400),
    ROW("space in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", 400),
    ROW("space after the version", "GET / HTTP/1.1 \r\n" H "\r\n", 400),
    ROW("control byte in the target", "GET /\x01 HTTP/1.1\r\n" H "\r\n", 400),
    ROW("DEL in the target", "GET /\x7F HTTP/1.1\r\n" H "\r\n", 400),
    ROW("eighth bit in the target", "GET /\xC3\xA9 HTTP/1.1\r\n" H "\r\n", 400),
    ROW("fragment in the target", "GET /#a HTTP/1.1\r\n" H "\r\n", 400),
    ROW("target without slash", "GET a HTTP/1.1\r\n" H "\r\n", 400),
    ROW("absolute target", "GET http://x/ HTTP/1.1\r\n" H "\r\n", 400),
    ROW("target with a host", "GET //x:99999/ HTTP/1.1\r\n" H "\r\n", 400),
    ROW("asterisk", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 400),
    ROW("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
    ROW("two Hosts", "GET / HTTP/1.1\r\n" H "Host: y\r\n\r\n", 400),
    ROW("Host with a space", "GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    ROW("Host with a slash", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    ROW("unknown method", "BREW / HTTP/1.1\r\n" H "\r\n", 405),
    ROW("method in lower case", "get / HTTP/1.1\r\n" H "\r\n", 405),
    ROW("long method", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" H "\r\n", 405),
    ROW("TRACE", "TRACE / HTTP/1.1\r\n" H "\r\n", 405),
    ROW("CONNECT", "CONNECT x:80 HTTP/1.1\r\n" H "\r\n", 405),
    ROW("method with a bad byte", "G(T / HTTP/1.1\r\n" H "\r\n", 400),
    ROW("empty line first", "\r\nGET / HTTP/1.1\r\n" H "\r\n", 400),
    ROW("TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01", 400),
    ROW("GET with a body", "GET / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 400),
    ROW("other expectation", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 200-ok\r\n\r\nabc", 417),
    ROW("longer expectation", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continued\r\n\r\nabc", 417),
    ROW("shorter expectation", "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100\r\n\r\nabc", 417),
    ROW("two expectations", "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 400),

    ROW("GET", "GET /ok HTTP/1.1\r\n" H "\r\n", 200),
    ROW("GET, keep-alive", "GET /ok HTTP/1.1\r\n" H "Connection: keep-alive\r\n\r\n", 200),
    ROW("GET with length 0", "GET /ok HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200),
    ROW("empty Host", "GET /ok HTTP/1.1\r\nHost:\r\n\r\n", 200),
    ROW("Host with a port", "GET /ok HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 200),
    ROW("white space around values", "POST /ok HTTP/1.1\r\nHost: \t x \t\r\nContent-Length: \t3 \t\r\n\r\nabc", 200),
    ROW("empty value", "GET /ok HTTP/1.1\r\n" H "A:\r\n\r\n", 200),
    ROW("value with bytes above 127", "GET /ok HTTP/1.1\r\n" H "A: \xC3\xA9\r\n\r\n", 200),
    ROW("1.0 without Host", "GET /ok HTTP/1.0\r\n\r\n", 200),
    ROW("POST", "POST /ok HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 200),
    ROW("POST of nothing", "POST /ok HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200),
    ROW("POST with Content-Length in capitals", "POST /ok HTTP/1.1\r\n" H "CONTENT-LENGTH: 003\r\n\r\nabc", 200),
    ROW("PUT", "PUT /ok HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 405),
    ROW("DELETE", "DELETE /ok HTTP/1.1\r\n" H "\r\n", 405),
    ROW("OPTIONS", "OPTIONS /ok HTTP/1.1\r\n" H "\r\n", 405),
    ROW("PATCH without a length", "PATCH /ok HTTP/1.1\r\n" H "\r\n", 405),
    ROW("PATCH of an unknown path", "PATCH /no HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 404),
    ROW("target of all kinds of bytes", "GET /ok?a=%00%zz&b=\\\"<>^`{|}' HTTP/1.1\r\n" H "\r\n", 200),
    ROW("scheme in the path", "GET /http://x:y@[z HTTP/1.1\r\n" H "\r\n", 404),
};
/* clang-format on */
#define ROWS (sizeof rows / sizeof rows[0])

static int served;

static void on_ok(void *arg, struct http_request *r)
{
    struct http_reply reply = {.status = 200, .body = STR("{}")};
    served++;
    http_reply(((struct rig *)arg)->server, http_request_id(r), &reply);
}

static void start(struct rig *rig, const struct guard_limits *limits)
{
    rig_start(rig, limits);
    served = 0;
    CHECK(http_route(rig->server, HTTP_GET, "/ok", on_ok, rig));
    CHECK(http_route(rig->server, HTTP_POST, "/ok", on_ok, rig));
}

static struct guard_limits small(void)
{
    struct guard_limits l;
    http_default_limits(&l);
    l.linger_ms = 50;
    return l;
}

/* What ends is not ended by the deadline for lingering. */
static struct guard_limits patient(void)
{
    struct guard_limits l = small();
    l.linger_ms = 10 * WAIT_MS;
    return l;
}

static bool guarded(int status)
{
    return status != 200 && status != 404;
}

static void test_table_on_sockets(void)
{
    struct guard_limits limits = patient();
    struct rig rig;
    struct client c;

    for (int split = 0; split < 2; split++) {
        start(&rig, &limits);
        for (const struct row *row = rows; row < rows + ROWS; row++) {
            struct str body;
            harness_case("%s%s", row->name, split ? ", byte by byte" : "");
            client_open(&c, &rig);
            if (split)
                for (size_t i = 0; i < row->bytes.len; i++)
                    client_send(&c, (struct str){row->bytes.at + i, 1});
            else
                client_send(&c, row->bytes);
            CHECK_INT(client_answer(&c, &body), row->status);
            CHECK(!c.reset);
            if (row->status != 200) {
                CHECK(str_starts(body, STR("{\"error\":\"")) && str_ends(body, STR("\"}\n")));
                CHECK_HAS(client_in(&c), STR("\r\nContent-Type: application/json\r\n"));
            }
            CHECK_INT(str_has(client_in(&c), STR("\r\nAllow: GET, HEAD, POST\r\n")), row->status == 405);
            /* The only methods that get as far as the router and are refused there. */
            bool routed = str_has(STR("PUT DELETE OPTIONS"), str_of(row->name));
            if (guarded(row->status) && !routed) {
                CHECK_HAS(client_in(&c), STR("\r\nConnection: close\r\n"));
                client_wait_closed(&c);
                CHECK(!c.reset);
            }
            client_close(&c);
        }
        rig_stop(&rig);
    }
}

/* However a head is cut in two, the verdict and what was read are the same. */
static void test_any_split_is_the_same(void)
{
    for (const struct row *row = rows; row < rows + ROWS; row++) {
        struct head whole;
        head_init(&whole);
        size_t read = head_feed(&whole, row->bytes);
        for (size_t cut = 0; cut <= row->bytes.len; cut++) {
            struct head parts;
            harness_case("%s, cut at %zu", row->name, cut);
            head_init(&parts);
            size_t n = head_feed(&parts, str_upto(row->bytes, cut));
            if (parts.verdict == HEAD_MORE)
                n += head_feed(&parts, str_from(row->bytes, cut));
            CHECK_INT(n, read);
            CHECK_INT(parts.verdict, whole.verdict);
            CHECK_INT(parts.status, whole.status);
            CHECK_INT(parts.body_bytes, whole.body_bytes);
        }
    }
}

/* A second request in the same bytes: both answered when good; the good one, and then the refusal, when not.
 */
static void test_pipelining(void)
{
    static const char *second[] = {"GET /ok HTTP/1.1\r\n" H "\r\n", "GET /ok HTTP/1.1\r\n\r\n", "\r\n", "X",
                                   "POST /ok HTTP/1.1\r\n" H "Content-Length: 9999999\r\n\r\nabc"};
    static const int status[] = {200, 400, 400, 0, 413};
    struct rig rig;
    struct client c;
    char bytes[512];

    start(&rig, NULL);
    for (size_t i = 0; i < 5; i++) {
        harness_case("second is %s", second[i]);
        served = 0;
        client_open(&c, &rig);
        snprintf(bytes, sizeof bytes, "POST /ok HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab%s", second[i]);
        client_text(&c, bytes);
        CHECK_INT(client_answer(&c, NULL), 200);
        client_next(&c);
        if (status[i]) {
            CHECK_INT(client_answer(&c, NULL), status[i]);
            CHECK_INT(served, status[i] == 200 ? 2 : 1);
        }
        if (status[i] >= 400)
            client_wait_closed(&c);
        client_close(&c);
    }
    rig_stop(&rig);
}

static void test_head_too_large(void)
{
    struct rig rig;
    struct client c;

    start(&rig, NULL);
    client_open(&c, &rig);
    client_text(&c, "GET /ok HTTP/1.1\r\n" H "A: ");
    for (int i = 0; i < 17; i++) {
        char kib[1024];
        memset(kib, 'x', sizeof kib);
        client_send(&c, (struct str){kib, sizeof kib});
    }
    CHECK_INT(client_answer(&c, NULL), 431);
    client_wait_closed(&c);
    client_close(&c);

    harness_case("many lines");
    client_open(&c, &rig);
    client_text(&c, "GET /ok HTTP/1.1\r\n" H);
    for (int i = 0; i < 200; i++)
        client_text(&c, "A:\r\n");
    CHECK_INT(client_answer(&c, NULL), 431);
    client_close(&c);

    harness_case("just small enough");
    client_open(&c, &rig);
    char line[16384 - 100];
    memset(line, 'x', sizeof line);
    client_text(&c, "GET /ok HTTP/1.1\r\n" H "A: ");
    client_send(&c, (struct str){line, sizeof line});
    client_text(&c, "\r\n\r\n");
    CHECK_INT(client_answer(&c, NULL), 200);
    client_close(&c);
    rig_stop(&rig);
}

/* The refusal reaches a client that goes on sending a body that nobody wants: it is read, to the last byte. */
static void test_413_is_seen_while_sending(void)
{
    static char body[5 << 20];
    struct guard_limits limits = patient();
    struct rig rig;
    struct client c;

    start(&rig, &limits);
    client_open(&c, &rig);
    client_text(&c, "POST /ok HTTP/1.1\r\n" H "Content-Length: 5242880\r\n\r\n");
    for (size_t sent = 0; sent < sizeof body;) {
        ssize_t n = client_try_send(&c, body + sent, sizeof body - sent);
        CHECK(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        rig_loop(&rig, EVLOOP_NONBLOCK);
    }
    CHECK_INT(client_answer(&c, NULL), 413);
    client_wait_closed(&c);
    CHECK(!c.reset);
    CHECK_INT(served, 0);
    client_close(&c);
    rig_stop(&rig);
}

/* Who was refused and does not leave has seen the end of the answer, and loses the connection soon after. */
static void test_lingering_ends(void)
{
    struct guard_limits limits = small();
    struct rig rig;
    struct client c;

    start(&rig, &limits);
    client_open(&c, &rig);
    client_text(&c, "BREW / HTTP/1.1\r\n");
    CHECK_INT(client_answer(&c, NULL), 405);
    client_wait_closed(&c);
    RIG_UNTIL(&rig, http_server_connections(rig.server) == 0);
    client_close(&c);
    rig_stop(&rig);
}

/* A byte now and then does not move a deadline. */
static void test_deadlines_are_absolute(void)
{
    static const struct {
        const char *name;
        const char *begin;
        bool trickles;
        int status; /* 0: closed without an answer */
    } cases[] = {
        {"nothing sent", "", false, 0},
        {"head never ends", "GET /ok HTTP/1.1\r\nA: ", true, 408},
        {"body never ends", "POST /ok HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\n", true, 408},
        {"second head never ends", "GET /ok HTTP/1.1\r\n" H "\r\nG", false, 408},
    };
    struct guard_limits limits = small();
    struct rig rig;
    struct client c;

    limits.head_ms = 800; /* the handshake is in it, on a busy machine too */
    limits.body_ms = 1000;
    start(&rig, &limits);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        harness_case("%s", cases[i].name);
        client_open(&c, &rig);
        int64_t begin = clock_ms();
        client_text(&c, cases[i].begin);
        if (i == 3) {
            CHECK_INT(client_answer(&c, NULL), 200);
            client_next(&c);
        }
        while (!c.closed && clock_ms() < begin + WAIT_MS) {
            rig_turn(&rig, 10);
            if (cases[i].trickles && c.len == 0)
                client_text(&c, "x");
            client_poll(&c);
        }
        CHECK(c.closed);
        CHECK(clock_ms() - begin >= (i == 2 ? 990 : 790));
        CHECK_INT(answer_at(client_in(&c), false, NULL, NULL), cases[i].status);
        client_close(&c);
    }
    CHECK_INT(rig_refused(&rig, CAUSE_HEAD_TIME), 2);
    CHECK_INT(rig_refused(&rig, CAUSE_BODY_TIME), 1);
    rig_stop(&rig);
}

static void test_body_total(void)
{
    struct guard_limits limits = small();
    struct rig rig;
    struct client a, b;
    static char bytes[6000];

    limits.bodies = 10000;
    start(&rig, &limits);
    client_open(&a, &rig);
    client_open(&b, &rig);
    client_text(&a, "POST /ok HTTP/1.1\r\n" H "Content-Length: 7000\r\n\r\n");
    client_send(&a, (struct str){bytes, sizeof bytes});
    RIG_UNTIL(&rig, http_server_connections(rig.server) == 2);
    client_text(&b, "POST /ok HTTP/1.1\r\n" H "Content-Length: 7000\r\n\r\n");
    client_send(&b, (struct str){bytes, sizeof bytes});
    CHECK_INT(client_answer(&b, NULL), 503);
    CHECK_HAS(client_in(&b), STR("\r\nRetry-After: 2\r\n"));
    client_close(&b);

    /* What was refused no longer counts, and what is finished does not either. */
    client_send(&a, (struct str){bytes, 1000});
    CHECK_INT(client_answer(&a, NULL), 200);
    client_open(&b, &rig);
    client_text(&b, "POST /ok HTTP/1.1\r\n" H "Content-Length: 9000\r\n\r\n");
    client_send(&b, (struct str){bytes, sizeof bytes});
    client_send(&b, (struct str){bytes, 3000});
    CHECK_INT(client_answer(&b, NULL), 200);

    /* What a handler keeps counts as well. */
    client_close(&b);
    client_open(&b, &rig);
    http_server_set_queued(rig.server, 5000);
    client_text(&b, "POST /ok HTTP/1.1\r\n" H "Content-Length: 7000\r\n\r\n");
    client_send(&b, (struct str){bytes, sizeof bytes});
    CHECK_INT(client_answer(&b, NULL), 503);
    CHECK_INT(rig_refused(&rig, CAUSE_BODIES), 2);
    client_close(&a);
    client_close(&b);
    rig_stop(&rig);
}

static void test_idle_limit(void)
{
    struct guard_limits limits = small();
    struct rig rig;
    struct client c[4];

    limits.idle = 2;
    start(&rig, &limits);
    for (int i = 0; i < 4; i++) {
        client_open(&c[i], &rig);
        client_text(&c[i], "GET /ok HTTP/1.1\r\n" H "\r\n");
        CHECK_INT(client_answer(&c[i], NULL), 200);
    }
    client_wait_closed(&c[0]);
    client_wait_closed(&c[1]);
    RIG_UNTIL(&rig, http_server_connections(rig.server) == 2);
    for (int i = 2; i < 4; i++) {
        client_next(&c[i]);
        client_text(&c[i], "GET /ok HTTP/1.1\r\n" H "\r\n");
        CHECK_INT(client_answer(&c[i], NULL), 200);
    }
    for (int i = 0; i < 4; i++)
        client_close(&c[i]);
    rig_stop(&rig);
}

/* At the limit an idle connection makes room; without one, new ones wait in the kernel until another ends. */
static void test_connection_limit(void)
{
    struct guard_limits limits = small();
    struct rig rig;
    struct client c[5], late;

    limits.connections = 3;
    limits.grace_ms = WAIT_MS;
    start(&rig, &limits);
    for (int i = 0; i < 5; i++) {
        client_open(&c[i], &rig);
        client_text(&c[i], "G");
    }
    RIG_UNTIL(&rig, rig.reports > 0);
    CHECK_TEXT(rig.last_report, "connection limit reached, accepting no more");
    for (int i = 0; i < 20; i++)
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
    CHECK_INT(http_server_connections(rig.server), 3);
    CHECK_INT(rig_paused(&rig, PAUSE_CONNECTIONS), 1);
    CHECK_INT(rig_paused(&rig, PAUSE_ERROR), 0);
    client_close(&c[0]);
    client_text(&c[3], "ET /ok HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c[3], NULL), 200);
    client_close(&c[1]);
    client_text(&c[4], "ET /ok HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c[4], NULL), 200);
    for (int i = 0; i < 5; i++)
        client_close(&c[i]);

    harness_case("idle makes room");
    RIG_UNTIL(&rig, http_server_connections(rig.server) == 0);
    for (int i = 0; i < 2; i++) {
        client_open(&c[i], &rig);
        client_text(&c[i], "GET /ok HTTP/1.1\r\n" H "\r\n");
        CHECK_INT(client_answer(&c[i], NULL), 200);
    }
    client_open(&late, &rig);
    client_text(&late, "GET /ok HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&late, NULL), 200);
    client_wait_closed(&c[0]);
    client_close(&late);
    client_close(&c[0]);
    client_close(&c[1]);
    rig_stop(&rig);
}

static uint64_t held;

static void on_hold(void *arg, struct http_request *r)
{
    (void)arg;
    held = http_request_id(r);
}

/* At the limit, of those that send nothing, or never all of a head, the oldest end; who sends a head is served, and
 * what is being served goes on. */
static void test_oldest_heads_make_room(void)
{
    struct guard_limits limits = small();
    struct rig rig;
    struct client slow[8], kept, late;
    int n_closed = 0;

    limits.connections = 6;
    limits.grace_ms = 20;
    limits.head_ms = limits.linger_ms = 10 * WAIT_MS;
    start(&rig, &limits);
    CHECK(http_route(rig.server, HTTP_GET, "/hold", on_hold, NULL));
    client_open(&kept, &rig);
    client_text(&kept, "GET /hold HTTP/1.1\r\n" H "\r\n");
    RIG_UNTIL(&rig, held != 0);
    client_open(&slow[0], &rig);
    client_text(&slow[0], "BREW / HTTP/1.1\r\n");
    CHECK_INT(client_answer(&slow[0], NULL), 405);
    for (int i = 1; i < 8; i++) {
        client_open(&slow[i], &rig);
        client_text(&slow[i], i % 2 ? "" : "GET /ok HT");
    }
    client_open(&late, &rig);
    client_text(&late, "GET /ok HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&late, NULL), 200);
    CHECK(rig.reports >= 2 && rig.reports <= 3); /* a refusal, the limit, the first that ends */
    for (int i = 0; i < 8; i++) {
        client_poll(&slow[i]);
        CHECK(i == 0 || slow[i].closed <= slow[i - 1].closed); /* the oldest first */
        n_closed += slow[i].closed;
    }
    CHECK(n_closed >= 4 && n_closed <= 5);
    http_reply(rig.server, held, &(struct http_reply){.status = 200, .body = STR("{}")});
    CHECK_INT(client_answer(&kept, NULL), 200);
    for (int i = 0; i < 8; i++)
        client_close(&slow[i]);
    client_close(&kept);
    client_close(&late);
    rig_stop(&rig);
}

/* Heads that never end fill their share of the memory and no more, and the oldest go. */
static void test_head_total(void)
{
    struct guard_limits limits = small();
    struct rig rig;
    struct client c[4];

    limits.heads = 3000;
    start(&rig, &limits);
    for (int i = 0; i < 4; i++) {
        char line[1000];
        memset(line, 'x', sizeof line);
        client_open(&c[i], &rig);
        client_text(&c[i], "GET /ok HTTP/1.1\r\n" H "A:");
        client_send(&c[i], (struct str){line, sizeof line});
        RIG_UNTIL(&rig, http_server_connections(rig.server) == (i < 2 ? i + 1u : 2));
    }
    client_wait_closed(&c[0]);
    client_wait_closed(&c[1]);
    CHECK_TEXT(rig.last_report, "no room for all connections, closing the oldest");
    CHECK_INT(rig.reports, 1);
    for (int i = 2; i < 4; i++) {
        client_text(&c[i], "\r\n\r\n");
        CHECK_INT(client_answer(&c[i], NULL), 200);
    }
    for (int i = 0; i < 4; i++)
        client_close(&c[i]);
    rig_stop(&rig);
}

/* A client that sends on and on while its answer is not read does not fill the memory. */
static void test_flood_is_bounded(void)
{
    struct rig rig;
    struct client c;
    static char junk[1 << 16];
    size_t sent = 0;

    memset(junk, 'x', sizeof junk);
    start(&rig, NULL);
    client_open(&c, &rig);
    client_text(&c, "POST /ok HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    RIG_UNTIL(&rig, (client_poll(&c), c.len > 0));
    CHECK_HAS(client_in(&c), STR("HTTP/1.1 100 Continue\r\n\r\n"));
    c.len = 0;
    client_text(&c, "abcGET /ok HTTP/1.1\r\n" H "A: ");
    CHECK_INT(client_answer(&c, NULL), 200);
    client_next(&c);
    for (int64_t end = clock_ms() + 300; (clock_ms() < end || sent < sizeof junk) && !c.closed;) {
        ssize_t n = client_try_send(&c, junk, sizeof junk);
        sent += n > 0 ? (size_t)n : 0;
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
        client_poll(&c);
    }
    CHECK_INT(client_answer(&c, NULL), 431);
    CHECK(sent >= HTTP_MAX_HEAD);
    client_close(&c);
    rig_stop(&rig);
}

/* Small and fixed: the same bytes each time. */
static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static size_t mutate(const struct row *row, char bytes[static 1024], uint32_t *random)
{
    static const char interesting[] = "\r\n\0 \t:/?%0919,;azAZ\x7F\x80\xFF";
    size_t len = row->bytes.len < 900 ? row->bytes.len : 900;

    memcpy(bytes, row->bytes.at, len);
    for (uint32_t n = next_random(random) % 3 + 1; n > 0 && len > 1; n--) {
        size_t at = next_random(random) % len;
        char c = interesting[next_random(random) % (sizeof interesting - 1)];
        switch (next_random(random) % 4) {
        case 0: bytes[at] = c; break;
        case 1: memmove(bytes + at, bytes + at + 1, --len - at); break;
        case 2:
            memmove(bytes + at + 1, bytes + at, len++ - at);
            bytes[at] = c;
            break;
        case 3: bytes[at] ^= (char)(1 << next_random(random) % 8); break;
        }
    }
    return len;
}

static bool is_for_ok(struct str request)
{
    struct str method = str_split(&request, ' ');
    struct str target = str_split(&request, ' ');

    return (str_eq(method, STR("GET")) || str_eq(method, STR("POST"))) &&
           str_eq(str_split(&target, '?'), STR("/ok"));
}

/* Whatever is sent: no more requests are served than a reading of the whole finds, the first bad one is
 * answered, and evhttp never answers by itself (its error pages are HTML). Clients end their side, so that
 * every connection comes to its end. */
static void test_mutated_requests(void)
{
    struct guard_limits limits = small();
    struct rig rig;
    struct client c;
    char bytes[1024];
    uint32_t random = 20260801;

    limits.linger_ms = 5;
    start(&rig, &limits);
    for (int round = 0; round < 4000; round++) {
        const struct row *row = &rows[next_random(&random) % ROWS];
        size_t len = mutate(row, bytes, &random);
        struct str rest = {bytes, len};
        struct head head;
        int good = 0, admitted = 0;
        bool first_good = false;
        harness_case("round %d, %s", round, row->name);
        for (;; admitted++) {
            head_init(&head);
            size_t n = head_feed(&head, rest);
            if (head.verdict != HEAD_DONE || rest.len - n < head.body_bytes)
                break;
            good += is_for_ok(rest);
            first_good |= admitted == 0 && good == 1;
            rest = str_from(rest, n + (size_t)head.body_bytes);
        }
        served = 0;
        client_open(&c, &rig);
        client_send(&c, (struct str){bytes, len});
        if (first_good)
            RIG_UNTIL(&rig, served > 0);
        if (admitted == 0 && head.verdict == HEAD_REFUSED)
            CHECK_INT(client_answer(&c, NULL), head.status);
        shutdown(c.fd, SHUT_WR);
        client_wait_closed(&c);
        CHECK(served <= good);
        CHECK(!str_has(client_in(&c), STR("<")));
        client_close(&c);
    }
    rig_stop(&rig);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_table_on_sockets),
                                       TEST(test_any_split_is_the_same),
                                       TEST(test_pipelining),
                                       TEST(test_head_too_large),
                                       TEST(test_413_is_seen_while_sending),
                                       TEST(test_lingering_ends),
                                       TEST(test_deadlines_are_absolute),
                                       TEST(test_body_total),
                                       TEST(test_idle_limit),
                                       TEST(test_connection_limit),
                                       TEST(test_oldest_heads_make_room),
                                       TEST(test_head_total),
                                       TEST(test_flood_is_bounded),
                                       TEST(test_mutated_requests),
                                       {0}});
}
