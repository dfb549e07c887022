/* GET /verdict and GET /wait: the answer to a question, now or when it is decided.
 *
 * The query parameters are those of a question (store/question.h); unknown, repeated and malformed ones are 400.
 *
 *   /verdict  200 and the verdict as it is now. `timeout` means nothing here.
 *   /wait     200 succeeded; 409 failed, or ambiguous; 410 superseded; 408 still waiting at the timeout; 503 with
 *             Retry-After still waiting at shutdown, or too many wait already. HEAD is 405.
 *
 * The body is the verdict (http/verdict_json.h); with "Accept: text/plain" it is the explanation, one line.
 */
#ifndef FES_HTTP_WAIT_H
#define FES_HTTP_WAIT_H

#include "http/server.h"
#include "store/units.h"
#include "store/waiters.h"

#define WAIT_MAX_CLIENTS 10000 /* beyond: 503 */
#define WAIT_DEFAULT_MS  INT64_C(30000)
#define WAIT_MAX_MS      INT64_C(3600000)

struct event_base;
struct wait;

/* Registers the routes. Until wait_set_store every request is answered 503 with Retry-After. now() gives the time.
 * The server outlives it. NULL when out of memory. */
struct wait *wait_new(struct http_server *server, struct event_base *base, struct moment (*now)(void));
/* Both outlive it. Answers are given from waiters_run, which must run at the end of each loop turn. */
void wait_set_store(struct wait *w, struct store *store, struct waiters *waiters);
/* Lets every client go: each gets its answer in the next turns, 503 where it is still waiting. So do those that come
 * later. */
void wait_shutdown(struct wait *w);
/* Forgets the clients that are left, without an answer. Accepts NULL. */
void wait_free(struct wait *w);
/* Clients that wait now. */
size_t wait_clients(const struct wait *w);
struct metric_source wait_metrics(struct wait *w);

#endif
