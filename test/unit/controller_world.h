/* A small world around the controller: a clock, an API server that keeps objects and answers when told to, a
 * store that gives the verdict it is told. Waiters are doubles, so that a test says exactly what the store
 * answers and when.
 */
#ifndef FES_TEST_CONTROLLER_WORLD_H
#define FES_TEST_CONTROLLER_WORLD_H

#include <jansson.h>

#include "controller/controller_priv.h"
#include "harness.h"
#include "store/units.h"

#define T0     INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)

#ifdef WORLD_REAL_STORE
/* The includer opens a store and its waiters. */
static struct waiters *world_waiters;
static int64_t world_now_ms(void);

__attribute__((unused)) static void run_waiters(void)
{
    while (waiters_run(world_waiters, world_now_ms(), SIZE_MAX) == WAITERS_MORE)
        ;
}
#else
/* ---- the store ---- */

struct waiter {
    struct waiter *next;
    struct question *question;
    waiter_on_answer *on_answer;
    void *arg;
    int64_t failures_from_ms;
    bool marked;
};
static struct waiter *all_waiters;
static size_t n_asked;
static bool no_memory; /* for a waiter */

/* What the store says. failure_at: when the failure was received that `failed` is about (retries look at it).
 */
static struct verdict_object said_object;
static struct verdict said;

struct waiter *waiter_add(struct waiters *ws, struct question *q, waiter_on_answer *on_answer, void *arg)
{
    struct waiter *w = no_memory ? NULL : calloc(1, sizeof *w);

    (void)ws;
    if (!w) {
        question_free(q);
        return NULL;
    }
    *w = (struct waiter){all_waiters, q, on_answer, arg, INT64_MIN, true};
    all_waiters = w;
    return w;
}

void waiter_drop(struct waiter *w)
{
    struct waiter **link = &all_waiters;

    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
    question_free(w->question);
    free(w);
}

void waiter_poke(struct waiter *w)
{
    w->marked = true;
}

void waiter_new_attempt(struct waiter *w, int64_t failures_from_ms)
{
    w->failures_from_ms = failures_from_ms;
    w->marked = true;
}

const struct question *waiter_question(const struct waiter *w)
{
    return w->question;
}

/* Of an empty store, whatever store_says. */
struct verdict *waiter_ask(const struct waiter *w, int64_t now_ms)
{
    return verdict_new(w->question, NULL, 0,
                       (struct verdict_now){.wall_ms = now_ms, .failures_from_ms = w->failures_from_ms});
}

__attribute__((unused)) static size_t count_waiters(void)
{
    size_t n = 0;

    for (struct waiter *w = all_waiters; w; w = w->next)
        n++;
    return n;
}

/* A failure received before the attempt began does not count: waiting. */
__attribute__((unused)) static void answer(struct waiter *w)
{
    struct verdict v = said;

    w->marked = false;
    n_asked++;
    if (v.state == VERDICT_FAILED && said_object.received_ms < w->failures_from_ms) {
        v.state = VERDICT_WAITING;
        v.decided_ms = 0;
    }
    w->on_answer(w->arg, &v);
}

__attribute__((unused)) static void run_waiters(void)
{
    struct waiter *w = all_waiters;

    while (w) {
        if (!w->marked) {
            w = w->next;
            continue;
        }
        answer(w);
        w = all_waiters; /* the callback may have dropped any */
    }
}

__attribute__((unused)) static void store_says(enum verdict_state state, int64_t at_ms)
{
    said_object = (struct verdict_object){.kind = STR("Kustomization"),
                                          .namespace = STR("apps"),
                                          .name = STR("web"),
                                          .reported = state != VERDICT_WAITING,
                                          .seq = 42,
                                          .reason = STR("TheReason"),
                                          .message = STR("the message"),
                                          .effective_ms = at_ms,
                                          .received_ms = at_ms};
    said = (struct verdict){.state = state,
                            .decider = state == VERDICT_WAITING ? NULL : &said_object,
                            .objects = &said_object,
                            .n_objects = state == VERDICT_WAITING ? 0 : 1,
                            .wake_at_ms = INT64_MAX,
                            .decided_ms = state == VERDICT_WAITING ? 0 : at_ms,
                            .heard_ms = state == VERDICT_WAITING ? INT64_MIN : at_ms,
                            .explanation = STR("Nothing has reported the revision.")};
    for (struct waiter *w = all_waiters; w; w = w->next)
        w->marked = true;
}
static struct waiters *const world_waiters = NULL;
#endif

/* ---- the API server ---- */

enum request_kind { A_PATCH, A_GET, AN_EVENT };
struct request_seen {
    enum request_kind kind;
    uint64_t token;
    char path[RUN_PATH];
    json_t *body;
    bool urgent;
    bool answered;
};
#define REQUESTS_MOST 40000
static struct request_seen seen[REQUESTS_MOST];
static size_t n_seen;
static json_t *objects; /* by path without /status */
static int64_t version;
static bool queue_full;

static struct controller *controller;
static struct moment now;
static int64_t wake_ms;
static int n_reports[4];
static char last_report[256];
static char last_about[1024]; /* what it is about: "kind namespace/name", as far as it says so */

__attribute__((unused)) static void remember(enum request_kind kind, uint64_t token, const char *path,
                                             struct str body, bool urgent)
{
    struct request_seen *r = &seen[n_seen++];

    if (n_seen == REQUESTS_MOST)
        abort();
    *r = (struct request_seen){.kind = kind, .token = token, .urgent = urgent};
    (void)snprintf(r->path, sizeof r->path, "%s", path);
    if (body.len)
        r->body = json_loadb(body.at, body.len, JSON_REJECT_DUPLICATES, NULL);
}

__attribute__((unused)) static bool fake_patch(void *arg, uint64_t token, const char *path, struct str body,
                                               bool urgent)
{
    (void)arg;
    if (queue_full)
        return false;
    for (size_t i = 0; i < n_seen; i++)
        if (!seen[i].answered && seen[i].kind == A_PATCH && strcmp(seen[i].path, path) == 0 &&
            n_seen < 3000) {
            printf("# two PATCHes under way for %s\n", path);
            abort();
        }
    remember(A_PATCH, token, path, body, urgent);
    return true;
}

__attribute__((unused)) static bool fake_get(void *arg, uint64_t token, const char *path)
{
    (void)arg;
    if (queue_full)
        return false;
    remember(A_GET, token, path, STR_NONE, true);
    return true;
}

__attribute__((unused)) static void fake_create_event(void *arg, const char *path, struct str body)
{
    (void)arg;
    remember(AN_EVENT, 0, path, body, false);
    seen[n_seen - 1].answered = true;
}

__attribute__((unused)) static void fake_wake_at(void *arg, int64_t mono_ms)
{
    (void)arg;
    wake_ms = mono_ms;
}

static size_t n_list_again;

__attribute__((unused)) static void fake_list_again(void *arg)
{
    (void)arg;
    n_list_again++;
}

__attribute__((unused)) static void on_report(void *arg, const struct report *report)
{
    struct str kind = STR_NONE, namespace = STR_NONE, name = STR_NONE;

    (void)arg;
    n_reports[report->level]++;
    (void)snprintf(last_report, sizeof last_report, "%s", report->sentence);
    for (const struct report_field *f = report->fields; f->name; f++) {
        kind = strcmp(f->name, "kind") == 0 ? f->text : kind;
        namespace = strcmp(f->name, "namespace") == 0 ? f->text : namespace;
        name = strcmp(f->name, "name") == 0 ? f->text : name;
    }
    (void)snprintf(last_about, sizeof last_about, "%.*s %.*s/%.*s", STR_ARG(kind), STR_ARG(namespace),
                   STR_ARG(name));
}

__attribute__((unused)) static void merge(json_t *target, json_t *patch)
{
    const char *key;
    json_t *value;

    json_object_foreach(patch, key, value)
    {
        if (json_is_null(value)) {
            json_object_del(target, key);
        } else if (json_is_object(value)) {
            if (!json_is_object(json_object_get(target, key)))
                json_object_set_new(target, key, json_object());
            merge(json_object_get(target, key), value);
        } else {
            json_object_set_new(target, key, json_deep_copy(value));
        }
    }
}

__attribute__((unused)) static json_t *at_path(json_t *root, const char *path)
{
    char copy[256];
    char *rest = copy;

    (void)snprintf(copy, sizeof copy, "%s", path);
    for (char *key; root && (key = strsep(&rest, ".")) != NULL;)
        root = key[0] >= '0' && key[0] <= '9' ? json_array_get(root, (size_t)strtoul(key, NULL, 10))
                                              : json_object_get(root, key);
    return root;
}

__attribute__((unused)) static struct str text_in(json_t *root, const char *path)
{
    return str_of(json_string_value(at_path(root, path)));
}

__attribute__((unused)) static void bump(json_t *object)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)++version);
    json_object_set_new(json_object_get(object, "metadata"), "resourceVersion", json_string(text));
}

__attribute__((unused)) static json_t *object_of(const char *path)
{
    char plain[RUN_PATH];
    struct str s = str_of(path);

    if (str_ends(s, STR("/status")))
        s.len -= 7;
    (void)snprintf(plain, sizeof plain, "%.*s", STR_ARG(s));
    return json_object_get(objects, plain);
}

__attribute__((unused)) static void reply_with(struct request_seen *r, int status, int64_t retry_after_ms,
                                               json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    r->answered = true;
    controller_on_reply(controller, r->token, status, retry_after_ms, str_of(text), now);
    free(text);
}

/* What the API server would do with the request. */
__attribute__((unused)) static int apply(struct request_seen *r)
{
    json_t *object = object_of(r->path);

    if (!object)
        return 404;
    if (r->kind == A_GET)
        return 200;
    if (!str_eq(text_in(r->body, "metadata.resourceVersion"), text_in(object, "metadata.resourceVersion")))
        return 409;
    json_t *status = json_object_get(r->body, "status");
    json_t *wrapped = json_pack("{s:O}", "status", status);
    merge(object, wrapped);
    json_decref(wrapped);
    bump(object);
    return 200;
}

__attribute__((unused)) static struct request_seen *next_request(void)
{
    for (size_t i = 0; i < n_seen; i++)
        if (!seen[i].answered)
            return &seen[i];
    return NULL;
}

__attribute__((unused)) static size_t count_requests(enum request_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < n_seen; i++)
        n += seen[i].kind == kind;
    return n;
}

__attribute__((unused)) static size_t count_under_way(void)
{
    size_t n = 0;

    for (size_t i = 0; i < n_seen; i++)
        n += !seen[i].answered;
    return n;
}

/* ---- turns of the loop ---- */

__attribute__((unused)) static void turn(void)
{
    controller_set_moment(controller, now);
    run_waiters();
    controller_tick(controller, now);
    controller_set_moment(controller, now);
    run_waiters();
}

/* The oldest request that waits is answered as the API server would. Returns the status. */
__attribute__((unused)) static int serve_one(void)
{
    struct request_seen *r = next_request();

    CHECK(r != NULL);
    int status = apply(r);
    reply_with(r, status, -1, status == 200 ? object_of(r->path) : NULL);
    turn();
    return status;
}

__attribute__((unused)) static void serve_all(void)
{
    while (next_request())
        serve_one();
}

/* The oldest request that waits is answered like this; nothing is applied. */
__attribute__((unused)) static void fail_one(int status, int64_t retry_after_ms)
{
    struct request_seen *r = next_request();
    json_t *body = json_pack("{s:s,s:s}", "kind", "Status", "message", "it says no");

    CHECK(r != NULL);
    reply_with(r, status, retry_after_ms, status ? body : NULL);
    json_decref(body);
    turn();
}

/* Time passes. The controller is called when it asked to be, and only then. */
__attribute__((unused)) static void advance(int64_t ms)
{
    int64_t end = now.mono_ms + ms;
    int64_t wall = now.wall_ms - now.mono_ms;

    for (int calls = 0; wake_ms <= end; calls++) {
        if (calls > 100000)
            HARNESS_FAIL("a busy loop of wake-ups");
        if (wake_ms > now.mono_ms)
            now = (struct moment){wall + wake_ms, wake_ms};
        wake_ms = INT64_MAX;
        turn();
    }
    now = (struct moment){wall + end, end};
}

/* ---- objects ---- */

#define V1 "flux-event-store.dev/v1"
#define V0 "github.com/janakerman/flux-event-store/v0"

__attribute__((unused)) static const char *path_of(enum run_kind kind, const char *name)
{
    static char path[RUN_PATH];
    const struct run_kind_name *names = run_kind_name(kind);

    (void)snprintf(path, sizeof path, "%s/namespaces/ci/%s/%s", names->prefix, names->plural, name);
    return path;
}

__attribute__((unused)) static json_t *object(enum run_kind kind, const char *name)
{
    return json_object_get(objects, path_of(kind, name));
}

/* Shows the object as it is now to the controller. */
__attribute__((unused)) static void show(enum run_kind kind, const char *name)
{
    char *text = json_dumps(object(kind, name), JSON_COMPACT);

    controller_on_object(controller, kind, 0, false, str_of(text), now);
    free(text);
}

/* Makes an object without showing it. spec: JSON members beside ref and params, or "". */
__attribute__((unused)) static json_t *make(enum run_kind kind, const char *name, const char *uid,
                                            const char *spec)
{
    char time[TIME_TEXT];
    char text[4096];

    (void)snprintf(
        text, sizeof text,
        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"ci\",\"uid\":\"%s\",\"generation\":1,"
        "\"creationTimestamp\":\"%s\"},\"spec\":{\"%s\":{\"apiVersion\":\"" V1
        "\",\"kind\":\"FluxDeploymentWait\"},\"params\":[{\"name\":\"revision\",\"value\":\"a\"}]%s}}",
        name, uid, time_format(now.wall_ms, time), kind == KIND_RUN ? "ref" : "customRef", spec);
    json_t *o = json_loads(text, 0, NULL);
    if (!o)
        abort();
    bump(o);
    json_object_set_new(objects, path_of(kind, name), o);
    return o;
}

__attribute__((unused)) static void create(enum run_kind kind, const char *name, const char *spec)
{
    make(kind, name, name, spec);
    show(kind, name);
    turn();
}

/* Someone else changes the object: merges JSON into it, and the watch shows it when told to. */
__attribute__((unused)) static void change(enum run_kind kind, const char *name, const char *patch)
{
    json_t *p = json_loads(patch, 0, NULL);

    if (!p)
        abort();
    merge(object(kind, name), p);
    json_decref(p);
    bump(object(kind, name));
}

__attribute__((unused)) static void vanish(enum run_kind kind, const char *name, bool shown)
{
    char *text = json_dumps(object(kind, name), JSON_COMPACT);

    json_object_del(objects, path_of(kind, name));
    if (shown)
        controller_on_object(controller, kind, 0, true, str_of(text), now);
    free(text);
}

__attribute__((unused)) static struct str condition(enum run_kind kind, const char *name, const char *member)
{
    char path[128];

    (void)snprintf(path, sizeof path, "status.conditions.0.%s", member);
    return text_in(object(kind, name), path);
}

__attribute__((unused)) static struct str status_text(enum run_kind kind, const char *name,
                                                      const char *member)
{
    char path[128];

    (void)snprintf(path, sizeof path, "status.%s", member);
    return text_in(object(kind, name), path);
}

/* ---- life ---- */

__attribute__((unused)) static void start_controller(void)
{
    const struct controller_io io = {NULL,         fake_patch,     fake_get, fake_create_event,
                                     fake_wake_at, fake_list_again};
    const struct reporter reporter = {on_report, NULL};
    const struct controller_config config = {.default_timeout_ms = 60 * MINUTE};
    char err[CONTROLLER_ERROR];

    wake_ms = INT64_MAX;
    controller = controller_new(&config, world_waiters, &io, &reporter, err);
    if (!controller)
        abort();
}

__attribute__((unused)) static void forget_requests(void)
{
    for (size_t i = 0; i < n_seen; i++)
        json_decref(seen[i].body);
    n_seen = 0;
}

__attribute__((unused)) static void begin(void)
{
    controller_free(controller);
    json_decref(objects);
    forget_requests();
    objects = json_object();
    version = 100;
    queue_full = false;
    n_list_again = 0;
    memset(n_reports, 0, sizeof n_reports);
    now = (struct moment){T0, INT64_C(7000000)};
#ifndef WORLD_REAL_STORE
    n_asked = 0;
    store_says(VERDICT_WAITING, 0);
#endif
    start_controller();
}

/* kill -9 and a new process some time later; the objects stay. */
__attribute__((unused)) static void restart(int64_t after_ms)
{
    controller_free(controller);
    forget_requests();
    now.wall_ms += after_ms;
    now.mono_ms = INT64_C(100);
    start_controller();
}

__attribute__((unused)) static void end(void)
{
    controller_free(controller);
    controller = NULL;
    forget_requests();
    json_decref(objects);
    objects = NULL;
}

__attribute__((unused)) static struct controller_stats stats(void)
{
    struct controller_stats s;

    controller_get_stats(controller, &s);
    return s;
}

#endif
