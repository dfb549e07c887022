/* GET /events: a page of records.
 *
 * The page is gathered over as many turns of the loop as it takes, each with a bounded number of records
 * looked at and written out, so that a filter which matches little does not hold the loop up. Each turn is a
 * read transaction of its own. Records that arrive meanwhile may still get onto the page: they are newer than
 * all that is on it.
 *
 * Invariant: the Link to the next page continues behind the last record on this one, so that pages neither
 * overlap nor leave a gap.
 */
#include "http/events_priv.h"
#include "http/server_priv.h"
#include "http/stream_priv.h"

#include "store/event_json.h"
#include "store/filter.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>

_Static_assert(HTTP_ERROR >= FILTER_ERROR, "filter_new writes into an error of http/");

struct list {
    struct events *events;
    uint64_t id; /* of the request */
    struct filter *filter;
    struct evbuffer *link; /* the next page, up to the id */
    struct event *turn;
    struct json_out out;
    uint64_t position; /* the last record that was looked at and needs no second look */
    uint64_t last;     /* the last one on the page */
    size_t n;          /* on the page */
    size_t turn_n;     /* written out in this turn */
    size_t turn_begin; /* out.len at its begin */
    size_t counted;    /* its share of events->gathered */
    bool interrupted;  /* the turn has done enough */
    bool is_full;      /* and there is more */
    bool no_memory;
    TAILQ_ENTRY(list) entry;
};

static void list_free(struct list *l)
{
    if (l->turn)
        event_free(l->turn);
    if (l->link)
        evbuffer_free(l->link);
    json_out_free(&l->out);
    filter_free(l->filter);
    l->events->gathered -= l->counted;
    TAILQ_REMOVE(&l->events->lists, l, entry);
    l->events->n_lists--;
    free(l);
}

static bool write_record(struct list *l, const struct record *r)
{
    size_t before = l->out.len;

    if (!json_out_add(&l->out, l->n ? STR(",") : STR("[")) || !event_record_to_json(r, &l->out)) {
        l->no_memory = true;
        return false;
    }
    if (l->n > 0 && (l->out.len > LIST_MAX_BYTES || events_crowded(l->events))) {
        l->out.len = before;
        l->is_full = true;
        return false;
    }
    l->events->gathered += l->out.len - l->counted;
    l->counted = l->out.len;
    l->last = r->seq;
    l->n++;
    l->turn_n++;
    return true;
}

static bool on_record(void *arg, const struct record *r)
{
    struct list *l = arg;

    if (filter_passes(l->filter, r)) {
        if (l->n == filter_limit(l->filter)) {
            l->is_full = true;
            return false;
        }
        if (l->turn_n == LIST_TURN_ANSWERS || l->out.len - l->turn_begin > LIST_TURN_BYTES) {
            l->interrupted = true;
            return false;
        }
        if (!record_bodies_intact(r))
            http_server_report_damaged(l->events->server, r->seq);
        else if (!write_record(l, r))
            return false;
    }
    l->position = r->seq;
    return true;
}

static void finish(struct list *l)
{
    struct http_server *server = l->events->server;
    const char *link = NULL;

    if (l->n == 0)
        l->no_memory |= !json_out_add(&l->out, STR("["));
    l->no_memory |= !json_out_add(&l->out, STR("]\n"));
    if (l->is_full) {
        evbuffer_add_printf(l->link, "after=%llu>; rel=\"next\"", (unsigned long long)l->last);
        l->no_memory |= evbuffer_add(l->link, "", 1) != 0;
        link = (const char *)evbuffer_pullup(l->link, -1);
    }
    if (l->no_memory) {
        http_reply_error(server, l->id, 503, "out of memory");
    } else {
        struct http_reply reply = {.status = 200, .body = {l->out.at, l->out.len}, .link = link};
        http_reply(server, l->id, &reply);
    }
    list_free(l);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct list *l = arg;
    const struct timeval next_turn = {0};
    struct store_missed missed;

    (void)fd;
    (void)what;
    l->turn_n = 0;
    l->turn_begin = l->out.len;
    l->interrupted = false;
    uint64_t more = store_scan(l->events->store, l->position, filter_descending(l->filter), LIST_TURN_RECORDS,
                               on_record, l, &missed);
    if (missed.unread) {
        http_reply_cause(l->events->server, l->id, CAUSE_STORE_FAILED, EVENTS_UNREAD);
        list_free(l);
        return;
    }
    if (l->is_full || l->no_memory || (more == 0 && !l->interrupted)) {
        finish(l);
        return;
    }
    if (!l->interrupted)
        l->position = more; /* also behind what could not be shown */
    (void)event_add(l->turn, &next_turn);
}

/* "</events?kind=x&": the same query, but for `after`. A relative reference, so that proxies may be in
 * between. */
static bool begin_link(struct evbuffer *link, const struct http_param *params, size_t n)
{
    bool ok = evbuffer_add_printf(link, "</events?") > 0;

    for (size_t i = 0; i < n; i++) {
        if (str_eq(params[i].name, STR("after")))
            continue;
        ok &= evbuffer_add_printf(link, "%.*s=", STR_ARG(params[i].name)) > 0;
        for (size_t at = 0; at < params[i].value.len; at++) {
            char c = params[i].value.at[at];
            bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c != '\0' && strchr("-._~:/@", c) != NULL);
            ok &= evbuffer_add_printf(link, plain ? "%c" : "%%%02X", (unsigned char)c) > 0;
        }
        ok &= evbuffer_add_printf(link, "&") > 0;
    }
    return ok;
}

/* Takes over the filter unless it returns NULL. */
static struct list *list_new(struct events *e, struct http_request *r, struct filter *filter)
{
    const struct http_param *params;
    char err[HTTP_ERROR];
    size_t n;
    struct list *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->events = e;
    l->id = http_request_id(r);
    TAILQ_INSERT_TAIL(&e->lists, l, entry);
    e->n_lists++;
    l->link = evbuffer_new();
    l->turn = event_new(http_server_base(e->server), -1, 0, on_turn, l);
    if (!l->link || !l->turn || !http_request_params(r, &params, &n, err) ||
        !begin_link(l->link, params, n)) {
        list_free(l);
        return NULL;
    }
    l->filter = filter;
    return l;
}

struct filter *events_filter(struct http_request *r, int64_t now_ms, char err[static HTTP_ERROR])
{
    struct filter_param copy[HTTP_MAX_PARAMS];
    const struct http_param *params;
    size_t n;

    if (!http_request_params(r, &params, &n, err))
        return NULL;
    for (size_t i = 0; i < n; i++)
        copy[i] = (struct filter_param){params[i].name, params[i].value};
    return filter_new(copy, n, now_ms, err);
}

/* For store_scan, where a descending 0 means the newest record: below an `after` of 0 there is none. */
static uint64_t first_position(const struct filter *filter)
{
    uint64_t after = 0;

    if (filter_after(filter, &after) && after == 0 && filter_descending(filter))
        return 1;
    return after;
}

void list_serve(void *arg, struct http_request *r)
{
    struct events *e = arg;
    uint64_t id = http_request_id(r);
    bool wants_export = http_accepts(r, "application/x-ndjson");
    bool wants_stream = http_accepts(r, "text/event-stream");
    char err[HTTP_ERROR];

    if (wants_export || wants_stream) {
        stream_serve(e->stream, r, wants_stream ? STREAM_EVENTS : STREAM_EXPORT);
        return;
    }
    if (events_not_ready(e, r) || events_too_crowded(e, r))
        return;
    struct filter *filter = events_filter(r, e->now_ms(), err);
    if (!filter) {
        http_reply_refused(e->server, id, err);
        return;
    }
    struct list *l = e->n_lists < LIST_MAX_RUNNING ? list_new(e, r, filter) : NULL;
    if (!l) {
        http_reply_error(e->server, id, 503, "too many lists are being gathered: try again");
        filter_free(filter);
        return;
    }
    l->position = first_position(filter);
    on_turn(-1, 0, l);
}

void list_free_all(struct events *e)
{
    while (!TAILQ_EMPTY(&e->lists))
        list_free(TAILQ_FIRST(&e->lists));
}
