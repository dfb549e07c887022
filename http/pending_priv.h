/* The table of requests that wait for their answer: id -> evhttp's request.
 *
 * An id is never used twice, so an answer that comes too late finds nothing.
 */
#ifndef FES_HTTP_PENDING_PRIV_H
#define FES_HTTP_PENDING_PRIV_H

#include <stddef.h>
#include <stdint.h>

struct evhttp_request;
struct pending_slot;

struct pending {
    struct pending_slot *slots;
    uint32_t len; /* slots ever used */
    uint32_t cap;
    uint32_t free; /* index + 1 of the first free slot, 0: none */
    size_t n;      /* in use */
};

/* 0 when out of memory. The table does not own the request. */
uint64_t pending_add(struct pending *p, struct evhttp_request *req);
/* NULL when the id is not (any more) in the table. */
struct evhttp_request *pending_get(const struct pending *p, uint64_t id);
/* Takes it out. */
struct evhttp_request *pending_take(struct pending *p, uint64_t id);
/* Any one, taken out; NULL when the table is empty. For the end. */
struct evhttp_request *pending_take_any(struct pending *p);
void pending_free(struct pending *p);

#endif
