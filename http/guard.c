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
#include "http/guard_state_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>

static struct timeval timeval_of(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

void guard_arm(struct guard *g)
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
void guard_set_high(struct guard *g, size_t high)
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
    g->set->hooks.on_refused(g->set->hooks.arg, cause, why, tally_client(g->evcon));
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
    guard_set_high(g, held + (size_t)g->body_left + GUARD_INPUT_BYTES);
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
        guard_arm(g);
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
    guard_arm(g);
}

/* The connection and with it the bufferevent are going away. */
static void on_evhttp_close(struct evhttp_connection *evcon, void *arg)
{
    struct guard *g = arg;
    struct guard_set *set = g->set;

    (void)evcon;
    (void)evbuffer_remove_cb(bufferevent_get_input(g->bev), on_input, g);
    body_release(g);
    guard_reply_release(g);
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

void guard_close(struct guard *g)
{
    evhttp_connection_free(g->evcon); /* calls on_evhttp_close */
}

static void end_for_another(struct room_item *place)
{
    guard_close((struct guard *)place);
}

static void on_linger_end(void *arg)
{
    guard_close(arg);
}

/* Takes the bufferevent from evhttp, which has nothing in hand, and answers. */
static void take_over(struct guard *g)
{
    g->phase = PHASE_LINGER;
    g->linger = (struct lingering){g->bev, g->tls, on_linger_end, g};
    linger_begin(&g->linger, g->status, g->why, g->head.is_head);
    guard_arm(g);
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
    bool attached = evcon && fd >= 0 && (size_t)fd < g->set->by_fd_len &&
                    (!g->tls || tls_conn_start(g->tls, tally_client(evcon)));
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
        guard_close(g);
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
        guard_arm(g);
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

static void on_tls_plain(void *arg, const char *why)
{
    const struct guard *g = arg;

    g->set->hooks.on_refused(g->set->hooks.arg, CAUSE_PLAIN, why, tally_client(g->evcon));
}

static void on_tls_end(void *arg)
{
    guard_close(arg);
}

/* Where TLS is to be spoken there is no other kind. */
static struct bufferevent *new_bufferevent(struct guard *g)
{
    if (!g->set->gate)
        return bufferevent_socket_new(g->set->base, -1, BEV_OPT_CLOSE_ON_FREE);
    g->tls = tls_conn_new(g->set->gate, &(struct tls_hooks){on_tls_plain, on_tls_end, g});
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
    guard_set_high(g, GUARD_INPUT_BYTES);
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

struct guard *guard_of(const struct guard_set *set, struct evhttp_connection *evcon)
{
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(evcon));

    return fd >= 0 && (size_t)fd < set->by_fd_len ? set->by_fd[fd] : NULL;
}
