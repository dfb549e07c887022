/* Inside of the store: shared by store.c (appends, life of a batch), store_open.c, store_read.c, store_repeat.c and
 * coalesce.c (what an append is), retain.c (what goes), store_load.c, store_object.c, and by ask.c, which reads. */
#ifndef FES_STORE_STORE_PRIV_H
#define FES_STORE_STORE_PRIV_H

#include <lmdb.h>

#include "store/ages_priv.h"
#include "store/commit_priv.h"
#include "store/hints_priv.h"
#include "store/index_priv.h"
#include "store/key_priv.h"
#include "store/record_priv.h"
#include "store/store.h"

#define STORE_SCHEMA 1
/* Most deletions in one commit. */
#define STORE_RETAIN_ROWS AGES_PICK_MAX

#define BATCH_SLOTS (STORE_BATCH_EVENTS * 4)

/* What becomes of an append, decided when its batch is formed. */
enum pending_fate {
    PENDING_FRESH,     /* a new record */
    PENDING_UPDATE,    /* coalesced onto a stored record, which it writes anew */
    PENDING_COALESCED, /* onto a record that an earlier append of the batch writes */
    PENDING_REPEAT,
};

/* One append on its way. */
struct pending {
    struct pending *next;
    char *value; /* encoded; owned; PENDING_UPDATE: of the whole record */
    size_t len;
    struct record_stored stored; /* slices of value */
    uint64_t keys[KEYS_OF_RECORD_MAX];
    size_t n_keys;
    size_t bytes; /* of the body, as counted in queued_bytes */
    uint64_t seq; /* of the record it is, or became part of; valid from the forming of its batch on */
    enum pending_fate fate;
    bool repeats_stored;       /* what it repeats was durable before this batch */
    uint64_t was_first_digest; /* PENDING_UPDATE: of the record's bodies as they are stored */
    uint64_t was_last_digest;
    size_t op; /* which of the batch's writes is its own */
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

/* Which writes of a batch have to do with a number: open addressing, 1 + position in `written`; 0: empty. A batch has
 * at most BATCH_SLOTS / 4 statements, each of them in a table at most twice. */
struct batch_table {
    uint16_t at[BATCH_SLOTS];
};

/* What the index forgets when a deletion has been committed. */
struct going_key {
    uint64_t key;
    uint64_t seq;
};
struct going_record {
    uint64_t seq;
    uint64_t object; /* 0: the record could not be read */
    uint64_t cluster;
};

/* What store_metrics says. The gauges are filled by store_collect. */
enum deleted_cause { DELETED_AGE, DELETED_SIZE, DELETED_CAUSES };
#define STORE_STATUSES (STORE_NO_MEMORY + 1)
struct store_numbers {
    uint64_t received[VIA_STATUS + 1];
    uint64_t refused[STORE_STATUSES];
    uint64_t deleted[DELETED_CAUSES];
    uint64_t commits_failed;
    struct histogram commit_us;
    struct histogram commit_events;
    uint64_t stored;
    uint64_t coalesced;
    uint64_t repeated;
    uint64_t bytes;
    uint64_t max_bytes;
    uint64_t records;
    uint64_t index_bytes;
    uint64_t queued_bytes;
    uint64_t ready;
};
/* A batch of n events was committed. */
void store_count_commit(struct store *s, uint64_t us, size_t n);

struct subscriber {
    store_on_record *on_record;
    void *arg;
};

/* What reading meets again and again, and tells now and then. */
struct read_fault {
    bool said; /* a line was written, */
    int64_t said_ms;
    uint64_t met; /* and since then so many were met */
};

/* One that an object is of. */
struct cluster {
    uint64_t key;       /* key_siphash of its name */
    uint64_t objects;   /* that have records there; 0: the number is free */
    uint64_t next_free; /* of free ones: another, or 0 */
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
    struct store_load *load;  /* while the store is being opened; NULL after */
    char load_why[96];        /* how far that is */
    uint64_t last_seq;        /* newest published record: readers see nothing above */
    int64_t last_received_ms; /* of the newest append */
    struct cluster *clusters; /* by number less 1; store_object.c */
    size_t n_clusters;
    size_t cap_clusters;
    uint64_t free_cluster; /* a number that is free; 0: none */
    struct hints hints;
    bool hints_loaded; /* from what was stored before the store was opened */
    struct store_heard heard[HEARD_KINDS];
    store_is_suspended *is_suspended;
    void *is_suspended_arg;

    struct pending_list queue;
    struct pending_list batch; /* being committed */
    /* Those of the batch that write a record, in order of arrival. */
    struct pending *written[STORE_BATCH_EVENTS];
    size_t n_written;
    size_t n_fresh;               /* of them, new records */
    size_t n_statements;          /* of the batch, without repeats */
    size_t n_batch;               /* with them */
    struct batch_table by_digest; /* of a body, first or last */
    struct batch_table by_track;
    struct batch_table by_seq; /* PENDING_UPDATE only */
    bool coalescing;           /* off: each statement is a record; for tests that compare */
    struct commit_op ops[STORE_BATCH_EVENTS + STORE_RETAIN_ROWS];
    bool in_flight;
    bool emergency; /* the batch in flight only deletes, on a full disk */
    bool writing;   /* the batch in flight has something to write, and is no mere list of repeats */

    struct ages *ages;
    int64_t retention_ms; /* 0: for ever */
    uint64_t max_bytes;   /* of the records, without what else the file holds */
    uint64_t used_bytes;
    int64_t retain_now_ms; /* of the last tick */
    int64_t retain_due_ms; /* nothing is due by age before */
    int64_t retain_retry_ms;
    bool aging;                                   /* something is due by age */
    bool slice_wanted;                            /* the next commit takes a slice along */
    struct going_record going[STORE_RETAIN_ROWS]; /* deleted by the batch in flight */
    size_t n_going;
    enum deleted_cause going_cause;
    struct going_key *going_keys;
    size_t n_going_keys;
    size_t cap_going_keys;
    /* The highest number given, the newest arrival; little-endian, as they are kept. */
    uint64_t high_water[2];

    struct read_fault damaged; /* records that were read; store_read.c */
    struct read_fault unread;  /* reads that LMDB refused */

    bool full;
    bool probe_wanted;
    bool *want_probe; /* &probe_wanted: whoever asks for readiness (a const store) may wish for a probe */
    bool dead;
    char errmsg[STORE_ERROR];
    struct subscriber subscribers[STORE_SUBSCRIBERS];
    size_t n_subscribers;
    struct store_stats stats;
    struct store_numbers numbers;
};

/* What a record of one statement says. Slices point into the arguments. */
struct record_stored store_statement(const struct store *s, const struct flux_event *e, struct str body,
                                     enum event_via via, int64_t received_ms);

/* Reading: one short transaction on the loop. Between begin and end the slices of records stay valid. False
 * when it cannot be had (reported). */
bool store_read_begin(struct store *s);
void store_read_end(struct store *s);
/* Reads one record within a transaction; its bodies are not checked. False: not stored, or *missed (may be NULL) says why
 * not (reported). */
bool store_read(struct store *s, uint64_t seq, struct record_stored *ret, struct store_missed *missed);

/* Walks over the positions under a number: for (slot = batch_slot(n); table->at[slot]; slot = batch_next(slot)). */
static inline size_t batch_slot(uint64_t number)
{
    return (number * UINT64_C(0x9E3779B97F4A7C15) >> 32) % BATCH_SLOTS;
}
static inline size_t batch_next(size_t slot)
{
    return (slot + 1) % BATCH_SLOTS;
}
void batch_note(struct batch_table *table, uint64_t number, size_t position);

/* What follows is called while a batch is formed, within one read transaction. */

/* Decides whether p repeats a record of the store or one that the batch writes (s->written[0..n_written)); if so
 * fills seq, fate and repeats_stored. */
void store_find_repeat(struct store *s, struct pending *p);
/* Whether a record read from the status of an object (VIA_STATUS; false for others) says nothing new; *ret_seq is then
 * that of the record that said it. store_status.c. */
bool store_status_is_known(struct store *s, const struct record *said, uint64_t *ret_seq);
/* The batch's write of a stored record, NULL when it does not change it. */
struct pending *store_find_update(const struct store *s, uint64_t seq);
/* Notes p, the last of the written ones or changed since, for all that. store_forget_batch begins a new batch. */
void store_note_written(struct store *s, const struct pending *p);
void store_forget_batch(struct store *s);
/* See coalesce.c. */
void store_note_track(struct store *s, const struct pending *p);
/* Decides whether p is coalesced, and onto what: then fills seq and fate, and for PENDING_UPDATE its value becomes
 * that of the whole record, or for PENDING_COALESCED that of the earlier append does. Else p stays PENDING_FRESH. */
void store_coalesce(struct store *s, struct pending *p);

/* Retention (retain.c). retain_pick adds a slice to the batch that is being formed, if one is wanted; retain_publish
 * forgets it when it was committed, retain_failed puts the next one off. retain_note: a new record, before it is
 * set under the key of its track; false when out of memory. */
void retain_init(struct store *s, const struct store_config *config);
void retain_measure(struct store *s);
void retain_pick(struct store *s);
void retain_publish(struct store *s);
void retain_failed(struct store *s);
bool retain_note(struct store *s, const struct record *r, uint64_t track);

/* Commits and completes all that is queued. Blocks. */
void store_drain(struct store *s);

/* Same object of the same cluster. */
bool record_same_object(const struct record *a, const struct record *b);

/* A new record is in the index now, but for what is about its object: adds that, moves last_seq, counts. object: its
 * first key; cluster: key_siphash of its cluster. False when out of memory. */
bool store_note_record(struct store *s, const struct record *r, uint64_t object, uint64_t cluster);

/* store_object.c. Which records are about an object (key_of_object) in a cluster (key_siphash of its name): those under
 * key_of_object_in. */
bool store_object_add(struct store *s, uint64_t object, uint64_t cluster,
                      uint64_t seq); /* False when out of memory. */
void store_object_remove(struct store *s, uint64_t object, uint64_t cluster, uint64_t seq);
/* The clusters that have such an object. `clusters` is empty before. False when out of memory. */
bool store_object_clusters(const struct store *s, uint64_t object, struct seqs *clusters);

/* store_load.c. Needs an open environment. store_load_free also when there is nothing to free. */
bool store_load_begin(struct store *s, char err[static STORE_ERROR]);
void store_load_free(struct store *s);

/* One line in err that names the directory: what is with it, and why. Returns false. */
bool store_fail(const struct store *s, char err[static STORE_ERROR], const char *what, const char *why);
void store_report_error(const struct store *s, const char *sentence, int status);

#endif
