/* The address of an API server. Pure. */
#ifndef FES_K8S_URL_PRIV_H
#define FES_K8S_URL_PRIV_H

#include "store/str.h"

#define K8S_HOST_TEXT 256

struct k8s_url {
    bool tls;
    bool literal; /* the host is an IP address, not a name */
    uint16_t port;
    char host[K8S_HOST_TEXT]; /* without brackets */
    char authority[K8S_HOST_TEXT +
                   16];            /* for the Host header: brackets kept, port unless it is the scheme's */
    char text[K8S_HOST_TEXT + 32]; /* for people */
};

/* http(s)://host[:port], with or without a slash at the end, and nothing else: no path, no user, no query. */
bool k8s_url_parse(struct str s, struct k8s_url *ret);
/* https:// with a host that may be an IPv6 address without brackets, and a port as text (a pod's
 * environment). */
bool k8s_url_make(const char *host, const char *port, struct k8s_url *ret);

/* Appends s with everything but RFC 3986's unreserved characters escaped, for a query. */
void k8s_url_escape(struct text *t, struct str s);

#endif
