/*
 * Connections of the fake API server: accept, read, answer, and damage on demand.
 *
 * Invariant: a connection is READING (no request in work), ANSWERING (a request is with its handler) or
 * ENDING (it only flushes what is left, or hangs). Everything that is sent passes through send_out(), which
 * is where the damage is done, so that each fault applies alike to an answer and to a watch stream. A
 * connection is freed at the end of the turn, never inside its own callback.
 */
#include "test/fake/http_format.h"
#include "test/fake/http_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>

static void on_input(struct bufferevent *bev, void *arg);
static void answer_done(struct http_conn *conn);

static void notify_end(struct http_conn *conn)
{
    void (*on_end)(void *) = conn->on_end;
    conn->on_end = NULL;
    if (on_end != NULL) {
        on_end(conn->end_arg);
    }
    conn->end_arg = NULL;
}

void http_conn_bury(struct http_conn *conn)
{
    if (conn->dead) {
        return;
    }
    conn->dead = true;
    conn->state = CONN_ENDING;
    conn->server->stats.open--;
    LIST_REMOVE(conn, link);
    LIST_INSERT_HEAD(&conn->server->dead, conn, link);
    bufferevent_disable(conn->bev, EV_READ | EV_WRITE);
    event_del(conn->piece_timer);
    event_del(conn->idle_timer);
    event_active(conn->server->reap, EV_TIMEOUT, 1);
}

void http_conn_free(struct http_conn *conn)
{
    notify_end(conn);
    http_request_free(conn->request);
    bufferevent_free(conn->bev);
    evbuffer_free(conn->pending);
    event_free(conn->piece_timer);
    event_free(conn->idle_timer);
    free(conn);
}

/* All bytes are out (or dropped): ends the connection in the manner asked for. */
static void finish(struct http_conn *conn)
{
    SSL *ssl = bufferevent_openssl_get_ssl(conn->bev);
    if (conn->end == HTTP_END_RESET) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(bufferevent_getfd(conn->bev), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    } else if (conn->end == HTTP_END_CLEAN && ssl != NULL && SSL_is_init_finished(ssl)) {
        SSL_shutdown(ssl);
        ERR_clear_error();
    }
    http_conn_bury(conn);
}

static bool is_drained(struct http_conn *conn)
{
    return evbuffer_get_length(conn->pending) == 0 &&
           evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0;
}

void http_conn_end(struct http_conn *conn, enum http_end how)
{
    if (conn->dead || (conn->state == CONN_ENDING && conn->end != HTTP_END_HANG)) {
        return;
    }
    conn->state = CONN_ENDING;
    conn->end = how;
    event_del(conn->idle_timer);
    if (how != HTTP_END_HANG && is_drained(conn)) {
        finish(conn);
    }
}

static void next_piece(struct http_conn *conn)
{
    if (evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0) {
        char piece[4096];
        size_t bytes = conn->damage.piece_bytes < sizeof(piece) ? conn->damage.piece_bytes : sizeof(piece);
        int taken = evbuffer_remove(conn->pending, piece, bytes);
        if (taken > 0) {
            bufferevent_write(conn->bev, piece, (size_t)taken);
        }
    }
}

static void on_piece_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    next_piece(arg);
}

static void on_drained(struct bufferevent *bev, void *arg)
{
    struct http_conn *conn = arg;
    (void)bev;
    if (evbuffer_get_length(conn->pending) > 0) {
        int ms = conn->damage.interval_ms;
        struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
        event_add(conn->piece_timer, &wait);
    } else if (conn->state == CONN_ENDING && conn->end != HTTP_END_HANG && is_drained(conn)) {
        finish(conn);
    }
}

/* Bytes that no damage touches any more (but the dribble). */
static void pass(struct http_conn *conn, struct evbuffer *out, size_t bytes)
{
    conn->sent_bytes += bytes;
    if (conn->damage.kind == HTTP_DAMAGE_DRIBBLE || evbuffer_get_length(conn->pending) > 0) {
        evbuffer_remove_buffer(out, conn->pending, bytes);
        next_piece(conn);
    } else {
        evbuffer_remove_buffer(out, bufferevent_get_output(conn->bev), bytes);
    }
    if (evbuffer_get_length(bufferevent_get_output(conn->bev)) > HTTP_MAX_OUTPUT_BYTES) {
        conn->end = HTTP_END_RESET; /* a reader this slow is not waited for */
        finish(conn);
    }
}

/* `half`: how many of these bytes the first half of the answer has, or 0 when it is decided later. */
static void send_out(struct http_conn *conn, struct evbuffer *out, size_t half)
{
    struct http_damage *damage = &conn->damage;
    size_t bytes = evbuffer_get_length(out);
    if (conn->dead || conn->state == CONN_ENDING) {
        return;
    }
    if (damage->kind != HTTP_DAMAGE_CUT && damage->kind != HTTP_DAMAGE_GARBAGE) {
        pass(conn, out, bytes);
        return;
    }
    if (damage->after_bytes == HTTP_HALF_OF_ANSWER && half > 0) {
        damage->after_bytes = (long)(conn->sent_bytes + half);
    }
    if (damage->after_bytes < 0 || conn->sent_bytes + bytes < (size_t)damage->after_bytes) {
        pass(conn, out, bytes);
        return;
    }
    pass(conn, out, (size_t)damage->after_bytes - conn->sent_bytes);
    if (damage->kind == HTTP_DAMAGE_GARBAGE) {
        static const char noise[] = "\x16\x03\x7f\xff not HTTP, not JSON {]\r\n\xc3\x28\r\n\r\n";
        evbuffer_add(bufferevent_get_output(conn->bev), noise, sizeof(noise) - 1);
    }
    http_conn_end(conn, damage->end);
}

static bool closes_after(const struct http_conn *conn)
{
    return conn->request == NULL || conn->request->wants_close;
}

void http_reply(struct http_conn *conn, int status, const char *content_type, const char *headers,
                const void *body, size_t body_bytes)
{
    struct evbuffer *out = evbuffer_new();
    http_format_head(out, status, content_type, headers, closes_after(conn));
    if (body_bytes <= HTTP_MAX_PLAIN_BYTES) {
        evbuffer_add_printf(out, "Content-Length: %zu\r\n\r\n", body_bytes);
    } else {
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n\r\n");
    }
    size_t half = evbuffer_get_length(out) + body_bytes / 2;
    if (body_bytes <= HTTP_MAX_PLAIN_BYTES) {
        evbuffer_add(out, body, body_bytes);
    } else {
        http_format_chunks(out, body, body_bytes, 32u * 1024u);
        evbuffer_add(out, "0\r\n\r\n", 5);
    }
    send_out(conn, out, half);
    evbuffer_free(out);
    answer_done(conn);
}

void http_stream_begin(struct http_conn *conn)
{
    struct evbuffer *out = evbuffer_new();
    http_format_head(out, 200, "application/json", "", closes_after(conn));
    evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n\r\n");
    send_out(conn, out, 0);
    evbuffer_free(out);
}

void http_stream_write(struct http_conn *conn, const void *data, size_t bytes, size_t chunk_bytes)
{
    struct evbuffer *out = evbuffer_new();
    http_format_chunks(out, data, bytes, chunk_bytes);
    send_out(conn, out, evbuffer_get_length(out) / 2);
    evbuffer_free(out);
}

void http_stream_end(struct http_conn *conn)
{
    struct evbuffer *out = evbuffer_new();
    evbuffer_add(out, "0\r\n\r\n", 5);
    send_out(conn, out, 0);
    evbuffer_free(out);
    answer_done(conn);
}

static void arm_idle(struct http_conn *conn)
{
    int ms = conn->server->config.idle_ms;
    struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_add(conn->idle_timer, &wait);
}

/* The answer is handed over; the connection is free for the next request, which may already be there. */
static void answer_done(struct http_conn *conn)
{
    bool closes = closes_after(conn);
    if (conn->dead || conn->state == CONN_ENDING) {
        return; /* a connection that hangs keeps its request until it is gone */
    }
    notify_end(conn);
    http_request_free(conn->request);
    conn->request = NULL;
    if (closes) {
        http_conn_end(conn, HTTP_END_CLEAN);
        return;
    }
    conn->state = CONN_READING;
    arm_idle(conn);
    if (!conn->in_input) {
        on_input(conn->bev, conn);
    }
}

static void refuse(struct http_conn *conn, int status, const char *problem)
{
    char body[256];
    int bytes = snprintf(body, sizeof(body), "%d %s: %s", status, http_status_text(status), problem);
    conn->state = CONN_ANSWERING;
    if (status == 413) { /* the one that a kube-apiserver itself says, not Go's server below it */
        bytes = snprintf(
            body, sizeof(body),
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":"
            "\"%s\",\"reason\":\"RequestEntityTooLarge\",\"code\":413}\n",
            problem);
    }
    http_reply(conn, status, status == 413 ? "application/json" : "text/plain; charset=utf-8", "", body,
               (size_t)bytes);
}

static void begin_request(struct http_conn *conn, struct http_request *request)
{
    struct http_server *server = conn->server;
    conn->request = request;
    conn->state = CONN_ANSWERING;
    conn->continued = false;
    conn->sent_bytes = 0;
    if (evbuffer_get_length(conn->pending) == 0) {
        conn->damage = (struct http_damage){0};
    }
    event_del(conn->idle_timer);
    server->config.on_request(conn, request, server->config.arg);
}

static void on_input(struct bufferevent *bev, void *arg)
{
    struct http_conn *conn = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    conn->in_input = true;
    while (!conn->dead && conn->state == CONN_READING && evbuffer_get_length(in) > 0) {
        struct http_request *request = NULL;
        const char *problem = NULL;
        bool expects = false;
        int result = http_request_read(in, &request, &expects, &problem);
        if (result == 0) {
            if (expects && !conn->continued) {
                conn->continued = true;
                bufferevent_write(bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
            }
            break;
        }
        if (result == 1) {
            begin_request(conn, request);
        } else {
            refuse(conn, result, problem);
        }
    }
    if (conn->state == CONN_ENDING) {
        evbuffer_drain(in, evbuffer_get_length(in));
    }
    conn->in_input = false;
}

static void on_bev_event(struct bufferevent *bev, short what, void *arg)
{
    struct http_conn *conn = arg;
    (void)bev;
    if ((what & BEV_EVENT_CONNECTED) == 0) {
        http_conn_bury(conn); /* the client closed, reset or broke TLS: whatever it was, it is gone */
    }
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    http_conn_end(arg, HTTP_END_CLEAN);
}

void http_conn_start(struct http_server *server, struct bufferevent *bev)
{
    struct http_conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        bufferevent_free(bev);
        return;
    }
    conn->server = server;
    conn->bev = bev;
    conn->pending = evbuffer_new();
    conn->piece_timer = evtimer_new(server->base, on_piece_timer, conn);
    conn->idle_timer = evtimer_new(server->base, on_idle, conn);
    LIST_INSERT_HEAD(&server->alive, conn, link);
    server->stats.open++;
    server->stats.accepted++;
    bufferevent_setcb(bev, on_input, on_drained, on_bev_event, conn);
    bufferevent_setwatermark(bev, EV_READ, 0, HTTP_MAX_HEAD_BYTES + HTTP_MAX_BODY_BYTES + 1);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    arm_idle(conn);
}

void http_on_end(struct http_conn *conn, void (*on_end)(void *arg), void *arg)
{
    conn->on_end = on_end;
    conn->end_arg = arg;
}

void *http_end_arg(const struct http_conn *conn)
{
    return conn->end_arg;
}

void http_set_damage(struct http_conn *conn, const struct http_damage *damage)
{
    conn->damage = *damage;
}
