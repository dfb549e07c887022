/* What streams send: records, read in slices from the store (see stream.h).
 *
 * Live readers have all got the same, so one scan from where they are finds what is new; each record that one of them wants
 * is encoded once, and their outputs refer to it. A reader that has no room for it falls behind, with a cursor of its own.
 * Readers that are behind are served in turns, a slice each, until they have caught up with the live ones. So nothing is
 * ever queued for a reader but what is being written to its socket, and each slice is a read transaction of its own.
 *
 * What one turn of the loop does is bounded for all readers together; where more is left, the next turn goes on.
 *
 * Invariants: live readers have got every record up to live_at that passes their filters, and others every one up to their
 * cursor; a live one that began ahead of live_at gets nothing up to its cursor either; nobody gets anything twice, because
 * positions only ascend. Failure mode: without memory, or with STREAM_MAX_BYTES waiting for clients (those behind stop
 * earlier), nothing is read until there is room again: readers that take nothing are cut. While the store cannot be read,
 * streams wait where they are, and exports are cut, as they are before a damaged record.
 */
#include "http/stream_priv.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>

#define LIVE_RECORDS 64   /* encoded at once: the bits of reader.wants */
#define RETRY_MS     100  /* when memory is short */
#define UNREAD_MS    1000 /* when the store cannot be read */

/* What may still be done in this turn of the loop. */
struct budget {
    size_t records;
    size_t bytes;
};

static void budget_take(struct budget *left, uint64_t records, size_t bytes)
{
    left->records -= records < left->records ? (size_t)records : left->records;
    left->bytes -= bytes < left->bytes ? bytes : left->bytes;
}

/* Records encoded together. */
struct batch {
    struct stream *stream;
    struct reader *reader; /* NULL: for the live ones */
    struct json_out out;
    size_t n;
    struct {
        uint64_t seq;
        size_t from;
        size_t to;
    } at[LIVE_RECORDS];
    uint64_t last;    /* record that was looked at */
    uint64_t limit;   /* the last to look at */
    size_t most;      /* records to encode */
    size_t bytes;     /* to encode, unless it is a single record */
    bool interrupted; /* before the record behind `last` */
    bool past;        /* the limit */
    bool no_memory;
    bool damaged; /* a record was left out */
    bool unread;  /* the store could not be read on */
};

/* One event of the stream. The record is one line of JSON. */
static bool encode_event(const struct record *record, struct json_out *out)
{
    char id[64];
    size_t begin;
    size_t before = out->len;

    (void)snprintf(id, sizeof id, "id: %" PRIu64 "\ndata: ", record->seq);
    if (chunk_begin(out, &begin) && json_out_add(out, str_of(id)) && event_record_to_json(record, out) &&
        json_out_add(out, STR("\n\n")) && chunk_end(out, begin))
        return true;
    out->len = before;
    return false;
}

static bool encode_line(struct reader *r, const struct record *record, struct json_out *out)
{
    struct export_lines lines = r->lines;
    size_t begin;
    size_t before = out->len;

    if (chunk_begin(out, &begin) &&
        (record ? export_record(&lines, record, out) : export_trailer(&lines, r->end, out)) &&
        chunk_end(out, begin)) {
        r->lines = lines;
        return true;
    }
    out->len = before;
    return false;
}

/* Whether the batch takes another record. */
static bool batch_has_room(const struct batch *b)
{
    return b->n == 0 || (b->n < b->most && b->out.len < b->bytes);
}

static bool batch_add(struct batch *b, const struct record *record)
{
    size_t from = b->out.len;
    bool encoded = b->reader && b->reader->kind == STREAM_EXPORT ? encode_line(b->reader, record, &b->out)
                                                                 : encode_event(record, &b->out);

    b->no_memory = !encoded;
    if (!encoded)
        return false;
    if (!b->reader) {
        b->at[b->n].seq = record->seq;
        b->at[b->n].from = from;
        b->at[b->n].to = b->out.len;
    }
    b->n++;
    return true;
}

static bool bodies_intact(struct batch *b, const struct record *record)
{
    if (record_bodies_intact(record))
        return true;
    b->damaged = true;
    http_server_report_damaged(b->stream->server, record->seq);
    return false;
}

/* Gives the batch's memory to a piece. NULL: there is nothing in it, or no memory. */
static struct piece *batch_piece(struct batch *b)
{
    struct piece *p = b->n > 0 ? piece_new(b->stream->pool, &b->out) : NULL;

    b->no_memory = b->no_memory || (b->n > 0 && !p);
    json_out_free(&b->out);
    return p;
}

/* ---- live ---- */

/* Notes who of the live readers wants the record. */
static bool somebody_wants(const struct batch *b, const struct record *record)
{
    bool wanted = false;
    struct reader *r;

    TAILQ_FOREACH(r, &b->stream->readers[READER_LIVE], entry)
    {
        if (record->seq <= r->cursor || !filter_passes(r->filter, record))
            continue;
        r->wants |= UINT64_C(1) << b->n;
        wanted = true;
    }
    return wanted;
}

static void nobody_wants(struct stream *s, uint64_t mask)
{
    struct reader *r;

    TAILQ_FOREACH(r, &s->readers[READER_LIVE], entry)
    r->wants &= ~mask;
}

static bool on_live_record(void *arg, const struct record *record)
{
    struct batch *b = arg;

    if (!batch_has_room(b)) {
        b->interrupted = true;
        return false;
    }
    uint64_t mask = UINT64_C(1) << b->n;
    if (somebody_wants(b, record)) {
        if (!bodies_intact(b, record)) {
            nobody_wants(b->stream, mask);
        } else if (!batch_add(b, record)) {
            nobody_wants(b->stream, mask);
            b->interrupted = true;
            return false;
        }
    }
    b->last = record->seq;
    return true;
}

static bool has_room(const struct reader *r, size_t more)
{
    size_t unsent = long_unsent(r->answer);

    return unsent == 0 || unsent + more <= STREAM_CLIENT_BYTES;
}

/* Sends one live reader what it wants of the batch, in runs that lie side by side. */
static void deliver(struct reader *r, const struct batch *b, struct piece *p)
{
    uint64_t wants = r->wants;

    r->wants = 0;
    while (wants) {
        size_t first = (size_t)__builtin_ctzll(wants);
        size_t end = first;
        size_t from = b->at[first].from;
        while (end < b->n && wants >> end & 1 && has_room(r, b->at[end].to - from))
            wants &= ~(UINT64_C(1) << end++);
        if (end == first) {
            r->cursor = b->at[first].seq - 1;
            reader_move(r, READER_FULL);
            return;
        }
        r->told = b->at[end - 1].seq;
        if (!reader_send(r, p, from, b->at[end - 1].to))
            return;
    }
}

static void deliver_all(struct batch *b)
{
    struct stream *s = b->stream;
    struct piece *p = batch_piece(b);

    if (b->no_memory && !p) {
        nobody_wants(s, UINT64_MAX);
        return;
    }
    s->live_at = b->last;
    for (struct reader *next, *r = TAILQ_FIRST(&s->readers[READER_LIVE]); p && r; r = next) {
        next = TAILQ_NEXT(r, entry);
        if (r->wants)
            deliver(r, b, p);
    }
    if (p)
        piece_drop(p);
}

/* How long to wait before it makes sense to go on. */
static int64_t batch_wait_ms(const struct batch *b)
{
    return b->unread ? UNREAD_MS : b->no_memory ? RETRY_MS : 0;
}

/* Ends those for whom retention was faster. */
static void end_with_gap(struct stream *s)
{
    uint64_t gone = store_gone(s->store);

    for (struct reader *next, *r = TAILQ_FIRST(&s->readers[READER_LIVE]); r && s->live_at < gone; r = next) {
        next = TAILQ_NEXT(r, entry);
        if (r->gapless && reader_cursor(r) < gone)
            reader_end(r);
    }
}

/* Returns how long to wait before the next turn. */
static int64_t pump_live(struct stream *s, struct budget *left)
{
    struct batch b = {.stream = s, .last = s->live_at, .most = LIVE_RECORDS, .bytes = left->bytes};
    uint64_t newest = store_newest(s->store);
    struct store_missed missed;

    if (s->live_at < newest)
        end_with_gap(s);
    if (TAILQ_EMPTY(&s->readers[READER_LIVE]) || s->live_at >= newest)
        return 0;
    uint64_t more = store_scan(s->store, s->live_at, false, left->records, on_live_record, &b, &missed);
    b.unread = missed.unread;
    if (!b.interrupted && !b.unread)
        b.last = more ? more : newest;
    budget_take(left, b.last - s->live_at, b.out.len);
    deliver_all(&b);
    return batch_wait_ms(&b);
}

/* ---- behind ---- */

static bool on_slice_record(void *arg, const struct record *record)
{
    struct batch *b = arg;

    b->past = record->seq > b->limit;
    if (b->past)
        return false;
    if (filter_passes(b->reader->filter, record)) {
        b->interrupted = !batch_has_room(b);
        if (b->interrupted)
            return false;
        if (bodies_intact(b, record))
            b->interrupted = !batch_add(b, record);
        if (b->interrupted || (b->damaged && b->reader->kind == STREAM_EXPORT))
            return false;
        b->reader->told = record->seq;
    }
    b->last = record->seq;
    return true;
}

/* Whether all that the reader may have missed is there. What retention took while it was read for may be more than it
 * knows of. */
static bool is_whole(struct reader *r)
{
    bool missing = r->kind == STREAM_EVENTS && r->cursor < store_gone(r->stream->store);

    if (missing && r->gapless)
        return false;
    r->gapless = r->kind == STREAM_EVENTS && !missing;
    return true;
}

static void join_live(struct reader *r)
{
    r->gapless = r->cursor >= store_gone(r->stream->store);
    reader_move(r, READER_LIVE);
}

/* What becomes of a reader that got its slice. */
static void pass_on(struct reader *r, bool caught_up)
{
    if (caught_up && r->kind == STREAM_EXPORT)
        reader_end(r);
    else if (caught_up)
        join_live(r);
    else
        reader_move(r, long_unsent(r->answer) < STREAM_CLIENT_BYTES ? READER_BEHIND : READER_FULL);
}

/* Reads and encodes a slice. Returns the position behind it. */
static uint64_t read_slice(struct reader *r, size_t records, struct batch *b, bool *ret_caught_up)
{
    struct store_missed missed = {0};
    uint64_t more = 0;

    if (r->cursor < b->limit)
        more = store_scan(r->stream->store, r->cursor, false, records, on_slice_record, b, &missed);
    b->damaged = b->damaged || missed.damaged;
    *ret_caught_up = !b->interrupted && (b->past || more >= b->limit || (more == 0 && !missed.unread));
    b->unread = missed.unread && !*ret_caught_up;
    if (*ret_caught_up)
        return b->limit > r->cursor ? b->limit : r->cursor; /* it may be ahead of the live ones */
    return b->interrupted ? b->last : more;
}

/* An export says that it is complete, or is not. */
static bool is_broken(struct reader *r, struct batch *b, bool caught_up)
{
    if (r->kind != STREAM_EXPORT)
        return false;
    if (b->damaged || b->unread)
        return true;
    b->n += caught_up;
    return caught_up && !encode_line(r, NULL, &b->out);
}

/* Reads a slice for one reader; takes what it did from the budget. Returns how long to wait before the next turn. */
static int64_t pump_reader(struct reader *r, struct budget *left)
{
    struct stream *s = r->stream;
    struct batch b = {.stream = s, .reader = r, .last = r->cursor, .most = SIZE_MAX, .bytes = left->bytes};
    bool caught_up;

    if (!is_whole(r)) {
        reader_end(r);
        return 0;
    }
    b.limit = r->kind == STREAM_EXPORT ? r->end : s->live_at;
    uint64_t cursor = read_slice(r, left->records, &b, &caught_up);
    bool broken = is_broken(r, &b, caught_up);
    budget_take(left, cursor - r->cursor, b.out.len);
    size_t len = b.out.len;
    struct piece *p = batch_piece(&b);
    bool sent = !broken && (b.n == 0 || p);
    if (!sent)
        reader_cut(r);
    else
        sent = !p || reader_send(r, p, 0, len);
    if (p)
        piece_drop(p);
    if (sent) {
        r->cursor = cursor;
        pass_on(r, caught_up);
    }
    return batch_wait_ms(&b);
}

/* ---- the turn ---- */

static bool has_memory(const struct stream *s, uint64_t most)
{
    return piece_pool_bytes(s->pool) < most;
}

static void again(struct event *event, int64_t in_ms)
{
    const struct timeval tv = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};

    (void)event_add(event, &tv);
}

void stream_on_live(int fd, short what, void *arg)
{
    struct stream *s = arg;
    struct budget left = {STREAM_TURN_RECORDS, STREAM_TURN_BYTES};

    (void)fd;
    (void)what;
    int64_t wait_ms = has_memory(s, STREAM_MAX_BYTES) ? pump_live(s, &left) : RETRY_MS;
    if (!TAILQ_EMPTY(&s->readers[READER_LIVE]) && s->live_at < store_newest(s->store))
        again(s->live, wait_ms);
}

/* Whether it is time to leave the processor to events: what is behind can wait, and reading it goes on for long. */
static bool wants_rest(struct stream *s, size_t bytes)
{
    if (s->now().mono_ms - s->stored_mono_ms > STREAM_BUSY_MS)
        s->row_bytes = 0;
    else
        s->row_bytes += bytes;
    if (s->row_bytes < STREAM_ROW_BYTES)
        return false;
    s->row_bytes = 0;
    return true;
}

void stream_on_behind(int fd, short what, void *arg)
{
    struct stream *s = arg;
    struct budget left = {STREAM_TURN_RECORDS, STREAM_TURN_BYTES};
    struct reader *r;
    int64_t wait_ms = has_memory(s, STREAM_BEHIND_BYTES) ? 0 : RETRY_MS;

    (void)fd;
    (void)what;
    if (TAILQ_EMPTY(&s->readers[READER_LIVE]))
        s->live_at = store_newest(s->store);
    while (wait_ms == 0 && left.records > 0 && left.bytes > 0 &&
           (r = TAILQ_FIRST(&s->readers[READER_BEHIND])) != NULL)
        wait_ms = pump_reader(r, &left);
    s->resting = wait_ms > 0 || wants_rest(s, STREAM_TURN_BYTES - left.bytes);
    if (s->resting || !TAILQ_EMPTY(&s->readers[READER_BEHIND]))
        again(s->behind, wait_ms > 0 ? wait_ms : s->resting ? STREAM_REST_MS : 0);
}
