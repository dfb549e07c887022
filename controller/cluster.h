/* The Kubernetes side as one thing: the API client, the controller of Runs, the second witness, and the watches that
 * feed the two.
 *
 * It joins parts and decides nothing: the controller goes on reaching the API server through struct controller_io only,
 * and k8s/ goes on knowing no Runs. The loop, the clocks and the timer stay with the caller.
 */
#ifndef FES_CONTROLLER_CLUSTER_H
#define FES_CONTROLLER_CLUSTER_H

#include "store/metric.h"
#include "store/report.h"
#include "store/store.h"
#include "store/units.h"
#include "store/waiters.h"

struct cluster;
struct controller_config;
struct event_base;
struct flux_watch_config;
struct k8s_config;

/* Borrowed: they outlive the cluster. */
struct cluster_config {
    const struct k8s_config *k8s;
    const struct controller_config *controller;
    const struct flux_watch_config *flux;
};

struct cluster_io {
    void *arg;
    struct moment (*now)(void);
    /* Call cluster_tick at this monotonic time or soon after; a later call replaces it; INT64_MAX: never. */
    void (*wake_at)(void *arg, int64_t mono_ms);
};

#define CLUSTER_ERROR 512
/* The values of the flags alone: names of namespaces, --ref. False with one line in err. */
bool cluster_config_check(const struct cluster_config *config, char err[static CLUSTER_ERROR]);
/* Checks flags and files; no connection is made. base, store, waiters and reporter outlive it; io is copied. NULL with
 * one line in err. */
struct cluster *cluster_new(struct event_base *base, const struct cluster_config *config, struct store *store,
                            struct waiters *waiters, const struct cluster_io *io,
                            const struct reporter *reporter, char err[static CLUSTER_ERROR]);
/* Starts the watches, in the next turn of the loop. Once; the store is ready. False when out of memory. */
bool cluster_start(struct cluster *c);
/* Ends watches, requests and the controller, while waiters and store still live. Accepts NULL. */
void cluster_stop(struct cluster *c);
/* After cluster_stop and store_close: the store completes appends that were made here. Accepts NULL. */
void cluster_free(struct cluster *c);

/* Reads token, CA and keys again (SIGHUP). */
void cluster_reload(struct cluster *c);

/* Around waiters_run, once a turn: the clock of the answers it gives, and what is due after it. */
void cluster_set_moment(struct cluster *c, struct moment now);
void cluster_tick(struct cluster *c, struct moment now);
/* Requests in flight, and PATCHes in flight or due at once: shutdown waits for them. */
size_t cluster_pending(const struct cluster *c);

/* For /readyz: ready when each collection is either in step or known to be absent, and at least one is in step. *ret_why
 * is valid until the next call. */
bool cluster_runs_ready(struct cluster *c, const char **ret_why);
bool cluster_flux_ready(struct cluster *c, const char **ret_why);
/* For GET /metrics: fills ret and returns how many there are. */
#define CLUSTER_METRICS 3
size_t cluster_metrics(struct cluster *c, struct metric_source ret[static CLUSTER_METRICS]);
/* For GET /runs: controller_list(). */
char *cluster_list(struct cluster *c, uint64_t *position, bool *ret_last);

#endif
