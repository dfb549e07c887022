/* POST /events and GET /events/{id} (GET /events is in list.c).
 *
 * What Flux does with an answer decides the status. It tries again after connection errors, 429 and 5xx other
 * than 501, for 15 s in all, and drops the event after any other status. So what is wrong with the event
 * itself is 4xx, and what may be better in two seconds is 503.
 *
 * Invariant: 200 is sent from the store's completion only, which fires after the commit returned. The request
 * waits meanwhile as an id; when its sender has left, the event is stored all the same and the answer finds
 * nobody.
 */
#include "http/events_priv.h"
#include "http/server_priv.h"

#include "store/event_json.h"

#include <stdio.h>
#include <stdlib.h>

bool events_not_ready(struct events *e, struct http_request *r)
{
    if (e->store)
        return false;
    http_reply_cause(e->server, http_request_id(r), CAUSE_STARTING, "the store is being opened: try again");
    return true;
}

bool events_crowded(const struct events *e)
{
    return e->gathered + http_server_answer_bytes(e->server) > HTTP_MAX_ANSWERS;
}

bool events_too_crowded(struct events *e, struct http_request *r)
{
    if (!events_crowded(e))
        return false;
    http_reply_error(e->server, http_request_id(r), 503, "too many answers wait to be read: try again");
    return true;
}

static void reply_failed(struct events *e, uint64_t id, enum store_status status)
{
    static const struct {
        enum http_cause cause;
        const char *why;
    } refusals[] = {
        [STORE_OK] = {CAUSE_OTHER, "the store cannot take the event"},
        [STORE_BUSY] = {CAUSE_QUEUE_FULL, "too many events are waiting to be stored: try again"},
        [STORE_FULL] = {CAUSE_DISK_FULL, "the disk is full"},
        [STORE_DEAD] = {CAUSE_STORE_FAILED, "the store has failed and the process is ending"},
        [STORE_NO_MEMORY] = {CAUSE_OVERLOAD, "out of memory"},
    };

    http_reply_cause(e->server, id, refusals[status].cause, refusals[status].why);
}

static void note_queued(struct events *e)
{
    struct store_stats stats;

    store_get_stats(e->store, &stats);
    http_server_set_queued(e->server, stats.queued_bytes);
}

/* The commit returned, or failed. token: the request's id. */
static void on_stored(void *arg, uint64_t token, enum store_status status, uint64_t seq)
{
    struct events *e = arg;
    char body[64];

    note_queued(e);
    if (status != STORE_OK) {
        reply_failed(e, token, status);
        return;
    }
    REPORT(e->reporter, REPORT_DEBUG, "event stored", FIELD_INT("id", seq));
    (void)snprintf(body, sizeof body, "{\"id\":\"%llu\"}\n", (unsigned long long)seq);
    struct http_reply reply = {.status = 200, .body = str_of(body)};
    http_reply(e->server, token, &reply);
}

static void on_post(void *arg, struct http_request *r)
{
    struct events *e = arg;
    uint64_t id = http_request_id(r);
    struct str body = http_request_body(r);
    char err[EVENT_ERROR];

    if (!http_without_params(e->server, r) || events_not_ready(e, r))
        return;
    struct flux_event *event = event_from_json(body, err);
    if (!event) {
        http_reply_cause(e->server, id, is_no_memory(err) ? CAUSE_OVERLOAD : CAUSE_BAD_EVENT, err);
        return;
    }
    enum store_status status =
        store_append(e->store, event, body, VIA_WEBHOOK, e->now_ms(), on_stored, e, id);
    note_queued(e);
    if (status != STORE_OK)
        reply_failed(e, id, status);
    event_json_free(event);
}

struct one {
    struct events *events;
    uint64_t id; /* of the request */
    bool raw;
};

static bool on_one(void *arg, const struct record *r)
{
    struct one *one = arg;
    struct json_out out = {0};
    struct http_reply reply = {.status = 200};

    if (one->raw) {
        reply.type = "application/octet-stream";
        reply.body = r->body_first;
        http_reply(one->events->server, one->id, &reply);
    } else if (event_record_to_json(r, &out) && json_out_add(&out, STR("\n"))) {
        reply.body = (struct str){out.at, out.len};
        http_reply(one->events->server, one->id, &reply);
    } else {
        http_reply_error(one->events->server, one->id, 503, "out of memory");
    }
    json_out_free(&out);
    return false;
}

static void on_get_one(void *arg, struct http_request *r)
{
    struct events *e = arg;
    uint64_t id = http_request_id(r);
    struct one one = {.events = e, .id = id, .raw = http_accepts(r, "application/octet-stream")};
    struct store_missed missed;
    uint64_t seq;

    if (!http_without_params(e->server, r) || events_not_ready(e, r) || events_too_crowded(e, r))
        return;
    if (!str_to_u64(http_request_segment(r), &seq))
        http_reply_error(e->server, id, 400, "the id of an event is a number");
    else if (store_get(e->store, seq, on_one, &one, &missed))
        return;
    else if (missed.unread)
        http_reply_cause(e->server, id, CAUSE_STORE_FAILED, EVENTS_UNREAD);
    else
        http_reply_error(e->server, id, 404, "there is no event with this id");
}

struct events *events_new(struct http_server *server, int64_t (*now_ms)(void),
                          const struct reporter *reporter)
{
    struct events *e = calloc(1, sizeof *e);

    if (!e)
        return NULL;
    e->server = server;
    e->now_ms = now_ms;
    e->reporter = reporter;
    TAILQ_INIT(&e->lists);
    if (!http_route(server, HTTP_POST, "/events", on_post, e) ||
        !http_route(server, HTTP_GET, "/events", list_serve, e) ||
        !http_route(server, HTTP_GET, "/events/{id}", on_get_one, e)) {
        free(e);
        return NULL;
    }
    return e;
}

void events_set_store(struct events *e, struct store *store)
{
    e->store = store;
}

void events_set_stream(struct events *e, struct stream *stream)
{
    e->stream = stream;
}

void events_free(struct events *e)
{
    if (!e)
        return;
    list_free_all(e);
    free(e);
}
