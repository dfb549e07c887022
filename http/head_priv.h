/* The strict reading of one HTTP/1.1 request head, byte by byte. Pure; no allocation, no I/O.
 *
 * It decides whether a head may be shown to evhttp, and where the request ends. It keeps nothing of the head
 * but what that needs. However the bytes are split over calls, the verdict is the same.
 */
#ifndef FES_HTTP_HEAD_PRIV_H
#define FES_HTTP_HEAD_PRIV_H

#include "store/str.h"

enum head_verdict {
    HEAD_MORE,    /* well-formed so far */
    HEAD_DONE,    /* complete; body_bytes of body follow */
    HEAD_REFUSED, /* status and why say the answer; nothing after this byte can be trusted */
};

#define HEAD_NAME_MAX 20 /* longer than every field name and method that matters */

struct head {
    uint8_t state;  /* enum head_state of head.c; 0 before the first byte */
    uint8_t method; /* enum head_method of head.c */
    uint8_t field;  /* enum head_field of head.c */
    uint8_t at;     /* position in what is being matched: name, version, value */
    bool has_host;
    bool has_length;
    bool has_expect;
    bool http11;
    bool is_head;       /* HEAD: answers have no body */
    bool value_started; /* a byte of the value other than white space was seen */
    bool value_ended;   /* white space after it */
    uint32_t bytes;     /* of this head so far */
    uint32_t lines;
    uint64_t body_bytes;
    char name[HEAD_NAME_MAX]; /* lower case for fields */
    enum head_verdict verdict;
    int status;      /* when HEAD_REFUSED */
    const char *why; /* static text */
};

/* Starts over. */
void head_init(struct head *h);
/* Reads up to the end of the head, or to the byte that is refused; returns the bytes read. Must not be called
 * again before head_init once the verdict is not HEAD_MORE. */
size_t head_feed(struct head *h, struct str bytes);

#endif
