/*
 * The wire of the fake API server: HTTP/1.1 over TCP or TLS, on libevent bufferevents.
 *
 * It is not evhttp, because the tests need each byte of an answer in their own hands: a reset in the middle
 * of an object, a chunk that never ends, one byte per TLS record, a TLS end without close_notify.
 *
 * One request is in work per connection. The handler answers at once or later, with http_reply() or with
 * http_stream_begin(), http_stream_write()..., http_stream_end(). All calls belong to the loop's thread.
 */
#ifndef TEST_FAKE_HTTP_H
#define TEST_FAKE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <openssl/ssl.h>

#define HTTP_MAX_HEAD_BYTES   (16u * 1024u)
#define HTTP_MAX_BODY_BYTES   (3u * 1024u * 1024u) /* as a kube-apiserver */
#define HTTP_MAX_OUTPUT_BYTES (64u * 1024u * 1024u)
#define HTTP_MAX_CONNECTIONS  4096u
/* What a kube-apiserver (Go's net/http) sends with a Content-Length; longer answers are chunked. */
#define HTTP_MAX_PLAIN_BYTES 2048u

struct http_server;
struct http_conn;

/* A complete request. Owned by the connection; lives until on_end was called for it. */
struct http_request {
    char method[16];
    char *target; /* as sent: path and query */
    char *path;   /* target up to '?', percent-decoded */
    char *query;  /* after '?', as sent; "" when none */
    char *authorization;
    char *content_type;
    char *user_agent;
    char *body; /* NUL-terminated for convenience; may hold NUL bytes */
    size_t body_bytes;
    bool wants_close;
};

/*
 * Takes one request off `in`. Returns 1 and *ret_request (free with http_request_free), 0 when bytes are
 * still missing (*ret_expects: the client waits for "100 Continue"), or the HTTP status of the refusal with
 * *ret_problem, a static sentence; then the connection cannot go on.
 */
int http_request_read(struct evbuffer *in, struct http_request **ret_request, bool *ret_expects,
                      const char **ret_problem);
void http_request_free(struct http_request *request);
/* The decoded value of a query parameter; caller frees. NULL when absent or not decodable. */
char *http_query(const struct http_request *request, const char *name);

enum http_end {
    HTTP_END_CLEAN, /* close_notify, then FIN */
    HTTP_END_DIRTY, /* FIN only: what a TLS peer must report as truncation */
    HTTP_END_RESET, /* RST */
    HTTP_END_HANG,  /* not ended at all: nothing is sent any more, input is swallowed */
};

enum http_damage_kind {
    HTTP_DAMAGE_NONE,
    HTTP_DAMAGE_CUT,     /* the answer ends after `after_bytes`, in the manner of `end` */
    HTTP_DAMAGE_GARBAGE, /* the same, with bytes that are not HTTP in front of the end */
    HTTP_DAMAGE_DRIBBLE, /* all of the answer, `piece_bytes` per write */
};

#define HTTP_HALF_OF_ANSWER \
    (-1) /* after_bytes: the head and half of the body (a stream: of its first write) */

/* What shall be done to one answer on its way out. */
struct http_damage {
    enum http_damage_kind kind;
    enum http_end end;
    long after_bytes; /* plain bytes from the status line on; or HTTP_HALF_OF_ANSWER */
    size_t piece_bytes;
    int interval_ms; /* between two pieces; 0 = the next turn of the loop */
};

struct http_server_config {
    const char *address; /* numeric, "127.0.0.1" */
    uint16_t port;       /* 0: the kernel chooses */
    SSL_CTX *ssl_ctx;    /* NULL: no TLS; the server takes a reference */
    int idle_ms;         /* keep-alive connections are closed after it; a kube-apiserver has 90 s */
    /* One complete request. Must lead to exactly one answer, now or later. */
    void (*on_request)(struct http_conn *conn, struct http_request *request, void *arg);
    void *arg;
};

/* NULL with *ret_problem (static) on failure. Free with http_server_free, which drops all connections. */
struct http_server *http_server_new(struct event_base *base, const struct http_server_config *config,
                                    const char **ret_problem);
void http_server_free(struct http_server *server);
uint16_t http_server_port(const struct http_server *server);
/* For connections accepted from now on; takes a reference. */
void http_server_set_ssl_ctx(struct http_server *server, SSL_CTX *ssl_ctx);
/* Refuses connections (stall = false: the port is closed; true: the kernel accepts, nobody reads) for ms. */
void http_server_pause(struct http_server *server, bool stall, int ms);

struct http_stats {
    unsigned open;
    unsigned long accepted;
};
struct http_stats http_server_stats(const struct http_server *server);
/* Ends the connections that `pick` names (never one that is already ending). */
void http_server_end_where(struct http_server *server, bool (*pick)(struct http_conn *conn, void *arg),
                           void *arg, enum http_end how);

/*
 * Called exactly once per request: when its answer was handed over, as the last thing http_reply and
 * http_stream_end do; or, when its connection ended first, at the end of that turn. So the arg outlives every
 * other call here.
 */
void http_on_end(struct http_conn *conn, void (*on_end)(void *arg), void *arg);
void *http_end_arg(const struct http_conn *conn);

void http_set_damage(struct http_conn *conn, const struct http_damage *damage);
/* headers: further header lines, each with CRLF, or "". */
void http_reply(struct http_conn *conn, int status, const char *content_type, const char *headers,
                const void *body, size_t body_bytes);
void http_stream_begin(struct http_conn *conn);
/* One chunk per call, or several of at most chunk_bytes (0: no limit). */
void http_stream_write(struct http_conn *conn, const void *data, size_t bytes, size_t chunk_bytes);
void http_stream_end(struct http_conn *conn);
void http_conn_end(struct http_conn *conn, enum http_end how);

#endif
