/* When nothing can be written: one Run tries, all others wait.
 *
 * A write that is answered by a 5xx, or not at all, says nothing of its Run: the admission webhook, the store behind the
 * API server or the way to it is broken, and a thousand other writes would meet the same. So from then on one Run at a
 * time tries, each in turn, PROBE_MS apart, until a write is answered in earnest; then all go on at once. Thus a broken
 * API server gets fewer than two requests a second, and is used again within one second of its mending.
 *
 * A Run that fails again although another was written since is itself what breaks the write. It backs off for itself
 * and holds up nobody.
 *
 * Invariants: a Run that is held has no request under way, and n_held counts them; the loop is woken for a try only
 * while somebody is held.
 */
#include "controller/controller_priv.h"

static void hold(struct tracked *t)
{
    t->owed = true;
    if (!t->held)
        t->c->n_held++;
    t->held = true;
    tracked_schedule(t);
}

void outage_unhold(struct tracked *t)
{
    if (t->held)
        t->c->n_held--;
    t->held = false;
}

bool outage_lets(struct tracked *t)
{
    if (!t->c->failing || t->probing)
        return true;
    hold(t);
    return false;
}

bool outage_begins(struct tracked *t)
{
    struct controller *c = t->c;
    uint64_t written = c->n_written + 1;
    bool alone = t->failed_at != 0 && t->failed_at != written;

    t->failed_at = written;
    if (alone)
        return false;
    c->failing = true;
    c->tried_mono_ms = c->now.mono_ms;
    hold(t);
    return true;
}

void outage_ends(struct controller *c)
{
    if (!c->failing)
        return;
    c->failing = false;
    for (uint32_t slot = 0; slot < c->n_slots && c->n_held > 0; slot++) {
        struct tracked *t = c->slots[slot];
        if (!t || !t->held)
            continue;
        outage_unhold(t);
        tracked_reconsider(t);
    }
}

int64_t outage_next(const struct controller *c)
{
    return c->failing && c->n_held > 0 ? c->tried_mono_ms + PROBE_MS : INT64_MAX;
}

/* The next one in turn; those that have not failed yet first, since one that fails for reasons of its own proves nothing. */
static struct tracked *choose(struct controller *c)
{
    struct tracked *failed = NULL;

    for (uint32_t i = 0; i < c->n_slots; i++) {
        struct tracked *t = c->slots[(c->last_try + 1 + i) % c->n_slots];
        if (t && t->held && t->failed_at == 0)
            return t;
        if (t && t->held && !failed)
            failed = t;
    }
    return failed;
}

void outage_try(struct controller *c)
{
    struct tracked *t = outage_next(c) <= c->now.mono_ms ? choose(c) : NULL;

    if (!t)
        return;
    c->last_try = t->slot;
    c->tried_mono_ms = c->now.mono_ms;
    outage_unhold(t);
    t->probing = true;
    tracked_reconsider(t);
}
