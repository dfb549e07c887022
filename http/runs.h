/* GET /runs: the Runs that wait, and those that ended lately.
 *
 * http/ knows no Runs. Whoever holds them gives the answer as text, in pieces: one in each turn of the loop, so that
 * ten thousand Runs do not hold it up.
 */
#ifndef FES_HTTP_RUNS_H
#define FES_HTTP_RUNS_H

#include "http/server.h"

#define RUNS_MAX_RUNNING 16 /* answers being made; beyond: 503 */

struct event_base;
struct runs;

/* The next piece of JSON text, which is freed with free(). *position is 0 for the first one, and then as it was left.
 * NULL: out of memory. */
typedef char *runs_piece(void *arg, uint64_t *position, bool *ret_last);

/* Registers the route. NULL when out of memory. */
struct runs *runs_new(struct http_server *server, struct event_base *base, runs_piece *piece, void *arg);
/* Forgets the answers that are being made. Accepts NULL. */
void runs_free(struct runs *runs);

#endif
