/* Bytes on their way to clients, shared by any number of answers.
 *
 * A piece is a row of HTTP chunks (RFC 9112 section 7.1), each with its framing, so that any run of them can be sent as it
 * is. It lives as long as somebody holds it, answers included.
 */
#ifndef FES_HTTP_PIECE_PRIV_H
#define FES_HTTP_PIECE_PRIV_H

#include "store/event_json.h"

struct evbuffer;
struct piece;
struct piece_pool; /* counts the memory of the pieces made in it */

/* NULL when out of memory. */
struct piece_pool *piece_pool_new(void);
/* Its pieces may outlive it. Accepts NULL. */
void piece_pool_free(struct piece_pool *pool);
uint64_t piece_pool_bytes(const struct piece_pool *pool);

/* One chunk: begin, append its content (at least a byte), end with what begin returned. False when out of memory: then
 * nothing was appended, or out is to be cut back to where it began. */
bool chunk_begin(struct json_out *out, size_t *ret_begin);
bool chunk_end(struct json_out *out, size_t begin);

/* Takes over the memory of `chunks` and leaves it empty. NULL when out of memory: then it is untouched. */
struct piece *piece_new(struct piece_pool *pool, struct json_out *chunks);
void piece_drop(struct piece *p);
/* The chunks from `from` up to `to` as they are sent; valid as long as the piece. */
struct str piece_bytes(const struct piece *p, size_t from, size_t to);
/* Adds the chunks from `from` up to `to` to what is to be written, without copying; not framed: their content alone, for
 * HTTP/1.0. Framed, `from` may lie anywhere. False when out of memory. */
bool piece_send(struct piece *p, size_t from, size_t to, bool framed, struct evbuffer *output);

#endif
