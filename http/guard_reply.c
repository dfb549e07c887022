/* Answers, as far as the guard must know of them, and the end of connections (see guard_priv.h).
 *
 * When the server stops, a request may be on its way: a body that is still coming, or bytes in the kernel that nobody has
 * read, under which closing would reset the connection. So a socket is asked before it is closed, and whoever has begun to
 * send is served. How long that may take is main.c's affair.
 */
#include "http/guard_state_priv.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <sys/socket.h>

/* The same during a long answer, which evhttp reads beside: what a client sends then is for nobody. */
#define GUARD_LONG_INPUT_BYTES ((size_t)4096)

size_t guard_replying(const struct guard_set *set)
{
    return set->n_replying;
}

void guard_reply_release(struct guard *g)
{
    g->set->n_replying -= g->replying;
    g->set->reply_bytes -= g->reply_bytes;
    g->replying = false;
    g->reply_bytes = 0;
}

static void on_client_gone(void *arg)
{
    guard_close(arg);
}

bool guard_watch_client(struct guard *g, const struct guard_watch *watch)
{
    g->watch = *watch;
    if (!g->gone)
        g->gone = gone_new(g->set->base, g->fd, on_client_gone, g);
    g->watched = g->gone != NULL;
    return g->watched;
}

static void unwatch(struct guard *g)
{
    gone_free(g->gone);
    g->gone = NULL;
    g->watched = false;
}

void guard_reply_long(struct guard *g, const struct guard_watch *watch)
{
    unwatch(g);
    guard_set_high(g, GUARD_LONG_INPUT_BYTES);
    g->is_long = true;
    g->watched = true;
    g->watch = *watch;
}

void guard_end(struct guard *g)
{
    g->watched = false;
    guard_close(g);
}

void guard_cut(struct guard *g)
{
    const struct linger at_once = {.l_onoff = 1};

    (void)setsockopt(g->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    guard_end(g);
}

uint64_t guard_reply_bytes(const struct guard_set *set)
{
    return set->reply_bytes;
}

void guard_reply_begun(struct guard *g, size_t bytes)
{
    unwatch(g);
    guard_reply_release(g);
    g->set->n_replying++;
    g->set->reply_bytes += bytes;
    g->replying = true;
    g->reply_bytes = bytes;
}

void guard_reply_handed(struct guard *g)
{
    if (g->tls)
        tls_conn_mind_writes(g->tls);
}

void guard_reply_done(struct guard *g)
{
    guard_reply_release(g);
    g->framed -= g->framed > 0;
    if (g->framed > 0)
        return;
    if (g->phase == PHASE_BAD) {
        /* What is left is bad. Without it evhttp has nothing to read on with. */
        linger_drain(g->bev);
        bufferevent_setwatermark(g->bev, EV_READ, SIZE_MAX, 0);
        event_active(g->turn, EV_READ, 0);
        return;
    }
    if (g->phase == PHASE_HEAD && g->head.bytes == 0) {
        guard_set_high(g, GUARD_INPUT_BYTES);
        room_put(&g->set->room, &g->place, ROOM_IDLE);
    }
    guard_arm(g);
}

/* ---- the end ---- */

/* Whether something of a request has come. The first bytes under TLS are a handshake, which asks for nothing yet. */
static bool has_begun(const struct guard *g)
{
    char byte;

    if (g->head.bytes > 0)
        return true;
    return (!g->tls || g->phase == PHASE_HEAD) &&
           recv(bufferevent_getfd(g->bev), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static bool waits_for_request(const struct guard *g)
{
    return g->framed == 0 && g->phase <= PHASE_HEAD;
}

void guard_close_idle(struct guard_set *set)
{
    for (struct guard *next, *g = TAILQ_FIRST(&set->all); g; g = next) {
        next = TAILQ_NEXT(g, link);
        if (g->place.class == ROOM_IDLE && waits_for_request(g) && !has_begun(g))
            guard_close(g);
    }
}

size_t guard_unanswered(const struct guard_set *set)
{
    const struct guard *g;
    size_t n = 0;

    TAILQ_FOREACH(g, &set->all, link)
    n += g->framed > 0 || g->phase == PHASE_BODY || (waits_for_request(g) && has_begun(g));
    return n;
}
