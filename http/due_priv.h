/* A min-heap of times, for thousands of deadlines, and the one timer behind which they are. */
#ifndef FES_HTTP_DUE_PRIV_H
#define FES_HTTP_DUE_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Part of what is due. */
struct due {
    int64_t at_ms; /* set by due_add and due_move only */
    size_t place;
};

struct due_heap {
    struct due **items; /* items[0] is due first; the others in no order */
    size_t n;
    size_t cap;
};

/* False when out of memory. */
bool due_add(struct due_heap *heap, struct due *d, int64_t at_ms);
void due_move(struct due_heap *heap, struct due *d, int64_t at_ms);
void due_remove(struct due_heap *heap, struct due *d);
/* INT64_MAX: nothing. */
int64_t due_first(const struct due_heap *heap);
void due_free(struct due_heap *heap);

struct event;
struct event_base;

/* Fires once after each due_arm: when the first in the heap is due, or earlier. Zeroed at first. */
struct due_timer {
    struct event *event;
    int64_t armed_ms; /* INT64_MAX: not */
    void (*on_due)(void *arg);
    void *arg;
};

/* False when out of memory. */
bool due_timer_init(struct due_timer *timer, struct event_base *base, void (*on_due)(void *arg), void *arg);
/* To be called whenever the first in the heap may have changed, and at the end of on_due. */
void due_arm(struct due_timer *timer, const struct due_heap *heap, int64_t now_ms);
/* One that was not set up is as good. */
void due_timer_free(struct due_timer *timer);

#endif
