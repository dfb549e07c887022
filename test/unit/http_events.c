/* Events over HTTP with the real store: what is posted comes back, pages, errors, and nothing is acknowledged
 * early. */
#include "http_test.h"
#include "lmdb_fails.h"

#include "http/events_priv.h"
#include "http/pending_priv.h"
#include "http/server_priv.h"

#include <dirent.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <jansson.h>
#include <sys/stat.h>

#define H      "Host: x\r\n"
#define NOW_MS INT64_C(1785578400000) /* 2026-08-01T10:00:00Z */

struct app {
    struct rig rig;
    struct store *store;
    struct event *ready;
    struct events *events;
    char dir[64];
    bool hold; /* do not hand batches to the writer */
    int ticks; /* turns of the loop, while `tick` is on */
    struct event *tick;
};

static int64_t now_ms(void)
{
    return NOW_MS;
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
    if (app->store && !app->hold)
        store_flush(app->store);
}

static void start(struct app *app)
{
    memset(app, 0, sizeof *app);
    rig_start(&app->rig, NULL);
    app->rig.on_turn = on_turn;
    app->rig.on_turn_arg = app;
    app->events = events_new(app->rig.server, now_ms, &app->rig.reporter);
    CHECK(app->events != NULL);
}

static void open_store(struct app *app, uint64_t max_queued_bytes)
{
    char err[STORE_ERROR];
    snprintf(app->dir, sizeof app->dir, "%s/http_events.XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    CHECK(mkdtemp(app->dir) != NULL);
    struct store_config config = {
        .dir = app->dir, .allow_network_fs = true, .max_queued_bytes = max_queued_bytes};
    app->store = store_open(&config, &app->rig.reporter, err);
    if (!app->store)
        HARNESS_FAIL("%s", err);
    app->ready = event_new(app->rig.base, store_fd(app->store), EV_READ | EV_PERSIST, on_store, app);
    event_add(app->ready, NULL);
    events_set_store(app->events, app->store);
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
    store_close(app->store);
    if (app->dir[0])
        remove_dir(app->dir);
    events_free(app->events);
    rig_stop(&app->rig);
}

/* Sends a request with a body ("" for none) on c and waits for the answer, which stays in c. */
static int ask(struct client *c, const char *line, const char *header, struct str body, struct str *ret_body)
{
    char head[1024];

    if (c->len)
        client_next(c);
    snprintf(head, sizeof head, "%s HTTP/1.1\r\n" H "%sContent-Length: %zu\r\n\r\n", line, header, body.len);
    client_text(c, head);
    client_send(c, body);
    return client_answer(c, ret_body);
}

static int get(struct client *c, const char *target, struct str *ret_body)
{
    char line[512];
    snprintf(line, sizeof line, "GET %s", target);
    return ask(c, line, "", STR_NONE, ret_body);
}

static int post(struct client *c, struct str body, struct str *ret_body)
{
    return ask(c, "POST /events", "", body, ret_body);
}

static int post_named(struct client *c, const char *name, const char *revision, int minute)
{
    char body[400];
    snprintf(body, sizeof body,
             "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"%s\"},"
             "\"reason\":\"ReconciliationSucceeded\",\"severity\":\"info\",\"message\":\"%s %d\","
             "\"timestamp\":\"2026-08-01T09:%02d:00Z\",\"metadata\":{\"revision\":\"%s\"}}",
             name, name, minute, minute, revision);
    return post(c, str_of(body), NULL);
}

static char *read_whole(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) != 0)
        return NULL;
    char *bytes = malloc((size_t)st.st_size + 1);
    *ret_len = fread(bytes, 1, (size_t)st.st_size, f);
    fclose(f);
    return bytes;
}

/* Every member of the posted event is in the answer, but for metadata keys that lose their prefix. */
static void check_members(struct str sent, struct str got)
{
    json_error_t e;
    int flags = JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    json_t *a = json_loadb(sent.at, sent.len, flags, &e);
    json_t *b = json_loadb(got.at, got.len, flags, &e);
    const char *key;
    json_t *value;

    CHECK(a != NULL && b != NULL);
    json_object_foreach(a, key, value)
    {
        json_t *other = json_object_get(b, key);
        if (strcmp(key, "metadata") != 0 || !json_is_object(value)) {
            if (!json_equal(value, other))
                HARNESS_FAIL("member %s differs", key);
            continue;
        }
        const char *name;
        json_t *text;
        json_object_foreach(value, name, text)
        {
            const char *slash = strrchr(name, '/');
            json_t *plain = json_object_get(other, name);
            json_t *bare = slash ? json_object_get(other, slash + 1) : NULL;
            if (!json_equal(text, plain) && !json_equal(text, bare))
                HARNESS_FAIL("metadata %s differs", name);
        }
    }
    json_decref(a);
    json_decref(b);
}

static void test_golden_comes_back(void)
{
    static const char *dirs[] = {"test/golden/flux", "test/golden/notification-controller-1.5.0"};
    struct app app;
    struct client c;
    struct dirent *d;
    int files = 0;

    start(&app);
    open_store(&app, 0);
    client_open(&c, &app.rig);
    for (size_t i = 0; i < 2; i++) {
        DIR *dir = opendir(dirs[i]);
        CHECK(dir != NULL);
        while ((d = readdir(dir)) != NULL) {
            char path[400], line[128];
            size_t len = 0;
            struct str answer;
            unsigned long long id;
            if (!str_ends(str_of(d->d_name), STR(".json")))
                continue;
            harness_case("%s", d->d_name);
            files++;
            snprintf(path, sizeof path, "%s/%s", dirs[i], d->d_name);
            char *bytes = read_whole(path, &len);
            CHECK_INT(post(&c, (struct str){bytes, len}, &answer), 200);
            CHECK_INT(sscanf(answer.at, "{\"id\":\"%llu\"}", &id), 1);
            snprintf(line, sizeof line, "GET /events/%llu", id);
            CHECK_INT(ask(&c, line, "Accept: application/octet-stream\r\n", STR_NONE, &answer), 200);
            CHECK_INT(answer.len, len);
            CHECK(memcmp(answer.at, bytes, len) == 0);
            CHECK_INT(ask(&c, line, "", STR_NONE, &answer), 200);
            check_members((struct str){bytes, len}, answer);
            free(bytes);
        }
        closedir(dir);
    }
    harness_case("all");
    CHECK(files >= 40);
    client_close(&c);
    stop(&app);
}

static uint64_t body_bytes(const struct app *app)
{
    struct metric_source source = http_server_metrics(app->rig.server);

    return ((const struct http_numbers *)source.collect(source.arg))->body_bytes;
}

/* And its body counts among those of HTTP_MAX_BODIES as long. */
static void test_not_acknowledged_before_the_commit(void)
{
    struct app app;
    struct client c;

    start(&app);
    open_store(&app, 0);
    app.hold = true;
    client_open(&c, &app.rig);
    client_text(&c, "POST /events HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}");
    RIG_UNTIL(&app.rig, store_pending(app.store));
    for (int i = 0; i < 10; i++)
        rig_turn(&app.rig, 5);
    client_poll(&c);
    CHECK_INT(c.len, 0);
    CHECK_INT(http_server_pending(app.rig.server), 1);
    CHECK_INT(body_bytes(&app), 2);
    struct evhttp_request *held = pending_get(http_server_requests(app.rig.server), 1);
    CHECK(held != NULL);
    CHECK_INT(evbuffer_get_length(evhttp_request_get_input_buffer(held)), 0); /* the store has it */
    app.hold = false;
    struct str body;
    CHECK_INT(client_answer(&c, &body), 200);
    CHECK_STR(body, STR("{\"id\":\"1\"}\n"));
    CHECK_INT(body_bytes(&app), 0);
    client_close(&c);
    stop(&app);
}

/* The sender is gone before the commit: the event is stored all the same. */
static void test_sender_leaves(void)
{
    struct app app;
    struct client c;
    struct str body;

    start(&app);
    open_store(&app, 0);
    app.hold = true;
    client_open(&c, &app.rig);
    client_text(&c, "POST /events HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}");
    RIG_UNTIL(&app.rig, store_pending(app.store));
    client_close(&c);
    rig_turn(&app.rig, 5);
    app.hold = false;
    RIG_UNTIL(&app.rig, !store_pending(app.store));
    client_open(&c, &app.rig);
    CHECK_INT(get(&c, "/events/1", &body), 200);
    client_close(&c);
    stop(&app);
}

static void test_post_errors(void)
{
    static const struct {
        const char *body;
        int status;
        const char *has;
    } rows[] = {
        {"", 400, "{\"error\":\""},
        {"{", 400, "{\"error\":\""},
        {"[]", 400, "object"},
        {"{\"reason\":7}", 400, "reason"},
        {"{\"metadata\":{\"revision\":{}}}", 400, "revision"},
        {"{\"involvedObject\":{\"kind\":[]}}", 400, "kind"},
        {"{}", 200, "{\"id\":\"1\"}"},
        {"{\"metadata\":{\"revision\":\"a\"},\"timestamp\":\"0001-01-01T00:01:00Z\",\"reason\":"
         "\"BuildFailed\"}",
         200, "{\"id\":\"2\"}"},
        {"{\"a\":123456789012345678901234567890,\"message\":\"m\",\"metadata\":null}", 200, "{\"id\":\"3\"}"},
    };
    struct app app;
    struct client c;
    struct str body;

    start(&app);
    client_open(&c, &app.rig);
    harness_case("while starting");
    CHECK_INT(post(&c, STR("{}"), &body), 503);
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    CHECK_INT(get(&c, "/events", &body), 503);
    CHECK_INT(get(&c, "/events/1", &body), 503);
    CHECK_INT(rig_refused(&app.rig, CAUSE_STARTING), 3);
    open_store(&app, 100);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].body);
        CHECK_INT(post(&c, str_of(rows[i].body), &body), rows[i].status);
        CHECK_HAS(body, str_of(rows[i].has));
    }
    harness_case("too many are queued");
    struct client other;
    app.hold = true;
    client_open(&other, &app.rig);
    client_text(&other, "POST /events HTTP/1.1\r\n" H "Content-Length: 80\r\n\r\n{\"message\":\"");
    for (int i = 0; i < 66; i++)
        client_text(&other, "x");
    client_text(&other, "\"}");
    RIG_UNTIL(&app.rig, store_pending(app.store));
    CHECK_INT(post(&c, STR("{\"message\":\"another one, of thirty-five bytes\"}"), &body), 503);
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    CHECK_INT(rig_refused(&app.rig, CAUSE_QUEUE_FULL), 1);
    app.hold = false;
    CHECK_INT(client_answer(&other, NULL), 200);
    client_close(&other);
    client_close(&c);
    stop(&app);
}

static void *no_malloc(size_t size)
{
    (void)size;
    return NULL;
}

/* The same body is taken a moment later: the sender is told to try again, and that the event is wrong is not counted. */
static void test_no_memory_is_not_the_senders_fault(void)
{
    struct app app;
    struct client c;
    struct str body;

    start(&app);
    open_store(&app, 0);
    client_open(&c, &app.rig);
    json_set_alloc_funcs(no_malloc, free);
    CHECK_INT(post(&c, STR("{}"), &body), 503);
    json_set_alloc_funcs(malloc, free);
    CHECK_STR(body, STR("{\"error\":\"" NO_MEMORY "\"}\n"));
    CHECK_HAS(client_in(&c), STR("\r\nRetry-After: 2\r\n"));
    CHECK_INT(rig_refused(&app.rig, CAUSE_OVERLOAD), 1);
    CHECK_INT(rig_refused(&app.rig, CAUSE_BAD_EVENT), 0);
    CHECK_INT(post(&c, STR("{}"), NULL), 200);
    CHECK_INT(post(&c, STR("[]"), NULL), 400);
    CHECK_INT(rig_refused(&app.rig, CAUSE_BAD_EVENT), 1);
    client_close(&c);
    stop(&app);
}

static void test_get_errors(void)
{
    static const struct {
        const char *target;
        int status;
        const char *has;
    } rows[] = {
        {"/events/1", 404, "no event"},
        {"/events/0", 404, "no event"},
        {"/events/18446744073709551615", 404, "no event"},
        {"/events/18446744073709551616", 400, "number"},
        {"/events/abc", 400, "number"},
        {"/events/-1", 400, "number"},
        {"/events/1?x=1", 400, "no query"},
        {"/events", 200, "[]\n"},
        {"/events?kind=", 200, "[]\n"},
        {"/events?after=99", 200, "[]\n"},
        {"/events?colour=red", 400, "unknown parameter \\\"colour"},
        {"/events?Kind=a", 400, "unknown parameter \\\"Kind"},
        {"/events?kind=a&kind=a", 400, "repeated parameter \\\"kind"},
        {"/events?limit=0", 400, "parameter limit"},
        {"/events?limit=1001", 400, "parameter limit"},
        {"/events?limit=x", 400, "parameter limit"},
        {"/events?after=x", 400, "parameter after"},
        {"/events?order=up", 400, "parameter order"},
        {"/events?since=yesterday", 400, "parameter since"},
        {"/events?until=", 400, "parameter until"},
        {"/events?revision=", 400, "parameter revision"},
        {"/events?since=%zz", 400, "hexadecimal"},
    };
    struct app app;
    struct client c;
    struct str body;

    start(&app);
    open_store(&app, 0);
    client_open(&c, &app.rig);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].target);
        CHECK_INT(get(&c, rows[i].target, &body), rows[i].status);
        CHECK_HAS(body, str_of(rows[i].has));
    }
    harness_case("what cannot be met is as if it were not there");
    CHECK_INT(ask(&c, "GET /events", "Accept: text/html\r\n", STR_NONE, NULL), 200);
    CHECK_INT(ask(&c, "GET /events", "Accept: */*\r\n", STR_NONE, NULL), 200);
    client_close(&c);
    stop(&app);
}

/* The ids of an answered array, as "1 2 3". */
static const char *ids(struct str body, char out[static 256])
{
    struct text text;
    json_t *array = json_loadb(body.at, body.len, 0, NULL);
    size_t i;
    json_t *value;

    text_init(&text, out, 256);
    json_array_foreach(array, i, value)
        text_addf(&text, "%s%s", i ? " " : "", json_string_value(json_object_get(value, "id")));
    json_decref(array);
    return out;
}

static void test_filters(void)
{
    static const struct {
        const char *query;
        const char *ids;
        const char *link; /* NULL: none */
    } rows[] = {
        {"", "1 2 3 4 5 6", NULL},
        {"?limit=6", "1 2 3 4 5 6", NULL},
        {"?limit=2", "1 2", "</events?limit=2&after=2>; rel=\"next\""},
        {"?limit=2&after=2", "3 4", "</events?limit=2&after=4>; rel=\"next\""},
        {"?limit=2&after=4", "5 6", NULL},
        {"?order=desc&limit=4", "6 5 4 3", "</events?order=desc&limit=4&after=3>; rel=\"next\""},
        {"?order=desc&limit=4&after=3", "2 1", NULL},
        {"?name=app-1", "2 4 6", NULL},
        {"?name=app-1&limit=2", "2 4", "</events?name=app-1&limit=2&after=4>; rel=\"next\""},
        {"?name=app-1&limit=1&after=4", "6", NULL},
        {"?kind=Kustomization&namespace=flux-system&name=app-0", "1 3 5", NULL},
        {"?kind=kustomization", "", NULL},
        {"?namespace=", "", NULL},
        {"?cluster=", "1 2 3 4 5 6", NULL},
        {"?reason=ReconciliationSucceeded&severity=info", "1 2 3 4 5 6", NULL},
        {"?severity=error", "", NULL},
        {"?since=2026-08-01T09:03:00Z", "4 5 6", NULL},
        {"?until=2026-08-01T09:03:00Z", "1 2 3", NULL},
        {"?since=2026-08-01T09:01:00Z&until=2026-08-01T09:02:00Z", "2", NULL},
        {"?since=57m", "4 5 6", NULL},
        {"?revision=main@sha1:4444444444444444444444444444444444444444", "5", NULL},
        {"?revision=1.0.0+b5&limit=1", "6", NULL},
        {"?revision=4444444", "5", NULL},
        {"?order=desc&after=0", "", NULL},
        {"?order=desc&after=99&limit=1", "6", "</events?order=desc&limit=1&after=6>; rel=\"next\""},
    };
    struct app app;
    struct client c;
    struct str body;
    char target[200], got[256];

    start(&app);
    open_store(&app, 0);
    client_open(&c, &app.rig);
    for (int i = 0; i < 6; i++) {
        char name[16], revision[64] = "1.0.0+b5";
        snprintf(name, sizeof name, "app-%d", i % 2);
        if (i != 5) {
            snprintf(revision, sizeof revision, "main@sha1:");
            memset(revision + 10, '0' + i, 40);
            revision[50] = '\0';
        }
        CHECK_INT(post_named(&c, name, revision, i), 200);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].query);
        snprintf(target, sizeof target, "/events%s", rows[i].query);
        CHECK_INT(get(&c, target, &body), 200);
        CHECK_TEXT(ids(body, got), rows[i].ids);
        CHECK_INT(str_has(client_in(&c), STR("\r\nLink: ")), rows[i].link != NULL);
        if (rows[i].link)
            CHECK_HAS(client_in(&c), str_of(rows[i].link));
    }
    client_close(&c);
    stop(&app);
}

/* The next page asks for what this one was asked for, whatever that was: nothing in it ends the header. */
static void test_link_of_odd_values(void)
{
    static const char odd[] = "AZaz09-._~:/@ \r\nX: y&=?#%+\"<>\\;,`{[\x01\x7f\xc3\xa9";
    static const char encoded[] =
        "AZaz09-._~:/@%20%0D%0AX:%20y%26%3D%3F%23%25%2B%22%3C%3E%5C%3B%2C%60%7B%5B%01%7F%C3%A9";
    struct flux_event event = {
        .kind = STR("Kustomization"), .name = str_of(odd), .reason = STR("Progressing")};
    struct app app;
    struct client c;
    struct str body;
    char target[256], got[256], want[256];

    start(&app);
    open_store(&app, 0);
    client_open(&c, &app.rig);
    for (int i = 0; i < 2; i++) {
        struct str said = i ? STR("{\"message\":\"2\"}") : STR("{\"message\":\"1\"}");
        event.message = said;
        CHECK_INT(store_append(app.store, &event, said, VIA_WEBHOOK, NOW_MS, NULL, NULL, 0), STORE_OK);
    }
    RIG_UNTIL(&app.rig, !store_pending(app.store));
    snprintf(target, sizeof target, "/events?name=%s&limit=1", encoded);
    CHECK_INT(get(&c, target, &body), 200);
    CHECK_TEXT(ids(body, got), "1");
    snprintf(want, sizeof want, "\r\nLink: </events?name=%s&limit=1&after=1>; rel=\"next\"\r\n", encoded);
    CHECK_HAS(client_in(&c), str_of(want));
    snprintf(target, sizeof target, "/events?name=%s&limit=1&after=1", encoded);
    CHECK_INT(get(&c, target, &body), 200);
    CHECK_TEXT(ids(body, got), "2");
    client_close(&c);
    stop(&app);
}

static bool store_many(struct app *app, int n)
{
    struct flux_event event = {
        .kind = STR("Kustomization"), .namespace = STR("n"), .reason = STR("Progressing")};
    char body[64], name[32];

    for (int i = 0; i < n; i++) {
        snprintf(body, sizeof body, "{\"message\":\"%d\"}", i);
        snprintf(name, sizeof name, "app-%d", i);
        event.name = str_of(name);
        if (store_append(app->store, &event, str_of(body), VIA_WEBHOOK, NOW_MS, NULL, NULL, 0) != STORE_OK)
            return false;
    }
    RIG_UNTIL(&app->rig, !store_pending(app->store));
    return true;
}

/* Ends each call of the loop after one turn, which libevent would go on with while events are active. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct app *app = arg;
    const struct timeval soon = {0};
    (void)fd;
    (void)what;
    app->ticks++;
    event_add(app->tick, &soon);
    event_base_loopbreak(app->rig.base);
}

/* A filter that matches only the last of many records: found, over several turns, and others are served
 * between. */
static void test_long_scan_takes_turns(void)
{
    struct app app;
    struct client c, other;
    char got[256];
    struct str body;

    start(&app);
    open_store(&app, 0);
    CHECK(store_many(&app, 5000));
    client_open(&c, &app.rig);
    app.tick = event_new(app.rig.base, -1, 0, on_tick, &app);
    on_tick(-1, 0, &app);
    int before = app.ticks;
    CHECK_INT(get(&c, "/events?name=app-4999", &body), 200);
    CHECK_TEXT(ids(body, got), "5000");
    CHECK(app.ticks - before >= 5);

    harness_case("a full page, followed to the end");
    char target[64] = "/events?limit=1000";
    int n = 0;
    for (int page = 0; page < 5; page++) {
        before = app.ticks;
        CHECK_INT(get(&c, target, &body), 200);
        CHECK(app.ticks - before >= 1000 / LIST_TURN_ANSWERS); /* writing them out takes its time too */
        json_t *array = json_loadb(body.at, body.len, 0, NULL);
        CHECK_INT(json_array_size(array), 1000);
        json_t *first = json_object_get(json_array_get(array, 0), "id");
        CHECK_INT(strtol(json_string_value(first), NULL, 10), n + 1);
        n += 1000;
        json_decref(array);
        CHECK_INT(str_has(client_in(&c), STR("rel=\"next\"")), page < 4);
        snprintf(target, sizeof target, "/events?limit=1000&after=%d", n);
    }

    harness_case("too many at once");
    app.events->n_lists += LIST_MAX_RUNNING;
    CHECK_INT(get(&c, "/events", &body), 503);
    app.events->n_lists -= LIST_MAX_RUNNING;
    CHECK_INT(get(&c, "/events?limit=1", &body), 200);

    harness_case("the client leaves during a scan; the end comes during another");
    client_next(&c);
    client_text(&c, "GET /events?name=x HTTP/1.1\r\n" H "\r\n");
    RIG_UNTIL(&app.rig, app.events->n_lists == 1);
    client_close(&c);
    RIG_UNTIL(&app.rig, app.events->n_lists == 0);
    client_open(&other, &app.rig);
    client_text(&other, "GET /events?name=x HTTP/1.1\r\n" H "\r\n");
    RIG_UNTIL(&app.rig, app.events->n_lists == 1);
    event_free(app.tick);
    stop(&app);
    client_close(&other);
}

/* A store that cannot be read is not one without events. */
static void test_store_that_cannot_be_read(void)
{
    static const struct {
        const char *target;
        enum lmdb_call call;
        int after;
        int status;
    } rows[] = {
        {"/events", LMDB_RENEW, 0, 503},       {"/events", LMDB_OPEN, 0, 503},
        {"/events", LMDB_WALK, 0, 503},        {"/events", LMDB_WALK, 2, 503},
        {"/events?limit=1", LMDB_GET, 0, 200}, {"/events/2", LMDB_GET, 0, 503},
        {"/events/2", LMDB_RENEW, 0, 503},     {"/events/99", LMDB_NONE, 0, 404},
        {"/events/2", LMDB_NONE, 0, 200},
    };
    struct app app;
    struct client c;

    start(&app);
    open_store(&app, 0);
    CHECK(store_many(&app, 3));
    client_open(&c, &app.rig);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s, call %d after %d", rows[i].target, (int)rows[i].call, rows[i].after);
        lmdb_fails = rows[i].call;
        lmdb_fails_after = rows[i].after;
        CHECK_INT(get(&c, rows[i].target, NULL), rows[i].status);
        lmdb_fails = LMDB_NONE;
        CHECK_INT(str_has(client_in(&c), STR("\r\nRetry-After: 2\r\n")), rows[i].status == 503);
        CHECK_INT(str_has(client_in(&c), STR("the store cannot be read")), rows[i].status == 503);
    }
    CHECK_INT(http_server_tally(app.rig.server)->numbers.rejected[CAUSE_STORE_FAILED], 6);
    client_close(&c);
    stop(&app);
}

/* A page ends at 4 MiB, and what does not fit is on the next. */
static void test_page_ends_at_4_mib(void)
{
    struct app app;
    struct client c;
    struct str body;
    size_t len = 1500000;
    char *big = malloc(len);

    start(&app);
    open_store(&app, 0);
    client_open(&c, &app.rig);
    for (int i = 0; i < 4; i++) {
        memset(big, 'a' + i, len);
        memcpy(big, "{\"message\":\"", 12);
        memcpy(big + len - 2, "\"}", 2);
        CHECK_INT(post(&c, (struct str){big, len}, NULL), 200);
    }
    char got[256];
    CHECK_INT(get(&c, "/events", &body), 200);
    CHECK_TEXT(ids(body, got), "1 2");
    CHECK(body.len <= LIST_MAX_BYTES + 8);
    CHECK_HAS(client_in(&c), STR("Link: </events?after=2>; rel=\"next\"\r\n"));
    CHECK_INT(get(&c, "/events?after=2", &body), 200);
    CHECK_TEXT(ids(body, got), "3 4");
    free(big);
    client_close(&c);
    stop(&app);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_golden_comes_back),
                                       TEST(test_not_acknowledged_before_the_commit),
                                       TEST(test_sender_leaves),
                                       TEST(test_post_errors),
                                       TEST(test_no_memory_is_not_the_senders_fault),
                                       TEST(test_get_errors),
                                       TEST(test_filters),
                                       TEST(test_link_of_odd_values),
                                       TEST(test_long_scan_takes_turns),
                                       TEST(test_page_ends_at_4_mib),
                                       TEST(test_store_that_cannot_be_read),
                                       {0}});
}
