/* Memory that is given back all at once (see arena_priv.h).
 *
 * Each block is at least as large as all before it, so a large text needs few, and at most about half of what was taken
 * lies unused.
 */
#include "store/arena_priv.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#define FIRST_BLOCK ((size_t)8192) /* what an event of Flux needs, with jansson 2.14 */
#define ALIGNMENT   alignof(max_align_t)

struct arena_block {
    struct arena_block *before;
    alignas(max_align_t) char at[];
};

static bool grow(struct arena *a, size_t bytes)
{
    size_t room = a->taken > FIRST_BLOCK ? a->taken : FIRST_BLOCK;

    if (room < bytes)
        room = bytes;
    struct arena_block *block = a->more(sizeof *block + room);
    if (!block)
        return false;
    block->before = a->last;
    a->last = block;
    a->at = block->at;
    a->left = room;
    a->taken += room;
    return true;
}

void *arena_take(struct arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 4)
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > a->left && !grow(a, bytes))
        return NULL;
    void *piece = a->at;
    a->at += bytes;
    a->left -= bytes;
    return piece;
}

void arena_release(struct arena *a, void (*release)(void *))
{
    struct arena_block *block = a->last, *before;

    for (; block; block = before) {
        before = block->before;
        release(block);
    }
    *a = (struct arena){.more = a->more};
}
