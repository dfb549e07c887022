/* Opening and closing the store (see store.h); verifying one.
 *
 * Order: directory, file system, lock, a new store if there is none, LMDB, schema; then what is kept in memory
 * (store_load.c), and last the writer. Every step names the directory and the mend when it fails, and leaves nothing
 * behind. Opening writes only when the store is new.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/lock_priv.h"
#include "store/store_priv.h"
#include "store/transfer.h"

#define META_SCHEMA "schema"
#define META_EPOCH  "epoch"
#define META_SEED   "seed"

const struct flag store_flags[] = {
    {.name = "--data-dir",
     .argument = "DIR",
     .type = FLAG_STRING,
     .offset = offsetof(struct store_config, dir),
     .preset = "data",
     .help = "where events are kept; created when absent"},
    {.name = "--cluster",
     .argument = "NAME",
     .type = FLAG_STRING,
     .offset = offsetof(struct store_config, cluster),
     .help = "cluster of events whose metadata name none"},
    {.name = "--retention",
     .argument = "DURATION",
     .type = FLAG_DURATION,
     .offset = offsetof(struct store_config, retention_ms),
     .preset = "30d",
     .help = "an event goes when it was not repeated for this long; 0: never"},
    {.name = "--max-size",
     .argument = "SIZE",
     .type = FLAG_ROOM,
     .offset = offsetof(struct store_config, max_bytes),
     .preset = "1GiB",
     .help = "size of the data at which the oldest events go, 4MiB to 64GiB; 0: 64GiB"},
    {.name = "--allow-network-fs",
     .type = FLAG_BOOL,
     .offset = offsetof(struct store_config, allow_network_fs),
     .help = "accept a data directory on NFS, SMB, FUSE and the like"},
    {.name = NULL},
};

bool store_fail(const struct store *s, char err[static STORE_ERROR], const char *what, const char *why)
{
    struct text text;

    text_init(&text, err, STORE_ERROR);
    text_addf(&text, "the data directory %s %s: %s", s->dir, what, why);
    return false;
}

static bool open_dir(struct store *s, const struct store_config *config, char err[static STORE_ERROR])
{
    struct stat st;

    if (mkdir(s->dir, 0700) < 0 && errno != EEXIST)
        return store_fail(s, err, "cannot be created", strerror(errno));
    if (stat(s->dir, &st) < 0)
        return store_fail(s, err, "cannot be used", strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return store_fail(s, err, "cannot be used", strerror(ENOTDIR));
    if (!config->allow_network_fs && !lock_check_fs(s->dir, err))
        return false;
    s->lock_fd = lock_take(s->dir, err);
    return s->lock_fd >= 0;
}

static bool open_env(struct store *s, const char *dir, char err[static STORE_ERROR])
{
    int status = mdb_env_create(&s->env);

    if (status == 0)
        status = mdb_env_set_mapsize(s->env, STORE_MAP_BYTES);
    if (status == 0)
        status = mdb_env_set_maxdbs(s->env, 2);
    /* MDB_NOTLS: the loop's read transaction is not tied to a thread. No flag that weakens a sync. */
    if (status == 0)
        status = mdb_env_open(s->env, dir, MDB_NOTLS, 0600);
    if (status == ENOMEM)
        return store_fail(s, err, "cannot be opened",
                          "data.mdb: the address space is limited (64 GiB are mapped)");
    if (status)
        return store_fail(s, err, "cannot be opened: data.mdb", mdb_strerror(status));
    return true;
}

static int meta_put(MDB_txn *txn, MDB_dbi meta, const char *name, void *bytes, size_t len)
{
    MDB_val key = commit_val(str_of(name));
    MDB_val value = {len, bytes};

    return mdb_put(txn, meta, &key, &value, 0);
}

/* False when it is absent or has another length. */
static bool meta_get(MDB_txn *txn, MDB_dbi meta, const char *name, void *ret, size_t len)
{
    MDB_val key = commit_val(str_of(name));
    MDB_val value;

    if (mdb_get(txn, meta, &key, &value) || value.mv_size != len)
        return false;
    memcpy(ret, value.mv_data, len);
    return true;
}

static bool meta_has(MDB_txn *txn, MDB_dbi meta, const char *name)
{
    MDB_val key = commit_val(str_of(name));
    MDB_val value;

    return mdb_get(txn, meta, &key, &value) == 0;
}

/* The epoch tells one store from another that took its place: a position in the first means nothing in the
 * second. */
static int create(struct store *s, MDB_txn *txn)
{
    uint32_t schema = htole32(STORE_SCHEMA);
    struct key_seed epoch;

    if (!key_seed_random(&s->seed) || !key_seed_random(&epoch))
        return errno;
    struct key_seed seed = {htole64(s->seed.k0), htole64(s->seed.k1)};
    int status = mdb_dbi_open(txn, "meta", MDB_CREATE, &s->meta);
    if (status == 0)
        status = mdb_dbi_open(txn, "events", MDB_CREATE, &s->events);
    if (status == 0)
        status = meta_put(txn, s->meta, META_SCHEMA, &schema, sizeof schema);
    if (status == 0)
        status = meta_put(txn, s->meta, META_EPOCH, &epoch, sizeof epoch);
    if (status == 0)
        status = meta_put(txn, s->meta, META_SEED, &seed, sizeof seed);
    return status;
}

static bool open_known(struct store *s, MDB_txn *txn, char err[static STORE_ERROR])
{
    uint32_t schema;
    struct key_seed seed;
    uint64_t high_water[2];
    char why[128];

    if (!meta_get(txn, s->meta, META_SCHEMA, &schema, sizeof schema))
        return store_fail(s, err, "is damaged", "data.mdb has no schema number; restore it from a copy");
    schema = le32toh(schema);
    if (schema > STORE_SCHEMA) {
        (void)snprintf(why, sizeof why, "its schema is %u, this version knows %d; use the newer version",
                       schema, STORE_SCHEMA);
        return store_fail(s, err, "was written by a newer version of flux-event-store", why);
    }
    if (schema == 0 || !meta_get(txn, s->meta, META_SEED, &seed, sizeof seed) ||
        mdb_dbi_open(txn, "events", 0, &s->events))
        return store_fail(s, err, "is damaged", "data.mdb lacks a part; restore it from a copy");
    if (meta_has(txn, s->meta, META_IMPORTING))
        return store_fail(
            s, err, "cannot be used",
            "an import into it did not end, so it holds a part; remove the directory, and import again");
    s->seed = (struct key_seed){le64toh(seed.k0), le64toh(seed.k1)};
    if (meta_get(txn, s->meta, META_HIGH_WATER, &high_water, sizeof high_water)) {
        s->last_seq = le64toh(high_water[0]);
        s->last_received_ms = (int64_t)le64toh(high_water[1]);
    }
    return true;
}

static bool open_schema(struct store *s, char err[static STORE_ERROR])
{
    MDB_txn *txn;
    MDB_stat stat;
    int status = mdb_txn_begin(s->env, NULL, 0, &txn);

    if (status)
        return store_fail(s, err, "cannot be opened: data.mdb", mdb_strerror(status));
    status = mdb_dbi_open(txn, "meta", 0, &s->meta);
    if (status == 0 && !open_known(s, txn, err)) {
        mdb_txn_abort(txn);
        return false;
    }
    if (status == MDB_NOTFOUND) {
        MDB_dbi root;
        bool empty =
            mdb_dbi_open(txn, NULL, 0, &root) == 0 && mdb_stat(txn, root, &stat) == 0 && stat.ms_entries == 0;
        if (!empty) {
            mdb_txn_abort(txn);
            return store_fail(s, err, "cannot be used", "data.mdb belongs to another program");
        }
        status = create(s, txn);
    }
    if (status) {
        mdb_txn_abort(txn);
        return store_fail(s, err, "cannot be opened: data.mdb", mdb_strerror(status));
    }
    status = mdb_txn_commit(txn);
    return status == 0 || store_fail(s, err, "cannot be written: data.mdb", mdb_strerror(status));
}

static bool sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    int error = errno;

    if (fd >= 0)
        (void)close(fd);
    errno = error;
    return synced;
}

/* LMDB makes a file in several writes, and does not open what a power failure leaves of one that was not synced yet.
 * So a new store is made aside, and gets its name when it is whole and on disk. */
static bool make_aside(struct store *s, const char *aside, const char *aside_data, const char *aside_lock,
                       char err[static STORE_ERROR])
{
    if ((unlink(aside_data) < 0 && errno != ENOENT) || (mkdir(aside, 0700) < 0 && errno != EEXIST))
        return store_fail(s, err, "cannot be written", strerror(errno));
    bool made = open_env(s, aside, err) && open_schema(s, err);
    if (s->env)
        mdb_env_close(s->env);
    s->env = NULL;
    (void)unlink(aside_lock);
    return made;
}

/* Also ends a start that was interrupted between the renaming and the sync. */
static bool open_new(struct store *s, char err[static STORE_ERROR])
{
    char path[5][PATH_MAX];
    static const char *const names[] = {"data.mdb", "new", "new/data.mdb", "new/lock.mdb", ".."};
    enum { DATA, ASIDE, ASIDE_DATA, ASIDE_LOCK, PARENT };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (snprintf(path[i], sizeof path[i], "%s/%s", s->dir, names[i]) >= (int)sizeof path[i])
            return store_fail(s, err, "cannot be used", strerror(ENAMETOOLONG));
    if (access(path[DATA], F_OK) < 0) {
        if (errno != ENOENT)
            return store_fail(s, err, "cannot be used", strerror(errno));
        if (!make_aside(s, path[ASIDE], path[ASIDE_DATA], path[ASIDE_LOCK], err))
            return false;
        if (rename(path[ASIDE_DATA], path[DATA]) < 0)
            return store_fail(s, err, "cannot be written", strerror(errno));
    }
    (void)rmdir(path[ASIDE]);
    /* The parent may be out of reach, and then it is not this program that made the directory. */
    (void)sync_dir(path[PARENT]);
    return sync_dir(s->dir) || store_fail(s, err, "cannot be synced", strerror(errno));
}

/* What is read here may be in the page cache only: a process that ended while it wrote a meta page, or because that
 * failed, leaves it unknown which of two the disk has. Before a record is taken for stored, and before pages are
 * written anew to which the other may refer, the disk must have the one that is seen. */
static bool sync_data(struct store *s, char err[static STORE_ERROR])
{
    int status = mdb_env_sync(s->env, 1);

    return status == 0 || store_fail(s, err, "cannot be synced: data.mdb", mdb_strerror(status));
}

static void store_free(struct store *s)
{
    commit_stop(s->committer);
    store_load_free(s);
    if (s->reader)
        mdb_txn_abort(s->reader);
    if (s->env)
        mdb_env_close(s->env);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    index_free(s->index);
    hints_free(&s->hints);
    ages_free(s->ages);
    free(s->going_keys);
    free(s->clusters);
    free(s->dir);
    free(s->cluster);
    free(s);
}

/* Memory, directory, lock: what opening begins with. */
static struct store *store_new(const struct store_config *config, const struct reporter *reporter,
                               char err[static STORE_ERROR])
{
    struct store *s = calloc(1, sizeof *s);
    struct text text;

    text_init(&text, err, STORE_ERROR);
    if (!s)
        goto no_memory;
    s->lock_fd = -1;
    s->reporter = *reporter;
    s->max_queued_bytes = config->max_queued_bytes ? config->max_queued_bytes : STORE_MAX_QUEUED_BYTES;
    s->want_probe = &s->probe_wanted;
    s->coalescing = true;
    pending_list_init(&s->queue);
    pending_list_init(&s->batch);
    s->dir = str_dup(str_of(config->dir));
    s->cluster = str_dup(str_of(config->cluster));
    if (!s->dir || !s->cluster)
        goto no_memory;
    if (!open_dir(s, config, err))
        goto fail;
    return s;
no_memory:
    text_add(&text, STR("the store cannot be opened: out of memory"));
fail:
    if (s)
        store_free(s);
    return NULL;
}

struct store *store_begin(const struct store_config *config, const struct reporter *reporter,
                          char err[static STORE_ERROR])
{
    struct store *s = store_new(config, reporter, err);

    if (!s)
        return NULL;
    retain_init(s, config);
    if (!open_new(s, err) || !open_env(s, s->dir, err) || !open_schema(s, err) || !sync_data(s, err) ||
        !store_load_begin(s, err)) {
        store_free(s);
        return NULL;
    }
    if (config->before_writer)
        config->before_writer(config->before_writer_arg);
    return s;
}

struct store *store_open(const struct store_config *config, const struct reporter *reporter,
                         char err[static STORE_ERROR])
{
    struct store *s = store_begin(config, reporter, err);

    if (s && store_load(s, SIZE_MAX, err) != STORE_LOADED) {
        store_free(s);
        return NULL;
    }
    return s;
}

/* What is wrong with a record, or NULL. */
static const char *damage(const MDB_val *key, const MDB_val *value, uint64_t *ret_seq)
{
    struct record_stored stored;
    uint64_t big_endian;

    if (key->mv_size != sizeof big_endian)
        return "its key has a wrong length";
    memcpy(&big_endian, key->mv_data, sizeof big_endian);
    *ret_seq = be64toh(big_endian);
    const char *wrong = record_decode(*ret_seq, (struct str){value->mv_data, value->mv_size}, &stored);
    if (!wrong && !record_bodies_intact(&stored.record))
        wrong = "the checksum of its bodies is wrong";
    return wrong;
}

static bool verify_all(struct store *s, FILE *out, uint64_t *ret_records, char err[static STORE_ERROR])
{
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    uint64_t damaged = 0;
    char what[64];
    int status = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader);

    if (status == 0)
        status = mdb_cursor_open(s->reader, s->events, &cursor);
    for (*ret_records = 0; status == 0 && (status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0;) {
        uint64_t seq = 0;
        const char *wrong = damage(&key, &value, &seq);
        ++*ret_records;
        if (wrong) {
            damaged++;
            (void)fprintf(out, "record %llu is damaged: %s\n", (unsigned long long)seq, wrong);
        }
    }
    mdb_cursor_close(cursor);
    if (status != MDB_NOTFOUND)
        return store_fail(s, err, "cannot be read", mdb_strerror(status));
    (void)snprintf(what, sizeof what, "has %llu damaged records", (unsigned long long)damaged);
    return damaged == 0 || store_fail(s, err, what, "restore it from an export or a copy");
}

bool transfer_verify(const struct store_config *config, FILE *out, uint64_t *ret_records,
                     char err[static STORE_ERROR])
{
    static const struct reporter nobody = {0};
    struct store *s = store_new(config, &nobody, err);

    if (!s)
        return false;
    bool whole = open_env(s, s->dir, err) && open_schema(s, err) && verify_all(s, out, ret_records, err);
    store_free(s);
    return whole;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    store_drain(s);
    store_free(s);
}
