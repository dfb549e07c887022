/* Who we are to the API server, and how we know that it is the API server. */
#ifndef FES_K8S_CREDS_PRIV_H
#define FES_K8S_CREDS_PRIV_H

#include <openssl/types.h>

#include "k8s/client.h"
#include "k8s/url_priv.h"

#define K8S_SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define K8S_MAX_TOKEN       65536
#define K8S_FILES_MS        60000 /* files are looked at no more often, and only when a request is made */

/* What a pod gives its processes. */
struct k8s_pod {
    const char *host;  /* KUBERNETES_SERVICE_HOST; NULL or empty: not in a pod */
    const char *port;  /* KUBERNETES_SERVICE_PORT */
    const char *files; /* folder with token and ca.crt */
};

struct k8s_creds;

/* Reads all files once. NULL with a line in err, as k8s_client_new. config is copied, reporter borrowed for
 * good. */
struct k8s_creds *k8s_creds_new(const struct k8s_config *config, const struct k8s_pod *pod,
                                const struct reporter *reporter, char err[static K8S_ERROR]);
void k8s_creds_free(struct k8s_creds *c);

/* Borrowed for the life of c. */
const struct k8s_url *k8s_creds_url(const struct k8s_creds *c);

/* The token, empty when there is none; borrowed until the next call on c. Read again when its file changed.
 */
struct str k8s_creds_token(struct k8s_creds *c, int64_t now_ms);

/* A TLS client end that verifies the server's chain and its name or address; NULL when out of memory. */
SSL *k8s_creds_ssl(struct k8s_creds *c, int64_t now_ms);

/* Which token that is: counts those that were read. */
uint64_t k8s_creds_token_number(const struct k8s_creds *c);

/* The server answered 401 to a request with token number `sent`: reads the token again. True when there is another one
 * than that, so that a second try makes sense; else this is reported, once until k8s_creds_accepted. */
bool k8s_creds_refused(struct k8s_creds *c, uint64_t sent);
void k8s_creds_accepted(struct k8s_creds *c);

/* The server could not be verified: its CA may have been replaced, so the next connection looks at the files.
 * Returns what it was verified with, for people. */
const char *k8s_creds_unverified(struct k8s_creds *c);

/* Reads all files again. What cannot be read is reported, and the old stays in use. */
void k8s_creds_reload(struct k8s_creds *c);

#endif
