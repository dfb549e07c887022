/* What events.c and list.c share. */
#ifndef FES_HTTP_EVENTS_PRIV_H
#define FES_HTTP_EVENTS_PRIV_H

#include "http/events.h"
#include "store/event_json.h"
#include "store/filter.h"

#include <sys/queue.h>

/* A page of GET /events. */
#define LIST_MAX_BYTES (UINT64_C(4) << 20)
/* What one turn of the loop does for a list. */
#define LIST_TURN_RECORDS 1000 /* looked at */
#define LIST_TURN_ANSWERS 32   /* of these, written out as JSON */
#define LIST_TURN_BYTES   ((size_t)128 << 10)
#define LIST_MAX_RUNNING  256 /* lists being gathered; each may hold a page */

#define EVENTS_UNREAD "the store cannot be read: try again"

struct list;
TAILQ_HEAD(lists, list);

struct events {
    struct http_server *server;
    struct store *store;   /* NULL while it opens */
    struct stream *stream; /* NULL: none */
    int64_t (*now_ms)(void);
    const struct reporter *reporter;
    struct lists lists;
    size_t n_lists;
    uint64_t gathered; /* bytes of lists that are not yet answered */
};

/* Answers 503 and returns true while there is no store. */
bool events_not_ready(struct events *e, struct http_request *r);

/* Whether records take up HTTP_MAX_ANSWERS already: gathered, or answered to clients that do not read. */
bool events_crowded(const struct events *e);
/* Answers 503 and returns true when so. */
bool events_too_crowded(struct events *e, struct http_request *r);

/* The filter that a request's query asks for. NULL with one line in err. */
struct filter *events_filter(struct http_request *r, int64_t now_ms, char err[static HTTP_ERROR]);

/* The handler of GET /events. arg: struct events. */
void list_serve(void *arg, struct http_request *r);
void list_free_all(struct events *e);

#endif
