/* The server: routes, methods, answers that come later or too late, clients that leave, the end, listeners.
 */
#include "http_test.h"

#include "http/health.h"
#include "http/pending_priv.h"
#include "http/reply_priv.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define H "Host: x\r\n"

struct app {
    struct rig rig;
    uint64_t held[8]; /* ids whose answer waits */
    size_t n_held;
    char seen[512];
    size_t body_len;
};

static void on_echo(void *arg, struct http_request *r)
{
    struct app *app = arg;
    struct text text;
    const struct http_param *params;
    size_t n;
    char err[HTTP_ERROR];

    text_init(&text, app->seen, sizeof app->seen);
    text_addf(&text, "segment=%.*s a=%.*s", STR_ARG(http_request_segment(r)),
              STR_ARG(http_request_header(r, "A")));
    if (!http_request_params(r, &params, &n, err)) {
        int status =
            http_request_params(r, &params, &n, err) ? 500 : 400; /* whoever asks, gets the same answer */
        http_reply_error(app->rig.server, http_request_id(r), status, "%s", err);
        return;
    }
    for (size_t i = 0; i < n; i++)
        text_addf(&text, " %.*s=%.*s", STR_ARG(params[i].name), STR_ARG(params[i].value));
    struct http_reply reply = {
        .status = 200, .type = "text/plain", .body = text_str(&text), .link = "</x>; rel=\"next\""};
    http_reply(app->rig.server, http_request_id(r), &reply);
}

static void on_hold(void *arg, struct http_request *r)
{
    struct app *app = arg;
    app->body_len = http_request_body(r).len;
    if (app->n_held < 8)
        app->held[app->n_held++] = http_request_id(r);
}

static void on_post(void *arg, struct http_request *r)
{
    struct app *app = arg;
    struct http_reply reply = {.status = 200, .body = http_request_body(r)};
    http_reply(app->rig.server, http_request_id(r), &reply);
}

/* A request is valid until its handler returns, answered or not. */
static void on_post_and_look(void *arg, struct http_request *r)
{
    struct app *app = arg;

    on_post(arg, r);
    app->body_len = http_request_body(r).len;
}

#define BIG (16 << 20) /* more than the kernel takes for a client that does not read */

static void on_big(void *arg, struct http_request *r)
{
    struct app *app = arg;
    struct http_reply reply = {.status = 200, .body = {calloc(1, BIG), BIG}};
    http_reply(app->rig.server, http_request_id(r), &reply);
    free((char *)reply.body.at);
}

static void start(struct app *app, const struct guard_limits *limits)
{
    memset(app, 0, sizeof *app);
    rig_start(&app->rig, limits);
    struct http_server *s = app->rig.server;
    CHECK(http_route(s, HTTP_GET, "/echo", on_echo, app));
    CHECK(http_route(s, HTTP_GET, "/echo/{id}", on_echo, app));
    CHECK(http_route(s, HTTP_POST, "/both", on_post, app));
    CHECK(http_route(s, HTTP_GET, "/both", on_echo, app));
    CHECK(http_route(s, HTTP_POST, "/post", on_post, app));
    CHECK(http_route(s, HTTP_POST, "/hold", on_hold, app));
    CHECK(http_route(s, HTTP_GET, "/hold", on_hold, app));
}

static void answer(struct app *app, uint64_t id)
{
    struct http_reply reply = {.status = 200, .body = STR("{\"late\":true}")};
    http_reply(app->rig.server, id, &reply);
}

/* By the text behind "Date: ". */
static double answer_age_s(const char *date)
{
    struct tm utc = {0};

    CHECK(strptime(date, "%a, %d %b %Y %T GMT\r\n", &utc) != NULL);
    return difftime(time(NULL), timegm(&utc));
}

static void test_routes(void)
{
    static const struct {
        const char *request;
        int status;
        const char *has;
    } rows[] = {
        {"GET /echo", 200, "\r\n\r\nsegment= a=v"},
        {"GET /echo?x=1&y=%2Fa%20b+c&&z", 200, "\r\n\r\nsegment= a=v x=1 y=/a b+c z="},
        {"GET /echo?", 200, "\r\n\r\nsegment= a=v"},
        {"GET /echo?x=%4", 400, "not followed by two hexadecimal digits: x"},
        {"GET /echo?y=1&x=%4", 400, "not followed by two hexadecimal digits: x"},
        {"GET /echo?x=%gg", 400, "not followed by two hexadecimal digits: x"},
        {"GET /echo/a%2Fb", 200, "segment=a%2Fb"},
        {"GET /echo/7?x=1", 200, "segment=7 a=v x=1"},
        {"GET /echo/", 404, "nothing at this path"},
        {"GET /echo/7/8", 404, "nothing at this path"},
        {"GET /ech%6F", 404, "nothing at this path"},
        {"GET /Echo", 404, "nothing at this path"},
        {"GET /", 404, "nothing at this path: served are /echo, /echo/{id}, /both, /post, /hold\"}"},
        {"GET /post", 405, "\r\nAllow: POST\r\n"},
        {"POST /echo", 405, "\r\nAllow: GET, HEAD\r\n"},
        {"DELETE /both", 405, "\r\nAllow: POST, GET, HEAD\r\n"},
        {"PUT /echo/7", 405, "\r\nAllow: GET, HEAD\r\n"},
        {"DELETE /nothing", 404, "nothing at this path"},
        {"GET /both", 200, "\r\nLink: </x>; rel=\"next\"\r\n"},
    };
    struct app app;
    struct client c;
    char bytes[512];

    start(&app, NULL);
    client_open(&c, &app.rig); /* all on one connection: none of these answers ends it */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].request);
        snprintf(bytes, sizeof bytes, "%s HTTP/1.1\r\n" H "A: v\r\nContent-Length: 0\r\n\r\n",
                 rows[i].request);
        client_text(&c, bytes);
        CHECK_INT(client_answer(&c, NULL), rows[i].status);
        CHECK_HAS(client_in(&c), str_of(rows[i].has));
        const char *date = strstr(c.in, "\r\nDate: ");
        CHECK(date != NULL);
        CHECK(strstr(date + 1, "\r\nDate: ") == NULL);
        CHECK(answer_age_s(date + 8) >= 0 && answer_age_s(date + 8) <= 5);
        CHECK_HAS(client_in(&c), rows[i].status == 200 ? STR("Content-Type: text/plain\r\n")
                                                       : STR("Content-Type: application/json\r\n"));
        client_next(&c);
        CHECK_INT(c.len, 0);
    }
    client_close(&c);
    rig_stop(&app.rig);
}

static void test_date(void)
{
    struct reply_date date = {0};

    for (int i = 0; i < 2; i++) {
        CHECK_TEXT(reply_date(&date, 0), "Thu, 01 Jan 1970 00:00:00 GMT");
        CHECK_TEXT(reply_date(&date, 784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
        CHECK_TEXT(reply_date(&date, 784111778), "Sun, 06 Nov 1994 08:49:38 GMT");
        CHECK_TEXT(reply_date(&date, 784111777),
                   "Sun, 06 Nov 1994 08:49:37 GMT"); /* a clock that is set back */
    }
}

static void on_unread(void *arg, struct http_request *r)
{
    struct app *app = arg;
    bool no_memory = str_eq(http_request_segment(r), STR("memory"));
    http_reply_refused(app->rig.server, http_request_id(r), no_memory ? NO_MEMORY : "parameter x: unknown");
}

static void test_refusals_of_parsers(void)
{
    struct app app;
    struct client c;

    start(&app, NULL);
    CHECK(http_route(app.rig.server, HTTP_GET, "/unread/{id}", on_unread, &app));
    client_open(&c, &app.rig);
    client_text(&c, "GET /unread/memory HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 503);
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    CHECK_INT(rig_refused(&app.rig, CAUSE_OVERLOAD), 1);
    client_next(&c);
    client_text(&c, "GET /unread/x HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 400);
    CHECK_INT(rig_refused(&app.rig, CAUSE_BAD_REQUEST), 1);
    CHECK_INT(rig_refused(&app.rig, CAUSE_OVERLOAD), 1);
    client_close(&c);
    rig_stop(&app.rig);
}

static void test_too_many_parameters(void)
{
    struct app app;
    struct client c;
    char bytes[2048] = "GET /echo?";

    start(&app, NULL);
    client_open(&c, &app.rig);
    for (int i = 0; i <= HTTP_MAX_PARAMS; i++)
        snprintf(bytes + strlen(bytes), sizeof bytes - strlen(bytes), "&a=%d", i);
    client_text(&c, bytes);
    client_text(&c, " HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 400);
    CHECK_HAS(client_in(&c), STR("more than 64 query parameters"));
    client_close(&c);
    rig_stop(&app.rig);
}

static void test_head_has_no_body(void)
{
    struct app app;
    struct client c;

    start(&app, NULL);
    client_open(&c, &app.rig);
    client_text(&c, "HEAD /echo HTTP/1.1\r\n" H "\r\nGET /echo HTTP/1.1\r\n" H "A: 2\r\n\r\n");
    RIG_UNTIL(&app.rig, (client_poll(&c), str_has(client_in(&c), STR("a=2"))));
    struct str body;
    size_t len;
    CHECK_INT(answer_at(client_in(&c), true, &body, &len), 200);
    CHECK_HAS(str_upto(client_in(&c), len), STR("\r\nContent-Length: 11\r\n"));
    CHECK_INT(answer_at(str_from(client_in(&c), len), false, &body, NULL), 200);
    CHECK_STR(body, STR("segment= a=2"));
    client_close(&c);
    rig_stop(&app.rig);
}

static void test_connection_header(void)
{
    static const struct {
        const char *request;
        bool closes;
    } rows[] = {
        {"GET /echo HTTP/1.1\r\n" H "\r\n", false},
        {"GET /echo HTTP/1.1\r\n" H "Connection: close\r\n\r\n", true},
        {"GET /echo HTTP/1.1\r\n" H "connection: a , CLOSE\r\n\r\n", true},
        {"GET /echo HTTP/1.1\r\n" H "Connection: keep-alive\r\nConnection: close,b\r\n\r\n", true},
        {"GET /echo HTTP/1.1\r\n" H "Connection: closed, x-close\r\nClose: close\r\n\r\n", false},
        {"GET /echo HTTP/1.0\r\n\r\n", true},
        {"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false},
    };
    struct app app;
    struct client c;

    start(&app, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].request);
        client_open(&c, &app.rig);
        client_text(&c, rows[i].request);
        CHECK_INT(client_answer(&c, NULL), 200);
        if (rows[i].closes) {
            client_wait_closed(&c);
        } else {
            client_next(&c);
            client_text(&c, rows[i].request);
            CHECK_INT(client_answer(&c, NULL), 200);
        }
        client_close(&c);
    }
    rig_stop(&app.rig);
}

/* A body of the largest size comes back as it was, in pieces of any size. */
static void test_large_body(void)
{
    struct app app;
    struct client c;
    struct str body;
    char head[128];
    char *bytes = malloc(HTTP_MAX_BODY);

    start(&app, NULL);
    for (size_t i = 0; i < HTTP_MAX_BODY; i++)
        bytes[i] = (char)(i * 31 + i / 251);
    client_open(&c, &app.rig);
    snprintf(head, sizeof head, "POST /post HTTP/1.1\r\n" H "Content-Length: %u\r\n\r\n", HTTP_MAX_BODY);
    client_text(&c, head);
    for (size_t at = 0, n = 1; at < HTTP_MAX_BODY; at += n, n = n * 3 + 1) {
        if (n > HTTP_MAX_BODY - at)
            n = HTTP_MAX_BODY - at;
        client_send(&c, (struct str){bytes + at, n});
    }
    CHECK_INT(client_answer(&c, &body), 200);
    CHECK_INT(body.len, HTTP_MAX_BODY);
    CHECK(memcmp(body.at, bytes, HTTP_MAX_BODY) == 0);
    client_close(&c);
    free(bytes);
    rig_stop(&app.rig);
}

/* Answers that nobody reads are bounded, whatever the route; what is posted and probed goes on. */
static void test_answers_that_nobody_reads(void)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"GET /big", 503},     {"GET /echo/1", 503}, {"GET /both", 503},    {"POST /both", 200},
        {"GET /probe/1", 200}, {"GET /admin", 200},  {"GET /nothing", 404},
    };
    struct app app;
    struct client greedy[HTTP_MAX_ANSWERS / BIG + 1], c;
    char bytes[128];

    start(&app, NULL);
    CHECK(http_route(app.rig.server, HTTP_GET, "/big", on_big, &app));
    CHECK(http_route_open(app.rig.server, HTTP_GET, "/probe/{id}", on_echo, &app));
    CHECK(http_route_admin(app.rig.server, HTTP_GET, "/admin", on_echo, &app));
    client_open(&c, &app.rig);
    for (size_t i = 0; i < sizeof greedy / sizeof greedy[0]; i++) {
        CHECK(http_server_answer_bytes(app.rig.server) <= HTTP_MAX_ANSWERS);
        client_open(&greedy[i], &app.rig);
        client_text(&greedy[i], "GET /big HTTP/1.1\r\n" H "\r\n");
        RIG_UNTIL(&app.rig, http_server_answer_bytes(app.rig.server) == (i + 1) * BIG);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].request);
        snprintf(bytes, sizeof bytes, "%s HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", rows[i].request);
        client_text(&c, bytes);
        CHECK_INT(client_answer(&c, NULL), rows[i].status);
        CHECK_INT(str_has(client_in(&c), STR("\r\nRetry-After: 2\r\n")), rows[i].status == 503);
        client_next(&c);
    }
    CHECK_INT(http_server_tally(app.rig.server)->numbers.rejected[CAUSE_OVERLOAD], 3);
    client_close(&greedy[0]);
    RIG_UNTIL(&app.rig, http_server_answer_bytes(app.rig.server) == HTTP_MAX_ANSWERS);
    client_text(&c, "GET /echo/1 HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 200);
    client_close(&c);
    for (size_t i = 1; i < sizeof greedy / sizeof greedy[0]; i++)
        client_close(&greedy[i]);
    rig_stop(&app.rig);
}

static void test_answer_comes_later(void)
{
    struct app app;
    struct client c;

    start(&app, NULL);
    client_open(&c, &app.rig);
    client_text(&c, "POST /hold HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
    RIG_UNTIL(&app.rig, app.n_held == 1);
    CHECK_INT(app.body_len, 3);
    CHECK_INT(http_server_pending(app.rig.server), 1);
    rig_turn(&app.rig, 20);
    client_poll(&c);
    CHECK_INT(c.len, 0);
    answer(&app, app.held[0]);
#ifndef RIG_TLS /* written before the loop's next turn */
    CHECK_INT(http_server_pending(app.rig.server), 0);
    client_poll(&c);
    CHECK(c.len > 0);
#endif
    CHECK_INT(client_answer(&c, NULL), 200);
    RIG_UNTIL(&app.rig, http_server_pending(app.rig.server) == 0);
    answer(&app, app.held[0]); /* a second answer finds nothing */
    client_close(&c);
    rig_stop(&app.rig);
}

#define LARGE (4 << 20) /* more than a socket takes at once */

/* An answer that comes later goes out as far as the socket takes it, and the rest when it can: to a client that has ended its
 * own side too. Where it has not, the connection goes on. */
static void test_large_answer_comes_later(void)
{
    struct http_reply reply = {.status = 200, .body = {calloc(1, LARGE), LARGE}};
    struct app app;
    struct client c;
    struct str body;

    start(&app, NULL);
    for (int half_closed = 0; half_closed < 2; half_closed++) {
        harness_case("half-closed %d", half_closed);
        client_open(&c, &app.rig);
        client_text(&c, "POST /hold HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
        RIG_UNTIL(&app.rig, app.n_held == (size_t)half_closed + 1);
        if (half_closed)
            shutdown(c.fd, SHUT_WR);
        http_reply(app.rig.server, app.held[half_closed], &reply);
        CHECK_INT(http_server_pending(app.rig.server), 1);
        rig_turn(&app.rig, 5);
        RIG_UNTIL(&app.rig, (client_poll(&c), c.len > LARGE));
        CHECK_INT(client_answer(&c, &body), 200);
        CHECK_INT(body.len, LARGE);
        if (!half_closed) {
            client_next(&c);
            client_text(&c, "GET /echo HTTP/1.1\r\n" H "\r\n");
            CHECK_INT(client_answer(&c, NULL), 200);
        }
        client_close(&c);
        RIG_UNTIL(&app.rig, http_server_pending(app.rig.server) == 0);
    }
    rig_stop(&app.rig);
    free((char *)reply.body.at);
}

static void test_request_is_valid_during_its_handler(void)
{
    struct app app;
    struct client c;

    start(&app, NULL);
    CHECK(http_route(app.rig.server, HTTP_POST, "/look", on_post_and_look, &app));
    client_open(&c, &app.rig);
    client_text(&c, "POST /look HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
    CHECK_INT(client_answer(&c, NULL), 200);
    CHECK_INT(app.body_len, 3);
    client_close(&c);
    rig_stop(&app.rig);
}

/* The client leaves while its answer is pending: the answer is dropped, nothing leaks, the next one is
 * served. */
static void test_client_leaves(void)
{
    struct app app;
    struct client c;
    struct linger reset = {.l_onoff = 1};

    start(&app, NULL);
    for (int how = 0; how < 3; how++) {
        harness_case("way %d", how);
        app.n_held = 0;
        client_open(&c, &app.rig);
        client_text(&c, "POST /hold HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
        RIG_UNTIL(&app.rig, app.n_held == 1);
        if (how == 1)
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        client_close(&c);
        rig_turn(&app.rig, 5);
        answer(&app, app.held[0]);
        if (how == 2)
            break; /* freed with the answer half written */
        RIG_UNTIL(&app.rig, http_server_connections(app.rig.server) == 0);
        CHECK_INT(http_server_pending(app.rig.server), 0);
    }
    rig_stop(&app.rig);
}

/* A client that has ended its own side still waits for the answer. */
static void test_half_closed_client(void)
{
    struct app app;
    struct client c;
    struct str body;

    start(&app, NULL);
    for (int held = 0; held < 2; held++) {
        harness_case("held %d", held);
        client_open(&c, &app.rig);
        client_text(&c, held ? "POST /hold HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nab"
                             : "POST /post HTTP/1.1\r\n" H "Content-Length: 4194304\r\n\r\n");
        for (int i = 0; !held && i < 4096; i++) {
            char kib[1024] = "x";
            client_send(&c, (struct str){kib, sizeof kib});
        }
        shutdown(c.fd, SHUT_WR);
        if (held) {
            RIG_UNTIL(&app.rig, app.n_held == 1);
            rig_turn(&app.rig, 5);
            answer(&app, app.held[0]);
        }
        CHECK_INT(client_answer(&c, &body), 200);
        CHECK_INT(body.len, held ? 13 : 4194304);
        client_wait_closed(&c);
        client_close(&c);
    }
    rig_stop(&app.rig);
}

static void test_free_with_requests_in_hand(void)
{
    struct app app;
    struct client c[4];

    start(&app, NULL);
    for (int i = 0; i < 3; i++) {
        client_open(&c[i], &app.rig);
        client_text(&c[i], "POST /hold HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
    }
    RIG_UNTIL(&app.rig, app.n_held == 3);
    client_close(&c[0]);
    client_open(&c[3], &app.rig);
    client_text(&c[3], "BAD\r\n");
    rig_turn(&app.rig, 5);
    answer(&app, app.held[1]);
    rig_stop(&app.rig);
    for (int i = 1; i < 4; i++)
        client_close(&c[i]);
}

static void refuses_connections(const struct rig *rig)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(rig->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) != 0);
    CHECK_INT(errno, ECONNREFUSED);
    close(fd);
}

static void test_stop_accepting(void)
{
    struct app app;
    struct client idle, busy;

    start(&app, NULL);
    client_open(&idle, &app.rig);
    client_text(&idle, "GET /echo HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&idle, NULL), 200);
    client_open(&busy, &app.rig);
    client_text(&busy, "POST /hold HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
    RIG_UNTIL(&app.rig, app.n_held == 1);
    http_server_stop_accepting(app.rig.server);
    client_wait_closed(&idle);

    refuses_connections(&app.rig);
    answer(&app, app.held[0]);
    CHECK_INT(client_answer(&busy, NULL), 200);
    CHECK_HAS(client_in(&busy), STR("\r\nConnection: close\r\n"));
    client_wait_closed(&busy);
    client_close(&idle);
    client_close(&busy);
    rig_stop(&app.rig);
}

#define QUEUED 70 /* more than are accepted in two turns */

/* A client is connected when the kernel says so, which is before the server accepts it. */
static void test_stop_while_clients_are_not_yet_accepted(void)
{
    struct app app;
    struct client c[QUEUED];

    start(&app, NULL);
    for (int i = 0; i < QUEUED; i++)
        client_open(&c[i], &app.rig);
    http_server_stop_accepting(app.rig.server);
    CHECK_INT(http_server_unanswered(app.rig.server), QUEUED);
    for (int i = 0; i < QUEUED; i++) {
        harness_case("%d", i);
        client_text(&c[i], "GET /echo HTTP/1.1\r\n" H "\r\n");
        CHECK_INT(client_answer(&c[i], NULL), 200);
        CHECK_HAS(client_in(&c[i]), STR("\r\nConnection: close\r\n"));
        client_wait_closed(&c[i]);
    }
    harness_case("%s", "");
    CHECK_INT(http_server_unanswered(app.rig.server), 0);
    refuses_connections(&app.rig);
    for (int i = 0; i < QUEUED; i++)
        client_close(&c[i]);
    rig_stop(&app.rig);
}

/* Whoever has no place then is not waited for. */
static void test_stop_without_room_for_who_is_not_accepted(void)
{
    struct guard_limits limits;
    struct app app;
    struct client c[4];

    for (int idle = 0; idle <= 1; idle++) {
        harness_case("%d idle", idle);
        http_default_limits(&limits);
        limits.connections = 2;
        start(&app, &limits);
        for (int i = 0; i < 2; i++) {
            client_open(&c[i], &app.rig);
            client_text(&c[i], i < idle ? "GET /echo HTTP/1.1\r\n" H "\r\n"
                                        : "POST /hold HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
        }
        RIG_UNTIL(&app.rig, app.n_held == (size_t)(2 - idle));
        if (idle)
            CHECK_INT(client_answer(&c[0], NULL), 200);
        for (int i = 2; i < 4; i++)
            client_open(&c[i], &app.rig);
        http_server_stop_accepting(app.rig.server);
        if (!idle)
            CHECK_INT(http_server_unanswered(app.rig.server), 2);
        RIG_UNTIL(&app.rig, (client_poll(&c[3]), c[3].closed));
        refuses_connections(&app.rig);
        client_text(&c[2], "GET /echo HTTP/1.1\r\n" H "\r\n");
        CHECK_INT(client_answer(&c[2], NULL), idle ? 200 : 0);
        for (size_t i = 0; i < app.n_held; i++)
            answer(&app, app.held[i]);
        CHECK_INT(client_answer(&c[1], NULL), 200);
        for (int i = 0; i < 4; i++)
            client_close(&c[i]);
        rig_stop(&app.rig);
    }
    harness_case("%s", "");
}

/* Whoever has no descriptor then is not waited for either. */
static void test_stop_out_of_descriptors(void)
{
    struct app app;
    struct client c;
    struct rlimit old, few;

    start(&app, NULL);
    client_open(&c, &app.rig);
    getrlimit(RLIMIT_NOFILE, &old);
    few = old;
    few.rlim_cur = (rlim_t)c.fd + 1;
    http_server_stop_accepting(app.rig.server);
    CHECK_INT(http_server_unanswered(app.rig.server), 1);
    setrlimit(RLIMIT_NOFILE, &few);
    RIG_UNTIL(&app.rig, http_server_unanswered(app.rig.server) == 0);
    setrlimit(RLIMIT_NOFILE, &old);
    CHECK(rig_paused(&app.rig, PAUSE_ERROR) > 0);
    refuses_connections(&app.rig);
    client_close(&c);
    rig_stop(&app.rig);
}

/* What has begun to come when the server stops is answered: a body on its way, a head on its way, and a request that
 * lies in the kernel of a connection that was idle. Nobody's connection is reset. */
static void test_stop_while_requests_come(void)
{
    static const char whole[] = "GET /echo HTTP/1.1\r\n" H "A: late\r\n\r\n";
    enum { BODY, HEAD, KERNEL, IDLE, N };
    struct app app;
    struct client c[N];

    start(&app, NULL);
    for (int i = 0; i < N; i++) {
        client_open(&c[i], &app.rig);
        client_text(&c[i], "GET /echo HTTP/1.1\r\n" H "\r\n");
        CHECK_INT(client_answer(&c[i], NULL), 200);
        client_next(&c[i]);
    }
    client_text(&c[BODY], "POST /post HTTP/1.1\r\n" H "Content-Length: 6\r\n\r\nabc");
    client_text(&c[HEAD], "POST /post HTT");
    rig_turn(&app.rig, 5);
    CHECK_INT(http_server_unanswered(app.rig.server), 2);
    CHECK(client_try_send(&c[KERNEL], whole, sizeof whole - 1) == sizeof whole - 1);
    http_server_stop_accepting(app.rig.server);
    CHECK_INT(http_server_unanswered(app.rig.server), 3);
    client_wait_closed(&c[IDLE]);
    CHECK_INT(client_answer(&c[KERNEL], NULL), 200);
    CHECK_HAS(client_in(&c[KERNEL]), STR("a=late"));
    client_text(&c[BODY], "def");
    client_text(&c[HEAD], "P/1.1\r\n" H "Content-Length: 3\r\n\r\nabc");
    CHECK_INT(client_answer(&c[BODY], NULL), 200);
    CHECK_INT(client_answer(&c[HEAD], NULL), 200);
    for (int i = 0; i < N; i++) {
        client_wait_closed(&c[i]);
        CHECK(!c[i].reset);
        CHECK(i == IDLE || str_has(client_in(&c[i]), STR("\r\nConnection: close\r\n")));
        client_close(&c[i]);
    }
    CHECK_INT(http_server_unanswered(app.rig.server), 0);
    rig_stop(&app.rig);
}

static void test_listen_addresses(void)
{
    static const struct {
        const char *address;
        const char *bound; /* begins with; NULL: refused */
        const char *err;
    } rows[] = {
        {"127.0.0.1:0", "127.0.0.1:", NULL},
        {":0", "[::]:", NULL},
        {"0.0.0.0:0", "0.0.0.0:", NULL},
        {"[::1]:0", "[::1]:", NULL},
        {"10.255.255.1:80", NULL, "--listen 10.255.255.1:80: Cannot assign requested address"},
        {"8080", NULL, "--listen 8080: write it as"},
        {":", NULL, "--listen :: write it as"},
        {":70000", NULL, "--listen :70000: write it as"},
        {":-1", NULL, "--listen :-1: write it as"},
        {"localhost:80", NULL, "--listen localhost:80: write it as"},
        {"::1:80", NULL, "--listen ::1:80: write it as"},
        {"[::1]", NULL, "--listen [::1]: write it as"},
        {"", NULL, "--listen : write it as"},
    };
    struct rig rig;
    char err[HTTP_ERROR];
    struct event_base *base = rig_base();

    rig.reporter = (struct reporter){rig_report, &rig};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].address);
        struct http_config config = {.listen = {.values = {"127.0.0.1:0", rows[i].address}, .n = 2}};
        struct http_server *s = http_server_new(base, &config, &rig.reporter, err);
        CHECK_INT(s != NULL, rows[i].bound != NULL);
        if (s) {
            CHECK(str_starts(str_of(http_server_address(s, 0)), STR("127.0.0.1:")));
            CHECK(str_starts(str_of(http_server_address(s, 1)), str_of(rows[i].bound)));
            CHECK(http_server_address(s, 2) == NULL);
        } else {
            CHECK(str_starts(str_of(err), str_of(rows[i].err)));
        }
        http_server_free(s);
    }
    harness_case("taken");
    struct http_config config = {.listen = {.values = {"127.0.0.1:0"}, .n = 1}};
    struct http_server *first = http_server_new(base, &config, &rig.reporter, err);
    config.listen.values[0] = http_server_address(first, 0);
    CHECK(http_server_new(base, &config, &rig.reporter, err) == NULL);
    CHECK_HAS(str_of(err), STR(": Address already in use"));
    http_server_free(first);
    event_base_free(base);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    CHECK_INT(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* A client whose node died is noticed, also when it waits for an hour and nothing is sent to it. */
static void test_dead_peers_are_noticed(void)
{
    char err[HTTP_ERROR];
    struct sockaddr_in bound;
    socklen_t len = sizeof bound;

    int listener = listen_on(LISTEN_FLAG, "127.0.0.1:0", err);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&bound, &len), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&bound, sizeof bound), 0);
    int accepted = accept(listener, NULL, NULL);
    CHECK(accepted >= 0);
    CHECK_INT(option_of(accepted, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_INT(option_of(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK(option_of(accepted, IPPROTO_TCP, TCP_KEEPIDLE) +
              option_of(accepted, IPPROTO_TCP, TCP_KEEPINTVL) *
                  option_of(accepted, IPPROTO_TCP, TCP_KEEPCNT) <=
          120);
    close(accepted);
    close(fd);
    close(listener);
}

static bool epoll_is_full;

/* Instead of libc's. */
int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
    int listens = 0;
    socklen_t len = sizeof listens;

    (void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
    if (epoll_is_full && what == EPOLL_CTL_ADD && !listens) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, what, fd, event);
}

/* A connection that cannot be watched is closed by evhttp, before its guard knows it. */
static void test_a_connection_that_cannot_be_watched(void)
{
    struct guard_limits limits;
    struct app app;
    struct client c;

    http_default_limits(&limits);
    limits.head_ms = 10 * WAIT_MS;
    limits.connections = 1; /* its place is free again */
    start(&app, &limits);
    epoll_is_full = true;
    client_open(&c, &app.rig);
    RIG_UNTIL(&app.rig, (client_poll(&c), c.closed));
    CHECK_INT(http_server_connections(app.rig.server), 0);
    client_close(&c);
    epoll_is_full = false;
    client_open(&c, &app.rig);
    client_text(&c, "GET /echo HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 200);
    client_close(&c);
    rig_stop(&app.rig);
}

/* A crowd that knocks does not keep the loop from everything else: some are accepted, then others have their turn. */
static void test_a_crowd_is_let_in_by_and_by(void)
{
    struct app app;
    struct client c[100];
    size_t before = 0;

    start(&app, NULL);
    for (int i = 0; i < 100; i++)
        client_open(&c[i], &app.rig);
    for (int turn = 0; turn < 100 && before < 100; turn++) {
        event_base_loop(app.rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        size_t n = http_server_connections(app.rig.server);
        CHECK(n - before <= 32);
        before = n;
    }
    CHECK_INT(before, 100);
    for (int i = 0; i < 100; i++)
        client_close(&c[i]);
    rig_stop(&app.rig);
}

/* Out of descriptors: no busy loop, one report a second, and it recovers. */
static void test_out_of_descriptors(void)
{
    struct app app;
    struct client c;
    struct rlimit old, few;
    int turns = 0;

    start(&app, NULL);
    client_open(&c, &app.rig);
    getrlimit(RLIMIT_NOFILE, &old);
    few = old;
    few.rlim_cur = (rlim_t)c.fd + 1;
    setrlimit(RLIMIT_NOFILE, &few);
    int64_t begin = clock_ms();
    client_text(&c, "GET /echo HTTP/1.1\r\n" H "\r\n");
    for (int64_t end = clock_ms() + 350; clock_ms() < end; turns++)
        rig_turn(&app.rig, 50);
    setrlimit(RLIMIT_NOFILE, &old);
    CHECK(app.rig.reports >= 1 && app.rig.reports <= 1 + (clock_ms() - begin) / 1000);
    CHECK_TEXT(app.rig.last_report, "cannot accept connections");
    CHECK(rig_paused(&app.rig, PAUSE_ERROR) > 0);
    CHECK_INT(rig_paused(&app.rig, PAUSE_CONNECTIONS), 0);
    CHECK(turns < 40);
    CHECK_INT(client_answer(&c, NULL), 200);
    client_close(&c);
    rig_stop(&app.rig);
}

static bool part_ready(void *arg, const char **ret_why)
{
    *ret_why = arg;
    return arg == NULL;
}

static void test_health(void)
{
    static char why[] = "the \"disk\" is full";
    struct rig rig;
    struct client c;
    struct str body;

    rig_start(&rig, NULL);
    struct health *h = health_new(rig.server);
    CHECK(h != NULL);
    client_open(&c, &rig);
    client_text(&c, "GET /healthz HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 200);
    client_next(&c);
    client_text(&c, "GET /health HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 200);
    client_next(&c);
    CHECK(health_add(h, "store", true, part_ready, NULL));
    CHECK(health_add(h, "runs", false, part_ready, why));
    client_text(&c, "GET /readyz HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, &body), 200);
    CHECK_STR(body, STR("{\"store\":{\"ready\":true},\"runs\":{\"ready\":false,\"why\":\"the \\\"disk\\\" is "
                        "full\"}}\n"));
    client_next(&c);
    CHECK(health_add(h, "other", true, part_ready, why));
    client_text(&c, "GET /readyz HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, &body), 503);
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    CHECK_HAS(body, STR("\"other\":{\"ready\":false"));
    client_next(&c);
    harness_case("no parameter is ignored");
    client_text(&c, "GET /readyz?verbose HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 400);
    client_next(&c);
    client_text(&c, "GET /healthz?verbose HTTP/1.1\r\n" H "\r\n");
    CHECK_INT(client_answer(&c, NULL), 400);
    client_close(&c);
    rig_stop(&rig);
    health_free(h);
}

static void test_pending_table(void)
{
    struct pending p = {0};
    struct evhttp_request *one = (struct evhttp_request *)&p; /* never looked into */
    uint64_t ids[200];

    CHECK(pending_take(&p, 0) == NULL);
    CHECK(pending_take(&p, 1) == NULL);
    for (int i = 0; i < 200; i++) {
        ids[i] = pending_add(&p, one);
        CHECK(ids[i] != 0);
    }
    CHECK(pending_take(&p, ids[77]) == one);
    CHECK(pending_take(&p, ids[77]) == NULL);
    uint64_t again = pending_add(&p, one);
    CHECK(again != ids[77]);
    CHECK(pending_get(&p, ids[77]) == NULL);
    CHECK(pending_get(&p, again) == one);
    CHECK_INT(p.n, 200);
    while (pending_take_any(&p))
        ;
    CHECK_INT(p.n, 0);
    pending_free(&p);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_routes),
                                       TEST(test_refusals_of_parsers),
                                       TEST(test_too_many_parameters),
                                       TEST(test_head_has_no_body),
                                       TEST(test_connection_header),
                                       TEST(test_date),
                                       TEST(test_large_body),
                                       TEST(test_answers_that_nobody_reads),
                                       TEST(test_answer_comes_later),
                                       TEST(test_large_answer_comes_later),
                                       TEST(test_request_is_valid_during_its_handler),
                                       TEST(test_client_leaves),
                                       TEST(test_half_closed_client),
                                       TEST(test_free_with_requests_in_hand),
                                       TEST(test_stop_accepting),
                                       TEST(test_stop_while_clients_are_not_yet_accepted),
                                       TEST(test_stop_without_room_for_who_is_not_accepted),
                                       TEST(test_stop_out_of_descriptors),
                                       TEST(test_stop_while_requests_come),
                                       TEST(test_listen_addresses),
                                       TEST(test_dead_peers_are_noticed),
                                       TEST(test_out_of_descriptors),
                                       TEST(test_a_crowd_is_let_in_by_and_by),
                                       TEST(test_a_connection_that_cannot_be_watched),
                                       TEST(test_health),
                                       TEST(test_pending_table),
                                       {0}});
}
