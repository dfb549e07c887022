/* Retention: what goes, and when (the contract on the store).
 *
 * By age: a record goes when it was not changed for --retention. By size: while the records take more room than
 * --max-size allows, the longest-unchanged go first, and the newest success or failure of an object after all others.
 *
 * A slice of at most STORE_RETAIN_ROWS deletions is part of a commit: of the next batch of events, in proportion to it, or of
 * one of its own while nothing else is to be written. So it neither waits for a quiet moment nor makes an event
 * wait for more than a commit. Each slice needs a store_tick(): when ticks end, as at shutdown, retention ends too.
 *
 * A full disk is no obstacle: LMDB writes copies of the pages that it changes, so deleting needs room; a reserve in the
 * file is kept for that (commit.c). What retention does not let go is never deleted to make room.
 *
 * Invariants: numbers are never used again: each slice keeps the highest one in `meta`. Nothing is forgotten in memory
 * before its deletion was committed. A record that the batch changes, or answers with, is not deleted by it. Along a track of an object
 * records go in order of sequence, so the newest one goes last and takes the track's key along.
 */
#include <endian.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "store/store_priv.h"

#define SLACK_PART   256 /* of the retention: by how much later than due a record may go */
#define SLACK_MIN_MS 1000
#define SLACK_MAX_MS (INT64_C(3600) * 1000)
#define RETRY_MS     1000 /* after a slice that failed, or that nothing else woke up for */
#define BUSY_ROWS    16   /* in a batch of few events */
#define ALONE_ROWS   128  /* in a commit without events: those that come meanwhile wait for it */
#define FULL_ROWS    32   /* on a full disk: touches few pages */
/* The file holds more than the records: pages that were freed and not used again yet, and reserves. */
#define SPARE_PART  8
#define SPARE_BYTES (UINT64_C(2) << 20)

static int64_t slack_ms(const struct store *s)
{
    int64_t slack = s->retention_ms / SLACK_PART;

    return slack < SLACK_MIN_MS ? SLACK_MIN_MS : slack > SLACK_MAX_MS ? SLACK_MAX_MS : slack;
}

/* When the oldest record is due, and a little later, so that those due soon after go with it. */
static int64_t due_ms(struct store *s)
{
    int64_t oldest = s->retention_ms ? ages_oldest_ms(s->ages) : INT64_MAX;
    int64_t due;

    if (oldest == INT64_MAX || __builtin_add_overflow(oldest, s->retention_ms + slack_ms(s), &due))
        return INT64_MAX;
    return due;
}

/* A volume that is smaller than --max-size bounds the store too: better to let go of the oldest than to refuse the
 * newest. */
static uint64_t bounded_by_volume(const struct store *s, uint64_t bytes)
{
    struct statvfs fs;

    if (statvfs(s->dir, &fs) == 0 && fs.f_blocks > 0) {
        uint64_t volume = (uint64_t)fs.f_blocks * fs.f_frsize;
        bytes = volume < bytes ? volume : bytes;
    }
    return bytes;
}

/* At the end of LMDB's map there is no room either, and no disk that grows would make any. */
static uint64_t bounded_by_map(uint64_t bytes)
{
    return bytes == 0 || bytes > STORE_MAP_BYTES ? STORE_MAP_BYTES : bytes;
}

void retain_init(struct store *s, const struct store_config *config)
{
    uint64_t bytes = bounded_by_map(config->max_bytes ? bounded_by_volume(s, config->max_bytes) : 0);
    uint64_t spare = bytes / 4 < SPARE_BYTES ? bytes / 4 : SPARE_BYTES;

    s->retention_ms = config->retention_ms;
    s->numbers.max_bytes = bytes;
    s->max_bytes = bytes - bytes / SPARE_PART - spare;
}

void retain_measure(struct store *s)
{
    MDB_stat stat;

    if (!store_read_begin(s))
        return;
    if (mdb_stat(s->reader, s->events, &stat) == 0)
        s->used_bytes =
            (uint64_t)(stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize;
    store_read_end(s);
}

static bool over_size(const struct store *s)
{
    return s->used_bytes > s->max_bytes && s->stats.records > 0;
}

int64_t store_tick(struct store *s, int64_t now_ms)
{
    if (s->dead)
        return INT64_MAX;
    s->retain_now_ms = now_ms;
    if (now_ms < s->retain_retry_ms && s->retain_retry_ms - now_ms <= RETRY_MS)
        return s->retain_retry_ms;
    if (!s->aging && now_ms >= s->retain_due_ms) {
        s->retain_due_ms = due_ms(s);
        s->aging = now_ms >= s->retain_due_ms;
    }
    s->slice_wanted = s->aging || over_size(s);
    return s->slice_wanted ? now_ms + RETRY_MS : s->retain_due_ms;
}

static size_t most_rows(const struct store *s)
{
    size_t busy = s->n_written * 2 > BUSY_ROWS ? s->n_written * 2 : BUSY_ROWS;

    if (s->full)
        return FULL_ROWS;
    if (s->n_written == 0)
        return ALONE_ROWS;
    return busy < STORE_RETAIN_ROWS ? busy : STORE_RETAIN_ROWS;
}

static size_t pick(struct store *s, size_t most, uint64_t seqs[static AGES_PICK_MAX])
{
    size_t n = 0;

    s->going_cause = DELETED_AGE;
    if (s->aging) {
        n = ages_pick(s->ages, s->retain_now_ms - s->retention_ms, false, most, seqs);
        s->aging = n > 0;
        if (n == 0)
            s->retain_due_ms = due_ms(s);
    }
    if (n == 0 && over_size(s)) {
        uint64_t each = s->used_bytes / s->stats.records + 1;
        uint64_t rows = (s->used_bytes - s->max_bytes) / each + 1;
        s->going_cause = DELETED_SIZE;
        n = ages_pick(s->ages, INT64_MAX, true, rows < most ? (size_t)rows : most, seqs);
    }
    return n;
}

static bool going_add(struct store *s, uint64_t key, uint64_t seq)
{
    if (s->n_going_keys == s->cap_going_keys) {
        size_t cap = s->cap_going_keys ? s->cap_going_keys * 2 : 256;
        struct going_key *keys = realloc(s->going_keys, cap * sizeof *keys);
        if (!keys)
            return false;
        s->going_keys = keys;
        s->cap_going_keys = cap;
    }
    s->going_keys[s->n_going_keys++] = (struct going_key){key, seq};
    return true;
}

/* Notes what the index must forget of a record. One that cannot be read any more goes all the same. */
static bool note_keys(struct store *s, uint64_t seq, struct going_record *going)
{
    struct record_stored stored;
    uint64_t keys[KEYS_OF_RECORD_MAX];

    *going = (struct going_record){.seq = seq};
    if (!store_read(s, seq, &stored, NULL))
        return true;
    size_t n =
        keys_of_record(s->seed, &stored.record, stored.body_first_digest, stored.body_last_digest, keys);
    for (size_t i = 1; i < n; i++)
        if (!going_add(s, keys[i], seq))
            return false;
    going->object = keys[0];
    going->cluster = key_siphash(s->seed, stored.record.cluster);
    return going_add(s, key_of_track(s->seed, &stored.record), seq);
}

static int compare_seqs(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Takes what an append of the batch repeats out of seqs: its answer names that record. */
static size_t spare_repeated(const struct store *s, uint64_t *seqs, size_t n)
{
    bool spared[AGES_PICK_MAX] = {false};
    size_t kept = 0;

    qsort(seqs, n, sizeof seqs[0], compare_seqs);
    for (const struct pending *p = s->batch.first; p; p = p->next) {
        const uint64_t *at =
            p->fate == PENDING_REPEAT ? bsearch(&p->seq, seqs, n, sizeof seqs[0], compare_seqs) : NULL;
        if (at)
            spared[at - seqs] = true;
    }
    for (size_t i = 0; i < n; i++)
        if (!spared[i])
            seqs[kept++] = seqs[i];
    return kept;
}

void retain_pick(struct store *s)
{
    uint64_t seqs[AGES_PICK_MAX];

    s->n_going = 0;
    s->n_going_keys = 0;
    if (!s->slice_wanted)
        return;
    s->slice_wanted = false;
    size_t n = pick(s, most_rows(s), seqs);
    n = spare_repeated(s, seqs, n);
    if (n == 0 || !store_read_begin(s))
        return;
    for (size_t i = 0; i < n; i++) {
        size_t n_keys = s->n_going_keys;
        if (store_find_update(s, seqs[i]))
            continue;
        if (!note_keys(s, seqs[i], &s->going[s->n_going])) {
            s->n_going_keys = n_keys; /* it stays, and so must all of its keys */
            break;
        }
        s->ops[s->n_written + s->n_going] = (struct commit_op){.kind = COMMIT_DELETE, .seq = seqs[i]};
        s->n_going++;
    }
    store_read_end(s);
    s->high_water[0] = htole64(s->last_seq + s->n_fresh);
    s->high_water[1] = htole64((uint64_t)s->last_received_ms);
}

void retain_publish(struct store *s)
{
    for (size_t i = 0; i < s->n_going_keys; i++)
        index_remove(s->index, s->going_keys[i].key, s->going_keys[i].seq);
    for (size_t i = 0; i < s->n_going; i++) {
        ages_remove(s->ages, s->going[i].seq);
        if (s->going[i].object)
            store_object_remove(s, s->going[i].object, s->going[i].cluster, s->going[i].seq);
    }
    s->stats.records -= s->n_going;
    s->numbers.deleted[s->going_cause] += s->n_going;
    s->n_going = 0;
    s->n_going_keys = 0;
}

void retain_failed(struct store *s)
{
    s->retain_retry_ms = s->retain_now_ms + RETRY_MS;
}

bool retain_note(struct store *s, const struct record *r, uint64_t track)
{
    bool decides = record_decides(r);
    uint64_t first;
    uint64_t newest;

    if (!ages_add(s->ages, r->seq, r->last.received_ms, decides))
        return false;
    if (decides && index_ends(s->index, track, &first, &newest))
        ages_protect(s->ages, newest, false);
    int64_t due;
    if (s->retention_ms &&
        !__builtin_add_overflow(r->last.received_ms, s->retention_ms + slack_ms(s), &due) &&
        due < s->retain_due_ms)
        s->retain_due_ms = due;
    return true;
}
