/* A min-heap of wake-ups, one place per tracked Run.
 *
 * Every Run is in it from its first to its last day, most of the time with its timeout; the heap holds
 * pointers and each Run knows its place, so moving and removing cost O(log n) and nothing is ever searched.
 */
#include "controller/controller_priv.h"

#include <stdlib.h>

static void place(struct controller *c, size_t at, struct tracked *t)
{
    c->heap[at] = t;
    t->heap_at = at;
}

static void sift_up(struct controller *c, size_t at)
{
    struct tracked *t = c->heap[at];

    while (at > 0 && c->heap[(at - 1) / 2]->due_mono_ms > t->due_mono_ms) {
        place(c, at, c->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(c, at, t);
}

static void sift_down(struct controller *c, size_t at)
{
    struct tracked *t = c->heap[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= c->n_heap)
            break;
        if (child + 1 < c->n_heap && c->heap[child + 1]->due_mono_ms < c->heap[child]->due_mono_ms)
            child++;
        if (c->heap[child]->due_mono_ms >= t->due_mono_ms)
            break;
        place(c, at, c->heap[child]);
        at = child;
    }
    place(c, at, t);
}

bool deadline_add(struct tracked *t)
{
    struct controller *c = t->c;

    if (c->n_heap == c->heap_cap) {
        size_t cap = c->heap_cap ? 2 * c->heap_cap : 64;
        struct tracked **heap = reallocarray(c->heap, cap, sizeof *heap);
        if (!heap)
            return false;
        c->heap = heap;
        c->heap_cap = cap;
    }
    t->due_mono_ms = INT64_MAX;
    place(c, c->n_heap++, t);
    return true;
}

void deadline_move(struct tracked *t, int64_t due_mono_ms)
{
    int64_t before = t->due_mono_ms;

    t->due_mono_ms = due_mono_ms;
    if (due_mono_ms < before)
        sift_up(t->c, t->heap_at);
    else if (due_mono_ms > before)
        sift_down(t->c, t->heap_at);
}

void deadline_remove(struct tracked *t)
{
    struct controller *c = t->c;
    size_t at = t->heap_at;
    struct tracked *last = c->heap[--c->n_heap];

    if (last == t)
        return;
    place(c, at, last);
    sift_up(c, at);
    sift_down(c, last->heap_at);
}

int64_t deadline_first(const struct controller *c)
{
    return c->n_heap ? c->heap[0]->due_mono_ms : INT64_MAX;
}
