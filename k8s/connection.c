/* A connection to the API server, by evhttp (see connection_priv.h).
 *
 * What evhttp does not do by itself is done here:
 * - It tells no cause when connecting fails. So the event callback that it gives its bufferevent is wrapped
 * until the connection stands: the wrapper reads errno and OpenSSL's verdict, then calls evhttp's.
 * - It cannot reconnect a TLS bufferevent. So each evhttp_connection is used for one TCP connection and then
 * replaced.
 * - It would resolve names on the loop. So it is given addresses only; names go through evdns first.
 * - It gives out a chunk when it is complete, whatever its size, and limits only the sum of them, which a
 * watch must not. So what is buffered is watched from outside and bounded.
 * - Its timeouts restart with each byte. So the deadlines are those of one timer here.
 *
 * Invariants: no byte of a request, and so of the token, is written before the TLS handshake with the
 * verified server is over; an evhttp_connection is freed only from the loop, never from inside one of its
 * callbacks (they note what happened, and on_step acts on it).
 */
#include "k8s/connection_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/util.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "k8s/clock_priv.h"
#include "k8s/lookup_priv.h"
#include "k8s/socket_priv.h"

#define MAX_HEAD     65536
#define HEAD_ROOM    65536 /* buffered beside the piece that is waited for */
#define EVHTTP_NEVER (7 * 24 * 3600)

enum connection_state {
    CONNECTION_CLOSED,
    CONNECTION_RESOLVING,
    CONNECTION_CONNECTING,
    CONNECTION_ASKING,    /* connected; no head of an answer yet */
    CONNECTION_ANSWERING, /* the head came */
    CONNECTION_ENDED,     /* the outcome is noted, on_step is due */
    CONNECTION_IDLE,
};

struct k8s_connection {
    struct k8s_connector *connector;
    enum connection_state state;
    struct k8s_exchange exchange;
    struct evhttp_connection *http;
    SSL *ssl; /* owned by the bufferevent of http */
    struct event *step;
    struct event *timer;
    struct k8s_lookup *lookup;
    struct k8s_addresses addresses;
    size_t next_address;
    bufferevent_event_cb connected_cb; /* evhttp's own, while it is wrapped */
    void *connected_arg;
    bool connected, reused, repeated, reauthorized;
    bool heard;    /* a byte of the answer came */
    bool alert;    /* the first one is that of a TLS alert, where no TLS was spoken */
    bool gone;     /* closed by the server while idle */
    bool too_long; /* more is buffered than may be */
    bool oversize; /* the answer is, or cannot be told from one that is */
    int64_t last_byte_ms;
    int64_t deadline_ms; /* absolute; 0: none */
    int status;
    uint64_t token_sent;
    int64_t retry_after_ms;
    struct evbuffer *body;
    char why[256];
    enum k8s_fault fault;
};

static void on_step(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);
static void start(struct k8s_connection *c);

struct k8s_connection *k8s_connection_new(struct k8s_connector *connector)
{
    struct k8s_connection *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->connector = connector;
    c->step = event_new(connector->base, -1, 0, on_step, c);
    c->timer = evtimer_new(connector->base, on_timer, c);
    c->body = evbuffer_new();
    if (!c->step || !c->timer || !c->body) {
        k8s_connection_free(c);
        return NULL;
    }
    return c;
}

/* Drops the TCP connection; whatever was under way on it makes no callback any more. */
static void drop(struct k8s_connection *c)
{
    if (c->lookup)
        k8s_lookup_cancel(c->lookup);
    c->lookup = NULL;
    if (c->http) {
        evhttp_connection_set_closecb(c->http, NULL, NULL);
        evhttp_connection_free(c->http);
        ERR_clear_error();
    }
    c->http = NULL;
    c->ssl = NULL;
    c->gone = c->too_long = false;
    (void)event_del(c->step);
    (void)event_del(c->timer);
}

void k8s_connection_close(struct k8s_connection *c)
{
    drop(c);
    c->state = CONNECTION_CLOSED;
    (void)evbuffer_drain(c->body, evbuffer_get_length(c->body));
}

void k8s_connection_free(struct k8s_connection *c)
{
    if (!c)
        return;
    if (c->step && c->timer)
        drop(c);
    if (c->step)
        event_free(c->step);
    if (c->timer)
        event_free(c->timer);
    if (c->body)
        evbuffer_free(c->body);
    free(c);
}

bool k8s_connection_is_warm(const struct k8s_connection *c)
{
    return c->state == CONNECTION_IDLE && !c->gone;
}

/* Notes the outcome; on_step acts on it from the loop. */
static void end(struct k8s_connection *c, int status)
{
    if (c->state == CONNECTION_ENDED)
        return;
    c->state = CONNECTION_ENDED;
    c->status = status;
    event_active(c->step, 0, 0);
}

static void fail(struct k8s_connection *c, const char *why)
{
    if (c->state != CONNECTION_ENDED)
        (void)snprintf(c->why, sizeof c->why, "%s", why);
    end(c, 0);
}

static void arm(struct k8s_connection *c)
{
    int64_t now_ms = k8s_now_ms(), at_ms = c->deadline_ms;

    if (c->exchange.silence_ms && (c->state == CONNECTION_ASKING || c->state == CONNECTION_ANSWERING)) {
        int64_t silent_ms = c->last_byte_ms + c->exchange.silence_ms;
        if (!at_ms || silent_ms < at_ms)
            at_ms = silent_ms;
    }
    if (at_ms)
        k8s_timer_set(c->timer, at_ms > now_ms ? at_ms - now_ms : 0);
    else
        (void)event_del(c->timer);
}

void k8s_connection_set_silence(struct k8s_connection *c, int64_t silence_ms)
{
    c->exchange.silence_ms = silence_ms;
    arm(c);
}

/* Why the network or TLS failed, as well as it is known. The first to ask knows most: OpenSSL tells an error once. */
static void explain(struct k8s_connection *c, struct bufferevent *bev, int code)
{
    if (c->why[0])
        return;
    unsigned long tls = c->ssl ? bufferevent_get_openssl_error(bev) : 0;
    long verified = c->ssl ? SSL_get_verify_result(c->ssl) : X509_V_OK;
    const char *reason = tls ? ERR_reason_error_string(tls) : NULL;

    c->fault = verified != X509_V_OK ? K8S_FAULT_CERTIFICATE
               : reason              ? k8s_socket_fault(tls)
                                     : K8S_FAULT_NETWORK;
    if (verified != X509_V_OK) {
        const char *with = k8s_creds_unverified(c->connector->creds);
        (void)snprintf(c->why, sizeof c->why, "certificate verify failed: %s (with --kube-ca-file: %s)",
                       X509_verify_cert_error_string(verified), with);
    } else if (reason) {
        (void)snprintf(c->why, sizeof c->why, "TLS: %s", reason);
    } else if (code) {
        (void)snprintf(c->why, sizeof c->why, "%s", evutil_socket_error_to_string(code));
    } else {
        (void)snprintf(c->why, sizeof c->why, "connection closed by the server");
    }
}

static void on_http_error(enum evhttp_request_error error, void *arg)
{
    struct k8s_connection *c = arg;
    int code = EVUTIL_SOCKET_ERROR();

    switch (error) {
    case EVREQ_HTTP_INVALID_HEADER:
        (void)snprintf(c->why, sizeof c->why, "not an HTTP answer");
        c->fault = K8S_FAULT_NOT_HTTP;
        break;
    case EVREQ_HTTP_DATA_TOO_LONG:
        (void)snprintf(c->why, sizeof c->why, "answer malformed or too long");
        c->oversize = c->state == CONNECTION_ANSWERING;
        break;
    case EVREQ_HTTP_TIMEOUT:
    case EVREQ_HTTP_BUFFER_ERROR:
    case EVREQ_HTTP_REQUEST_CANCEL:
    case EVREQ_HTTP_EOF:
        if (c->alert) {
            (void)snprintf(c->why, sizeof c->why, "a TLS alert instead of an HTTP answer");
            c->fault = K8S_FAULT_NOT_HTTP;
            break;
        }
        explain(c, evhttp_connection_get_bufferevent(c->http),
                code == ECONNRESET || code == ETIMEDOUT || code == EPIPE ? code : 0);
        if (c->fault == K8S_FAULT_NETWORK && c->connected && !c->heard && code != ETIMEDOUT)
            c->fault = K8S_FAULT_HUNG_UP;
        break;
    }
}

static int64_t retry_after(struct evhttp_request *request)
{
    const char *value = evhttp_find_header(evhttp_request_get_input_headers(request), "Retry-After");
    uint64_t seconds;

    if (!value || !str_to_u64(str_trim(str_of(value)), &seconds) || seconds > 86400)
        return -1;
    return (int64_t)seconds * 1000;
}

/* request is NULL when the answer broke off, and has no status when there was no connection. */
static void on_http_done(struct evhttp_request *request, void *arg)
{
    struct k8s_connection *c = arg;
    int status = request ? evhttp_request_get_response_code(request) : 0;

    if (status) {
        c->retry_after_ms = retry_after(request);
        (void)evbuffer_add_buffer(c->body, evhttp_request_get_input_buffer(request));
    }
    end(c, status);
}

static int on_http_head(struct evhttp_request *request, void *arg)
{
    struct k8s_connection *c = arg;
    int status = evhttp_request_get_response_code(request);

    if (status == 100 || c->state != CONNECTION_ASKING)
        return 0;
    c->state = CONNECTION_ANSWERING;
    c->status = status;
    if (c->exchange.on_head && (status != 401 || c->reauthorized))
        c->exchange.on_head(c->exchange.arg, status);
    return 0;
}

static void on_http_piece(struct evhttp_request *request, void *arg)
{
    struct k8s_connection *c = arg;
    struct evbuffer *data = evhttp_request_get_input_buffer(request);

    if (c->state != CONNECTION_ANSWERING)
        return;
    if (c->status == 200)
        c->exchange.on_data(c->exchange.arg, data);
    else if (evbuffer_get_length(c->body) + evbuffer_get_length(data) <= c->exchange.most)
        (void)evbuffer_add_buffer(c->body, data);
}

/* What is read by TLS is decoded: there it would be an answer that is not HTTP, as any other. */
static bool begins_as_alert(struct evbuffer *input)
{
    unsigned char first;

    return evbuffer_copyout(input, &first, 1) == 1 && first == SSL3_RT_ALERT;
}

static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct k8s_connection *c = arg;

    if (info->n_added == 0)
        return;
    if (!c->heard)
        c->alert = begins_as_alert(input);
    c->heard = true;
    c->last_byte_ms = k8s_now_ms();
    if (!c->too_long && evbuffer_get_length(input) > c->exchange.most + HEAD_ROOM) {
        c->too_long = true;
        event_active(c->step, 0, 0);
    }
}

static void on_http_close(struct evhttp_connection *http, void *arg)
{
    struct k8s_connection *c = arg;

    (void)http;
    c->gone = true;
    event_active(c->step, 0, 0);
}

static void on_connected(struct bufferevent *bev, short what, void *arg)
{
    struct k8s_connection *c = arg;
    int code = EVUTIL_SOCKET_ERROR();

    if (c->state == CONNECTION_CONNECTING && what & BEV_EVENT_CONNECTED) {
        c->state = CONNECTION_ASKING;
        c->connected = true;
        c->last_byte_ms = k8s_now_ms();
        c->deadline_ms = c->exchange.deadline_ms ? c->last_byte_ms + c->exchange.deadline_ms : 0;
        arm(c);
    } else if (c->state == CONNECTION_CONNECTING) {
        explain(c, bev, what & BEV_EVENT_EOF ? 0 : code);
    }
    c->connected_cb(bev, what, c->connected_arg);
}

static bool add_headers(struct k8s_connection *c, struct evkeyvalq *headers)
{
    struct str token = k8s_creds_token(c->connector->creds, k8s_now_ms());
    c->token_sent = k8s_creds_token_number(c->connector->creds);
    const struct k8s_url *url = k8s_creds_url(c->connector->creds);
    char length[24];
    char *bearer = NULL;
    int bad = 0;

    bad |= evhttp_add_header(headers, "Host", url->authority);
    bad |= evhttp_add_header(headers, "Accept", "application/json");
    bad |= evhttp_add_header(headers, "User-Agent", "flux-event-store/" FES_VERSION);
    if (c->exchange.content_type) {
        (void)snprintf(length, sizeof length, "%zu", c->exchange.body.len);
        bad |= evhttp_add_header(headers, "Content-Type", c->exchange.content_type);
        bad |= evhttp_add_header(headers, "Content-Length", length);
    }
    if (token.len && asprintf(&bearer, "Bearer %.*s", STR_ARG(token)) < 0) {
        bad = -1; /* without it the answer is 401 */
    } else if (token.len) {
        bad |= evhttp_add_header(headers, "Authorization", bearer);
        OPENSSL_cleanse(bearer, strlen(bearer));
        free(bearer);
    }
    return bad == 0;
}

/* Hands the request to evhttp, which connects first when it is not connected. */
static void ask(struct k8s_connection *c)
{
    struct evhttp_request *request = evhttp_request_new(on_http_done, c);

    if (!request || !add_headers(c, evhttp_request_get_output_headers(request))) {
        if (request)
            evhttp_request_free(request);
        fail(c, "out of memory");
        return;
    }
    if (c->exchange.content_type)
        (void)evbuffer_add(evhttp_request_get_output_buffer(request), c->exchange.body.at,
                           c->exchange.body.len);
    evhttp_request_set_header_cb(request, on_http_head);
    evhttp_request_set_error_cb(request, on_http_error);
    if (c->exchange.on_data)
        evhttp_request_set_chunked_cb(request, on_http_piece);
    evhttp_connection_set_max_body_size(c->http, c->exchange.on_data ? -1 : (ev_ssize_t)c->exchange.most);
    if (evhttp_make_request(c->http, request, c->exchange.method, c->exchange.path) != 0)
        fail(c, "out of memory");
    else if (c->reused) /* head and body as one TLS record: evhttp leaves a piece each */
        (void)evbuffer_pullup(bufferevent_get_output(evhttp_connection_get_bufferevent(c->http)), -1);
}

static void connect_next(struct k8s_connection *c)
{
    struct k8s_connector *connector = c->connector;

    drop(c);
    c->state = CONNECTION_CONNECTING;
    c->connected = c->reused = false;
    connector->connects++;
    const char *address = c->addresses.text[c->next_address++];
    struct bufferevent *bev = k8s_socket_new(connector->base, connector->creds, &c->ssl);
    if (bev)
        c->http = evhttp_connection_base_bufferevent_new(connector->base, NULL, bev, address,
                                                         k8s_creds_url(connector->creds)->port);
    if (!c->http) {
        fail(c, "out of memory");
        return;
    }
    evhttp_connection_set_timeout(c->http, EVHTTP_NEVER);
    evhttp_connection_set_max_headers_size(c->http, MAX_HEAD);
    evhttp_connection_set_closecb(c->http, on_http_close, c);
    (void)evbuffer_add_cb(bufferevent_get_input(bev), on_input, c);
    c->deadline_ms = k8s_now_ms() + c->exchange.connect_ms;
    arm(c);
    errno = 0;
    ask(c);
    if (c->state != CONNECTION_CONNECTING) {
        if (!c->why[0])
            explain(c, bev, errno);
        return;
    }
    k8s_socket_set_options(bufferevent_getfd(bev));
    bufferevent_getcb(bev, NULL, NULL, &c->connected_cb, &c->connected_arg);
    bufferevent_setcb(bev, NULL, NULL, on_connected, c);
}

static void on_found(void *arg, const struct k8s_addresses *found, const char *why)
{
    struct k8s_connection *c = arg;

    c->lookup = NULL;
    c->addresses = *found;
    if (found->n > 0) {
        connect_next(c);
        return;
    }
    (void)snprintf(c->why, sizeof c->why, "cannot resolve the name: %s", why);
    end(c, 0);
}

static void resolve(struct k8s_connection *c, const char *name)
{
    struct k8s_connector *connector = c->connector;

    c->state = CONNECTION_RESOLVING;
    c->deadline_ms = k8s_now_ms() + c->exchange.connect_ms;
    arm(c);
    c->addresses.n = 0;
    struct k8s_lookup *lookup = k8s_lookup_start(connector->base, &connector->dns, name, on_found, c);
    if (lookup)
        c->lookup = lookup;
}

static void start(struct k8s_connection *c)
{
    const struct k8s_url *url = k8s_creds_url(c->connector->creds);

    c->heard = c->alert = c->oversize = false;
    c->why[0] = '\0';
    c->fault = K8S_FAULT_NETWORK;
    c->status = 0;
    c->retry_after_ms = -1;
    (void)evbuffer_drain(c->body, evbuffer_get_length(c->body));
    if (c->http && !c->gone && c->state == CONNECTION_IDLE && c->last_byte_ms > c->connector->broken_ms) {
        c->reused = c->connected = true;
        c->state = CONNECTION_ASKING;
        c->last_byte_ms = k8s_now_ms();
        c->deadline_ms = c->exchange.deadline_ms ? c->last_byte_ms + c->exchange.deadline_ms : 0;
        arm(c);
        ask(c);
        return;
    }
    drop(c);
    c->connected = false;
    c->next_address = 0;
    if (url->literal) {
        c->addresses.n = 1;
        (void)snprintf(c->addresses.text[0], sizeof c->addresses.text[0], "%.*s", INET6_ADDRSTRLEN - 1,
                       url->host);
        connect_next(c);
    } else {
        resolve(c, url->host);
    }
}

void k8s_connection_send(struct k8s_connection *c, const struct k8s_exchange *exchange)
{
    c->exchange = *exchange;
    c->repeated = c->reauthorized = false;
    start(c);
}

/* True when the request is on its way again. */
static bool try_again(struct k8s_connection *c)
{
    if (c->status == 0 && !c->connected && c->next_address < c->addresses.n) {
        c->why[0] = '\0';
        c->fault = K8S_FAULT_NETWORK;
        connect_next(c);
        return true;
    }
    if (c->status == 0 && c->reused && !c->heard && !c->repeated) {
        c->repeated = true;
        start(c);
        return true;
    }
    if (c->status == 401 && !c->reauthorized) {
        c->reauthorized = true;
        if (k8s_creds_refused(c->connector->creds, c->token_sent)) {
            start(c);
            return true;
        }
    }
    return false;
}

static void finish(struct k8s_connection *c)
{
    struct bufferevent *bev = c->http ? evhttp_connection_get_bufferevent(c->http) : NULL;

    (void)event_del(c->timer);
    if (c->status && bev && bufferevent_getfd(bev) >= 0 && !c->gone) {
        c->state = CONNECTION_IDLE;
    } else {
        drop(c);
        c->state = CONNECTION_CLOSED;
    }
    if (c->status == 0 && c->connected && !c->oversize)
        c->connector->broken_ms = k8s_now_ms();
    if (try_again(c))
        return;
    if (c->status && c->status != 401)
        k8s_creds_accepted(c->connector->creds);
    struct k8s_answer answer = {
        .status = c->status,
        .retry_after_ms = c->retry_after_ms,
        .body = c->body,
        .error = c->status   ? NULL
                 : c->why[0] ? c->why
                             : "connection closed by the server",
        .fault = c->fault,
        .too_long = c->oversize,
    };
    c->exchange.on_answer(c->exchange.arg, &answer);
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
    struct k8s_connection *c = arg;

    (void)fd, (void)what;
    switch (c->state) {
    case CONNECTION_ENDED: finish(c); break;
    case CONNECTION_IDLE:
        if (c->gone)
            k8s_connection_close(c);
        break;
    case CONNECTION_ASKING:
    case CONNECTION_ANSWERING:
        if (c->too_long) {
            c->oversize = true;
            fail(c, "answer too long");
            finish(c);
        }
        break;
    case CONNECTION_CLOSED:
    case CONNECTION_RESOLVING:
    case CONNECTION_CONNECTING: break;
    }
}

/* The request was sent, and may have been carried out: it is not repeated. */
static void give_up(struct k8s_connection *c, const char *why)
{
    c->repeated = true;
    fail(c, why);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct k8s_connection *c = arg;
    int64_t now_ms = k8s_now_ms();

    (void)fd, (void)what;
    switch (c->state) {
    case CONNECTION_RESOLVING: fail(c, "name not resolved in time"); break;
    case CONNECTION_CONNECTING: fail(c, "connection timed out"); break;
    case CONNECTION_ASKING:
    case CONNECTION_ANSWERING:
        if (c->deadline_ms && now_ms >= c->deadline_ms)
            give_up(c, "no answer in time");
        else if (c->exchange.silence_ms && now_ms >= c->last_byte_ms + c->exchange.silence_ms)
            give_up(c, "silent for too long");
        else
            arm(c);
        break;
    case CONNECTION_CLOSED:
    case CONNECTION_ENDED:
    case CONNECTION_IDLE: break;
    }
}
