/* What guard.c (what comes in) and guard_reply.c (what goes out, and the end) share. */
#ifndef FES_HTTP_GUARD_STATE_PRIV_H
#define FES_HTTP_GUARD_STATE_PRIV_H

#include "http/gone_priv.h"
#include "http/guard_priv.h"
#include "http/head_priv.h"
#include "http/linger_priv.h"
#include "http/room_priv.h"
#include "http/tls_priv.h"

#include <sys/queue.h>

struct event;

/* Input that may wait beside the body that is being received: pipelined requests. */
#define GUARD_INPUT_BYTES ((size_t)2 * HTTP_MAX_HEAD)

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

/* Arms the deadline of what is awaited now; an armed one goes on. */
void guard_arm(struct guard *g);
/* How much input may wait. */
void guard_set_high(struct guard *g, size_t high);
/* The reply, if there is one, is over. */
void guard_reply_release(struct guard *g);
/* Ends the connection, and with it the guard. */
void guard_close(struct guard *g);

#endif
