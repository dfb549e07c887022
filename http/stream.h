/* GET /events as a stream (Accept: text/event-stream) and as an export (Accept: application/x-ndjson).
 *
 * A stream sends what is stored after a position, then each new record as it becomes durable: Server-Sent Events (WHATWG
 * HTML section 9.2) whose `id:` is the record's id and whose `data:` is the record as GET /events shows it. The position is
 * the header Last-Event-ID, else `after`, else the newest record: then only new ones are sent. 0 is the beginning.
 *
 *   410  the position is no longer stored, or something after it is not (retention), or it is beyond the newest record
 *        (another store, or one that was emptied): the client would miss records without knowing
 *   503  STREAM_MAX_CLIENTS are there, the store is being opened, or the process ends; with Retry-After
 *   405  HEAD of a stream
 *   400  as for a list; also for `limit` and `order`, which are for pages
 *
 * Every STREAM_BEAT_MS a comment is sent, and with it, as an `id:` without data, the position reached, where records that
 * the filter left out have moved it on: so a client that wants little does not come back with a position that is gone.
 * What is coalesced onto a record that was sent is not sent again.
 *
 * An export sends the lines of store/transfer.h for all records that pass the filter, up to the newest of when it began;
 * one that does not end with its trailer is not complete. It is cut where a record is damaged or the store cannot be read;
 * a stream leaves out the one, and tries again until the other is over.
 *
 * A reader that takes nothing for STREAM_STALL_MS while something waits for it is cut; a stream can be resumed.
 */
#ifndef FES_HTTP_STREAM_H
#define FES_HTTP_STREAM_H

#include "http/server.h"
#include "store/metric.h"
#include "store/store.h"
#include "store/units.h"

#define STREAM_MAX_CLIENTS  1024                       /* exports included; beyond: 503 */
#define STREAM_CLIENT_BYTES ((size_t)256 << 10)        /* waiting for one client, and one record more */
#define STREAM_MAX_BYTES    (UINT64_C(64) << 20)       /* of all encoded records that wait for clients */
#define STREAM_BEHIND_BYTES (STREAM_MAX_BYTES / 4 * 3) /* beyond, those behind wait; live ones go on */
#define STREAM_BEAT_MS      INT64_C(15000)
#define STREAM_STALL_MS     INT64_C(30000)
/* What one turn of the loop does for all clients. */
#define STREAM_TURN_RECORDS 1000               /* looked at */
#define STREAM_TURN_BYTES   ((size_t)32 << 10) /* encoded, or one record */
/* While events come in, those behind get no more than this in a row, and then the loop rests from them. */
#define STREAM_ROW_BYTES ((size_t)448 << 10)
#define STREAM_REST_MS   1            /* by a clock that may tick every 4 ms only */
#define STREAM_BUSY_MS   INT64_C(100) /* so long after an event, others are expected */

struct stream;

/* Registers no route: GET /events is that of http/events.h, which hands requests over. now() gives the time. The server and
 * the reporter outlive it. NULL when out of memory. */
struct stream *stream_new(struct http_server *server, struct moment (*now)(void),
                          const struct reporter *reporter);
/* Until then every request is answered 503. The store outlives it. */
void stream_set_store(struct stream *s, struct store *store);
/* Ends all streams; exports go on. Those that come later are answered 503. */
void stream_shutdown(struct stream *s);
/* Breaks what is left. Accepts NULL. */
void stream_free(struct stream *s);
/* Clients now, exports included. */
size_t stream_clients(const struct stream *s);

struct metric_source stream_metrics(struct stream *s);

#endif
