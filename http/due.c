/* A binary min-heap whose items know their place (see due_priv.h). */
#include "http/due_priv.h"

#include <stdlib.h>

static void put(struct due_heap *heap, size_t place, struct due *d)
{
    heap->items[place] = d;
    d->place = place;
}

/* Moves the item at `place` to where its time belongs. */
static void settle(struct due_heap *heap, size_t place)
{
    struct due *d = heap->items[place];

    while (place > 0 && heap->items[(place - 1) / 2]->at_ms > d->at_ms) {
        put(heap, place, heap->items[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (size_t child; (child = 2 * place + 1) < heap->n; place = child) {
        if (child + 1 < heap->n && heap->items[child + 1]->at_ms < heap->items[child]->at_ms)
            child++;
        if (heap->items[child]->at_ms >= d->at_ms)
            break;
        put(heap, place, heap->items[child]);
    }
    put(heap, place, d);
}

bool due_add(struct due_heap *heap, struct due *d, int64_t at_ms)
{
    if (heap->n == heap->cap) {
        size_t cap = heap->cap ? heap->cap * 2 : 64;
        struct due **items = reallocarray(heap->items, cap, sizeof(struct due *));
        if (!items)
            return false;
        heap->items = items;
        heap->cap = cap;
    }
    d->at_ms = at_ms;
    heap->items[heap->n++] = d;
    settle(heap, heap->n - 1);
    return true;
}

void due_move(struct due_heap *heap, struct due *d, int64_t at_ms)
{
    d->at_ms = at_ms;
    settle(heap, d->place);
}

void due_remove(struct due_heap *heap, struct due *d)
{
    size_t place = d->place;
    struct due *last = heap->items[--heap->n];

    if (last == d)
        return;
    heap->items[place] = last;
    settle(heap, place);
}

int64_t due_first(const struct due_heap *heap)
{
    return heap->n ? heap->items[0]->at_ms : INT64_MAX;
}

void due_free(struct due_heap *heap)
{
    free(heap->items);
    *heap = (struct due_heap){0};
}
