/* Long answers (see long_priv.h).
 *
 * evhttp writes the head, and the last chunk at the end. What is between goes straight into the output buffer of its
 * bufferevent, whichever kind that is, because it is framed already and shared (piece.c): evhttp would copy the framing
 * for each client and each event. A callback on that buffer tells of progress, which evhttp's own does only when all is
 * written.
 *
 * evhttp's timeouts are for idle connections; a stream is idle when nothing happens, so they are taken off. Reading goes on
 * beside, which is how the end of the client is noticed; the guard bounds what is read. A client that has filled that
 * bound and then leaves is noticed when something is written.
 *
 * Invariant: a long answer exists exactly while its request is in the table of pending answers.
 */
#include "http/long_priv.h"

#include "http/reply_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <stdlib.h>
#include <sys/socket.h>

/* What the kernel may hold for a client beside what the caller does; by itself it would take megabytes. */
#define LONG_SOCKET_BYTES (256 << 10)
/* Given to the kernel in one call; 16 KiB by default. */
#define LONG_WRITE_BYTES ((size_t)64 << 10)

struct long_answer {
    struct http_server *server;
    uint64_t id;
    struct long_hooks hooks;
    struct evhttp_connection *evcon;
    struct evbuffer *output;
    bool framed;
};

static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct long_answer *a = arg;

    if (info->n_deleted > 0)
        a->hooks.on_progress(a->hooks.arg, evbuffer_get_length(output));
}

static void forget(struct long_answer *a)
{
    (void)evbuffer_remove_cb(a->output, on_output, a);
    free(a);
}

static void on_client_gone(void *arg, uint64_t id)
{
    struct long_answer *a = arg;
    struct long_hooks hooks = a->hooks;

    (void)id;
    forget(a);
    hooks.on_gone(hooks.arg);
}

static void send_head(struct long_answer *a, struct evhttp_request *req, const struct http_header *headers)
{
    struct bufferevent *bev = evhttp_connection_get_bufferevent(a->evcon);
    struct evkeyvalq *out = evhttp_request_get_output_headers(req);
    int bytes = LONG_SOCKET_BYTES;

    for (; headers->name; headers++)
        evhttp_add_header(out, headers->name, headers->value);
    evhttp_add_header(out, "Connection", "close");
    tally_answered(http_server_tally(a->server), 200);
    evhttp_send_reply_start(req, 200, reply_reason(200));
    a->framed = evhttp_find_header(out, "Transfer-Encoding") != NULL;
    (void)bufferevent_set_timeouts(bev, NULL, NULL);
    (void)bufferevent_set_max_single_write(bev, LONG_WRITE_BYTES);
    (void)setsockopt(bufferevent_getfd(bev), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

struct long_answer *long_begin(struct http_server *s, uint64_t id, const struct http_header *headers,
                               const struct long_hooks *hooks)
{
    struct evhttp_request *req = pending_get(http_server_requests(s), id);
    struct evhttp_connection *evcon = req ? evhttp_request_get_connection(req) : NULL;
    struct guard *g = evcon ? http_server_guard(s, evcon) : NULL;
    struct long_answer *a = g ? calloc(1, sizeof *a) : NULL;

    if (!a) {
        http_reply_error(s, id, 503, "out of memory");
        return NULL;
    }
    a->server = s;
    a->id = id;
    a->hooks = *hooks;
    a->evcon = evcon;
    a->output = bufferevent_get_output(evhttp_connection_get_bufferevent(evcon));
    if (!evbuffer_add_cb(a->output, on_output, a)) {
        http_reply_error(s, id, 503, "out of memory");
        free(a);
        return NULL;
    }
    guard_reply_long(g, &(struct guard_watch){id, on_client_gone, a});
    send_head(a, req, headers);
    return a;
}

size_t long_unsent(const struct long_answer *a)
{
    return evbuffer_get_length(a->output);
}

bool long_send(struct long_answer *a, struct piece *p, size_t from, size_t to)
{
    return piece_send(p, from, to, a->framed, a->output);
}

void long_end(struct long_answer *a)
{
    struct evhttp_request *req = pending_take(http_server_requests(a->server), a->id);
    struct guard *g = http_server_guard(a->server, a->evcon);

    bool framed = a->framed;

    forget(a);
    if (g)
        guard_reply_long_over(g);
    /* Without framing the connection may end at once. With it evhttp has its last chunk to write. */
    if (g && !framed)
        guard_reply_handed(g);
    evhttp_send_reply_end(req);
    if (g && framed)
        guard_reply_handed(g);
}

void long_cut(struct long_answer *a)
{
    struct guard *g = http_server_guard(a->server, a->evcon);

    (void)pending_take(http_server_requests(a->server), a->id);
    forget(a);
    if (g)
        guard_cut(g);
}
