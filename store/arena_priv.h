/* Memory that is given back all at once. What a parser takes piece by piece for one text has one lifetime; a piece
 * costs an addition here, and nothing when it goes.
 */
#ifndef FES_STORE_ARENA_PRIV_H
#define FES_STORE_ARENA_PRIV_H

#include <stddef.h>

struct arena_block;

/* All zeros but `more` is an empty one. */
struct arena {
    void *(*more)(size_t bytes);
    struct arena_block *last;
    char *at;
    size_t left;
    size_t taken; /* bytes of all blocks */
};

/* bytes > 0. Aligned for every type. NULL when `more` has none: what was given before stays valid. */
void *arena_take(struct arena *a, size_t bytes);
/* Gives all blocks to `release`, and is empty again. */
void arena_release(struct arena *a, void (*release)(void *));

#endif
