/* One Run: its state is taken over, it is decided on, and what was decided is done.
 *
 * Level-triggered: nothing is remembered of an event, a reply or a wake-up but that the Run is to be decided
 * on again. Invariants: a Run that waits has one waiter; nothing is decided for it while a request is under
 * way (`owed` says that something is to be decided afterwards); one that the API has as True or False is
 * never written to.
 */
#include "controller/controller_priv.h"

#define ASK_SOONEST_MS 20 /* a verdict that is due to change at once is not asked in a busy loop */

void controller_lose(struct controller *c, const struct run *run)
{
    /* A field without a name ends the list. */
    REPORT(&c->reporter, REPORT_ERROR, "out of memory for a Run",
           FIELD_TEXT("kind", run_kind_name(run->kind)->kind),
           FIELD_STR(run->namespace.len ? "namespace" : NULL, run->namespace), FIELD_STR("name", run->name));
    if (c->list_again_mono_ms == INT64_MAX)
        c->list_again_mono_ms = c->now.mono_ms + LIST_AGAIN_MS;
}

void controller_rearm(struct controller *c)
{
    int64_t at = c->poked ? c->now.mono_ms : deadline_first(c);

    if (outage_next(c) < at)
        at = outage_next(c);
    if (c->list_again_mono_ms < at)
        at = c->list_again_mono_ms;
    if (at == c->armed_mono_ms)
        return;
    c->armed_mono_ms = at;
    c->io.wake_at(c->io.arg, at);
}

static void earlier(int64_t *due, int64_t candidate, int64_t now)
{
    if (candidate > now && candidate < *due)
        *due = candidate;
}

/* What is past needs no wake-up: whoever calls decides now, or a reply will. */
void tracked_schedule(struct tracked *t)
{
    int64_t now = t->c->now.mono_ms;
    int64_t due = INT64_MAX;

    if (!t->ended) {
        earlier(&due, t->run.deadline_mono_ms, now);
        earlier(&due, t->ask_mono_ms, now);
        earlier(&due, t->explain_mono_ms, now);
    }
    if (t->owed && !t->token)
        earlier(&due, t->not_before_mono_ms, now);
    deadline_move(t, due);
}

/* Rewrites the message when it has something new to say, in this Run's own time and in turn with all others.
 */
static void explain(struct tracked *t, const struct action *a, const struct verdict *v)
{
    struct controller *c = t->c;
    int64_t now = c->now.mono_ms;
    uint64_t digest = say_digest(v);

    if (t->said == 0) {
        char buffer[SAY_MESSAGE];
        struct text message;
        text_init(&message, buffer, sizeof buffer);
        say_message(&t->run, a, v, &message);
        if (run_hash(text_str(&message)) == t->run.message_hash)
            t->said = digest;
    }
    if (t->said == digest) {
        t->owed = false;
        t->explain_mono_ms = INT64_MAX;
        t->has_turn = false;
    } else if (now < add_saturated(t->explained_mono_ms, EXPLAIN_RUN_MS)) {
        t->explain_mono_ms = t->explained_mono_ms + EXPLAIN_RUN_MS;
        t->has_turn = false;
    } else if (!t->has_turn) {
        t->explain_mono_ms = now > c->next_explain_mono_ms ? now : c->next_explain_mono_ms;
        c->next_explain_mono_ms = t->explain_mono_ms + EXPLAIN_ALL_MS;
        t->has_turn = true;
    }
    if (t->has_turn && now >= t->explain_mono_ms) {
        t->explain_mono_ms = INT64_MAX;
        t->has_turn = false;
        flight_patch(t, a, v);
    }
    tracked_schedule(t);
}

static int64_t ask_again(const struct controller *c, const struct verdict *v)
{
    if (v->wake_at_ms == INT64_MAX)
        return INT64_MAX;
    int64_t in_ms = v->wake_at_ms - c->now.wall_ms;
    return add_saturated(c->now.mono_ms, in_ms > ASK_SOONEST_MS ? in_ms : ASK_SOONEST_MS);
}

/* Decides with v (NULL: without one) and acts. May drop t. */
static void tracked_consider(struct tracked *t, const struct verdict *v)
{
    if (t->ended)
        return;
    if (v)
        t->ask_mono_ms = ask_again(t->c, v);
    if (t->token) {
        t->owed = true;
        tracked_schedule(t);
        return;
    }
    struct action a = decide(&t->run, v, t->c->now);
    switch (a.kind) {
    case ACTION_NONE: tracked_schedule(t); break;
    case ACTION_FORGET:
        flight_settle(t);
        runs_drop(t);
        return;
    case ACTION_EXPLAIN: explain(t, &a, v); break;
    case ACTION_START:
    case ACTION_RETRY_FAILED:
    case ACTION_RETRY_EXPIRED:
    case ACTION_SUCCEED:
    case ACTION_FAIL:
    case ACTION_SUPERSEDE:
    case ACTION_AMBIGUOUS:
    case ACTION_EXPIRE:
    case ACTION_CANCEL:
    case ACTION_REJECT: flight_patch(t, &a, v); break;
    }
    /* A turn to try in an outage is over, sent or not; only an explanation has a time of its own to come. */
    if (!t->token && !t->has_turn)
        t->probing = false;
}

static void on_answer(void *arg, const struct verdict *v)
{
    struct tracked *t = arg;
    struct controller *c = t->c;

    tracked_consider(t, v);
    controller_rearm(c);
}

void tracked_reconsider(struct tracked *t)
{
    if (t->ended) {
        if (t->must_get && !t->token)
            flight_get(t);
    } else if (t->waiter) {
        waiter_poke(t->waiter);
        t->c->poked = true;
        tracked_schedule(t);
    } else {
        tracked_consider(t, NULL);
    }
}

/* The waiter belongs to the question: made with it, and replaced when the spec has changed. */
static void tracked_ask(struct tracked *t)
{
    struct run *r = &t->run;
    struct question *q = r->question;

    r->question = NULL;
    if (t->waiter && (r->cancelled || r->fault != FAULT_NONE || q)) {
        waiter_drop(t->waiter);
        t->waiter = NULL;
    }
    if (!q)
        return;
    if (r->cancelled || r->fault != FAULT_NONE) {
        question_free(q);
        return;
    }
    t->waiter = waiter_add(t->c->waiters, q, on_answer, t);
    if (!t->waiter)
        controller_lose(t->c, r);
    else if (r->attempt_ms != RUN_NO_TIME)
        waiter_new_attempt(t->waiter, r->attempt_ms);
}

/* Replaces t's state by a newer one, keeping what the API does not say: the exact start, the deadline as
 * anchored. */
static void tracked_take(struct tracked *t, struct run *run)
{
    struct run *old = &t->run;
    bool same_attempt = run->retries_done == old->retries_done;

    if (run->start_ms == RUN_NO_TIME ||
        (same_attempt && old->start_ms != RUN_NO_TIME && run_same_second(run->start_ms, old->start_ms)))
        run->start_ms = old->start_ms;
    if (same_attempt && run->start_ms == old->start_ms && run->timeout_ms == old->timeout_ms)
        run->deadline_mono_ms = old->deadline_mono_ms;
    else
        run_anchor(run, t->c->now);
    if (t->waiter && run->question && run->generation == old->generation) {
        question_free(run->question);
        run->question = NULL;
    }
    if (t->waiter && run->attempt_ms != old->attempt_ms && run->attempt_ms != RUN_NO_TIME)
        waiter_new_attempt(t->waiter, run->attempt_ms);
    if (!str_eq(run->resource_version, old->resource_version))
        t->must_get = false;
    run_release(old);
    t->run = *run;
    t->taken = true;
}

void tracked_settle(struct tracked *t)
{
    enum run_phase phase = run_phase(&t->run);

    flight_settle(t);
    run_drop_message(&t->run);
    if (phase == PHASE_DONE || phase == PHASE_DELETING) {
        runs_drop(t);
        return;
    }
    tracked_ask(t);
    if (t->waiter && !t->owed && (phase == PHASE_WAITING || phase == PHASE_WAITING_SPARE))
        tracked_schedule(t);
    else
        tracked_reconsider(t);
}

void tracked_adopt(struct tracked *t, struct run *run)
{
    tracked_take(t, run);
    if (!t->token)
        tracked_settle(t);
}

void tracked_end(struct tracked *t, struct run *written)
{
    bool shown = t->taken && run_phase(&t->run) == PHASE_DONE;

    if (shown) {
        run_release(written);
        runs_drop(t);
        return;
    }
    if (t->waiter)
        waiter_drop(t->waiter);
    t->waiter = NULL;
    t->ended = true;
    t->owed = false;
    t->c->stats.waiting--;
    if (written->question)
        question_free(written->question);
    written->question = NULL;
    run_release(&t->run);
    t->run = *written;
    run_drop_message(&t->run);
    tracked_schedule(t);
}

void track(struct controller *c, struct run *run, uint32_t scope, uint32_t epoch)
{
    enum run_phase phase = run_phase(run);

    if (phase == PHASE_DONE || phase == PHASE_DELETING) {
        run_release(run);
        return;
    }
    run_anchor(run, c->now);
    struct tracked *t = runs_add(c, run);
    if (!t) {
        controller_lose(c, run);
        run_release(run);
        return;
    }
    t->scope = scope;
    t->epoch = epoch;
    t->seen_wall_ms = c->now.wall_ms;
    tracked_settle(t);
}
