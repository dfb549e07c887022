/* The second witness at work: watches on Kustomizations and HelmReleases, whose status is stored as events.
 *
 * A shell around flux_status, which says what a status decides, and the store, which knows whether that was said before:
 * so nothing is remembered here that could be out of step with the store, and a restart or a new list stores nothing
 * twice. Only which objects are suspended is kept, for explanations.
 *
 * Losing an append (the disk is full, too much is queued) is made good by listing again later. It knows no clock, no
 * socket and no loop.
 */
#ifndef FES_CONTROLLER_FLUX_WATCH_H
#define FES_CONTROLLER_FLUX_WATCH_H

#include "store/flags.h"
#include "store/metric.h"
#include "store/store.h"
#include "store/units.h"

struct flux_watch;

#define FLUX_WATCH_RETRY_MS 5000 /* after a lost append, until the objects are listed again */

struct flux_watch_config {
    bool disabled;               /* --no-flux-watch */
    struct flag_list namespaces; /* --flux-namespace; empty: all */
};
extern const struct flag flux_watch_flags[]; /* fill a struct flux_watch_config */

/* The kinds, each with the versions that clusters serve, the newest first. */
#define FLUX_VERSIONS 3
struct flux_resource {
    const char *plural;                  /* "kustomizations" */
    const char *prefixes[FLUX_VERSIONS]; /* "/apis/kustomize.toolkit.fluxcd.io/v1" */
};
#define FLUX_RESOURCES 2
extern const struct flux_resource flux_resources[FLUX_RESOURCES];

struct flux_watch_io {
    void *arg;
    void (*list_again)(void *arg); /* all of the watches list again, soon */
    /* Call flux_watch_tick at this monotonic time or soon after; a later call replaces it. */
    void (*wake_at)(void *arg, int64_t mono_ms);
    /* The object was suspended or resumed, or is gone: an explanation that names it has changed. */
    void (*suspended)(void *arg, struct str kind, struct str namespace, struct str name);
};

/* io and reporter are copied. Tells the store, for its explanations, which objects are suspended. NULL when out of
 * memory. */
struct flux_watch *flux_watch_new(struct store *store, const struct flux_watch_io *io,
                                  const struct reporter *reporter);
/* After store_close: until then the store may complete appends that were made here, and ask. Accepts NULL. */
void flux_watch_free(struct flux_watch *f);

/* From the watches. scope numbers the watch a call belongs to. */
void flux_watch_on_list(struct flux_watch *f, unsigned scope);
void flux_watch_on_object(struct flux_watch *f, unsigned scope, bool deleted, struct str json,
                          struct moment now);
void flux_watch_on_synced(struct flux_watch *f, unsigned scope);
void flux_watch_on_absent(struct flux_watch *f, unsigned scope);
/* Time has come (wake_at), or is passed in once a turn; cheap when nothing is due. */
void flux_watch_tick(struct flux_watch *f, struct moment now);

/* Whether the object is known to be suspended: nothing new will be said of it until somebody resumes it. */
bool flux_watch_is_suspended(const struct flux_watch *f, struct str kind, struct str namespace,
                             struct str name);

struct metric_source flux_watch_metrics(struct flux_watch *f);

#endif
