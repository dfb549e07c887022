/* Requests under way, at most one per Run, and what their replies mean.
 *
 * Nothing is remembered of a write that failed but when to try again: then the Run is decided on afresh, from
 * what the API and the store say by then. So a cancel, a deletion or another verdict in between is never
 * overwritten.
 *
 * status  means                                          then
 * 2xx     written; the body is the object                its state is taken over, a Kubernetes Event tells
 * 404     the object is gone                             forgotten, silently
 * 409     it has changed, or is another of that name     read, decided again; after 5 in a row, in pauses
 * 429     too many requests                              a pause for all, as long as was asked for
 * 401 403 not allowed                                    a report per interval, backoff up to 30 s
 * 0 5xx   no answer, or a broken webhook                 one Run tries, all others wait (outage.c)
 * others  refused: schema, webhook                       parked: reported once, tried twice a minute
 */
#include "controller/controller_priv.h"

#include <stdlib.h>

#include "store/units.h"

static void report_run(struct tracked *t, enum report_level level, const char *sentence, const char *name,
                       struct str value)
{
    REPORT(&t->c->reporter, level, sentence, FIELD_TEXT("kind", run_kind_name(t->run.kind)->kind),
           FIELD_STR("namespace", t->run.namespace), FIELD_STR("name", t->run.name),
           FIELD_STR("uid", t->run.uid), FIELD_STR("revision", t->run.revision), FIELD_STR(name, value));
}

static int64_t latest(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Spread by the Run's name, so that those that failed together do not come back together. */
static int64_t backoff(const struct tracked *t)
{
    int64_t ms = BACKOFF_FIRST_MS;

    for (unsigned i = 1; i < t->failures && ms < BACKOFF_MOST_MS; i++)
        ms *= 2;
    if (ms > BACKOFF_MOST_MS)
        ms = BACKOFF_MOST_MS;
    uint64_t spread = run_hash(t->run.uid) + t->failures * UINT64_C(0x9E3779B97F4A7C15);
    return ms - ms / 4 + (int64_t)(spread % (uint64_t)(ms / 4));
}

static void pause_for(struct tracked *t, int64_t ms)
{
    t->not_before_mono_ms = latest(t->not_before_mono_ms, t->c->now.mono_ms + ms);
    t->owed = true;
    tracked_schedule(t);
}

static void pause_after_failure(struct tracked *t)
{
    if (t->failures < UINT8_MAX)
        t->failures++;
    pause_for(t, backoff(t));
}

static bool may_send(struct tracked *t)
{
    int64_t from = latest(t->not_before_mono_ms, t->c->hold_mono_ms);

    if (t->c->now.mono_ms >= from)
        return outage_lets(t);
    t->not_before_mono_ms = from;
    t->owed = true;
    tracked_schedule(t);
    return false;
}

static void begin(struct tracked *t, enum request request, uint64_t token)
{
    t->token = token;
    t->request = (uint8_t)request;
    t->taken = false;
    t->probing = false;
    outage_unhold(t);
    t->owed = request == REQUEST_GET;
    t->c->stats.in_flight++;
    tracked_schedule(t);
}

void flight_patch(struct tracked *t, const struct action *a, const struct verdict *v)
{
    struct controller *c = t->c;
    char path[RUN_PATH];

    if (t->must_get) {
        flight_get(t);
        return;
    }
    if (!may_send(t))
        return;
    struct str body = run_patch_body(&t->run, a, v);
    uint64_t token = runs_new_token(t);
    run_path(&t->run, true, path);
    if (!body.at || !c->io.patch(c->io.arg, token, path, body, a->kind != ACTION_EXPLAIN)) {
        pause_after_failure(t);
    } else {
        t->doing = (uint8_t)a->kind;
        t->attempt = t->run.retries_done;
        measure_decision(t, a, v);
        if (v)
            t->said = say_digest(v);
        t->explained_mono_ms = c->now.mono_ms;
        if (!action_is_retry(a->kind) && t->run.start_ms == RUN_NO_TIME) {
            t->run.start_ms = a->start_ms;
            run_anchor(&t->run, c->now);
        }
        begin(t, REQUEST_PATCH, token);
    }
    free((char *)(uintptr_t)body.at);
}

void flight_get(struct tracked *t)
{
    struct controller *c = t->c;
    char path[RUN_PATH];

    t->must_get = true;
    if (!may_send(t))
        return;
    uint64_t token = runs_new_token(t);
    run_path(&t->run, false, path);
    if (c->io.get(c->io.arg, token, path))
        begin(t, REQUEST_GET, token);
    else
        pause_after_failure(t);
}

/* ---- replies ---- */

static void create_event(struct tracked *t, const struct run *about, const struct run_event *e)
{
    struct controller *c = t->c;
    char path[RUN_PATH];
    struct str body = run_event_body(about, e);

    run_events_path(about, path);
    if (body.at)
        c->io.create_event(c->io.arg, path, body);
    free((char *)(uintptr_t)body.at);
}

/* A name of its own in every process: the wall clock, and a counter below a millisecond's worth of
 * nanoseconds. */
static uint64_t unique(struct controller *c)
{
    return (uint64_t)c->now.wall_ms * 1000000 + c->n_events++ % 1000000;
}

/* Tells of a transition that the API has. written: the object as the API has it. */
static void announce(struct tracked *t, const struct run *written)
{
    enum action_kind kind = t->doing;
    bool normal = kind == ACTION_START || kind == ACTION_SUCCEED || kind == ACTION_CANCEL;

    if (!action_is_transition(kind))
        return;
    const struct run_event e = {written->reason, written->message, !normal, t->c->now.wall_ms, unique(t->c)};
    create_event(t, written, &e);
    if (action_is_final(kind)) {
        t->c->stats.finished++;
        measure_finished(t);
        list_finished(t, written);
    }
    if (kind == ACTION_REJECT)
        t->c->stats.rejected++;
    report_run(t, REPORT_INFO,
               action_is_final(kind)   ? "a Run has ended"
               : action_is_retry(kind) ? "a Run begins another attempt"
                                       : "a Run waits",
               "reason", written->reason);
}

static enum run_parsed parse_reply(struct tracked *t, struct str body, struct run *ret)
{
    const struct run_parse_options options = {&t->c->refs, t->c->default_timeout_ms};
    enum run_parsed parsed = run_parse(t->run.kind, body, &options, ret);

    if (parsed == RUN_NO_MEMORY)
        run_release(ret);
    if ((parsed == RUN_OURS || parsed == RUN_FOREIGN) &&
        !(str_eq(ret->name, t->run.name) && str_eq(ret->namespace, t->run.namespace))) {
        run_release(ret);
        return RUN_MALFORMED;
    }
    return parsed;
}

/* Which of two versions goes on: the watch may have shown a later one before the reply came. */
static void merge_written(struct tracked *t, struct run *written)
{
    struct str known = t->run.resource_version;

    if (!t->taken || str_eq(known, written->resource_version) ||
        run_version_older(known, written->resource_version)) {
        tracked_adopt(t, written);
        return;
    }
    bool older = run_version_older(written->resource_version, known);
    run_release(written);
    if (older)
        tracked_settle(t);
    else
        flight_get(t);
}

static void on_written(struct tracked *t, struct str body)
{
    struct run written;

    t->failures = 0;
    t->failed_at = 0;
    t->conflicts = 0;
    t->c->numbers.parked -= t->parked;
    t->parked = false;
    t->c->n_written++;
    measure_acknowledged(t);
    enum run_parsed parsed = parse_reply(t, body, &written);
    bool readable = parsed == RUN_OURS && str_eq(written.uid, t->run.uid);
    if (!readable) {
        /* Written, but in what state is not known: read it. */
        if (parsed == RUN_OURS || parsed == RUN_FOREIGN)
            run_release(&written);
        t->unsure = true;
        if (t->unseen)
            runs_drop(t);
        else
            flight_get(t);
        return;
    }
    t->unsure = false;
    announce(t, &written);
    if (t->unseen) {
        run_release(&written);
        runs_drop(t);
    } else if (action_is_final(t->doing)) {
        tracked_end(t, &written);
    } else {
        merge_written(t, &written);
    }
}

/* True when the API holds what the unanswered PATCH wanted to write. */
static bool was_applied(const struct tracked *t)
{
    const struct run *r = &t->run;
    enum action_kind kind = t->doing;

    if (!t->unsure || !action_is_transition(kind) || !str_eq(r->reason, str_of(say_reason(r, kind))))
        return false;
    if (action_is_final(kind))
        return run_phase(r) == PHASE_DONE;
    return r->has_start && (!action_is_retry(kind) || r->retries_done == t->attempt + 1);
}

void flight_settle(struct tracked *t)
{
    if (!was_applied(t))
        return;
    t->unsure = false;
    announce(t, &t->run);
}

static void on_read(struct tracked *t, struct str body)
{
    struct run found;
    struct controller *c = t->c;

    switch (parse_reply(t, body, &found)) {
    case RUN_OURS: break;
    case RUN_FOREIGN:
        run_release(&found);
        runs_drop(t);
        return;
    case RUN_MALFORMED:
    case RUN_NO_MEMORY: pause_after_failure(t); return;
    }
    t->must_get = false;
    if (!str_eq(found.uid, t->run.uid) || t->ended) {
        /* Another object of that name, or an end that the API does not have any more: begin afresh. */
        uint32_t scope = t->scope;
        uint32_t epoch = t->epoch;
        runs_drop(t);
        track(c, &found, scope, epoch);
        return;
    }
    if (t->taken && run_version_older(found.resource_version, t->run.resource_version)) {
        /* Read before the change that the watch has shown since: the watch will not show it again. */
        run_release(&found);
        tracked_settle(t);
        return;
    }
    tracked_adopt(t, &found);
}

static void on_conflict(struct tracked *t)
{
    t->c->stats.conflicts++;
    t->must_get = true;
    if (t->conflicts + 1 < CONFLICTS_MOST) {
        t->conflicts++;
        flight_get(t);
        return;
    }
    pause_for(t, CONFLICT_MS);
}

static void on_forbidden(struct tracked *t, int status, struct str why)
{
    struct controller *c = t->c;

    if (c->forbidden_mono_ms == INT64_MIN || c->now.mono_ms - c->forbidden_mono_ms >= REPORT_INTERVAL_MS) {
        c->forbidden_mono_ms = c->now.mono_ms;
        report_run(t, REPORT_ERROR,
                   status == 401 ? "the API server does not accept the token; Runs cannot be written"
                                 : "no permission to write the status of Runs",
                   "error", why);
    }
    /* Not parked at once: an API server that has just started answers 403 until its RBAC rules are loaded. */
    pause_after_failure(t);
}

static void on_refused(struct tracked *t, int status, struct str why)
{
    if (!t->parked) {
        char text[RUN_EVENT_MESSAGE + 1];
        struct text message;
        text_init(&message, text, sizeof text);
        text_addf(&message, "The API server refuses the status (%d): ", status);
        text_add(&message, why);
        report_run(t, REPORT_ERROR, "a Run cannot be written; trying twice a minute", "error",
                   text_str(&message));
        const struct run_event e = {STR("StatusRefused"), text_str(&message), true, t->c->now.wall_ms,
                                    unique(t->c)};
        create_event(t, &t->run, &e);
        t->c->numbers.parked++;
    }
    t->parked = true;
    pause_for(t, PARKED_MS);
}

static void on_unanswered(struct tracked *t, int64_t retry_after_ms)
{
    if (retry_after_ms > 0)
        pause_for(t, retry_after_ms);
    else if (!outage_begins(t))
        pause_after_failure(t);
}

static void on_busy(struct tracked *t, int64_t retry_after_ms)
{
    struct controller *c = t->c;

    if (retry_after_ms > 0) {
        c->hold_mono_ms = latest(c->hold_mono_ms, c->now.mono_ms + retry_after_ms);
        pause_for(t, retry_after_ms);
    } else {
        on_unanswered(t, retry_after_ms);
    }
}

/* Everything but success. May drop t. */
static void on_failed(struct tracked *t, bool patch, int status, int64_t retry_after_ms, struct str body)
{
    char buffer[512];
    struct text why;

    text_init(&why, buffer, sizeof buffer);
    run_status_message(body, &why);
    t->owed = true;
    t->said = 0;
    if (status == 409) {
        on_conflict(t);
    } else if (status == 429) {
        on_busy(t, retry_after_ms);
    } else if (status == 401 || status == 403) {
        on_forbidden(t, status, text_str(&why));
    } else if (status == 0 || status >= 500) {
        t->unsure = t->unsure || patch;
        on_unanswered(t, retry_after_ms);
        if (t->taken)
            tracked_settle(t);
    } else {
        on_refused(t, status, text_str(&why));
    }
}

void flight_reply(struct tracked *t, int status, int64_t retry_after_ms, struct str body)
{
    bool patch = t->request == REQUEST_PATCH;
    struct controller *c = t->c;
    bool answered = (status >= 200 && status < 300) || status == 400 || status == 404 || status == 422;

    t->token = 0;
    t->request = REQUEST_NONE;
    c->stats.in_flight--;
    /* What follows a read needs no turn of its own. */
    t->probing = c->failing && (status == 409 || (!patch && answered));
    bool written = patch && status >= 200 && status < 300;
    if (status == 404 || (t->unseen && !written))
        runs_drop(t);
    else if (status < 200 || status >= 300)
        on_failed(t, patch, status, retry_after_ms, body);
    else if (patch)
        on_written(t, body);
    else
        on_read(t, body);
    if (patch && answered)
        outage_ends(c);
}
