/* Name lookups by evdns (see lookup_priv.h).
 *
 * evdns calls back exactly once, also after a cancel, and perhaps from inside the call that asks. So what it holds is a
 * small object of its own, freed in that callback; a cancel only makes it forget whom to tell.
 */
#include "k8s/lookup_priv.h"

#include <event2/dns.h>
#include <event2/util.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>

struct k8s_lookup {
    struct evdns_getaddrinfo_request *request;
    k8s_on_found *on_found; /* NULL: cancelled */
    void *arg;
};

static void on_resolved(int result, struct evutil_addrinfo *list, void *arg)
{
    struct k8s_lookup *l = arg;
    struct k8s_addresses found = {.n = 0};

    for (struct evutil_addrinfo *a = list; a && found.n < K8S_MAX_ADDRESSES; a = a->ai_next)
        if (getnameinfo(a->ai_addr, (socklen_t)a->ai_addrlen, found.text[found.n], INET6_ADDRSTRLEN, NULL, 0,
                        NI_NUMERICHOST) == 0)
            found.n++;
    if (list)
        evutil_freeaddrinfo(list);
    if (l->on_found)
        l->on_found(l->arg, &found, result ? evutil_gai_strerror(result) : "no address");
    free(l);
}

struct k8s_lookup *k8s_lookup_start(struct event_base *base, struct evdns_base **dns, const char *name,
                                    k8s_on_found *on_found, void *arg)
{
    static const struct k8s_addresses none = {.n = 0};
    struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    struct k8s_lookup *l = calloc(1, sizeof *l);

    if (!*dns)
        *dns = evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!*dns || !l) {
        free(l);
        on_found(arg, &none, "no resolver");
        return NULL;
    }
    l->on_found = on_found;
    l->arg = arg;
    struct evdns_getaddrinfo_request *request = evdns_getaddrinfo(*dns, name, NULL, &hints, on_resolved, l);
    if (!request)
        return NULL; /* on_resolved was called, and l is gone */
    l->request = request;
    return l;
}

void k8s_lookup_cancel(struct k8s_lookup *l)
{
    l->on_found = NULL;
    evdns_getaddrinfo_cancel(l->request);
}
