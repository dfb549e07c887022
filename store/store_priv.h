/* Inside of the store: shared by store.c (appends, life of a batch), store_open.c, store_read.c,
 * store_repeat.c, and by ask.c, which reads. */
#ifndef FES_STORE_STORE_PRIV_H
#define FES_STORE_STORE_PRIV_H

#include <lmdb.h>

#include "store/commit_priv.h"
#include "store/hints_priv.h"
#include "store/index_priv.h"
#include "store/key_priv.h"
#include "store/record_priv.h"
#include "store/store.h"

#define STORE_SCHEMA 1

#define BATCH_SLOTS (STORE_BATCH_EVENTS * 2)

/* One append on its way. */
struct pending {
    struct pending *next;
    char *value; /* encoded; owned */
    size_t len;
    struct record_stored stored; /* slices of value */
    uint64_t keys[KEYS_OF_RECORD_MAX];
    size_t n_keys;
    uint64_t seq; /* its own, or that of the record it repeats; valid from the forming of its batch on */
    bool repeat;
    bool repeats_stored; /* what it repeats was durable before this batch */
    store_done *on_done;
    void *arg;
    uint64_t token;
};

struct pending_list {
    struct pending *first;
    struct pending **end;
};

/* What notifications of a kind that deploys were ever received, which tells a delivery that lets no success through. */
enum heard_kind { HEARD_KUSTOMIZATION, HEARD_HELM_RELEASE, HEARD_KINDS };
struct store_heard {
    bool success;
    bool failure;
};

void pending_list_init(struct pending_list *list);

struct subscriber {
    store_on_record *on_record;
    void *arg;
};

struct store {
    struct reporter reporter;
    char *dir;
    char *cluster;
    uint64_t max_queued_bytes;
    int lock_fd;
    MDB_env *env;
    MDB_dbi events;
    MDB_dbi meta;
    MDB_txn *reader; /* reset between reads */
    struct committer *committer;
    struct key_seed seed;
    struct index *index;
    uint64_t last_seq;        /* newest published record: readers see nothing above */
    int64_t last_received_ms; /* of the newest append */
    bool many_clusters;       /* records of more than one cluster are, or were, in the store */
    uint64_t cluster_digest;  /* of the first one seen */
    struct hints hints;
    bool hints_loaded; /* from what was stored before the store was opened */
    struct store_heard heard[HEARD_KINDS];
    store_is_suspended *is_suspended;
    void *is_suspended_arg;

    struct pending_list queue;
    struct pending_list batch;                 /* being committed */
    struct pending *fresh[STORE_BATCH_EVENTS]; /* those of the batch that are new records, by sequence */
    uint16_t by_digest[BATCH_SLOTS]; /* open addressing: 1 + position in fresh of a body's digest; 0: empty */
    size_t n_fresh;
    struct commit_op ops[STORE_BATCH_EVENTS];
    bool in_flight;
    bool writing; /* the batch in flight has something to write, and is no mere list of repeats */

    bool full;
    bool probe_wanted;
    bool *want_probe; /* &probe_wanted: whoever asks for readiness (a const store) may wish for a probe */
    bool dead;
    char errmsg[STORE_ERROR];
    struct subscriber subscribers[STORE_SUBSCRIBERS];
    size_t n_subscribers;
    struct store_stats stats;
};

/* Reading: one short transaction on the loop. Between begin and end the slices of records stay valid. False
 * when it cannot be had (reported). */
bool store_read_begin(struct store *s);
void store_read_end(struct store *s);
/* Reads one record within a transaction; its bodies are not checked. False: not stored or damaged (reported).
 */
bool store_read(struct store *s, uint64_t seq, struct record_stored *ret);

/* Decides whether p repeats a record of the store or an earlier one of the batch that is being formed
 * (s->fresh[0..n_fresh)); if so fills seq, repeat and repeats_stored. */
void store_find_repeat(struct store *s, struct pending *p);
/* Whether a record read from the status of an object (VIA_STATUS; false for others) says nothing new; *ret_seq is then
 * that of the record that said it. store_status.c. */
bool store_status_is_known(struct store *s, const struct record *said, uint64_t *ret_seq);
/* Notes s->fresh[n_fresh - 1] for that; store_forget_batch begins a new batch. */
void store_note_fresh(struct store *s);
void store_forget_batch(struct store *s);

/* Commits and completes all that is queued. Blocks. */
void store_drain(struct store *s);

/* Same object of the same cluster. */
bool record_same_object(const struct record *a, const struct record *b);

/* A record is in the index now: moves last_seq, counts. */
void store_note_record(struct store *s, const struct record *r);

void store_report_error(const struct store *s, const char *sentence, int status);

#endif
