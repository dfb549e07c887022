/* Loading: the index and what else is kept in memory is made from the stored heads when the store opens (see store.h).
 *
 * In slices, so that the loop goes on meanwhile: nobody may ask the store yet, and nobody writes, so that one read
 * transaction lasts over all slices and what was read stays where it is.
 *
 * It is the processor waiting for memory that takes the time, not the disk and not the sums. So records are taken in
 * groups: while one group's heads are fetched into the cache, the other's are read, and the same for the places of the
 * index. And an object or a revision that was met a moment ago, as most are, is not hashed again: its keys are
 * remembered (struct memo).
 *
 * Invariant: a store that opens has every record readable: each head was read and its checksum checked. A damaged record
 * refuses the start; to go on without it would be to forget an acknowledged event in silence.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/crc32c_priv.h"
#include "store/store_priv.h"

#define GROUP      32  /* records whose memory is on its way at once */
#define HEAD_BYTES 384 /* of a record that are fetched ahead: most heads are no longer */
#define CACHE_LINE 64
#define MEMO       1024 /* objects, and revisions, that are remembered; a power of two */

/* What objects and revisions hash to. The texts are those of a record in the file. */
#define PARTS 4
struct memo_object {
    struct str parts[PARTS]; /* cluster, kind, namespace, name */
    bool used;
    uint64_t object;
    uint64_t cluster;
};
struct memo_revision {
    struct str parts[PARTS]; /* the members */
    bool used;
    size_t n;
    uint64_t keys[KEYS_OF_FORMS_MAX];
};

struct group_record {
    struct str value;
    uint64_t seq;
    struct record_stored stored;
    uint64_t keys[KEYS_OF_RECORD_MAX];
    size_t n_keys;
    uint64_t cluster;
};

struct store_load {
    MDB_cursor *cursor;
    uint64_t done;
    uint64_t total;
    struct group_record group[GROUP];
    struct memo_object objects[MEMO];
    struct memo_revision revisions[MEMO];
};

static const char no_memory[] = "there is not enough memory for the index";

static size_t memo_slot(const struct str parts[static PARTS])
{
    uint32_t sum = 0;

    for (size_t i = 0; i < PARTS; i++)
        sum = crc32c(sum, parts[i]);
    return sum % MEMO;
}

static bool memo_is(const struct str memo[static PARTS], const struct str parts[static PARTS])
{
    for (size_t i = 0; i < PARTS; i++)
        if (!str_eq(memo[i], parts[i]))
            return false;
    return true;
}

static const struct memo_object *object_of(struct store *s, const struct record *r)
{
    const struct str parts[PARTS] = {r->cluster, r->kind, r->namespace, r->name};
    struct memo_object *memo = &s->load->objects[memo_slot(parts)];

    if (memo->used && memo_is(memo->parts, parts))
        return memo;
    memo->used = true;
    memcpy(memo->parts, parts, sizeof parts);
    memo->object = key_of_object(s->seed, r->kind, r->namespace, r->name);
    memo->cluster = key_siphash(s->seed, r->cluster);
    return memo;
}

static const struct memo_revision *revision_of(struct store *s, const struct record *r)
{
    const struct revision_set set = revision_set_of(r);
    struct memo_revision *memo = &s->load->revisions[memo_slot(set.member)];

    if (memo->used && memo_is(memo->parts, set.member))
        return memo;
    memo->used = true;
    memcpy(memo->parts, set.member, sizeof set.member);
    memo->n = keys_of_forms(s->seed, r, memo->keys);
    return memo;
}
_Static_assert(REVISION_MEMBERS == PARTS, "a memo has room for the members");

/* The next records, their heads on the way into the cache. Returns how many; fewer than GROUP at the end. */
static size_t group_fetch(struct store_load *load, size_t most, const char **ret_wrong)
{
    MDB_val key;
    MDB_val value;
    uint64_t big_endian;
    size_t n = 0;
    int status = 0;

    while (n < most && (status = mdb_cursor_get(load->cursor, &key, &value, MDB_NEXT)) == 0) {
        struct group_record *g = &load->group[n];
        if (key.mv_size != sizeof big_endian) {
            *ret_wrong = "its key has a wrong length";
            return n;
        }
        memcpy(&big_endian, key.mv_data, sizeof big_endian);
        g->seq = be64toh(big_endian);
        g->value = (struct str){value.mv_data, value.mv_size};
        for (size_t at = 0; at < HEAD_BYTES; at += CACHE_LINE)
            __builtin_prefetch(g->value.at + at);
        n++;
    }
    if (status && status != MDB_NOTFOUND)
        *ret_wrong = mdb_strerror(status);
    return n;
}

/* Reads a head, and has the places of its keys fetched. */
static const char *group_read(struct store *s, struct group_record *g)
{
    struct record_stored *stored = &g->stored;
    const char *wrong = record_decode(g->seq, g->value, stored);

    if (wrong)
        return wrong;
    const struct memo_object *object = object_of(s, &stored->record);
    const struct memo_revision *revision = revision_of(s, &stored->record);
    g->cluster = object->cluster;
    g->n_keys = keys_begin(object->object, stored->body_first_digest, stored->body_last_digest, g->keys);
    memcpy(&g->keys[g->n_keys], revision->keys, revision->n * sizeof revision->keys[0]);
    g->n_keys += revision->n;
    index_prefetch(s->index, key_of_object_in(object->object, object->cluster));
    for (size_t i = 1; i < g->n_keys; i++)
        index_prefetch(s->index, g->keys[i]);
    return NULL;
}

static const char *group_note(struct store *s, const struct group_record *g)
{
    for (size_t i = 1; i < g->n_keys; i++) /* the first is that of the object */
        if (!index_add(s->index, g->keys[i], g->seq))
            return no_memory;
    if (!store_note_record(s, &g->stored.record, g->keys[0], g->cluster))
        return no_memory;
    if (g->stored.record.last.received_ms > s->last_received_ms)
        s->last_received_ms = g->stored.record.last.received_ms;
    return NULL;
}

static bool fail_record(const struct store *s, char err[static STORE_ERROR], uint64_t seq, const char *wrong)
{
    char what[64];

    (void)snprintf(what, sizeof what, "cannot be used: record %llu", (unsigned long long)seq);
    return store_fail(s, err, what, wrong);
}

/* Takes up to GROUP records in. *ret_n: how many there were. */
static bool load_group(struct store *s, size_t most, size_t *ret_n, char err[static STORE_ERROR])
{
    struct store_load *load = s->load;
    const char *wrong = NULL;

    *ret_n = group_fetch(load, most, &wrong);
    if (wrong)
        return store_fail(s, err, "cannot be read", wrong);
    for (size_t i = 0; i < *ret_n; i++)
        if ((wrong = group_read(s, &load->group[i])) != NULL)
            return fail_record(s, err, load->group[i].seq, wrong);
    for (size_t i = 0; i < *ret_n; i++)
        if ((wrong = group_note(s, &load->group[i])) != NULL)
            return fail_record(s, err, load->group[i].seq, wrong);
    load->done += *ret_n;
    return true;
}

void store_load_free(struct store *s)
{
    if (s->load && s->load->cursor)
        mdb_cursor_close(s->load->cursor);
    free(s->load);
    s->load = NULL;
}

static void say_how_far(struct store *s)
{
    (void)snprintf(s->load_why, sizeof s->load_why, "the store is being opened (%llu of %llu records)",
                   (unsigned long long)s->load->done, (unsigned long long)s->load->total);
}

bool store_load_begin(struct store *s, char err[static STORE_ERROR])
{
    MDB_stat stat = {0};

    s->load = calloc(1, sizeof *s->load);
    int status = s->load ? mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader) : ENOMEM;
    if (status == 0)
        status = mdb_cursor_open(s->reader, s->events, &s->load->cursor);
    if (status)
        return store_fail(s, err, "cannot be read", mdb_strerror(status));
    (void)mdb_stat(s->reader, s->events, &stat);
    s->load->total = stat.ms_entries;
    s->index = index_new(stat.ms_entries); /* most keys are those of bodies, one for each record */
    s->ages = ages_new();
    say_how_far(s);
    return (s->index && s->ages) || store_fail(s, err, "cannot be used", strerror(ENOMEM));
}

/* All is in memory: from here on the store is like any other. */
static enum store_loading load_end(struct store *s, char err[static STORE_ERROR])
{
    store_load_free(s);
    mdb_txn_reset(s->reader);
    retain_measure(s);
    s->committer = commit_start(s->env, s->events, s->meta);
    if (s->committer)
        return STORE_LOADED;
    (void)store_fail(s, err, "cannot be used: no thread", strerror(errno));
    return STORE_LOAD_FAILED;
}

enum store_loading store_load(struct store *s, size_t most, char err[static STORE_ERROR])
{
    size_t n;

    for (; most > 0; most -= n) {
        size_t group = most < GROUP ? most : GROUP;
        if (!load_group(s, group, &n, err))
            return STORE_LOAD_FAILED;
        if (n < group)
            return load_end(s, err);
    }
    say_how_far(s);
    return STORE_LOADING;
}
