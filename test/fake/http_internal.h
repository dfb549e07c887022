/* Shared by server.c (listener, lists) and http.c (connections), and by nobody else. */
#ifndef TEST_FAKE_HTTP_INTERNAL_H
#define TEST_FAKE_HTTP_INTERNAL_H

#include "test/fake/http.h"

#include <netinet/in.h>
#include <sys/queue.h>

#include <event2/bufferevent.h>
#include <event2/listener.h>

enum conn_state { CONN_READING, CONN_ANSWERING, CONN_ENDING };

struct http_conn {
    LIST_ENTRY(http_conn) link;
    struct http_server *server;
    struct bufferevent *bev;
    enum conn_state state;
    enum http_end end; /* while ENDING */
    bool dead;         /* on the list of the dead */
    bool in_input;     /* the input loop is running further up the stack */
    bool continued;    /* "100 Continue" was sent for the coming body */
    struct http_request *request;
    struct http_damage damage;
    size_t sent_bytes; /* of this answer */
    struct evbuffer *pending;
    struct event *piece_timer;
    struct event *idle_timer;
    void (*on_end)(void *arg);
    void *end_arg;
};

LIST_HEAD(conn_list, http_conn);

struct http_server {
    struct event_base *base;
    struct http_server_config config;
    struct sockaddr_in address;
    evutil_socket_t kept; /* bound to it, and never listening: the port stays ours in a pause */
    struct evconnlistener *listener;
    struct event *resume_timer;
    struct event *reap;
    struct conn_list alive;
    struct conn_list dead;
    struct http_stats stats;
};

/* Takes over bev. */
void http_conn_start(struct http_server *server, struct bufferevent *bev);
/* Moves the connection to the dead; it is freed at the end of the turn. */
void http_conn_bury(struct http_conn *conn);
void http_conn_free(struct http_conn *conn);

#endif
