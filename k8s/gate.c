/* The gate to the API server (see gate_priv.h).
 *
 * Invariants: while down, at most one request is under way as a probe, and K8S_RETRY_LEAST_MS lie between
 * two; waiters are served in the order in which they came; the timer is armed only while somebody waits. An
 * outage is reported when it begins and when it ends, not per attempt.
 */
#include "k8s/gate_priv.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "k8s/backoff_priv.h"
#include "k8s/clock_priv.h"

enum gate_state { GATE_OPEN, GATE_DOWN, GATE_PROBING };

TAILQ_HEAD(k8s_waiters, k8s_waiter);

struct k8s_gate {
    const char *url;
    const struct reporter *reporter;
    struct event *timer;
    struct k8s_waiters waiters;
    enum gate_state state;
    unsigned turn;   /* number of the last probe, from 1 */
    bool asked;      /* anything was answered or not, ever */
    int64_t down_ms; /* when the outage began */
    int64_t next_ms; /* not before: the next probe */
    int64_t held_ms; /* not before: anything */
    char why[256];
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

struct k8s_gate *k8s_gate_new(struct event_base *base, const char *url, const struct reporter *reporter)
{
    struct k8s_gate *g = calloc(1, sizeof *g);

    if (!g)
        return NULL;
    g->url = url;
    g->reporter = reporter;
    TAILQ_INIT(&g->waiters);
    g->timer = evtimer_new(base, on_timer, g);
    if (!g->timer) {
        free(g);
        return NULL;
    }
    return g;
}

void k8s_gate_free(struct k8s_gate *g)
{
    if (!g)
        return;
    event_free(g->timer);
    free(g);
}

bool k8s_gate_is_open(const struct k8s_gate *g)
{
    return g->state == GATE_OPEN && k8s_now_ms() >= g->held_ms;
}

bool k8s_gate_is_down(const struct k8s_gate *g)
{
    return g->state != GATE_OPEN;
}

/* Arms the timer for the next turn, or disarms it when none can come. */
static void arm(struct k8s_gate *g)
{
    int64_t now_ms = k8s_now_ms(), at_ms = g->held_ms;

    if (TAILQ_EMPTY(&g->waiters) || g->state == GATE_PROBING) {
        evtimer_del(g->timer);
        return;
    }
    if (g->state == GATE_DOWN && g->next_ms > at_ms)
        at_ms = g->next_ms;
    k8s_timer_set(g->timer, at_ms > now_ms ? at_ms - now_ms : 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct k8s_gate *g = arg;
    struct k8s_waiter *w;
    size_t n = 0;

    (void)fd, (void)what;
    if (k8s_now_ms() < g->held_ms || g->state == GATE_PROBING || TAILQ_EMPTY(&g->waiters)) {
        arm(g);
        return;
    }
    if (g->state == GATE_DOWN) {
        w = TAILQ_FIRST(&g->waiters);
        g->state = GATE_PROBING;
        if (++g->turn == 0)
            g->turn = 1;
        g->next_ms = k8s_now_ms() + k8s_backoff_retry(k8s_random());
        k8s_gate_leave(g, w);
        w->on_turn(w->arg);
        return;
    }
    /* Each waiter that is there now gets one turn; one that asks again waits for the next. */
    TAILQ_FOREACH(w, &g->waiters, entry)
    n++;
    while (n-- > 0 && k8s_gate_is_open(g) && (w = TAILQ_FIRST(&g->waiters)) != NULL) {
        k8s_gate_leave(g, w);
        w->on_turn(w->arg);
    }
    arm(g);
}

void k8s_gate_wait(struct k8s_gate *g, struct k8s_waiter *w)
{
    if (!w->waiting)
        TAILQ_INSERT_TAIL(&g->waiters, w, entry);
    w->waiting = true;
    arm(g);
}

void k8s_gate_leave(struct k8s_gate *g, struct k8s_waiter *w)
{
    if (w->waiting)
        TAILQ_REMOVE(&g->waiters, w, entry);
    w->waiting = false;
}

unsigned k8s_gate_turn(const struct k8s_gate *g)
{
    return g->state == GATE_PROBING ? g->turn : 0;
}

void k8s_gate_answered(struct k8s_gate *g)
{
    if (g->state != GATE_OPEN)
        REPORT(g->reporter, REPORT_INFO, "API server reachable again", FIELD_TEXT("url", g->url),
               FIELD_INT("seconds", (k8s_now_ms() - g->down_ms + 500) / 1000));
    g->state = GATE_OPEN;
    g->asked = true;
    arm(g);
}

void k8s_gate_unanswered(struct k8s_gate *g, unsigned turn, const char *why)
{
    struct text t;

    g->asked = true;
    text_init(&t, g->why, sizeof g->why);
    text_add_clean(&t, str_of(why));
    if (g->state == GATE_OPEN) {
        REPORT(g->reporter, REPORT_WARN, "API server unreachable", FIELD_TEXT("url", g->url),
               FIELD_STR("cause", text_str(&t)));
        g->down_ms = k8s_now_ms();
        g->next_ms = g->down_ms + k8s_backoff_retry(k8s_random());
    }
    if (g->state == GATE_OPEN || turn == k8s_gate_turn(g))
        g->state = GATE_DOWN;
    arm(g);
}

void k8s_gate_unused(struct k8s_gate *g, unsigned turn)
{
    if (g->state == GATE_PROBING && turn == g->turn) {
        g->state = GATE_DOWN;
        g->next_ms = k8s_now_ms();
    }
    arm(g);
}

void k8s_gate_hold(struct k8s_gate *g, int64_t retry_after_ms)
{
    int64_t until_ms = k8s_now_ms() + (retry_after_ms < K8S_HOLD_MOST_MS ? retry_after_ms : K8S_HOLD_MOST_MS);

    if (until_ms > g->held_ms)
        g->held_ms = until_ms;
    arm(g);
}

bool k8s_gate_reachable(const struct k8s_gate *g, const char **ret_why)
{
    if (g->state == GATE_OPEN && g->asked)
        return true;
    *ret_why = g->asked ? g->why : "not asked yet";
    return false;
}
