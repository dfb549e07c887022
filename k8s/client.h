/* A Kubernetes API client that knows nothing of Runs: requests over a small pool of warm connections.
 *
 * HTTP/1.1 by evhttp over bufferevent_openssl. The server is verified (chain to the CA file, and the name or
 * IP SAN) before a byte of the token is sent. A bound token is read again when its file changes and after a
 * 401. Nothing blocks the loop.
 *
 * One gate per API server: while it cannot be reached one request probes, all others wait their turn.
 */
#ifndef FES_K8S_CLIENT_H
#define FES_K8S_CLIENT_H

#include "store/flags.h"
#include "store/metric.h"
#include "store/report.h"
#include "store/sandbox.h"
#include "store/str.h"

struct event_base;
struct k8s_client;

#define K8S_MAX_IN_FLIGHT   16
#define K8S_MAX_PATIENT     8 /* of these, requests that are not urgent: a status finds a connection at once */
#define K8S_REQUEST_SECONDS 70 /* the API server bounds its own requests at 60 s */
#define K8S_IDLE_SECONDS    80 /* it closes idle connections after 90 s */
#define K8S_CONNECT_SECONDS 5
#define K8S_MAX_ANSWER      (32u << 20) /* a list page; a longer one is refused */
#define K8S_MAX_QUEUED      65536       /* requests waiting; beyond, k8s_request fails */

struct k8s_config {
    const char *api;        /* --kube-api URL; NULL: the pod's environment */
    const char *token_file; /* default in a pod: the service account's */
    const char *ca_file;
    const char *client_cert_file;
    const char *client_key_file;
    bool disabled;               /* --no-kube */
    struct flag_list namespaces; /* --namespace; empty: all */
};
extern const struct flag k8s_flags[]; /* fill a struct k8s_config */

#define K8S_ERROR 512
/* NULL with one line in err that names the flag or file and the mend: neither a pod nor --kube-api; a URL
 * that is not http(s)://host[:port]; an unreadable CA, token or key. No request is made yet. */
struct k8s_client *k8s_client_new(struct event_base *base, const struct k8s_config *config,
                                  const struct reporter *reporter, char err[static K8S_ERROR]);
/* Requests still under way end with status 0. Accepts NULL. */
void k8s_client_free(struct k8s_client *c);
/* Reads token, CA and keys again (SIGHUP). */
void k8s_client_reload(struct k8s_client *c);
/* What a client with this configuration still needs in a sandbox, beside the files of its flags: the API server's port,
 * and the pod's service account. */
void k8s_confine(const struct k8s_config *config, struct sandbox *sandbox);

/* A namespace becomes part of a path: only RFC 1123 labels, as Kubernetes has them. False with one line in err that names
 * the flag. */
bool k8s_namespaces_check(const char *flag, const struct flag_list *names, char err[static K8S_ERROR]);

enum k8s_verb { K8S_GET, K8S_PATCH, K8S_CREATE };

/* Of what kind it is that there was no answer. The first two may mend themselves, the others do not. */
enum k8s_fault {
    K8S_FAULT_NETWORK,     /* or a name that is not found, or time */
    K8S_FAULT_HUNG_UP,     /* connected, and closed by the server before a byte of an answer */
    K8S_FAULT_CERTIFICATE, /* the server's is not trusted, or is another's */
    K8S_FAULT_NOT_TLS,     /* https://, and the server speaks something else */
    K8S_FAULT_TLS,         /* the server refused the handshake, or cannot be agreed with */
    K8S_FAULT_NOT_HTTP,
};

struct k8s_reply {
    int status;             /* HTTP status; 0: no answer (`error` says why) */
    enum k8s_fault fault;   /* with status 0 */
    int64_t retry_after_ms; /* -1: none given */
    struct str body;        /* borrowed for the call */
    const char *error; /* one line for people when status is 0, or the Status message of an error answer */
};
/* Exactly once per request, never from inside k8s_request. */
typedef void k8s_on_reply(void *arg, uint64_t token, const struct k8s_reply *reply);

/* path: "/apis/..." with its query, already escaped; copied, as is body. K8S_PATCH sends
 * application/merge-patch+json. `urgent` requests overtake those that are not (status writes before
 * explanations and Events). Requests are sent once: whether to try again is the caller's decision, except
 * that a request that found a connection closed by the server before a byte of the answer came is repeated
 * once on a new one, and a 401 once with the token read again. on_reply may be NULL. False: the queue is full
 * or out of memory; nothing will fire. */
bool k8s_request(struct k8s_client *c, enum k8s_verb verb, const char *path, struct str body, bool urgent,
                 k8s_on_reply *on_reply, void *arg, uint64_t token);

/* Whether the API server answers, and if not why (borrowed until the next call). For readiness. */
bool k8s_client_reachable(const struct k8s_client *c, const char **ret_why);
/* Requests handed in and not yet answered, watches not counted. */
size_t k8s_client_pending(const struct k8s_client *c);

struct metric_source k8s_client_metrics(struct k8s_client *c);

#endif
