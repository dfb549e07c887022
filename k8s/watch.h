/* List, then watch one collection, for ever.
 *
 * Follows client-go's reflector: list in pages; watch from the list's resourceVersion with bookmarks; a clean
 * end is watched again from the last resourceVersion; 410 (as a status or in the stream) lists again; 429,
 * refused connections and 5xx back off and go on from the same resourceVersion. A collection that is not
 * served (404) is asked for again every 30 s. Each watch has a TCP connection of its own.
 */
#ifndef FES_K8S_WATCH_H
#define FES_K8S_WATCH_H

#include "k8s/client.h"

struct k8s_watch;

#define K8S_LIST_LIMIT \
    250 /* objects per page: one page parses in about a millisecond an object at worst; fewer while they are large */
#define K8S_MAX_OBJECT         (8u << 20) /* one watch event, as a line */
#define K8S_ABSENT_SECONDS     30
#define K8S_SILENCE_SECONDS    95  /* without a byte, once a bookmark was seen; before: 180 */
#define K8S_WATCH_SECONDS_FROM 300 /* timeoutSeconds is random between */
#define K8S_WATCH_SECONDS_TO   600

enum k8s_change { K8S_UPSERT, K8S_DELETED };

/* json is one object, borrowed for the call. Between on_list and on_synced the objects of a (new) list are
 * given as upserts; at on_synced every object that is known and was not given since on_list is gone. A
 * callback must not free the watch. */
struct k8s_watch_callbacks {
    void (*on_list)(void *arg);
    void (*on_object)(void *arg, enum k8s_change change, struct str json);
    void (*on_synced)(void *arg);
    void (*on_absent)(void *arg); /* the collection is not served (any more), or may not be read */
    void *arg;
};

#define K8S_WATCH_MOST 4 /* versions of one resource */
struct k8s_watch_options {
    /* "/apis/tekton.dev/v1beta1/customruns" or with /namespaces/NS/ inside; copied. Several are versions of one
     * resource, the preferred one first: the first that is served is watched, and the next one after it is gone. */
    const char *collections[K8S_WATCH_MOST];
    size_t n_collections;
    bool optional; /* not to be allowed to read it is no error */
};
/* Starts in the next turn of the loop. NULL when out of memory. */
struct k8s_watch *k8s_watch_new(struct k8s_client *c, const struct k8s_watch_options *options,
                                const struct k8s_watch_callbacks *callbacks);
void k8s_watch_free(struct k8s_watch *w);
/* Lists again, now or after the list under way: for whoever has lost what was given. */
void k8s_watch_list_again(struct k8s_watch *w);

enum k8s_watch_state { K8S_WATCH_STARTING, K8S_WATCH_SYNCED, K8S_WATCH_ABSENT, K8S_WATCH_FAILING };
enum k8s_watch_state k8s_watch_state(const struct k8s_watch *w, const char **ret_why);

#endif
