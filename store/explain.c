/* A verdict in one sentence (see verdict_priv.h).
 *
 * What records say is written by strangers: it goes through text_add_clean, cut short. The sentence changes
 * only when what an object says changes, not when it says the same again: the time of a record that stands
 * for repeated statements is that of the first. Failure mode: too much to say; it is cut, and what decided
 * stands first.
 */
#include <inttypes.h>

#include "store/units.h"
#include "store/verdict_priv.h"

#define SHOWN_MESSAGE    200 /* bytes */
#define SHOWN_NAME       256
#define SHOWN_CANDIDATES 4
#define SHOWN_OBJECTS    12

static void add_short(struct text *t, struct str s, size_t max)
{
    text_add_clean(t, str_cut_utf8(s, max));
    if (s.len > max)
        text_add(t, STR("..."));
}

static void add_time(struct text *t, const char *before, int64_t ms)
{
    char out[TIME_TEXT];

    text_addf(t, "%s%s", before, time_format(ms, out));
}

static void add_revision(struct text *t, const struct view *v)
{
    text_add(t, STR("revision "));
    add_short(t, v->asked.text, SHOWN_NAME);
}

static void add_object(struct text *t, const struct object_state *s)
{
    if (s->kind.len + s->namespace.len + s->name.len == 0) {
        text_add(t, STR("an event without object"));
    } else {
        add_short(t, s->kind, SHOWN_NAME);
        text_add(t, STR("/"));
        add_short(t, s->namespace, SHOWN_NAME);
        text_add(t, STR("/"));
        add_short(t, s->name, SHOWN_NAME);
    }
    if (s->cluster.len > 0) {
        text_add(t, STR(" of cluster "));
        add_short(t, s->cluster, SHOWN_NAME);
    }
}

/* ` said BuildFailed at 2006-01-02T15:04:05Z ("message")` */
static void add_word(struct text *t, const struct record *r)
{
    text_add(t, r->count > 1 ? STR(" has said ") : STR(" said "));
    if (r->reason.len > 0)
        add_short(t, r->reason, SHOWN_NAME);
    else
        text_add(t, STR("something without reason"));
    add_time(t, r->count > 1 ? " since " : " at ", r->first.effective_ms);
    struct str message = str_trim(r->message);
    if (message.len > 0) {
        text_add(t, STR(" (\""));
        add_short(t, message, SHOWN_MESSAGE);
        text_add(t, STR("\")"));
    }
}

/* `main@sha1:... at 2006-01-02T15:04:05Z` */
static void add_other(struct text *t, const struct object_state *s)
{
    add_short(t, record_revision(s->by), SHOWN_NAME);
    add_time(t, " at ", s->by_ms);
}

bool object_is_suspended(const struct view *v, const struct object_state *s)
{
    const struct verdict_facts *facts = v->facts;

    return facts && facts->is_suspended && (!s->object || str_eq(s->cluster, facts->cluster)) &&
           (!v->q->has_cluster || str_eq(v->q->cluster, facts->cluster)) &&
           facts->is_suspended(facts->arg, s->kind, s->namespace, s->name);
}

/* Somebody wrote it as a command line does: kustomization/ns/name. */
static void add_other_case(struct text *t, const struct object_state *asked,
                           const struct object_state *states, size_t n)
{
    for (size_t i = 0; !asked->reported && i < n; i++) {
        if (!states[i].reported || !str_eq_nocase(states[i].kind, asked->kind) ||
            !str_eq_nocase(states[i].namespace, asked->namespace) ||
            !str_eq_nocase(states[i].name, asked->name))
            continue;
        text_add(t, STR(", but "));
        add_object(t, &states[i]);
        text_add(t, STR(" has: case matters"));
        return;
    }
}

static void add_awaited(struct text *t, const struct view *v, const struct object_state *s)
{
    add_object(t, s);
    if (s->state == VERDICT_SUPERSEDED) {
        text_add(t, STR(" went on to "));
        add_other(t, s);
    } else if (s->word) {
        add_word(t, s->word);
    } else {
        text_add(t, STR(" has not reported it"));
    }
    if (s->fails && s->state == VERDICT_WAITING) {
        add_time(t, ", fails since ", s->failing_since_ms);
        if (v->q->fail_after_ms > 0 && s->fails_at_ms < INT64_MAX)
            add_time(t, " and counts as failed from ", s->fails_at_ms);
    }
    if (object_is_suspended(v, s))
        text_add(t, STR(", and is suspended"));
}

/* A delivery that lets no success through looks like a deployment that never ends. */
static void add_only_errors(struct text *t, const struct view *v)
{
    const struct verdict_facts *facts = v->facts;

    if (facts && facts->only_errors_of_kustomizations)
        text_add(t, STR("; of Kustomizations only errors were ever notified, never a success: eventSeverity "
                        "of the Alert "
                        "must be info, and notification-controller must not be 1.8.0 to 1.8.3"));
    if (facts && facts->only_errors_of_helm_releases)
        text_add(t, STR("; of HelmReleases only errors were ever notified, never a success: eventSeverity of "
                        "the Alert "
                        "must be info"));
}

/* The form that would match, where the string asked for is a branch or too short. */
static void add_hint(struct text *t, const struct view *v, const struct record *records, size_t n)
{
    enum revision_hint hint = HINT_NONE;
    struct revision stored = {0};
    uint64_t seq = 0;

    for (size_t i = 0; i < n; i++) {
        struct revision_set set = revision_set_of(&records[i]);
        for (int m = 0; records[i].seq >= seq && m < REVISION_MEMBERS; m++) {
            if (revision_hint(&v->asked, set.member[m]) == HINT_NONE)
                continue;
            seq = records[i].seq;
            hint = revision_hint(&v->asked, set.member[m]);
            stored = revision_parse(set.member[m]);
            break;
        }
    }
    if (hint == HINT_NONE)
        return;
    text_add(t,
             hint == HINT_POINTER ? STR(", but it is the branch, tag or ref of ") : STR(", but it begins "));
    add_short(t, stored.text, SHOWN_NAME);
    text_add(t,
             hint == HINT_POINTER ? STR(", and a name stands only for itself: wait for ") : STR(": write "));
    if (!stored.git) {
        add_short(t, stored.algo, SHOWN_NAME);
        text_add(t, STR(":"));
    }
    if (hint == HINT_POINTER)
        add_short(t, stored.hex, SHOWN_NAME);
    else
        text_addf(t, "%.*s or more digits", REVISION_MIN_HEX, stored.hex.at);
}

static void explain_unseen(struct text *t, const struct view *v, const struct object_state *states, size_t n,
                           const struct record *records, size_t n_records)
{
    text_add(t, STR("no event of "));
    add_revision(t, v);
    if (v->q->has_cluster) {
        text_add(t, v->q->cluster.len ? STR(" from cluster ") : STR(" from an unnamed cluster"));
        add_short(t, v->q->cluster, SHOWN_NAME);
    }
    text_add(t, STR(" was received"));
    if (v->q->since_ms != INT64_MIN)
        add_time(t, " since ", v->q->since_ms);
    for (size_t i = 0; i < n && i < SHOWN_OBJECTS; i++) {
        text_add(t, i == 0 ? STR(", awaited from ") : STR(", "));
        add_object(t, &states[i]);
        if (object_is_suspended(v, &states[i]))
            text_add(t, STR(" (suspended)"));
    }
    if (n > SHOWN_OBJECTS)
        text_addf(t, " and %zu more", n - SHOWN_OBJECTS);
    add_hint(t, v, records, n_records);
    add_only_errors(t, v);
}

/* A source that reported the revision and has failed since: why nothing may come. Its errors name no
 * revision. */
static void add_source_failure(struct text *t, const struct object_state *s)
{
    const struct record *newest = NULL;

    for (size_t i = 0; s->object && i < s->object->n; i++)
        if (!newest || !record_before(s->object->items[i].r, newest))
            newest = s->object->items[i].r;
    if (!s->reported || !is_source(s->kind) || !newest || !str_eq(newest->severity, STR("error")))
        return;
    text_add(t, STR("; since then "));
    add_object(t, s);
    add_word(t, newest);
}

static void explain_waiting(struct text *t, const struct view *v, const struct judgement *j,
                            const struct object_state *states, size_t n)
{
    size_t shown = 0, left = 0;
    bool only_sources = v->q->n_objects == 0;

    text_add(t, STR("waiting for "));
    add_revision(t, v);
    if (j->needed > 1 || j->succeeded > 0)
        text_addf(t, ", %" PRIu32 " of %" PRIu32 " objects succeeded", j->succeeded, j->needed);
    for (size_t i = 0; i < n; i++) {
        if (!states[i].asked)
            continue;
        only_sources = only_sources && is_source(states[i].kind);
        if (states[i].state == VERDICT_SUCCEEDED)
            continue;
        if (shown == SHOWN_OBJECTS) {
            left++;
            continue;
        }
        text_add(t, shown++ == 0 ? STR(": ") : STR("; "));
        add_awaited(t, v, &states[i]);
        add_other_case(t, &states[i], states, n);
    }
    if (left > 0)
        text_addf(t, "; and %zu more", left);
    if (only_sources)
        text_add(t, STR("; no Kustomization or HelmRelease has reported it"));
    for (size_t i = 0; i < n; i++)
        add_source_failure(t, &states[i]);
    add_only_errors(t, v);
}

static void add_success(struct text *t, const struct object_state *s)
{
    add_object(t, s);
    if (s->state == VERDICT_SUPERSEDED) {
        text_add(t, STR(" went on to "));
        add_other(t, s);
        return;
    }
    add_word(t, s->word);
    if (s->by) {
        text_add(t, STR(", replaced by "));
        add_other(t, s);
    }
}

static void explain_succeeded(struct text *t, const struct view *v, const struct judgement *j,
                              const struct object_state *states, size_t n)
{
    add_revision(t, v);
    text_add(t, STR(" was reconciled: "));
    add_success(t, j->decider);
    for (size_t i = 0, shown = 1; i < n; i++) {
        bool counts = states[i].state == VERDICT_SUCCEEDED || states[i].state == VERDICT_SUPERSEDED;
        if (&states[i] == j->decider || !states[i].asked || !counts || shown++ >= SHOWN_OBJECTS)
            continue;
        text_add(t, STR("; "));
        add_success(t, &states[i]);
    }
}

static void explain_failed(struct text *t, const struct view *v, const struct object_state *s)
{
    char out[DURATION_TEXT];

    add_revision(t, v);
    text_add(t, STR(" failed: "));
    add_object(t, s);
    add_word(t, s->word);
    if (v->q->fail_after_ms > 0) {
        add_time(t, ", failing since ", s->failing_since_ms);
        text_addf(t, ", which is %s or longer", duration_format(v->q->fail_after_ms, out));
    }
}

static void explain_superseded(struct text *t, const struct view *v, const struct object_state *s)
{
    add_revision(t, v);
    text_add(t, STR(" was superseded: "));
    add_object(t, s);
    text_add(t, STR(" succeeded for "));
    add_other(t, s);
    if (s->word) {
        text_add(t, STR(", and for this revision it last"));
        add_word(t, s->word);
    } else {
        text_add(t, STR(", and never reported this revision"));
    }
}

static void explain_ambiguous(struct text *t, const struct view *v)
{
    struct str shown[SHOWN_CANDIDATES];
    size_t n = 0;
    bool more = false;

    add_revision(t, v);
    text_add(t, STR(" is ambiguous, it begins "));
    for (size_t i = 0; i < v->n_items; i++)
        for (size_t c = 0; v->items[i].concerns && c < v->items[i].match.n_candidates; c++) {
            struct str candidate = v->items[i].match.candidates[c];
            size_t known = 0;
            while (known < n && !str_eq_nocase(shown[known], candidate))
                known++;
            more = more || (known == n && n == SHOWN_CANDIDATES);
            if (known == n && n < SHOWN_CANDIDATES)
                shown[n++] = candidate;
        }
    for (size_t i = 0; i < n; i++) {
        text_add(t, i == 0 ? STR_NONE : i + 1 == n && !more ? STR(" and ") : STR(", "));
        add_short(t, shown[i], SHOWN_NAME);
    }
    text_add(t, more ? STR(" and others: write more digits") : STR(": write more digits"));
}

void explain(struct text *t, const struct view *v, const struct judgement *j,
             const struct object_state *states, size_t n_states, const struct record *records,
             size_t n_records)
{
    bool seen = false;

    for (size_t i = 0; i < n_states; i++)
        seen = seen || states[i].reported;
    switch (j->state) {
    case VERDICT_WAITING:
        if (seen)
            explain_waiting(t, v, j, states, n_states);
        else
            explain_unseen(t, v, states, n_states, records, n_records);
        break;
    case VERDICT_SUCCEEDED: explain_succeeded(t, v, j, states, n_states); break;
    case VERDICT_FAILED: explain_failed(t, v, j->decider); break;
    case VERDICT_SUPERSEDED: explain_superseded(t, v, j->decider); break;
    case VERDICT_AMBIGUOUS: explain_ambiguous(t, v); break;
    }
}
