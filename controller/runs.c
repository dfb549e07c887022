/* The table of Runs: by kind, namespace and name, each with its UID; and by the token of its request.
 *
 * A name has one object at a time in the API, so a name with another UID is the old object's end and a new
 * one's beginning; looking up by name notices that, a table by UID would keep both. A token is a slot and a
 * counter: a reply to a Run that is gone, or to an earlier request, finds nothing.
 */
#include "controller/controller_priv.h"

#include <stdlib.h>

#define CHAINS_FIRST 256

static uint64_t key_hash(enum run_kind kind, struct str namespace, struct str name)
{
    uint64_t h = run_hash(namespace) * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)kind;

    h = (h ^ run_hash(name)) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

static struct tracked **chain_of(const struct controller *c, const struct run *r)
{
    return &c->chains[key_hash(r->kind, r->namespace, r->name) & (c->n_chains - 1)];
}

struct tracked *runs_find(const struct controller *c, enum run_kind kind, struct str namespace,
                          struct str name)
{
    if (c->n_chains == 0)
        return NULL;
    struct tracked *t = c->chains[key_hash(kind, namespace, name) & (c->n_chains - 1)];
    while (t && !(t->run.kind == kind && str_eq(t->run.name, name) && str_eq(t->run.namespace, namespace)))
        t = t->next;
    return t;
}

/* Doubles the chains when there are as many Runs. */
static bool grow_chains(struct controller *c)
{
    size_t n_before = c->n_chains;
    struct tracked **before = c->chains;

    if (c->n_tracked < n_before)
        return true;
    size_t n = n_before ? 2 * n_before : CHAINS_FIRST;
    struct tracked **chains = calloc(n, sizeof(struct tracked *));
    if (!chains)
        return false;
    c->chains = chains;
    c->n_chains = n;
    for (size_t i = 0; i < n_before; i++) {
        for (struct tracked *t = before[i], *next; t; t = next) {
            struct tracked **chain = chain_of(c, &t->run);
            next = t->next;
            t->next = *chain;
            *chain = t;
        }
    }
    free(before);
    return true;
}

/* Makes sure that there is a free slot, and room to free every one. */
static bool grow_slots(struct controller *c)
{
    if (c->n_free > 0)
        return true;
    uint32_t n = c->n_slots ? 2 * c->n_slots : 64;
    struct tracked **slots = reallocarray(c->slots, n, sizeof *slots);
    if (slots)
        c->slots = slots;
    uint32_t *free_slots = reallocarray(c->free_slots, n, sizeof *free_slots);
    if (free_slots)
        c->free_slots = free_slots;
    if (!slots || !free_slots)
        return false;
    for (uint32_t slot = n; slot > c->n_slots; slot--) {
        c->slots[slot - 1] = NULL;
        c->free_slots[c->n_free++] = slot - 1;
    }
    c->n_slots = n;
    return true;
}

struct tracked *runs_add(struct controller *c, struct run *run)
{
    struct tracked *t = calloc(1, sizeof *t);

    if (t)
        *t = (struct tracked){.c = c,
                              .run = *run,
                              .ask_mono_ms = INT64_MAX,
                              .not_before_mono_ms = INT64_MIN,
                              .explained_mono_ms = INT64_MIN,
                              .explain_mono_ms = INT64_MAX};
    if (!t || !grow_chains(c) || !grow_slots(c) || !deadline_add(t)) {
        free(t);
        return NULL;
    }
    struct tracked **chain = chain_of(c, &t->run);
    t->next = *chain;
    *chain = t;
    t->slot = c->free_slots[--c->n_free];
    c->slots[t->slot] = t;
    c->n_tracked++;
    c->stats.waiting++;
    return t;
}

void runs_drop(struct tracked *t)
{
    struct controller *c = t->c;
    struct tracked **link = chain_of(c, &t->run);

    while (*link != t)
        link = &(*link)->next;
    *link = t->next;
    if (t->waiter)
        waiter_drop(t->waiter);
    deadline_remove(t);
    outage_unhold(t);
    c->slots[t->slot] = NULL;
    c->free_slots[c->n_free++] = t->slot;
    c->n_tracked--;
    c->numbers.parked -= t->parked;
    if (!t->ended)
        c->stats.waiting--;
    if (t->token)
        c->stats.in_flight--;
    run_release(&t->run);
    free(t);
}

struct tracked *runs_by_token(const struct controller *c, uint64_t token)
{
    uint32_t slot = (uint32_t)token;

    if (token == 0 || slot >= c->n_slots || !c->slots[slot] || c->slots[slot]->token != token)
        return NULL;
    return c->slots[slot];
}

uint64_t runs_new_token(struct tracked *t)
{
    if (++t->c->next_token == 0)
        t->c->next_token = 1;
    return (uint64_t)t->c->next_token << 32 | t->slot;
}

void runs_free_all(struct controller *c)
{
    for (uint32_t slot = 0; slot < c->n_slots; slot++)
        if (c->slots[slot])
            runs_drop(c->slots[slot]);
    free(c->chains);
    free(c->slots);
    free(c->free_slots);
    free(c->heap);
}
