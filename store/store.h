/* The durable store: every event that was acknowledged, in order of arrival.
 *
 * One thread (the loop) owns the store and calls everything here. Behind it one writer thread commits to
 * LMDB: the loop hands it a finished batch (store_flush, at the end of each loop turn), and store_fd()
 * becomes readable when the commit has returned; store_dispatch() then publishes the records and completes
 * the appends, in this order: next batch handed over -> on_done of every append of the batch -> subscribers,
 * record by record. Nothing is published or completed before its commit returned. The interface is
 * asynchronous so that another engine (a replicated one) can stand behind it.
 *
 * Life: store_open (or store_begin, store_load until it is loaded) -> any calls -> store_close. After a failed sync the store is dead (store_dead()): every
 * further append is refused; the process must end, because the page cache cannot be trusted any more.
 */
#ifndef FES_STORE_STORE_H
#define FES_STORE_STORE_H

#include "store/event.h"
#include "store/flags.h"
#include "store/metric.h"
#include "store/record.h"
#include "store/report.h"

struct store;

struct store_config {
    const char *dir;     /* created when absent (mode 0700) */
    const char *cluster; /* --cluster: for events that name none; NULL or "" for none */
    bool allow_network_fs;
    int64_t retention_ms; /* records not changed for so long go; 0: none does */
    uint64_t
        max_bytes; /* of the file; the longest-unchanged records go; 0: STORE_MAP_BYTES, the most there is */
    uint64_t max_queued_bytes; /* bodies appended and not yet committed; 0: STORE_MAX_QUEUED_BYTES */
    /* Called when all files are open, before records are loaded, at the end of which the writer thread is made: a thread
     * inherits what its maker may do. NULL: nothing. */
    void (*before_writer)(void *arg);
    void *before_writer_arg;
};
extern const struct flag store_flags[]; /* fill a struct store_config */

/* Bound of the contract on unfinished and queued bodies together. */
#define STORE_MAX_QUEUED_BYTES (UINT64_C(64) << 20)
#define STORE_BATCH_EVENTS     1024 /* most events in one commit: keeps it a few ms long */
#define STORE_BATCH_BYTES      (UINT64_C(4) << 20)
#define STORE_MAP_BYTES        (UINT64_C(64) << 30) /* address space, not disk: LMDB's file grows as used */

#define STORE_ERROR 512
/* Opens or creates the store and rebuilds the index. On failure returns NULL and one line in err that names
 * the directory, the cause (not writable, held by another process and which, network file system, newer
 * schema, damaged record n) and the mend. The reporter is kept until store_close. */
struct store *store_open(const struct store_config *config, const struct reporter *reporter,
                         char err[static STORE_ERROR]);

/* The same in slices, for a loop that must answer meanwhile. store_begin takes the directory, opens the file, and fails
 * as store_open does but for damaged records: they are read by store_load, at most `most` of them each time. Until that has
 * returned STORE_LOADED, which is the only sign of it, the store is not ready and nothing but store_load, store_ready,
 * store_get_stats, store_subscribe, store_unsubscribe, store_set_suspended, store_metrics, store_pending, store_dead and store_close may be
 * called. STORE_LOAD_FAILED: one line in err, and nothing but store_close is left to do. */
struct store *store_begin(const struct store_config *config, const struct reporter *reporter,
                          char err[static STORE_ERROR]);
enum store_loading { STORE_LOADING, STORE_LOADED, STORE_LOAD_FAILED };
enum store_loading store_load(struct store *s, size_t most, char err[static STORE_ERROR]);

/* Whether a store could be opened there, for --check. Reads all of a store that nobody holds; of one that a server holds
 * only who that is, which is reported: it is open, so it can be opened. Where there is none, a file must be possible in the
 * directory or, for a directory that is not there, beside it. Leaves nothing behind: neither the directory nor, in an
 * empty one, a store. False with one line in err, as store_open. */
bool store_check(const struct store_config *config, const struct reporter *reporter,
                 char err[static STORE_ERROR]);

/* Commits what is queued, completes it, stops the writer, closes. Accepts NULL. */
void store_close(struct store *s);

enum store_status {
    STORE_OK,
    STORE_BUSY, /* max_queued_bytes are waiting: try again */
    STORE_FULL, /* the disk is full: try again when there is room */
    STORE_DEAD, /* a sync failed; see store_errmsg */
    STORE_NO_MEMORY,
};

/* seq is valid when status is STORE_OK; for a repeat it is that of the record it repeats. Fires exactly once,
 * from store_dispatch or store_close, never from inside store_append. */
typedef void store_done(void *arg, uint64_t token, enum store_status status, uint64_t seq);

/* Queues one event. `body` and `e` are copied. A result other than STORE_OK means: refused, on_done will not fire. on_done
 * may be NULL. now_ms: wall clock.
 *
 * A repeat (a body byte-equal to the newest record of its object, or to the first or last body of any stored record with a
 * usable timestamp) has no second effect and completes with that record's seq. So does a VIA_STATUS event that says what
 * the newest success or failure of its object says already. A statement that its object already made is coalesced
 * (store/coalesce.c) and completes with the seq of the record that it is now part of.
 *
 * Where nothing tells a retried delivery from a new statement, it is taken for a new one: of a body without a usable
 * timestamp when its object said something else meanwhile, and of a body that is neither the first nor the last of its
 * record any more. Such a delivery counts anew and, without a timestamp, is said now; whoever sends without a clock may
 * mean just that (fail, succeed, fail), and of the two errors a statement too many only makes a success or a failure
 * younger, while one too few would hide it. */
enum store_status store_append(struct store *s, const struct flux_event *e, struct str body,
                               enum event_via via, int64_t now_ms, store_done *on_done, void *arg,
                               uint64_t token);

/* Hands what is queued to the writer when the writer is idle; returns at once. Call at the end of each loop
 * turn. */
void store_flush(struct store *s);
/* Retention goes on: call before store_flush, at the end of each turn, and at the wall time returned (INT64_MAX: not
 * before something is appended). Times far apart: a record may go later than due, by up to a 256th of the retention and
 * at most an hour. */
int64_t store_tick(struct store *s, int64_t now_ms);
/* Readable (poll) when store_dispatch has something to do. Owned by the store. */
int store_fd(const struct store *s);
void store_dispatch(struct store *s);
/* True while an append is queued or being committed. */
bool store_pending(const struct store *s);

bool store_dead(const struct store *s);
/* Whether appends are accepted now; when not, *ret_why (valid until the next call) says why, and while the store is being
 * opened also how far that is. For readiness. While the disk is full,
 * asking makes the next store_flush try a small commit: a server that is not ready gets no events to try with. */
bool store_ready(const struct store *s, const char **ret_why);
const char *store_errmsg(const struct store *s);

/* What a record is found under: opaque numbers (object, each form of each revision, body). */
struct record_keys {
    const uint64_t *at;
    size_t n;
};
/* Called for each record that became durable (fresh) or whose count and last statement changed (!fresh), in
 * order. At most STORE_SUBSCRIBERS; arg is borrowed until store_unsubscribe or store_close. A subscriber must
 * not append from inside. */
#define STORE_SUBSCRIBERS 4
typedef void store_on_record(void *arg, const struct record *r, struct record_keys keys, bool fresh);
void store_subscribe(struct store *s, store_on_record *on_record, void *arg);
/* Ends the subscriptions with this arg. For subscribers that end before the store; not from inside a callback. */
void store_unsubscribe(struct store *s, void *arg);

/* Reading. Each call is one short read transaction; a visitor returns false to stop and must not call the
 * store. */
typedef bool store_visit(void *arg, const struct record *r);
/* Why less was visited than is stored; both were reported. Where it is asked for it may be NULL, for who does not mind. */
struct store_missed {
    bool unread;  /* LMDB failed, or memory ran out: try again */
    bool damaged; /* a record cannot be decoded, and was left out */
};
/* Visits records with seq > after (or, descending, seq < after; after == 0 starts at the newest), at most max
 * of them. Returns the seq to pass as `after` to go on, or 0 when the end was reached; where ret->unread, the seq to try
 * again with, which may be 0 too. */
uint64_t store_scan(struct store *s, uint64_t after, bool descending, size_t max, store_visit *visit,
                    void *arg, struct store_missed *ret);
/* The highest id that readers see or ever saw; 0: none. */
uint64_t store_newest(const struct store *s);
/* The highest id that was given and is not stored any more; 0: none. Above it nothing is missing. */
uint64_t store_gone(const struct store *s);
/* One record. False when it is not stored, or *ret says why not. */
bool store_get(struct store *s, uint64_t seq, store_visit *visit, void *arg, struct store_missed *ret);

/* For explanations: whether the object, of the cluster that --cluster names, is known to be suspended. NULL: nobody
 * knows. arg is borrowed until store_close. */
typedef bool store_is_suspended(void *arg, struct str kind, struct str namespace, struct str name);
void store_set_suspended(struct store *s, store_is_suspended *is_suspended, void *arg);

struct store_stats {
    uint64_t received; /* appends accepted */
    uint64_t stored;   /* new records */
    uint64_t repeats;
    uint64_t coalesced;
    uint64_t records; /* now in the store */
    uint64_t bytes;   /* of the data file */
    uint64_t last_seq;
    uint64_t queued_bytes;
};
void store_get_stats(const struct store *s, struct store_stats *ret);
struct metric_source store_metrics(struct store *s);

#endif
