/* The table of pending answers (see pending_priv.h).
 *
 * Slots with a generation: an id is the generation above the slot's index + 1. Taking a slot's request out
 * advances its generation, which makes the old id unknown. A slot whose generations are used up is not used
 * again.
 */
#include "http/pending_priv.h"

#include <stdbool.h>
#include <stdlib.h>

struct pending_slot {
    struct evhttp_request *req; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

static bool grow(struct pending *p)
{
    uint32_t cap = p->cap ? p->cap * 2 : 64;
    struct pending_slot *slots = realloc(p->slots, cap * sizeof *slots);

    if (!slots)
        return false;
    p->slots = slots;
    p->cap = cap;
    return true;
}

uint64_t pending_add(struct pending *p, struct evhttp_request *req)
{
    uint32_t i;

    if (p->free) {
        i = p->free - 1;
        p->free = p->slots[i].next_free;
    } else {
        if (p->len == p->cap && !grow(p))
            return 0;
        i = p->len++;
        p->slots[i] = (struct pending_slot){0};
    }
    p->slots[i].req = req;
    p->n++;
    return (uint64_t)p->slots[i].generation << 32 | (i + 1);
}

static struct pending_slot *find(const struct pending *p, uint64_t id)
{
    uint32_t i = (uint32_t)id - 1; /* id 0 wraps to an index that is never reached */

    if (i >= p->len || !p->slots[i].req || p->slots[i].generation != (uint32_t)(id >> 32))
        return NULL;
    return &p->slots[i];
}

static struct evhttp_request *take(struct pending *p, struct pending_slot *slot)
{
    struct evhttp_request *req = slot->req;

    slot->req = NULL;
    p->n--;
    if (++slot->generation != 0) {
        slot->next_free = p->free;
        p->free = (uint32_t)(slot - p->slots) + 1;
    }
    return req;
}

struct evhttp_request *pending_get(const struct pending *p, uint64_t id)
{
    struct pending_slot *slot = find(p, id);

    return slot ? slot->req : NULL;
}

struct evhttp_request *pending_take(struct pending *p, uint64_t id)
{
    struct pending_slot *slot = find(p, id);

    return slot ? take(p, slot) : NULL;
}

struct evhttp_request *pending_take_any(struct pending *p)
{
    for (uint32_t i = 0; i < p->len; i++)
        if (p->slots[i].req)
            return take(p, &p->slots[i]);
    return NULL;
}

void pending_free(struct pending *p)
{
    free(p->slots);
    *p = (struct pending){0};
}
