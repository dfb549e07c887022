/* What server.c, request.c and listen.c share. */
#ifndef FES_HTTP_SERVER_PRIV_H
#define FES_HTTP_SERVER_PRIV_H

#include "http/guard_priv.h"
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

/* Routes: method and path -> handler. route.c. */
struct route {
    const char *method;
    const char *path;
    http_handler *handler;
    void *arg;
    bool is_open; /* asks for no signature and no token */
};
#define HTTP_MAX_ROUTES 32
struct routes {
    struct route at[HTTP_MAX_ROUTES];
    size_t n;
};
bool routes_add(struct routes *routes, const struct route *route);
/* Fills the request's segment. NULL: none. */
const struct route *routes_find(const struct routes *routes, struct http_request *r);
/* The methods of a path, for Allow; nothing when the path is unknown. */
void routes_allowed(const struct routes *routes, struct str path, struct text *allow);

/* A listening, non-blocking socket for "host:port", or -1 with one line in err. listen.c. */
int listen_on(const char *address, char err[static HTTP_ERROR]);
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
