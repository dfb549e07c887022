/* The process under test: the store, the waiters and the controller, wired as main.c does it, and a turn of its loop.
 *
 * A stop is a kill: what was handed to the store is committed all the same, since nothing tells whether the disk was
 * faster than the signal; what was still on its way to the store is lost or sent again.
 *
 * The store's writer is a thread; a commit is waited for in the step in which it is planned to return, so that a
 * story depends on nothing but its seed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"
#include "store/store_priv.h"

/* ---- the waiters' ear, where a mark can get lost ---- */

static struct {
    store_on_record *on_record;
    struct sim *sim;
} ear;

void __real_store_subscribe(struct store *s, store_on_record *on_record, void *arg);
void __wrap_store_subscribe(struct store *s, store_on_record *on_record, void *arg);

static void hear(void *arg, const struct record *r, struct record_keys keys, bool fresh)
{
    struct sim *s = ear.sim;

    if (s->plant == PLANT_LOST_MARK && ++s->marks == 5) {
        sim_trace(s, "(planted) the waiters are not told of record %llu", (unsigned long long)r->seq);
        return;
    }
    ear.on_record(arg, r, keys, fresh);
}

void __wrap_store_subscribe(struct store *s, store_on_record *on_record, void *arg)
{
    ear.on_record = on_record;
    __real_store_subscribe(s, hear, arg);
}

/* ---- events ---- */

static void on_stored(void *arg, uint64_t token, enum store_status status, uint64_t seq)
{
    struct sim *s = arg;
    struct said *e = &s->said[token];

    if (status != STORE_OK) {
        sim_fail(s, "event %u was not stored: status %d", (unsigned)token, (int)status);
        return;
    }
    e->acknowledged = true;
    s->n_acknowledged++;
    kept_stored(s, e, seq);
    if (seq > s->last_seq + 1)
        sim_fail(s, "id %llu follows %llu", (unsigned long long)seq, (unsigned long long)s->last_seq);
    if (seq > s->last_seq)
        s->last_seq = seq;
    sim_trace(s, "event %u is on disk as %llu%s", (unsigned)token, (unsigned long long)seq,
              e->repeat ? ", a repeat" : "");
}

void process_receive(struct sim *s, unsigned which)
{
    struct said *e = &s->said[which];

    if (!s->up) {
        if (sim_chance(s, 70))
            plan(s, 5 * SECOND, STEP_DELIVER, which);
        else
            sim_trace(s, "event %u is lost: nobody listens, and Flux gives up", which);
        return;
    }
    e->repeat = kept_repeats(s, e, &e->record);
    int64_t now = wall_now(s);
    e->received_ms = now > s->last_received_ms ? now : s->last_received_ms;
    s->last_received_ms = e->received_ms;
    e->by_arrival = !e->has_timestamp || e->timestamp_ms > e->received_ms;
    e->effective_ms = e->by_arrival ? e->received_ms : e->timestamp_ms;
    e->arrival = ++s->n_arrived;
    e->appended = true;
    if (!e->repeat)
        kept_add(s, which);
    struct flux_event event = {
        .kind = str_of(reporter_names[e->reporter][0]),
        .namespace = str_of(reporter_names[e->reporter][1]),
        .name = str_of(reporter_names[e->reporter][2]),
        .severity = e->class == CLASS_FAILURE ? STR("error") : STR("info"),
        .reason = str_of(said_reason(e)),
        .message = STR("said by Flux"),
        .revision = e->revision < 0 ? STR_NONE : str_of(revision_texts[e->revision][0]),
        .timestamp_ms = e->timestamp_ms,
        .has_timestamp = e->has_timestamp,
    };
    if (store_append(s->store, &event, str_of(e->body), VIA_WEBHOOK, now, on_stored, s, which) != STORE_OK)
        sim_fail(s, "event %u was refused", which);
    s->counts->events++;
    sim_trace(s, "event %u arrives: %s", which, e->body);
}

/* What the writer has changed is seen at once, what it has added only when its commit is dispatched; so it is always
 * waited for, lest the story depend on how fast it is. */
static void await_writer(struct sim *s)
{
    if (!s->store->in_flight)
        return;
    commit_wait(s->store->committer);
    if (!s->store->queue.first)
        s->n_flushed = s->n_arrived;
}

void process_commit(struct sim *s)
{
    s->committing = false;
    if (!s->store->in_flight)
        return;
    await_writer(s);
    store_dispatch(s->store);
    await_writer(s);
}

/* ---- the controller's world ---- */

static void on_report(void *arg, const struct report *report)
{
    struct sim *s = arg;
    char line[512];
    struct text text;

    if (!s->tracing)
        return;
    text_init(&text, line, sizeof line);
    for (const struct report_field *f = report->fields; f->name; f++) {
        text_addf(&text, " %s=", f->name);
        if (f->is_number)
            text_addf(&text, "%lld", (long long)f->number);
        else
            text_add_clean(&text, f->text);
    }
    sim_trace(s, "  log: %s%s", report->sentence, line);
}

static void create_event(void *arg, const char *path, struct str body)
{
    check_event(arg, path, body);
}

/* The loop comes back a little late. */
static void wake_at(void *arg, int64_t mono_ms)
{
    struct sim *s = arg;

    if (mono_ms == s->asked_wake_ms && s->wake_ms != INT64_MAX)
        return;
    s->asked_wake_ms = mono_ms;
    s->wake_number++;
    s->wake_ms = INT64_MAX;
    if (mono_ms == INT64_MAX)
        return;
    int64_t at = mono_ms - s->base_ms;
    if (s->plant == PLANT_LOST_TIMER && at > s->now_ms + SECOND && ++s->timers == 5)
        s->lost_timer_ms = mono_ms;
    if (s->lost_timer_ms == mono_ms) {
        sim_trace(s, "(planted) the timer for %lld s is not set", (long long)(at / 1000));
        return;
    }
    s->wake_ms = (at > s->now_ms ? at : s->now_ms) + sim_pick(s, 3);
    plan(s, s->wake_ms - s->now_ms, STEP_WAKE, s->wake_number);
}

static void list_again(void *arg)
{
    sim_fail(arg, "Runs are to be listed again, though nothing was lost");
}

/* ---- life ---- */

void process_start(struct sim *s)
{
    const struct controller_io io = {s, client_patch, client_get, create_event, wake_at, list_again};
    const struct reporter reporter = {on_report, s};
    const struct controller_config config = {.default_timeout_ms = 5 * MINUTE};
    const struct store_config store_config = {.dir = s->dir};
    char err[STORE_ERROR + CONTROLLER_ERROR];

    if (s->up)
        return;
    s->process++;
    s->base_ms = (int64_t)sim_pick(s, 1000000) * 1000;
    s->offset_least_ms = s->offset_most_ms = s->offset_ms;
    s->wake_ms = INT64_MAX;
    s->committing = s->turning = false;
    s->last_received_ms = kept_heard_ms(s); /* a repeat leaves no trace */
    s->hold_ms = s->asked_hold_ms = s->explained_ms = INT64_MIN / 2;
    s->outage = false;
    ear.sim = s;
    s->store = store_open(&store_config, &reporter, err);
    s->waiters = s->store ? waiters_new(s->store) : NULL;
    s->controller = s->waiters ? controller_new(&config, s->waiters, &io, &reporter, err) : NULL;
    if (!s->controller) {
        sim_fail(s, "the process does not start: %s", err);
        return;
    }
    s->up = true;
    for (unsigned i = 0; i < s->n_lives; i++) {
        struct life *l = &s->lives[i];
        l->known = 0;
        l->out_of_sight = false;
        l->tried_ms = l->overdue_ms = NO_TIME;
        l->paused_ms = l->written_ms = INT64_MIN / 2;
        l->under_way = l->asking = 0;
    }
    s->counts->starts++;
    sim_trace(s, "the process starts, with %llu records", (unsigned long long)s->store->stats.records);
    watches_start(s);
}

void process_stop(struct sim *s)
{
    if (!s->up)
        return;
    controller_free(s->controller);
    waiters_free(s->waiters);
    store_close(s->store);
    s->controller = NULL;
    s->waiters = NULL;
    s->store = NULL;
    s->up = false;
    client_forget(s, false);
    sim_trace(s, "the process ends");
}

/* As turn_end() of main.c. */
void process_turn(struct sim *s)
{
    controller_set_moment(s->controller, moment_of(s));
    bool left = waiters_run(s->waiters, wall_now(s), s->many_turns ? 1 : 256);
    controller_tick(s->controller, moment_of(s));
    store_flush(s->store);
    await_writer(s);
    if (left && !s->turning) {
        s->turning = true;
        plan(s, 0, STEP_TURN, 0);
    }
    if (s->store->in_flight && !s->committing) {
        s->committing = true;
        plan(s, sim_chance(s, 10) ? sim_pick(s, 500) : sim_pick(s, 8), STEP_COMMIT, 0);
    }
}
