/* The HTTP server: listener, limits, routes, and answers that may come later.
 *
 * Stock evhttp serves behind a guard (guard.c) in the socket's bufferevent, which admits only well-formed
 * HTTP/1.1 heads (RFC 9112). A request is an id: handlers get a struct http_request that is valid during the
 * call only, and answer with the id, at once or later. evhttp may lose the connection meanwhile; an answer to
 * an id that is gone is dropped. No evhttp pointer leaves http/.
 */
#ifndef FES_HTTP_SERVER_H
#define FES_HTTP_SERVER_H

#include "store/flags.h"
#include "store/metric.h"
#include "store/report.h"
#include "store/str.h"

struct auth;
struct evbuffer;
struct event_base;
struct http_server;
struct http_request;

/* Limits, in one place. */
#define HTTP_MAX_HEAD              (16u << 10)          /* request line and headers */
#define HTTP_MAX_HEADS             (UINT64_C(16) << 20) /* all unfinished heads; beyond: the oldest connections end */
#define HTTP_MAX_BODY              (4u << 20)           /* one body; beyond: 413 */
#define HTTP_MAX_BODIES            (UINT64_C(64) << 20) /* all unfinished and queued bodies; beyond: 503 */
#define HTTP_MAX_ANSWERS           (UINT64_C(64) << 20) /* answers that are not yet read; beyond: 503 (not POST) */
#define HTTP_MAX_CONNECTIONS       16384                /* or the descriptor limit less 256 */
#define HTTP_MAX_IDLE              1024 /* idle keep-alive connections; the longest idle is closed first */
#define HTTP_MAX_ADMIN_CONNECTIONS 64   /* to --admin-listen, beside the others */
#define HTTP_HEAD_SECONDS          10   /* deadlines, not idle timers */
#define HTTP_BODY_SECONDS          30
#define HTTP_IDLE_SECONDS          120 /* above the 90 s after which Go clients drop idle connections */
#define HTTP_RETRY_AFTER           2   /* seconds, beside every 503 */

/* Certificate and key make all of `listen` speak TLS, and nothing else; each may be NULL, for none. */
struct tls_config {
    const char *cert_file;
    const char *key_file;
    const char *client_ca_file;
};

struct http_config {
    struct flag_list listen; /* ":8080" both families, "0.0.0.0:8080", "[::]:8080", "127.0.0.1:0" */
    struct flag_list
        admin_listen; /* the same; serves http_route_open and http_route_admin alone, never by TLS */
    struct tls_config tls;
};
extern const struct flag http_flags[]; /* fill a struct http_config */

#define HTTP_ERROR 256
/* Looks at the flags and the files they name, for --check: nothing is bound. False with one line in err. */
bool http_config_check(const struct http_config *config, const struct reporter *reporter,
                       char err[static HTTP_ERROR]);
/* Binds and listens at once, so that clients get 503 and Retry-After while the rest starts. NULL with one
 * line in err that names the address or the file. base, config and reporter outlive the server. */
struct http_server *http_server_new(struct event_base *base, const struct http_config *config,
                                    const struct reporter *reporter, char err[static HTTP_ERROR]);
/* Closes the connections that wait for a next request and have not begun to send it, and the listeners, once they have
 * accepted who is connected already; the others go on to be answered, and their connections end with the answer (RFC 9112
 * section 9.6). */
void http_server_stop_accepting(struct http_server *s);
/* Reads the files of TLS again now (SIGHUP); they are also read again when they change. */
void http_server_reload(struct http_server *s);
/* Bytes of bodies that a handler keeps until it answers: they count against HTTP_MAX_BODIES until this says otherwise.
 */
void http_server_set_queued(struct http_server *s, uint64_t bytes);
/* Bytes of answers that their clients have not yet read. */
uint64_t http_server_answer_bytes(const struct http_server *s);
/* Requests accepted and not yet answered completely. */
size_t http_server_pending(const struct http_server *s);
/* Connections to which an answer is owed: a request is being answered or received, or, when the server stops, they are not
 * yet accepted. For the end: it looks at each. */
size_t http_server_unanswered(const struct http_server *s);
/* The body of a stored record does not have its checksum, and is left out of an answer: says so, at most once a second. */
void http_server_report_damaged(struct http_server *s, uint64_t id);
/* Log lines of one kind are written at most once a second. How many had none since then is told by the next one, or within
 * seconds; for the end, by this. */
void http_server_tell_rest(struct http_server *s);
struct metric_source http_server_metrics(struct http_server *s);
/* Ends what is left and frees; answers given afterwards are the caller's mistake, so close the store, which completes
 * appends, first. Accepts NULL. */
void http_server_free(struct http_server *s);
/* The i-th bound address as "host:port", for logs and tests; NULL past the end. Owned by the server. */
const char *http_server_address(const struct http_server *s, size_t i);
/* What it speaks and serves, for the same. */
const char *http_server_protocol(const struct http_server *s, size_t i);

/* A handler answers r's id exactly once, before it returns or later. */
typedef void http_handler(void *arg, struct http_request *r);
enum http_method {
    HTTP_GET,      /* serves HEAD too */
    HTTP_GET_ONLY, /* HEAD is refused: for answers that have to be waited for */
    HTTP_POST,
};
/* path: exact, or ending in "/{id}", which matches one more segment. Routes are fixed before the loop runs. A known path
 * with another method is answered 405 with Allow, an unknown path 404. False when out of memory. */
bool http_route(struct http_server *s, enum http_method method, const char *path, http_handler *handler,
                void *arg);
/* The same for a probe: it is served to everybody, on every listener. */
bool http_route_open(struct http_server *s, enum http_method method, const char *path, http_handler *handler,
                     void *arg);
/* The same for what is the operator's alone: it is served to everybody, on --admin-listen only where there is one. */
bool http_route_admin(struct http_server *s, enum http_method method, const char *path, http_handler *handler,
                      void *arg);
/* From now on a request that auth does not let through is answered 401 before its handler sees it, so that no
 * route is left open by mistake. POST asks for AUTH_POST, every other method for AUTH_READ. auth outlives the server;
 * NULL: everybody may do everything. */
void http_server_set_auth(struct http_server *s, struct auth *auth);

uint64_t http_request_id(const struct http_request *r);
struct str http_request_segment(const struct http_request *r); /* what {id} matched, undecoded; else empty */
struct str http_request_header(const struct http_request *r, const char *name); /* empty when absent */
struct str http_request_body(const struct http_request *r);
/* The query, percent-decoded, in order; borrowed until the handler returns. '+' stays '+': revisions such as
 * "1.2.3+abc" are written by hand, and forms are not served here. False (with a sentence in err) on a bad escape or
 * more than HTTP_MAX_PARAMS. */
#define HTTP_MAX_PARAMS 64
struct http_param {
    struct str name;
    struct str value;
};
bool http_request_params(struct http_request *r, const struct http_param **ret, size_t *ret_n,
                         char err[static HTTP_ERROR]);

/* For paths without parameters: true when the query has none; else answers 400. */
bool http_without_params(struct http_server *s, struct http_request *r);

struct http_reply {
    int status;
    const char *type;      /* Content-Type; NULL: application/json */
    struct str body;       /* copied */
    struct evbuffer *text; /* instead of body, for long ones: its content is moved out of it; or NULL */
    const char *link;      /* Link header or NULL */
    int retry_after_s;     /* 0: none */
};
void http_reply(struct http_server *s, uint64_t id, const struct http_reply *reply);
/* For answers that come much later: calls on_gone when the client goes away before its answer; after that there is
 * nothing to answer. Fires at most once, from the loop, not after http_reply and not from http_server_free. Call it in
 * the handler. False when out of memory; the answer is owed all the same. */
typedef void http_on_gone(void *arg, uint64_t id);
bool http_watch_client(struct http_server *s, uint64_t id, http_on_gone *on_gone, void *arg);
/* {"error":"<one line>"}; 503 carries Retry-After. Counted and logged as refused. */
void http_reply_error(struct http_server *s, uint64_t id, int status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* 400 for what is wrong with a request; 503 where `why` is that of a parser that got no memory. */
void http_reply_refused(struct http_server *s, uint64_t id, const char *why);

#endif
