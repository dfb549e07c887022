/* The server: evhttp with its guard, listeners, routes, and the table of pending answers (given in answer.c).
 *
 * A request gets an id and goes to the handler of its route. Whoever answers, now or later, does so by id.
 * The connection may be gone by then: evhttp detaches a request whose client left and leaves it to us to
 * free, which the answer does. evhttp_free, on the other hand, frees the requests of all connections, so
 * http_server_free forgets the table first.
 *
 * Accepting stops while there are too many connections, and for a moment when the process is out of
 * descriptors: a listener whose accept() fails would otherwise wake the loop without end.
 */
#include "http/server.h"

#include "http/auth.h"
#include "http/pending_priv.h"
#include "http/server_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define HTTP_ACCEPT_PAUSE_MS 100
#define HTTP_FAR_SECONDS     (1L << 28)
#define HTTP_LINGER_MS       2000
#define HTTP_RESERVED_FDS    256 /* descriptors that are not for connections */

struct listener {
    struct evhttp_bound_socket *bound; /* NULL when closed */
    char name[LISTEN_NAME];
};

struct http_server {
    struct event_base *base;
    const struct reporter *reporter;
    struct evhttp *http;
    struct guard_set *guards;
    size_t max_connections;
    struct event *pause; /* ends the pause after a failed accept() */
    bool is_paused;
    bool is_stopped; /* accepts no more */
    bool is_closing; /* in http_server_free */
    bool is_accepting;
    struct listener listeners[FLAG_LIST_MAX];
    size_t n_listeners;
    struct routes routes;
    struct auth *auth; /* NULL: none */
    struct pending pending;
    struct tally tally;
};

const struct flag http_flags[] = {
    {"--listen", "ADDRESS", FLAG_LIST, offsetof(struct http_config, listen), ":8080",
     "address to serve HTTP on; repeatable; \":8080\" is IPv4 and IPv6"},
    {0},
};

int64_t http_mono_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Arms the event that ends the pause. Without a pause it stays pending, far off: see on_accept_error. */
static void set_pause(struct http_server *s, int64_t ms)
{
    struct timeval tv = {.tv_sec = HTTP_FAR_SECONDS};

    s->is_paused = ms > 0;
    if (s->is_paused)
        tv = (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    (void)event_add(s->pause, &tv);
}

/* Turns the listeners on or off, as the state demands. */
static void update_accepting(struct http_server *s)
{
    bool on = !s->is_stopped && !s->is_paused && guard_connections(s->guards) < s->max_connections;

    if (on && !guard_prepare(s->guards)) {
        set_pause(s, HTTP_ACCEPT_PAUSE_MS);
        on = false;
    }
    if (s->is_closing || on == s->is_accepting)
        return;
    s->is_accepting = on;
    for (size_t i = 0; i < s->n_listeners; i++) {
        if (!s->listeners[i].bound)
            continue;
        struct evconnlistener *l = evhttp_bound_socket_get_listener(s->listeners[i].bound);
        (void)(on ? evconnlistener_enable(l) : evconnlistener_disable(l));
    }
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;

    (void)fd;
    (void)what;
    set_pause(s, 0);
    update_accepting(s);
}

struct server_search {
    const struct evhttp *http;
    struct http_server *found;
};

static int match_server(const struct event_base *base, const struct event *ev, void *arg)
{
    struct server_search *search = arg;

    (void)base;
    if (event_get_callback(ev) == on_pause_over) {
        struct http_server *s = event_get_callback_arg(ev);
        if (s->http == search->http)
            search->found = s;
    }
    return search->found != NULL;
}

/* evhttp makes itself the argument of its listeners' callbacks, so the way to the server leads over an event
 * of its own, which is always pending. This is rare: at most once in HTTP_ACCEPT_PAUSE_MS. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    int error = EVUTIL_SOCKET_ERROR();
    struct server_search search = {.http = arg};

    (void)event_base_foreach_event(evconnlistener_get_base(listener), match_server, &search);
    struct http_server *s = search.found;
    if (!s)
        return;
    if (tally_paused(&s->tally, PAUSE_ERROR, http_mono_ms()))
        REPORT(s->reporter, REPORT_ERROR, "cannot accept connections",
               FIELD_TEXT("error", evutil_socket_error_to_string(error)),
               FIELD_INT("connections", guard_connections(s->guards)));
    set_pause(s, HTTP_ACCEPT_PAUSE_MS);
    update_accepting(s);
}

static void on_full(void *arg)
{
    struct http_server *s = arg;

    if (tally_paused(&s->tally, PAUSE_CONNECTIONS, http_mono_ms()))
        REPORT(s->reporter, REPORT_WARN, "connection limit reached, accepting no more",
               FIELD_INT("connections", guard_connections(s->guards)));
    update_accepting(s);
}

static void on_room(void *arg)
{
    struct http_server *s = arg;

    if (!s->is_closing && !s->is_accepting)
        update_accepting(s);
}

static void on_refused(void *arg, enum http_cause cause, const char *why)
{
    struct http_server *s = arg;

    tally_answered(&s->tally, cause_status(cause));
    tally_refused(&s->tally, cause, cause_status(cause), NULL, str_of(why), http_mono_ms());
}

/* A connection ends with a request that is not answered. evhttp frees the request, or has detached it. */
static void on_gone(void *arg, const struct guard_watch *watch)
{
    struct http_server *s = arg;
    struct evhttp_request *req = pending_take(&s->pending, watch->id);

    if (!req)
        return;
    if (!evhttp_request_get_connection(req))
        evhttp_request_free(req);
    watch->on_gone(watch->arg, watch->id);
}

bool http_watch_client(struct http_server *s, uint64_t id, http_on_gone *on_client_gone, void *arg)
{
    const struct guard_watch watch = {id, on_client_gone, arg};
    struct evhttp_request *req = pending_get(&s->pending, id);
    struct evhttp_connection *evcon = req ? evhttp_request_get_connection(req) : NULL;
    struct guard *g = evcon ? guard_of(s->guards, evcon) : NULL;

    return g && guard_watch_client(g, &watch);
}

static struct bufferevent *on_new_connection(struct event_base *base, void *arg)
{
    struct http_server *s = arg;

    (void)base;
    return guard_accept(s->guards);
}

/* evhttp has written out the answer. */
static void on_reply_done(struct evhttp_request *req, void *arg)
{
    struct http_server *s = arg;
    struct guard *g = guard_of(s->guards, evhttp_request_get_connection(req));

    if (g)
        guard_reply_done(g);
}

static void no_route(struct http_server *s, const struct http_request *r)
{
    char buffer[128];
    struct text allow;

    text_init(&allow, buffer, sizeof buffer);
    routes_allowed(&s->routes, r->path, &allow);
    if (allow.len)
        http_refuse(s, r->req, CAUSE_METHOD, 405, STR("this method is not served on this path"),
                    &(struct http_header){"Allow", allow.at});
    else
        http_refuse(s, r->req, CAUSE_NOT_FOUND, 404, STR("there is nothing at this path"), NULL);
}

/* Whether the request may go on to its handler; if not, it has its answer. That says no more than what is asked for
 * (RFC 9110 section 15.5.2 wants a challenge): which key or token was wrong, and how, is for the log. */
static bool let_through(struct http_server *s, const struct route *route, const struct http_request *r)
{
    const struct http_header challenge = {"WWW-Authenticate", "Bearer realm=\"flux-event-store\""};
    bool is_post = evhttp_request_get_command(r->req) == EVHTTP_REQ_POST;

    if (!s->auth || route->is_open)
        return true;
    auth_refresh(s->auth, http_mono_ms());
    enum auth_answer answer =
        auth_check(s->auth, is_post ? AUTH_POST : AUTH_READ, http_request_header(r, "X-Signature"),
                   http_request_header(r, "Authorization"), is_post ? http_request_body(r) : STR_NONE);
    if (answer == AUTH_GRANTED)
        return true;
    tally_refused(&s->tally, cause_of_answer(answer), 401, route->path, str_of(auth_sentence(answer)),
                  http_mono_ms());
    http_send_error(s, r->req, 401, STR("unauthorized"), &challenge);
    return false;
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct http_server *s = arg;
    struct http_request r;

    evhttp_request_set_on_complete_cb(req, on_reply_done, s);
    http_request_init(&r, req, 0);
    const struct route *route = routes_find(&s->routes, &r);
    if (!route) {
        no_route(s, &r);
        return;
    }
    if (!let_through(s, route, &r)) {
        http_request_done(&r);
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

bool http_route(struct http_server *s, const char *method, const char *path, http_handler *handler, void *arg)
{
    return routes_add(&s->routes, &(struct route){method, path, handler, arg, .is_open = false});
}

bool http_route_open(struct http_server *s, const char *method, const char *path, http_handler *handler,
                     void *arg)
{
    return routes_add(&s->routes, &(struct route){method, path, handler, arg, .is_open = true});
}

void http_server_set_auth(struct http_server *s, struct auth *auth)
{
    s->auth = auth;
}

void http_default_limits(struct guard_limits *ret)
{
    struct rlimit fds;
    size_t n = HTTP_MAX_CONNECTIONS;

    if (getrlimit(RLIMIT_NOFILE, &fds) == 0 && fds.rlim_cur < HTTP_MAX_CONNECTIONS + HTTP_RESERVED_FDS)
        n = fds.rlim_cur > (rlim_t)2 * HTTP_RESERVED_FDS ? fds.rlim_cur - HTTP_RESERVED_FDS
                                                         : fds.rlim_cur / 2;
    *ret = (struct guard_limits){
        .connections = n > 2 ? n : 2,
        .idle = n / 2 < HTTP_MAX_IDLE ? n / 2 : HTTP_MAX_IDLE,
        .bodies = HTTP_MAX_BODIES,
        .head_ms = HTTP_HEAD_SECONDS * INT64_C(1000),
        .body_ms = HTTP_BODY_SECONDS * INT64_C(1000),
        .linger_ms = HTTP_LINGER_MS,
    };
}

static bool open_listener(struct http_server *s, const char *address, char err[static HTTP_ERROR])
{
    struct listener *l = &s->listeners[s->n_listeners];
    struct text text;
    int fd = listen_on(address, err);

    if (fd < 0)
        return false;
    listen_name(fd, l->name);
    struct evconnlistener *lev =
        evconnlistener_new(s->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!lev) {
        close(fd);
    } else {
        l->bound = evhttp_bind_listener(s->http, lev);
        if (!l->bound)
            evconnlistener_free(lev);
    }
    if (!l->bound) {
        text_init(&text, err, HTTP_ERROR);
        text_addf(&text, "--listen %s: out of memory", address);
        return false;
    }
    evconnlistener_set_error_cb(lev, on_accept_error);
    s->n_listeners++;
    return true;
}

static bool init_http(struct http_server *s, const struct guard_limits *limits)
{
    struct guard_hooks hooks = {on_full, on_room, on_refused, on_gone, s};

    s->http = evhttp_new(s->base);
    s->guards = guard_set_new(s->base, limits, &hooks);
    s->pause = event_new(s->base, -1, 0, on_pause_over, s);
    if (!s->http || !s->guards || !s->pause)
        return false;
    set_pause(s, 0);
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

struct http_server *http_server_new_limits(struct event_base *base, const struct http_config *config,
                                           const struct reporter *reporter, const struct guard_limits *limits,
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
    s->max_connections = limits->connections;
    s->is_accepting = true;
    if (!init_http(s, limits))
        goto fail;
    for (size_t i = 0; i < config->listen.n; i++)
        if (!open_listener(s, config->listen.values[i], err))
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
    for (size_t i = 0; i < s->n_listeners; i++) {
        if (s->listeners[i].bound)
            evhttp_del_accept_socket(s->http, s->listeners[i].bound);
        s->listeners[i].bound = NULL;
    }
    s->is_accepting = false;
    guard_close_idle(s->guards);
}

void http_server_set_queued(struct http_server *s, uint64_t bytes)
{
    guard_set_queued(s->guards, bytes);
}

uint64_t http_server_answer_bytes(const struct http_server *s)
{
    return guard_reply_bytes(s->guards);
}

size_t http_server_pending(const struct http_server *s)
{
    return s->pending.n + guard_replying(s->guards);
}

struct tally *http_server_tally(struct http_server *s)
{
    return &s->tally;
}

struct pending *http_server_requests(struct http_server *s)
{
    return &s->pending;
}

struct guard *http_server_guard(const struct http_server *s, struct evhttp_connection *evcon)
{
    return guard_of(s->guards, evcon);
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
    return guard_connections(s->guards);
}

static const void *collect(void *server)
{
    struct http_server *s = server;

    s->tally.numbers.connections = http_server_connections(s);
    s->tally.numbers.pending = http_server_pending(s);
    s->tally.numbers.body_bytes = guard_body_bytes(s->guards);
    s->tally.numbers.answer_bytes = guard_reply_bytes(s->guards);
    return &s->tally.numbers;
}

struct metric_source http_server_metrics(struct http_server *s)
{
    return (struct metric_source){tally_metrics, collect, s};
}

const char *http_server_address(const struct http_server *s, size_t i)
{
    return i < s->n_listeners ? s->listeners[i].name : NULL;
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
    if (s->http)
        evhttp_free(s->http);
    guard_set_free(s->guards);
    if (s->pause)
        event_free(s->pause);
    pending_free(&s->pending);
    free(s);
}
