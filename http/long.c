/* Long answers (see long_priv.h).
 *
 * evhttp writes the head. What follows goes straight into the output buffer of its bufferevent, whichever kind that is,
 * because it is framed already and shared (piece.c): evhttp would copy the framing for each client and each event. A
 * callback on that buffer tells of progress, which evhttp's own does only when all is written. The last chunk goes the same
 * way, and the connection is ended when the buffer is empty: evhttp would do so at the next call of its own callback, and
 * under TLS that may be one that was put off when the buffer was empty before.
 *
 * A socket without TLS that has nothing to write gets its bytes at once: most take an event whole, and waiting for the loop
 * to say that it can be written to costs two system calls for each client of an event. What it does not take, and every
 * error, is left to the bufferevent.
 *
 * evhttp's timeouts are for idle connections; a stream is idle when nothing happens, so they are taken off. Reading goes on
 * beside, which is how the end of the client is noticed; the guard bounds what is read. A client that has filled that
 * bound and then leaves is noticed when something is written.
 *
 * Invariant: a long answer exists until its connection ends, and its request is in the table of pending answers.
 */
#include "http/long_priv.h"

#include "http/reply_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What the kernel may hold for a client beside what the caller does; by itself it would take megabytes. */
#define LONG_SOCKET_BYTES (256 << 10)
/* Given to the kernel in one call; 16 KiB by default. */
#define LONG_WRITE_BYTES ((size_t)64 << 10)

/* How long the rest of an answer that has ended may go without progress. */
#define LONG_END_SECONDS 30

struct long_answer {
    struct http_server *server;
    uint64_t id;
    struct long_hooks hooks;
    struct evhttp_connection *evcon;
    struct evbuffer *output;
    struct event *over; /* ended, and all is written */
    bool framed;
    bool plain; /* what is in `output` is what the socket gets */
    bool ended;
};

static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct long_answer *a = arg;
    size_t unsent = evbuffer_get_length(output);

    if (info->n_deleted == 0)
        return;
    if (!a->ended)
        a->hooks.on_progress(a->hooks.arg, unsent);
    else if (unsent == 0)
        event_active(a->over, EV_TIMEOUT, 0);
}

static void forget(struct long_answer *a)
{
    (void)pending_take(http_server_requests(a->server), a->id);
    (void)evbuffer_remove_cb(a->output, on_output, a);
    event_free(a->over);
    free(a);
}

static void on_client_gone(void *arg, uint64_t id)
{
    struct long_answer *a = arg;
    struct long_hooks hooks = a->hooks;
    bool ended = a->ended;

    (void)id;
    forget(a);
    if (!ended)
        hooks.on_gone(hooks.arg);
}

static void on_over(evutil_socket_t fd, short what, void *arg)
{
    struct long_answer *a = arg;
    struct guard *g = http_server_guard(a->server, a->evcon);

    (void)fd;
    (void)what;
    forget(a);
    if (g)
        guard_end(g);
}

static void send_head(struct long_answer *a, struct evhttp_request *req, const struct http_header *headers)
{
    struct bufferevent *bev = evhttp_connection_get_bufferevent(a->evcon);
    struct evkeyvalq *out = evhttp_request_get_output_headers(req);
    int bytes = LONG_SOCKET_BYTES;

    for (; headers->name; headers++)
        evhttp_add_header(out, headers->name, headers->value);
    /* To HTTP/1.0 with keep-alive evhttp would say Content-Length: 0, which this is not, and keep-alive. */
    while (evhttp_remove_header(evhttp_request_get_input_headers(req), "Connection") == 0)
        ;
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
    a->plain = !bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(evcon));
    a->over = event_new(http_server_base(s), -1, 0, on_over, a);
    if (!a->over || !evbuffer_add_cb(a->output, on_output, a)) {
        http_reply_error(s, id, 503, "out of memory");
        if (a->over)
            event_free(a->over);
        free(a);
        return NULL;
    }
    guard_reply_long(g, &(struct guard_watch){id, on_client_gone, a, .till_the_end = true});
    send_head(a, req, headers);
    return a;
}

size_t long_unsent(const struct long_answer *a)
{
    return evbuffer_get_length(a->output);
}

static size_t write_now(const struct long_answer *a, struct str bytes)
{
    struct iovec iov = {(char *)(uintptr_t)bytes.at, bytes.len};
    evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(a->evcon));
    ssize_t n = fd < 0 ? 0 : writev(fd, &iov, 1);

    return n < 0 ? 0 : (size_t)n;
}

bool long_send(struct long_answer *a, struct piece *p, size_t from, size_t to)
{
    if (a->plain && a->framed && evbuffer_get_length(a->output) == 0)
        from += write_now(a, piece_bytes(p, from, to));
    return from == to || piece_send(p, from, to, a->framed, a->output);
}

void long_end(struct long_answer *a)
{
    const struct timeval patience = {.tv_sec = LONG_END_SECONDS};

    a->ended = true;
    (void)bufferevent_set_timeouts(evhttp_connection_get_bufferevent(a->evcon), NULL, &patience);
    if (a->framed && evbuffer_add(a->output, "0\r\n\r\n", 5) != 0)
        long_cut(a);
    else if (evbuffer_get_length(a->output) == 0)
        event_active(a->over, EV_TIMEOUT, 0);
}

void long_cut(struct long_answer *a)
{
    struct guard *g = http_server_guard(a->server, a->evcon);

    forget(a);
    if (g)
        guard_cut(g);
}
