/* What the files of the server share: server.c, answer.c, config.c, long.c, request.c, route.c, listen.c. */
#ifndef FES_HTTP_SERVER_PRIV_H
#define FES_HTTP_SERVER_PRIV_H

#include "http/guard_priv.h"
#include "http/pending_priv.h"
#include "http/server.h"

struct evhttp_request;

/* Valid during the handler's call. request.c. */
struct http_request {
    struct evhttp_request *req;
    uint64_t id;
    struct str path;           /* as sent, without the query */
    struct str query;          /* without '?' */
    struct str segment;        /* what {id} matched */
    struct http_param *params; /* NULL until asked for */
    size_t n_params;
    char *decoded; /* memory behind params */
};
void http_request_init(struct http_request *r, struct evhttp_request *req, uint64_t id);
void http_request_done(struct http_request *r);
/* Whether "close" is among the options of Connection. evhttp knows it only where it is the one option of the first such
 * field, and would go on reading behind a request that its client meant to be the last (RFC 9112, section 9.6). */
bool http_asks_to_close(struct evhttp_request *req);
/* Whether the Accept header names the media type (ranges such as any text do not count: they are no wish). */
bool http_accepts(const struct http_request *r, const char *type);

bool http_request_is_head(const struct http_request *r);

/* Answers. answer.c. */
struct http_header {
    const char *name;
    const char *value;
};
/* To a request that is not (any more) in the table; extra may be NULL. */
void http_send_error(struct http_server *s, struct evhttp_request *req, int status, struct str message,
                     const struct http_header *extra);
/* For a line of the log. */
struct tally_from http_from(struct evhttp_request *req, struct str path);
/* As http_send_error, and counted: a request is refused for a cause. */
void http_refuse(struct http_server *s, struct evhttp_request *req, enum http_cause cause, int status,
                 struct str why, const struct http_header *extra);
/* As http_reply_error, for a cause that the status alone does not tell. */
void http_reply_cause(struct http_server *s, uint64_t id, enum http_cause cause, const char *why);
/* 405 with the methods that are allowed. */
void http_reply_method(struct http_server *s, uint64_t id, const char *allow);
/* A clock that only goes forward. */
int64_t http_mono_ms(void);
struct tally *http_server_tally(struct http_server *s);
struct pending *http_server_requests(struct http_server *s);
/* NULL when the connection has none any more. */
struct guard *http_server_guard(const struct http_server *s, struct evhttp_connection *evcon);
bool http_server_is_stopped(const struct http_server *s);
/* For an answer that is given now. */
const char *http_server_date(struct http_server *s);
/* Whether a handler is running: its request is valid until it returns, answered or not. */
bool http_server_in_request(const struct http_server *s);

/* Routes: method and path -> handler. route.c. */
enum route_access {
    ROUTE_GUARDED = 1, /* on --listen; asks for signature or token */
    ROUTE_OPEN = 2,    /* on every listener, for everybody */
    ROUTE_ADMIN = 4,   /* on --admin-listen, for everybody; where there is none as ROUTE_OPEN */
};
struct route {
    enum http_method method;
    const char *path;
    http_handler *handler;
    void *arg;
    enum route_access access;
};
#define HTTP_MAX_ROUTES 32
struct routes {
    struct route at[HTTP_MAX_ROUTES];
    size_t n;
};
bool routes_add(struct routes *routes, const struct route *route);
/* The route of the kinds in `serves` (a sum of enum route_access). Fills the request's segment. NULL: none. */
const struct route *routes_find(const struct routes *routes, unsigned serves, struct http_request *r);
/* The methods of a path, for Allow; nothing when the path is unknown. */
void routes_allowed(const struct routes *routes, unsigned serves, struct str path, struct text *allow);
#define ROUTES_NONE 512
/* For who asked for another path: a sentence with all of them. */
struct str routes_none(const struct routes *routes, unsigned serves, char out[static ROUTES_NONE]);

/* Of a listener's queue; the kernel lowers it to net.core.somaxconn. */
#define LISTEN_BACKLOG    4096
#define LISTEN_FLAG       "--listen"
#define ADMIN_LISTEN_FLAG "--admin-listen"
/* A listening, non-blocking socket for "host:port", or -1 with one line in err, which begins with the flag. listen.c. */
int listen_on(const char *flag, const char *address, char err[static HTTP_ERROR]);
/* Whether it is written as listen_on wants it. */
bool listen_check(const char *flag, const char *address, char err[static HTTP_ERROR]);
#define LISTEN_NAME 64
/* "host:port" as it was bound. */
void listen_name(int fd, char name[static LISTEN_NAME]);

/* Limits other than those of the contract: for tests. */
struct http_server *http_server_new_limits(struct event_base *base, const struct http_config *config,
                                           const struct reporter *reporter, const struct guard_limits *limits,
                                           char err[static HTTP_ERROR]);
/* The limits of the contract, with the descriptors that the process may have. */
void http_default_limits(struct guard_limits *ret);
struct event_base *http_server_base(const struct http_server *s);
size_t http_server_connections(const struct http_server *s);

#endif
