/* Which records are about an object: a list for each cluster that has an object of that name.
 *
 * A fleet gives its objects the same names, and one store may hear of all its clusters. So under the key of an object, which
 * leaves the cluster out as questions do, are no records but clusters, by the number that they get when they are first
 * heard of; the records are under a key of both. What is said of an object in one cluster then costs nothing where another
 * cluster's is looked at.
 *
 * Invariants: a cluster is under an object's key exactly if there are records under the key of both. Numbers of clusters
 * are given for the life of the process and do not outlive it.
 */
#include <stdlib.h>

#include "store/store_priv.h"

/* The number of a cluster; 0: it has none, and no record is of it. */
static uint64_t number_of(const struct store *s, uint64_t cluster)
{
    uint64_t number = 0;
    uint64_t last;

    return index_ends(s->index, key_of_cluster(cluster), &number, &last) ? number : 0;
}

static bool cluster_add(struct store *s, uint64_t cluster)
{
    if (s->n_clusters == s->cap_clusters) {
        size_t cap = s->cap_clusters ? s->cap_clusters * 2 : 4;
        uint64_t *clusters = realloc(s->clusters, cap * sizeof *clusters);
        if (!clusters)
            return false;
        s->clusters = clusters;
        s->cap_clusters = cap;
    }
    if (!index_set(s->index, key_of_cluster(cluster), s->n_clusters + 1))
        return false;
    s->clusters[s->n_clusters++] = cluster;
    return true;
}

bool store_object_add(struct store *s, uint64_t object, uint64_t cluster, uint64_t seq)
{
    uint64_t key = key_of_object_in(object, cluster);
    uint64_t first;
    uint64_t last;

    if (!index_ends(s->index, key, &first, &last) &&
        ((number_of(s, cluster) == 0 && !cluster_add(s, cluster)) ||
         !index_add(s->index, object, number_of(s, cluster))))
        return false;
    return index_add(s->index, key, seq);
}

void store_object_remove(struct store *s, uint64_t object, uint64_t cluster, uint64_t seq)
{
    uint64_t key = key_of_object_in(object, cluster);
    uint64_t first;
    uint64_t last;

    index_remove(s->index, key, seq);
    if (!index_ends(s->index, key, &first, &last))
        index_remove(s->index, object, number_of(s, cluster));
}

bool store_object_clusters(const struct store *s, uint64_t object, struct seqs *clusters)
{
    if (!index_get(s->index, object, clusters))
        return false;
    for (size_t i = 0; i < clusters->n; i++)
        clusters->at[i] = s->clusters[clusters->at[i] - 1];
    return true;
}
