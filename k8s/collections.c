/* The versions of one resource (see collections_priv.h).
 *
 * A version that worked and is gone makes way for a newer one when a cluster is upgraded: the search begins with the
 * preferred one again. A 403 is said of a resource whatever its version, so it ends the search. Failure modes: none
 * but memory.
 */
#include "k8s/collections_priv.h"

#include <stdlib.h>

bool k8s_collections_init(struct k8s_collections *c, const struct k8s_watch_options *options, size_t longest)
{
    *c = (struct k8s_collections){0};
    for (; c->n < options->n_collections; c->n++) {
        c->path[c->n] =
            strlen(options->collections[c->n]) <= longest ? strdup(options->collections[c->n]) : NULL;
        if (!c->path[c->n])
            return false;
    }
    return true;
}

void k8s_collections_free(struct k8s_collections *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->path[i]);
    c->n = 0;
}

const char *k8s_collections_now(const struct k8s_collections *c)
{
    return c->path[c->at];
}

bool k8s_collections_next(struct k8s_collections *c, int status, bool worked)
{
    bool again = worked && c->at > 0;
    bool next = status == 404 && !again && c->at + 1 < c->n && c->rounds == 0;

    c->rounds = next || again ? 0 : (c->rounds + 1) % K8S_WATCH_ROUNDS;
    c->at = next ? c->at + 1 : 0;
    return next || again;
}
