/* List and watch against a scripted server: each request is answered by the next line of a script, and what
 * the watch gives out is compared as one text. */
#include "k8s/watch.h"

#include "k8s/metrics_priv.h"
#include "k8s_server.h"

static struct event_base *base;
static struct server *server;
static struct k8s_client *client;
static struct k8s_watch *watch;
static struct reports reports;
static char trace_text[4096], asked_text[8192];
static struct text trace, asked;
static size_t longest;

static void on_list(void *arg)
{
    (void)arg;
    text_addf(&trace, "list ");
}

/* "+name" or "-name". */
static void on_object(void *arg, enum k8s_change change, struct str json)
{
    (void)arg;
    char text[512];
    struct str head = str_upto(json, sizeof text - 1);
    memcpy(text, head.at, head.len);
    text[head.len] = '\0';
    char *name = strstr(text, "\"name\":\"");
    CHECK(name != NULL && json.at[json.len - 1] == '}');
    if (json.len > longest)
        longest = json.len;
    text_addf(&trace, "%c%.*s ", change == K8S_UPSERT ? '+' : '-', (int)strcspn(name + 8, "\""), name + 8);
}

static void on_synced(void *arg)
{
    (void)arg;
    text_addf(&trace, "synced ");
}

static void on_absent(void *arg)
{
    (void)arg;
    text_addf(&trace, "absent ");
}

enum how { BODY, STREAM, STREAM_OPEN, STREAM_RESET, STREAM_CUT, BYTES, SLOWLY };

struct answer {
    enum how how; /* BODY: with status; the others: a stream of 200 that ends so */
    int status;
    const char *headers;
    const char *text;
};

static const struct answer *script;

static void stream_out(struct peer *p, const struct answer *a)
{
    struct str rest = str_of(a->text);

    peer_say(p, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    if (a->how == SLOWLY)
        for (; rest.len; rest = str_from(rest, 1))
            peer_chunk(p, str_upto(rest, 1));
    else if (rest.len)
        peer_chunk(p, rest);
    if (a->how == STREAM)
        peer_say(p, "0\r\n\r\n");
    if (a->how == STREAM_CUT)
        peer_say(p, "40\r\n{\"type\":");
}

static void cut_off(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    peer_reset(arg);
}

static void on_request(struct server *s, struct peer *p)
{
    const struct answer *a = &script[s->step];

    text_addf(&asked, "%.*s\n", STR_ARG(server_asked(s)));
    if (!a->text)
        return;
    s->step++;
    switch (a->how) {
    case BODY: peer_answer(p, a->status, a->headers ? a->headers : "", a->text); break;
    case STREAM:
    case STREAM_OPEN:
    case SLOWLY: stream_out(p, a); break;
    case STREAM_RESET:
        stream_out(p, a);
        event_base_once(s->base, -1, EV_TIMEOUT, cut_off, p, &(struct timeval){.tv_usec = 50000});
        break;
    case STREAM_CUT:
        stream_out(p, a);
        peer_close(p);
        break;
    case BYTES:
        peer_say(p, a->text);
        peer_close(p);
        break;
    }
}

static const struct k8s_watch_options one_version = {{"/apis/x/v1/runs"}, 1, false};

static void begin_with(const struct answer *answers, const struct k8s_watch_options *options)
{
    static const struct k8s_watch_callbacks callbacks = {on_list, on_object, on_synced, on_absent, NULL};
    char url[64], err[K8S_ERROR];
    struct reporter reporter = reports_to(&reports);

    script = answers;
    longest = 0;
    text_init(&trace, trace_text, sizeof trace_text);
    text_init(&asked, asked_text, sizeof asked_text);
    base = event_base_new();
    server = server_new(base, NULL, on_request);
    server_listen(server, "127.0.0.1");
    snprintf(url, sizeof url, "http://127.0.0.1:%d", server->port);
    client = k8s_client_new(base, &(struct k8s_config){.api = url}, &reporter, err);
    CHECK(client != NULL);
    watch = k8s_watch_new(client, options, &callbacks);
    CHECK(watch != NULL);
    CHECK_INT(server->requests, 0);
}

static void begin(const struct answer *answers)
{
    begin_with(answers, &one_version);
}

static void finish(void)
{
    k8s_watch_free(watch);
    k8s_client_free(client);
    server_free(server);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
}

static bool traced(const char *want)
{
    return strcmp(trace_text, want) == 0;
}

/* Half a second lies between two requests, and 400 ms are looked at: a machine that takes more than this in between shows
 * nothing. */
#define PACE_SLACK_MS 50

#define EXPECT(want, ms)                                                                        \
    do {                                                                                        \
        for (int64_t expect_until = net_ms() + (ms); !traced(want) && net_ms() < expect_until;) \
            turn_loop(base);                                                                    \
        RUN_FOR(base, 20);                                                                      \
        CHECK_TEXT(trace_text, want);                                                           \
    } while (0)

#define ITEM(name, version) "{\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"" version "\"}}"
#define LIST(items, version, more)                                                                   \
    "{\"apiVersion\":\"v1\",\"items\":[" items "],\"kind\":\"L\",\"metadata\":{\"continue\":\"" more \
    "\",\"resourceVersion\":\"" version "\"}}"
#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":" ITEM(name, version) "}\n"
#define ERROR_EVENT(code)                                                                 \
    "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"metadata\":{},\"code\":" #code \
    ",\"message\":\"too old\"}}\n"
#define ONE                                             \
    {                                                   \
        BODY, 200, NULL, LIST(ITEM("a", "5"), "10", "") \
    }
#define OPEN                       \
    {                              \
        STREAM_OPEN, 200, NULL, "" \
    }
#define END \
    {       \
        0   \
    }

static const char *state_why(enum k8s_watch_state *ret)
{
    const char *why;
    *ret = k8s_watch_state(watch, &why);
    return why;
}

static void item_62_63_list_and_watch(void)
{
    static const struct answer answers[] = {
        {BODY, 200, NULL, LIST(ITEM("a", "5") "," ITEM("b", "6"), "10", "t+/=")},
        {BODY, 200, NULL, LIST(ITEM("c", "7"), "10", "")},
        {STREAM_OPEN, 200, NULL,
         EVENT("ADDED", "d", "11") "\n \n" EVENT("MODIFIED", "a", "12") EVENT("DELETED", "b", "13")
             EVENT("NEWTYPE", "z",
                   "14") "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"20\"}}}\n"},
        END};
    enum k8s_watch_state state;

    begin(answers);
    CHECK_INT((state_why(&state), state), K8S_WATCH_STARTING);
    EXPECT("list +a +b +c synced +d +a -b ", 3000);
    CHECK_INT((state_why(&state), state), K8S_WATCH_SYNCED);
    struct str rest = str_of(asked_text);
    CHECK_STR(str_split(&rest, '\n'), STR("GET /apis/x/v1/runs?limit=250"));
    CHECK_STR(str_split(&rest, '\n'), STR("GET /apis/x/v1/runs?limit=250&continue=t%2B%2F%3D"));
    struct str line = str_split(&rest, '\n');
    struct str start = STR("GET /apis/x/v1/runs?watch=1&allowWatchBookmarks=true&timeoutSeconds=");
    CHECK(str_starts(line, start));
    CHECK(str_ends(line, STR("&resourceVersion=10")));
    struct str behind = str_from(line, start.len);
    uint64_t seconds = 0;
    CHECK(str_to_u64(str_split(&behind, '&'), &seconds));
    CHECK(seconds >= 300 && seconds <= 600); /* of a watch: long enough for an idle process to stay idle */
    CHECK_INT(server->connections, 1);
    CHECK_INT(reports.n, 0);
    /* The bookmark moved the position; the unknown type did not. */
    peer_say(&server->peers[0], "0\r\n\r\n");
    WAIT_FOR(base, server->requests == 4, 1000);
    CHECK(str_ends(server_asked(server), STR("&resourceVersion=20")));
    finish();
}

/* One row: a script, what is given out, how often it was listed and watched, and the position of the last
 * watch. */
static const struct row {
    const char *name;
    struct answer answers[8];
    const char *trace;
    int requests;
    const char *last_version; /* of the last request */
    int ms;
    const char *report;
} rows[] = {
    {"410 on page 2 lists from the start",
     {{BODY, 200, NULL, LIST(ITEM("a", "5"), "10", "t")},
      {BODY, 410, NULL, "{}"},
      {BODY, 200, NULL, LIST(ITEM("b", "6"), "12", "")},
      OPEN},
     "list +a list +b synced ",
     4,
     "12",
     1000,
     NULL},
    {"410 in the stream lists again at once",
     {ONE, {STREAM_OPEN, 200, NULL, EVENT("ADDED", "b", "11") ERROR_EVENT(410)}, ONE, OPEN},
     "list +a synced +b list +a synced ",
     4,
     "10",
     500,
     NULL},
    {"410 again and again backs off",
     {ONE, {STREAM_OPEN, 200, NULL, ERROR_EVENT(410)}, ONE, {STREAM_OPEN, 200, NULL, ERROR_EVENT(410)}, END},
     "list +a synced list +a synced ",
     4,
     "10",
     500,
     NULL},
    {"410 as status lists again at once",
     {ONE, {BODY, 410, NULL, "{}"}, ONE, OPEN},
     "list +a synced list +a synced ",
     4,
     "10",
     500,
     NULL},
    {"a clean end goes on from the last version",
     {ONE, {STREAM, 200, NULL, EVENT("ADDED", "b", "11")}, OPEN},
     "list +a synced +b ",
     3,
     "11",
     500,
     NULL},
    {"an end at once and empty backs off",
     {ONE, {STREAM, 200, NULL, ""}, OPEN},
     "list +a synced ",
     3,
     "10",
     3000,
     "watch interrupted"},
    {"reset in the middle of an object",
     {ONE, {STREAM_RESET, 200, NULL, EVENT("ADDED", "b", "11") "{\"type\":\"ADDED\",\"obj"}, OPEN},
     "list +a synced +b ",
     3,
     "11",
     1000,
     NULL},
    {"a truncated chunk",
     {ONE, {STREAM_CUT, 200, NULL, EVENT("ADDED", "b", "11")}, OPEN},
     "list +a synced +b ",
     3,
     "11",
     1000,
     NULL},
    {"garbage in the stream",
     {ONE, {STREAM_OPEN, 200, NULL, EVENT("ADDED", "b", "11") "{\"type\":nonsense}\n"}, ONE, OPEN},
     "list +a synced +b list +a synced ",
     4,
     "10",
     3000,
     "the stream is not valid"},
    {"an event that is none",
     {ONE, {STREAM_OPEN, 200, NULL, "{\"type\":\"ADDED\",\"object\":[]}\n"}, ONE, OPEN},
     "list +a synced list +a synced ",
     4,
     "10",
     3000,
     "the stream is not valid"},
    {"garbage instead of a list",
     {{BODY, 200, NULL, "{\"items\":[{]}"}, ONE, OPEN},
     "list list +a synced ",
     3,
     "10",
     3000,
     "the list is not valid"},
    {"a list without a version",
     {{BODY, 200, NULL, "{\"items\":[],\"metadata\":{}}"}, ONE, OPEN},
     "list list +a synced ",
     3,
     "10",
     3000,
     "the list is not valid"},
    {"429 in the stream goes on",
     {ONE, {STREAM_OPEN, 200, NULL, ERROR_EVENT(429)}, OPEN},
     "list +a synced ",
     3,
     "10",
     3000,
     "too old"},
    {"500 in the stream goes on",
     {ONE, {STREAM_OPEN, 200, NULL, ERROR_EVENT(500)}, OPEN},
     "list +a synced ",
     3,
     "10",
     3000,
     "too old"},
    {"an error without a message",
     {ONE,
      {STREAM_OPEN, 200, NULL, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":500}}\n"},
      OPEN},
     "list +a synced ",
     3,
     "10",
     3000,
     "error 500 in the stream"},
    {"an error without a code",
     {ONE, {STREAM_OPEN, 200, NULL, "{\"type\":\"ERROR\",\"object\":{\"message\":\"odd\"}}\n"}, ONE, OPEN},
     "list +a synced list +a synced ",
     4,
     "10",
     3000,
     "odd"},
    {"a version that is no text",
     {ONE,
      {STREAM_OPEN, 200, NULL,
       "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b\",\"resourceVersion\":11}}}\n"},
      ONE,
      OPEN},
     "list +a synced list +a synced ",
     4,
     "10",
     3000,
     "the stream is not valid"},
    {"410 for a first page",
     {{BODY, 410, NULL, "{\"kind\":\"Status\",\"message\":\"expired\"}"}, ONE, OPEN},
     "list list +a synced ",
     3,
     "10",
     3000,
     "expired"},
    {"403 in the stream lists again",
     {ONE, {STREAM_OPEN, 200, NULL, ERROR_EVENT(403)}, ONE, OPEN},
     "list +a synced list +a synced ",
     4,
     "10",
     3000,
     "too old"},
    {"500 on the watch goes on",
     {ONE, {BODY, 500, NULL, "{\"message\":\"oh\"}"}, OPEN},
     "list +a synced ",
     3,
     "10",
     3000,
     "cause=oh"},
    {"503 on the watch goes on within a second",
     {ONE, {BODY, 503, NULL, "starting"}, OPEN},
     "list +a synced ",
     3,
     "10",
     1000,
     "cause=HTTP status 503"},
    {"503 on the list",
     {{BODY, 503, NULL, "starting"}, ONE, OPEN},
     "list list +a synced ",
     3,
     "10",
     1100,
     "cause=HTTP status 503"},
    {"429 on the watch waits as told",
     {ONE, {BODY, 429, "Retry-After: 1\r\n", "{}"}, OPEN},
     "list +a synced ",
     3,
     "10",
     1200,
     "HTTP status 429"},
    {"429 on the list waits as told",
     {{BODY, 429, "Retry-After: 1\r\n", "{}"}, ONE, OPEN},
     "list list +a synced ",
     3,
     "10",
     1200,
     "HTTP status 429"},
    {"400 on the watch lists again",
     {ONE, {BODY, 400, NULL, "{}"}, ONE, OPEN},
     "list +a synced list +a synced ",
     4,
     "10",
     3000,
     "HTTP status 400"},
    {"byte by byte, each its own chunk",
     {ONE, {SLOWLY, 200, NULL, EVENT("ADDED", "b", "11") EVENT("DELETED", "a", "12")}, OPEN},
     "list +a synced +b -a ",
     2,
     "10",
     1000,
     NULL},
    {"no HTTP at all",
     {{BYTES, 0, NULL, "garbage\r\n\r\n"}, ONE, OPEN},
     "list list +a synced ",
     3,
     "10",
     1500,
     "API server unreachable"},
};

static void item_60_61_63_streams(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        char version[64];
        harness_case("%s", r->name);
        begin(r->answers);
        EXPECT(r->trace, r->ms);
        WAIT_FOR(base, server->requests >= r->requests, r->ms);
        RUN_FOR(base, 20);
        CHECK_TEXT(trace_text, r->trace);
        CHECK_INT(server->requests, r->requests);
        snprintf(version, sizeof version, "&resourceVersion=%s", r->last_version);
        CHECK(str_ends(server_asked(server), str_of(version)));
        if (r->report)
            CHECK_HAS(str_of(reports.text), str_of(r->report));
        else
            CHECK_INT(reports.n, 0);
        finish();
    }
}

/* A page that is longer than may be is an answer: the gate stays open to everybody else, and smaller pages are asked
 * for, until pages are small enough to be worth twice as much. */
static void test_page_too_long(void)
{
    static const struct answer too_long = {BYTES, 0, NULL,
                                           "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{"};
    const struct answer answers[] = {too_long, {BODY, 200, NULL, LIST(ITEM("a", "5"), "10", "t")},
                                     too_long, {BODY, 200, NULL, LIST(ITEM("b", "6"), "10", "")},
                                     OPEN,     END};
    const char *why;

    begin(answers);
    int64_t lost = lost_ms;
    WAIT_FOR(base, server->requests == 1, 1000);
    RUN_FOR(base, 400);
    CHECK(server->requests == 1 || lost_ms - lost > PACE_SLACK_MS);
    CHECK(k8s_client_reachable(client, &why));
    EXPECT("list list +a +b synced ", 8000);
    CHECK_HAS(str_of(asked_text), STR("runs?limit=250\nGET /apis/x/v1/runs?limit=125\n"
                                      "GET /apis/x/v1/runs?limit=250&continue=t\n"
                                      "GET /apis/x/v1/runs?limit=125&continue=t\n"));
    CHECK(strstr(reports.text, "unreachable") == NULL);
    CHECK_HAS(str_of(reports.text), STR("cause=answer malformed or too long"));
    finish();
}

#define BOOKMARK(version) \
    "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version "\"}}}\n"

/* A stream that ends at once is opened again at once, but not twice in a row, whatever came on it. */
static void test_short_streams(void)
{
    static const struct {
        const char *name;
        struct answer answers[8];
        const char *trace;
        int requests; /* before the pause */
    } short_rows[] = {
        {"events",
         {ONE,
          {STREAM, 200, NULL, EVENT("ADDED", "b", "11")},
          {STREAM, 200, NULL, EVENT("ADDED", "c", "12")},
          OPEN},
         "list +a synced +b +c ",
         3},
        {"bookmarks",
         {ONE, {STREAM, 200, NULL, BOOKMARK("11")}, {STREAM, 200, NULL, BOOKMARK("12")}, OPEN},
         "list +a synced ",
         3},
        {"events, and 410",
         {ONE,
          {STREAM_OPEN, 200, NULL, EVENT("ADDED", "b", "11") ERROR_EVENT(410)},
          ONE,
          {STREAM_OPEN, 200, NULL, EVENT("ADDED", "c", "12") ERROR_EVENT(410)},
          ONE,
          OPEN},
         "list +a synced +b list +a synced +c ",
         4},
    };
    for (size_t i = 0; i < sizeof short_rows / sizeof *short_rows; i++) {
        harness_case("%s", short_rows[i].name);
        begin(short_rows[i].answers);
        int64_t lost = lost_ms;
        WAIT_FOR(base, server->requests == short_rows[i].requests, 450);
        RUN_FOR(base, 400);
        if (lost_ms - lost <= PACE_SLACK_MS) {
            CHECK_TEXT(trace_text, short_rows[i].trace);
            CHECK_INT(server->requests, short_rows[i].requests);
        }
        WAIT_FOR(base, server->requests > short_rows[i].requests, 1500);
        finish();
    }
}

/* "Retry-After: 0" sets no pace: the one of an answer without it holds. */
static void test_no_pause_asked_for(void)
{
    static const int statuses[] = {429, 500, 503, 504};
    const char *why;

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        const struct answer refusal = {BODY, statuses[i], "Retry-After: 0\r\n", "{}"};
        const struct answer answers[] = {refusal, ONE, OPEN, END};
        harness_case("%d", statuses[i]);
        begin(answers);
        int64_t lost = lost_ms;
        EXPECT("list ", 1000);
        RUN_FOR(base, 400);
        if (lost_ms - lost <= PACE_SLACK_MS) {
            CHECK_INT(server->requests, 1);
            CHECK_INT(k8s_client_reachable(client, &why), statuses[i] != 503);
        }
        EXPECT("list list +a synced ", 3000);
        finish();
    }
}

/* Whoever has lost what was given gets all of it again: at once from an open stream, after the list under way, and where
 * the next request may not come yet, with that. */
static void test_list_again(void)
{
    static const struct answer watching[] = {ONE, OPEN, ONE, OPEN, END};
    static const struct answer none[] = {END};
    static const struct answer resting[] = {ONE, {BODY, 500, NULL, "{}"}, ONE, OPEN, END};

    harness_case("watching");
    begin(watching);
    EXPECT("list +a synced ", 1000);
    WAIT_FOR(base, server->requests == 2, 1000);
    RUN_FOR(base, 20);
    k8s_watch_list_again(watch);
    k8s_watch_list_again(watch);
    EXPECT("list +a synced list +a synced ", 1000);
    WAIT_FOR(base, server->requests == 4, 1000);
    CHECK_INT(count_of(asked_text, "runs?limit="), 2);
    CHECK_INT(reports.n, 0);
    finish();

    harness_case("listing");
    begin(none);
    WAIT_FOR(base, server->requests == 1, 1000);
    k8s_watch_list_again(watch);
    RUN_FOR(base, 20);
    CHECK_INT(server->requests, 1);
    script = watching;
    peer_answer(&server->peers[0], 200, "", LIST(ITEM("a", "5") "," ITEM("b", "6"), "10", ""));
    EXPECT("list +a +b synced list +a synced ", 1000);
    WAIT_FOR(base, server->requests == 3, 1000);
    CHECK_INT(count_of(asked_text, "runs?limit="), 2);
    CHECK_INT(count_of(asked_text, "runs?watch=1"), 1);
    finish();

    harness_case("resting before a watch");
    begin(resting);
    EXPECT("list +a synced ", 1000);
    WAIT_FOR(base, server->requests == 2, 1000);
    WAIT_FOR(base, reports.n == 1, 1000);
    k8s_watch_list_again(watch);
    CHECK_INT(server->requests, 2); /* the pause is kept */
    EXPECT("list +a synced list +a synced ", 3000);
    WAIT_FOR(base, server->requests == 4, 1000);
    CHECK_INT(count_of(asked_text, "runs?limit="), 2);
    finish();
}

static void item_66_not_served(void)
{
    static const struct answer answers[] = {{BODY, 404, NULL, "404 page not found"}, END};
    static const struct answer forbidden[] = {
        {BODY, 403, NULL, "{\"kind\":\"Status\",\"message\":\"runs is forbidden\"}"}, END};
    enum k8s_watch_state state;

    begin(answers);
    EXPECT("list absent ", 1000);
    CHECK_TEXT(state_why(&state), "HTTP status 404");
    CHECK_INT(state, K8S_WATCH_ABSENT);
    RUN_FOR(base, 1500);
    CHECK_INT(server->requests, 1);
    finish();

    begin(forbidden);
    EXPECT("list absent ", 1000);
    CHECK_HAS(str_of(reports.text), STR("API server forbids reading a resource resource=/apis/x/v1/runs "
                                        "verb=list cause=runs is forbidden"));
    CHECK_INT(reports.n, 1);
    finish();
}

/* The first version that is served is watched. */
static void test_versions(void)
{
    static const struct k8s_watch_options versions = {
        {"/apis/x/v3/runs", "/apis/x/v2/runs", "/apis/x/v1/runs"}, 3, true};
    static const struct answer second[] = {{BODY, 404, NULL, "404 page not found"}, ONE, OPEN, END};
    static const struct answer none[] = {{BODY, 404, NULL, "404 page not found"},
                                         {BODY, 404, NULL, "404 page not found"},
                                         {BODY, 404, NULL, "404 page not found"},
                                         END};
    static const struct answer forbidden[] = {
        {BODY, 403, NULL, "{\"kind\":\"Status\",\"message\":\"runs is forbidden\"}"}, END};
    enum k8s_watch_state state;

    begin_with(second, &versions);
    EXPECT("list list +a synced ", 1000);
    WAIT_FOR(base, server->requests == 3, 1000);
    CHECK_HAS(str_of(asked_text), STR("GET /apis/x/v3/runs?limit=250\nGET /apis/x/v2/runs?limit=250\n"
                                      "GET /apis/x/v2/runs?watch=1"));
    CHECK_INT((state_why(&state), state), K8S_WATCH_SYNCED);
    CHECK_INT(reports.n, 0);
    finish();

    begin_with(none, &versions);
    EXPECT("list list list absent ", 1000);
    RUN_FOR(base, 500);
    CHECK_INT(server->requests, 3);
    CHECK_INT(reports.n, 1);
    CHECK_HAS(str_of(reports.text), STR("resource not served by the API server resource=/apis/x/v3/runs"));
    finish();

    begin_with(forbidden, &versions);
    EXPECT("list absent ", 1000);
    RUN_FOR(base, 500);
    CHECK_INT(server->requests, 1);
    CHECK_INT(reports.n, 1);
    CHECK_HAS(str_of(reports.text), STR("API server forbids reading a resource"));
    finish();
}

/* Seen on a kube-apiserver that was just started: 403 until its RBAC rules are loaded. What was known stays known,
 * and half a minute is not waited. */
static void test_refused_by_a_server_that_starts(void)
{
    static const struct answer answers[] = {
        ONE,
        {BODY, 403, NULL, "{\"kind\":\"Status\",\"message\":\"no rules yet\"}"},
        {BODY, 404, NULL, "404 page not found"},
        ONE,
        OPEN,
        END};
    enum k8s_watch_state state;

    begin(answers);
    EXPECT("list +a synced list list +a synced ", 8000);
    CHECK(state_why(&state) != NULL);
    CHECK_INT(state, K8S_WATCH_SYNCED);
    finish();
}

static void item_63_large_objects(void)
{
    enum { LARGE = 1400000 };
    char *text = malloc(LARGE + 200);
    struct answer answers[] = {ONE, {STREAM_OPEN, 200, NULL, text}, END};

    snprintf(text, LARGE,
             "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"big\",\"resourceVersion\":\"11\"},"
             "\"x\":\"");
    size_t len = strlen(text);
    memset(text + len, 'x', LARGE - len);
    snprintf(text + LARGE, 200, "\"}}\n%s", EVENT("ADDED", "next", "12"));
    begin(answers);
    EXPECT("list +a synced +big +next ", 5000);
    CHECK(longest > LARGE - 100);
    CHECK_INT(reports.n, 0);
    finish();
    free(text);
}

/* A chunk that is announced larger than any object may be: what is buffered stays bounded. */
static void test_endless_chunk(void)
{
    static const struct answer answers[] = {ONE, {STREAM_OPEN, 200, NULL, ""}, OPEN, OPEN, END};
    static char piece[1 << 20];

    begin(answers);
    WAIT_FOR(base, server->requests == 2, 1000);
    memset(piece, 'x', sizeof piece);
    peer_say(&server->peers[0], "40000000\r\n");
    int sent = 0;
    for (; sent < 30 && server->closed == 0; sent++) {
        peer_send(&server->peers[0], (struct str){piece, sizeof piece});
        RUN_FOR(base, 20);
    }
    WAIT_FOR(base, server->requests == 3, 2000);
    CHECK(sent >= 8 && sent < 12);
    CHECK_HAS(str_of(reports.text), STR("cause=answer too long"));
    finish();
}

/* An outage: the watch goes on from where it was, within a second of the server's return. */
static void item_65_outage(void)
{
    static const struct answer answers[] = {ONE,
                                            {STREAM_OPEN, 200, NULL, EVENT("ADDED", "b", "11")},
                                            {STREAM_OPEN, 200, NULL, EVENT("ADDED", "c", "12")},
                                            END};
    enum k8s_watch_state state;

    begin(answers);
    EXPECT("list +a synced +b ", 1000);
    server_stop(server);
    WAIT_FOR(base, (state_why(&state), state == K8S_WATCH_FAILING), 2000);
    CHECK_TEXT(state_why(&state), "Connection refused");
    RUN_FOR(base, 1500);
    const struct metric_source source = k8s_client_metrics(client);
    const struct k8s_numbers *numbers = source.collect(source.arg);
    CHECK(numbers->requests[K8S_COUNT_WATCH][0] >= 2 && numbers->requests[K8S_COUNT_WATCH][0] <= 1 + 4);
    server_listen(server, "127.0.0.1");
    EXPECT("list +a synced +b +c ", 1000);
    CHECK(str_ends(server_asked(server), STR("&resourceVersion=11")));
    CHECK_INT(reports.n, 2);
    CHECK_INT((state_why(&state), state), K8S_WATCH_SYNCED);
    finish();
}

/* Nothing to do: no request, and the loop is not woken. */
static void test_idle(void)
{
    static const struct answer answers[] = {ONE, OPEN, END};

    begin(answers);
    EXPECT("list +a synced ", 1000);
    WAIT_FOR(base, server->requests == 2, 1000);
    RUN_FOR(base, 50);
    CHECK_INT(turns_in(base, 2000), 1);
    CHECK_INT(server->requests, 2);
    finish();
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return harness_run((struct test[]){TEST(item_62_63_list_and_watch),
                                       TEST(item_60_61_63_streams),
                                       TEST(test_page_too_long),
                                       TEST(test_short_streams),
                                       TEST(test_no_pause_asked_for),
                                       TEST(item_66_not_served),
                                       TEST(test_list_again),
                                       TEST(test_versions),
                                       TEST(test_refused_by_a_server_that_starts),
                                       TEST(item_63_large_objects),
                                       TEST(test_endless_chunk),
                                       TEST(item_65_outage),
                                       TEST(test_idle),
                                       {0}});
}
