/* Long answers: begun now, sent in pieces as there is something to say and room for it, ended later or never.
 *
 * They pull: what is to be sent stays where it is, until on_progress tells that there is room. Each ends its connection.
 * The head is written at once. A client that goes away is noticed; one that does not read is for the caller to cut.
 */
#ifndef FES_HTTP_LONG_PRIV_H
#define FES_HTTP_LONG_PRIV_H

#include "http/piece_priv.h"
#include "http/server_priv.h"

struct long_answer;

/* Called from the loop. */
struct long_hooks {
    /* The socket took bytes; `unsent` are left. Must neither send, end nor cut. */
    void (*on_progress)(void *arg, size_t unsent);
    /* The client has gone, and the answer with it: it must not be used any more. */
    void (*on_gone)(void *arg);
    void *arg;
};

/* Answers 200 with these headers (ended by a NULL name) and an open end. Valid until on_gone, long_end or long_cut. NULL:
 * nobody is there to answer, or it was answered 503. */
struct long_answer *long_begin(struct http_server *s, uint64_t id, const struct http_header *headers,
                               const struct long_hooks *hooks);
/* Bytes that wait for the socket. */
size_t long_unsent(const struct long_answer *a);
/* See piece_send. */
bool long_send(struct long_answer *a, struct piece *p, size_t from, size_t to);
/* Completes the answer; its connection ends when all is written out, or nothing was taken for 30 s. */
void long_end(struct long_answer *a);
/* Breaks the connection: the client sees that the answer is not complete. */
void long_cut(struct long_answer *a);

#endif
