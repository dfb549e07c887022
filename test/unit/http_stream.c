/* Streams with the real store and a clock of the test's own: what is sent when, positions, comments, readers that take
 * nothing, limits; and the pieces that answers share. */
#include "http_test.h"
#include "lmdb_fails.h"

#include "http/events.h"
#include "http/server_priv.h"
#include "http/stream_priv.h"

#include <dirent.h>
#include <event2/buffer.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define MANY    1000
#define WALL_MS INT64_C(1785578400000) /* 2026-08-01T10:00:00Z */

static int64_t mono_ms;

static struct moment now(void)
{
    return (struct moment){.wall_ms = WALL_MS + mono_ms, .mono_ms = mono_ms};
}

static int64_t wall_ms(void)
{
    return WALL_MS + mono_ms;
}

struct app {
    struct rig rig;
    struct store *store;
    struct event *ready;
    struct events *events;
    struct stream *stream;
    char dir[64];
};

static void on_store(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    store_dispatch(((struct app *)arg)->store);
}

static void on_turn(void *arg)
{
    struct app *app = arg;
    (void)store_tick(app->store, wall_ms());
    store_flush(app->store);
}

/* The store is there, but nobody has been given it: it is still being opened. */
static void start_opening(struct app *app, int64_t retention_ms)
{
    char err[STORE_ERROR];

    mono_ms = 1000;
    memset(app, 0, sizeof *app);
    rig_start(&app->rig, NULL);
    snprintf(app->dir, sizeof app->dir, "%s/http_stream.XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    CHECK(mkdtemp(app->dir) != NULL);
    struct store_config config = {.dir = app->dir, .allow_network_fs = true, .retention_ms = retention_ms};
    app->store = store_open(&config, &app->rig.reporter, err);
    if (!app->store)
        HARNESS_FAIL("%s", err);
    app->ready = event_new(app->rig.base, store_fd(app->store), EV_READ | EV_PERSIST, on_store, app);
    event_add(app->ready, NULL);
    app->events = events_new(app->rig.server, wall_ms, &app->rig.reporter);
    app->stream = stream_new(app->rig.server, now, &app->rig.reporter);
    events_set_stream(app->events, app->stream);
    app->rig.on_turn = on_turn;
    app->rig.on_turn_arg = app;
}

static void opened(struct app *app)
{
    events_set_store(app->events, app->store);
    stream_set_store(app->stream, app->store);
}

static void start_keeping(struct app *app, int64_t retention_ms)
{
    start_opening(app, retention_ms);
    opened(app);
}

static void start(struct app *app)
{
    start_keeping(app, 0);
}

static void stop(struct app *app)
{
    char name[400];

    stream_free(app->stream);
    event_free(app->ready);
    store_close(app->store);
    DIR *dir = opendir(app->dir);
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", app->dir, d->d_name);
        unlink(name);
    }
    if (dir)
        closedir(dir);
    rmdir(app->dir);
    events_free(app->events);
    rig_stop(&app->rig);
}

/* An event of a name with a message of `filler` bytes and a number. */
static int make_body(char *out, size_t cap, const char *name, unsigned number, size_t filler)
{
    int n = snprintf(out, cap, "{\"involvedObject\":{\"name\":\"%s\"},\"message\":\"%u", name, number);

    memset(out + n, 'x', filler);
    return n + (int)filler + snprintf(out + n + (int)filler, cap - (size_t)n - filler, "\"}");
}

/* A record of its own for each `number`; returns when it is published. */
static void store_one(struct app *app, const char *name, unsigned number, size_t filler)
{
    uint64_t before = store_newest(app->store);
    char *body = malloc(filler + 256);
    struct flux_event e = {.name = str_of(name), .plain = true};
    int n = make_body(body, filler + 256, name, number, filler);

    e.message = (struct str){body, (size_t)n}; /* differs, so it is no repeat and not coalesced */
    CHECK_INT(
        store_append(app->store, &e, (struct str){body, (size_t)n}, VIA_WEBHOOK, wall_ms(), NULL, NULL, 0),
        STORE_OK);
    free(body);
    RIG_UNTIL(&app->rig, store_newest(app->store) > before);
}

static void ask(struct client *c, struct app *app, const char *query, const char *headers)
{
    char head[512];

    client_open(c, &app->rig);
    snprintf(head, sizeof head, "GET /events%s HTTP/1.1\r\nHost: x\r\n%s\r\n", query, headers);
    client_text(c, head);
}

static void follow(struct client *c, struct app *app, const char *query)
{
    ask(c, app, query, "Accept: text/event-stream\r\n");
}

static size_t occurrences(const struct client *c, const char *text)
{
    size_t n = 0;
    size_t len = strlen(text);

    for (const char *at = c->in; at && (at = memmem(at, c->len - (size_t)(at - c->in), text, len)) != NULL;
         at += len)
        n++;
    return n;
}

/* Until the client has `n` events; no more come in the turns after. */
static void expect_events(struct client *c, size_t n)
{
    RIG_UNTIL(c->rig, (client_poll(c), occurrences(c, "\ndata: ") >= n));
    for (int i = 0; i < 5; i++)
        rig_loop(c->rig, EVLOOP_NONBLOCK);
    client_poll(c);
    CHECK_INT(occurrences(c, "\ndata: "), n);
}

/* Nothing of the answer can have been lost to a reset, which may overtake what was sent, or come right behind the end. */
static void wait_ended(struct client *c)
{
    int error = 0;
    socklen_t len = sizeof error;

    client_wait_closed(c);
    CHECK(!c->reset);
    CHECK_INT(getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len), 0);
    CHECK_INT(error, 0);
}

static bool has(const struct client *c, const char *text)
{
    return occurrences(c, text) > 0;
}

/* The clock of libevent goes on by itself; that of the stream does when it is told. */
static void pass(struct app *app, int64_t ms)
{
    mono_ms += ms;
    event_active(app->stream->timer.event, EV_TIMEOUT, 0);
    for (int i = 0; i < 50; i++)
        rig_loop(&app->rig, EVLOOP_NONBLOCK);
}

static void test_stored_then_live(void)
{
    struct app app;
    struct client from_0, from_1, from_now, filtered;

    start(&app);
    store_one(&app, "a", 1, 0);
    store_one(&app, "b", 2, 0);
    follow(&from_0, &app, "?after=0");
    follow(&from_1, &app, "?after=1");
    follow(&from_now, &app, "");
    follow(&filtered, &app, "?after=0&name=b");
    expect_events(&from_0, 2);
    expect_events(&from_1, 1);
    RIG_UNTIL(&app.rig, (client_poll(&from_now), has(&from_now, ":\nid: 2\n\n")));
    store_one(&app, "c", 3, 0);
    store_one(&app, "b", 4, 0);
    expect_events(&from_0, 4);
    expect_events(&from_1, 3);
    expect_events(&from_now, 2);
    expect_events(&filtered, 2);
    CHECK(has(&filtered, "id: 2\ndata: {") && has(&filtered, "id: 4\ndata: {"));
    CHECK(has(&from_0, "Content-Type: text/event-stream\r\n") &&
          has(&from_0, "Transfer-Encoding: chunked\r\n"));
    CHECK_INT(stream_clients(app.stream), 4);
    CHECK_INT(http_server_pending(app.rig.server), 4);
    client_close(&from_now);
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 3);
    CHECK_INT(http_server_pending(app.rig.server), 3);
    stream_shutdown(app.stream);
    wait_ended(&from_0);
    CHECK(str_ends(client_in(&from_0), STR("\r\n0\r\n\r\n")));
    CHECK_INT(stream_clients(app.stream), 0);
    RIG_UNTIL(&app.rig, http_server_pending(app.rig.server) == 0);
    client_close(&from_0);
    client_close(&from_1);
    client_close(&filtered);
    ask(&from_0, &app, "?after=0", "Accept: text/event-stream\r\n");
    CHECK_INT(client_answer(&from_0, NULL), 503);
    client_close(&from_0);
    stop(&app);
}

static void test_many_at_once(void)
{
    struct app app;
    struct client live, late;

    start(&app);
    follow(&live, &app, "");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 1);
    client_open(&late, &app.rig);
    client_text(&late, "GET /events?after=0 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n");
    for (unsigned i = 0; i < MANY; i++) { /* many batches, in one commit */
        char body[300];
        struct flux_event e = {.plain = true};
        int n = make_body(body, sizeof body, "x", i, 0);
        e.message = (struct str){body, (size_t)n};
        CHECK_INT(store_append(app.store, &e, e.message, VIA_WEBHOOK, wall_ms(), NULL, NULL, 0), STORE_OK);
    }
    for (int64_t end = clock_ms() + WAIT_MS; store_newest(app.store) < MANY && clock_ms() < end;)
        rig_loop(&app.rig, EVLOOP_ONCE | EVLOOP_NONBLOCK); /* turns as short as those of the process */
    CHECK_INT(client_try_send(&late, "\r\n", 2), 2);       /* while the live one has not got all */
    for (int64_t end = clock_ms() + WAIT_MS; stream_clients(app.stream) < 2 && clock_ms() < end;)
        rig_loop(&app.rig, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    CHECK(app.stream->live_at < MANY);
    expect_events(&live, MANY);
    expect_events(&late, MANY);
    for (unsigned i = 1; i <= MANY; i++) {
        char want[32];
        snprintf(want, sizeof want, "\nid: %u\ndata: ", i);
        CHECK_INT(occurrences(&live, want), 1);
        CHECK_INT(occurrences(&late, want), 1);
    }
    client_close(&live);
    client_close(&late);
    stop(&app);
}

/* N events of about 1 KB in one commit: more than the live reader gets in one turn. */
static void store_at_once(struct app *app, unsigned n)
{
    uint64_t newest = store_newest(app->store) + n;

    for (unsigned i = 0; i < n; i++) {
        char body[1300];
        struct flux_event e = {.plain = true};
        int len = make_body(body, sizeof body, "x", i, 1000);
        e.message = (struct str){body, (size_t)len};
        CHECK_INT(store_append(app->store, &e, e.message, VIA_WEBHOOK, wall_ms(), NULL, NULL, 0), STORE_OK);
    }
    RIG_UNTIL(&app->rig, store_newest(app->store) == newest);
}

/* The live pump is behind the newest record, and a client's position is not. */
static void test_ahead_of_the_live_ones(void)
{
    struct app app;
    struct client live, ahead, from_now;

    start(&app);
    store_one(&app, "a", 1, 0);
    follow(&live, &app, "");
    RIG_UNTIL(&app.rig, (client_poll(&live), has(&live, "id: 1\n")));
    client_open(&ahead, &app.rig);
    client_open(&from_now, &app.rig);
    store_at_once(&app, MANY);
    client_text(&ahead, "GET /events?after=1001 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    client_text(&from_now, "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 3);
    CHECK(app.stream->live_at < MANY);
    RIG_UNTIL(&app.rig, TAILQ_EMPTY(&app.stream->readers[READER_BEHIND]));
    CHECK(app.stream->live_at < MANY); /* nobody's turn is used up by who wants nothing */
    pass(&app, STREAM_BEAT_MS);        /* nor is a client told a position that it has passed */
    expect_events(&live, MANY);
    expect_events(&ahead, 0);
    expect_events(&from_now, 0);
    store_one(&app, "b", 2, 0);
    expect_events(&ahead, 1);
    expect_events(&from_now, 1);
    expect_events(&live, MANY + 1);
    CHECK(has(&ahead, "\nid: 1002\ndata: ") && has(&from_now, "\nid: 1002\ndata: "));
    CHECK_INT(occurrences(&ahead, "\nid: "), 1);
    CHECK_INT(occurrences(&from_now, "\nid: "), 2); /* the position it got at first */
    client_close(&live);
    client_close(&ahead);
    client_close(&from_now);
    stop(&app);
}

static void test_beat(void)
{
    struct app app;
    struct client all, none;

    start(&app);
    store_one(&app, "a", 1, 0);
    follow(&all, &app, "?after=0");
    follow(&none, &app, "?after=0&name=z");
    expect_events(&all, 1);
    expect_events(&none, 0);
    pass(&app, STREAM_BEAT_MS - 1);
    client_poll(&all);
    CHECK(!has(&all, "\r\n:\n"));
    pass(&app, 1);
    RIG_UNTIL(&app.rig,
              (client_poll(&all), client_poll(&none), has(&all, "\r\n:\n\n\r\n") && has(&none, "\r\n:\n")));
    CHECK(has(&none, ":\nid: 1\n\n")); /* it may come back to where it is */
    pass(&app, STREAM_BEAT_MS);
    RIG_UNTIL(&app.rig, (client_poll(&none), occurrences(&none, "\r\n:\n") == 2));
    CHECK_INT(occurrences(&none, "id: 1\n"), 1);
    client_close(&all);
    client_close(&none);
    stop(&app);
}

static size_t unsent(struct app *app)
{
    return long_unsent(((struct reader *)app->stream->heap.items[0])->answer);
}

static int64_t progress_mono_ms(const struct app *app)
{
    return ((const struct reader *)app->stream->heap.items[0])->progress_mono_ms;
}

static void test_reader_that_takes_nothing(void)
{
    struct app app;
    struct client c;
    uint64_t last;

    start(&app);
    follow(&c, &app, "");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 1);
    for (unsigned i = 0; i < 200; i++) {
        store_one(&app, "big", i, 50000);
        CHECK(unsent(&app) <= STREAM_CLIENT_BYTES + 60000);
        CHECK(piece_pool_bytes(app.stream->pool) <= 2 * STREAM_CLIENT_BYTES + 200000);
    }
    CHECK(unsent(&app) > 0);
    /* Takes a little now and then: that is progress. */
    for (int i = 0; i < 4; i++) {
        char in[400000];
        pass(&app, STREAM_STALL_MS - 1000);
        CHECK_INT(stream_clients(app.stream), 1);
        RIG_UNTIL(&app.rig, progress_mono_ms(&app) == mono_ms || (client_recv(&c, in, sizeof in), false));
    }
    pass(&app, 0); /* what the last one made room for */
    pass(&app, STREAM_STALL_MS - 1);
    CHECK_INT(stream_clients(app.stream), 1);
    CHECK_INT(app.stream->numbers.cut, 0);
    pass(&app, 1);
    CHECK_INT(stream_clients(app.stream), 0);
    CHECK_INT(app.stream->numbers.cut, 1);
    client_wait_closed(&c);
    client_close(&c);
    last = store_newest(app.store);
    follow(&c, &app, "?after=190");
    expect_events(&c, (size_t)(last - 190));
    client_close(&c);
    stop(&app);
}

static void test_slow_reader_gets_all(void)
{
    struct app app;
    struct client c;

    start(&app);
    follow(&c, &app, "");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 1);
    for (unsigned i = 0; i < 100; i++)
        store_one(&app, "big", i, 50000); /* it has no room, and falls behind */
    expect_events(&c, 100);
    store_one(&app, "big", 1000, 10); /* and has caught up */
    expect_events(&c, 101);
    for (unsigned i = 1; i <= 101; i++) {
        char want[32];
        snprintf(want, sizeof want, "\nid: %u\ndata: ", i);
        CHECK_INT(occurrences(&c, want), 1);
    }
    client_close(&c);
    stop(&app);
}

/* Whoever is behind, because it has just come or because it takes nothing for a while, has a clean end as others do. */
static void test_shutdown_ends_all(void)
{
    struct app app;
    struct client c[READER_STATES];

    start(&app);
    store_at_once(&app, MANY);
    for (int state = READER_LIVE; state < READER_STATES; state++)
        if (state != READER_BEHIND)
            follow(&c[state], &app, "?after=1000");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 2 && TAILQ_EMPTY(&app.stream->readers[READER_BEHIND]));
    (void)setsockopt(c[READER_FULL].fd, SOL_SOCKET, SO_RCVBUF, &(int){1 << 16}, sizeof(int));
    for (unsigned i = 0; i < 400 && TAILQ_EMPTY(&app.stream->readers[READER_FULL]); i++) {
        store_one(&app, "big", i, 50000);
        for (int turn = 0; turn < 20; turn++) /* until the kernel takes no more, either */
            rig_loop(&app.rig, EVLOOP_NONBLOCK);
        client_poll(&c[READER_LIVE]);
    }
    follow(&c[READER_BEHIND], &app, "?after=0"); /* some hundred turns away from the end */
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == READER_STATES);
    if (TAILQ_EMPTY(&app.stream->readers[READER_FULL])) /* the kernel has taken some more meanwhile */
        reader_move(TAILQ_FIRST(&app.stream->readers[READER_BEHIND]), READER_FULL);
    for (int state = 0; state < READER_STATES; state++) {
        harness_case("state %d", state);
        CHECK(!TAILQ_EMPTY(&app.stream->readers[state]));
    }
    stream_shutdown(app.stream);
    CHECK_INT(stream_clients(app.stream), 0);
    for (int state = 0; state < READER_STATES; state++) {
        harness_case("state %d", state);
        wait_ended(&c[state]);
        CHECK(str_ends(client_in(&c[state]), STR("\r\n0\r\n\r\n")));
        client_close(&c[state]);
    }
    CHECK_INT(http_server_pending(app.rig.server), 0);
    stop(&app);
}

static void test_positions(void)
{
    static const struct {
        const char *query;
        const char *header;
        int status;
    } cases[] = {
        {"?after=3", "", 410}, /* beyond the newest */
        {"", "Last-Event-ID: 99\r\n", 410},
        {"?after=0", "Last-Event-ID: 3\r\n", 410}, /* the header counts */
        {"", "Last-Event-ID: x\r\n", 400},
        {"", "Last-Event-ID: -1\r\n", 400},
        {"?limit=3", "", 400},
        {"?order=desc", "", 400},
        {"?order=asc", "", 400},
        {"?kind=a&kind=b", "", 400},
        {"?what=1", "", 400},
        {"?after=x", "", 400},
    };
    struct app app;
    struct client c;

    start(&app);
    store_one(&app, "a", 1, 0);
    store_one(&app, "a", 2, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char headers[128];
        harness_case("%s %s", cases[i].query, cases[i].header);
        snprintf(headers, sizeof headers, "Accept: text/event-stream\r\n%s", cases[i].header);
        ask(&c, &app, cases[i].query, headers);
        CHECK_INT(client_answer(&c, NULL), cases[i].status);
        client_close(&c);
    }
    CHECK_INT(rig_refused(&app.rig, CAUSE_GONE), 3);
    ask(&c, &app, "?after=x&limit=1", "Accept: application/x-ndjson\r\n");
    CHECK_INT(client_answer(&c, NULL), 400);
    client_close(&c);
    ask(&c, &app, "?after=0", "Last-Event-ID: 1\r\nAccept: text/event-stream\r\n");
    expect_events(&c, 1);
    client_close(&c);
    client_open(&c, &app.rig);
    client_text(&c, "HEAD /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    RIG_UNTIL(&app.rig, (client_poll(&c), has(&c, "\r\n\r\n")));
    CHECK(has(&c, "HTTP/1.1 405 ") && has(&c, "\r\nAllow: GET, POST\r\n"));
    client_close(&c);
    stop(&app);
}

static void test_what_retention_took(void)
{
    struct app app;
    struct client c, connected;

    start_keeping(&app, 60000);
    store_one(&app, "a", 1, 0);
    store_one(&app, "a", 2, 0);
    follow(&connected, &app, "?after=0");
    expect_events(&connected, 2);
    CHECK_INT(store_gone(app.store), 0);
    mono_ms += 120000;
    RIG_UNTIL(&app.rig, store_gone(app.store) == 2);
    store_one(&app, "a", 3, 0);
    store_one(&app, "a", 4, 0);
    for (int position = 1; position <= 2; position++) {
        char query[32];
        snprintf(query, sizeof query, "?after=%d", position);
        follow(&c, &app, query);
        CHECK_INT(client_answer(&c, NULL), 410);
        client_close(&c);
    }
    follow(&c, &app, "?after=0");
    expect_events(&c, 2);
    client_close(&c);
    follow(&c, &app, "?after=3");
    expect_events(&c, 1);
    client_close(&c);
    expect_events(&connected, 4);
    client_close(&connected);
    stop(&app);
}

/* What retention takes before the live readers got it, they would miss without knowing. */
static void test_what_retention_took_from_live_ones(void)
{
    struct app app;
    struct client c;

    start_keeping(&app, 60000);
    for (unsigned i = 0; i < 2; i++) { /* the second time it begins where something is gone already */
        harness_case("%u", i);
        uint64_t newest = store_newest(app.store);
        store_one(&app, "a", 3 * i, 0);
        follow(&c, &app, "?after=0");
        expect_events(&c, 1 + i);
        lmdb_fails = LMDB_WALK;
        lmdb_fails_after = 0;
        store_one(&app, "a", 3 * i + 1, 0);
        mono_ms += 120000;
        RIG_UNTIL(&app.rig, store_gone(app.store) == newest + 2);
        lmdb_fails = LMDB_NONE;
        store_one(&app, "a", 3 * i + 2, 0);
        wait_ended(&c);
        CHECK(str_ends(client_in(&c), STR("\r\n0\r\n\r\n")));
        CHECK_INT(occurrences(&c, "\ndata: "), 1 + i);
        client_close(&c);
        CHECK_INT(stream_clients(app.stream), 0);
    }
    stop(&app);
}

/* The same of one that is behind because it takes nothing: it ends, and hears of the gap when it comes back. */
static void test_what_retention_took_from_one_behind(void)
{
    enum { EVENTS = 200 };
    struct app app;
    struct client c;
    char query[32];

    start_keeping(&app, 60000);
    store_one(&app, "a", 0, 0);
    follow(&c, &app, "?after=0");
    expect_events(&c, 1);
    for (unsigned i = 1; i < EVENTS; i++)
        store_one(&app, "big", i, 50000);
    CHECK_INT(((const struct reader *)app.stream->heap.items[0])->state, READER_FULL);
    mono_ms += 120000;
    RIG_UNTIL(&app.rig, store_gone(app.store) == EVENTS);
    store_one(&app, "a", EVENTS, 0);
    client_wait_closed(&c);
    CHECK(str_ends(client_in(&c), STR("\r\n0\r\n\r\n")));
    size_t n = occurrences(&c, "\ndata: ");
    CHECK(n > 1 && n < EVENTS);
    for (size_t i = 1; i <= n; i++) {
        char want[32];
        snprintf(want, sizeof want, "id: %zu\ndata: ", i);
        CHECK(has(&c, want));
    }
    client_close(&c);
    CHECK_INT(stream_clients(app.stream), 0);
    snprintf(query, sizeof query, "?after=%zu", n);
    follow(&c, &app, query);
    CHECK_INT(client_answer(&c, NULL), 410);
    client_close(&c);
    stop(&app);
}

static void test_too_many(void)
{
    struct app app;
    struct client c[3];

    start(&app);
    stream_set_max_clients(app.stream, 2);
    follow(&c[0], &app, "");
    follow(&c[1], &app, "");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 2);
    follow(&c[2], &app, "");
    CHECK_INT(client_answer(&c[2], NULL), 503);
    CHECK(has(&c[2], "\r\nRetry-After: 2\r\n"));
    CHECK_INT(rig_refused(&app.rig, CAUSE_OVERLOAD), 1);
    client_close(&c[2]);
    client_close(&c[0]);
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 1);
    follow(&c[2], &app, "");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 2);
    client_close(&c[1]);
    client_close(&c[2]);
    stop(&app);
}

/* Readers that are behind and take nothing leave room for those that have got all. */
static void test_slow_readers_do_not_stop_live_ones(void)
{
    enum { STUCK = 20, BYTES = 4000000 };
    struct app app;
    struct client live, stuck[STUCK];

    start(&app);
    store_one(&app, "big", 1, BYTES);
    follow(&live, &app, "?after=1");
    RIG_UNTIL(&app.rig, !TAILQ_EMPTY(&app.stream->readers[READER_LIVE]));
    for (int i = 0; i < STUCK; i++) /* each has an encoding of its own */
        follow(&stuck[i], &app, "?after=0");
    RIG_UNTIL(&app.rig, piece_pool_bytes(app.stream->pool) >= STREAM_BEHIND_BYTES);
    RIG_UNTIL(&app.rig, app.stream->resting && !TAILQ_EMPTY(&app.stream->readers[READER_BEHIND]));
    store_one(&app, "a", 2, 0);
    expect_events(&live, 1);
    CHECK(piece_pool_bytes(app.stream->pool) < STREAM_MAX_BYTES);
    pass(&app, STREAM_STALL_MS);
    CHECK(app.stream->numbers.cut > 1 && app.stream->numbers.cut < STUCK);
    CHECK_INT(app.stream->cut, app.stream->numbers.cut - 1); /* one line a second */
    stream_shutdown(app.stream);
    CHECK_INT(app.stream->cut, 0); /* told */
    CHECK_TEXT(app.rig.last_report, "a stream's reader took nothing and was cut");
    client_close(&live);
    for (int i = 0; i < STUCK; i++)
        client_close(&stuck[i]);
    stop(&app);
}

static uint64_t refusals(const struct app *app, enum http_cause cause)
{
    struct metric_source source = http_server_metrics(app->rig.server);

    return ((const struct http_numbers *)source.collect(source.arg))->rejected[cause];
}

static void test_store_is_opening(void)
{
    static const char *const accepts[] = {"text/event-stream", "a/b;q=1, Application/X-NDJSON ;q=0.5"};
    struct app app;
    struct client c;

    start_opening(&app, 0);
    for (size_t i = 0; i < 2; i++) {
        char header[64];
        harness_case("%s", accepts[i]);
        snprintf(header, sizeof header, "Accept: %s\r\n", accepts[i]);
        ask(&c, &app, "", header);
        CHECK_INT(client_answer(&c, NULL), 503);
        CHECK(has(&c, "\r\nRetry-After: 2\r\n") && has(&c, "the store is being opened: try again"));
        CHECK_INT(refusals(&app, CAUSE_STARTING), i + 1);
        client_close(&c);
    }
    CHECK_INT(refusals(&app, CAUSE_OVERLOAD), 0);
    opened(&app);
    ask(&c, &app, "", "Accept: a/b;q=1, Application/X-NDJSON ;q=0.5\r\n");
    wait_ended(&c);
    CHECK(has(&c, "Content-Type: application/x-ndjson\r\n") && has(&c, "\"records\":0,"));
    client_close(&c);
    stop(&app);
}

/* What a client sends beside its stream does not disturb it, even if it looks like the head of a body. */
static void test_flood(void)
{
    static const char *begins[] = {"xxxxxxxx",
                                   "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n"};
    static char noise[1 << 16];
    struct app app;
    struct client c;

    memset(noise, 'x', sizeof noise);
    for (size_t i = 0; i < 2; i++) {
        start(&app);
        follow(&c, &app, "");
        RIG_UNTIL(&app.rig, stream_clients(app.stream) == 1);
        client_text(&c, begins[i]);
        int full = 0;
        size_t sent = 0;
        while (full < 50) { /* the kernel takes no more */
            ssize_t n = client_try_send(&c, noise, sizeof noise);
            full = n < 0 ? full + 1 : 0;
            sent += n > 0 ? (size_t)n : 0;
            CHECK(sent < 64 << 20); /* beyond what two sockets hold somebody reads it */
            rig_loop(&app.rig, EVLOOP_NONBLOCK);
        }
        store_one(&app, "a", 1, 0);
        expect_events(&c, 1);
        stream_shutdown(app.stream);
        client_wait_closed(&c);
        client_close(&c);
        stop(&app);
    }
}

/* Without chunks the end of the connection is the end of the answer (RFC 9112 section 6.3), whatever the client asks
 * for. */
static void test_old_protocol(void)
{
    static const char *headers[] = {
        "",
        "Connection: keep-alive\r\n",
        "Connection: Keep-Alive\r\nConnection: keep-alive\r\n",
        "Connection: close\r\n",
    };

    for (size_t i = 0; i < 2 * sizeof headers / sizeof headers[0]; i++) {
        bool is_export = i % 2 == 1;
        struct app app;
        struct client c;
        char request[256];
        start(&app);
        store_one(&app, "a", 1, 0);
        client_open(&c, &app.rig);
        harness_case("%s %s", is_export ? "export" : "stream", headers[i / 2]);
        snprintf(request, sizeof request, "GET /events?after=0 HTTP/1.0\r\n%sAccept: %s\r\n\r\n",
                 headers[i / 2], is_export ? "application/x-ndjson" : "text/event-stream");
        client_text(&c, request);
        RIG_UNTIL(&app.rig, (client_poll(&c), has(&c, "}\n")));
        CHECK(has(&c, is_export ? "\r\n\r\n{" : "\r\n\r\nid: 1\ndata: {"));
        CHECK(!has(&c, "chunked") && !has(&c, "Content-Length") && !has(&c, "keep-alive"));
        CHECK_INT(occurrences(&c, "\r\nConnection: close\r\n"), 1);
        stream_shutdown(app.stream);
        wait_ended(&c);
        CHECK(str_ends(client_in(&c), is_export ? STR("}\n") : STR("}\n\n")));
        client_close(&c);
        stop(&app);
    }
}

static void test_export(void)
{
    struct app app;
    struct client c;

    start(&app);
    for (unsigned i = 0; i < 30; i++)
        store_one(&app, i % 3 ? "a" : "b", i, 30000);
    ask(&c, &app, "", "Accept: application/x-ndjson\r\n");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == 1);
    store_one(&app, "late", 99, 0);
    wait_ended(&c);
    CHECK_INT(occurrences(&c, "\"via\":\"webhook\""), 30);
    CHECK(has(&c, "\"records\":30,\"lastId\":\"30\"") && str_ends(client_in(&c), STR("\n\r\n0\r\n\r\n")));
    client_close(&c);
    ask(&c, &app, "?name=b&after=3", "Accept: application/x-ndjson\r\n");
    wait_ended(&c);
    CHECK(has(&c, "\"records\":9,\"lastId\":\"31\""));
    client_close(&c);
    client_open(&c, &app.rig);
    client_text(&c, "HEAD /events HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n");
    client_wait_closed(&c);
    CHECK(has(&c, "HTTP/1.1 200 ") && str_ends(client_in(&c), STR("\r\n\r\n")));
    CHECK_INT(occurrences(&c, "\r\n\r\n"), 1);
    CHECK_INT(stream_clients(app.stream), 0);
    client_close(&c);
    stop(&app);
}

/* An export of which something is missing does not say that it is complete. */
static void test_export_that_is_not_whole(void)
{
    static const struct {
        const char *name;
        enum lmdb_call call;
        int after;
        uint64_t damaged;
    } rows[] = {
        {"no transaction", LMDB_RENEW, 0, 0},
        {"no cursor", LMDB_OPEN, 0, 0},
        {"at the first record", LMDB_WALK, 0, 0},
        {"in the middle", LMDB_WALK, 3, 0},
        {"a damaged record", LMDB_NONE, 0, 3},
        {"the last is damaged", LMDB_NONE, 0, 5},
        {"damaged, and all is left out", LMDB_NONE, 0, 1},
    };
    struct app app;
    struct client c;

    start(&app);
    for (unsigned i = 0; i < 5; i++)
        store_one(&app, "a", i, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        lmdb_fails = rows[i].call;
        lmdb_fails_after = rows[i].after;
        lmdb_damaged = rows[i].damaged;
        ask(&c, &app, rows[i].damaged == 1 ? "?name=b" : "", "Accept: application/x-ndjson\r\n");
        RIG_UNTIL(&app.rig, (client_poll(&c), c.closed)); /* over TLS without a goodbye */
        lmdb_fails = LMDB_NONE;
        lmdb_damaged = 0;
        CHECK(!has(&c, "exportCrc32c") && !str_ends(client_in(&c), STR("\r\n0\r\n\r\n")));
        client_close(&c);
        CHECK_INT(stream_clients(app.stream), 0);
    }
    stop(&app);
}

/* Streams wait until the store can be read again, and miss nothing. */
static void test_stream_that_cannot_be_read(void)
{
    enum lmdb_call calls[] = {LMDB_RENEW, LMDB_OPEN, LMDB_WALK};
    struct app app;
    struct client live, behind;

    start(&app);
    for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        harness_case("call %d", (int)calls[i]);
        size_t stored = (size_t)store_newest(app.store);
        follow(&live, &app, "");
        RIG_UNTIL(&app.rig, (client_poll(&live), has(&live, "\nid: ")));
        lmdb_fails = calls[i];
        lmdb_fails_after = 0;
        store_one(&app, "a", 2 * i + 1, 0);
        RIG_UNTIL(&app.rig, event_pending(app.stream->live, EV_TIMEOUT, NULL)); /* to try again later */
        CHECK_INT(app.stream->live_at, stored);
        follow(&behind, &app, "?after=0");
        RIG_UNTIL(&app.rig, stream_clients(app.stream) == 2 && (app.stream->resting || stored == 0));
        lmdb_fails = LMDB_NONE;
        expect_events(&live, 1);
        expect_events(&behind, stored + 1);
        store_one(&app, "a", 2 * i + 2, 0);
        expect_events(&live, 2);
        expect_events(&behind, stored + 2);
        client_close(&live);
        client_close(&behind);
        RIG_UNTIL(&app.rig, stream_clients(app.stream) == 0);
    }
    stop(&app);
}

/* Many live readers, none of which reads: each has the event waiting, and it is there once. */
static void test_one_encoding_for_all(void)
{
    enum { READERS = 50, BYTES = 2000000 };
    struct app app;
    struct client c[READERS];

    start(&app);
    for (int i = 0; i < READERS; i++)
        follow(&c[i], &app, "");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == READERS);
    store_one(&app, "big", 1, BYTES);
    RIG_UNTIL(&app.rig, app.stream->live_at == 1);
    size_t waiting = 0;
    for (int i = 0; i < READERS; i++)
        waiting += long_unsent(((struct reader *)app.stream->heap.items[i])->answer);
    CHECK(waiting > (size_t)5 * BYTES); /* or the kernel holds it all, and nothing is shown */
    CHECK(piece_pool_bytes(app.stream->pool) >= BYTES);
    CHECK(piece_pool_bytes(app.stream->pool) < (uint64_t)3 * BYTES); /* with what it was given room to grow */
    for (int i = 0; i < READERS; i++) {
        RIG_UNTIL(&app.rig, (client_poll(&c[i]), str_ends(client_in(&c[i]), STR("}\n\n\r\n"))));
        CHECK_INT(occurrences(&c[i], "\ndata: "), 1);
        client_close(&c[i]);
    }
    RIG_UNTIL(&app.rig, piece_pool_bytes(app.stream->pool) == 0);
    stop(&app);
}

/* STREAM_MAX_BYTES of records wait for readers that take nothing, behind and live ones: nobody gets anything until they are
 * cut, and then whoever reads goes on where it was. */
static void test_no_memory_for_streams(void)
{
    enum { BEHIND = 20, LIVE = 8, BYTES = 4000000 };
    struct app app;
    struct client healthy, stuck[BEHIND + LIVE];
    char name[32];

    start(&app);
    store_one(&app, "big", 1, BYTES);
    follow(&healthy, &app, "?after=1&name=a");
    for (int i = 0; i < LIVE; i++) {
        snprintf(name, sizeof name, "?after=1&name=b%d", i);
        follow(&stuck[BEHIND + i], &app, name);
    }
    RIG_UNTIL(&app.rig,
              stream_clients(app.stream) == LIVE + 1 && TAILQ_EMPTY(&app.stream->readers[READER_BEHIND]));
    for (int i = 0; i < BEHIND; i++) /* each has its own encoding */
        follow(&stuck[i], &app, "?after=0");
    RIG_UNTIL(&app.rig, stream_clients(app.stream) == BEHIND + LIVE + 1 &&
                            piece_pool_bytes(app.stream->pool) >= STREAM_BEHIND_BYTES);
    for (int i = 0; i < LIVE && piece_pool_bytes(app.stream->pool) < STREAM_MAX_BYTES; i++) {
        snprintf(name, sizeof name, "b%d", i);
        store_one(&app, name, 2, BYTES);
        RIG_UNTIL(&app.rig, app.stream->live_at == store_newest(app.store));
    }
    CHECK(piece_pool_bytes(app.stream->pool) >= STREAM_MAX_BYTES);
    CHECK(piece_pool_bytes(app.stream->pool) <= STREAM_MAX_BYTES + 2 * BYTES);
    uint64_t first = store_newest(app.store) + 1;
    store_one(&app, "a", 2, 0);
    pass(&app, STREAM_STALL_MS - 1);
    expect_events(&healthy, 0);
    pass(&app, 1);
    store_one(&app, "a", 3, 0);
    expect_events(&healthy, 2);
    for (uint64_t id = first; id < first + 2; id++) {
        char want[32];
        snprintf(want, sizeof want, "\nid: %u\ndata: ", (unsigned)id);
        CHECK(has(&healthy, want));
    }
    CHECK(app.stream->numbers.cut >= STREAM_MAX_BYTES / BYTES);
    client_close(&healthy);
    for (int i = 0; i < BEHIND + LIVE; i++)
        client_close(&stuck[i]);
    stop(&app);
}

/* To which ports something is written, in that order. */
static struct {
    bool on;
    size_t n;
    in_port_t to[256];
} writes;

static void note_write(int fd)
{
    struct sockaddr_in to;
    socklen_t len = sizeof to;

    if (writes.on && writes.n < sizeof writes.to / sizeof writes.to[0] &&
        getpeername(fd, (struct sockaddr *)&to, &len) == 0)
        writes.to[writes.n++] = to.sin_port;
}

/* Instead of libc's: evhttp and streams write with the first, OpenSSL with the other. */
ssize_t writev(int fd, const struct iovec *parts, int n)
{
    note_write(fd);
    return syscall(SYS_writev, fd, parts, n);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    note_write(fd);
    return syscall(SYS_write, fd, bytes, len);
}

static in_port_t port_of(const struct client *c)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;

    CHECK_INT(getsockname(c->fd, (struct sockaddr *)&at, &len), 0);
    return at.sin_port;
}

/* Whoever posts an event does not wait until all streams have it. */
static void test_answers_go_out_before_what_streams_get(void)
{
    enum { READERS = 100 };
    static const char post[] =
        "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"reason\":\"a\"}";
    struct app app;
    struct client poster, c[READERS];

    start(&app);
    client_open(&poster, &app.rig);
    client_text(&poster, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n"); /* over TLS hands are shaken with it */
    CHECK_INT(client_answer(&poster, NULL), 200);
    client_next(&poster);
    for (int i = 0; i < READERS; i++) {
        follow(&c[i], &app, "");
        RIG_UNTIL(&app.rig, (client_poll(&c[i]), has(&c[i], "\nid: 0\n")));
    }
    RIG_UNTIL(&app.rig, TAILQ_EMPTY(&app.stream->readers[READER_BEHIND]));
    CHECK_INT(client_try_send(&poster, post, sizeof post - 1), sizeof post - 1);
    writes.n = 0;
    writes.on = true;
    RIG_UNTIL(&app.rig, writes.n > READERS);
    writes.on = false;
    CHECK_INT(writes.to[0], port_of(&poster));
    CHECK_INT(client_answer(&poster, NULL), 200);
    for (int i = 0; i < READERS; i++) {
        expect_events(&c[i], 1);
        client_close(&c[i]);
    }
    client_close(&poster);
    stop(&app);
}

static void test_piece(void)
{
    struct piece_pool *pool = piece_pool_new();
    struct evbuffer *framed = evbuffer_new();
    struct evbuffer *plain = evbuffer_new();
    struct json_out out = {0};
    size_t begin, second;

    CHECK(chunk_begin(&out, &begin) && json_out_add(&out, STR("one\n")) && chunk_end(&out, begin));
    CHECK(chunk_begin(&out, &second) && json_out_add(&out, STR("0123456789abcdefg")) &&
          chunk_end(&out, second));
    size_t len = out.len;
    struct piece *p = piece_new(pool, &out);
    CHECK(out.at == NULL && piece_pool_bytes(pool) >= len);
    CHECK(piece_send(p, begin, len, true, framed) && piece_send(p, second, len, true, framed));
    CHECK(piece_send(p, begin, len, false, plain));
    piece_drop(p);
    CHECK(piece_pool_bytes(pool) > 0);
    static const char want[] =
        "00000004\r\none\n\r\n00000011\r\n0123456789abcdefg\r\n00000011\r\n0123456789abcdefg\r\n";
    CHECK_STR(((struct str){(char *)evbuffer_pullup(framed, -1), evbuffer_get_length(framed)}), str_of(want));
    CHECK_STR(((struct str){(char *)evbuffer_pullup(plain, -1), evbuffer_get_length(plain)}),
              STR("one\n0123456789abcdefg"));
    evbuffer_free(framed);
    evbuffer_free(plain);
    CHECK_INT(piece_pool_bytes(pool), 0);
    piece_pool_free(pool);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_stored_then_live),
                                       TEST(test_many_at_once),
                                       TEST(test_ahead_of_the_live_ones),
                                       TEST(test_beat),
                                       TEST(test_reader_that_takes_nothing),
                                       TEST(test_slow_reader_gets_all),
                                       TEST(test_shutdown_ends_all),
                                       TEST(test_positions),
                                       TEST(test_what_retention_took),
                                       TEST(test_what_retention_took_from_live_ones),
                                       TEST(test_what_retention_took_from_one_behind),
                                       TEST(test_store_is_opening),
                                       TEST(test_too_many),
                                       TEST(test_slow_readers_do_not_stop_live_ones),
                                       TEST(test_flood),
                                       TEST(test_old_protocol),
                                       TEST(test_export),
                                       TEST(test_export_that_is_not_whole),
                                       TEST(test_stream_that_cannot_be_read),
                                       TEST(test_one_encoding_for_all),
                                       TEST(test_no_memory_for_streams),
                                       TEST(test_answers_go_out_before_what_streams_get),
                                       TEST(test_piece),
                                       {0}});
}
