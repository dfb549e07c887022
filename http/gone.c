/* Watching a socket that nobody reads (see gone_priv.h).
 *
 * A closed socket is readable and gives no byte, so waiting until it is readable costs nothing while the client waits
 * too. When a byte is there, the client has sent something behind its request (a pipelined request, the end of TLS):
 * it stays where it is, for evhttp to read later, and from then on the socket stays readable. So the second stage waits
 * for changes only (edge-triggered), and asks the kernel for the state of the connection at each.
 *
 * The first stage is level-triggered, because libevent does not mix both kinds on one descriptor, and the write event
 * of a new connection may still be pending. For the same reason the edge is taken away at the end: where changes are
 * gathered until the next wait (see main.c), a deletion keeps its edge, and libevent gives it to all that is added on the
 * descriptor before. The connection would be told only once of a request that takes several reads.
 *
 * Failure mode: where the second stage cannot be had, the client is not watched any longer, and its end shows when the
 * answer is written.
 */
#include "http/gone_priv.h"

#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

struct gone {
    struct event *event;
    void (*on_gone)(void *arg);
    void *arg;
};

static bool is_closed(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void on_change(evutil_socket_t fd, short what, void *arg)
{
    struct gone *g = arg;

    (void)what;
    if (is_closed(fd))
        g->on_gone(g->arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct gone *g = arg;

    (void)what;
    if (is_closed(fd)) {
        g->on_gone(g->arg);
        return;
    }
    if (event_assign(g->event, event_get_base(g->event), fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST,
                     on_change, g) == 0)
        (void)event_add(g->event, NULL);
}

struct gone *gone_new(struct event_base *base, int fd, void (*on_gone)(void *arg), void *arg)
{
    struct gone *g = calloc(1, sizeof *g);

    if (!g)
        return NULL;
    g->on_gone = on_gone;
    g->arg = arg;
    g->event = event_new(base, fd, EV_READ, on_readable, g);
    if (!g->event || event_add(g->event, NULL) != 0) {
        gone_free(g);
        return NULL;
    }
    return g;
}

/* By an event of the same kinds, but for the edge, that comes and goes. */
static void take_edge_away(struct gone *g)
{
    if (!(event_get_events(g->event) & EV_ET) || event_del(g->event) != 0)
        return;
    if (event_assign(g->event, event_get_base(g->event), event_get_fd(g->event), EV_READ | EV_CLOSED,
                     on_change, g) == 0)
        (void)event_add(g->event, NULL);
}

void gone_free(struct gone *g)
{
    if (!g)
        return;
    if (g->event) {
        take_edge_away(g);
        event_free(g->event);
    }
    free(g);
}
