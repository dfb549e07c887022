/* The in-memory index (see index_priv.h).
 *
 * 256 open-addressing tables, chosen by a key's upper bits, each growing by half on its own: a growing table
 * moves a few thousand slots, so no append stalls the loop however many records there are. Most keys have one
 * record (the body), and its number is in the slot. A key with more has a chain of 32-byte chunks with the
 * numbers as differences in base 128, the first of each chunk in full; one to three bytes for each record.
 *
 * Invariants: keys are SipHash values, so they need no further mixing; numbers of a key ascend; a table is at
 * most four fifths full, so that probing ends. Nothing is ever half added: memory is got before anything is
 * changed.
 */
#include "store/index_priv.h"

#include <stdlib.h>

#define SHARDS       256
#define SHARD_FIRST  16
#define CHUNK_DATA   18
#define BLOCK_CHUNKS 2048 /* chunks are allocated 64 KiB at a time and never move */
#define NO_CHUNK     UINT32_MAX
/* Marks a slot whose value is a chain. Sequence numbers do not come near it. */
#define CHAIN (UINT64_C(1) << 63)

struct chunk {
    uint64_t first;
    uint32_t next;
    uint8_t used; /* bytes of data */
    uint8_t pad;
    uint8_t data[CHUNK_DATA];
};
_Static_assert(sizeof(struct chunk) == 32, "two chunks in a cache line");

/* value 0: empty. Else a sequence number, or CHAIN with the head chunk above and the tail chunk in the low
 * half. */
struct slot {
    uint64_t key;
    uint64_t value;
};

struct shard {
    struct slot *slots;
    uint32_t cap;
    uint32_t used;
};

struct index {
    struct shard shards[SHARDS];
    struct chunk **blocks;
    size_t n_blocks;
    size_t cap_blocks;
    uint32_t n_chunks;
    uint32_t free_chunk; /* the first of those that were given back, linked by `next` */
    uint32_t n_free;
};

struct index *index_new(uint64_t keys)
{
    struct index *ix = calloc(1, sizeof *ix);
    uint64_t cap = keys / SHARDS * 3 / 2;

    if (ix)
        ix->free_chunk = NO_CHUNK;
    if (cap < SHARD_FIRST || cap > UINT32_MAX)
        return ix;
    for (size_t i = 0; ix && i < SHARDS; i++) {
        ix->shards[i].slots = calloc(cap, sizeof(struct slot));
        if (!ix->shards[i].slots) {
            index_free(ix);
            return NULL;
        }
        ix->shards[i].cap = (uint32_t)cap;
    }
    return ix;
}

void index_free(struct index *ix)
{
    if (!ix)
        return;
    for (size_t i = 0; i < SHARDS; i++)
        free(ix->shards[i].slots);
    for (size_t i = 0; i < ix->n_blocks; i++)
        free(ix->blocks[i]);
    free(ix->blocks);
    free(ix);
}

static uint64_t chain_of(uint32_t head, uint32_t tail)
{
    return CHAIN | (uint64_t)head << 32 | tail;
}

static uint32_t chain_head(uint64_t value)
{
    return (uint32_t)(value >> 32) & 0x7FFFFFFF;
}

static struct chunk *chunk_at(const struct index *ix, uint32_t n)
{
    return &ix->blocks[n / BLOCK_CHUNKS][n % BLOCK_CHUNKS];
}

static uint32_t home_of(const struct shard *shard, uint64_t key)
{
    return (uint32_t)(((key & UINT32_MAX) * shard->cap) >> 32);
}

/* Where the key is, or the empty slot where it belongs. The table must not be full. */
static struct slot *slot_find(const struct shard *shard, uint64_t key)
{
    uint32_t i = home_of(shard, key);

    while (shard->slots[i].value && shard->slots[i].key != key)
        if (++i == shard->cap)
            i = 0;
    return &shard->slots[i];
}

/* Makes sure that one more key fits. */
static bool shard_reserve(struct shard *shard)
{
    if (shard->used + 1 <= shard->cap / 5 * 4)
        return true;
    struct shard grown = {.cap = shard->cap ? shard->cap + shard->cap / 2 : SHARD_FIRST, .used = shard->used};
    grown.slots = calloc(grown.cap, sizeof(struct slot));
    if (!grown.slots)
        return false;
    for (uint32_t i = 0; i < shard->cap; i++)
        if (shard->slots[i].value)
            *slot_find(&grown, shard->slots[i].key) = shard->slots[i];
    free(shard->slots);
    *shard = grown;
    return true;
}

/* Makes sure that `n` more chunks can be taken. */
static bool chunks_reserve(struct index *ix, uint32_t n)
{
    while ((size_t)ix->n_chunks + n > ix->n_blocks * BLOCK_CHUNKS + ix->n_free) {
        if (ix->n_blocks == ix->cap_blocks) {
            size_t cap = ix->cap_blocks ? ix->cap_blocks * 2 : 16;
            struct chunk **blocks = realloc(ix->blocks, cap * sizeof(struct chunk *));
            if (!blocks)
                return false;
            ix->blocks = blocks;
            ix->cap_blocks = cap;
        }
        struct chunk *block = malloc(BLOCK_CHUNKS * sizeof *block);
        if (!block)
            return false;
        ix->blocks[ix->n_blocks++] = block;
    }
    return true;
}

static uint32_t chunk_take(struct index *ix, uint64_t first)
{
    uint32_t n = ix->free_chunk;

    if (n == NO_CHUNK) {
        n = ix->n_chunks++;
    } else {
        ix->free_chunk = chunk_at(ix, n)->next;
        ix->n_free--;
    }
    *chunk_at(ix, n) = (struct chunk){.first = first, .next = NO_CHUNK};
    return n;
}

static void chunk_give(struct index *ix, uint32_t n)
{
    chunk_at(ix, n)->next = ix->free_chunk;
    ix->free_chunk = n;
    ix->n_free++;
}

static size_t put_difference(uint8_t *at, uint64_t difference)
{
    size_t n = 0;

    for (; difference >= 0x80; difference >>= 7)
        at[n++] = (uint8_t)(difference | 0x80);
    at[n++] = (uint8_t)difference;
    return n;
}

/* Reads the difference at *i and moves *i behind it. */
static uint64_t take_difference(const struct chunk *chunk, size_t *i)
{
    uint64_t difference = 0;

    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = chunk->data[(*i)++];
        difference |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            return difference;
    }
}

static uint64_t chunk_last(const struct chunk *chunk)
{
    uint64_t seq = chunk->first;

    for (size_t i = 0; i < chunk->used;)
        seq += take_difference(chunk, &i);
    return seq;
}

/* Appends to a chunk. False when it is full. seq is above all that it holds. */
static bool chunk_push(struct chunk *chunk, uint64_t last, uint64_t seq)
{
    uint8_t bytes[10];
    size_t n = put_difference(bytes, seq - last);

    if (chunk->used + n > CHUNK_DATA)
        return false;
    memcpy(chunk->data + chunk->used, bytes, n);
    chunk->used = (uint8_t)(chunk->used + n);
    return true;
}

/* All numbers of a chunk; `out` has room for CHUNK_NUMBERS. */
#define CHUNK_NUMBERS (CHUNK_DATA + 1)
static size_t chunk_numbers(const struct chunk *chunk, uint64_t *out)
{
    size_t n = 0;

    out[n++] = chunk->first;
    for (size_t i = 0; i < chunk->used; n++)
        out[n] = out[n - 1] + take_difference(chunk, &i);
    return n;
}

/* Where in a chain a number is or belongs: the last chunk that does not begin above it, else the first one. */
static uint32_t chain_find(const struct index *ix, uint64_t value, uint64_t seq, uint32_t *ret_before)
{
    uint32_t n = chain_head(value);

    *ret_before = NO_CHUNK;
    for (uint32_t next; (next = chunk_at(ix, n)->next) != NO_CHUNK && chunk_at(ix, next)->first <= seq;
         n = next)
        *ret_before = n;
    return n;
}

/* Fills a chunk, and a new one behind it when one does not hold all. Returns the last one filled. */
static uint32_t chunk_refill(struct index *ix, uint32_t at, const uint64_t *numbers, size_t n)
{
    uint32_t next = chunk_at(ix, at)->next;

    *chunk_at(ix, at) = (struct chunk){.first = numbers[0], .next = next};
    for (size_t i = 1; i < n; i++)
        if (!chunk_push(chunk_at(ix, at), numbers[i - 1], numbers[i])) {
            uint32_t more = chunk_take(ix, numbers[i]);
            chunk_at(ix, at)->next = more;
            chunk_at(ix, more)->next = next;
            at = more;
        }
    return at;
}

/* Puts a number between others. One chunk more is always enough: the first is at least half full when the second
 * is begun. */
static uint64_t chain_insert(struct index *ix, uint64_t value, uint64_t seq)
{
    uint64_t numbers[CHUNK_NUMBERS + 1];
    uint32_t before;
    uint32_t at = chain_find(ix, value, seq, &before);
    size_t n = chunk_numbers(chunk_at(ix, at), numbers);
    size_t i = 0;

    while (i < n && numbers[i] < seq)
        i++;
    if (i < n && numbers[i] == seq)
        return value;
    memmove(&numbers[i + 1], &numbers[i], (n - i) * sizeof numbers[0]);
    numbers[i] = seq;
    uint32_t end = chunk_refill(ix, at, numbers, n + 1);
    return at == (uint32_t)value ? chain_of(chain_head(value), end) : value;
}

/* Adds to a chain; chunks must have been reserved. Returns the slot's new value. */
static uint64_t chain_add(struct index *ix, uint64_t value, uint64_t seq)
{
    struct chunk *tail = chunk_at(ix, (uint32_t)value);
    uint64_t last = chunk_last(tail);

    if (seq == last)
        return value;
    if (seq < last)
        return chain_insert(ix, value, seq);
    if (chunk_push(tail, last, seq))
        return value;
    uint32_t more = chunk_take(ix, seq);
    chunk_at(ix, (uint32_t)value)->next = more;
    return chain_of(chain_head(value), more);
}

/* Takes a number out of a chain. Returns the slot's new value: 0 when none is left. */
static uint64_t chain_remove(struct index *ix, uint64_t value, uint64_t seq)
{
    uint64_t numbers[CHUNK_NUMBERS];
    uint32_t before;
    uint32_t at = chain_find(ix, value, seq, &before);
    size_t n = chunk_numbers(chunk_at(ix, at), numbers);
    uint32_t next = chunk_at(ix, at)->next;
    size_t i = 0;

    while (i < n && numbers[i] != seq)
        i++;
    if (i == n)
        return value;
    memmove(&numbers[i], &numbers[i + 1], (n - i - 1) * sizeof numbers[0]);
    if (n > 1) { /* differences that are joined take no more room than before */
        (void)chunk_refill(ix, at, numbers, n - 1);
        return value;
    }
    chunk_give(ix, at);
    if (before != NO_CHUNK) {
        chunk_at(ix, before)->next = next;
        return next == NO_CHUNK ? chain_of(chain_head(value), before) : value;
    }
    return next == NO_CHUNK ? 0 : chain_of(next, (uint32_t)value);
}

void index_prefetch(const struct index *ix, uint64_t key)
{
    const struct shard *shard = &ix->shards[key >> 56];

    if (shard->cap)
        __builtin_prefetch(&shard->slots[home_of(shard, key)], 1);
}

bool index_add(struct index *ix, uint64_t key, uint64_t seq)
{
    struct shard *shard = &ix->shards[key >> 56];

    /* Three: the most that one number takes, where a single one becomes a chain or a chunk is split. */
    if (!shard_reserve(shard) || !chunks_reserve(ix, 3))
        return false;
    struct slot *slot = slot_find(shard, key);
    if (!slot->value) {
        *slot = (struct slot){key, seq};
        shard->used++;
        return true;
    }
    if (!(slot->value & CHAIN)) {
        if (slot->value == seq)
            return true;
        uint32_t head = chunk_take(ix, slot->value);
        slot->value = chain_of(head, head);
    }
    slot->value = chain_add(ix, slot->value, seq);
    return true;
}

bool index_set(struct index *ix, uint64_t key, uint64_t seq)
{
    struct shard *shard = &ix->shards[key >> 56];

    if (!shard_reserve(shard))
        return false;
    struct slot *slot = slot_find(shard, key);
    shard->used += !slot->value;
    *slot = (struct slot){key, seq};
    return true;
}

/* Empties a slot and moves later ones up, so that probing still finds them. */
static void slot_clear(struct shard *shard, struct slot *slot)
{
    uint32_t hole = (uint32_t)(slot - shard->slots);

    for (uint32_t i = hole;;) {
        if (++i == shard->cap)
            i = 0;
        if (!shard->slots[i].value)
            break;
        /* It may move when its home does not lie between the hole and where it is. */
        uint32_t from_home = (i + shard->cap - home_of(shard, shard->slots[i].key)) % shard->cap;
        uint32_t from_hole = (i + shard->cap - hole) % shard->cap;
        if (from_home >= from_hole) {
            shard->slots[hole] = shard->slots[i];
            hole = i;
        }
    }
    shard->slots[hole] = (struct slot){0};
    shard->used--;
}

void index_remove(struct index *ix, uint64_t key, uint64_t seq)
{
    struct shard *shard = &ix->shards[key >> 56];
    struct slot *slot = shard->cap ? slot_find(shard, key) : NULL;

    if (!slot || !slot->value)
        return;
    if (slot->value & CHAIN) {
        slot->value = chain_remove(ix, slot->value, seq);
        uint32_t head = chain_head(slot->value);
        if (slot->value && head == (uint32_t)slot->value && chunk_at(ix, head)->used == 0) {
            slot->value = chunk_at(ix, head)->first;
            chunk_give(ix, head);
        }
    } else if (slot->value == seq) {
        slot->value = 0;
    }
    if (!slot->value) {
        slot_clear(shard, slot);
    }
}

/* The slot's value, 0 when the key has none. */
static uint64_t value_of(const struct index *ix, uint64_t key)
{
    const struct shard *shard = &ix->shards[key >> 56];

    return shard->cap ? slot_find(shard, key)->value : 0;
}

bool index_ends(const struct index *ix, uint64_t key, uint64_t *ret_first, uint64_t *ret_last)
{
    uint64_t value = value_of(ix, key);

    if (!value)
        return false;
    *ret_first = value & CHAIN ? chunk_at(ix, chain_head(value))->first : value;
    *ret_last = value & CHAIN ? chunk_last(chunk_at(ix, (uint32_t)value)) : value;
    return true;
}

bool index_get(const struct index *ix, uint64_t key, struct seqs *out)
{
    uint64_t value = value_of(ix, key);

    if (!value)
        return true;
    if (!(value & CHAIN))
        return seqs_add(out, value);
    for (uint32_t n = chain_head(value); n != NO_CHUNK;) {
        const struct chunk *chunk = chunk_at(ix, n);
        uint64_t seq = chunk->first;
        if (!seqs_add(out, seq))
            return false;
        for (size_t i = 0; i < chunk->used;) {
            seq += take_difference(chunk, &i);
            if (!seqs_add(out, seq))
                return false;
        }
        n = chunk->next;
    }
    return true;
}

bool seqs_add(struct seqs *seqs, uint64_t seq)
{
    if (seqs->n == seqs->cap) {
        size_t cap = seqs->cap ? seqs->cap * 2 : 32;
        uint64_t *at = realloc(seqs->at, cap * sizeof *at);
        if (!at)
            return false;
        seqs->at = at;
        seqs->cap = cap;
    }
    seqs->at[seqs->n++] = seq;
    return true;
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void seqs_sort(struct seqs *seqs)
{
    size_t kept = 0;

    if (seqs->n)
        qsort(seqs->at, seqs->n, sizeof seqs->at[0], compare_seqs);
    for (size_t i = 0; i < seqs->n; i++)
        if (kept == 0 || seqs->at[kept - 1] != seqs->at[i])
            seqs->at[kept++] = seqs->at[i];
    seqs->n = kept;
}

void seqs_free(struct seqs *seqs)
{
    free(seqs->at);
    *seqs = (struct seqs){0};
}

size_t index_bytes(const struct index *ix)
{
    size_t bytes = sizeof *ix + ix->cap_blocks * sizeof ix->blocks[0];

    for (size_t i = 0; i < SHARDS; i++)
        bytes += ix->shards[i].cap * sizeof(struct slot);
    return bytes + ix->n_blocks * BLOCK_CHUNKS * sizeof(struct chunk);
}
