/* One connection to the API server: one request at a time, opened when needed and kept while it lasts. */
#ifndef FES_K8S_CONNECTION_PRIV_H
#define FES_K8S_CONNECTION_PRIV_H

#include <event2/http.h>

#include "k8s/client.h"
#include "k8s/creds_priv.h"

struct evbuffer;
struct evdns_base;
struct k8s_connection;

/* What all connections share. */
struct k8s_connector {
    struct event_base *base;
    struct k8s_creds *creds;
    struct evdns_base *dns; /* NULL until a name is looked up */
    uint64_t connects;
    int64_t
        broken_ms; /* when a connection broke last: one that was silent since may be dead too, and is not reused */
};

struct k8s_answer {
    int status;             /* 0: none, or it broke off */
    int64_t retry_after_ms; /* -1: none given */
    struct evbuffer *body;  /* borrowed for the call; its content may be taken */
    const char *error;      /* when status is 0 */
    enum k8s_fault fault;   /* the same */
    bool too_long;          /* with status 0: there is an answer, but a longer one than may be */
};

struct k8s_exchange {
    enum evhttp_cmd_type method;
    const char *path;
    struct str body;          /* sent when content_type is not NULL */
    const char *content_type; /* static */
    int64_t connect_ms;       /* to be connected and verified */
    int64_t deadline_ms;      /* from then to the end of the answer; 0: none */
    int64_t silence_ms;       /* longest time without a byte of the answer; 0: any */
    size_t most;              /* bytes of the answer, or with on_data: of one piece */
    /* The answer began. May be NULL. */
    void (*on_head)(void *arg, int status);
    /* Pieces of a 200 answer as they come; what is left in data is dropped. NULL: the body comes with
     * on_answer. Called from inside the connection: must not send, close or free it. */
    void (*on_data)(void *arg, struct evbuffer *data);
    /* Exactly once unless the connection is closed before, never from inside k8s_connection_send. May send
     * again, close and free the connection. */
    void (*on_answer)(void *arg, const struct k8s_answer *answer);
    void *arg;
};

/* connector is borrowed for the life of the connection. NULL when out of memory. */
struct k8s_connection *k8s_connection_new(struct k8s_connector *connector);
/* Accepts NULL. A request under way ends without a callback. */
void k8s_connection_free(struct k8s_connection *c);
void k8s_connection_close(struct k8s_connection *c);

/* Sends a request; none may be under way. path and body are borrowed until on_answer. A connection that the
 * server had closed meanwhile is replaced and the request repeated, once, when no byte of an answer came; so
 * it is after a 401 when there is another token. */
void k8s_connection_send(struct k8s_connection *c, const struct k8s_exchange *exchange);

bool k8s_connection_is_warm(const struct k8s_connection *c);
void k8s_connection_set_silence(struct k8s_connection *c, int64_t silence_ms);

#endif
