/* Reading the store (see store.h).
 *
 * Each call is one short read transaction on the loop: a long one would keep LMDB from reusing pages. The
 * transaction object is kept and renewed, so that a read costs no allocation.
 *
 * Invariant: nobody sees a record above last_seq. The writer may have committed it already, but its
 * subscribers have not been told; a reader who sees both would see it twice. A record that was whole when the
 * store opened and is damaged now is reported and left out; the others are still good.
 */
#include <endian.h>

#include "store/store_priv.h"

#define DAMAGE_INTERVAL_MS 60000
#define UNREAD_INTERVAL_MS 1000

/* Counts what was met. Whether it is time for a line, which says how often; then the count begins again. */
static bool fault_is_due(const struct store *s, struct read_fault *fault, int64_t interval_ms,
                         uint64_t *ret_times)
{
    int64_t ago_ms = s->retain_now_ms - fault->said_ms;

    *ret_times = ++fault->met;
    if (fault->said && ago_ms >= 0 && ago_ms < interval_ms)
        return false;
    *fault = (struct read_fault){.said = true, .said_ms = s->retain_now_ms};
    return true;
}

/* Each waiter and each client meets it. */
static void report_unread(struct store *s, int status)
{
    uint64_t times;

    if (fault_is_due(s, &s->unread, UNREAD_INTERVAL_MS, &times))
        REPORT(&s->reporter, REPORT_ERROR, "the store cannot be read", FIELD_TEXT("dataDir", s->dir),
               FIELD_TEXT("error", mdb_strerror(status)), FIELD_INT("times", times));
}

bool store_read_begin(struct store *s)
{
    int status = mdb_txn_renew(s->reader);

    if (status)
        report_unread(s, status);
    return status == 0;
}

void store_read_end(struct store *s)
{
    mdb_txn_reset(s->reader);
}

/* It is met again by each question that bears on it. `verify` names all. */
static void report_damage(struct store *s, uint64_t seq, const char *wrong)
{
    uint64_t times;

    if (fault_is_due(s, &s->damaged, DAMAGE_INTERVAL_MS, &times))
        REPORT(&s->reporter, REPORT_ERROR, "a stored record is damaged", FIELD_TEXT("dataDir", s->dir),
               FIELD_INT("id", seq), FIELD_TEXT("error", wrong), FIELD_INT("times", times));
}

static bool decode(struct store *s, uint64_t seq, const MDB_val *value, struct record_stored *ret)
{
    const char *wrong = record_decode(seq, (struct str){value->mv_data, value->mv_size}, ret);

    if (wrong)
        report_damage(s, seq, wrong);
    return !wrong;
}

bool store_read(struct store *s, uint64_t seq, struct record_stored *ret, struct store_missed *missed)
{
    struct store_missed ignored = {0};
    unsigned char bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val value;

    missed = missed ? missed : &ignored;
    *missed = (struct store_missed){0};
    if (seq > s->last_seq)
        return false;
    commit_key(seq, bytes);
    int status = mdb_get(s->reader, s->events, &key, &value);
    missed->unread = status && status != MDB_NOTFOUND;
    if (missed->unread)
        report_unread(s, status);
    missed->damaged = status == 0 && !decode(s, seq, &value, ret);
    return status == 0 && !missed->damaged;
}

uint64_t store_newest(const struct store *s)
{
    return s->last_seq;
}

uint64_t store_gone(const struct store *s)
{
    return ages_gone(s->ages, s->last_seq);
}

bool store_get(struct store *s, uint64_t seq, store_visit *visit, void *arg, struct store_missed *ret)
{
    struct record_stored stored;
    struct store_missed ignored = {0};
    struct store_missed *missed = ret ? ret : &ignored;

    *missed = (struct store_missed){.unread = !store_read_begin(s)};
    if (missed->unread)
        return false;
    bool found = store_read(s, seq, &stored, missed);
    if (found && !record_bodies_intact(&stored.record)) {
        report_damage(s, seq, "the checksum of its bodies is wrong");
        missed->damaged = true;
        found = false;
    }
    if (found)
        (void)visit(arg, &stored.record);
    store_read_end(s);
    return found;
}

/* A walk over records by sequence number. */
struct walk {
    struct store *s;
    MDB_cursor *cursor;
    MDB_val value;
    uint64_t seq;
    bool descending;
    bool started;
    bool failed;
};

/* Moves to the next record that readers may see. False at the end. */
static bool walk_next(struct walk *w, uint64_t after)
{
    unsigned char bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_cursor_op op = w->descending ? MDB_PREV : MDB_NEXT;
    int status;

    if (w->started) {
        status = mdb_cursor_get(w->cursor, &key, &w->value, op);
    } else {
        uint64_t last = w->s->last_seq;
        uint64_t start = !w->descending ? after + 1 : after == 0 || after > last ? last + 1 : after;
        commit_key(start, bytes);
        status = mdb_cursor_get(w->cursor, &key, &w->value, MDB_SET_RANGE);
        /* Down, the first is that below start, which may be the very last there is. */
        if (w->descending && (status == 0 || status == MDB_NOTFOUND))
            status = mdb_cursor_get(w->cursor, &key, &w->value, status == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
    }
    w->started = true;
    w->failed = status && status != MDB_NOTFOUND;
    if (w->failed)
        report_unread(w->s, status);
    if (status)
        return false;
    uint64_t big_endian;
    memcpy(&big_endian, key.mv_data, sizeof big_endian);
    w->seq = be64toh(big_endian);
    return w->seq <= w->s->last_seq;
}

/* The part of a scan that is between the begin and the end of its transaction. */
static uint64_t scan(struct walk *w, uint64_t after, size_t max, store_visit *visit, void *arg,
                     struct store_missed *ret)
{
    struct record_stored stored;
    bool stopped = false;
    uint64_t visited = after;
    bool more = walk_next(w, after);

    for (size_t n = 0; more && n < max && !stopped; n++) {
        if (decode(w->s, w->seq, &w->value, &stored))
            stopped = !visit(arg, &stored.record);
        else
            ret->damaged = true;
        visited = w->seq;
        more = walk_next(w, after);
    }
    ret->unread = w->failed;
    return more || w->failed ? visited : 0;
}

uint64_t store_scan(struct store *s, uint64_t after, bool descending, size_t max, store_visit *visit,
                    void *arg, struct store_missed *ret)
{
    struct walk w = {.s = s, .descending = descending};
    struct store_missed ignored = {0};
    struct store_missed *missed = ret ? ret : &ignored;
    uint64_t again = after;

    *missed = (struct store_missed){0};
    if (after == UINT64_MAX)
        return 0;
    missed->unread = !store_read_begin(s);
    if (missed->unread)
        return after;
    int status = mdb_cursor_open(s->reader, s->events, &w.cursor);
    missed->unread = status != 0;
    if (status) {
        report_unread(s, status);
    } else {
        again = scan(&w, after, max, visit, arg, missed);
        mdb_cursor_close(w.cursor);
    }
    store_read_end(s);
    return again;
}
