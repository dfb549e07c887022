/* The shell of the controller: what the watches show, what the store answers and what the clock says come in
 * here; all three end in tracked_consider(), which decides and acts.
 *
 * Level-triggered: nothing is remembered of an event, a reply or a wake-up but that the Run is to be decided
 * on again. Invariants: a Run that waits has one waiter and at most one request under way; foreign Runs are
 * held nowhere; one that the API has as True or False is never written to.
 *
 * Failure mode: without memory for a Run that is reported, and the Runs are listed again LIST_AGAIN_MS later, as often
 * as it takes: a Run that nobody changes is not shown by the watch a second time.
 */
#include "controller/controller_priv.h"

#include <stdio.h>
#include <stdlib.h>

const struct flag controller_flags[] = {
    {"--default-timeout", "DURATION", FLAG_DURATION, offsetof(struct controller_config, default_timeout_ms),
     "1h", "how long a Run waits that names no timeout; 0: for ever"},
    {"--ref", "APIVERSION/KIND", FLAG_LIST, offsetof(struct controller_config, refs), NULL,
     "another ref to answer to, beside flux-event-store.dev/v1/FluxDeploymentWait; repeatable"},
    {0},
};

/* ---- the watches ---- */

static struct scope *scope_at(struct controller *c, enum run_kind kind, unsigned scope)
{
    if (scope >= SCOPES_MOST)
        return NULL;
    if (scope >= c->n_scopes[kind]) {
        struct scope *scopes = reallocarray(c->scopes[kind], scope + 1, sizeof *scopes);
        if (!scopes)
            return NULL;
        for (unsigned i = c->n_scopes[kind]; i <= scope; i++)
            scopes[i] = (struct scope){0};
        c->scopes[kind] = scopes;
        c->n_scopes[kind] = scope + 1;
    }
    return &c->scopes[kind][scope];
}

void controller_on_list(struct controller *c, enum run_kind kind, unsigned scope)
{
    struct scope *s = scope_at(c, kind, scope);

    if (!s)
        return;
    s->epoch++;
    s->listing = true;
}

/* A version that is known to be older than ours, of this object or of one that had its name before: late news of the
 * watch. In a list it may also mean that the API server was restored from a backup, so it is asked. */
static void on_older(struct tracked *t, bool listing)
{
    if (!listing)
        return;
    t->must_get = true;
    if (!t->token)
        flight_get(t);
    else
        t->owed = true;
}

/* Something of ours is there. Takes over *run. */
static void on_ours(struct controller *c, struct run *run, uint32_t scope, const struct scope *s)
{
    struct tracked *t = runs_find(c, run->kind, run->namespace, run->name);
    bool listing = s && s->listing;
    uint32_t epoch = s ? s->epoch : 0;
    bool live = run_phase(run) != PHASE_DONE && run_phase(run) != PHASE_DELETING;

    bool older = t && run_version_older(run->resource_version, t->run.resource_version);
    if (t && !older && !str_eq(t->run.uid, run->uid)) {
        runs_drop(t);
        t = NULL;
    }
    if (!t) {
        track(c, run, scope, epoch);
        return;
    }
    t->scope = scope;
    t->epoch = epoch;
    t->unseen = false;
    if (older) {
        run_release(run);
        on_older(t, listing);
    } else if (run->deleting || (t->ended && !live)) {
        run_release(run);
        runs_drop(t);
    } else if (t->ended && str_eq(run->resource_version, t->run.resource_version)) {
        run_release(run);
    } else if (t->ended) {
        runs_drop(t);
        track(c, run, scope, epoch);
    } else {
        tracked_adopt(t, run);
    }
}

static void on_gone(struct controller *c, const struct run *run)
{
    struct tracked *t = runs_find(c, run->kind, run->namespace, run->name);

    if (t && str_eq(t->run.uid, run->uid))
        runs_drop(t);
}

void controller_on_object(struct controller *c, enum run_kind kind, unsigned scope, bool deleted,
                          struct str json, struct moment now)
{
    const struct run_parse_options options = {&c->refs, c->default_timeout_ms};
    struct scope *s = scope_at(c, kind, scope);
    struct run run;

    c->now = now;
    switch (run_parse(kind, json, &options, &run)) {
    case RUN_OURS:
        if (!deleted) {
            on_ours(c, &run, scope, s);
            break;
        }
        on_gone(c, &run);
        run_release(&run);
        break;
    case RUN_FOREIGN:
        on_gone(c, &run);
        run_release(&run);
        break;
    case RUN_MALFORMED:
        c->stats.malformed++;
        REPORT(&c->reporter, REPORT_DEBUG, "an object without a usable identity was skipped",
               FIELD_TEXT("kind", run_kind_name(kind)->kind));
        break;
    case RUN_NO_MEMORY:
        controller_lose(c, &run);
        run_release(&run);
        break;
    }
    controller_rearm(c);
}

/* The collection is not served or may not be read. The object may come back unchanged, so one with a request under way
 * is kept until the reply: a second request beside it would be decided without knowing of the first. */
static void lose_sight(struct tracked *t)
{
    if (t->token)
        t->unseen = true;
    else
        runs_drop(t);
}

/* Loses what the scope has, or drops only what its last listing did not show. */
static void sweep(struct controller *c, enum run_kind kind, unsigned scope, bool all)
{
    const struct scope *s = scope_at(c, kind, scope);

    for (uint32_t slot = 0; s && slot < c->n_slots; slot++) {
        struct tracked *t = c->slots[slot];
        if (!t || t->run.kind != kind || t->scope != scope)
            continue;
        if (all)
            lose_sight(t);
        else if (t->epoch != s->epoch)
            runs_drop(t);
    }
}

void controller_on_synced(struct controller *c, enum run_kind kind, unsigned scope, struct moment now)
{
    struct scope *s = scope_at(c, kind, scope);

    c->now = now;
    sweep(c, kind, scope, false);
    if (s)
        s->listing = false;
    controller_rearm(c);
}

void controller_on_absent(struct controller *c, enum run_kind kind, unsigned scope)
{
    struct scope *s = scope_at(c, kind, scope);

    sweep(c, kind, scope, true);
    if (s)
        s->listing = false;
    controller_rearm(c);
}

/* ---- replies and time ---- */

void controller_on_reply(struct controller *c, uint64_t token, int status, int64_t retry_after_ms,
                         struct str body, struct moment now)
{
    struct tracked *t = runs_by_token(c, token);

    c->now = now;
    if (t)
        flight_reply(t, status, retry_after_ms, body);
    controller_rearm(c);
}

static void run_due(struct controller *c)
{
    while (deadline_first(c) <= c->now.mono_ms) {
        struct tracked *t = c->heap[0];
        deadline_move(t, INT64_MAX);
        tracked_reconsider(t);
    }
    outage_try(c);
    if (c->list_again_mono_ms <= c->now.mono_ms) {
        c->list_again_mono_ms = INT64_MAX;
        c->io.list_again(c->io.arg);
    }
}

void controller_tick(struct controller *c, struct moment now)
{
    c->now = now;
    c->armed_mono_ms = INT64_MIN;
    run_due(c);
    controller_rearm(c);
}

void controller_set_moment(struct controller *c, struct moment now)
{
    c->now = now;
    run_due(c);
    c->poked = false;
    controller_rearm(c);
}

/* ---- life ---- */

static bool refs_read(const struct controller_config *config, struct run_refs *refs,
                      char err[static CONTROLLER_ERROR])
{
    for (size_t i = 0; i < config->refs.n; i++)
        if (!run_refs_add(refs, config->refs.values[i])) {
            (void)snprintf(err, CONTROLLER_ERROR,
                           "--ref: \"%s\" is not apiVersion/kind, as in example.dev/v1/FluxDeploymentWait",
                           config->refs.values[i]);
            return false;
        }
    return true;
}

bool controller_config_check(const struct controller_config *config, char err[static CONTROLLER_ERROR])
{
    struct run_refs refs = {0};

    return refs_read(config, &refs, err);
}

struct controller *controller_new(const struct controller_config *config, struct waiters *waiters,
                                  const struct controller_io *io, const struct reporter *reporter,
                                  char err[static CONTROLLER_ERROR])
{
    struct controller *c = calloc(1, sizeof *c);

    if (!c) {
        (void)snprintf(err, CONTROLLER_ERROR, "out of memory");
        return NULL;
    }
    *c = (struct controller){.default_timeout_ms = config->default_timeout_ms,
                             .waiters = waiters,
                             .io = *io,
                             .reporter = *reporter,
                             .armed_mono_ms = INT64_MAX,
                             .next_explain_mono_ms = INT64_MIN,
                             .hold_mono_ms = INT64_MIN,
                             .forbidden_mono_ms = INT64_MIN,
                             .list_again_mono_ms = INT64_MAX};
    if (!refs_read(config, &c->refs, err)) {
        free(c);
        return NULL;
    }
    return c;
}

void controller_free(struct controller *c)
{
    if (!c)
        return;
    runs_free_all(c);
    list_free(c);
    for (int kind = 0; kind < RUN_KINDS; kind++)
        free(c->scopes[kind]);
    free(c);
}

void controller_get_stats(const struct controller *c, struct controller_stats *ret)
{
    *ret = c->stats;
}

size_t controller_pending(const struct controller *c)
{
    return c->stats.in_flight;
}
