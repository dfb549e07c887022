/* Which records are about an object: a list for each cluster that has an object of that name.
 *
 * A fleet gives its objects the same names, and one store may hear of all its clusters. So under the key of an object, which
 * leaves the cluster out as questions do, are no records but clusters, by the number that they get when they are first
 * heard of; the records are under a key of both. What is said of an object in one cluster then costs nothing where another
 * cluster's is looked at.
 *
 * Invariants: a cluster is under an object's key exactly if there are records under the key of both. A cluster has a number
 * exactly while it has such an object; then the number is free for another: whoever invents clusters takes no memory beyond
 * that of what is stored.
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

/* The cluster's number, a new one where it has none; 0 when out of memory. */
static uint64_t number_give(struct store *s, uint64_t cluster)
{
    uint64_t number = number_of(s, cluster);

    if (number)
        return number;
    if (!s->free_cluster && s->n_clusters == s->cap_clusters) {
        size_t cap = s->cap_clusters ? s->cap_clusters * 2 : 4;
        struct cluster *clusters = realloc(s->clusters, cap * sizeof *clusters);
        if (!clusters)
            return 0;
        s->clusters = clusters;
        s->cap_clusters = cap;
    }
    number = s->free_cluster ? s->free_cluster : s->n_clusters + 1;
    if (!index_set(s->index, key_of_cluster(cluster), number))
        return 0;
    if (s->free_cluster)
        s->free_cluster = s->clusters[number - 1].next_free;
    else
        s->n_clusters++;
    s->clusters[number - 1] = (struct cluster){.key = cluster};
    return number;
}

/* An object of the cluster is gone; with the last one its number is free. */
static void number_release(struct store *s, uint64_t cluster, uint64_t number)
{
    struct cluster *c = &s->clusters[number - 1];

    if (--c->objects > 0)
        return;
    index_remove(s->index, key_of_cluster(cluster), number);
    c->next_free = s->free_cluster;
    s->free_cluster = number;
}

bool store_object_add(struct store *s, uint64_t object, uint64_t cluster, uint64_t seq)
{
    uint64_t key = key_of_object_in(object, cluster);
    uint64_t first;
    uint64_t last;

    if (!index_ends(s->index, key, &first, &last)) {
        uint64_t number = number_give(s, cluster);
        if (!number || !index_add(s->index, object, number))
            return false;
        s->clusters[number - 1].objects++;
    }
    return index_add(s->index, key, seq);
}

void store_object_remove(struct store *s, uint64_t object, uint64_t cluster, uint64_t seq)
{
    uint64_t key = key_of_object_in(object, cluster);
    uint64_t number = number_of(s, cluster);
    uint64_t first;
    uint64_t last;

    if (!number || !index_ends(s->index, key, &first, &last))
        return;
    index_remove(s->index, key, seq);
    if (index_ends(s->index, key, &first, &last))
        return;
    index_remove(s->index, object, number);
    number_release(s, cluster, number);
}

bool store_object_clusters(const struct store *s, uint64_t object, struct seqs *clusters)
{
    if (!index_get(s->index, object, clusters))
        return false;
    for (size_t i = 0; i < clusters->n; i++)
        clusters->at[i] = s->clusters[clusters->at[i] - 1].key;
    return true;
}
