/* The second witness: what the status of a Kustomization or HelmRelease decides, as the Flux event that said
 * so or should have. Notifications get lost; the status stays.
 *
 * | object        | success                            | failure                                            |
 * |---------------|------------------------------------|----------------------------------------------------|
 * | Kustomization | Ready=True:                        | Ready=False with BuildFailed,                      |
 * |               | lastAppliedRevision,               | ReconciliationFailed, PruneFailed or               |
 * |               | lastAppliedOriginRevision          | HealthCheckFailed: lastAttemptedRevision           |
 * | HelmRelease   | Ready=True: history[0]'s chart     | Released=False with InstallFailed or UpgradeFailed,|
 * |               | version and OCI digest; without a  | or TestSuccess=False:                              |
 * |               | history lastAppliedRevision        | lastAttemptedRevision and its OCI digest           |
 *
 * Nothing else decides; these never do:
 *   - Ready=Unknown: the controller is at work, and lastAttemptedRevision may be a revision ahead
 *     of the conditions;
 *   - any other reason of a Kustomization, ArtifactFailed above all: it is set before lastAttemptedRevision
 *     moves, so the revision beside it is the previous one;
 *   - a rollback or an uninstall: after either, history[0] may be a sound release of a chart that nobody asks
 *     for;
 *   - a condition whose message names another revision than the field. Flux's controllers write in two steps,
 *     conditions first (fluxcd/pkg runtime/patch), so between them the field is that of the run before;
 *   - a failed test of an object that is Ready: spec.test.ignoreFailures;
 *   - an object that is being deleted.
 * Two things do not matter. A suspended object still is what its last run made of it. And a status that lags
 * behind metadata.generation is still true: lastAppliedRevision was applied, at the time the condition tells,
 * and the notification of that run said so as well.
 *
 * The conditions that decide exclude each other, so an object gives one event or none. The annotations that
 * Flux adds to the metadata of an event (event.toolkit.fluxcd.io/commit) are not taken over: they change
 * before the status does, and would claim the new commit for the old release.
 */
#ifndef FES_CONTROLLER_FLUX_STATUS_H
#define FES_CONTROLLER_FLUX_STATUS_H

#include "store/event.h"

struct flux_status;

/* Reads one object: kind Kustomization of kustomize.toolkit.fluxcd.io or HelmRelease of
 * helm.toolkit.fluxcd.io, of any version. `json` is not kept. NULL with one line in err when it is malformed,
 * to be skipped and counted, or when out of memory: not a JSON object, another kind, without name, namespace
 * or uid, a member of the wrong type, a condition that decides without a readable time. Free with
 * flux_status_free(). */
#define FLUX_STATUS_ERROR 256
struct flux_status *flux_status_read(struct str json, char err[static FLUX_STATUS_ERROR]);
/* Accepts NULL. */
void flux_status_free(struct flux_status *s);

/* What the status decides, or NULL. Event and body are borrowed until s is freed.
 *
 * *ret_body is an event as Flux would have sent it, compact and with bare metadata keys: involvedObject with
 * uid, apiVersion and resourceVersion; the reason and message of the condition that decides, its
 * lastTransitionTime as timestamp; revision, originRevision, oci-digest, app-version; the name of the
 * controller. The reason is always one that means the same in a notification: a HelmRelease that is Ready for
 * another reason has UpgradeSucceeded. Untouched when the status decides nothing. */
const struct flux_event *flux_status_event(const struct flux_status *s, struct str *ret_body);

/* Which object it is; borrowed until s is freed. */
struct flux_facts {
    struct str kind;
    struct str namespace;
    struct str name;
    bool deleting; /* then the status decides nothing */
};
void flux_status_facts(const struct flux_status *s, struct flux_facts *ret);
/* spec.suspend: nothing new will be said until somebody resumes it. */
bool flux_status_suspended(const struct flux_status *s);

#endif
