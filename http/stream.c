/* Streams and exports: requests, clients, and what depends on time (see stream.h).
 *
 * A client is a cursor into the store and nothing else: no record is kept for it but what is being written to its socket.
 * stream_pump.c reads and sends. Here are the positions a client may begin at, and one heap of times behind one timer, for
 * comments and for readers that take nothing.
 *
 * Invariant: a reader exists exactly as long as its answer, is in one of the lists and in the heap. Failure mode: a reader
 * that cannot be served any more for want of memory is cut, and resumes.
 */
#include "http/stream_priv.h"

#include "http/events_priv.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define REPORT_MS INT64_C(1000) /* between two reports of readers that were cut */

/* ---- readers ---- */

void reader_move(struct reader *r, enum reader_state state)
{
    struct stream *s = r->stream;

    TAILQ_REMOVE(&s->readers[r->state], r, entry);
    TAILQ_INSERT_TAIL(&s->readers[state], r, entry);
    r->state = state;
}

uint64_t reader_cursor(const struct reader *r)
{
    bool passed = r->state == READER_LIVE && r->stream->live_at > r->cursor;

    return passed ? r->stream->live_at : r->cursor;
}

static void arm(struct stream *s)
{
    due_arm(&s->timer, &s->heap, s->now().mono_ms);
}

/* Its answer is over already. */
static void reader_free(struct reader *r)
{
    struct stream *s = r->stream;

    TAILQ_REMOVE(&s->readers[r->state], r, entry);
    due_remove(&s->heap, &r->due);
    arm(s);
    s->n--;
    filter_free(r->filter);
    free(r);
}

void reader_end(struct reader *r)
{
    long_end(r->answer);
    reader_free(r);
}

void reader_cut(struct reader *r)
{
    long_cut(r->answer);
    reader_free(r);
}

bool reader_send(struct reader *r, struct piece *p, size_t from, size_t to)
{
    if (long_unsent(r->answer) == 0)
        r->progress_mono_ms = r->stream->now().mono_ms;
    if (long_send(r->answer, p, from, to))
        return true;
    reader_cut(r);
    return false;
}

static void on_progress(void *arg, size_t unsent)
{
    struct reader *r = arg;

    r->progress_mono_ms = r->stream->now().mono_ms;
    if (r->state == READER_FULL && unsent <= STREAM_CLIENT_BYTES / 2) {
        reader_move(r, READER_BEHIND);
        stream_wake(r->stream);
    }
}

static void on_gone(void *arg)
{
    reader_free(arg);
}

/* ---- time ---- */

/* False: the reader is gone. */
static bool send_text(struct reader *r, struct str text)
{
    struct json_out out = {0};
    struct piece *p = NULL;
    size_t begin;

    bool made = chunk_begin(&out, &begin) && json_out_add(&out, text) && chunk_end(&out, begin);
    size_t len = out.len;
    if (made)
        p = piece_new(r->stream->pool, &out);
    json_out_free(&out);
    if (!p) {
        reader_cut(r);
        return false;
    }
    bool sent = reader_send(r, p, 0, len);
    piece_drop(p);
    return sent;
}

/* A comment, and the position where the client does not know it and may come back to it. False: the reader is gone. */
static bool beat(struct reader *r)
{
    uint64_t cursor = reader_cursor(r);
    char text[64] = ":\n\n";

    if (cursor != r->told && cursor >= store_gone(r->stream->store) + (cursor > 0)) {
        (void)snprintf(text, sizeof text, ":\nid: %" PRIu64 "\n\n", cursor);
        r->told = cursor;
    }
    return send_text(r, str_of(text));
}

static void tell_cut(struct stream *s)
{
    REPORT(s->reporter, REPORT_INFO, "a stream's reader took nothing and was cut",
           FIELD_INT("seconds", STREAM_STALL_MS / 1000), FIELD_INT("readers", s->cut));
    s->cut = 0;
}

static void report_cut(struct stream *s, int64_t now_ms)
{
    s->cut++;
    s->numbers.cut++;
    if (now_ms - s->cut_told_mono_ms < REPORT_MS)
        return;
    tell_cut(s);
    s->cut_told_mono_ms = now_ms;
}

static void look_at(struct reader *r, int64_t now_ms)
{
    bool waits = long_unsent(r->answer) > 0;
    int64_t stalls_ms = r->progress_mono_ms + STREAM_STALL_MS;

    if (waits && now_ms >= stalls_ms) {
        report_cut(r->stream, now_ms);
        reader_cut(r);
        return;
    }
    if (now_ms >= r->beat_mono_ms) {
        r->beat_mono_ms = now_ms + STREAM_BEAT_MS;
        if (!waits && r->kind == STREAM_EVENTS && !beat(r))
            return;
    }
    due_move(&r->stream->heap, &r->due, waits && stalls_ms < r->beat_mono_ms ? stalls_ms : r->beat_mono_ms);
}

static void on_due(void *arg)
{
    struct stream *s = arg;
    int64_t now_ms = s->now().mono_ms;

    while (due_first(&s->heap) <= now_ms)
        look_at((struct reader *)s->heap.items[0], now_ms);
    arm(s);
}

void stream_wake(struct stream *s)
{
    if (!s->resting)
        event_active(s->behind, EV_TIMEOUT, 0);
}

/* Updates of records are not streamed. Live readers are served in the next turn of the loop, behind what this one gives to
 * sockets: with a thousand of them, answers and statuses of Runs would wait for milliseconds. */
static void on_stored(void *arg, const struct record *record, struct record_keys keys, bool fresh)
{
    const struct timeval next_turn = {0};
    struct stream *s = arg;

    (void)record;
    (void)keys;
    if (s->n > 0)
        s->stored_mono_ms = s->now().mono_ms;
    if (fresh && !TAILQ_EMPTY(&s->readers[READER_LIVE]))
        (void)event_add(s->live, &next_turn);
}

/* ---- requests ---- */

/* False: the request has been answered. *ret_given: the client named one. */
static bool read_position(struct stream *s, const struct http_request *r, const struct filter *filter,
                          enum stream_kind kind, uint64_t *ret, bool *ret_given)
{
    struct str last = kind == STREAM_EVENTS ? http_request_header(r, "Last-Event-ID") : STR_NONE;
    uint64_t id = http_request_id(r);

    *ret = 0;
    *ret_given = last.len > 0 || filter_after(filter, ret);
    if (last.len > 0 && !str_to_u64(last, ret)) {
        http_reply_error(s->server, id, 400, "Last-Event-ID is not an id, a whole number");
        return false;
    }
    if (kind == STREAM_EXPORT || *ret == 0)
        return true;
    if (*ret > store_newest(s->store)) {
        http_reply_error(s->server, id, 410,
                         "there is no event %" PRIu64 " yet, so it is of another store: begin again with 0",
                         *ret);
        return false;
    }
    if (*ret <= store_gone(s->store)) {
        http_reply_error(s->server, id, 410,
                         "event %" PRIu64
                         " or one after it is no longer stored: begin again with 0, the beginning "
                         "of what is stored, or without a position, for new events only",
                         *ret);
        return false;
    }
    return true;
}

static bool refused(struct stream *s, struct http_request *r, enum stream_kind kind)
{
    uint64_t id = http_request_id(r);

    if (kind == STREAM_EVENTS && http_request_is_head(r))
        http_reply_method(s->server, id, "GET, POST");
    else if (!s->store)
        http_reply_cause(s->server, id, CAUSE_STARTING, "the store is being opened: try again");
    else if (s->stopping)
        http_reply_error(s->server, id, 503, "the process is ending: try again");
    else if (s->n >= s->max_readers)
        http_reply_error(s->server, id, 503, "too many streams are being read: try again");
    else
        return false;
    return true;
}

static struct reader *reader_new(struct stream *s, struct http_request *request, enum stream_kind kind,
                                 struct filter *filter)
{
    static const struct http_header headers[][4] = {
        [STREAM_EVENTS] = {{"Content-Type", "text/event-stream"},
                           {"Cache-Control", "no-cache"},
                           {"X-Accel-Buffering", "no"}, /* nginx would hold events back */
                           {NULL, NULL}},
        [STREAM_EXPORT] = {{"Content-Type", "application/x-ndjson"}, {NULL, NULL}},
    };
    struct reader *r = calloc(1, sizeof *r);
    int64_t now_ms = s->now().mono_ms;

    if (!r || !due_add(&s->heap, &r->due, now_ms + STREAM_BEAT_MS)) {
        free(r);
        http_reply_error(s->server, http_request_id(request), 503, "out of memory");
        return NULL;
    }
    r->stream = s;
    r->kind = kind;
    r->filter = filter;
    r->beat_mono_ms = now_ms + STREAM_BEAT_MS;
    r->progress_mono_ms = now_ms;
    r->state = READER_BEHIND;
    r->answer = long_begin(s->server, http_request_id(request), headers[kind],
                           &(struct long_hooks){on_progress, on_gone, r});
    if (!r->answer) {
        due_remove(&s->heap, &r->due);
        free(r);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&s->readers[READER_BEHIND], r, entry);
    s->n++;
    arm(s);
    return r;
}

static void begin(struct stream *s, struct http_request *request, enum stream_kind kind,
                  struct filter *filter)
{
    uint64_t position;
    bool given;
    struct reader *r = read_position(s, request, filter, kind, &position, &given)
                           ? reader_new(s, request, kind, filter)
                           : NULL;

    if (!r) {
        filter_free(filter);
        return;
    }
    r->end = store_newest(s->store);
    r->told = given ? position : UINT64_MAX;
    r->cursor = kind == STREAM_EXPORT || given ? position : r->end;
    r->gapless = kind == STREAM_EVENTS && r->cursor > 0;
    if (http_request_is_head(request))
        reader_end(r);
    else if (kind == STREAM_EXPORT || given || beat(r)) /* so that a client without a position has one */
        stream_wake(s);
}

void stream_serve(struct stream *s, struct http_request *r, enum stream_kind kind)
{
    char err[HTTP_ERROR];

    if (refused(s, r, kind))
        return;
    struct filter *filter = events_filter(r, s->now().wall_ms, err);
    if (!filter) {
        http_reply_refused(s->server, http_request_id(r), err);
    } else if (filter_pages(filter)) {
        http_reply_error(s->server, http_request_id(r), 400,
                         "limit and order are for pages: a stream and an export go on in order of arrival");
        filter_free(filter);
    } else {
        begin(s, r, kind, filter);
    }
}

/* ---- life ---- */

struct stream *stream_new(struct http_server *server, struct moment (*now)(void),
                          const struct reporter *reporter)
{
    struct stream *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->server = server;
    s->now = now;
    s->reporter = reporter;
    s->max_readers = STREAM_MAX_CLIENTS;
    s->cut_told_mono_ms = -REPORT_MS;
    s->stored_mono_ms = -STREAM_BUSY_MS;
    for (int state = 0; state < READER_STATES; state++)
        TAILQ_INIT(&s->readers[state]);
    s->pool = piece_pool_new();
    s->live = event_new(http_server_base(server), -1, 0, stream_on_live, s);
    s->behind = event_new(http_server_base(server), -1, 0, stream_on_behind, s);
    if (!due_timer_init(&s->timer, http_server_base(server), on_due, s) || !s->pool || !s->live ||
        !s->behind) {
        stream_free(s);
        return NULL;
    }
    return s;
}

void stream_set_store(struct stream *s, struct store *store)
{
    s->store = store;
    store_subscribe(store, on_stored, s);
}

void stream_shutdown(struct stream *s)
{
    s->stopping = true;
    if (s->cut > 0)
        tell_cut(s);
    for (int state = 0; state < READER_STATES; state++)
        for (struct reader *next, *r = TAILQ_FIRST(&s->readers[state]); r; r = next) {
            next = TAILQ_NEXT(r, entry);
            if (r->kind == STREAM_EVENTS)
                reader_end(r);
        }
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    while (s->n > 0)
        reader_cut((struct reader *)s->heap.items[0]);
    if (s->store)
        store_unsubscribe(s->store, s);
    if (s->live)
        event_free(s->live);
    if (s->behind)
        event_free(s->behind);
    due_timer_free(&s->timer);
    piece_pool_free(s->pool);
    due_free(&s->heap);
    free(s);
}

size_t stream_clients(const struct stream *s)
{
    return s->n;
}

void stream_set_max_clients(struct stream *s, size_t n)
{
    s->max_readers = n;
}

#define NUMBER(field) offsetof(struct stream_numbers, field)
static const struct metric metrics[] = {
    {.name = "flux_event_store_stream_clients",
     .type = METRIC_GAUGE,
     .offset = NUMBER(clients),
     .help = "Clients of event streams and exports."},
    {.name = "flux_event_store_stream_cut_total",
     .type = METRIC_COUNTER,
     .offset = NUMBER(cut),
     .help = "Stream clients that were cut because they took nothing for 30 s."},
    {0},
};

static const void *collect(void *arg)
{
    struct stream *s = arg;

    s->numbers.clients = s->n;
    return &s->numbers;
}

struct metric_source stream_metrics(struct stream *s)
{
    return (struct metric_source){metrics, collect, s};
}
