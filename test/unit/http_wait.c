/* GET /verdict and GET /wait with the real store: every status, time, clients that leave, the end. */
#include "http_test.h"
#include "lmdb_fails.h"

#include "http/due_priv.h"
#include "http/events_priv.h"
#include "http/server_priv.h"
#include "http/stream.h"
#include "http/verdict_json.h"
#include "http/wait_priv.h"

#include <dirent.h>
#include <jansson.h>

#define SHA_A "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
#define SHA_B "6394cb7f48332b2de7c17dd8b8384bbc84b7e738"

struct app {
    struct rig rig;
    struct store *store;
    struct waiters *waiters;
    struct event *ready;
    struct wait *wait;
    unsigned appended;
    char dir[64];
};

static int64_t set_back_ms; /* somebody did so to the wall clock */
static int64_t asleep_ms;   /* the machine was */

static struct moment now(void)
{
    return (struct moment){clock_of(CLOCK_REALTIME) - set_back_ms, clock_of(CLOCK_BOOTTIME) + asleep_ms};
}

static void on_store(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    store_dispatch(((struct app *)arg)->store);
}

static void on_turn(void *arg)
{
    struct app *app = arg;
    if (!app->store)
        return;
    while (waiters_run(app->waiters, now().wall_ms, 256) == WAITERS_MORE)
        ;
    store_flush(app->store);
}

static void start_empty(struct app *app)
{
    memset(app, 0, sizeof *app);
    rig_start(&app->rig, NULL);
    app->rig.on_turn = on_turn;
    app->rig.on_turn_arg = app;
    app->wait = wait_new(app->rig.server, app->rig.base, now);
    CHECK(app->wait != NULL);
}

static void open_store(struct app *app)
{
    char err[STORE_ERROR];
    const char *tmp = getenv("TMPDIR");
    snprintf(app->dir, sizeof app->dir, "%s/http_wait.XXXXXX", tmp ? tmp : "/tmp");
    CHECK(mkdtemp(app->dir) != NULL);
    struct store_config config = {.dir = app->dir};
    app->store = store_open(&config, &app->rig.reporter, err);
    if (!app->store)
        HARNESS_FAIL("%s", err);
    app->waiters = waiters_new(app->store);
    app->ready = event_new(app->rig.base, store_fd(app->store), EV_READ | EV_PERSIST, on_store, app);
    event_add(app->ready, NULL);
    wait_set_store(app->wait, app->store, app->waiters);
}

static void start(struct app *app)
{
    start_empty(app);
    open_store(app);
}

static void remove_dir(const char *path)
{
    char name[400];
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", path, d->d_name);
        unlink(name);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

static void stop(struct app *app)
{
    if (app->ready)
        event_free(app->ready);
    wait_free(app->wait);
    waiters_free(app->waiters);
    store_close(app->store);
    if (app->dir[0])
        remove_dir(app->dir);
    rig_stop(&app->rig);
}

static void on_appended(void *arg, uint64_t token, enum store_status status, uint64_t seq)
{
    (void)token;
    (void)seq;
    *(bool *)arg = status == STORE_OK;
}

/* Stores a statement of Kustomization/apps/NAME made `ago_s` seconds ago. */
static void tell(struct app *app, const char *name, const char *revision, const char *reason, int64_t ago_s)
{
    bool done = false;
    char body[64];
    snprintf(body, sizeof body, "{\"n\":%u}", app->appended++);
    struct flux_event e = {.kind = STR("Kustomization"),
                           .namespace = STR("apps"),
                           .name = str_of(name),
                           .severity =
                               strcmp(reason, "ReconciliationSucceeded") == 0 ? STR("info") : STR("error"),
                           .reason = str_of(reason),
                           .revision = str_of(revision),
                           .message = STR("said so"),
                           .timestamp_ms = now().wall_ms - ago_s * 1000,
                           .has_timestamp = true,
                           .plain = true};
    CHECK_INT(store_append(app->store, &e, str_of(body), VIA_WEBHOOK, now().wall_ms, on_appended, &done, 0),
              STORE_OK);
    store_flush(app->store);
    RIG_UNTIL(&app->rig, done);
}

static void request(struct client *c, const char *line, const char *header)
{
    char head[1024];
    snprintf(head, sizeof head, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n", line, header);
    client_text(c, head);
}

static int get(struct client *c, const char *target, const char *header, struct str *ret_body)
{
    char line[900];
    if (c->len)
        client_next(c);
    snprintf(line, sizeof line, "GET %s", target);
    request(c, line, header);
    return client_answer(c, ret_body);
}

/* Begins to wait, and returns when the server knows. */
static void begin_wait(struct client *c, struct app *app, const char *query)
{
    char line[900];
    size_t before = wait_clients(app->wait);
    client_open(c, &app->rig);
    snprintf(line, sizeof line, "GET /wait?%s", query);
    request(c, line, "");
    RIG_UNTIL(&app->rig, wait_clients(app->wait) == before + 1);
}

static json_t *parse(struct str body)
{
    json_error_t e;
    json_t *json = json_loadb(body.at, body.len, 0, &e);
    if (!json)
        HARNESS_FAIL("%s: %.*s", e.text, STR_ARG(body));
    return json;
}

static void check_member(json_t *json, const char *name, const char *want)
{
    const char *got = json_string_value(json_object_get(json, name));
    if (!got || strcmp(got, want) != 0)
        HARNESS_FAIL("%s is %s, want %s", name, got ? got : "(none)", want);
}

/* ---- the heap ---- */

static void test_due_heap(void)
{
    struct due items[300];
    struct due_heap heap = {0};
    uint32_t random = 1;
    int64_t last = INT64_MIN;

    for (size_t i = 0; i < 300; i++) {
        random = random * 1664525 + 1013904223;
        CHECK(due_add(&heap, &items[i], random % 1000));
    }
    for (size_t i = 0; i < 300; i += 3) {
        random = random * 1664525 + 1013904223;
        due_move(&heap, &items[i], random % 1000);
    }
    for (size_t i = 1; i < 300; i += 3)
        due_remove(&heap, &items[i]);
    CHECK_INT(heap.n, 200);
    while (heap.n) {
        struct due *d = heap.items[0];
        CHECK_INT(due_first(&heap), d->at_ms);
        CHECK(d->at_ms >= last);
        last = d->at_ms;
        due_remove(&heap, d);
    }
    CHECK(due_first(&heap) == INT64_MAX);
    due_free(&heap);
}

/* ---- answers ---- */

static void test_every_status(void)
{
    static const struct {
        const char *name, *query;
        int wait, verdict;
        const char *word, *reason;
    } rows[] = {
        {"succeeded", "revision=" SHA_A, 200, 200, "succeeded", "ReconciliationSucceeded"},
        {"failed", "revision=" SHA_B "&objects=Kustomization/apps/bad", 409, 200, "failed",
         "ReconciliationFailed"},
        {"one succeeded, one failed", "revision=" SHA_B, 409, 200, "failed", "ReconciliationFailed"},
        {"superseded", "revision=old&objects=Kustomization/apps/moved", 410, 200, "superseded", "Superseded"},
        {"superseded, and that is success",
         "revision=old&objects=Kustomization/apps/moved&onSuperseded=succeed", 200, 200, "succeeded",
         "ReconciliationSucceeded"},
        {"superseded, and waited for",
         "revision=old&objects=Kustomization/apps/moved&onSuperseded=wait&timeout=10ms", 408, 200, "waiting",
         "Waiting"},
        {"ambiguous", "revision=1234567", 409, 200, "failed", "AmbiguousRevision"},
        {"never heard of", "revision=nothing&timeout=10ms", 408, 200, "waiting", "Waiting"},
        {"more objects", "revision=" SHA_A "&expect=2&timeout=10ms", 408, 200, "waiting", "Waiting"},
        {"too long ago", "revision=" SHA_A "&since=1s&timeout=0", 408, 200, "waiting", "Waiting"},
        {"another cluster", "revision=" SHA_A "&cluster=x&timeout=0", 408, 200, "waiting", "Waiting"},
    };
    struct app app;
    struct client c;
    struct str body;
    char target[400];

    start(&app);
    tell(&app, "good", "main@sha1:" SHA_A, "ReconciliationSucceeded", 60);
    tell(&app, "good", "main@sha1:" SHA_B, "ReconciliationSucceeded", 50);
    tell(&app, "bad", "main@sha1:" SHA_B, "BuildFailed", 40);
    tell(&app, "moved", "old", "BuildFailed", 30);
    tell(&app, "moved", "new", "ReconciliationSucceeded", 20);
    tell(&app, "x", "main@sha1:1234567000000000000000000000000000000000", "ReconciliationSucceeded", 9);
    tell(&app, "x", "main@sha1:1234567100000000000000000000000000000000", "ReconciliationSucceeded", 8);
    client_open(&c, &app.rig);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int wait = 0; wait < 2; wait++) {
            harness_case("%s, /%s", rows[i].name, wait ? "wait" : "verdict");
            snprintf(target, sizeof target, "/%s?%s", wait ? "wait" : "verdict", rows[i].query);
            CHECK_INT(get(&c, target, "", &body), wait ? rows[i].wait : rows[i].verdict);
            json_t *json = parse(body);
            check_member(json, "verdict", rows[i].word);
            check_member(json, "reason", rows[i].reason);
            CHECK(strlen(json_string_value(json_object_get(json, "message"))) > 10);
            CHECK(json_is_array(json_object_get(json, "objects")));
            json_decref(json);
        }
    }
    CHECK_INT(wait_clients(app.wait), 0);
    client_close(&c);
    stop(&app);
}

static void test_the_body_is_the_verdict(void)
{
    struct app app;
    struct client c;
    struct str body;

    start(&app);
    tell(&app, "web", "old", "BuildFailed", 30);
    tell(&app, "web", "new", "ReconciliationSucceeded", 20);
    client_open(&c, &app.rig);
    CHECK_INT(get(&c, "/wait?revision=old", "", &body), 410);
    json_t *json = parse(body);
    check_member(json, "revision", "old");
    check_member(json, "object", "Kustomization/apps/web");
    check_member(json, "supersededBy", "new");
    check_member(json, "eventId", "2");
    CHECK_INT(json_array_size(json_object_get(json, "objects")), 1);
    json_t *o = json_array_get(json_object_get(json, "objects"), 0);
    check_member(o, "kind", "Kustomization");
    check_member(o, "namespace", "apps");
    check_member(o, "name", "web");
    check_member(o, "cluster", "");
    check_member(o, "state", "superseded");
    check_member(o, "supersededBy", "new");
    check_member(o, "eventId", "2");
    CHECK(json_is_true(json_object_get(o, "reported")));
    CHECK_INT(strlen(json_string_value(json_object_get(o, "timestamp"))), TIME_TEXT - 1);
    json_decref(json);
    /* What was asked for and never heard of is there too; bytes that are no text harm nothing. */
    CHECK_INT(get(&c, "/verdict?revision=%FF%00x&objects=Kustomization/apps/none", "", &body), 200);
    json = parse(body);
    o = json_array_get(json_object_get(json, "objects"), 0);
    check_member(o, "name", "none");
    CHECK(json_is_false(json_object_get(o, "reported")));
    CHECK(json_object_get(o, "eventId") == NULL && json_object_get(json, "object") == NULL);
    json_decref(json);
    client_close(&c);
    stop(&app);
}

static void test_text(void)
{
    struct app app;
    struct client c;
    struct str body;

    start(&app);
    client_open(&c, &app.rig);
    CHECK_INT(get(&c, "/wait?revision=none&timeout=0", "Accept: text/plain\r\n", &body), 408);
    CHECK_HAS(client_in(&c), STR("\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    CHECK_HAS(body, STR("none"));
    CHECK_INT(body.at[body.len - 1], '\n');
    CHECK_INT(str_find(body, '\n'), body.len - 1);
    CHECK_INT(get(&c, "/wait?revision=none&timeout=0", "Accept: */*\r\n", &body), 408);
    CHECK_INT(body.at[0], '{');
    client_close(&c);
    stop(&app);
}

static void test_bad_requests(void)
{
    static const struct {
        const char *request;
        int status;
        const char *has;
    } rows[] = {
        {"GET /wait", 400, "revision: is missing"},
        {"GET /verdict", 400, "revision: is missing"},
        {"GET /wait?revision=", 400, "revision: is empty"},
        {"GET /wait?revision=a&revision=b", 400, "revision: is given more than once"},
        {"GET /wait?revision=a&x=1", 400, "x: is no parameter"},
        {"GET /wait?revision=a&Objects=A/b/c", 400, "Objects: is no parameter"},
        {"GET /wait?revision=a&objects=A/b/c/d/e", 400, "Kind/namespace/name"},
        {"GET /wait?revision=a&failAfter=5", 400, "write it with a unit"},
        {"GET /wait?revision=a&expect=0", 400, "write 1 to 10000"},
        {"GET /wait?revision=a&since=2999-01-01T00:00:00Z", 400, "is in the future"},
        {"GET /wait?revision=a&onSuperseded=stop", 400, "write fail, wait or succeed"},
        {"GET /wait?revision=a&timeout=61m", 400, "at most 1h"},
        {"GET /wait?revision=a&timeout=-1s", 400, "timeout: "},
        {"GET /wait?revision=%25%4", 400, "hexadecimal"},
        {"GET /wait?revision=$(x)", 400, "was not substituted"},
        {"GET /wait/?revision=a", 404, "nothing at this path"},
        {"DELETE /wait?revision=a", 405, "\r\nAllow: GET\r\n"},
        {"DELETE /verdict?revision=a", 405, "\r\nAllow: GET, HEAD\r\n"},
    };
    struct app app;
    struct client c;

    start(&app);
    client_open(&c, &app.rig);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].request);
        request(&c, rows[i].request, "");
        CHECK_INT(client_answer(&c, NULL), rows[i].status);
        CHECK_HAS(client_in(&c), str_of(rows[i].has));
        client_next(&c);
    }
    request(&c, "HEAD /wait?revision=a", "");
    RIG_UNTIL(&app.rig, (client_poll(&c), answer_at(client_in(&c), true, NULL, NULL) != 0));
    CHECK_INT(answer_at(client_in(&c), true, NULL, NULL), 405);
    c.len = 0;
    request(&c, "HEAD /verdict?revision=a", "");
    RIG_UNTIL(&app.rig, (client_poll(&c), answer_at(client_in(&c), true, NULL, NULL) != 0));
    CHECK_INT(answer_at(client_in(&c), true, NULL, NULL), 200);
    CHECK_INT(wait_clients(app.wait), 0);
    client_close(&c);
    stop(&app);
}

static void test_store_is_opening(void)
{
    struct app app;
    struct client c;

    start_empty(&app);
    client_open(&c, &app.rig);
    CHECK_INT(get(&c, "/wait?revision=a", "", NULL), 503);
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    CHECK_INT(get(&c, "/verdict?revision=a", "", NULL), 503);
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    open_store(&app);
    CHECK_INT(get(&c, "/verdict?revision=a", "", NULL), 200);
    client_close(&c);
    stop(&app);
}

/* ---- waiting ---- */

static void test_an_event_answers_whom_it_concerns(void)
{
    struct app app;
    struct client c[3];

    start(&app);
    begin_wait(&c[0], &app, "revision=" SHA_A);
    begin_wait(&c[1], &app, "revision=5394cb7");
    begin_wait(&c[2], &app, "revision=" SHA_B);
    tell(&app, "web", "main@sha1:" SHA_A, "ReconciliationSucceeded", 1);
    CHECK_INT(client_answer(&c[0], NULL), 200);
    CHECK_INT(client_answer(&c[1], NULL), 200);
    client_poll(&c[2]);
    CHECK_INT(c[2].len, 0);
    CHECK_INT(wait_clients(app.wait), 1);
    CHECK_INT(waiters_count(app.waiters), 1);
    tell(&app, "web", "main@sha1:" SHA_B, "BuildFailed", 1);
    CHECK_INT(client_answer(&c[2], NULL), 409);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    stop(&app);
}

/* Nothing comes any more, and yet the answer changes. */
static void test_fail_after_wakes_by_itself(void)
{
    struct app app;
    struct client c[2];
    int64_t begin;

    start(&app);
    begin_wait(&c[0], &app, "revision=r&failAfter=2s&timeout=1h");
    begin_wait(&c[1], &app, "revision=r&failAfter=2s&timeout=300ms");
    begin = clock_ms();
    tell(&app, "web", "r", "BuildFailed", 0);
    CHECK_INT(client_answer(&c[1], NULL), 408);
    CHECK_INT(c[0].len, 0);
    CHECK_INT(client_answer(&c[0], NULL), 409);
    CHECK(clock_ms() - begin >= 900 && clock_ms() - begin < 3500);
    client_close(&c[0]);
    client_close(&c[1]);
    stop(&app);
}

static void test_timeouts_in_their_order(void)
{
    struct app app;
    struct client c[3];
    int64_t begin = clock_ms();

    start(&app);
    begin_wait(&c[0], &app, "revision=r");
    begin_wait(&c[1], &app, "revision=r&timeout=400ms");
    begin_wait(&c[2], &app, "revision=r&timeout=200ms");
    CHECK_INT(client_answer(&c[2], NULL), 408);
    CHECK(clock_ms() - begin >= 200);
    client_poll(&c[1]);
    CHECK(c[1].len == 0 || clock_ms() - begin >= 400);
    CHECK_INT(client_answer(&c[1], NULL), 408);
    CHECK(clock_ms() - begin >= 400);
    client_poll(&c[0]);
    CHECK_INT(c[0].len, 0);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    stop(&app);
}

/* Whatever was due meanwhile is late, and no failure. */
static void test_after_a_long_sleep(void)
{
    struct app app;
    struct client c;

    start(&app);
    begin_wait(&c, &app, "revision=r&timeout=100ms");
    asleep_ms = 3600 * 1000;
    CHECK_INT(client_answer(&c, NULL), 408);
    asleep_ms = 0;
    client_close(&c);
    stop(&app);
}

/* 503 instead of half a truth, for whoever waits some time after the timeout. */
static void test_the_store_cannot_be_read(void)
{
    struct app app;
    struct client c[3];
    struct str body;
    int64_t begin = clock_ms();

    start(&app);
    client_open(&c[0], &app.rig);
    lmdb_fails = LMDB_RENEW;
    CHECK_INT(get(&c[0], "/verdict?revision=r", "", &body), 503);
    CHECK_HAS(body, STR("cannot be answered"));
    begin_wait(&c[1], &app, "revision=r&timeout=100ms");
    begin_wait(&c[2], &app, "revision=r&timeout=1h");
    CHECK_INT(client_answer(&c[1], &body), 503);
    CHECK_HAS(body, STR("cannot be answered"));
    CHECK(clock_ms() - begin >= 2100);
    lmdb_fails = LMDB_NONE;
    tell(&app, "app", "r", "ReconciliationSucceeded", 9);
    CHECK_INT(client_answer(&c[2], NULL), 200);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    stop(&app);
}

static void test_limit(void)
{
    struct app app;
    struct client c[3];

    start(&app);
    wait_set_max_clients(app.wait, 2);
    begin_wait(&c[0], &app, "revision=r");
    begin_wait(&c[1], &app, "revision=r");
    client_open(&c[2], &app.rig);
    CHECK_INT(get(&c[2], "/wait?revision=r", "", NULL), 503);
    CHECK_HAS(client_in(&c[2]), STR("\r\nRetry-After: 2\r\n"));
    client_close(&c[0]);
    RIG_UNTIL(&app.rig, wait_clients(app.wait) == 1);
    CHECK_INT(get(&c[2], "/wait?revision=r&timeout=0", "", NULL), 408);
    client_close(&c[1]);
    client_close(&c[2]);
    stop(&app);
}

static void test_clients_that_leave(void)
{
    static const struct {
        const char *name;
        const char *behind; /* sent behind the request */
        bool reset;
    } rows[] = {
        {"closes", "", false},
        {"resets", "", true},
        {"has sent more, closes", "GET /verdict?revision=r HTTP/1.1\r\nHost: x\r\n\r\n", false},
        {"has sent more, resets", "GET /verdict?revision=r HTTP/1.1\r\nHost: x\r\n\r\n", true},
        {"has sent what is refused, closes", "no request\r\n\r\n", false},
    };
    struct app app;

    start(&app);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        struct client c;
        struct linger linger = {.l_onoff = 1};
        begin_wait(&c, &app, "revision=r&timeout=1h");
        if (rows[i].behind[0])
            client_text(&c, rows[i].behind);
        for (int turns = 0; turns < 5; turns++)
            rig_turn(&app.rig, 5);
        CHECK_INT(wait_clients(app.wait), 1);
        if (rows[i].reset)
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        client_close(&c);
        RIG_UNTIL(&app.rig, wait_clients(app.wait) == 0);
        CHECK_INT(waiters_count(app.waiters), 0);
        CHECK_INT(http_server_pending(app.rig.server), 0);
        RIG_UNTIL(&app.rig, http_server_connections(app.rig.server) == 0);
    }
    stop(&app);
}

/* A client that only waits costs no turns of the loop, also when it has sent more than its request. */
static void test_waiting_is_quiet(void)
{
    struct app app;
    struct client c;

    start(&app);
    begin_wait(&c, &app, "revision=r&timeout=1h");
    client_text(&c, "GET /verdict?revision=r HTTP/1.1\r\nHost: x\r\n\r\n");
    int64_t begin = clock_ms();
    int turns = 0;
    for (; clock_ms() - begin < 200; turns++)
        rig_turn(&app.rig, 50);
    CHECK(turns < 20);
    tell(&app, "web", "r", "ReconciliationSucceeded", 1);
    CHECK_INT(client_answer(&c, NULL), 200);
    client_next(&c);
    CHECK_INT(client_answer(&c, NULL), 200); /* what it sent behind is answered behind */
    client_close(&c);
    stop(&app);
}

/* What comes while a client is watched is read to its end once there is an answer, however many reads that takes. */
static void test_a_long_request_behind(void)
{
    char body[16 << 10];
    struct app app;
    struct client c;

    memset(body, 'x', sizeof body);
    start(&app);
    begin_wait(&c, &app, "revision=r&timeout=1h");
    client_text(&c, "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 16384\r\n\r\n");
    client_send(&c, (struct str){body, sizeof body});
    for (int turns = 0; turns < 5; turns++)
        rig_turn(&app.rig, 5);
    tell(&app, "web", "r", "ReconciliationSucceeded", 1);
    CHECK_INT(client_answer(&c, NULL), 200);
    client_next(&c);
    CHECK_INT(client_answer(&c, NULL), 405);
    client_close(&c);
    stop(&app);
}

static void test_the_connection_goes_on(void)
{
    struct app app;
    struct client c;

    start(&app);
    tell(&app, "web", "r", "ReconciliationSucceeded", 1);
    client_open(&c, &app.rig);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(get(&c, "/wait?revision=r", "", NULL), 200);
        CHECK_INT(get(&c, "/wait?revision=none&timeout=1ms", "", NULL), 408);
    }
    client_close(&c);
    stop(&app);
}

static void test_shutdown(void)
{
    struct app app;
    struct client c[2];
    struct str body;

    start(&app);
    begin_wait(&c[0], &app, "revision=r");
    client_open(&c[1], &app.rig);
    CHECK_INT(get(&c[1], "/verdict?revision=r", "", NULL), 200);
    wait_shutdown(app.wait);
    CHECK_INT(client_answer(&c[0], &body), 503);
    CHECK_HAS(client_in(&c[0]), STR("\r\nRetry-After: 2\r\n"));
    CHECK_HAS(body, STR("\"verdict\":\"waiting\""));
    CHECK_INT(get(&c[1], "/wait?revision=r", "", &body), 503);
    CHECK_INT(wait_clients(app.wait), 0);
    client_close(&c[0]);
    client_close(&c[1]);
    stop(&app);
}

/* A moment at which the answer might change comes between the shutdown and the answer. */
static void test_shutdown_at_a_moment(void)
{
    struct app app;
    struct client c;

    start(&app);
    begin_wait(&c, &app, "revision=r&failAfter=1s&timeout=1h");
    tell(&app, "web", "r", "BuildFailed", 0); /* its commit may take a while */
    set_back_ms = 3600000;                    /* so it does not change then */
    usleep(1100000);
    wait_shutdown(app.wait);
    CHECK_INT(client_answer(&c, NULL), 503);
    set_back_ms = 0;
    client_close(&c);
    stop(&app);
}

/* The end comes while clients wait: nothing is answered, nothing leaks. */
static void test_end_while_waiting(void)
{
    struct app app;
    struct client c;

    start(&app);
    begin_wait(&c, &app, "revision=r");
    stop(&app);
    client_close(&c);
}

/* What users were promised, in figures of its own: a limit that is changed is changed here too. */
static void test_limits_of_the_contract(void)
{
    struct guard_limits limits;

    http_default_limits(&limits);
    const struct {
        const char *name;
        int64_t is, promised;
    } rows[] = {
        {"head", HTTP_MAX_HEAD, 16 << 10},
        {"body", HTTP_MAX_BODY, 4 << 20},
        {"all bodies", (int64_t)limits.bodies, 64 << 20},
        {"connections", HTTP_MAX_CONNECTIONS, 16384},
        {"idle connections", HTTP_MAX_IDLE, 1024},
        {"a head comes within", limits.head_ms, 10000},
        {"a body comes within", limits.body_ms, 30000},
        {"try again after", HTTP_RETRY_AFTER, 2},
        {"clients that wait", WAIT_MAX_CLIENTS, 10000},
        {"a wait, unless asked for", WAIT_DEFAULT_MS, 30000},
        {"a wait", WAIT_MAX_MS, 3600000},
        {"clients of streams", STREAM_MAX_CLIENTS, 1024},
        {"a comment every", STREAM_BEAT_MS, 15000},
        {"a stream is cut after", STREAM_STALL_MS, 30000},
        {"records of a scan in a turn", LIST_TURN_RECORDS, 1000},
        {"the same of a stream", STREAM_TURN_RECORDS, 1000},
        {"a page", LIST_MAX_BYTES, 4 << 20},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        CHECK_INT(rows[i].is, rows[i].promised);
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_due_heap),
                                       TEST(test_every_status),
                                       TEST(test_the_body_is_the_verdict),
                                       TEST(test_text),
                                       TEST(test_bad_requests),
                                       TEST(test_store_is_opening),
                                       TEST(test_an_event_answers_whom_it_concerns),
                                       TEST(test_fail_after_wakes_by_itself),
                                       TEST(test_timeouts_in_their_order),
                                       TEST(test_after_a_long_sleep),
                                       TEST(test_the_store_cannot_be_read),
                                       TEST(test_limit),
                                       TEST(test_clients_that_leave),
                                       TEST(test_waiting_is_quiet),
                                       TEST(test_a_long_request_behind),
                                       TEST(test_the_connection_goes_on),
                                       TEST(test_shutdown),
                                       TEST(test_shutdown_at_a_moment),
                                       TEST(test_end_while_waiting),
                                       TEST(test_limits_of_the_contract),
                                       {0}});
}
