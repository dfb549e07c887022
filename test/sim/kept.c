/* What the store must make of each event: which record it begins or becomes part of, or that it is a repeat. The rules of
 * the contract on events and on the store, applied one event after another in the order of arrival, without any of the
 * product's code.
 *
 * Records stand in the order in which they were made, which is that of their ids.
 */
#include <string.h>

#include "sim.h"

static bool decides(enum event_class class)
{
    return class == CLASS_SUCCESS || class == CLASS_FAILURE;
}

/* How a class is said by each kind of reporter. */
const char *said_reason(const struct said *e)
{
    bool helm = strcmp(reporter_names[e->reporter][0], "HelmRelease") == 0;

    switch (e->class) {
    case CLASS_SUCCESS: return helm ? "UpgradeSucceeded" : "ReconciliationSucceeded";
    case CLASS_FAILURE: return helm ? "UpgradeFailed" : e->number % 2 ? "BuildFailed" : "HealthCheckFailed";
    case CLASS_PROGRESS: return reporter_is_source(e->reporter) ? "NewArtifact" : "Progressing";
    case CLASS_OTHER: break;
    }
    return "Unheard";
}

/* ---- repeats ---- */

/* Whether its object has said nothing since in another record; within one millisecond the later record is the newer. */
static bool is_newest(const struct sim *s, unsigned record)
{
    const struct kept *k = &s->kept[record];

    for (unsigned i = 0; i < s->n_kept; i++) {
        const struct kept *o = &s->kept[i];
        if (o->reporter == k->reporter &&
            (o->heard_ms > k->heard_ms || (o->heard_ms == k->heard_ms && i > record)))
            return false;
    }
    return true;
}

bool kept_repeats(const struct sim *s, const struct said *e, unsigned *ret_record)
{
    for (unsigned i = 0; i < s->n_kept; i++) {
        const struct said *first = &s->said[s->kept[i].first], *last = &s->said[s->kept[i].last];
        bool is_first = strcmp(first->body, e->body) == 0, is_last = strcmp(last->body, e->body) == 0;
        *ret_record = i;
        if ((is_first && !first->by_arrival) || (is_last && !last->by_arrival) ||
            (is_last && is_newest(s, i)))
            return true;
    }
    return false;
}

/* ---- coalescing ---- */

/* The newest of the object's records of successes and failures, or of all others; NULL: it has none. */
static struct kept *newest_of_track(struct sim *s, const struct said *e)
{
    for (unsigned i = s->n_kept; i-- > 0;)
        if (s->kept[i].reporter == e->reporter &&
            decides(s->said[s->kept[i].first].class) == decides(e->class))
            return &s->kept[i];
    return NULL;
}

static bool fits(const struct said *a, const struct said *b)
{
    return a->class == b->class && a->revision == b->revision && strcmp(said_reason(a), said_reason(b)) == 0;
}

/* Timestamps have whole seconds. */
static bool is_older(const struct sim *s, const struct said *e, const struct kept *k)
{
    if (e->by_arrival && s->said[k->last].by_arrival)
        return e->effective_ms < k->last_ms;
    return e->effective_ms / 1000 < k->last_ms / 1000;
}

void kept_add(struct sim *s, unsigned which)
{
    struct said *e = &s->said[which];
    struct kept *k = newest_of_track(s, e);

    if (!k || !fits(&s->said[k->first], e)) {
        k = &s->kept[s->n_kept++];
        *k =
            (struct kept){.reporter = e->reporter, .first = which, .last = which, .last_ms = e->effective_ms};
    }
    if (!is_older(s, e, k)) {
        k->last = which;
        if (e->effective_ms > k->last_ms)
            k->last_ms = e->effective_ms;
    }
    if (e->effective_ms < s->said[k->first].effective_ms)
        k->first = which;
    k->heard_ms = e->received_ms;
    e->record = (unsigned)(k - s->kept);
}

int64_t kept_heard_ms(const struct sim *s)
{
    int64_t newest_ms = 0;

    for (unsigned i = 0; i < s->n_kept; i++)
        if (s->kept[i].heard_ms > newest_ms)
            newest_ms = s->kept[i].heard_ms;
    return newest_ms;
}

void kept_stored(struct sim *s, const struct said *e, uint64_t seq)
{
    struct kept *k = &s->kept[e->record];

    if (k->seq == 0 && seq <= s->last_seq)
        sim_fail(s, "what begins a record got the old id %llu", (unsigned long long)seq);
    if (k->seq == 0)
        k->seq = seq;
    if (k->seq != seq)
        sim_fail(s, "%s id %llu got id %llu", e->repeat ? "a repeat of" : "what belongs to",
                 (unsigned long long)k->seq, (unsigned long long)seq);
}
