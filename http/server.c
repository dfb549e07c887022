/* The server: evhttp with its guard, its listeners (accept.c), routes, and the table of pending answers (answer.c).
 *
 * A request gets an id and goes to the handler of its route. Whoever answers, now or later, does so by id.
 * The connection may be gone by then: evhttp detaches a request whose client left and leaves it to us to
 * free, which the answer does. evhttp_free, on the other hand, frees the requests of all connections, so
 * http_server_free forgets the table first.
 *
 * The listeners of --admin-listen belong to a second server beneath the first: with evhttp, guard and limits of its
 * own, so that probes are answered while the first has no room. Routes and pending answers are those of the first.
 */
#include "http/server.h"

#include "http/accept_priv.h"
#include "http/auth.h"
#include "http/pending_priv.h"
#include "http/reply_priv.h"
#include "http/server_priv.h"
#include "http/tls_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct http_server {
    struct event_base *base;
    const struct reporter *reporter;
    struct evhttp *http;
    struct guard_set *guards;
    struct acceptor *acceptor;
    bool is_stopped;           /* accepts no more */
    bool in_request;           /* evhttp is handing a request over */
    bool is_closing;           /* in http_server_free */
    struct tls *tls;           /* NULL: none */
    struct http_server *admin; /* serves --admin-listen; NULL: none */
    struct http_server *owner; /* of routes and pending answers: the server itself, or that it is admin of */
    unsigned serves;           /* kinds of routes: a sum of enum route_access */
    struct routes routes;
    struct auth *auth; /* NULL: none */
    struct pending pending;
    struct tally tally;
    struct reply_date date;
};

int64_t http_mono_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_accept_error(void *arg, const char *error)
{
    struct http_server *s = arg;

    if (tally_paused(&s->owner->tally, PAUSE_ERROR, http_mono_ms()))
        REPORT(s->reporter, REPORT_ERROR, "cannot accept connections", FIELD_TEXT("error", error),
               FIELD_INT("connections", guard_connections(s->guards)));
}

static void on_full(void *arg)
{
    struct http_server *s = arg;

    if (tally_paused(&s->owner->tally, PAUSE_CONNECTIONS, http_mono_ms()))
        REPORT(s->reporter, REPORT_WARN, "connection limit reached, accepting no more",
               FIELD_INT("connections", guard_connections(s->guards)));
    acceptor_update(s->acceptor);
}

static void on_shed(void *arg, const char *what)
{
    struct http_server *s = arg;

    if (tally_shed(&s->owner->tally, http_mono_ms()))
        REPORT(s->reporter, REPORT_WARN, "no room for all connections, closing the oldest",
               FIELD_TEXT("what", what), FIELD_INT("connections", guard_connections(s->guards)));
}

static void on_room(void *arg)
{
    struct http_server *s = arg;

    if (!s->is_closing && !acceptor_is_on(s->acceptor))
        acceptor_update(s->acceptor);
}

static void on_refused(void *arg, enum http_cause cause, const char *why, const char *client)
{
    struct http_server *s = arg;

    tally_answered(&s->owner->tally, cause_status(cause));
    tally_refused(&s->owner->tally, cause, cause_status(cause), (struct tally_from){.client = client},
                  str_of(why), http_mono_ms());
}

/* A connection ends with a request that is not answered. evhttp frees the request, or has detached it. */
static void on_gone(void *arg, const struct guard_watch *watch)
{
    struct http_server *s = arg;
    struct evhttp_request *req = pending_take(&s->owner->pending, watch->id);

    if (!req && !watch->till_the_end)
        return;
    if (req && !evhttp_request_get_connection(req))
        evhttp_request_free(req);
    watch->on_gone(watch->arg, watch->id);
}

/* The guard of a connection, which may be the admin server's. NULL when it has none any more. */
struct guard *http_server_guard(const struct http_server *s, struct evhttp_connection *evcon)
{
    struct guard *g = guard_of(s->guards, evcon);

    return g || !s->admin ? g : guard_of(s->admin->guards, evcon);
}

bool http_watch_client(struct http_server *s, uint64_t id, http_on_gone *on_client_gone, void *arg)
{
    const struct guard_watch watch = {.id = id, .on_gone = on_client_gone, .arg = arg};
    struct evhttp_request *req = pending_get(&s->pending, id);
    struct evhttp_connection *evcon = req ? evhttp_request_get_connection(req) : NULL;
    struct guard *g = evcon ? http_server_guard(s, evcon) : NULL;

    return g && guard_watch_client(g, &watch);
}

static struct bufferevent *on_new_connection(struct event_base *base, void *arg)
{
    struct http_server *s = arg;

    (void)base;
    acceptor_count(s->acceptor);
    return guard_accept(s->guards);
}

/* evhttp has written out the answer. */
static void on_reply_done(struct evhttp_request *req, void *arg)
{
    struct http_server *s = arg;
    struct guard *g = http_server_guard(s, evhttp_request_get_connection(req));

    if (g)
        guard_reply_done(g);
}

static void no_route(const struct http_server *by, const struct http_request *r)
{
    struct http_server *s = by->owner;
    char buffer[128];
    struct text allow;

    text_init(&allow, buffer, sizeof buffer);
    routes_allowed(&s->routes, by->serves, r->path, &allow);
    if (allow.len)
        http_refuse(s, r->req, CAUSE_METHOD, 405, STR("this method is not served on this path"),
                    &(struct http_header){"Allow", allow.at});
    else
        http_refuse(s, r->req, CAUSE_NOT_FOUND, 404,
                    routes_none(&s->routes, by->serves, (char[ROUTES_NONE]){0}), NULL);
}

/* Whether the request may go on to its handler; if not, it has its answer. That says no more than what is asked for
 * (RFC 9110 section 15.5.2 wants a challenge): which key or token was wrong, and how, is for the log. */
static bool let_through(struct http_server *s, const struct route *route, const struct http_request *r)
{
    const struct http_header challenge = {"WWW-Authenticate", "Bearer realm=\"flux-event-store\""};
    bool is_post = evhttp_request_get_command(r->req) == EVHTTP_REQ_POST;

    if (!s->auth || route->access != ROUTE_GUARDED)
        return true;
    auth_refresh(s->auth, http_mono_ms());
    enum auth_answer answer =
        auth_check(s->auth, is_post ? AUTH_POST : AUTH_READ, http_request_header(r, "X-Signature"),
                   http_request_header(r, "Authorization"), is_post ? http_request_body(r) : STR_NONE);
    if (answer == AUTH_GRANTED)
        return true;
    tally_refused(&s->tally, cause_of_answer(answer), 401, http_from(r->req, r->path),
                  str_of(auth_sentence(answer)), http_mono_ms());
    http_send_error(s, r->req, 401, STR("unauthorized"), &challenge);
    return false;
}

/* Answers of all routes count against HTTP_MAX_ANSWERS. Those to a POST are short, and probes and metrics must be answered
 * just then. */
static bool has_room_for_answer(const struct http_server *s, const struct route *route,
                                struct evhttp_request *req)
{
    return route->access != ROUTE_GUARDED || evhttp_request_get_command(req) == EVHTTP_REQ_POST ||
           http_server_answer_bytes(s) <= HTTP_MAX_ANSWERS;
}

static void serve(const struct http_server *by, struct evhttp_request *req)
{
    struct http_server *s = by->owner;
    struct http_request r;

    evhttp_request_set_on_complete_cb(req, on_reply_done, s);
    http_request_init(&r, req, 0);
    const struct route *route = routes_find(&s->routes, by->serves, &r);
    if (!route) {
        no_route(by, &r);
        return;
    }
    if (!let_through(s, route, &r)) {
        http_request_done(&r);
        return;
    }
    if (!has_room_for_answer(s, route, req)) {
        http_refuse(s, req, CAUSE_OVERLOAD, 503, STR("too many answers wait to be read: try again"), NULL);
        return;
    }
    r.id = pending_add(&s->pending, req);
    if (r.id == 0) {
        http_refuse(s, req, CAUSE_OVERLOAD, 503, STR("out of memory"), NULL);
        return;
    }
    route->handler(route->arg, &r);
    /* Who keeps the body has copied it; a held request need not keep it too. */
    if (pending_get(&s->pending, r.id)) {
        struct evbuffer *body = evhttp_request_get_input_buffer(req);
        (void)evbuffer_drain(body, evbuffer_get_length(body));
    }
    http_request_done(&r);
}

static void on_request(struct evhttp_request *req, void *arg)
{
    const struct http_server *by = arg;

    by->owner->in_request = true;
    serve(by, req);
    by->owner->in_request = false;
}

const char *http_server_date(struct http_server *s)
{
    return reply_date(&s->date, time(NULL));
}

bool http_server_in_request(const struct http_server *s)
{
    return s->in_request;
}

static bool add_route(struct http_server *s, enum http_method method, const char *path, http_handler *handler,
                      void *arg, enum route_access access)
{
    return routes_add(&s->routes, &(struct route){method, path, handler, arg, access});
}

bool http_route(struct http_server *s, enum http_method method, const char *path, http_handler *handler,
                void *arg)
{
    return add_route(s, method, path, handler, arg, ROUTE_GUARDED);
}

bool http_route_open(struct http_server *s, enum http_method method, const char *path, http_handler *handler,
                     void *arg)
{
    return add_route(s, method, path, handler, arg, ROUTE_OPEN);
}

bool http_route_admin(struct http_server *s, enum http_method method, const char *path, http_handler *handler,
                      void *arg)
{
    return add_route(s, method, path, handler, arg, ROUTE_ADMIN);
}

void http_server_set_auth(struct http_server *s, struct auth *auth)
{
    s->auth = auth;
}

static void on_rest(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;

    (void)fd, (void)what;
    tally_tell_rest(&s->tally, http_mono_ms());
    if (s->tls)
        tls_tell_rest(s->tls, http_mono_ms());
}

void http_server_tell_rest(struct http_server *s)
{
    tally_tell_rest(&s->tally, INT64_MAX);
    if (s->tls)
        tls_tell_rest(s->tls, INT64_MAX);
}

/* For the server that counts, which is not the admin server. */
static bool init_rest(struct http_server *s)
{
    s->tally.rest = evtimer_new(s->base, on_rest, s);
    if (s->tls)
        tls_set_rest(s->tls, s->tally.rest);
    return s->tally.rest != NULL;
}

static bool init_http(struct http_server *s, const struct guard_limits *limits)
{
    struct guard_hooks hooks = {on_full, on_room, on_shed, on_refused, on_gone, s};

    s->http = evhttp_new(s->base);
    s->guards = guard_set_new(s->base, limits, &hooks, s->tls);
    if (!s->http || !s->guards)
        return false;
    s->acceptor = acceptor_new(&(struct acceptor_config){s->base, s->http, s->guards, on_accept_error, s});
    if (!s->acceptor)
        return false;
    evhttp_set_bevcb(s->http, on_new_connection, s);
    evhttp_set_gencb(s->http, on_request, s);
    /* The guard's limits bite first; these are there should it ever be wrong. */
    evhttp_set_max_headers_size(s->http, (ev_ssize_t)2 * HTTP_MAX_HEAD);
    evhttp_set_max_body_size(s->http, HTTP_MAX_BODY);
    evhttp_set_timeout(s->http, HTTP_IDLE_SECONDS);
    evhttp_set_default_content_type(s->http, NULL);
    evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
                                            EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    return true;
}

static bool init_listeners(struct http_server *s, const char *flag, const struct flag_list *addresses,
                           char err[static HTTP_ERROR])
{
    for (size_t i = 0; i < addresses->n; i++)
        if (!acceptor_listen(s->acceptor, flag, addresses->values[i], err))
            return false;
    return true;
}

static struct http_server *new_server(struct event_base *base, const struct reporter *reporter,
                                      char err[static HTTP_ERROR])
{
    struct http_server *s = calloc(1, sizeof *s);
    struct text text;

    text_init(&text, err, HTTP_ERROR);
    text_add(&text, STR("out of memory"));
    if (!s)
        return NULL;
    s->base = base;
    s->reporter = reporter;
    s->tally.reporter = reporter;
    s->owner = s;
    s->serves = ROUTE_GUARDED | ROUTE_OPEN | ROUTE_ADMIN;
    return s;
}

static bool init_admin(struct http_server *s, const struct flag_list *addresses,
                       const struct guard_limits *limits, char err[static HTTP_ERROR])
{
    struct guard_limits few = *limits;

    few.connections = HTTP_MAX_ADMIN_CONNECTIONS;
    few.idle = HTTP_MAX_ADMIN_CONNECTIONS / 2;
    s->admin = new_server(s->base, s->reporter, err);
    if (!s->admin)
        return false;
    s->admin->owner = s;
    s->admin->serves = ROUTE_OPEN | ROUTE_ADMIN;
    s->serves &= ~(unsigned)ROUTE_ADMIN;
    return init_http(s->admin, &few) && init_listeners(s->admin, ADMIN_LISTEN_FLAG, addresses, err);
}

struct http_server *http_server_new_limits(struct event_base *base, const struct http_config *config,
                                           const struct reporter *reporter, const struct guard_limits *limits,
                                           char err[static HTTP_ERROR])
{
    char tls_err[HTTP_ERROR] = "";
    struct http_server *s = new_server(base, reporter, err);

    if (!s)
        return NULL;
    if (tls_wanted(&config->tls) && (s->tls = tls_new(&config->tls, reporter, tls_err)) == NULL) {
        memcpy(err, tls_err, HTTP_ERROR);
        goto fail;
    }
    if (!init_rest(s) || !init_http(s, limits) || !init_listeners(s, LISTEN_FLAG, &config->listen, err) ||
        (config->admin_listen.n > 0 && !init_admin(s, &config->admin_listen, limits, err)))
        goto fail;
    return s;
fail:
    http_server_free(s);
    return NULL;
}

struct http_server *http_server_new(struct event_base *base, const struct http_config *config,
                                    const struct reporter *reporter, char err[static HTTP_ERROR])
{
    struct guard_limits limits;

    http_default_limits(&limits);
    return http_server_new_limits(base, config, reporter, &limits, err);
}

void http_server_stop_accepting(struct http_server *s)
{
    s->is_stopped = true;
    guard_close_idle(s->guards);
    acceptor_stop(s->acceptor);
    if (s->admin)
        http_server_stop_accepting(s->admin);
}

void http_server_reload(struct http_server *s)
{
    if (s->tls)
        tls_reload(s->tls, http_mono_ms());
}

void http_server_set_queued(struct http_server *s, uint64_t bytes)
{
    guard_set_queued(s->guards, bytes);
}

uint64_t http_server_answer_bytes(const struct http_server *s)
{
    return guard_reply_bytes(s->guards) + (s->admin ? guard_reply_bytes(s->admin->guards) : 0);
}

size_t http_server_pending(const struct http_server *s)
{
    return s->pending.n + guard_replying(s->guards) + (s->admin ? guard_replying(s->admin->guards) : 0);
}

void http_server_report_damaged(struct http_server *s, uint64_t id)
{
    tally_damaged(&s->owner->tally, id, http_mono_ms());
}

size_t http_server_unanswered(const struct http_server *s)
{
    size_t n = guard_unanswered(s->guards) + (s->is_stopped ? acceptor_queued(s->acceptor) : 0);

    return n + (s->admin ? http_server_unanswered(s->admin) : 0);
}

struct tally *http_server_tally(struct http_server *s)
{
    return &s->tally;
}

struct pending *http_server_requests(struct http_server *s)
{
    return &s->pending;
}

bool http_server_is_stopped(const struct http_server *s)
{
    return s->is_stopped;
}

struct event_base *http_server_base(const struct http_server *s)
{
    return s->base;
}

size_t http_server_connections(const struct http_server *s)
{
    return guard_connections(s->guards) + (s->admin ? guard_connections(s->admin->guards) : 0);
}

static const void *collect(void *server)
{
    struct http_server *s = server;

    s->tally.numbers.connections = http_server_connections(s);
    s->tally.numbers.pending = http_server_pending(s);
    s->tally.numbers.body_bytes = guard_body_bytes(s->guards);
    s->tally.numbers.answer_bytes = guard_reply_bytes(s->guards);
    for (int cause = 0; s->tls && cause < N_TLS_FAILURES; cause++)
        s->tally.numbers.tls_failed[cause] = tls_failed(s->tls, (enum tls_failure)cause);
    return &s->tally.numbers;
}

struct metric_source http_server_metrics(struct http_server *s)
{
    return (struct metric_source){tally_metrics, collect, s};
}

const char *http_server_address(const struct http_server *s, size_t i)
{
    const char *address = acceptor_address(s->acceptor, i);

    return address || !s->admin ? address
                                : http_server_address(s->admin, i - acceptor_listeners(s->acceptor));
}

const char *http_server_protocol(const struct http_server *s, size_t i)
{
    if (i >= acceptor_listeners(s->acceptor))
        return "http, probes and metrics";
    return s->tls ? "https" : "http";
}

void http_server_free(struct http_server *s)
{
    struct evhttp_request *req;

    if (!s)
        return;
    s->is_closing = true;
    /* Of those whose connection is gone we are the owner; evhttp_free frees the others. */
    while ((req = pending_take_any(&s->pending)) != NULL)
        if (!evhttp_request_get_connection(req))
            evhttp_request_free(req);
    http_server_free(s->admin);
    s->admin = NULL; /* who is told of the end of connections may ask for guards */
    acceptor_close(s->acceptor);
    if (s->http)
        evhttp_free(s->http);
    guard_set_free(s->guards);
    tls_free(s->tls);
    acceptor_free(s->acceptor);
    pending_free(&s->pending);
    if (s->tally.rest)
        event_free(s->tally.rest);
    free(s);
}
