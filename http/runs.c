/* GET /runs (see runs.h).
 *
 * Each answer being made has an event of its own that comes back in the next turn until the last piece is there. An
 * answer whose client has gone is made to its end and dropped. Failure mode: without memory the answer is 503.
 */
#include "http/runs.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>

TAILQ_HEAD(makings, making);

struct making {
    struct runs *runs;
    struct event *turn;
    struct evbuffer *text;
    uint64_t id; /* of the request */
    uint64_t position;
    TAILQ_ENTRY(making) entry;
};

struct runs {
    struct http_server *server;
    struct event_base *base;
    runs_piece *piece;
    void *arg;
    struct makings makings;
    size_t n;
};

static void making_free(struct making *m)
{
    TAILQ_REMOVE(&m->runs->makings, m, entry);
    m->runs->n--;
    if (m->turn)
        event_free(m->turn);
    if (m->text)
        evbuffer_free(m->text);
    free(m);
}

static void finish(struct making *m, bool failed)
{
    const struct http_reply reply = {.status = 200, .text = m->text};

    if (failed)
        http_reply_error(m->runs->server, m->id, 503, "out of memory");
    else
        http_reply(m->runs->server, m->id, &reply);
    making_free(m);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct making *m = arg;
    const struct timeval next_turn = {0};
    bool last = false;
    char *piece = m->runs->piece(m->runs->arg, &m->position, &last);
    bool failed = !piece || evbuffer_add(m->text, piece, strlen(piece)) != 0;

    (void)fd;
    (void)what;
    free(piece);
    if (failed || last)
        finish(m, failed);
    else
        (void)event_add(m->turn, &next_turn);
}

static struct making *making_new(struct runs *runs, uint64_t id)
{
    struct making *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->runs = runs;
    m->id = id;
    TAILQ_INSERT_TAIL(&runs->makings, m, entry);
    runs->n++;
    m->text = evbuffer_new();
    m->turn = event_new(runs->base, -1, 0, on_turn, m);
    if (!m->text || !m->turn) {
        making_free(m);
        return NULL;
    }
    return m;
}

static void on_get(void *arg, struct http_request *r)
{
    struct runs *runs = arg;
    uint64_t id = http_request_id(r);

    if (!http_without_params(runs->server, r))
        return;
    struct making *m = runs->n < RUNS_MAX_RUNNING ? making_new(runs, id) : NULL;
    if (!m)
        http_reply_error(runs->server, id, 503, "too many lists are being gathered: try again");
    else
        on_turn(-1, 0, m);
}

struct runs *runs_new(struct http_server *server, struct event_base *base, runs_piece *piece, void *arg)
{
    struct runs *runs = calloc(1, sizeof *runs);

    if (!runs)
        return NULL;
    runs->server = server;
    runs->base = base;
    runs->piece = piece;
    runs->arg = arg;
    TAILQ_INIT(&runs->makings);
    if (!http_route(server, HTTP_GET, "/runs", on_get, runs)) {
        free(runs);
        return NULL;
    }
    return runs;
}

void runs_free(struct runs *runs)
{
    if (!runs)
        return;
    while (!TAILQ_EMPTY(&runs->makings))
        making_free(TAILQ_FIRST(&runs->makings));
    free(runs);
}
