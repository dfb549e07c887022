/* Addresses of a name, without blocking the loop. */
#ifndef FES_K8S_LOOKUP_PRIV_H
#define FES_K8S_LOOKUP_PRIV_H

#include <netinet/in.h>
#include <stddef.h>

struct event_base;
struct evdns_base;
struct k8s_lookup;

#define K8S_MAX_ADDRESSES 8

struct k8s_addresses {
    char text[K8S_MAX_ADDRESSES][INET6_ADDRSTRLEN];
    size_t n;
};

/* found is borrowed for the call; when it is empty, why says so. Once, perhaps from inside k8s_lookup_start. */
typedef void k8s_on_found(void *arg, const struct k8s_addresses *found, const char *why);

/* Asks /etc/hosts and the name servers. *dns is made when it is NULL. Returns what k8s_lookup_cancel takes while the
 * answer is awaited, NULL when on_found was called already. */
struct k8s_lookup *k8s_lookup_start(struct event_base *base, struct evdns_base **dns, const char *name,
                                    k8s_on_found *on_found, void *arg);
/* on_found will not be called. */
void k8s_lookup_cancel(struct k8s_lookup *l);

#endif
