/* GET /verdict and GET /wait (see wait.h).
 *
 * A client that waits is a waiter of the store, which wakes it when a commit may have changed its answer. What the
 * store does not know is the time: the client's timeout, and the moment at which the verdict may change by itself
 * (failAfter). Both are kept in one heap behind one timer; when it fires, the client is poked, and it is answered, as
 * always, from the verdict that comes next. So a decision that is stored by then beats the timeout.
 *
 * Invariant: a client is in the heap, has a waiter, and is owed an answer, from its request until it is answered or has
 * gone. Failure mode: a verdict that cannot be had is asked for again; who has no answer a while after the timeout gets 503.
 */
#include "http/wait.h"

#include "http/due_priv.h"
#include "http/server_priv.h"
#include "http/verdict_json.h"
#include "http/wait_priv.h"
#include "store/ask.h"

#include <event2/event.h>
#include <stdlib.h>

#define UNANSWERED_MS  INT64_C(2000) /* after its timeout; a waiter that failed is asked once a second */
#define ASK_SOONEST_MS INT64_C(20)   /* a verdict that is due to change at once is not asked in a busy loop */

#define UNANSWERED "the question cannot be answered now: try again"

struct client {
    struct due due; /* first: what the heap holds is a client */
    struct wait *wait;
    struct waiter *waiter;
    uint64_t id; /* of the request */
    int64_t deadline_mono_ms;
    bool wants_text;
    bool is_over;      /* gets its answer even though it is still waiting */
    bool asked_at_end; /* and was asked when it was */
};

struct wait {
    struct http_server *server;
    struct store *store; /* NULL while it opens */
    struct waiters *waiters;
    struct moment (*now)(void);
    struct due_timer timer;
    struct due_heap heap; /* of all clients */
    size_t max_clients;
    uint64_t n_measured;
    bool stopping;
};

/* ---- answers ---- */

static int status_of(enum verdict_state state, bool stopping)
{
    switch (state) {
    case VERDICT_WAITING: return stopping ? 503 : 408;
    case VERDICT_SUCCEEDED: return 200;
    case VERDICT_FAILED:
    case VERDICT_AMBIGUOUS: return 409;
    case VERDICT_SUPERSEDED: return 410;
    }
    return 500;
}

static char *line_of(struct str s)
{
    char *line = malloc(s.len + 2);

    if (!line)
        return NULL;
    if (s.len)
        memcpy(line, s.at, s.len);
    line[s.len] = '\n';
    line[s.len + 1] = '\0';
    return line;
}

static void reply_verdict(struct wait *w, uint64_t id, int status, bool text, const struct verdict *v,
                          const struct question *q)
{
    char *body = text ? line_of(v->explanation) : verdict_to_json(v, q->revision);
    struct http_reply reply = {
        .status = status,
        .type = text ? "text/plain; charset=utf-8" : NULL,
        .body = str_of(body),
        .retry_after_s = status == 503 ? HTTP_RETRY_AFTER : 0,
    };

    if (body)
        http_reply(w->server, id, &reply);
    else
        http_reply_error(w->server, id, 503, "out of memory");
    free(body);
}

/* ---- time ---- */

static void arm(struct wait *w)
{
    due_arm(&w->timer, &w->heap, w->now().mono_ms);
}

static void client_free(struct client *c)
{
    struct wait *w = c->wait;

    waiter_drop(c->waiter);
    due_remove(&w->heap, &c->due);
    arm(w);
    free(c);
}

static void look_at(struct client *c, int64_t now_ms)
{
    struct wait *w = c->wait;

    if (c->asked_at_end) {
        http_reply_cause(w->server, c->id, CAUSE_STORE_FAILED, UNANSWERED);
        client_free(c);
        return;
    }
    c->is_over = c->is_over || now_ms >= c->deadline_mono_ms;
    c->asked_at_end = c->is_over;
    due_move(&w->heap, &c->due, c->is_over ? now_ms + UNANSWERED_MS : c->deadline_mono_ms);
    waiter_poke(c->waiter);
}

static void on_due(void *arg)
{
    struct wait *w = arg;
    int64_t now_ms = w->now().mono_ms;

    while (due_first(&w->heap) <= now_ms)
        look_at((struct client *)w->heap.items[0], now_ms);
    arm(w);
}

/* When to look at a client that goes on waiting. */
static void set_due(struct client *c, const struct verdict *v)
{
    struct moment now = c->wait->now();
    int64_t due = c->deadline_mono_ms;

    if (v->wake_at_ms != INT64_MAX) {
        int64_t in_ms = v->wake_at_ms - now.wall_ms;
        in_ms = in_ms < ASK_SOONEST_MS ? ASK_SOONEST_MS : in_ms;
        if (in_ms < due - now.mono_ms)
            due = now.mono_ms + in_ms;
    }
    if (due != c->due.at_ms)
        due_move(&c->wait->heap, &c->due, due);
}

/* ---- clients ---- */

static void on_gone(void *arg, uint64_t id)
{
    (void)id;
    client_free(arg);
}

static void on_answer(void *arg, const struct verdict *v)
{
    struct client *c = arg;
    struct wait *w = c->wait;

    if (v->state == VERDICT_WAITING && !c->is_over) {
        set_due(c, v);
        arm(w);
        return;
    }
    reply_verdict(w, c->id, status_of(v->state, w->stopping), c->wants_text, v, waiter_question(c->waiter));
    client_free(c);
}

/* Takes over q. False when out of memory. */
static bool client_add(struct wait *w, const struct http_request *r, struct question *q)
{
    struct client *c = calloc(1, sizeof *c);
    int64_t timeout_ms = q->timeout_ms < 0 ? WAIT_DEFAULT_MS : q->timeout_ms;

    if (!c) {
        question_free(q);
        return false;
    }
    c->wait = w;
    c->id = http_request_id(r);
    c->wants_text = http_accepts(r, "text/plain");
    c->is_over = w->stopping || timeout_ms == 0;
    c->deadline_mono_ms = w->now().mono_ms + timeout_ms;
    c->waiter = waiter_add(w->waiters, q, on_answer, c);
    if (!c->waiter || !due_add(&w->heap, &c->due, c->deadline_mono_ms)) {
        if (c->waiter)
            waiter_drop(c->waiter);
        free(c);
        return false;
    }
    if (!http_watch_client(w->server, c->id, on_gone, c)) {
        client_free(c);
        return false;
    }
    arm(w);
    return true;
}

/* ---- requests ---- */

static bool not_ready(struct wait *w, const struct http_request *r)
{
    if (w->store)
        return false;
    http_reply_cause(w->server, http_request_id(r), CAUSE_STARTING, "the store is being opened: try again");
    return true;
}

static struct question *new_question(const struct http_param *params, size_t n, int64_t asked_ms,
                                     char err[static QUESTION_ERROR])
{
    struct question_param copy[HTTP_MAX_PARAMS];

    for (size_t i = 0; i < n; i++)
        copy[i] = (struct question_param){.name = params[i].name, .values = &params[i].value, .n_values = 1};
    return question_new(copy, n, asked_ms, err);
}

/* NULL: the request has been answered. */
static struct question *read_question(struct wait *w, struct http_request *r)
{
    char err[QUESTION_ERROR > HTTP_ERROR ? QUESTION_ERROR : HTTP_ERROR];
    const struct http_param *params;
    struct question *q = NULL;
    size_t n;

    if (http_request_params(r, &params, &n, err))
        q = new_question(params, n, w->now().wall_ms, err);
    if (!q)
        http_reply_refused(w->server, http_request_id(r), err);
    return q;
}

static void on_verdict(void *arg, struct http_request *r)
{
    struct wait *w = arg;
    struct question *q = not_ready(w, r) ? NULL : read_question(w, r);

    if (!q)
        return;
    struct verdict_now now = {.wall_ms = w->now().wall_ms, .failures_from_ms = INT64_MIN};
    struct verdict *v = ask(w->store, q, now, NULL);
    if (v)
        reply_verdict(w, http_request_id(r), 200, http_accepts(r, "text/plain"), v, q);
    else
        http_reply_cause(w->server, http_request_id(r), CAUSE_STORE_FAILED, UNANSWERED);
    verdict_free(v);
    question_free(q);
}

static void on_wait(void *arg, struct http_request *r)
{
    struct wait *w = arg;
    struct question *q = not_ready(w, r) ? NULL : read_question(w, r);

    if (!q)
        return;
    if (q->timeout_ms > WAIT_MAX_MS) {
        http_reply_error(w->server, http_request_id(r), 400,
                         "timeout: is longer than 1h: write at most 1h, and ask again");
        question_free(q);
    } else if (w->heap.n >= w->max_clients) {
        http_reply_error(w->server, http_request_id(r), 503, "too many clients wait already: try again");
        question_free(q);
    } else if (!client_add(w, r, q)) {
        http_reply_error(w->server, http_request_id(r), 503, "out of memory");
    }
}

/* ---- life ---- */

struct wait *wait_new(struct http_server *server, struct event_base *base, struct moment (*now)(void))
{
    struct wait *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->server = server;
    w->now = now;
    w->max_clients = WAIT_MAX_CLIENTS;
    if (!due_timer_init(&w->timer, base, on_due, w) ||
        !http_route(server, HTTP_GET, "/verdict", on_verdict, w) ||
        !http_route(server, HTTP_GET_ONLY, "/wait", on_wait, w)) {
        wait_free(w);
        return NULL;
    }
    return w;
}

void wait_set_store(struct wait *w, struct store *store, struct waiters *waiters)
{
    w->store = store;
    w->waiters = waiters;
}

void wait_shutdown(struct wait *w)
{
    w->stopping = true;
    for (size_t i = 0; i < w->heap.n; i++) {
        struct client *c = (struct client *)w->heap.items[i];
        c->is_over = true;
        waiter_poke(c->waiter);
    }
}

void wait_free(struct wait *w)
{
    if (!w)
        return;
    while (w->heap.n > 0)
        client_free((struct client *)w->heap.items[w->heap.n - 1]);
    due_timer_free(&w->timer);
    due_free(&w->heap);
    free(w);
}

void wait_set_max_clients(struct wait *w, size_t n)
{
    w->max_clients = n;
}

size_t wait_clients(const struct wait *w)
{
    return w->heap.n;
}

static const struct metric metrics[] = {
    {.name = "flux_event_store_wait_clients",
     .type = METRIC_GAUGE,
     .help = "Clients of GET /wait that wait for an answer."},
    {.name = NULL},
};

static const void *collect(void *wait)
{
    struct wait *w = wait;

    w->n_measured = wait_clients(w);
    return &w->n_measured;
}

struct metric_source wait_metrics(struct wait *w)
{
    return (struct metric_source){metrics, collect, w};
}
