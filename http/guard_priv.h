/* The guard: what stands between a socket and evhttp.
 *
 * evhttp_set_bevcb hands evhttp a bufferevent that carries a guard. The guard sees the bytes first; what
 * head.c refuses never reaches evhttp, and is answered by the guard. It also keeps what evhttp has no notion
 * of: absolute deadlines, the number of connections, the idle ones, the sum of unfinished bodies.
 */
#ifndef FES_HTTP_GUARD_PRIV_H
#define FES_HTTP_GUARD_PRIV_H

#include "http/server.h"
#include "http/tally_priv.h"

struct bufferevent;
struct evhttp_connection;
struct guard;     /* of one connection; lives as long as it */
struct guard_set; /* of one server */
struct tls;

/* For tests, mostly; those of the contract are in server.h. Which connection ends for another is in room_priv.h. */
struct guard_limits {
    size_t connections;
    size_t idle;
    uint64_t heads; /* bytes of all unfinished heads; beyond: the oldest of them end */
    uint64_t bodies;
    int64_t grace_ms; /* after which a connection with an unfinished head may end for another */
    int64_t
        head_ms; /* within which a head comes; after which one with an unfinished body may end for another */
    int64_t body_ms;   /* within which a body comes */
    int64_t linger_ms; /* how long what a refused client still sends is dropped, so that it sees the answer */
};

/* Whom to tell when the client of a request goes away. */
struct guard_watch {
    uint64_t id; /* of the request */
    void (*on_gone)(void *arg, uint64_t id);
    void *arg;
    bool till_the_end; /* also when the request is not known any more: the server itself ends */
};

/* Called from the loop; must not free connections. */
struct guard_hooks {
    void (*on_full)(void *arg);                   /* accept no more until on_room */
    void (*on_room)(void *arg);                   /* a connection ended */
    void (*on_shed)(void *arg, const char *what); /* a connection that is not idle ends for want of room */
    void (*on_refused)(void *arg, enum http_cause cause, const char *why, const char *client);
    void (*on_gone)(void *arg, const struct guard_watch *watch); /* the connection ends now */
    void *arg;
};

/* NULL when out of memory. base, hooks->arg and tls outlive it. tls: every connection speaks it; NULL: none does. */
struct guard_set *guard_set_new(struct event_base *base, const struct guard_limits *limits,
                                const struct guard_hooks *hooks, struct tls *tls);
/* After all connections were freed. Accepts NULL. */
void guard_set_free(struct guard_set *set);
/* The bufferevent for a connection that is being accepted. */
struct bufferevent *guard_accept(struct guard_set *set);
/* False when out of memory for the next connection; then accept none and ask again later. */
bool guard_prepare(struct guard_set *set);
/* No more connections now; and what to do when accept() finds no descriptor (see room_priv.h). */
bool guard_is_full(const struct guard_set *set);
void guard_set_crowded(struct guard_set *set, bool is_crowded);
size_t guard_connections(const struct guard_set *set);
/* Replies that were begun and are not yet written out; but for long ones, whose requests stay in the table of pending
 * ones. */
size_t guard_replying(const struct guard_set *set);
uint64_t guard_reply_bytes(const struct guard_set *set);
/* Bytes of bodies that were taken over and are held elsewhere: they count like unfinished ones. */
void guard_set_queued(struct guard_set *set, uint64_t bytes);
/* Bytes of bodies that count now. */
uint64_t guard_body_bytes(const struct guard_set *set);
/* The server accepts no more: ends the connections that wait for a next request, but for those of which something has
 * come. */
void guard_close_idle(struct guard_set *set);
/* Connections with a request that is answered or of which something has come. Looks at all of them. */
size_t guard_unanswered(const struct guard_set *set);

/* NULL when the connection has none any more. */
struct guard *guard_of(const struct guard_set *set, struct evhttp_connection *evcon);
void guard_reply_begun(struct guard *g, size_t bytes);
/* Until guard_reply_begun: hooks.on_gone is called when the connection ends, and the connection is ended when its
 * client has gone. One request at a time. False when out of memory. */
bool guard_watch_client(struct guard *g, const struct guard_watch *watch);
/* Instead of guard_reply_begun, for a reply without a known end, whose connection guard_end or guard_cut ends: evhttp reads
 * on beside it, so that the end of the client is seen, but no more than a little is taken from the socket. hooks.on_gone is
 * called when the connection ends otherwise. */
void guard_reply_long(struct guard *g, const struct guard_watch *watch);
/* Ends the connection. */
void guard_end(struct guard *g);
/* The same, and what the kernel has not sent yet is dropped too, so that it does not keep it for a client that does not
 * read. */
void guard_cut(struct guard *g);
/* Call when evhttp has been given a reply, or its end, and does not yet know it written. */
void guard_reply_handed(struct guard *g);
/* Call when evhttp has written out the answer to the request that it works on. */
void guard_reply_done(struct guard *g);

#endif
