/* Connections that speak TLS (see tls_priv.h).
 *
 * A handshake takes half a millisecond of the loop, most of it when the client's first message is answered. So the
 * bufferevent does not read at first; an event of the gate waits for the first byte and leaves it where it is. Clients
 * whose first byte has come stand in a queue, and TLS_HANDSHAKES of them begin in each turn of the loop: a thousand at
 * once take their time one after the other, and every turn serves everybody else too. Who has sent nothing holds no
 * place in the queue; the guard's deadline for the first head ends it.
 *
 * A letter is no first byte of TLS, but of an HTTP request: that client is told so in plain text, and what it sends is
 * dropped until it leaves or the deadline comes.
 *
 * libevent frees the SSL object with the bufferevent, and does not say goodbye before. And it says that all is written
 * one step late: by then there may be more, and evhttp would take what was written (100 Continue, a piece of a stream)
 * for the whole answer, and end the connection or stop writing. So a wrapper around its callbacks looks again.
 */
#include "http/tls_priv.h"

#include "http/reply_priv.h"
#include "http/server_priv.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>

static const char is_plain[] = "this port speaks TLS: use https";

enum tls_phase {
    TLS_NEW,     /* not started */
    TLS_WAITING, /* for the first byte */
    TLS_QUEUED,
    TLS_BEGUN, /* the bufferevent reads */
    TLS_PLAIN, /* the client was told to use TLS */
};

struct tls_conn {
    struct tls_gate *gate;
    struct bufferevent *bev; /* its owner is the caller */
    SSL *ssl;                /* owned by bev */
    struct event *readable;  /* NULL from TLS_BEGUN on */
    const char *client;      /* borrowed; NULL: not started */
    enum tls_phase phase;
    struct tls_hooks hooks;
    struct {
        bufferevent_data_cb read, written;
        bufferevent_event_cb event;
        void *arg;
    } wrapped; /* evhttp's callbacks */
    TAILQ_ENTRY(tls_conn) link;
};

struct tls_gate {
    struct event_base *base;
    struct tls *tls;
    struct event *turn; /* the next turn of the loop */
    unsigned begun;     /* in this turn */
    TAILQ_HEAD(, tls_conn) queue;
};

/* --- the gate --- */

static void begin(struct tls_conn *c)
{
    c->gate->begun++;
    c->phase = TLS_BEGUN;
    event_free(c->readable);
    c->readable = NULL;
    tls_refresh(c->gate->tls, http_mono_ms());
    if (!tls_renew(c->gate->tls, c->ssl)) {
        c->hooks.on_end(c->hooks.arg);
        return;
    }
    (void)bufferevent_enable(c->bev, EV_READ);
}

static void begin_some(struct tls_gate *gate)
{
    struct tls_conn *c;

    while (gate->begun < TLS_HANDSHAKES && (c = TAILQ_FIRST(&gate->queue)) != NULL) {
        TAILQ_REMOVE(&gate->queue, c, link);
        begin(c);
    }
}

/* A timer of no length expires in the next turn: one that is made active runs in this one. */
static void on_next_turn(evutil_socket_t fd, short what, void *arg)
{
    struct tls_gate *gate = arg;

    (void)fd;
    (void)what;
    gate->begun = 0;
    begin_some(gate);
    if (gate->begun > 0)
        (void)event_add(gate->turn, &(struct timeval){0});
}

static void enter_queue(struct tls_conn *c)
{
    struct tls_gate *gate = c->gate;

    c->phase = TLS_QUEUED;
    TAILQ_INSERT_TAIL(&gate->queue, c, link);
    (void)event_add(gate->turn, &(struct timeval){0});
    begin_some(gate);
}

struct tls_gate *tls_gate_new(struct event_base *base, struct tls *tls)
{
    struct tls_gate *gate = calloc(1, sizeof *gate);

    if (!gate)
        return NULL;
    gate->base = base;
    gate->tls = tls;
    TAILQ_INIT(&gate->queue);
    gate->turn = event_new(base, -1, 0, on_next_turn, gate);
    if (!gate->turn) {
        free(gate);
        return NULL;
    }
    return gate;
}

void tls_gate_free(struct tls_gate *gate)
{
    if (!gate)
        return;
    event_free(gate->turn);
    free(gate);
}

/* --- a connection --- */

/* Sends what fits into an empty socket: all of it. */
static void tell_plain(struct tls_conn *c)
{
    struct evbuffer *out = evbuffer_new();
    int fd = bufferevent_getfd(c->bev);

    c->phase = TLS_PLAIN;
    c->hooks.on_plain(c->hooks.arg, is_plain);
    if (!out)
        return;
    reply_refusal(out, 400, is_plain, false);
    (void)evbuffer_write(out, fd);
    (void)shutdown(fd, SHUT_WR);
    evbuffer_free(out);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct tls_conn *c = arg;
    char dropped[4096];
    bool plain = c->phase == TLS_PLAIN;
    ssize_t n = recv(fd, dropped, plain ? sizeof dropped : 1, plain ? 0 : MSG_PEEK);

    (void)what;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        c->hooks.on_end(c->hooks.arg);
    } else if (n > 0 && !plain) {
        (void)event_del(c->readable);
        if ((dropped[0] | 0x20) < 'a' || (dropped[0] | 0x20) > 'z') {
            enter_queue(c);
            return;
        }
        tell_plain(c);
        (void)event_add(c->readable, NULL);
    }
}

struct tls_conn *tls_conn_new(struct tls_gate *gate, const struct tls_hooks *hooks)
{
    struct tls_conn *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->gate = gate;
    c->hooks = *hooks;
    c->ssl = tls_ssl(gate->tls);
    if (c->ssl) /* frees ssl when it fails */
        c->bev = bufferevent_openssl_socket_new(gate->base, -1, c->ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                BEV_OPT_CLOSE_ON_FREE);
    if (!c->bev) {
        ERR_clear_error();
        free(c);
        return NULL;
    }
    return c;
}

struct bufferevent *tls_conn_bufferevent(struct tls_conn *c)
{
    return c->bev;
}

bool tls_conn_start(struct tls_conn *c, const char *client)
{
    c->client = client;
    (void)bufferevent_disable(c->bev, EV_READ);
    c->phase = TLS_WAITING;
    c->readable = event_new(c->gate->base, bufferevent_getfd(c->bev), EV_READ | EV_PERSIST, on_readable, c);
    return c->readable && event_add(c->readable, NULL) == 0;
}

static void on_wrapped_read(struct bufferevent *bev, void *arg)
{
    const struct tls_conn *c = arg;

    if (c->wrapped.read)
        c->wrapped.read(bev, c->wrapped.arg);
}

static void on_wrapped_written(struct bufferevent *bev, void *arg)
{
    const struct tls_conn *c = arg;

    if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
        c->wrapped.written(bev, c->wrapped.arg);
}

static void on_wrapped_event(struct bufferevent *bev, short what, void *arg)
{
    const struct tls_conn *c = arg;

    c->wrapped.event(bev, what, c->wrapped.arg);
}

void tls_conn_mind_writes(struct tls_conn *c)
{
    bufferevent_data_cb written;

    bufferevent_getcb(c->bev, NULL, &written, NULL, NULL);
    if (written == on_wrapped_written)
        return;
    bufferevent_getcb(c->bev, &c->wrapped.read, &c->wrapped.written, &c->wrapped.event, &c->wrapped.arg);
    bufferevent_setcb(c->bev, on_wrapped_read, on_wrapped_written, on_wrapped_event, c);
}

void tls_conn_finish(struct tls_conn *c)
{
    if (!SSL_is_init_finished(c->ssl) || (SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN) != 0)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(c->ssl);
    ERR_clear_error();
}

/* Also after an error, with which OpenSSL forgets that it was through. */
static bool shook_hands(const struct tls_conn *c)
{
    char byte;

    return SSL_get_peer_finished(c->ssl, &byte, sizeof byte) > 0;
}

static enum tls_failure cause_of(unsigned long error, long verified)
{
    int reason = ERR_GET_REASON(error);

    if (verified != X509_V_OK || reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return TLS_FAILED_CLIENT_CERTIFICATE;
    /* OpenSSL's number of an alert that came from the client. */
    return reason > SSL_AD_REASON_OFFSET ? TLS_FAILED_REFUSED_BY_CLIENT : TLS_FAILED_PROTOCOL;
}

/* A client that left before it said anything, or after the handshake, has not failed. */
static void report_failure(const struct tls_conn *c)
{
    unsigned long error = c->phase == TLS_BEGUN ? bufferevent_get_openssl_error(c->bev) : 0;
    long verified = SSL_get_verify_result(c->ssl);
    const char *why = "connection broken";

    if (shook_hands(c) || error == 0)
        return;
    if (verified != X509_V_OK)
        why = X509_verify_cert_error_string(verified);
    else if (ERR_reason_error_string(error))
        why = ERR_reason_error_string(error);
    tls_report_failed(c->gate->tls, cause_of(error, verified), why, c->client, http_mono_ms());
}

void tls_conn_free(struct tls_conn *c)
{
    if (!c)
        return;
    report_failure(c);
    tls_conn_finish(c);
    if (c->phase == TLS_QUEUED)
        TAILQ_REMOVE(&c->gate->queue, c, link);
    if (c->readable)
        event_free(c->readable);
    free(c);
}
