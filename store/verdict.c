/* The verdict over all objects, and its life (see verdict.h; verdict_priv.h says what is where).
 *
 * Each object is judged by itself; here the judgements are gathered into entries (one for each object asked
 * for, with all clusters that have one of that name; or one for each object that reported the revision), and
 * the entries into one verdict. The verdict is one block of memory: its objects, their text, the explanation.
 *
 * Invariant: a pure function of its arguments. Failure mode: out of memory, NULL.
 */
#include "store/verdict.h"

#include <stdlib.h>

#include "store/verdict_priv.h"

const char *verdict_state_text(enum verdict_state state)
{
    static const char *const texts[] = {
#define X(id, text) [id] = text,
        VERDICT_STATES(X)
#undef X
    };
    return texts[state];
}

/* --- judging --- */

struct gathering {
    struct view view;
    struct object_state *states;
    size_t n;
};

static struct question_object name_of(const struct view_object *o)
{
    const struct record *r = o->items[0].r;

    return (struct question_object){r->kind, r->namespace, r->name};
}

static bool same_name(struct question_object a, struct question_object b)
{
    return str_eq(a.kind, b.kind) && str_eq(a.namespace, b.namespace) && str_eq(a.name, b.name);
}

/* States of the object asked for, in each cluster that has something to say about it; at least one. */
static void judge_asked(struct gathering *g, struct question_object asked, struct verdict_now now)
{
    size_t before = g->n;

    for (size_t i = 0; i < g->view.n_objects; i++) {
        if (!same_name(name_of(&g->view.objects[i]), asked))
            continue;
        struct object_state s = object_judge(&g->view, &g->view.objects[i], now);
        s.asked = true;
        if (s.reported || s.state == VERDICT_SUPERSEDED)
            g->states[g->n++] = s;
    }
    if (g->n == before)
        g->states[g->n++] = (struct object_state){.cluster = g->view.q->cluster,
                                                  .kind = asked.kind,
                                                  .namespace = asked.namespace,
                                                  .name = asked.name,
                                                  .state = VERDICT_WAITING,
                                                  .asked = true};
}

static bool is_asked(const struct question *q, const struct view_object *o)
{
    for (size_t i = 0; i < q->n_objects; i++)
        if (same_name(q->objects[i], name_of(o)))
            return true;
    return false;
}

static bool judge_objects(struct gathering *g, struct verdict_now now)
{
    const struct question *q = g->view.q;

    g->states = calloc(g->view.n_objects + q->n_objects + 1, sizeof *g->states);
    if (!g->states)
        return false;
    for (size_t i = 0; i < q->n_objects; i++)
        judge_asked(g, q->objects[i], now);
    for (size_t i = 0; i < g->view.n_objects; i++) {
        const struct view_object *o = &g->view.objects[i];
        if (!o->reported || is_asked(q, o))
            continue;
        g->states[g->n] = object_judge(&g->view, o, now);
        g->states[g->n++].asked = q->n_objects == 0;
    }
    return true;
}

/* One thing that has to succeed. */
struct entry {
    enum verdict_state state;
    const struct object_state *who;
    int64_t at_ms;
};

/* Which of two clusters' objects speaks for their entry: a failure, else a success, else superseded, else
 * waiting. */
static int rank(enum verdict_state state)
{
    switch (state) {
    case VERDICT_WAITING: return 0;
    case VERDICT_SUPERSEDED: return 1;
    case VERDICT_SUCCEEDED: return 2;
    case VERDICT_FAILED: return 3;
    case VERDICT_AMBIGUOUS: return 4;
    }
    return 0;
}

static enum verdict_state counts_as(const struct question *q, enum verdict_state state)
{
    if (state != VERDICT_SUPERSEDED)
        return state;
    switch (q->on_superseded) {
    case SUPERSEDED_FAIL: return VERDICT_SUPERSEDED;
    case SUPERSEDED_WAIT: return VERDICT_WAITING;
    case SUPERSEDED_SUCCEED: return VERDICT_SUCCEEDED;
    }
    return state;
}

static void entry_add(const struct question *q, struct entry *e, const struct object_state *s)
{
    enum verdict_state state = counts_as(q, s->state);

    if (!e->who || rank(state) > rank(e->state) || (state == e->state && s->from_ms < e->at_ms))
        *e = (struct entry){state, s, s->from_ms};
}

/* The entries; `entries` has room for as many as there are states. */
static size_t gather_entries(const struct gathering *g, struct entry *entries)
{
    const struct question *q = g->view.q;
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++) {
        const struct object_state *s = &g->states[i];
        struct question_object name = {s->kind, s->namespace, s->name};
        if (!s->asked)
            continue;
        /* States of one entry stand together. */
        bool goes_on =
            q->n_objects > 0 && n > 0 &&
            same_name(name, (struct question_object){g->states[i - 1].kind, g->states[i - 1].namespace,
                                                     g->states[i - 1].name});
        if (!goes_on)
            entries[n++] = (struct entry){0};
        entry_add(q, &entries[n - 1], s);
    }
    return n;
}

static const struct entry *earliest(const struct entry *entries, size_t n, enum verdict_state state)
{
    const struct entry *best = NULL;

    for (size_t i = 0; i < n; i++)
        if (entries[i].state == state && (!best || entries[i].at_ms < best->at_ms))
            best = &entries[i];
    return best;
}

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int order = (a->at_ms > b->at_ms) - (a->at_ms < b->at_ms);

    return order != 0 ? order : (a->who > b->who) - (a->who < b->who);
}

/* The entry with which the needed number was reached; NULL: not yet. */
static const struct entry *completing(struct entry *entries, size_t n, uint32_t needed)
{
    uint32_t succeeded = 0;

    qsort(entries, n, sizeof *entries, compare_entries);
    for (size_t i = 0; i < n; i++)
        if (entries[i].state == VERDICT_SUCCEEDED && ++succeeded == needed)
            return &entries[i];
    return NULL;
}

static int64_t next_wake(const struct gathering *g)
{
    int64_t wake_ms = INT64_MAX;

    for (size_t i = 0; i < g->n; i++) {
        const struct object_state *s = &g->states[i];
        if (s->asked && s->fails && s->state == VERDICT_WAITING && s->fails_at_ms < wake_ms)
            wake_ms = s->fails_at_ms;
    }
    return wake_ms;
}

static struct judgement judge_entries(const struct gathering *g, struct entry *entries, size_t n)
{
    struct judgement j = {.state = VERDICT_WAITING, .wake_at_ms = INT64_MAX};
    const struct entry *decided = earliest(entries, n, VERDICT_FAILED);

    j.needed = g->view.q->n_objects > 0 ? (uint32_t)n : g->view.q->expect;
    for (size_t i = 0; i < n; i++)
        j.succeeded += entries[i].state == VERDICT_SUCCEEDED;
    if (!decided)
        decided = earliest(entries, n, VERDICT_SUPERSEDED);
    if (!decided)
        decided = completing(entries, n, j.needed);
    if (!decided) {
        j.wake_at_ms = next_wake(g);
        return j;
    }
    j.state = decided->state;
    j.decider = decided->who;
    j.decided_ms = decided->at_ms;
    return j;
}

/* When the second of several hashes behind a short one was first seen, and by whom. */
static struct judgement judge_ambiguous(const struct gathering *g)
{
    const struct view *v = &g->view;
    struct judgement j = {.state = VERDICT_AMBIGUOUS, .wake_at_ms = INT64_MAX, .decided_ms = INT64_MAX};
    const struct view_item *first = NULL;

    for (size_t i = 0; i < v->n_items; i++)
        if (v->items[i].concerns &&
            (!first || v->items[i].r->first.effective_ms < first->r->first.effective_ms))
            first = &v->items[i];
    for (size_t i = 0; first && i < v->n_items; i++) {
        const struct view_item *item = &v->items[i];
        bool other =
            item->concerns && (item->match.n_candidates > 1 ||
                               !str_eq_nocase(item->match.candidates[0], first->match.candidates[0]));
        if (other && item->r->first.effective_ms < j.decided_ms)
            j.decided_ms = item->r->first.effective_ms;
    }
    for (size_t i = 0; i < g->n; i++)
        if (g->states[i].reported) {
            g->states[i].state = VERDICT_AMBIGUOUS;
            j.decider = j.decider ? j.decider : &g->states[i];
        }
    return j;
}

/* --- the result --- */

struct block {
    struct verdict v; /* first: a struct verdict * is the block */
    size_t used;
    struct verdict_object objects[];
};

static size_t text_size(const struct object_state *s, const struct record *shown)
{
    size_t n = s->cluster.len + s->kind.len + s->namespace.len + s->name.len;

    if (shown)
        n += shown->reason.len + shown->message.len + record_revision(shown).len + 2;
    return n + (s->by ? record_revision(s->by).len : 0);
}

static struct str keep(struct block *b, char *area, struct str s)
{
    char *at = area + b->used;

    if (s.len > 0)
        memcpy(at, s.at, s.len);
    b->used += s.len;
    return (struct str){at, s.len};
}

/* As one line for people. It never gets longer, and one byte is for text's NUL. */
static struct str keep_clean(struct block *b, char *area, struct str s)
{
    struct text t;

    text_init(&t, area + b->used, s.len + 1);
    text_add_clean(&t, s);
    b->used += s.len + 1;
    return text_str(&t);
}

/* The record that decided the object's state or, while waiting, its last word. */
static const struct record *shown_record(const struct object_state *s)
{
    return s->state == VERDICT_SUPERSEDED ? s->by : s->word;
}

static struct verdict_object keep_object(struct block *b, char *area, const struct view *v,
                                         const struct object_state *s)
{
    const struct record *r = shown_record(s);
    struct verdict_object o = {.cluster = keep(b, area, s->cluster),
                               .kind = keep(b, area, s->kind),
                               .namespace = keep(b, area, s->namespace),
                               .name = keep(b, area, s->name),
                               .state = s->state,
                               .suspended = object_is_suspended(v, s),
                               .reported = s->reported,
                               .failing_since_ms = s->fails ? s->failing_since_ms : 0};

    if (r) {
        o.seq = r->seq;
        o.reason = keep_clean(b, area, r->reason);
        o.message = keep_clean(b, area, str_cut_utf8(r->message, RECORD_MESSAGE_MAX));
        o.revision = keep(b, area, record_revision(r));
        o.effective_ms = r->last.effective_ms;
        o.received_ms = r->last.received_ms;
    }
    if (s->by) {
        o.superseded_by = keep(b, area, record_revision(s->by));
        o.superseded_ms = s->by_ms;
    }
    return o;
}

/* Of whatever decides, counts or does not: a failure that is not the latest may be the one received last. */
static int64_t heard_last(const struct view *v)
{
    int64_t heard_ms = INT64_MIN;

    for (size_t i = 0; i < v->n_items; i++)
        if (v->items[i].concerns && v->items[i].r->last.received_ms > heard_ms)
            heard_ms = v->items[i].r->last.received_ms;
    return heard_ms;
}

static struct verdict *build(const struct gathering *g, const struct judgement *j, struct str explanation)
{
    size_t objects_size = g->n * sizeof(struct verdict_object), text = explanation.len;

    for (size_t i = 0; i < g->n; i++)
        text += text_size(&g->states[i], shown_record(&g->states[i]));
    struct block *b = calloc(1, sizeof *b + objects_size + text);
    if (!b)
        return NULL;
    char *area = (char *)b->objects + objects_size;
    for (size_t i = 0; i < g->n; i++)
        b->objects[i] = keep_object(b, area, &g->view, &g->states[i]);
    b->v = (struct verdict){.state = j->state,
                            .decider = j->decider ? &b->objects[j->decider - g->states] : NULL,
                            .objects = b->objects,
                            .n_objects = g->n,
                            .wake_at_ms = j->wake_at_ms,
                            .decided_ms = j->decided_ms,
                            .heard_ms = heard_last(&g->view),
                            .explanation = keep(b, area, explanation)};
    return &b->v;
}

struct verdict *verdict_new(const struct question *q, const struct record *records, size_t n,
                            struct verdict_now now)
{
    struct gathering g = {0};
    struct entry *entries = NULL;
    struct verdict *v = NULL;
    char explanation[VERDICT_EXPLANATION];
    struct judgement j;
    struct text t;

    if (!view_init(&g.view, q, records, n) || !judge_objects(&g, now))
        goto out;
    entries = calloc(g.n + 1, sizeof *entries);
    if (!entries)
        goto out;
    if (g.view.ambiguous)
        j = judge_ambiguous(&g);
    else
        j = judge_entries(&g, entries, gather_entries(&g, entries));
    g.view.facts = now.facts;
    text_init(&t, explanation, sizeof explanation);
    explain(&t, &g.view, &j, g.states, g.n, records, n);
    v = build(&g, &j, text_str(&t));

out:
    free(entries);
    free(g.states);
    view_free(&g.view);
    return v;
}

void verdict_free(struct verdict *v)
{
    free(v);
}
