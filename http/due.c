/* A binary min-heap whose items know their place, and its timer (see due_priv.h). */
#include "http/due_priv.h"

#include <event2/event.h>
#include <stdlib.h>

#define TIMER_MAX_MS INT64_C(3600000) /* it fires, finds nothing and is set again */

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

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct due_timer *timer = arg;

    (void)fd;
    (void)what;
    timer->armed_ms = INT64_MAX;
    timer->on_due(timer->arg);
}

bool due_timer_init(struct due_timer *timer, struct event_base *base, void (*on_due)(void *arg), void *arg)
{
    *timer = (struct due_timer){.armed_ms = INT64_MAX, .on_due = on_due, .arg = arg};
    timer->event = event_new(base, -1, 0, on_timer, timer);
    return timer->event != NULL;
}

void due_arm(struct due_timer *timer, const struct due_heap *heap, int64_t now_ms)
{
    int64_t at_ms = due_first(heap);

    if (at_ms == timer->armed_ms)
        return;
    timer->armed_ms = at_ms;
    if (at_ms == INT64_MAX) {
        (void)event_del(timer->event);
        return;
    }
    int64_t in_ms = at_ms - now_ms;
    in_ms = in_ms < 0 ? 0 : in_ms > TIMER_MAX_MS ? TIMER_MAX_MS : in_ms;
    const struct timeval tv = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};
    (void)event_add(timer->event, &tv);
}

void due_timer_free(struct due_timer *timer)
{
    if (timer->event)
        event_free(timer->event);
    timer->event = NULL;
}
