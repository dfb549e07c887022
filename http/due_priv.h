/* A min-heap of times, for thousands of deadlines behind one timer. */
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

#endif
