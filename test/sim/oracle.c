/* What should become of a Run: the rules of the contract, applied to everything that Flux said and the process
 * acknowledged, without any of the product's code, index or memory.
 *
 * The answer is a set: at the edges of a deadline more than one thing may be right, since the API has whole seconds
 * and the wall clock may have jumped. Where it is not empty of doubt the set says so; where an object's events are
 * ranked partly by time and partly by arrival, their order has no meaning that two programs must share, and anything
 * goes.
 */
#include "sim.h"

#include "store/question.h"

enum verdict_word { SAYS_WAITING, SAYS_SUCCEEDED, SAYS_FAILED, SAYS_SUPERSEDED, SAYS_ANYTHING };

struct finding {
    enum verdict_word word;
    int64_t at_ms; /* since when */
};

struct look {
    const struct sim *s;
    const struct asked *asked;
    int64_t failures_from_ms;
    int64_t now_ms;
};

static bool counts(const struct said *e)
{
    return (e->acknowledged || e->presumed) && !e->repeat;
}

/* When it was said last, in whatever words: a failure counts when a repeat coalesced with it was received in time. */
static int64_t heard_ms(const struct sim *s, const struct said *e)
{
    int64_t newest_ms = e->received_ms;

    for (unsigned i = 0; i < s->n_said; i++) {
        const struct said *o = &s->said[i];
        if (counts(o) && o->record == e->record && o->received_ms > newest_ms)
            newest_ms = o->received_ms;
    }
    return newest_ms;
}

static bool decisive(const struct said *e)
{
    return e->class == CLASS_SUCCESS || e->class == CLASS_FAILURE;
}

static int64_t seconds(int64_t ms)
{
    return ms / 1000;
}

/* Which of two statements of one object was the earlier one. */
static bool before(const struct said *a, const struct said *b)
{
    if (a->by_arrival && b->by_arrival)
        return a->arrival < b->arrival;
    if (seconds(a->effective_ms) != seconds(b->effective_ms))
        return a->effective_ms < b->effective_ms;
    if (a->class != b->class)
        return b->class == CLASS_FAILURE;
    return a->arrival < b->arrival;
}

/* A clock that jumped back makes an event with a time look as if it came from the future. */
static bool is_mixed(const struct sim *s)
{
    for (unsigned i = 0; i < s->n_said; i++)
        if (counts(&s->said[i]) && s->said[i].by_arrival && s->said[i].has_timestamp)
            return true;
    return false;
}

static bool is_of_attempt(const struct look *l, const struct said *e)
{
    return e->class != CLASS_FAILURE || l->failures_from_ms == INT64_MIN ||
           heard_ms(l->s, e) >= l->failures_from_ms;
}

/* The last success or failure: of this revision, a failure only of this attempt; or (-1) of any. */
static const struct said *last_word(const struct look *l, unsigned reporter, int revision)
{
    const struct said *last = NULL;

    for (unsigned i = 0; i < l->s->n_said; i++) {
        const struct said *e = &l->s->said[i];
        if (!counts(e) || e->reporter != reporter || !decisive(e))
            continue;
        if (revision >= 0 && (e->revision != revision || !is_of_attempt(l, e)))
            continue;
        if (!last || before(last, e))
            last = e;
    }
    return last;
}

/* Since when it says what its last word says. */
static int64_t since(const struct look *l, unsigned reporter, const struct said *word)
{
    const struct said *other = NULL;
    int64_t at_ms = word->effective_ms;

    for (unsigned i = 0; i < l->s->n_said; i++) {
        const struct said *e = &l->s->said[i];
        if (counts(e) && e->reporter == reporter && e->revision == word->revision && decisive(e) &&
            e->class != word->class && is_of_attempt(l, e) && (!other || before(other, e)))
            other = e;
    }
    for (unsigned i = 0; i < l->s->n_said; i++) {
        const struct said *e = &l->s->said[i];
        if (counts(e) && e->reporter == reporter && e->revision == word->revision &&
            e->class == word->class && (!other || before(other, e)) && e->effective_ms < at_ms &&
            is_of_attempt(l, e))
            at_ms = e->effective_ms;
    }
    return at_ms;
}

static const struct said *first_seen(const struct look *l, unsigned reporter, int revision)
{
    const struct said *first = NULL;

    for (unsigned i = 0; i < l->s->n_said; i++) {
        const struct said *e = &l->s->said[i];
        if (counts(e) && e->reporter == reporter && e->revision == revision &&
            (!first || e->effective_ms < first->effective_ms))
            first = e;
    }
    return first;
}

static bool came_after(const struct look *l, unsigned reporter, int revision)
{
    const struct said *asked = first_seen(l, reporter, (int)l->asked->revision);
    const struct said *other = first_seen(l, reporter, revision);

    if (!asked || !other)
        return false;
    if (asked->by_arrival && other->by_arrival)
        return other->effective_ms > asked->effective_ms;
    return seconds(other->effective_ms) > seconds(asked->effective_ms);
}

/* Since when it says so: its first success for that revision after the last word about the one asked for. */
static int64_t superseded_since(const struct look *l, unsigned reporter, const struct said *by)
{
    const struct said *word = last_word(l, reporter, (int)l->asked->revision);
    int64_t at_ms = by->effective_ms;

    for (unsigned i = 0; i < l->s->n_said; i++) {
        const struct said *e = &l->s->said[i];
        if (counts(e) && e->reporter == reporter && e->revision == by->revision &&
            e->class == CLASS_SUCCESS && (!word || before(word, e)) && e->effective_ms < at_ms)
            at_ms = e->effective_ms;
    }
    return at_ms;
}

static bool is_superseded(const struct look *l, unsigned reporter, int64_t *ret_at_ms)
{
    const struct said *newest = last_word(l, reporter, -1);

    if (!newest || newest->class != CLASS_SUCCESS || newest->revision < 0 ||
        newest->revision == (int)l->asked->revision)
        return false;
    *ret_at_ms = superseded_since(l, reporter, newest);
    if (came_after(l, reporter, newest->revision))
        return true;
    for (unsigned i = 0; i < REPORTERS; i++)
        if (reporter_is_source(i) && came_after(l, i, newest->revision))
            return true;
    return false;
}

static struct finding judge(const struct look *l, unsigned reporter)
{
    const struct said *word = last_word(l, reporter, (int)l->asked->revision);
    struct finding f = {SAYS_WAITING, 0};
    int64_t at_ms;

    if (word && word->class == CLASS_SUCCESS)
        return (struct finding){SAYS_SUCCEEDED, since(l, reporter, word)};
    if (is_superseded(l, reporter, &at_ms))
        return (struct finding){SAYS_SUPERSEDED, at_ms};
    if (word) {
        f.at_ms = since(l, reporter, word) + l->asked->fail_after_ms;
        f.word = l->now_ms >= f.at_ms || heard_ms(l->s, word) >= f.at_ms ? SAYS_FAILED : SAYS_WAITING;
    }
    return f;
}

static bool reported(const struct look *l, unsigned reporter)
{
    return first_seen(l, reporter, (int)l->asked->revision) != NULL;
}

static void keep_earliest(struct finding *best, struct finding f)
{
    if (best->word != f.word || f.at_ms < best->at_ms)
        *best = f;
}

static struct finding verdict(const struct look *l)
{
    struct finding failed = {SAYS_WAITING, 0}, superseded = {SAYS_WAITING, 0};
    int64_t successes[REPORTERS];
    unsigned n = 0, needed = l->asked->expect;

    if (is_mixed(l->s))
        return (struct finding){SAYS_ANYTHING, 0};
    if (l->asked->objects)
        needed = (unsigned)__builtin_popcount(l->asked->objects);
    for (unsigned i = 0; i < REPORTERS; i++) {
        if (l->asked->objects ? !(l->asked->objects & 1u << i) : !reported(l, i))
            continue;
        struct finding f = judge(l, i);
        if (f.word == SAYS_FAILED)
            keep_earliest(&failed, f);
        if (f.word == SAYS_SUPERSEDED && l->asked->on_superseded == SUPERSEDED_FAIL)
            keep_earliest(&superseded, f);
        if (f.word == SAYS_SUCCEEDED ||
            (f.word == SAYS_SUPERSEDED && l->asked->on_superseded == SUPERSEDED_SUCCEED)) {
            unsigned at = n++;
            for (; at > 0 && successes[at - 1] > f.at_ms; at--)
                successes[at] = successes[at - 1];
            successes[at] = f.at_ms;
        }
    }
    if (failed.word == SAYS_FAILED)
        return failed;
    if (superseded.word == SAYS_SUPERSEDED)
        return superseded;
    return n >= needed ? (struct finding){SAYS_SUCCEEDED, successes[needed - 1]}
                       : (struct finding){SAYS_WAITING, 0};
}

/* ---- deadlines ---- */

struct deadline {
    bool may_be_over;
    bool is_over;
    int64_t least_ms; /* on the wall clock */
    int64_t most_ms;
};

/* startTime has whole seconds; the process that wrote it knows better, one that read it does not. A step of the wall
 * clock moves no deadline that is known, but nobody outside knows when it became known. */
static struct deadline deadline_of(const struct sim *s, const struct state *at)
{
    const struct life *l = &s->lives[at->life];
    int64_t start = at->start_ms != NO_TIME ? at->start_ms : l->tried_ms;
    int64_t rest = at->start_ms != NO_TIME ? 999 : 0;
    struct deadline d = {false, false, INT64_MAX, INT64_MAX};

    if (l->asked.timeout_ms == 0 || start == NO_TIME)
        return d;
    d.least_ms = start + l->asked.timeout_ms;
    d.most_ms = d.least_ms + rest;
    d.may_be_over = T0 + s->now_ms + s->offset_most_ms >= d.least_ms;
    d.is_over = at->start_ms != NO_TIME && T0 + s->now_ms + s->offset_least_ms >= d.most_ms;
    return d;
}

static unsigned action_of(enum verdict_word word, bool waiting, bool spare)
{
    switch (word) {
    case SAYS_WAITING: return waiting ? MAY_WAIT : MAY_START;
    case SAYS_SUCCEEDED: return MAY_SUCCEED;
    case SAYS_FAILED: return spare ? MAY_RETRY_FAILED : MAY_FAIL;
    case SAYS_SUPERSEDED: return MAY_SUPERSEDE;
    case SAYS_ANYTHING: break;
    }
    return ~0u;
}

static unsigned with_what_counts(const struct sim *s, const struct state *at)
{
    const struct life *l = &s->lives[at->life];
    bool waiting = at->outcome == OUTCOME_UNKNOWN && at->start_ms != NO_TIME;
    bool spare = at->retries_done < l->asked.retries;
    struct look look = {s, &l->asked, INT64_MIN, wall_now(s)};

    if (at->cancelled)
        return MAY_CANCEL;
    if (at->retries_done > 0)
        look.failures_from_ms = at->attempt_ms;
    struct finding f = verdict(&look);
    struct deadline d = deadline_of(s, at);
    unsigned own = action_of(f.word, waiting, spare);
    unsigned expire = spare ? MAY_RETRY_EXPIRED : MAY_EXPIRE;
    if (f.word == SAYS_WAITING)
        return d.is_over ? expire : d.may_be_over ? expire | own : own;
    /* A decision that came true after the deadline came too late, if the deadline was noticed. */
    if (d.is_over && f.at_ms > d.most_ms && at->retries_done == 0)
        return expire;
    return d.may_be_over && f.at_ms > d.least_ms ? expire | own : own;
}

/* What is on disk may be seen a moment before it is acknowledged, when it became part of a record that was there. */
static bool may_be_seen(const struct sim *s, const struct said *e)
{
    return e->appended && !e->acknowledged && e->arrival <= s->n_flushed && s->kept[e->record].seq != 0;
}

unsigned oracle(struct sim *s, const struct state *at)
{
    unsigned may = with_what_counts(s, at);
    bool any = false;

    for (unsigned i = 0; i < s->n_said; i++) {
        s->said[i].presumed = may_be_seen(s, &s->said[i]);
        any = any || s->said[i].presumed;
    }
    if (any)
        may |= with_what_counts(s, at);
    for (unsigned i = 0; i < s->n_said; i++)
        s->said[i].presumed = false;
    return may;
}
