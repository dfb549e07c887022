/* The writer thread (see commit_priv.h).
 *
 * One transaction per batch: all its puts, then mdb_txn_commit, which returns when data and meta page are
 * synced (no MDB_NOSYNC, MDB_NOMETASYNC or MDB_WRITEMAP). After any error the transaction is gone as a whole.
 *
 * Disk space is got before LMDB writes: LMDB 0.9 reports a short write, which is what a full disk does, as
 * EIO, and an EIO of a sync must end the process. So the file is extended first, where ENOSPC is only that. And it is
 * extended with zeros: the first sync of a page that was reserved and never written has to write the file's metadata too,
 * which makes a commit of one event a sixth longer (docs/figures.md).
 * Some disks promise more than they have (thin volumes, quotas), and say ENOSPC later. For a data page or for its sync
 * that is an aborted transaction: nothing refers to the pages, and the next transaction writes all of its own. Not for
 * the meta page: then LMDB is at its end (commit_result.broken), and what is on disk is unknown until it is opened anew.
 *
 * Invariants: a batch is in exactly one of three hands (enum commit_state), changed only under the mutex; the
 * fields of the batch are read by the writer only in COMMIT_GIVEN and by the loop only outside it. The
 * eventfd is a wake-up, the state is the truth.
 */
#include "store/commit_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* By how much the file is extended: little for a small one. */
#define RESERVE_STEP_MIN  (UINT64_C(64) << 10)
#define RESERVE_STEP_MAX  (UINT64_C(1) << 20)
#define RESERVE_STEP_PART 64
/* Pages of a transaction beside those of its values: the path from the root, free list, meta database. */
#define RESERVE_PAGES 64
/* Kept for deletions on a full disk: they free pages, and need some first. */
#define BALLAST_BYTES (UINT64_C(1) << 20)

enum commit_state { COMMIT_IDLE, COMMIT_GIVEN, COMMIT_RETURNED };

struct committer {
    MDB_env *env;
    MDB_dbi events;
    MDB_dbi meta;
    int fd;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum commit_state state;
    bool stop;
    struct commit_batch batch;
    uint64_t reserved; /* bytes of the file that are known to be on disk; the writer's own */
    struct commit_result result;
    int (*before_commit)(void *arg);
    void *hook_arg;
};

void commit_key(uint64_t seq, unsigned char ret[static 8])
{
    for (int i = 7; i >= 0; i--, seq >>= 8)
        ret[i] = (unsigned char)seq;
}

static int op_run(const struct committer *c, MDB_txn *txn, const struct commit_op *op)
{
    unsigned char bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val data = commit_val(op->value);
    int status = EINVAL;

    commit_key(op->seq, bytes);
    switch (op->kind) {
    case COMMIT_APPEND: status = mdb_put(txn, c->events, &key, &data, MDB_APPEND); break;
    case COMMIT_UPDATE: status = mdb_put(txn, c->events, &key, &data, 0); break;
    case COMMIT_DELETE: status = mdb_del(txn, c->events, &key, NULL); break;
    }
    return op->kind == COMMIT_DELETE && status == MDB_NOTFOUND ? 0 : status;
}

/* Zeros that LMDB itself lays out, so that nothing of that size is needed here. */
static int probe_run(const struct committer *c, MDB_txn *txn)
{
    MDB_val key = commit_val(STR(COMMIT_PROBE_KEY));
    MDB_val data = {COMMIT_PROBE_BYTES, NULL};
    int status = mdb_put(txn, c->meta, &key, &data, MDB_RESERVE);

    if (status == 0)
        memset(data.mv_data, 0, data.mv_size);
    return status;
}

static int high_water_run(const struct committer *c, MDB_txn *txn)
{
    MDB_val key = commit_val(STR(META_HIGH_WATER));
    MDB_val data = commit_val(c->batch.high_water);

    return mdb_put(txn, c->meta, &key, &data, 0);
}

static int import_run(const struct committer *c, MDB_txn *txn)
{
    MDB_val key = commit_val(STR(META_IMPORTING));
    MDB_val data = commit_val(STR("1"));

    if (c->batch.import == COMMIT_IMPORT_GOES_ON)
        return mdb_put(txn, c->meta, &key, &data, 0);
    int status = c->batch.import == COMMIT_IMPORT_ENDS ? mdb_del(txn, c->meta, &key, NULL) : 0;
    return status == MDB_NOTFOUND ? 0 : status; /* of an import in one commit */
}

static uint64_t batch_pages(const struct commit_batch *batch, uint64_t page)
{
    uint64_t pages = RESERVE_PAGES + (batch->probe ? COMMIT_PROBE_BYTES / page + 1 : 0);

    for (size_t i = 0; i < batch->n; i++)
        pages += batch->ops[i].value.len / page + 2;
    return pages;
}

/* Pages on LMDB's free list that the next transaction may use: those of older transactions than the last. */
static uint64_t free_pages(const struct committer *c, size_t last_txnid)
{
    const MDB_dbi free_list = 0; /* as mdb_stat(1) reads it: transaction -> number of pages, pages */
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val data;
    size_t id;
    size_t n;
    uint64_t pages = 0;

    if (mdb_txn_begin(c->env, NULL, MDB_RDONLY, &txn))
        return 0;
    if (mdb_cursor_open(txn, free_list, &cursor) == 0) {
        while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
            memcpy(&id, key.mv_data, sizeof id);
            memcpy(&n, data.mv_data, sizeof n);
            pages += id < last_txnid ? n : 0;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return pages;
}

/* Only for speed: what cannot be written is left as it is, and a disk that fails does so again where it counts. */
static void write_zeros(int fd, uint64_t from, uint64_t to)
{
    static char zeros[64 << 10]; /* were it const, it would be bytes of the binary */

    while (from < to) {
        size_t len = to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros;
        ssize_t n = pwrite(fd, zeros, len, (off_t)from);
        if (n <= 0)
            return;
        from += (uint64_t)n;
    }
}

/* needed: bytes of the file that have pages, or will have them after the commit; zeros are for those after it. Returns 0 or
 * an errno. A file system that cannot reserve is none the worse: its full disk ends the process, as a failed sync does. */
static int extend(struct committer *c, uint64_t needed, uint64_t to)
{
    int fd;
    int status = mdb_env_get_fd(c->env, &fd);

    if (status == 0 && fallocate(fd, 0, (off_t)c->reserved, (off_t)(to - c->reserved)) < 0 &&
        errno != EOPNOTSUPP && errno != ENOSYS)
        status = errno;
    if (status)
        return status;
    write_zeros(fd, c->reserved > needed ? c->reserved : needed, to);
    c->reserved = to;
    return 0;
}

/* Makes sure that the batch fits the file even if no free page of it can be used again, and that the ballast is left.
 * Where the disk has no room for that, the file as it is may still do: for deletions, and for what free pages hold twice.
 * Returns 0, an errno or an MDB_ error. */
static int reserve(struct committer *c)
{
    MDB_envinfo info;
    MDB_stat stat;
    int status = mdb_env_info(c->env, &info);

    if (status == 0)
        status = mdb_env_stat(c->env, &stat);
    if (status)
        return status;
    uint64_t pages = batch_pages(&c->batch, stat.ms_psize);
    uint64_t needed = (info.me_last_pgno + 1 + pages) * stat.ms_psize;
    uint64_t wanted = needed + BALLAST_BYTES;
    uint64_t step = wanted / RESERVE_STEP_PART;
    if (wanted <= c->reserved)
        return 0;
    step = step < RESERVE_STEP_MIN ? RESERVE_STEP_MIN : step > RESERVE_STEP_MAX ? RESERVE_STEP_MAX : step;
    if (extend(c, needed, wanted + step) == 0)
        return 0;
    status = extend(c, needed, wanted);
    if (status && needed <= c->reserved &&
        (c->batch.emergency || free_pages(c, info.me_last_txnid) >= 2 * pages))
        status = 0;
    return status;
}

/* There is no call that asks for it. */
static bool env_broken(const struct committer *c)
{
    MDB_txn *txn;

    if (mdb_txn_begin(c->env, NULL, MDB_RDONLY, &txn))
        return true;
    mdb_txn_abort(txn);
    return false;
}

static int batch_run(struct committer *c)
{
    const struct commit_batch *batch = &c->batch;
    MDB_txn *txn;

    if (batch->n == 0 && !batch->probe && batch->high_water.len == 0)
        return 0;
    int status = reserve(c);
    if (status)
        return status;
    status = mdb_txn_begin(c->env, NULL, 0, &txn);
    if (status)
        return status;
    for (size_t i = 0; i < batch->n && status == 0; i++)
        status = op_run(c, txn, &batch->ops[i]);
    if (status == 0 && batch->high_water.len)
        status = high_water_run(c, txn);
    if (status == 0)
        status = import_run(c, txn);
    if (status == 0 && batch->probe)
        status = probe_run(c, txn);
    if (status == 0 && c->before_commit)
        status = c->before_commit(c->hook_arg);
    if (status) {
        mdb_txn_abort(txn);
        return status;
    }
    return mdb_txn_commit(txn);
}

static uint64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void *writer(void *arg)
{
    struct committer *c = arg;

    (void)pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (c->state != COMMIT_GIVEN && !c->stop)
            (void)pthread_cond_wait(&c->changed, &c->mutex);
        if (c->state != COMMIT_GIVEN)
            break;
        (void)pthread_mutex_unlock(&c->mutex);
        uint64_t start = now_us();
        struct commit_result result = {.status = batch_run(c)};
        result.broken = result.status != 0 && env_broken(c);
        result.us = now_us() - start;
        (void)pthread_mutex_lock(&c->mutex);
        c->result = result;
        c->state = COMMIT_RETURNED;
        (void)pthread_cond_signal(&c->changed);
        (void)eventfd_write(c->fd, 1);
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* What the file holds already need not be got again. */
static uint64_t reserved_at_start(MDB_env *env)
{
    struct stat st;
    int fd;

    if (mdb_env_get_fd(env, &fd) || fstat(fd, &st) < 0)
        return 0;
    uint64_t on_disk = (uint64_t)st.st_blocks * 512;
    return on_disk < (uint64_t)st.st_size ? 0 : (uint64_t)st.st_size;
}

static int thread_start(struct committer *c)
{
    sigset_t all;
    sigset_t before;

    /* A new thread inherits the mask: no signal is ever delivered to the writer. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&c->thread, NULL, writer, c);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

struct committer *commit_start(MDB_env *env, MDB_dbi events, MDB_dbi meta)
{
    struct committer *c = calloc(1, sizeof *c);
    int error;

    if (!c)
        return NULL;
    c->env = env;
    c->events = events;
    c->meta = meta;
    c->reserved = reserved_at_start(env);
    c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->fd < 0) {
        error = errno;
        goto fail;
    }
    (void)pthread_mutex_init(&c->mutex, NULL);
    (void)pthread_cond_init(&c->changed, NULL);
    error = thread_start(c);
    if (error == 0)
        return c;
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->mutex);
    (void)close(c->fd);
fail:
    free(c);
    errno = error;
    return NULL;
}

void commit_stop(struct committer *c)
{
    if (!c)
        return;
    (void)pthread_mutex_lock(&c->mutex);
    c->stop = true;
    (void)pthread_cond_signal(&c->changed);
    (void)pthread_mutex_unlock(&c->mutex);
    (void)pthread_join(c->thread, NULL);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->mutex);
    (void)close(c->fd);
    free(c);
}

int commit_fd(const struct committer *c)
{
    return c->fd;
}

void commit_give(struct committer *c, const struct commit_batch *batch)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->batch = *batch;
    c->state = COMMIT_GIVEN;
    (void)pthread_cond_signal(&c->changed);
    (void)pthread_mutex_unlock(&c->mutex);
}

bool commit_take(struct committer *c, struct commit_result *ret)
{
    eventfd_t wakes;
    bool returned;

    (void)pthread_mutex_lock(&c->mutex);
    returned = c->state == COMMIT_RETURNED;
    if (returned) {
        (void)eventfd_read(c->fd, &wakes);
        *ret = c->result;
        c->state = COMMIT_IDLE;
    }
    (void)pthread_mutex_unlock(&c->mutex);
    return returned;
}

void commit_wait(struct committer *c)
{
    (void)pthread_mutex_lock(&c->mutex);
    while (c->state == COMMIT_GIVEN)
        (void)pthread_cond_wait(&c->changed, &c->mutex);
    (void)pthread_mutex_unlock(&c->mutex);
}

void commit_set_hook(struct committer *c, int (*before_commit)(void *arg), void *arg)
{
    (void)pthread_mutex_lock(&c->mutex);
    c->before_commit = before_commit;
    c->hook_arg = arg;
    (void)pthread_mutex_unlock(&c->mutex);
}
