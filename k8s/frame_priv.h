/* Lines out of a byte stream. Pure. */
#ifndef FES_K8S_FRAME_PRIV_H
#define FES_K8S_FRAME_PRIV_H

#include "store/str.h"

struct k8s_frame {
    char *at;
    size_t cap;
    size_t start;   /* first byte not given out */
    size_t end;     /* one past the last byte */
    size_t scanned; /* no newline between start and here */
    size_t most;    /* longest line */
    bool failed;    /* sticky: a line was too long, or out of memory */
};

void k8s_frame_init(struct k8s_frame *f, size_t most);
/* Forgets what is buffered, and a failure. */
void k8s_frame_reset(struct k8s_frame *f);
void k8s_frame_free(struct k8s_frame *f);

/* Appends; false when the frame has failed. Take all lines out before adding more. */
bool k8s_frame_add(struct k8s_frame *f, struct str bytes);
/* The next complete line without its newline, borrowed until the next call on f. Lines of white space are
 * skipped. */
bool k8s_frame_next(struct k8s_frame *f, struct str *ret_line);

#endif
