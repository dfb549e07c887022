/* The versions of one resource, of which a watch uses the first that is served. */
#ifndef FES_K8S_COLLECTIONS_PRIV_H
#define FES_K8S_COLLECTIONS_PRIV_H

#include "k8s/watch.h"

struct k8s_collections {
    char *path[K8S_WATCH_MOST]; /* the preferred one first */
    size_t n;
    size_t at;       /* which one is asked for, or watched */
    unsigned rounds; /* in which none was found, since the last full one */
};

/* Copies the paths. False: out of memory, or one is longer than `longest`; free it all the same. */
bool k8s_collections_init(struct k8s_collections *c, const struct k8s_watch_options *options, size_t longest);
void k8s_collections_free(struct k8s_collections *c);

const char *k8s_collections_now(const struct k8s_collections *c);
/* The present one was answered 404 or 403; `worked`: it was readable before. True: ask for the one that is now the
 * present one at once. False: none is left, and the first is the next to be asked for; the others are asked for in each
 * K8S_WATCH_ROUNDS-th round only, so that what is absent costs about one request each time. */
#define K8S_WATCH_ROUNDS 10
bool k8s_collections_next(struct k8s_collections *c, int status, bool worked);

#endif
