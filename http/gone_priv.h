/* Notices that a client has gone while nobody reads from its socket.
 *
 * evhttp does not read while it waits for the answer to a request, so a client that hangs up during a long wait would
 * be noticed only when its answer is written.
 */
#ifndef FES_HTTP_GONE_PRIV_H
#define FES_HTTP_GONE_PRIV_H

#include <stdbool.h>

struct event_base;
struct gone;

/* on_gone fires at most once, from the loop: the peer has closed its side, or the connection is broken. It may call
 * gone_free. A peer that shuts down its sending side only is taken for gone too: servers in common use do so, and no
 * HTTP client does it. NULL when out of memory. */
struct gone *gone_new(struct event_base *base, int fd, void (*on_gone)(void *arg), void *arg);
/* Must come before anybody reads from the socket again. Accepts NULL. */
void gone_free(struct gone *gone);

#endif
