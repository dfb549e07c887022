/* Shared bytes (see piece_priv.h).
 *
 * A thousand clients of a stream get the same event: it is encoded once, and the output buffer of each refers to it.
 * The count of references is touched on the loop only. What a chunk's length will be is not known when it begins, so its
 * line has a fixed width, with leading zeros.
 *
 * Invariant: a pool is freed with its last piece, so a piece that is freed late, with its connection, finds it.
 */
#include "http/piece_priv.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_HEAD 10 /* "0000beef\r\n" */
#define CHUNK_TAIL 2

struct piece_pool {
    size_t refs; /* of its owner and of its pieces */
    uint64_t bytes;
};

struct piece {
    size_t refs;
    struct piece_pool *pool;
    struct json_out chunks;
};

struct piece_pool *piece_pool_new(void)
{
    struct piece_pool *pool = calloc(1, sizeof *pool);

    if (pool)
        pool->refs = 1;
    return pool;
}

void piece_pool_free(struct piece_pool *pool)
{
    if (pool && --pool->refs == 0)
        free(pool);
}

uint64_t piece_pool_bytes(const struct piece_pool *pool)
{
    return pool->bytes;
}

bool chunk_begin(struct json_out *out, size_t *ret_begin)
{
    *ret_begin = out->len;
    return json_out_add(out, STR("00000000\r\n"));
}

bool chunk_end(struct json_out *out, size_t begin)
{
    char head[CHUNK_HEAD + 1];

    (void)snprintf(head, sizeof head, "%08x\r\n", (unsigned)(out->len - begin - CHUNK_HEAD));
    memcpy(out->at + begin, head, CHUNK_HEAD);
    return json_out_add(out, STR("\r\n"));
}

struct piece *piece_new(struct piece_pool *pool, struct json_out *chunks)
{
    struct piece *p = malloc(sizeof *p);

    if (!p)
        return NULL;
    *p = (struct piece){.refs = 1, .pool = pool, .chunks = *chunks};
    pool->refs++;
    pool->bytes += chunks->cap;
    *chunks = (struct json_out){0};
    return p;
}

void piece_drop(struct piece *p)
{
    if (--p->refs > 0)
        return;
    p->pool->bytes -= p->chunks.cap;
    piece_pool_free(p->pool);
    json_out_free(&p->chunks);
    free(p);
}

struct str piece_bytes(const struct piece *p, size_t from, size_t to)
{
    return (struct str){p->chunks.at + from, to - from};
}

static void on_written(const void *bytes, size_t len, void *arg)
{
    (void)bytes;
    (void)len;
    piece_drop(arg);
}

static bool refer(struct piece *p, size_t from, size_t len, struct evbuffer *output)
{
    p->refs++;
    if (evbuffer_add_reference(output, p->chunks.at + from, len, on_written, p) == 0)
        return true;
    p->refs--;
    return false;
}

bool piece_send(struct piece *p, size_t from, size_t to, bool framed, struct evbuffer *output)
{
    if (framed)
        return refer(p, from, to - from, output);
    while (from < to) {
        size_t len = strtoul(p->chunks.at + from, NULL, 16);
        if (!refer(p, from + CHUNK_HEAD, len, output))
            return false;
        from += CHUNK_HEAD + len + CHUNK_TAIL;
    }
    return true;
}
