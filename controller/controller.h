/* The custom-task controller: Runs and CustomRuns of kind FluxDeploymentWait, from first sight to the end.
 *
 * A shell around two pure parts, run_json (API objects <-> struct run) and decide (run, verdict, time ->
 * action). It holds the Runs that wait, by UID; each has one waiter in the store and at most one PATCH in
 * flight. It knows no clock, no socket and no loop: time and I/O come in as arguments and go out through
 * struct controller_io.
 */
#ifndef FES_CONTROLLER_CONTROLLER_H
#define FES_CONTROLLER_CONTROLLER_H

#include "store/flags.h"
#include "store/metric.h"
#include "store/report.h"
#include "store/units.h"
#include "store/waiters.h"

struct controller;

enum run_kind { KIND_RUN, KIND_CUSTOMRUN }; /* tekton.dev/v1alpha1 Run, tekton.dev/v1beta1 CustomRun */
#define RUN_KINDS 2
/* "/apis/tekton.dev/v1alpha1/runs", ... : collection paths split for namespaces: prefix and plural. */
struct run_kind_name {
    const char *kind;        /* "Run" */
    const char *api_version; /* "tekton.dev/v1alpha1" */
    const char *prefix;      /* "/apis/tekton.dev/v1alpha1" */
    const char *plural;      /* "runs" */
};
const struct run_kind_name *run_kind_name(enum run_kind kind);

struct controller_config {
    int64_t default_timeout_ms; /* --default-timeout, 0: none */
    struct flag_list refs;      /* --ref apiVersion/kind, beside the two built in */
};
extern const struct flag controller_flags[]; /* fill a struct controller_config */

/* What the controller asks of the world. Replies come back through controller_on_reply with the same token.
 */
struct controller_io {
    void *arg;
    /* PATCH (merge-patch) of path, "/apis/.../status"; `urgent` false for rewritten explanations. False:
     * could not be queued; the controller tries again later. */
    bool (*patch)(void *arg, uint64_t token, const char *path, struct str body, bool urgent);
    bool (*get)(void *arg, uint64_t token, const char *path);
    /* POST of a Kubernetes Event; no reply is wanted, and failing is no harm to a status. */
    void (*create_event)(void *arg, const char *path, struct str body);
    /* Call controller_tick at this monotonic time or soon after; a later call replaces it; INT64_MAX: never.
     */
    void (*wake_at)(void *arg, int64_t mono_ms);
    /* What a watch gave could not be kept: all watches of Runs list again. Only called from controller_tick and
     * controller_set_moment. */
    void (*list_again)(void *arg);
};

#define CONTROLLER_ERROR 256
/* False with one line in err: what controller_new would refuse. */
bool controller_config_check(const struct controller_config *config, char err[static CONTROLLER_ERROR]);
/* NULL with one line in err: a --ref that is not apiVersion/kind. config, io and reporter are copied; waiters
 * outlives the controller. */
struct controller *controller_new(const struct controller_config *config, struct waiters *waiters,
                                  const struct controller_io *io, const struct reporter *reporter,
                                  char err[static CONTROLLER_ERROR]);
void controller_free(struct controller *c);

/* From the watches. scope numbers the watch a call belongs to (namespaced mode has one per namespace and
 * kind): what was known from a scope and not listed again between list and synced is gone. */
void controller_on_list(struct controller *c, enum run_kind kind, unsigned scope);
void controller_on_object(struct controller *c, enum run_kind kind, unsigned scope, bool deleted,
                          struct str json, struct moment now);
void controller_on_synced(struct controller *c, enum run_kind kind, unsigned scope, struct moment now);
void controller_on_absent(struct controller *c, enum run_kind kind, unsigned scope);

/* The reply to a patch or get. status 0: no answer. body: the object, or a Status. retry_after_ms: -1 none.
 */
void controller_on_reply(struct controller *c, uint64_t token, int status, int64_t retry_after_ms,
                         struct str body, struct moment now);
/* Time has come (wake_at), or is passed in once a turn; cheap when nothing is due. */
void controller_tick(struct controller *c, struct moment now);

/* The clock of answers that the store gives between calls: set once per loop turn, before waiters_run. Also marks the
 * waiters of Runs whose time has come, so that they are asked in this turn. */
void controller_set_moment(struct controller *c, struct moment now);

/* What GET /runs shows, as JSON text in pieces, so that no call takes long: every Run that is being waited for, with its
 * question, age and explanation, and the last CONTROLLER_FINISHED that ended here, oldest first. *position is 0 for the
 * first piece and is moved on; *ret_last says that this piece is the last one. Runs that come, go or end between two
 * pieces may be shown or not, but each at most once in a list. The caller frees with free(). NULL when out of memory. */
#define CONTROLLER_FINISHED 100
char *controller_list(struct controller *c, uint64_t *position, struct moment now, bool *ret_last);

struct controller_stats {
    uint64_t waiting;
    uint64_t in_flight;
    uint64_t finished;
    uint64_t rejected;
    uint64_t malformed; /* objects without uid, name or resourceVersion */
    uint64_t conflicts;
};
void controller_get_stats(const struct controller *c, struct controller_stats *ret);
struct metric_source controller_metrics(struct controller *c);
/* PATCHes in flight or due at once: shutdown waits for them. */
size_t controller_pending(const struct controller *c);

#endif
