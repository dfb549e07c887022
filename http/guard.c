/* The guard of each connection (see guard_priv.h).
 *
 * How it sits there. A callback on the input evbuffer of the bufferevent runs as bytes arrive, before the
 * bufferevent tells evhttp. It follows the framing: head (head.c), body bytes, head, ... When a head is
 * refused and evhttp has no request in hand, it raises the low watermark, so that evhttp is not told; the
 * guard's own event then takes the bufferevent over, answers, reads on for a moment so that the answer is not
 * lost to a reset, and closes. When evhttp still has earlier requests to answer (pipelining), the bad bytes
 * stay behind them, and the guard takes over when the last of them is answered. evhttp takes one request at a
 * time from the buffer, so it cannot reach the bad bytes first.
 *
 * How it learns of the end. evhttp tells only a close callback on its own connection object, which it does
 * not hand out before a first request. But it is the argument of the bufferevent's callbacks, so the guard's
 * event, made active when the connection is accepted, fetches it from there before the socket is polled for
 * the first time.
 *
 * Invariant: `framed` requests are complete in the buffer or in evhttp's hands; only `framed` == 0 lets the
 * guard end a connection, so no request that a handler knows is freed by it.
 */
#include "http/guard_priv.h"

#include "http/gone_priv.h"
#include "http/head_priv.h"
#include "http/linger_priv.h"
#include "http/room_priv.h"
#include "http/tls_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>

/* Input that may wait beside the body that is being received: pipelined requests. */
#define GUARD_INPUT_BYTES ((size_t)2 * HTTP_MAX_HEAD)
/* The same during a long answer, which evhttp reads beside: what a client sends then is for nobody. */
#define GUARD_LONG_INPUT_BYTES ((size_t)4096)

enum guard_phase {
    PHASE_NEW,  /* connected, no byte yet */
    PHASE_HEAD, /* between requests, or within a head (head.bytes > 0) */
    PHASE_BODY,
    PHASE_BAD,    /* refused; earlier requests are still being answered */
    PHASE_LINGER, /* the refusal is being written, then input is dropped */
};

enum guard_deadline { DEADLINE_NONE, DEADLINE_HEAD, DEADLINE_BODY, DEADLINE_LINGER };

struct guard {
    struct room_item place; /* first: what room.c ends is the guard */
    struct guard_set *set;
    struct bufferevent *bev; /* evhttp's; a reference is held until `evcon` is known */
    struct tls_conn *tls;    /* NULL: plain text */
    struct evhttp_connection *evcon;
    struct event *turn; /* the guard's own event: EV_READ: look at the phase; EV_TIMEOUT: a deadline */
    int fd;
    enum guard_phase phase;
    enum guard_deadline deadline;
    struct head head;
    uint64_t body_left;    /* of the body that is being received */
    uint64_t body_counted; /* its share of set->bodies */
    size_t high;           /* high watermark in force */
    unsigned framed;
    bool replying;
    size_t reply_bytes; /* its share of set->reply_bytes */
    bool is_long;       /* the reply is a long one */
    struct gone *gone;
    bool watched; /* somebody wants to know when the client goes */
    struct guard_watch watch;
    struct lingering linger;
    int status; /* of the refusal */
    const char *why;
    TAILQ_ENTRY(guard) link;
};
TAILQ_HEAD(guard_list, guard);

struct guard_set {
    struct event_base *base;
    struct guard_limits limits;
    struct guard_hooks hooks;
    struct tls_gate *gate; /* NULL: plain text */
    struct guard_list all;
    struct room room;
    struct guard *spare; /* made ahead: evhttp must never be left without a guarded bufferevent */
    struct guard **by_fd;
    size_t by_fd_len;
    size_t n_replying;
    uint64_t reply_bytes; /* of replies that were begun and are not yet written out */
    uint64_t bodies;
    uint64_t queued; /* bodies that others hold and that count too */
};

static struct timeval timeval_of(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* Arms the deadline of what is awaited now; an armed one goes on. */
static void arm(struct guard *g)
{
    const struct guard_limits *l = &g->set->limits;
    enum guard_deadline want = DEADLINE_NONE;

    if (g->phase == PHASE_BAD && g->framed == 0)
        return; /* the event is active, and event_del would take that back */
    if (g->phase == PHASE_LINGER)
        want = DEADLINE_LINGER;
    else if (g->phase == PHASE_NEW || (g->phase == PHASE_HEAD && g->head.bytes > 0 && g->framed == 0))
        want = DEADLINE_HEAD;
    else if (g->phase == PHASE_BODY && g->framed == 0)
        want = DEADLINE_BODY;
    if (want == g->deadline)
        return;
    g->deadline = want;
    room_put(&g->set->room, &g->place,
             want == DEADLINE_HEAD     ? ROOM_HEAD
             : want == DEADLINE_BODY   ? ROOM_BODY
             : want == DEADLINE_LINGER ? ROOM_REFUSED
                                       : ROOM_KEPT);
    if (want == DEADLINE_NONE) {
        (void)event_del(g->turn);
        return;
    }
    struct timeval tv = timeval_of(want == DEADLINE_HEAD   ? l->head_ms
                                   : want == DEADLINE_BODY ? l->body_ms
                                                           : l->linger_ms);
    (void)event_add(g->turn, &tv);
}

/* With TLS, libevent stops at a high watermark in the middle of a record, and does not read on from what OpenSSL holds
 * when there is room again. So on_input stops reading instead, which comes behind the record. That never happens while
 * evhttp waits for more of a request (framed == 0), and evhttp reads again after each answer. */
static void set_high(struct guard *g, size_t high)
{
    if (g->high == high || g->is_long)
        return;
    g->high = high;
    if (!g->tls)
        bufferevent_setwatermark(g->bev, EV_READ, 0, high);
}

static void body_release(struct guard *g)
{
    g->set->bodies -= g->body_counted;
    g->body_counted = 0;
}

static void reply_release(struct guard *g)
{
    g->set->n_replying -= g->replying;
    g->set->reply_bytes -= g->reply_bytes;
    g->replying = false;
    g->reply_bytes = 0;
}

/* May be called from evhttp's and the buffer's callbacks: what ends the connection happens in the guard's
 * event. */
static void refuse(struct guard *g, enum http_cause cause, const char *why)
{
    g->phase = PHASE_BAD;
    g->status = cause_status(cause);
    g->why = why;
    body_release(g);
    room_count_head(&g->set->room, &g->place, 0);
    if (g->framed == 0) {
        bufferevent_setwatermark(g->bev, EV_READ, SIZE_MAX, 0);
        event_active(g->turn, EV_READ, 0);
    }
    g->set->hooks.on_refused(g->set->hooks.arg, cause, why);
}

static void on_head_done(struct guard *g)
{
    g->body_left = g->head.body_bytes;
    head_init(&g->head);
    if (g->body_left == 0) {
        g->framed++;
        return;
    }
    g->phase = PHASE_BODY;
    size_t held = evbuffer_get_length(bufferevent_get_input(g->bev));
    set_high(g, held + (size_t)g->body_left + GUARD_INPUT_BYTES);
}

static size_t on_body(struct guard *g, size_t n)
{
    size_t take = n < g->body_left ? n : (size_t)g->body_left;

    g->body_left -= take;
    g->body_counted += take;
    g->set->bodies += take;
    if (g->body_left == 0) {
        body_release(g);
        head_init(&g->head);
        g->phase = PHASE_HEAD;
        g->framed++;
    } else if (g->set->bodies + g->set->queued > g->set->limits.bodies) {
        refuse(g, CAUSE_BODIES, "too many requests are being received: try again");
    }
    return take;
}

static void on_bytes(struct guard *g, struct str bytes)
{
    while (bytes.len > 0 && g->phase <= PHASE_BODY) {
        if (g->phase == PHASE_BODY) {
            bytes = str_from(bytes, on_body(g, bytes.len));
            continue;
        }
        g->phase = PHASE_HEAD;
        bytes = str_from(bytes, head_feed(&g->head, bytes));
        if (g->head.verdict == HEAD_DONE)
            on_head_done(g);
        else if (g->head.verdict == HEAD_REFUSED)
            refuse(g, cause_of_head(g->head.status), g->head.why);
    }
}

/* The last n bytes of the buffer are new. */
static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct guard *g = arg;
    size_t n = info->n_added;
    struct evbuffer_ptr at;

    if (n > 0 && g->tls && evbuffer_get_length(input) >= g->high)
        (void)bufferevent_disable(g->bev, EV_READ);
    if (n == 0 || g->phase >= PHASE_BAD)
        return;
    if (g->place.class == ROOM_IDLE)
        room_put(&g->set->room, &g->place, ROOM_KEPT);
    if (g->phase == PHASE_BODY && n <= g->body_left) {
        (void)on_body(g, n);
        arm(g);
        return;
    }
    if (evbuffer_ptr_set(input, &at, evbuffer_get_length(input) - n, EVBUFFER_PTR_SET) != 0)
        return;
    while (n > 0) {
        struct evbuffer_iovec part[1];
        if (evbuffer_peek(input, (ev_ssize_t)n, &at, part, 1) < 1)
            break;
        size_t len = part[0].iov_len < n ? part[0].iov_len : n;
        on_bytes(g, (struct str){part[0].iov_base, len});
        n -= len;
        if (n > 0 && evbuffer_ptr_set(input, &at, len, EVBUFFER_PTR_ADD) != 0)
            break;
    }
    room_count_head(&g->set->room, &g->place, g->phase == PHASE_HEAD ? g->head.bytes : 0);
    arm(g);
}

/* The connection and with it the bufferevent are going away. */
static void on_evhttp_close(struct evhttp_connection *evcon, void *arg)
{
    struct guard *g = arg;
    struct guard_set *set = g->set;

    (void)evcon;
    (void)evbuffer_remove_cb(bufferevent_get_input(g->bev), on_input, g);
    body_release(g);
    reply_release(g);
    set->by_fd[g->fd] = NULL;
    TAILQ_REMOVE(&set->all, g, link);
    room_leave(&set->room, &g->place);
    event_free(g->turn);
    tls_conn_free(g->tls);
    gone_free(g->gone);
    if (g->watched)
        set->hooks.on_gone(set->hooks.arg, &g->watch);
    free(g);
    set->hooks.on_room(set->hooks.arg);
}

static void close_connection(struct guard *g)
{
    evhttp_connection_free(g->evcon); /* calls on_evhttp_close */
}

static void end_for_another(struct room_item *place)
{
    close_connection((struct guard *)place);
}

static void on_linger_end(void *arg)
{
    close_connection(arg);
}

/* Takes the bufferevent from evhttp, which has nothing in hand, and answers. */
static void take_over(struct guard *g)
{
    g->phase = PHASE_LINGER;
    g->linger = (struct lingering){g->bev, g->tls, on_linger_end, g};
    linger_begin(&g->linger, g->status, g->why, g->head.is_head);
    arm(g);
}

/* evhttp has let go of its half of a connection that was just accepted. */
static void drop_unattached(struct guard *g)
{
    TAILQ_REMOVE(&g->set->all, g, link);
    room_leave(&g->set->room, &g->place);
    (void)evbuffer_remove_cb(bufferevent_get_input(g->bev), on_input, g);
    tls_conn_free(g->tls);
    (void)bufferevent_decref(g->bev);
    event_free(g->turn);
    free(g);
}

/* Fetches evhttp's connection object; see the head of this file. False when there is none: the guard is gone.
 */
static bool attach(struct guard *g)
{
    struct guard_set *set = g->set;
    void *evcon;

    bufferevent_getcb(g->bev, NULL, NULL, NULL, &evcon);
    int fd = bufferevent_getfd(g->bev);
    if (evcon && fd >= 0 && (size_t)fd >= g->set->by_fd_len) {
        size_t len = (size_t)fd * 2 + 16;
        struct guard **grown = realloc(g->set->by_fd, len * sizeof *grown);
        if (grown) {
            memset(grown + g->set->by_fd_len, 0, (len - g->set->by_fd_len) * sizeof *grown);
            g->set->by_fd = grown;
            g->set->by_fd_len = len;
        }
    }
    bool attached = evcon && fd >= 0 && (size_t)fd < g->set->by_fd_len && (!g->tls || tls_conn_start(g->tls));
    if (attached) {
        g->evcon = evcon;
        g->fd = fd;
        g->set->by_fd[fd] = g;
        evhttp_connection_set_closecb(evcon, on_evhttp_close, g);
        (void)bufferevent_decref(g->bev);
        return true;
    }
    if (evcon)
        evhttp_connection_free(evcon); /* no memory: a connection without its guard must not go on */
    drop_unattached(g);
    set->hooks.on_room(set->hooks.arg);
    return false;
}

static void on_deadline(struct guard *g)
{
    enum guard_deadline passed = g->deadline;

    g->deadline = DEADLINE_NONE;
    if (passed == DEADLINE_LINGER || (passed == DEADLINE_HEAD && g->phase == PHASE_NEW))
        close_connection(g);
    else if (passed == DEADLINE_HEAD)
        refuse(g, CAUSE_HEAD_TIME, "the request line and headers did not arrive in time");
    else if (passed == DEADLINE_BODY)
        refuse(g, CAUSE_BODY_TIME, "the body did not arrive in time");
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct guard *g = arg;

    (void)fd;
    if (!g->evcon && !attach(g))
        return;
    if (g->phase == PHASE_BAD && g->framed == 0)
        take_over(g);
    else if (what & EV_TIMEOUT)
        on_deadline(g);
    else
        arm(g);
}

static void guard_free(struct guard *g)
{
    if (g->turn)
        event_free(g->turn);
    tls_conn_free(g->tls);
    if (g->bev) {
        (void)evbuffer_remove_cb(bufferevent_get_input(g->bev), on_input, g);
        bufferevent_free(g->bev);
    }
    free(g);
}

static void on_tls_end(void *arg)
{
    close_connection(arg);
}

/* Where TLS is to be spoken there is no other kind. */
static struct bufferevent *new_bufferevent(struct guard *g)
{
    if (!g->set->gate)
        return bufferevent_socket_new(g->set->base, -1, BEV_OPT_CLOSE_ON_FREE);
    g->tls = tls_conn_new(g->set->gate, on_tls_end, g);
    return g->tls ? tls_conn_bufferevent(g->tls) : NULL;
}

bool guard_prepare(struct guard_set *set)
{
    if (set->spare)
        return true;
    struct guard *g = calloc(1, sizeof *g);
    if (!g)
        return false;
    g->set = set;
    head_init(&g->head);
    g->bev = new_bufferevent(g);
    g->turn = event_new(set->base, -1, 0, on_turn, g);
    if (!g->bev || !g->turn || !evbuffer_add_cb(bufferevent_get_input(g->bev), on_input, g)) {
        guard_free(g);
        return false;
    }
    set_high(g, GUARD_INPUT_BYTES);
    set->spare = g;
    return true;
}

struct bufferevent *guard_accept(struct guard_set *set)
{
    struct guard *g = set->spare;

    /* Listeners are on only while there is a spare. Returning NULL would make evhttp serve without a guard.
     */
    if (!g)
        abort();
    set->spare = NULL;
    TAILQ_INSERT_TAIL(&set->all, g, link);
    bufferevent_incref(g->bev);
    event_active(g->turn, EV_READ, 0);
    room_enter(&set->room);
    if (!guard_prepare(set) || room_is_full(&set->room))
        set->hooks.on_full(set->hooks.arg);
    return g->bev;
}

void guard_set_queued(struct guard_set *set, uint64_t bytes)
{
    set->queued = bytes;
}

uint64_t guard_body_bytes(const struct guard_set *set)
{
    return set->bodies + set->queued;
}

void guard_close_idle(struct guard_set *set)
{
    room_close_idle(&set->room);
}

struct guard_set *guard_set_new(struct event_base *base, const struct guard_limits *limits,
                                const struct guard_hooks *hooks, struct tls *tls)
{
    struct guard_set *set = calloc(1, sizeof *set);

    if (!set)
        return NULL;
    set->base = base;
    set->limits = *limits;
    set->hooks = *hooks;
    TAILQ_INIT(&set->all);
    set->gate = tls ? tls_gate_new(base, tls) : NULL;
    if (!room_init(&set->room, base, &set->limits, &set->hooks, end_for_another) || (tls && !set->gate) ||
        !guard_prepare(set)) {
        guard_set_free(set);
        return NULL;
    }
    return set;
}

void guard_set_free(struct guard_set *set)
{
    struct guard *g;

    if (!set)
        return;
    while ((g = TAILQ_FIRST(&set->all)) != NULL)
        drop_unattached(g);
    if (set->spare)
        guard_free(set->spare);
    tls_gate_free(set->gate);
    room_free(&set->room);
    free(set->by_fd);
    free(set);
}

size_t guard_connections(const struct guard_set *set)
{
    return set->room.connections;
}

bool guard_is_full(const struct guard_set *set)
{
    return room_is_full(&set->room);
}

void guard_set_crowded(struct guard_set *set, bool is_crowded)
{
    room_set_crowded(&set->room, is_crowded);
}

size_t guard_replying(const struct guard_set *set)
{
    return set->n_replying;
}

struct guard *guard_of(const struct guard_set *set, struct evhttp_connection *evcon)
{
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(evcon));

    return fd >= 0 && (size_t)fd < set->by_fd_len ? set->by_fd[fd] : NULL;
}

static void on_client_gone(void *arg)
{
    close_connection(arg);
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
    set_high(g, GUARD_LONG_INPUT_BYTES);
    g->is_long = true;
    g->watched = true;
    g->watch = *watch;
}

void guard_end(struct guard *g)
{
    g->watched = false;
    close_connection(g);
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
    reply_release(g);
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
    reply_release(g);
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
        set_high(g, GUARD_INPUT_BYTES);
        room_put(&g->set->room, &g->place, ROOM_IDLE);
    }
    arm(g);
}
