/* The writer thread: takes one batch at a time, commits it, says how it went.
 *
 * It decides nothing. The loop prepares a batch and must leave it alone until commit_take returns it. This is
 * the only second thread of the program, and commit.c the only file that knows of a lock.
 */
#ifndef FES_STORE_COMMIT_PRIV_H
#define FES_STORE_COMMIT_PRIV_H

#include <lmdb.h>

#include "store/str.h"

enum commit_kind {
    COMMIT_APPEND, /* seq is above every stored one */
    COMMIT_UPDATE, /* replaces the value of seq */
    COMMIT_DELETE, /* what is not there is deleted */
};

struct commit_op {
    enum commit_kind kind;
    uint64_t seq;
    struct str value;
};

/* What a batch does about META_IMPORTING. */
enum commit_import { COMMIT_NO_IMPORT, COMMIT_IMPORT_GOES_ON, COMMIT_IMPORT_ENDS };

struct commit_batch {
    const struct commit_op *ops;
    size_t n;              /* 0 and no probe: nothing is written, the batch just comes back */
    struct str high_water; /* kept in `meta` under META_HIGH_WATER, unless empty */
    bool emergency;        /* may use the reserve that is kept for deletions on a full disk */
    bool probe;            /* writes COMMIT_PROBE_BYTES into `meta`, to see whether there is room again */
    enum commit_import import;
};
#define COMMIT_PROBE_BYTES 65536
#define COMMIT_PROBE_KEY   "probe"
/* Keys in `meta`. META_IMPORTING is there from the first commit of an import up to its last: what is stored is a part. */
#define META_HIGH_WATER "highWater"
#define META_IMPORTING  "importing"

struct committer;

/* Starts the thread, which blocks all signals. The environment must stay open until commit_stop. NULL with
 * errno. */
struct committer *commit_start(MDB_env *env, MDB_dbi events, MDB_dbi meta);
/* Waits for a running commit, ends the thread, frees. Accepts NULL. */
void commit_stop(struct committer *c);

/* Readable when commit_take would return true. Owned by the committer. */
int commit_fd(const struct committer *c);
/* Hands a batch over; it and all it points to are borrowed until commit_take has returned true. The committer
 * must be idle. */
void commit_give(struct committer *c, const struct commit_batch *batch);
struct commit_result {
    int status;  /* 0, an errno or an MDB_ error */
    bool broken; /* after that error LMDB refuses every transaction: only a new environment helps */
    uint64_t us; /* how long it took */
};
/* True when the commit has returned. */
bool commit_take(struct committer *c, struct commit_result *ret);
/* Blocks until commit_take would return true. The committer must not be idle. */
void commit_wait(struct committer *c);

/* For tests: called by the writer thread after all puts and before mdb_txn_commit; a result other than 0
 * aborts the transaction with that status. Set it while the committer is idle. */
void commit_set_hook(struct committer *c, int (*before_commit)(void *arg), void *arg);

/* As LMDB wants it, which does not write through it. */
static inline MDB_val commit_val(struct str s)
{
    union {
        const char *from;
        void *to;
    } at = {.from = s.at};
    return (MDB_val){s.len, at.to};
}

/* Keys of the events database: the sequence number, big-endian, so that LMDB's order is that of arrival. */
void commit_key(uint64_t seq, unsigned char ret[static 8]);

#endif
