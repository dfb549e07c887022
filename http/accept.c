/* Listeners that are turned on and off (see accept_priv.h).
 *
 * Accepting stops while there are too many connections and none may end for another, and for a moment when the process
 * is out of descriptors: a listener whose accept() fails would otherwise wake the loop without end. It stops too while
 * there is no memory for the next connection: evhttp would serve that one without its guard, and without TLS.
 *
 * And it stops after each batch, until everything else that is due has had its turn. libevent accepts until no client
 * is left, and while clients come as fast as that takes, it would do nothing else until the connection limit is met.
 *
 * A client is connected before it is accepted: the kernel keeps it in the listener's queue, and resets it when the
 * listener is closed. So at the end those in the queue are accepted first, in batches like all others, as long as there
 * is room for them and no more than a queue can hold.
 */
#include "http/accept_priv.h"

#include "http/server_priv.h"

#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HTTP_ACCEPT_PAUSE_MS 100
#define HTTP_ACCEPT_BATCH    32 /* a millisecond or two */
#define HTTP_FAR_SECONDS     (1L << 28)

struct listener {
    struct evhttp_bound_socket *bound; /* NULL when closed */
    char name[LISTEN_NAME];
};

struct acceptor {
    struct acceptor_config config;
    struct event *pause; /* ends the time after a failed accept() in which another limit holds, */
    bool is_crowded;
    bool is_paused;     /* or nothing is accepted at all */
    struct event *turn; /* active after an accept(): runs when what was due before has had its turn */
    int in_turn;        /* connections accepted since it ran */
    bool is_stopping;   /* closes when the queues are empty, or after so many: */
    int left;
    bool is_closed;
    bool is_on;
    struct listener listeners[FLAG_LIST_MAX];
    size_t n;
};

/* Arms the event that ends the pause. Without one it stays pending, far off: see on_accept_error. */
static void set_pause(struct acceptor *a, int64_t ms)
{
    struct timeval tv = {.tv_sec = HTTP_FAR_SECONDS};

    if (ms > 0)
        tv = (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    (void)event_add(a->pause, &tv);
}

void acceptor_update(struct acceptor *a)
{
    bool on =
        !a->is_closed && !a->is_paused && a->in_turn < HTTP_ACCEPT_BATCH && !guard_is_full(a->config.guards);

    if (on && !guard_prepare(a->config.guards)) {
        a->is_paused = true;
        set_pause(a, HTTP_ACCEPT_PAUSE_MS);
        on = false;
    }
    if (a->is_closed || on == a->is_on)
        return;
    a->is_on = on;
    for (size_t i = 0; i < a->n; i++) {
        struct evconnlistener *l = evhttp_bound_socket_get_listener(a->listeners[i].bound);
        (void)(on ? evconnlistener_enable(l) : evconnlistener_disable(l));
    }
}

bool acceptor_is_on(const struct acceptor *a)
{
    return a->is_on;
}

void acceptor_close(struct acceptor *a)
{
    if (!a || a->is_closed)
        return;
    a->is_closed = true;
    a->is_on = false;
    for (size_t i = 0; i < a->n; i++) {
        evhttp_del_accept_socket(a->config.http, a->listeners[i].bound);
        a->listeners[i].bound = NULL;
    }
}

size_t acceptor_queued(const struct acceptor *a)
{
    size_t n = 0;

    for (size_t i = 0; !a->is_closed && i < a->n; i++) {
        struct tcp_info info = {0}; /* a listener's unacked are those in its queue */
        socklen_t len = sizeof info;
        (void)getsockopt(evhttp_bound_socket_get_fd(a->listeners[i].bound), IPPROTO_TCP, TCP_INFO, &info,
                         &len);
        n += info.tcpi_unacked;
    }
    return n;
}

static void close_unless_needed(struct acceptor *a)
{
    if (!a->is_on || a->left <= 0 || acceptor_queued(a) == 0)
        acceptor_close(a);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct acceptor *a = arg;

    (void)fd;
    (void)what;
    a->is_paused = a->is_crowded = false;
    guard_set_crowded(a->config.guards, false);
    set_pause(a, 0);
    acceptor_update(a);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct acceptor *a = arg;

    (void)fd;
    (void)what;
    a->in_turn = 0;
    if (!a->is_on)
        acceptor_update(a);
    if (a->is_stopping)
        close_unless_needed(a);
}

void acceptor_stop(struct acceptor *a)
{
    a->is_stopping = true;
    a->left = LISTEN_BACKLOG;
    on_turn(-1, 0, a);
}

void acceptor_count(struct acceptor *a)
{
    a->left -= a->is_stopping;
    if (a->in_turn++ == 0)
        event_active(a->turn, EV_READ, 0);
    if (a->in_turn == HTTP_ACCEPT_BATCH)
        acceptor_update(a);
}

struct acceptor_search {
    const struct evhttp *http;
    struct acceptor *found;
};

static int match_acceptor(const struct event_base *base, const struct event *ev, void *arg)
{
    struct acceptor_search *search = arg;

    (void)base;
    if (event_get_callback(ev) == on_pause_over) {
        struct acceptor *a = event_get_callback_arg(ev);
        if (a->config.http == search->http)
            search->found = a;
    }
    return search->found != NULL;
}

/* Mostly there is no descriptor left, though there should have been. At first room is made, as at the limit; if that
 * does not help, there is a pause.
 *
 * evhttp makes itself the argument of its listeners' callbacks, so the way to the acceptor leads over an event
 * of its own, which is always pending. This is rare: at most twice in HTTP_ACCEPT_PAUSE_MS. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    const char *error = evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR());
    struct acceptor_search search = {.http = arg};

    (void)event_base_foreach_event(evconnlistener_get_base(listener), match_acceptor, &search);
    struct acceptor *a = search.found;
    if (!a)
        return;
    a->config.on_error(a->config.arg, error);
    a->is_paused = a->is_crowded;
    a->is_crowded = true;
    guard_set_crowded(a->config.guards, true);
    set_pause(a, HTTP_ACCEPT_PAUSE_MS);
    acceptor_update(a);
    if (a->is_stopping)
        event_active(a->turn, EV_READ, 0);
}

bool acceptor_listen(struct acceptor *a, const char *flag, const char *address, char err[static HTTP_ERROR])
{
    struct listener *l = &a->listeners[a->n];
    struct text text;
    int fd = listen_on(flag, address, err);

    if (fd < 0)
        return false;
    listen_name(fd, l->name);
    struct evconnlistener *lev =
        evconnlistener_new(a->config.base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!lev) {
        close(fd);
    } else {
        l->bound = evhttp_bind_listener(a->config.http, lev);
        if (!l->bound)
            evconnlistener_free(lev);
    }
    if (!l->bound) {
        text_init(&text, err, HTTP_ERROR);
        text_addf(&text, "%s %s: out of memory", flag, address);
        return false;
    }
    evconnlistener_set_error_cb(lev, on_accept_error);
    a->n++;
    return true;
}

struct acceptor *acceptor_new(const struct acceptor_config *config)
{
    struct acceptor *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->config = *config;
    a->is_on = true;
    a->pause = event_new(config->base, -1, 0, on_pause_over, a);
    a->turn = event_new(config->base, -1, 0, on_turn, a);
    if (!a->pause || !a->turn) {
        acceptor_free(a);
        return NULL;
    }
    set_pause(a, 0);
    return a;
}

const char *acceptor_address(const struct acceptor *a, size_t i)
{
    return i < a->n ? a->listeners[i].name : NULL;
}

size_t acceptor_listeners(const struct acceptor *a)
{
    return a->n;
}

void acceptor_free(struct acceptor *a)
{
    if (!a)
        return;
    if (a->pause)
        event_free(a->pause);
    if (a->turn)
        event_free(a->turn);
    free(a);
}
