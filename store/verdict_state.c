/* The state of one object for a revision, by the rules in verdict.h.
 *
 * A record stands for all statements merged into it, from its first to its last. Where two records are put in
 * order, the last one counts; where it is asked since when, the first one does, unless the other record lies
 * between them.
 *
 * Invariant: a pure function; the records are looked at in order of sequence, so that the answer is one even
 * where the order of records has a cycle (arrival and timestamps mixed within one second).
 */
#include "store/verdict_priv.h"

static int64_t to_seconds(int64_t ms)
{
    return ms / 1000 - (ms % 1000 < 0);
}

bool record_before(const struct record *a, const struct record *b)
{
    int64_t at = to_seconds(a->last.effective_ms), bt = to_seconds(b->last.effective_ms);
    bool a_fails = a->class == CLASS_FAILURE, b_fails = b->class == CLASS_FAILURE;

    /* Arrivals are the order of sequence, but for a record onto which a later one was coalesced. */
    if (a->last.by_arrival && b->last.by_arrival)
        return a->last.effective_ms != b->last.effective_ms ? a->last.effective_ms < b->last.effective_ms
                                                            : a->seq < b->seq;
    if (at != bt)
        return at < bt;
    return a_fails != b_fails ? b_fails : a->seq < b->seq;
}

struct str record_revision(const struct record *r)
{
    if (r->revision.len > 0)
        return r->revision;
    return r->origin_revision.len > 0 ? r->origin_revision : r->commit;
}

enum which { ABOUT_REVISION, ABOUT_ANYTHING };

/* The latest of the object's records of one class, or (decisive) of success and failure, or (-1) of all.
 * Failures that an earlier attempt already met do not count. */
enum { ANY_CLASS = -1, DECISIVE = -2 };
static const struct record *latest(const struct view_object *o, enum which which, int class,
                                   int64_t failures_from_ms)
{
    const struct record *best = NULL;

    for (size_t i = 0; i < o->n; i++) {
        const struct record *r = o->items[i].r;
        if ((which == ABOUT_REVISION && !o->items[i].concerns) || (class == DECISIVE && !record_decides(r)) ||
            (class >= 0 && (int)r->class != class) ||
            (r->class == CLASS_FAILURE && class != ANY_CLASS && r->last.received_ms < failures_from_ms))
            continue;
        if (!best || !record_before(r, best))
            best = r;
    }
    return best;
}

/* From when a record speaks, after another one. */
static int64_t speaks_from(const struct record *r, const struct record *after)
{
    bool spans = after && !(r->first.by_arrival && after->last.by_arrival) &&
                 to_seconds(r->first.effective_ms) < to_seconds(after->last.effective_ms);

    return spans ? r->last.effective_ms : r->first.effective_ms;
}

/* Since when the object says what `word` says: the earliest record of its class after `after` (NULL: of all).
 */
static int64_t said_since(const struct view_object *o, const struct record *word, const struct record *after,
                          int64_t failures_from_ms)
{
    int64_t since_ms = speaks_from(word, after);

    for (size_t i = 0; i < o->n; i++) {
        const struct record *r = o->items[i].r;
        if (!o->items[i].concerns || r->class != word->class || (after && !record_before(after, r)) ||
            (r->class == CLASS_FAILURE && r->last.received_ms < failures_from_ms))
            continue;
        if (speaks_from(r, after) < since_ms)
            since_ms = speaks_from(r, after);
    }
    return since_ms;
}

/* Since when the object says what came instead: its earliest success for that revision after `word`. */
static int64_t replaced_since(const struct view_object *o, const struct record *by, const struct record *word)
{
    int64_t since_ms = speaks_from(by, word);

    for (size_t i = 0; i < o->n; i++) {
        const struct record *r = o->items[i].r;
        if (r->class == CLASS_SUCCESS && !o->items[i].concerns && (!word || record_before(word, r)) &&
            speaks_from(r, word) < since_ms && str_eq(record_revision(r), record_revision(by)))
            since_ms = speaks_from(r, word);
    }
    return since_ms;
}

/* When a reporter first spoke of a revision; at_ms is INT64_MAX when it never did. */
struct sighting {
    int64_t at_ms;
    bool by_arrival;
};

static void note(struct sighting *s, const struct record *r, int64_t since_ms)
{
    /* What was said before `since` was not said: a record that began before it is first seen at it. */
    int64_t at_ms = r->first.effective_ms < since_ms ? since_ms : r->first.effective_ms;

    if (at_ms < s->at_ms)
        *s = (struct sighting){at_ms, r->first.by_arrival};
}

/* Equal times are no evidence, and a timestamp has whole seconds. */
static bool seen_after(struct sighting s, struct sighting r)
{
    if (s.at_ms == INT64_MAX || r.at_ms == INT64_MAX)
        return false;
    if (s.by_arrival && r.by_arrival)
        return s.at_ms > r.at_ms;
    return to_seconds(s.at_ms) > to_seconds(r.at_ms);
}

/* Whether two records speak of the same revision, each in its own way: a chart built from a commit, and the
 * commit. */
static bool same_revision(const struct record *a, const struct record *b)
{
    struct revision revision_a = revision_parse(record_revision(a)),
                    revision_b = revision_parse(record_revision(b));
    struct revision_set set_a = revision_set_of(a), set_b = revision_set_of(b);

    return revision_match(&revision_a, &set_b).level == MATCH_EXACT ||
           revision_match(&revision_b, &set_a).level == MATCH_EXACT;
}

/* Whether this reporter first spoke of the success's revision after it first spoke of the one asked for. */
static bool shows_order(const struct view *v, const struct view_object *reporter,
                        const struct record *success)
{
    struct sighting asked = {INT64_MAX, false}, other = {INT64_MAX, false};

    if (!reporter->reported)
        return false;
    for (size_t i = 0; i < reporter->n; i++) {
        if (reporter->items[i].concerns)
            note(&asked, reporter->items[i].r, v->q->since_ms);
        else if (same_revision(reporter->items[i].r, success))
            note(&other, reporter->items[i].r, v->q->since_ms);
    }
    return seen_after(other, asked);
}

static bool superseded(const struct view *v, const struct view_object *o, const struct record *success)
{
    if (shows_order(v, o, success))
        return true;
    for (size_t i = 0; i < v->n_objects; i++) {
        const struct view_object *source = &v->objects[i];
        if (is_source(source->items[0].r->kind) && str_eq(source->items[0].r->cluster, success->cluster) &&
            shows_order(v, source, success))
            return true;
    }
    return false;
}

/* The object's newest success or failure when that is a success for another revision; NULL otherwise. */
static const struct record *other_success(const struct view_object *o)
{
    const struct record *newest = latest(o, ABOUT_ANYTHING, DECISIVE, INT64_MIN);

    if (!newest || newest->class != CLASS_SUCCESS || record_revision(newest).len == 0)
        return NULL;
    for (size_t i = 0; i < o->n; i++)
        if (o->items[i].r == newest && o->items[i].concerns)
            return NULL;
    return newest;
}

static void judge_failing(const struct view *v, struct object_state *s, const struct record *word,
                          struct verdict_now now)
{
    const struct view_object *o = s->object;
    const struct record *success = latest(o, ABOUT_REVISION, CLASS_SUCCESS, INT64_MIN);

    /* A wall clock that has stepped back does not take back what was received: time has come at least that far. */
    int64_t now_ms = now.wall_ms > word->last.received_ms ? now.wall_ms : word->last.received_ms;

    s->fails = true;
    s->failing_since_ms = said_since(o, word, success, now.failures_from_ms);
    if (__builtin_add_overflow(s->failing_since_ms, v->q->fail_after_ms, &s->fails_at_ms))
        s->fails_at_ms = INT64_MAX;
    if (now_ms >= s->fails_at_ms) {
        s->state = VERDICT_FAILED;
        s->from_ms = s->fails_at_ms;
    }
}

struct object_state object_judge(const struct view *v, const struct view_object *o, struct verdict_now now)
{
    const struct record *any = o->items[0].r;
    const struct record *word = latest(o, ABOUT_REVISION, DECISIVE, now.failures_from_ms);
    struct object_state s = {.object = o,
                             .cluster = any->cluster,
                             .kind = any->kind,
                             .namespace = any->namespace,
                             .name = any->name,
                             .state = VERDICT_WAITING,
                             .reported = o->reported,
                             .by = other_success(o)};

    if (word && word->class == CLASS_SUCCESS) {
        const struct record *failure = latest(o, ABOUT_REVISION, CLASS_FAILURE, now.failures_from_ms);
        s.state = VERDICT_SUCCEEDED;
        s.from_ms = said_since(o, word, failure, INT64_MIN);
        s.word = word;
        s.by_ms = s.by ? replaced_since(o, s.by, word) : 0;
        return s;
    }
    if (word)
        judge_failing(v, &s, word, now);
    s.by_ms = s.by ? replaced_since(o, s.by, word) : 0;
    if (s.by && superseded(v, o, s.by)) {
        s.state = VERDICT_SUPERSEDED;
        s.from_ms = s.by_ms;
    } else {
        s.by = NULL;
    }
    s.word = s.state == VERDICT_FAILED ? word : latest(o, ABOUT_REVISION, ANY_CLASS, INT64_MIN);
    return s;
}
