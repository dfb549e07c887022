/* POST /events, GET /events, GET /events/{id}: the store over HTTP. */
#ifndef FES_HTTP_EVENTS_H
#define FES_HTTP_EVENTS_H

#include "http/server.h"
#include "store/store.h"

struct events;
struct stream;

/* Registers the routes. The store may come later (NULL: it is still opening): until events_set_store every
 * request is answered 503 with Retry-After. now_ms() gives the wall clock. NULL when out of memory. */
struct events *events_new(struct http_server *server, int64_t (*now_ms)(void),
                          const struct reporter *reporter);
void events_set_store(struct events *e, struct store *store);
/* What serves GET /events as a stream and as an export. Before the first request; it outlives the events. */
void events_set_stream(struct events *e, struct stream *stream);
/* After store_close: until then the store may complete appends that were made here. */
void events_free(struct events *e);

#endif
