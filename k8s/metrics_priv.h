/* What the client of the API server measures (see store/metric.h). */
#ifndef FES_K8S_METRICS_PRIV_H
#define FES_K8S_METRICS_PRIV_H

#include <sys/queue.h>

#include "k8s/watch.h"
#include "store/metric.h"

/* Verbs as the API server's audit log names them. */
enum k8s_count {
    K8S_COUNT_GET,
    K8S_COUNT_LIST,
    K8S_COUNT_WATCH,
    K8S_COUNT_PATCH,
    K8S_COUNT_CREATE,
    K8S_COUNTS,
};

/* Of one watch: what of it is measured. Part of the watch. */
struct k8s_seen {
    TAILQ_ENTRY(k8s_seen) entry;
    const char *resource; /* plural; NULL: not seen */
    enum k8s_watch_state state;
    int64_t opened_ms; /* when the head of the stream came; 0: there is none */
    uint64_t streams;  /* opened so far */
    uint64_t lists;    /* begun so far */
};
TAILQ_HEAD(k8s_seens, k8s_seen);

#define K8S_CODES     21 /* with "none" and "other" */
#define K8S_RESOURCES 8  /* kinds of resources; watches of more are not shown */
struct k8s_numbers {
    uint64_t requests[K8S_COUNTS][K8S_CODES];
    uint64_t connects;
    uint64_t pending;
    uint64_t reachable;
    const char *resources[K8S_RESOURCES + 1]; /* NULL ends */
    uint64_t synced[K8S_RESOURCES];
    uint64_t absent[K8S_RESOURCES];
    uint64_t restarts[K8S_RESOURCES];
    uint64_t lists[K8S_RESOURCES];
    uint64_t age_us[K8S_RESOURCES];
};

/* Of struct k8s_numbers. */
extern const struct metric k8s_metrics[];

/* status 0: no answer. One that is not among those shown, as K8S_CODE_OTHER, is "other". */
#define K8S_CODE_OTHER (-1)
void k8s_numbers_count(struct k8s_numbers *n, enum k8s_count verb, int status);
/* Sums up the watches by resource. */
void k8s_numbers_watches(struct k8s_numbers *n, const struct k8s_seens *seens, int64_t now_ms);

#endif
