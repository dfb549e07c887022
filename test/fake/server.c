/*
 * The listener of the fake API server, and the lists of its connections.
 *
 * A pause closes the port (connections are refused) or leaves it to the kernel's backlog (connected, never
 * served); both end by themselves, because the control endpoints are behind the same port.
 */
#include "test/fake/http_internal.h"

#include <netinet/tcp.h>
#include <stdlib.h>

#include <arpa/inet.h>
#include <event2/bufferevent_ssl.h>

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *server = arg;
    (void)fd;
    (void)what;
    while (!LIST_EMPTY(&server->dead)) {
        struct http_conn *conn = LIST_FIRST(&server->dead);
        LIST_REMOVE(conn, link);
        http_conn_free(conn);
    }
}

static struct bufferevent *new_bev(struct http_server *server, evutil_socket_t fd)
{
    if (server->config.ssl_ctx == NULL) {
        return bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
    }
    SSL *ssl = SSL_new(server->config.ssl_ctx);
    return ssl == NULL ? NULL
                       : bufferevent_openssl_socket_new(server->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                        BEV_OPT_CLOSE_ON_FREE);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
                      int peer_bytes, void *arg)
{
    struct http_server *server = arg;
    int on = 1;
    (void)listener;
    (void)peer;
    (void)peer_bytes;
    struct bufferevent *bev = server->stats.open >= HTTP_MAX_CONNECTIONS ? NULL : new_bev(server, fd);
    if (bev == NULL) {
        evutil_closesocket(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    http_conn_start(server, bev);
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    (void)listener;
    http_server_pause(arg, true, 100); /* out of descriptors: a level-triggered accept would spin */
}

static const char *listen_now(struct http_server *server)
{
    server->listener = evconnlistener_new_bind(
        server->base, on_accept, server, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC,
        512, (struct sockaddr *)&server->address, sizeof(server->address));
    if (server->listener == NULL) {
        return "cannot listen on that address";
    }
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    return NULL;
}

/* Port 0 becomes a real one. The kernel gives it to nobody else while a socket is bound to it, and refuses connections
 * to it as long as none listens. */
static bool keep_port(struct http_server *server)
{
    socklen_t bytes = sizeof(server->address);
    int on = 1;
    server->kept = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return server->kept >= 0 && setsockopt(server->kept, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
           bind(server->kept, (struct sockaddr *)&server->address, bytes) == 0 &&
           getsockname(server->kept, (struct sockaddr *)&server->address, &bytes) == 0;
}

static const char *open_port(struct http_server *server)
{
    return keep_port(server) ? listen_now(server) : "cannot bind that address";
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *server = arg;
    (void)fd;
    (void)what;
    if (server->listener != NULL) {
        evconnlistener_enable(server->listener);
    } else if (listen_now(server) != NULL) {
        http_server_pause(server, false, 50);
    }
}

void http_server_pause(struct http_server *server, bool stall, int ms)
{
    struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (stall && server->listener != NULL) {
        evconnlistener_disable(server->listener);
    } else if (server->listener != NULL) {
        evconnlistener_free(server->listener);
        server->listener = NULL;
    }
    event_add(server->resume_timer, &wait);
}

struct http_server *http_server_new(struct event_base *base, const struct http_server_config *config,
                                    const char **ret_problem)
{
    struct http_server *server = calloc(1, sizeof(*server));
    server->base = base;
    server->kept = -1;
    server->config = *config;
    server->config.ssl_ctx = NULL;
    http_server_set_ssl_ctx(server, config->ssl_ctx);
    server->reap = event_new(base, -1, 0, on_reap, server);
    server->resume_timer = evtimer_new(base, on_resume, server);
    server->address.sin_family = AF_INET;
    server->address.sin_port = htons(config->port);
    LIST_INIT(&server->alive);
    LIST_INIT(&server->dead);
    *ret_problem = inet_pton(AF_INET, config->address, &server->address.sin_addr) == 1
                       ? open_port(server)
                       : "not a numeric IPv4 address";
    if (*ret_problem != NULL) {
        http_server_free(server);
        return NULL;
    }
    return server;
}

void http_server_free(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    while (!LIST_EMPTY(&server->alive)) {
        http_conn_bury(LIST_FIRST(&server->alive));
    }
    on_reap(-1, 0, server);
    if (server->listener != NULL) {
        evconnlistener_free(server->listener);
    }
    if (server->kept >= 0) {
        evutil_closesocket(server->kept);
    }
    event_free(server->reap);
    event_free(server->resume_timer);
    SSL_CTX_free(server->config.ssl_ctx);
    free(server);
}

uint16_t http_server_port(const struct http_server *server)
{
    return ntohs(server->address.sin_port);
}

void http_server_set_ssl_ctx(struct http_server *server, SSL_CTX *ssl_ctx)
{
    if (ssl_ctx != NULL) {
        SSL_CTX_up_ref(ssl_ctx);
    }
    SSL_CTX_free(server->config.ssl_ctx);
    server->config.ssl_ctx = ssl_ctx;
}

struct http_stats http_server_stats(const struct http_server *server)
{
    return server->stats;
}

void http_server_end_where(struct http_server *server, bool (*pick)(struct http_conn *conn, void *arg),
                           void *arg, enum http_end how)
{
    struct http_conn *next = NULL;
    for (struct http_conn *conn = LIST_FIRST(&server->alive); conn != NULL; conn = next) {
        next = LIST_NEXT(conn, link);
        if (pick(conn, arg)) {
            http_conn_end(conn, how);
        }
    }
}
