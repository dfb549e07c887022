/* Ages of records (see ages_priv.h).
 *
 * A list of blocks, each with up to BLOCK_AGES entries by sequence number. New entries go to the end; a block that
 * becomes sparse takes in the one behind it, so that what is left of old records does not hold memory. Each block knows
 * how old its oldest entry may be, so that a look for old ones skips most blocks.
 *
 * Invariants: blocks and entries ascend; no block is empty; two neighbours hold more than half a block together.
 */
#include "store/ages_priv.h"

#include <stdlib.h>

#include "store/units.h"

#define BLOCK_AGES 512

struct age {
    uint64_t seq;
    uint32_t changed_s; /* since the year 2000 */
    bool protect;
};

struct block {
    size_t n;
    uint32_t oldest_s; /* of the entries; too old when stale */
    bool stale;
    struct age ages[BLOCK_AGES];
};

struct ages {
    struct block **blocks;
    size_t n;
    size_t cap;
    uint64_t added; /* the highest number that was ever there */
    uint64_t gone;  /* the highest below it that is not there */
};

struct ages *ages_new(void)
{
    return calloc(1, sizeof(struct ages));
}

void ages_free(struct ages *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++)
        free(a->blocks[i]);
    free(a->blocks);
    free(a);
}

static uint32_t seconds_of(int64_t ms)
{
    int64_t s = (ms - YEAR_2000_MS) / 1000;

    return ms < YEAR_2000_MS ? 0 : s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

static struct block *block_append(struct ages *a)
{
    if (a->n == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 16;
        struct block **blocks = realloc(a->blocks, cap * sizeof(struct block *));
        if (!blocks)
            return NULL;
        a->blocks = blocks;
        a->cap = cap;
    }
    struct block *block = malloc(sizeof *block);
    if (!block)
        return NULL;
    block->n = 0;
    block->stale = false;
    block->oldest_s = UINT32_MAX;
    a->blocks[a->n++] = block;
    return block;
}

bool ages_add(struct ages *a, uint64_t seq, int64_t changed_ms, bool protect)
{
    struct block *block = a->n ? a->blocks[a->n - 1] : NULL;
    uint32_t changed_s = seconds_of(changed_ms);

    if (!block || block->n == BLOCK_AGES)
        block = block_append(a);
    if (!block)
        return false;
    block->ages[block->n++] = (struct age){.seq = seq, .changed_s = changed_s, .protect = protect};
    if (changed_s < block->oldest_s)
        block->oldest_s = changed_s;
    if (seq != a->added + 1)
        a->gone = seq - 1;
    a->added = seq;
    return true;
}

/* The entry, NULL when there is none; *ret_block is where it would be. */
static struct age *find(const struct ages *a, uint64_t seq, size_t *ret_block)
{
    /* Mostly one of the newest is asked for. */
    size_t low = a->n > 0 && seq >= a->blocks[a->n - 1]->ages[0].seq ? a->n - 1 : 0;

    for (size_t high = a->n; high - low > 1;) {
        size_t middle = low + (high - low) / 2;
        *(a->blocks[middle]->ages[0].seq <= seq ? &low : &high) = middle;
    }
    if (a->n == 0)
        return NULL;
    *ret_block = low;
    struct block *block = a->blocks[low];
    size_t from = 0;
    for (size_t to = block->n; to - from > 1;) {
        size_t middle = from + (to - from) / 2;
        *(block->ages[middle].seq <= seq ? &from : &to) = middle;
    }
    return block->ages[from].seq == seq ? &block->ages[from] : NULL;
}

void ages_touch(struct ages *a, uint64_t seq, int64_t changed_ms)
{
    size_t at;
    struct age *age = find(a, seq, &at);

    if (!age)
        return;
    if (age->changed_s == a->blocks[at]->oldest_s)
        a->blocks[at]->stale = true;
    age->changed_s = seconds_of(changed_ms);
    if (age->changed_s < a->blocks[at]->oldest_s)
        a->blocks[at]->oldest_s = age->changed_s;
}

void ages_protect(struct ages *a, uint64_t seq, bool protect)
{
    size_t at;
    struct age *age = find(a, seq, &at);

    if (age)
        age->protect = protect;
}

static void block_drop(struct ages *a, size_t at)
{
    free(a->blocks[at]);
    a->n--;
    memmove(&a->blocks[at], &a->blocks[at + 1], (a->n - at) * sizeof a->blocks[0]);
}

/* Takes the next block in when both together are at most half full. */
static void block_join(struct ages *a, size_t at)
{
    if (at + 1 >= a->n || a->blocks[at]->n + a->blocks[at + 1]->n > BLOCK_AGES / 2)
        return;
    struct block *block = a->blocks[at];
    const struct block *next = a->blocks[at + 1];
    memcpy(&block->ages[block->n], next->ages, next->n * sizeof next->ages[0]);
    block->n += next->n;
    block->stale = true;
    if (next->oldest_s < block->oldest_s)
        block->oldest_s = next->oldest_s;
    block_drop(a, at + 1);
}

void ages_remove(struct ages *a, uint64_t seq)
{
    size_t at;
    const struct age *age = find(a, seq, &at);

    if (!age)
        return;
    if (seq > a->gone)
        a->gone = seq;
    struct block *block = a->blocks[at];
    size_t i = (size_t)(age - block->ages);
    block->stale = true;
    block->n--;
    memmove(&block->ages[i], &block->ages[i + 1], (block->n - i) * sizeof block->ages[0]);
    if (block->n == 0)
        block_drop(a, at);
    else
        block_join(a, at);
    if (at > 0)
        block_join(a, at - 1);
}

/* ---- picking: a heap of the best so far, the worst of them on top ---- */

struct picked {
    uint64_t rank; /* who goes first has the lower one */
    uint64_t seq;
};

static uint64_t rank_of(const struct age *age, bool protected_last)
{
    return (protected_last && age->protect ? UINT64_C(1) << 32 : 0) | age->changed_s;
}

static bool goes_before(struct picked a, struct picked b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.seq < b.seq;
}

static void sift_down(struct picked *heap, size_t n, struct picked item)
{
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && goes_before(heap[child], heap[child + 1]))
            child++;
        if (!goes_before(item, heap[child]))
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

static void sift_up(struct picked *heap, size_t i, struct picked item)
{
    for (size_t parent; i > 0 && goes_before(heap[parent = (i - 1) / 2], item); i = parent)
        heap[i] = heap[parent];
    heap[i] = item;
}

static size_t pick_block(const struct block *block, uint32_t before_s, bool protected_last, size_t max,
                         struct picked *heap, size_t n)
{
    for (size_t i = 0; i < block->n; i++) {
        struct picked item = {rank_of(&block->ages[i], protected_last), block->ages[i].seq};
        if (block->ages[i].changed_s >= before_s)
            continue;
        if (n < max)
            sift_up(heap, n++, item);
        else if (goes_before(item, heap[0]))
            sift_down(heap, n, item);
    }
    return n;
}

size_t ages_pick(const struct ages *a, int64_t before_ms, bool protected_last, size_t max, uint64_t *ret)
{
    struct picked heap[AGES_PICK_MAX];
    uint32_t before_s = seconds_of(before_ms);
    size_t n = 0;

    if (max > AGES_PICK_MAX)
        max = AGES_PICK_MAX;
    for (size_t i = 0; i < a->n && max > 0; i++)
        /* Of those that are as old as the worst so far, a later block has only later ones. */
        if (a->blocks[i]->oldest_s < before_s && (n < max || a->blocks[i]->oldest_s < heap[0].rank))
            n = pick_block(a->blocks[i], before_s, protected_last, max, heap, n);
    for (size_t left = n; left > 0; left--) { /* the worst is on top, and last */
        ret[left - 1] = heap[0].seq;
        sift_down(heap, left - 1, heap[left - 1]);
    }
    return n;
}

uint64_t ages_gone(const struct ages *a, uint64_t last)
{
    return last > a->added ? last : a->gone;
}

int64_t ages_oldest_ms(struct ages *a)
{
    uint32_t oldest_s = UINT32_MAX;

    for (size_t i = 0; i < a->n; i++) {
        struct block *block = a->blocks[i];
        if (block->stale && block->oldest_s <= oldest_s) {
            block->oldest_s = UINT32_MAX;
            for (size_t j = 0; j < block->n; j++)
                if (block->ages[j].changed_s < block->oldest_s)
                    block->oldest_s = block->ages[j].changed_s;
            block->stale = false;
        }
        if (block->oldest_s < oldest_s)
            oldest_s = block->oldest_s;
    }
    return a->n ? YEAR_2000_MS + (int64_t)oldest_s * 1000 : INT64_MAX;
}

size_t ages_bytes(const struct ages *a)
{
    return sizeof *a + a->cap * sizeof a->blocks[0] + a->n * sizeof(struct block);
}
