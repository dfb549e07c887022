/* The listeners of one evhttp, which are turned off while no connection can be taken. */
#ifndef FES_HTTP_ACCEPT_PRIV_H
#define FES_HTTP_ACCEPT_PRIV_H

#include "http/guard_priv.h"

struct acceptor;
struct evhttp;

struct acceptor_config {
    struct event_base *base;
    struct evhttp *http; /* outlives the acceptor's last use, and frees its listeners */
    struct guard_set *guards;
    void (*on_error)(void *arg, const char *error); /* accept() failed */
    void *arg;
};

/* NULL when out of memory. */
struct acceptor *acceptor_new(const struct acceptor_config *config);
/* Binds. False with one line in err, which begins with the flag. */
bool acceptor_listen(struct acceptor *a, const char *flag, const char *address, char err[static HTTP_ERROR]);
/* Turns the listeners on or off, as the connections demand. Cheap, but not free: call it when they are off, or may have
 * to be. */
void acceptor_update(struct acceptor *a);
/* A connection was accepted. */
void acceptor_count(struct acceptor *a);
bool acceptor_is_on(const struct acceptor *a);
/* Closes the listeners, once those are accepted who stand in the kernel's queue: at once when there are none, or no room for
 * them. */
void acceptor_stop(struct acceptor *a);
/* Connected clients that the listeners have not accepted. Asks the kernel. */
size_t acceptor_queued(const struct acceptor *a);
/* Closes the listeners now. Accepts NULL. */
void acceptor_close(struct acceptor *a);
/* "host:port" as bound, also when it was closed; NULL past the end. */
const char *acceptor_address(const struct acceptor *a, size_t i);
size_t acceptor_listeners(const struct acceptor *a);
/* After acceptor_close. Accepts NULL. */
void acceptor_free(struct acceptor *a);

#endif
