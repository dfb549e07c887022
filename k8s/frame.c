/* Newline framing (see frame_priv.h).
 *
 * A watch stream is JSON objects with a newline after each; chunks and TLS records cut it anywhere. The
 * invariant is that the lines given out depend on the bytes alone and not on how they were cut. Each byte is
 * looked at once for a newline, so an object that arrives byte by byte costs no more than one that arrives
 * whole. A large buffer is given back as soon as it is empty: an idle watch holds a few KiB.
 */
#include "k8s/frame_priv.h"

#include <stdlib.h>

#define FRAME_KEEP 16384 /* a buffer of this size is kept while empty */

void k8s_frame_init(struct k8s_frame *f, size_t most)
{
    *f = (struct k8s_frame){.most = most};
}

void k8s_frame_reset(struct k8s_frame *f)
{
    f->start = f->end = f->scanned = 0;
    f->failed = false;
    if (f->cap > FRAME_KEEP) {
        free(f->at);
        f->at = NULL;
        f->cap = 0;
    }
}

void k8s_frame_free(struct k8s_frame *f)
{
    free(f->at);
    *f = (struct k8s_frame){0};
}

static bool make_room(struct k8s_frame *f, size_t len)
{
    size_t held = f->end - f->start;
    size_t cap = f->cap ? f->cap : 4096;

    if (f->start > 0) {
        memmove(f->at, f->at + f->start, held);
        f->scanned -= f->start;
        f->start = 0;
        f->end = held;
    }
    if (len <= f->cap - held)
        return true;
    while (cap - held < len)
        cap *= 2;
    char *bigger = realloc(f->at, cap);
    if (!bigger)
        return false;
    f->at = bigger;
    f->cap = cap;
    return true;
}

bool k8s_frame_add(struct k8s_frame *f, struct str bytes)
{
    if (f->failed)
        return false;
    if (bytes.len == 0)
        return true;
    if (f->start == f->end)
        k8s_frame_reset(f);
    if (bytes.len > SIZE_MAX / 4 || !make_room(f, bytes.len)) {
        f->failed = true;
        return false;
    }
    memcpy(f->at + f->end, bytes.at, bytes.len);
    f->end += bytes.len;
    return true;
}

bool k8s_frame_next(struct k8s_frame *f, struct str *ret_line)
{
    while (!f->failed && f->scanned < f->end) {
        const char *newline = memchr(f->at + f->scanned, '\n', f->end - f->scanned);
        size_t stop = newline ? (size_t)(newline - f->at) : f->end;
        struct str line = {f->at + f->start, stop - f->start};

        if (line.len > f->most) {
            f->failed = true;
            return false;
        }
        f->scanned = stop;
        if (!newline)
            return false;
        f->start = f->scanned = stop + 1;
        if (str_trim(line).len > 0) {
            *ret_line = line;
            return true;
        }
    }
    return false;
}
