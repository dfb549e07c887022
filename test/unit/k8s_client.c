/* The API client against a server in this program: what it sends, whom it trusts, and what it does when the
 * server misbehaves. */
#include "k8s/client.h"

#include "k8s/client_priv.h"
#include "k8s_server.h"

static struct event_base *base;
static struct server *server;
static struct k8s_client *client;
static struct reports reports;

static struct {
    int n, status;
    enum k8s_fault fault;
    int64_t retry_after_ms;
    uint64_t token, order[64];
    char body[65536], error[512];
} got;

static void on_reply(void *arg, uint64_t token, const struct k8s_reply *reply)
{
    (void)arg;
    got.order[got.n++ % 64] = token;
    got.status = reply->status;
    got.fault = reply->fault;
    got.retry_after_ms = reply->retry_after_ms;
    got.token = token;
    snprintf(got.body, sizeof got.body, "%.*s", STR_ARG(reply->body));
    snprintf(got.error, sizeof got.error, "%s", reply->error ? reply->error : "");
}

static void answer_ok(struct server *s, struct peer *p)
{
    (void)s;
    peer_answer(p, 200, "", "{\"ok\":true}");
}

static void make_client(const char *host, const char *token)
{
    char url[128], err[K8S_ERROR];
    struct k8s_config config = {.api = url};
    struct reporter reporter = reports_to(&reports);

    memset(&got, 0, sizeof got);
    snprintf(url, sizeof url, "%s://%s:%d", server->tls ? "https" : "http", host, server->port);
    if (token)
        config.token_file = write_file("token", token);
    if (server->tls)
        config.ca_file = in_folder("ca.crt");
    client = k8s_client_new(base, &config, &reporter, err);
    if (!client)
        HARNESS_FAIL("no client: %s", err);
}

static void begin(SSL_CTX *tls, void (*on_request)(struct server *, struct peer *))
{
    base = event_base_new();
    server = server_new(base, tls, on_request);
    server_listen(server, "127.0.0.1");
}

static void finish(void)
{
    k8s_client_free(client);
    client = NULL;
    server_free(server);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
}

static void ask(uint64_t token)
{
    CHECK(k8s_request(client, K8S_GET, "/x", STR_NONE, true, on_reply, NULL, token));
}

static SSL_CTX *tls_for(const char *san, long valid_s)
{
    struct authority ca = authority_new("test CA");
    authority_write(&ca, in_folder("ca.crt"));
    SSL_CTX *tls = server_tls(&ca, "127.0.0.1", san, valid_s);
    authority_free(&ca);
    return tls;
}

static void test_get_over_tls(void)
{
    char want[64];

    begin(tls_for("IP:127.0.0.1", 3600), answer_ok);
    make_client("127.0.0.1", " secret-token\n");
    ask(7);
    CHECK_INT(got.n, 0);
    CHECK_INT(k8s_client_pending(client), 1);
    WAIT_FOR(base, got.n == 1, 5000);
    CHECK_INT(got.status, 200);
    CHECK_INT(got.token, 7);
    CHECK_TEXT(got.body, "{\"ok\":true}");
    CHECK_INT(k8s_client_pending(client), 0);
    CHECK_STR(server_asked(server), STR("GET /x"));
    CHECK_HAS(str_of(server->head), STR("\r\nAuthorization: Bearer secret-token\r\n"));
    CHECK_HAS(str_of(server->head), STR("\r\nAccept: application/json\r\n"));
    CHECK_HAS(str_of(server->head), STR("\r\nUser-Agent: flux-event-store/"));
    snprintf(want, sizeof want, "\r\nHost: 127.0.0.1:%d\r\n", server->port);
    CHECK_HAS(str_of(server->head), str_of(want));
    CHECK(strcasestr(server->head, "accept-encoding") == NULL);
    CHECK_INT(reports.n, 0);
    finish();
}

static void test_verbs(void)
{
    begin(NULL, answer_ok);
    make_client("127.0.0.1", NULL);
    CHECK(k8s_request(client, K8S_PATCH, "/p/status", STR("{\"a\":1}"), true, on_reply, NULL, 1));
    WAIT_FOR(base, got.n == 1, 5000);
    CHECK_STR(server_asked(server), STR("PATCH /p/status"));
    CHECK_HAS(str_of(server->head), STR("\r\nContent-Type: application/merge-patch+json\r\n"));
    CHECK_HAS(str_of(server->head), STR("\r\nContent-Length: 7\r\n"));
    CHECK(strstr(server->head, "Authorization") == NULL);
    CHECK_TEXT(server->body, "{\"a\":1}");
    CHECK(k8s_request(client, K8S_CREATE, "/events", STR("{}"), false, NULL, NULL, 2));
    WAIT_FOR(base, server->requests == 2 && k8s_client_pending(client) == 0, 5000);
    CHECK_STR(server_asked(server), STR("POST /events"));
    CHECK_HAS(str_of(server->head), STR("\r\nContent-Type: application/json\r\n"));
    CHECK_INT(server->connections, 1);
    finish();
}

/* Whoever cannot prove to be the API server gets no byte of a request, and so no token. */
static void item_68_impostors(void)
{
    static const struct {
        const char *name, *host, *san;
        long valid_s;
        bool other_ca;
        const char *cause;
    } rows[] = {
        {"wrong CA", "127.0.0.1", "IP:127.0.0.1", 3600, true, "certificate verify failed"},
        {"wrong address", "127.0.0.1", "IP:127.0.0.2", 3600, false,
         "certificate verify failed: IP address mismatch"},
        {"a name for an address", "127.0.0.1", "DNS:127.0.0.1", 3600, false,
         "certificate verify failed: IP address mismatch"},
        {"common name only", "127.0.0.1", NULL, 3600, false,
         "certificate verify failed: IP address mismatch"},
        {"wrong name", "localhost", "DNS:other.example", 3600, false,
         "certificate verify failed: hostname mismatch"},
        {"expired", "127.0.0.1", "IP:127.0.0.1", -60, false,
         "certificate verify failed: certificate has expired"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_case("%s", rows[i].name);
        begin(tls_for(rows[i].san, rows[i].valid_s), answer_ok);
        if (rows[i].other_ca) {
            struct authority other = authority_new("other CA");
            authority_write(&other, in_folder("ca.crt"));
            authority_free(&other);
        }
        make_client(rows[i].host, "secret");
        ask(1);
        WAIT_FOR(base, got.n == 1, 5000);
        CHECK_INT(got.status, 0);
        CHECK_HAS(str_of(got.error), str_of(rows[i].cause));
        CHECK_INT(got.fault, K8S_FAULT_CERTIFICATE);
        CHECK(server->connections > 0);
        CHECK_INT(server->bytes, 0);
        CHECK_INT(server->requests, 0);
        CHECK_HAS(str_of(reports.text), STR("API server unreachable"));
        CHECK_HAS(str_of(reports.text), str_of(rows[i].cause));
        CHECK(strstr(reports.text, "secret") == NULL);
        finish();
    }
}

static void item_68_names_and_ipv6(void)
{
    begin(tls_for("DNS:localhost", 3600), answer_ok);
    make_client("localhost", "t");
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    CHECK_TEXT(got.error, "");
    CHECK_INT(got.status, 200);
    CHECK_HAS(str_of(server->head), STR("\r\nHost: localhost:"));
    finish();

    base = event_base_new();
    server = server_new(base, tls_for("IP:::1", 3600), answer_ok);
    server_listen(server, "::1");
    make_client("[::1]", "t");
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    CHECK_TEXT(got.error, "");
    CHECK_INT(got.status, 200);
    CHECK_HAS(str_of(server->head), STR("\r\nHost: [::1]:"));
    finish();
}

static void want_new_token(struct server *s, struct peer *p)
{
    if (strstr(s->head, "Bearer new"))
        peer_answer(p, 200, "", "{}");
    else
        peer_answer(p, 401, "", "{\"kind\":\"Status\",\"message\":\"Unauthorized\"}");
}

static void item_56_68_rotated_token(void)
{
    begin(NULL, want_new_token);
    make_client("127.0.0.1", "old");
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    CHECK_INT(got.status, 401);
    CHECK_TEXT(got.error, "Unauthorized");
    CHECK_INT(server->requests, 1);
    ask(2);
    WAIT_FOR(base, got.n == 2, 5000);
    CHECK_INT(count_of(reports.text, "API server refuses the credentials"), 1);
    CHECK_HAS(str_of(reports.text), str_of(in_folder("token")));
    write_file("token", "new\n");
    ask(3);
    WAIT_FOR(base, got.n == 3, 5000);
    CHECK_INT(got.status, 200);
    CHECK_INT(server->requests, 4);
    CHECK_INT(server->connections, 1);
    CHECK(strstr(reports.text, "old") == NULL && strstr(reports.text, "Bearer") == NULL);
    finish();
}

static void close_second(struct server *s, struct peer *p)
{
    if (s->requests == 2)
        peer_reset(p);
    else
        peer_answer(p, 200, "", "{}");
}

static void close_all(struct server *s, struct peer *p)
{
    (void)s;
    peer_close(p);
}

static void test_closed_by_server(void)
{
    harness_case("while idle");
    begin(tls_for("IP:127.0.0.1", 3600), answer_ok);
    make_client("127.0.0.1", "t");
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    peer_close(&server->peers[0]);
    ask(2);
    WAIT_FOR(base, got.n == 2, 5000);
    CHECK_INT(got.status, 200);
    CHECK_INT(server->connections, 2);
    CHECK_INT(reports.n, 0);
    finish();

    harness_case("as the request arrives on a used connection");
    begin(NULL, close_second);
    make_client("127.0.0.1", NULL);
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    ask(2);
    WAIT_FOR(base, got.n == 2, 5000);
    CHECK_INT(got.status, 200);
    CHECK_INT(server->requests, 3);
    CHECK_INT(server->connections, 2);
    finish();

    harness_case("on a new connection");
    begin(NULL, close_all);
    make_client("127.0.0.1", NULL);
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    CHECK_INT(got.status, 0);
    CHECK_INT(got.fault, K8S_FAULT_HUNG_UP);
    CHECK_INT(server->requests, 1);
    CHECK_TEXT(got.error, "connection closed by the server");
    finish();
}

static void item_65_unreachable(void)
{
    const char *why;

    begin(NULL, answer_ok);
    server_stop(server);
    make_client("127.0.0.1", NULL);
    CHECK(!k8s_client_reachable(client, &why));
    int64_t start = clock_ms();
    for (uint64_t i = 1; i <= 40; i++)
        ask(i);
    WAIT_FOR(base, got.n >= 16, 5000);
    CHECK_TEXT(got.error, "Connection refused");
    CHECK(!k8s_client_reachable(client, &why));
    CHECK_TEXT(why, "Connection refused");
    RUN_FOR(base, 2500);
    /* The first volley of 16, then at most two a second. */
    CHECK(got.n <= 16 + 2 * (clock_ms() - start) / 1000 + 1);
    CHECK(got.n >= 18);
    CHECK_INT(count_of(reports.text, "API server unreachable"), 1);
    CHECK_HAS(str_of(reports.text), STR("cause=Connection refused"));
    CHECK_INT(reports.n, 1);
    server_listen(server, "127.0.0.1");
    start = net_ms();
    WAIT_FOR(base, got.n == 40, 1500);
    CHECK(net_ms() - start <= 1000);
    CHECK_INT(got.status, 200);
    CHECK(k8s_client_reachable(client, &why));
    CHECK_HAS(str_of(reports.text), STR("API server reachable again"));
    CHECK_INT(reports.n, 2);
    finish();
}

static void too_many_once(struct server *s, struct peer *p)
{
    if (s->requests == 1)
        peer_answer(p, 429, "Retry-After: 1\r\n", "{}");
    else
        peer_answer(p, 200, "", "{}");
}

static void item_53_retry_after_of_the_server(void)
{
    begin(NULL, too_many_once);
    make_client("127.0.0.1", NULL);
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    int64_t start = clock_ms();
    CHECK_INT(got.status, 429);
    CHECK_INT(got.retry_after_ms, 1000);
    ask(2);
    RUN_FOR(base, 800);
    CHECK(server->requests == 1 || clock_ms() - start >= 990);
    WAIT_FOR(base, got.n == 2, 1000);
    CHECK(clock_ms() - start >= 990);
    CHECK_INT(reports.n, 0);
    finish();
}

static const char *pause_asked;

static void wait_a_while(struct server *s, struct peer *p)
{
    (void)s;
    char header[128];

    snprintf(header, sizeof header, "%s%s%s", pause_asked ? "Retry-After:" : "",
             pause_asked ? pause_asked : "", pause_asked ? "\r\n" : "");
    peer_answer(p, 409, header, "{}");
}

/* Seconds, up to a day; a date, which an API server does not send, and all else are none. */
static void test_retry_after_forms(void)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {{NULL, -1},
                {" 0", 0},
                {" 1", 1000},
                {"7", 7000},
                {" 7 ", 7000},
                {" 86400", 86400000},
                {" 86401", -1},
                {" -1", -1},
                {" 1.5", -1},
                {" 1s", -1},
                {" ", -1},
                {" 18446744073709551616", -1},
                {" Wed, 21 Oct 2026 07:28:00 GMT", -1}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_case("%s", rows[i].text ? rows[i].text : "no header");
        pause_asked = rows[i].text;
        begin(NULL, wait_a_while);
        make_client("127.0.0.1", NULL);
        ask(1);
        WAIT_FOR(base, got.n == 1, 5000);
        CHECK_INT(got.status, 409);
        CHECK_INT(got.retry_after_ms, rows[i].ms);
        finish();
    }
}

static void never(struct server *s, struct peer *p)
{
    (void)s, (void)p;
}

static void ask_patiently(uint64_t token)
{
    CHECK(k8s_request(client, K8S_CREATE, "/patient", STR("{}"), false, on_reply, NULL, token));
}

static void test_pool(void)
{
    begin(NULL, never);
    make_client("127.0.0.1", NULL);
    for (uint64_t i = 1; i <= 20; i++)
        ask(i);
    ask_patiently(99);
    WAIT_FOR(base, server->requests == 16, 5000);
    RUN_FOR(base, 50);
    CHECK_INT(server->connections, 16);
    CHECK_INT(server->requests, 16);
    CHECK_INT(k8s_client_pending(client), 21);
    server->on_request = answer_ok;
    for (int i = 0; i < 16; i++)
        peer_answer(&server->peers[i], 200, "", "{}");
    WAIT_FOR(base, got.n == 21, 5000);
    CHECK_INT(server->connections, 16);
    finish();
}

/* A status never waits behind Events and explanations: not in the queue, and not for a connection. */
static void test_patient_leave_room(void)
{
    begin(NULL, never);
    make_client("127.0.0.1", NULL);
    for (uint64_t i = 1; i <= 20; i++)
        ask_patiently(i);
    WAIT_FOR(base, server->requests == K8S_MAX_PATIENT, 5000);
    RUN_FOR(base, 50);
    CHECK_INT(server->requests, K8S_MAX_PATIENT);
    for (uint64_t i = 101; i <= 110; i++)
        ask(i);
    WAIT_FOR(base, server->requests == 16, 5000);
    server->on_request = answer_ok;
    for (int i = 0; i < K8S_MAX_PATIENT; i++)
        peer_answer(&server->peers[i], 200, "", "{}");
    WAIT_FOR(base, got.n == K8S_MAX_PATIENT + 2 + 12, 5000);
    int last_urgent = 0, patient_before = 0;
    for (int i = 0; i < got.n; i++)
        if (got.order[i] > 100)
            last_urgent = i;
    for (int i = 0; i < last_urgent; i++)
        patient_before += got.order[i] < 100;
    CHECK_INT(patient_before, K8S_MAX_PATIENT);
    for (int i = K8S_MAX_PATIENT; i < 16; i++)
        peer_answer(&server->peers[i], 200, "", "{}");
    WAIT_FOR(base, got.n == 30, 5000);
    CHECK_INT(k8s_client_pending(client), 0);
    finish();
}

/* What cannot be sent takes no turn at the gate: neither is the loop kept busy by turns that go unused, nor are the
 * probes of others brought closer together. */
static void test_full_while_unreachable(void)
{
    static const struct {
        const char *name;
        int n_urgent, n_patient, under_way;
    } rows[] = {
        {"no room for a patient one", 0, K8S_MAX_PATIENT + 1, K8S_MAX_PATIENT},
        {"no connection free", K8S_MAX_IN_FLIGHT + 1, 0, K8S_MAX_IN_FLIGHT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_case("%s", rows[i].name);
        begin(NULL, never);
        make_client("127.0.0.1", NULL);
        for (int n = 0; n < rows[i].n_urgent; n++)
            ask(1);
        for (int n = 0; n < rows[i].n_patient; n++)
            ask_patiently(2);
        WAIT_FOR(base, server->requests == rows[i].under_way, 5000);
        k8s_gate_unanswered(k8s_client_gate(client), 0, "said by a watch");
        ask_patiently(3);
        CHECK(turns_in(base, 1500) < 10);
        CHECK_INT(server->requests, rows[i].under_way);
        server->on_request = answer_ok;
        peer_answer(&server->peers[0], 200, "", "{}");
        WAIT_FOR(base, got.n >= 3, 5000);
        finish();
    }
}

/* One at a time tries while the server is down, whatever becomes of what was sent before. */
static void test_one_probe(void)
{
    begin(NULL, never);
    make_client("127.0.0.1", NULL);
    ask(1);
    ask(2);
    WAIT_FOR(base, server->requests == 2, 5000);
    peer_close(&server->peers[0]);
    WAIT_FOR(base, got.n == 1, 5000);
    ask(3);
    ask(4);
    WAIT_FOR(base, server->requests == 3, 2000);
    peer_close(&server->peers[1]);
    WAIT_FOR(base, got.n == 2, 5000);
    RUN_FOR(base, 1200);
    CHECK_INT(server->requests, 3);
    peer_close(&server->peers[2]);
    WAIT_FOR(base, got.n == 3, 5000);
    WAIT_FOR(base, server->requests == 4, 2000);
    peer_answer(&server->peers[3], 200, "", "{}");
    WAIT_FOR(base, got.n == 4, 5000);
    CHECK_INT(got.status, 200);
    finish();
}

static const char *raw;

static void answer_raw(struct server *s, struct peer *p)
{
    (void)s;
    peer_say(p, raw);
    peer_close(p);
}

static void test_broken_answers(void)
{
    static const struct {
        const char *name, *bytes, *error;
    } rows[] = {
        {"no HTTP", "hello\r\n\r\n", ""},
        {"half a head", "HTTP/1.1 200 OK\r\nContent-Le", "connection closed by the server"},
        {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "connection closed by the server"},
        {"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}",
         "connection closed by the server"},
        {"no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
         "malformed or too long"},
        {"too long", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", "too long"},
        {"too long a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5F5E0FF\r\n{}",
         "too long"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        harness_case("%s", rows[i].name);
        raw = rows[i].bytes;
        begin(NULL, answer_raw);
        make_client("127.0.0.1", NULL);
        ask(1);
        WAIT_FOR(base, got.n == 1, 5000);
        CHECK_INT(got.status, 0);
        CHECK(got.error[0]);
        CHECK_HAS(str_of(got.error), str_of(rows[i].error));
        CHECK_INT(got.fault, i == 0 ? K8S_FAULT_NOT_HTTP : K8S_FAULT_NETWORK);
        finish();
    }
    harness_case("chunks");
    raw = "HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n1\r\n "
          "\r\n0\r\n\r\n";
    begin(NULL, answer_raw);
    make_client("127.0.0.1", NULL);
    ask(1);
    WAIT_FOR(base, got.n == 1, 5000);
    CHECK_INT(got.status, 201);
    CHECK_TEXT(got.body, "{} ");
    finish();
}

static void test_free_with_requests(void)
{
    begin(NULL, never);
    make_client("127.0.0.1", NULL);
    for (uint64_t i = 0; i < 20; i++)
        ask(i);
    WAIT_FOR(base, server->requests == 16, 5000);
    k8s_client_free(client);
    client = NULL;
    CHECK_INT(got.n, 20);
    CHECK_INT(got.status, 0);
    finish();
}

/* Accepts, and says nothing: TLS never comes to be. */
static void test_silent_server(void)
{
    begin(NULL, never);
    SSL_CTX_free(tls_for("IP:127.0.0.1", 3600));
    char url[64], err[K8S_ERROR];
    struct reporter reporter = reports_to(&reports);
    snprintf(url, sizeof url, "https://127.0.0.1:%d", server->port);
    memset(&got, 0, sizeof got);
    client = k8s_client_new(base, &(struct k8s_config){.api = url, .ca_file = in_folder("ca.crt")}, &reporter,
                            err);
    CHECK(client != NULL);
    int64_t start = clock_ms();
    ask(1);
    WAIT_FOR(base, got.n == 1, K8S_CONNECT_SECONDS * 1000 + 1000);
    CHECK(clock_ms() - start >= K8S_CONNECT_SECONDS * 1000 - 50);
    CHECK_TEXT(got.error, "connection timed out");
    ask(2);
    start = clock_ms();
    WAIT_FOR(base, got.n == 2, 2500);
    finish();
}

struct last {
    int n, status;
    char error[64];
};

static void on_answer(void *arg, const struct k8s_answer *answer)
{
    struct last *last = arg;
    last->n++;
    last->status = answer->status;
    snprintf(last->error, sizeof last->error, "%s", answer->error ? answer->error : "");
}

/* What was not answered in time may have been carried out: it is not sent again, on a used connection neither. */
static void test_timeout_on_used_connection(void)
{
    static const struct {
        const char *error;
        int64_t deadline_ms, silence_ms;
    } rows[] = {{"no answer in time", 200, 0}, {"silent for too long", 0, 200}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct last last = {0};
        struct k8s_exchange exchange = {.method = EVHTTP_REQ_GET,
                                        .path = "/x",
                                        .connect_ms = 5000,
                                        .deadline_ms = rows[i].deadline_ms,
                                        .silence_ms = rows[i].silence_ms,
                                        .most = 1000,
                                        .on_answer = on_answer,
                                        .arg = &last};
        harness_case("%s", rows[i].error);
        begin(NULL, answer_ok);
        make_client("127.0.0.1", NULL);
        struct k8s_connection *connection = k8s_connection_new(k8s_client_connector(client));
        k8s_connection_send(connection, &exchange);
        WAIT_FOR(base, last.n == 1, 5000);
        CHECK_INT(last.status, 200);
        server->on_request = never;
        k8s_connection_send(connection, &exchange);
        WAIT_FOR(base, last.n == 2, 5000);
        CHECK_TEXT(last.error, rows[i].error);
        CHECK_INT(server->requests, 2);
        CHECK_INT(server->connections, 1);
        k8s_connection_free(connection);
        finish();
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    int failed = harness_run((struct test[]){TEST(test_get_over_tls),
                                             TEST(test_verbs),
                                             TEST(item_68_impostors),
                                             TEST(item_68_names_and_ipv6),
                                             TEST(item_56_68_rotated_token),
                                             TEST(test_closed_by_server),
                                             TEST(item_65_unreachable),
                                             TEST(item_53_retry_after_of_the_server),
                                             TEST(test_retry_after_forms),
                                             TEST(test_pool),
                                             TEST(test_patient_leave_room),
                                             TEST(test_full_while_unreachable),
                                             TEST(test_one_probe),
                                             TEST(test_broken_answers),
                                             TEST(test_free_with_requests),
                                             TEST(test_silent_server),
                                             TEST(test_timeout_on_used_connection),
                                             {0}});
    remove_folder();
    return failed;
}
