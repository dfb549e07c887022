/* What must hold at any time.
 *
 * - A PATCH is decided on a version of a Run of ours that has not ended, and does what the oracle allows at that
 *   moment; it says which version, and touches nothing but the status.
 * - A Run has at most one PATCH under way, ends once, and never changes afterwards.
 * - startTime stays, unless a new attempt begins; there are no more attempts than were asked for.
 * - Nothing is owed for longer than a timer is late: when the process knows the newest version of a Run, no request is
 *   under way and none failed a moment ago, then the oracle has nothing to do for it either. While nothing can be
 *   written, for longer than it takes until the Run has had its turn to try.
 * - Retry-After is kept, explanations are rare, and no Run costs many requests a minute.
 * - A Kubernetes Event tells what the API has, and an end only once.
 */
#include <stdio.h>
#include <string.h>

#include "sim.h"
#include "store/units.h"

#define OWED_MS 1000
#define OUTAGE_MS \
    45000 /* when nothing could be written, one Run at a time tries, and each has its turn so soon */
#define A_MINUTE_MOST 120 /* requests for one Run: five rounds of conflicts, between pauses that double */

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool has_ended(const struct state *state)
{
    return state->outcome == OUTCOME_TRUE || state->outcome == OUTCOME_FALSE;
}

static bool ends_with(const char *text, const char *end)
{
    return str_ends(str_of(text), str_of(end));
}

static const json_t *first_condition(const json_t *status)
{
    return json_array_get(json_object_get(status, "conditions"), 0);
}

static unsigned end_of(const json_t *condition)
{
    const char *reason = text_at(condition, "reason");

    if (strcmp(text_at(condition, "status"), "True") == 0)
        return MAY_SUCCEED;
    if (strcmp(reason, "ReconciliationFailed") == 0)
        return MAY_FAIL;
    if (strcmp(reason, "Superseded") == 0)
        return MAY_SUPERSEDE;
    if (ends_with(reason, "TimedOut"))
        return MAY_EXPIRE;
    return ends_with(reason, "RunCancelled") ? MAY_CANCEL : 0;
}

/* What a PATCH does, as a bit of the oracle's; 0: something unheard of. */
static unsigned action_in(const json_t *status, const struct state *at)
{
    const json_t *condition = first_condition(status);
    const json_t *entries = json_object_get(status, "retriesStatus");

    if (strcmp(text_at(condition, "type"), "Succeeded") != 0)
        return 0;
    if (strcmp(text_at(condition, "status"), "Unknown") != 0)
        return end_of(condition);
    if (entries) {
        const json_t *last = json_array_get(entries, json_array_size(entries) - 1);
        unsigned end = end_of(first_condition(last));
        return end == MAY_FAIL ? MAY_RETRY_FAILED : end == MAY_EXPIRE ? MAY_RETRY_EXPIRED : 0;
    }
    if (json_object_get(status, "extraFields"))
        return MAY_RETRY_FAILED | MAY_RETRY_EXPIRED;
    return at->outcome == OUTCOME_UNKNOWN && at->start_ms != NO_TIME ? MAY_WAIT : MAY_START;
}

static void describe(unsigned actions, struct text *out)
{
    static const char *const words[] = {"wait",
                                        "start",
                                        "succeed",
                                        "fail",
                                        "supersede",
                                        "expire",
                                        "cancel",
                                        "retry after failure",
                                        "retry after timeout"};

    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (actions & 1u << i)
            text_addf(out, "%s%s", out->len ? " or " : "", words[i]);
}

static void fail_actions(struct sim *s, unsigned life, const char *what, unsigned done, unsigned allowed)
{
    char done_text[256], allowed_text[256];
    struct text d, a;

    text_init(&d, done_text, sizeof done_text);
    text_init(&a, allowed_text, sizeof allowed_text);
    describe(done, &d);
    describe(allowed, &a);
    sim_fail(s, "w%u (uid-%u): %s \"%s\", and the events say: %s", s->lives[life].slot, life, what, done_text,
             allowed_text);
}

/* ---- requests ---- */

static void count_request(struct sim *s, struct life *l, unsigned life)
{
    if (s->now_ms - l->minute_ms >= MINUTE) {
        l->minute_ms = s->now_ms;
        l->in_minute = 0;
    }
    if (++l->in_minute > A_MINUTE_MOST)
        sim_fail(s, "uid-%u: %u requests within a minute", life, l->in_minute);
}

static const struct state *decided_on(struct sim *s, const struct request *r, const json_t *body)
{
    const json_t *metadata = json_object_get(body, "metadata");
    unsigned long long version = strtoull(text_at(metadata, "resourceVersion"), NULL, 10);
    unsigned long long at = version - s->states[0].version;
    char path[PATH_MOST];

    if (json_object_size(body) != 2 || json_object_size(metadata) != 1 || !json_object_get(body, "status"))
        sim_fail(s, "a PATCH touches more than the status: %s", r->body);
    if (r->life < 0 || at >= s->n_states) {
        sim_fail(s, "a PATCH does not say on which version it was decided: %s", r->body);
        return NULL;
    }
    api_path(s, (unsigned)r->life, path);
    if (strncmp(r->path, path, strlen(path)) != 0 || strcmp(r->path + strlen(path), "/status") != 0)
        sim_fail(s, "the version in a PATCH of %s belongs to %s", r->path, path);
    return &s->states[at];
}

static void check_explanation(struct sim *s, const struct life *l)
{
    if (s->now_ms - l->written_ms < 10 * SECOND)
        sim_fail(s, "w%u is explained again after %lld ms", l->slot, (long long)(s->now_ms - l->written_ms));
    if (s->now_ms - s->explained_ms < 190)
        sim_fail(s, "two explanations within %lld ms", (long long)(s->now_ms - s->explained_ms));
    s->explained_ms = s->now_ms;
}

/* A new attempt begins after all that the last one has seen: no failure known by now may end it too. */
static void check_attempt(struct sim *s, unsigned life, const json_t *status)
{
    const char *text = text_at(json_object_get(status, "extraFields"), "attemptStartTime");
    int64_t begin = INT64_MIN;

    if (!time_parse(str_of(text), &begin) || strncmp(text, text_at(status, "startTime"), 19) != 0)
        sim_fail(s, "uid-%u: an attempt begins at %s, with startTime %s", life, text,
                 text_at(status, "startTime"));
    for (unsigned i = 0; i < s->n_said; i++) {
        const struct said *e = &s->said[i];
        if (e->acknowledged && !e->repeat && e->class == CLASS_FAILURE &&
            e->revision == (int)s->lives[life].asked.revision && e->received_ms >= begin)
            sim_fail(s, "uid-%u: event %u counts for the attempt that it has ended, and for the next", life,
                     i);
    }
}

void check_handed_in(struct sim *s, struct request *r, const json_t *body)
{
    if (r->life >= 0)
        count_request(s, &s->lives[r->life], (unsigned)r->life);
    if (s->now_ms < s->asked_hold_ms)
        sim_fail(s, "a request %lld ms before the end of a Retry-After",
                 (long long)(s->asked_hold_ms - s->now_ms));
    if (r->kind != A_PATCH)
        return;
    const struct state *at = decided_on(s, r, body);
    if (!at)
        return;
    struct life *l = &s->lives[r->life];
    unsigned life = (unsigned)r->life;
    const json_t *status = json_object_get(body, "status");
    unsigned does = action_in(status, at);
    unsigned may = oracle(s, at);
    int64_t start;
    if (l->asked.foreign)
        sim_fail(s, "a PATCH of w%u (uid-%u), which is somebody else's", l->slot, life);
    if (has_ended(at) || at->deleting || at->deleted)
        sim_fail(s, "a PATCH of w%u (uid-%u), which has ended or is being deleted", l->slot, life);
    if (l->under_way > 0)
        sim_fail(s, "w%u (uid-%u) has two PATCHes under way", l->slot, life);
    if (!(does & may))
        fail_actions(s, life, "it is decided to", does, may);
    if (!r->urgent)
        check_explanation(s, l);
    if (does & (MAY_RETRY_FAILED | MAY_RETRY_EXPIRED))
        check_attempt(s, life, status);
    if (time_parse(str_of(text_at(status, "startTime")), &start) && at->start_ms == NO_TIME &&
        l->tried_ms == NO_TIME)
        l->tried_ms = start;
    l->written_ms = s->now_ms;
    if (s->tracing) {
        char text[128];
        struct text t;
        text_init(&t, text, sizeof text);
        describe(does, &t);
        sim_trace(s, "the controller decides on w%u (uid-%u) version %llu: %s", l->slot, life,
                  (unsigned long long)at->version, text);
    }
}

static void check_end(struct sim *s, struct life *l, unsigned life)
{
    json_t *status = json_object_get(l->object, "status");
    const json_t *condition = first_condition(status);
    int64_t start = 0, completion = 0;

    if (++l->ends > 1)
        sim_fail(s, "w%u (uid-%u) has ended twice", l->slot, life);
    if (!time_parse(str_of(text_at(status, "startTime")), &start) ||
        !time_parse(str_of(text_at(status, "completionTime")), &completion) || completion < start)
        sim_fail(s, "w%u (uid-%u) ends at %s, before its start at %s", l->slot, life,
                 text_at(status, "completionTime"), text_at(status, "startTime"));
    if (json_array_size(json_object_get(status, "results")) != 8)
        sim_fail(s, "w%u (uid-%u) ends without the full set of results", l->slot, life);
    unsigned end = end_of(condition);
    if (end == 0)
        sim_fail(s, "w%u (uid-%u) ends for no known reason: %s", l->slot, life, text_at(condition, "reason"));
    else
        s->counts->ends[__builtin_ctz(end)]++;
}

void check_accepted(struct sim *s, const struct request *r, const struct state *before,
                    const struct state *after)
{
    unsigned life = after->life;
    struct life *l = &s->lives[life];
    bool retry = after->retries_done == before->retries_done + 1;

    if (l->asked.foreign)
        sim_fail(s, "w%u (uid-%u) is somebody else's, and was written", l->slot, life);
    if (has_ended(before))
        sim_fail(s, "w%u (uid-%u) had ended as %s, and was written again: %s", l->slot, life, before->reason,
                 after->reason);
    if (before->start_ms != NO_TIME && !retry && strcmp(before->start, after->start) != 0)
        sim_fail(s, "w%u (uid-%u): startTime %s became %s", l->slot, life, before->start, after->start);
    if (after->start_ms == NO_TIME)
        sim_fail(s, "w%u (uid-%u) was written without a startTime", l->slot, life);
    if (after->retries_done != before->retries_done && !retry)
        sim_fail(s, "w%u (uid-%u): attempts went from %u to %u", l->slot, life, before->retries_done,
                 after->retries_done);
    if (after->retries_done > l->asked.retries)
        sim_fail(s, "w%u (uid-%u): %u retries of %u", l->slot, life, after->retries_done, l->asked.retries);
    if (l->asked.kind == KIND_RUN && json_object_get(json_object_get(l->object, "status"), "retriesStatus"))
        sim_fail(s, "w%u (uid-%u): a Run has no retriesStatus", l->slot, life);
    s->counts->retries += retry;
    if (has_ended(after)) {
        check_end(s, l, life);
        l->ended_by = l->out_of_sight ? 0 : r->process;
    }
}

void check_event(struct sim *s, const char *path, struct str body)
{
    json_t *event = json_loadb(body.at, body.len, 0, NULL);
    const char *uid = text_at(json_object_get(event, "involvedObject"), "uid");
    const char *reason = text_at(event, "reason");
    unsigned life = strlen(uid) > 4 ? (unsigned)strtoul(uid + 4, NULL, 10) : UINT32_MAX;
    bool had = strcmp(reason, "StatusRefused") == 0, end = false;

    for (unsigned i = 0; i < s->n_states && !had; i++)
        if (s->states[i].life == life && strcmp(s->states[i].reason, reason) == 0) {
            had = true;
            end = has_ended(&s->states[i]);
        }
    sim_trace(s, "an Event tells of uid-%u: %s", life, reason);
    if (life >= s->n_lives || !had)
        sim_fail(s, "an Event at %s tells what never was: %.*s", path, STR_ARG(body));
    else if (end && ++s->lives[life].end_events > 1)
        sim_fail(s, "uid-%u: its end is told twice", life);
    json_decref(event);
}

/* ---- debts ---- */

/* What the oracle says, asked again when something is new. */
static unsigned allowed(struct sim *s, struct life *l)
{
    if (l->looked_state != l->current || l->looked_said != s->n_acknowledged ||
        s->now_ms - l->looked_ms >= 500 || l->allowed == 0) {
        l->looked_state = l->current;
        l->looked_said = s->n_acknowledged;
        l->looked_ms = s->now_ms;
        l->allowed = oracle(s, &s->states[l->current]);
    }
    return l->allowed;
}

static bool is_settled(const struct sim *s, const struct life *l)
{
    const struct state *state = &s->states[l->current];
    bool jumped = s->offset_least_ms != s->offset_most_ms;

    if (l->asked.foreign || has_ended(state) || state->deleting)
        return true;
    return l->known != state->version || l->asking > 0 || s->now_ms < l->paused_ms ||
           s->now_ms < s->hold_ms + OWED_MS || (jumped && l->asked.fail_after_ms > 0);
}

void check_owed(struct sim *s, bool settled)
{
    if (!s->up || (settled && s->turning))
        return;
    for (unsigned i = 0; i < SLOTS; i++) {
        if (s->slots[i] < 0)
            continue;
        struct life *l = &s->lives[s->slots[i]];
        if (!settled) {
            if (l->overdue_ms != NO_TIME && s->now_ms - l->overdue_ms > (s->outage ? OUTAGE_MS : OWED_MS))
                fail_actions(s, (unsigned)s->slots[i], "for too long nothing is done, not even", MAY_WAIT,
                             allowed(s, l));
        } else if (is_settled(s, l) || (allowed(s, l) & MAY_WAIT)) {
            l->overdue_ms = NO_TIME;
        } else if (l->overdue_ms == NO_TIME) {
            l->overdue_ms = s->now_ms;
        }
    }
}

void check_quiet(struct sim *s)
{
    struct controller_stats stats;
    uint64_t waiting = 0, under_way = 0;

    if (s->failure[0])
        return;
    if (!s->up) {
        sim_fail(s, "the process is not up");
        return;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (s->slots[i] < 0)
            continue;
        const struct life *l = &s->lives[s->slots[i]];
        const struct state *state = &s->states[l->current];
        if (l->asked.foreign || has_ended(state))
            continue;
        waiting++;
        unsigned may = oracle(s, state);
        if (!(may & MAY_WAIT) && l->asking == 0)
            fail_actions(s, (unsigned)s->slots[i], "after minutes of calm it still has to", MAY_WAIT, may);
        under_way += l->asking > 0;
        if (l->asking > 0 && s->now_ms - l->written_ms > 30 * SECOND)
            sim_fail(s, "w%u: a request is under way after minutes of calm", l->slot);
    }
    controller_get_stats(s->controller, &stats);
    if (stats.waiting != waiting || stats.in_flight != under_way)
        sim_fail(s, "%llu Runs wait, the controller counts %llu, and %llu requests under way",
                 (unsigned long long)waiting, (unsigned long long)stats.waiting,
                 (unsigned long long)stats.in_flight);
}

void check_ended(struct sim *s)
{
    for (unsigned i = 0; i < s->n_lives; i++) {
        const struct life *l = &s->lives[i];
        if (l->gone || l->asked.foreign)
            continue;
        if (l->ends != 1)
            sim_fail(s, "w%u (uid-%u) ended %u times", l->slot, i, l->ends);
        if (l->ended_by == s->process && l->end_events != 1)
            sim_fail(s, "w%u (uid-%u) has ended, and no Event tells it", l->slot, i);
    }
}
