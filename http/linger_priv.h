/* The end of a connection whose request was refused before evhttp had it. */
#ifndef FES_HTTP_LINGER_PRIV_H
#define FES_HTTP_LINGER_PRIV_H

#include <stdbool.h>

struct bufferevent;
struct tls_conn;

struct lingering {
    struct bufferevent *bev;
    struct tls_conn *tls;      /* NULL: plain text */
    void (*on_end)(void *arg); /* the client has gone; frees the connection */
    void *arg;
};

/* Takes the bufferevent over, answers, and drops what comes until the client goes. *linger lives as long as bev. */
void linger_begin(struct lingering *linger, int status, const char *why, bool head_only);
/* Drops what was received. */
void linger_drain(struct bufferevent *bev);

#endif
