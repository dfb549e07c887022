/* The status of Flux objects as events (see flux_status.h, whose table this file carries out).
 *
 * Task: from one object to at most one event body in Flux's own form, so that it is stored and classified by
 * the same code as a notification. The field names and reasons are those of the API types of
 * kustomize-controller (v1, v1beta2, v1beta1) and helm-controller (v2, v2beta2, v2beta1); versions differ in
 * which fields they have, not in what a field means, so the version is not looked at.
 *
 * Invariant: what is not known to decide does not. A wrong success ends a wait that should go on; a missing
 * one is made good by the object's next change. Failure modes: a malformed object, reported in one line; out
 * of memory, reported the same way.
 */
#include "controller/flux_status.h"

#include <stdio.h>
#include <stdlib.h>

#include "controller/json_priv.h"
#include "store/event_json.h"
#include "store/units.h"

enum flux_kind { KUSTOMIZATION, HELM_RELEASE };

static const struct {
    const char *kind;
    const char *group; /* of apiVersion, with the '/' */
    const char *controller;
} kinds[] = {
    [KUSTOMIZATION] = {"Kustomization", "kustomize.toolkit.fluxcd.io/", "kustomize-controller"},
    [HELM_RELEASE] = {"HelmRelease", "helm.toolkit.fluxcd.io/", "helm-controller"},
};

struct flux_status {
    json_t *root;
    const json_t *metadata;
    const json_t *status; /* NULL or null before the controller has looked at the object */
    enum flux_kind kind;
    bool suspended;
    bool deleting;
    char *body;               /* malloc'ed; NULL when nothing is decided */
    struct flux_event *event; /* NULL likewise */
};

struct condition {
    struct str status; /* all empty when the object has no such condition */
    struct str reason;
    struct str message;
    struct str time;
};

/* What goes into an event beside the object itself. */
struct statement {
    bool success;
    struct condition by;
    struct str revision;
    struct str origin_revision;
    struct str oci_digest;
    struct str app_version;
};

/* --- reading --- */

static struct str string_at(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_string(value) ? (struct str){json_string_value(value), json_string_length(value)}
                                 : STR_NONE;
}

static struct condition find_condition(const struct flux_status *s, const char *type)
{
    const json_t *conditions = json_object_get(s->status, "conditions");
    const json_t *each;
    size_t i;

    json_array_foreach(conditions, i, each)
    {
        if (str_eq(string_at(each, "type"), str_of(type)))
            return (struct condition){.status = string_at(each, "status"),
                                      .reason = string_at(each, "reason"),
                                      .message = string_at(each, "message"),
                                      .time = string_at(each, "lastTransitionTime")};
    }
    return (struct condition){0};
}

static bool is_true(const struct condition *c)
{
    return str_eq(c->status, STR("True"));
}

static bool is_false(const struct condition *c)
{
    return str_eq(c->status, STR("False"));
}

static bool one_of(struct str s, const char *const names[])
{
    for (; *names; names++)
        if (str_eq(s, str_of(*names)))
            return true;
    return false;
}

/* --- deciding --- */

/* Whether the message of a condition is about another revision: "Applied revision: main@sha1:..." of a
 * Kustomization, "... with chart podinfo@6.5.1", at the end or before a ':', of a HelmRelease. Messages of
 * other forms, as older controllers write them, name none. */
static bool about_another(const struct flux_status *s, struct str message, struct str revision)
{
    struct str named;

    if (s->kind == KUSTOMIZATION) {
        const struct str begins = STR("Applied revision: ");
        return str_starts(message, begins) && !str_eq(str_from(message, begins.len), revision);
    }
    const struct str before = STR(" with chart ");
    const char *found = message.len ? memmem(message.at, message.len, before.at, before.len) : NULL;
    if (!found)
        return false;
    named = str_from(message, (size_t)(found - message.at) + before.len);
    named = str_split(&named, ':');
    ptrdiff_t at = str_find(named, '@');
    return at >= 0 && !str_eq(str_from(named, (size_t)at + 1), revision);
}

static bool decide_kustomization(const struct flux_status *s, struct statement *ret)
{
    static const char *const failures[] = {"BuildFailed", "ReconciliationFailed", "PruneFailed",
                                           "HealthCheckFailed", NULL};
    struct condition ready = find_condition(s, "Ready");

    *ret = (struct statement){.success = is_true(&ready), .by = ready};
    if (ret->success) {
        ret->by.reason = STR("ReconciliationSucceeded");
        ret->revision = string_at(s->status, "lastAppliedRevision");
        ret->origin_revision = string_at(s->status, "lastAppliedOriginRevision");
        return !about_another(s, ready.message, ret->revision);
    }
    ret->revision = string_at(s->status, "lastAttemptedRevision");
    return is_false(&ready) && one_of(ready.reason, failures);
}

/* The reason a notification would have had: that of the condition which Ready repeats. Until helm-controller
 * 0.36 Ready has a reason of its own. */
static struct str release_reason(const struct condition *ready, const struct condition *released)
{
    static const char *const successes[] = {"InstallSucceeded", "UpgradeSucceeded", "TestSucceeded", NULL};

    if (one_of(ready->reason, successes))
        return ready->reason;
    return is_true(released) && one_of(released->reason, successes) ? released->reason
                                                                    : STR("UpgradeSucceeded");
}

/* history[0] is the latest release. One that is not deployed contradicts a Ready=True, and one that a
 * remediation made is not what was asked for. */
static bool decide_release_success(const struct flux_status *s, struct statement *ret)
{
    const json_t *latest = json_array_get(json_object_get(s->status, "history"), 0);
    struct condition remediated = find_condition(s, "Remediated");
    struct condition released = find_condition(s, "Released");

    ret->by.reason = release_reason(&ret->by, &released);
    if (latest) {
        struct str is = string_at(latest, "status");
        ret->revision = string_at(latest, "chartVersion");
        ret->oci_digest = string_at(latest, "ociDigest");
        ret->app_version = string_at(latest, "appVersion");
        if (is.len > 0 && !str_eq(is, STR("deployed")))
            return false;
    } else {
        ret->revision = string_at(s->status, "lastAppliedRevision");
    }
    return !is_true(&remediated) && !about_another(s, ret->by.message, ret->revision);
}

static bool decide_helm_release(const struct flux_status *s, struct statement *ret)
{
    static const char *const failures[] = {"InstallFailed", "UpgradeFailed", NULL};
    struct condition ready = find_condition(s, "Ready");
    struct condition released = find_condition(s, "Released");
    struct condition tested = find_condition(s, "TestSuccess");

    *ret = (struct statement){.success = is_true(&ready), .by = ready};
    if (ret->success)
        return decide_release_success(s, ret);
    if (ready.status.len > 0 && !is_false(&ready))
        return false;
    if (is_false(&released) && one_of(released.reason, failures)) {
        ret->by = released;
    } else if (is_false(&tested)) {
        ret->by = tested;
        ret->by.reason = STR("TestFailed");
    } else {
        return false;
    }
    ret->revision = string_at(s->status, "lastAttemptedRevision");
    ret->oci_digest = string_at(s->status, "lastAttemptedRevisionDigest");
    return !about_another(s, ret->by.message, ret->revision);
}

static bool decide(const struct flux_status *s, struct statement *ret)
{
    bool decided = false;

    if (s->deleting)
        return false;
    switch (s->kind) {
    case KUSTOMIZATION: decided = decide_kustomization(s, ret); break;
    case HELM_RELEASE: decided = decide_helm_release(s, ret); break;
    }
    return decided && ret->revision.len > 0;
}

/* --- writing --- */

/* Adds a string member, none when it is empty. Sticky: does nothing after a failure. */
static void put(bool *ok, json_t *object, const char *name, struct str value)
{
    if (*ok && value.len > 0)
        *ok = json_object_set_new(object, name, json_stringn(value.at, value.len)) == 0;
}

static json_t *put_object(bool *ok, json_t *object, const char *name)
{
    json_t *member = json_object();

    *ok = *ok && json_object_set_new(object, name, member) == 0;
    return *ok ? member : NULL;
}

/* The members in the order of Flux's own encoder. NULL when out of memory; the caller frees. */
static char *write_body(const struct flux_status *s, const struct statement *what)
{
    json_t *root = json_object();
    bool ok = root != NULL;

    json_t *object = put_object(&ok, root, "involvedObject");
    put(&ok, object, "kind", str_of(kinds[s->kind].kind));
    put(&ok, object, "namespace", string_at(s->metadata, "namespace"));
    put(&ok, object, "name", string_at(s->metadata, "name"));
    put(&ok, object, "uid", string_at(s->metadata, "uid"));
    put(&ok, object, "apiVersion", string_at(s->root, "apiVersion"));
    put(&ok, object, "resourceVersion", string_at(s->metadata, "resourceVersion"));
    put(&ok, root, "severity", what->success ? STR("info") : STR("error"));
    put(&ok, root, "timestamp", what->by.time);
    put(&ok, root, "message", what->by.message);
    put(&ok, root, "reason", what->by.reason);
    json_t *metadata = put_object(&ok, root, "metadata");
    put(&ok, metadata, "app-version", what->app_version);
    put(&ok, metadata, "oci-digest", what->oci_digest);
    put(&ok, metadata, "originRevision", what->origin_revision);
    put(&ok, metadata, "revision", what->revision);
    put(&ok, root, "reportingController", str_of(kinds[s->kind].controller));
    char *body = ok ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return body;
}

/* --- the object --- */

static bool refuse(char err[static FLUX_STATUS_ERROR], const char *sentence)
{
    (void)snprintf(err, FLUX_STATUS_ERROR, "%s", sentence);
    return false;
}

static bool find_kind(struct flux_status *s)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!str_eq(string_at(s->root, "kind"), str_of(kinds[i].kind)) ||
            !str_starts(string_at(s->root, "apiVersion"), str_of(kinds[i].group)))
            continue;
        s->kind = (enum flux_kind)i;
        return true;
    }
    return false;
}

/* Absent is well, null as well: to Kubernetes they are one. */
static bool is_object_if_any(const json_t *value)
{
    return !value || json_is_null(value) || json_is_object(value);
}

/* The same. */
static bool is_list_of_objects(const json_t *value)
{
    const json_t *each;
    size_t i;

    if (!value || json_is_null(value))
        return true;
    json_array_foreach(value, i, each)
    {
        if (!json_is_object(each))
            return false;
    }
    return json_is_array(value);
}

static bool read_object(struct flux_status *s, char err[static FLUX_STATUS_ERROR])
{
    const json_t *spec = json_object_get(s->root, "spec");

    s->metadata = json_object_get(s->root, "metadata");
    s->status = json_object_get(s->root, "status");
    if (!json_is_object(s->root))
        return refuse(err, "not a JSON object");
    if (!find_kind(s))
        return refuse(err, "neither a Kustomization nor a HelmRelease of Flux");
    if (!string_at(s->metadata, "name").len || !string_at(s->metadata, "namespace").len ||
        !string_at(s->metadata, "uid").len)
        return refuse(err, "without name, namespace or uid");
    if (!is_object_if_any(spec))
        return refuse(err, "spec: must be an object");
    if (!is_object_if_any(s->status))
        return refuse(err, "status: must be an object");
    if (!is_list_of_objects(json_object_get(s->status, "conditions")))
        return refuse(err, "status.conditions: must be an array of objects");
    if (!is_list_of_objects(json_object_get(s->status, "history")))
        return refuse(err, "status.history: must be an array of objects");
    s->suspended = json_is_true(json_object_get(spec, "suspend"));
    s->deleting = string_at(s->metadata, "deletionTimestamp").len > 0;
    return true;
}

static bool make_event(struct flux_status *s, char err[static FLUX_STATUS_ERROR])
{
    struct statement what;
    char event_err[EVENT_ERROR];
    int64_t ms;

    if (!decide(s, &what))
        return true;
    if (!time_parse(what.by.time, &ms))
        return refuse(err, "status.conditions: lastTransitionTime must be an RFC 3339 time");
    s->body = write_body(s, &what);
    s->event = s->body ? event_from_json(str_of(s->body), event_err) : NULL;
    return s->event || refuse(err, "out of memory");
}

struct flux_status *flux_status_read(struct str json, char err[static FLUX_STATUS_ERROR])
{
    struct flux_status *s = calloc(1, sizeof *s);

    if (!s) {
        (void)refuse(err, "out of memory");
        return NULL;
    }
    s->root = json_read(json);
    if (!read_object(s, err) || !make_event(s, err)) {
        flux_status_free(s);
        return NULL;
    }
    return s;
}

void flux_status_free(struct flux_status *s)
{
    if (!s)
        return;
    event_json_free(s->event);
    free(s->body);
    json_decref(s->root);
    free(s);
}

const struct flux_event *flux_status_event(const struct flux_status *s, struct str *ret_body)
{
    if (s->event)
        *ret_body = str_of(s->body);
    return s->event;
}

void flux_status_facts(const struct flux_status *s, struct flux_facts *ret)
{
    *ret = (struct flux_facts){
        .kind = str_of(kinds[s->kind].kind),
        .namespace = string_at(s->metadata, "namespace"),
        .name = string_at(s->metadata, "name"),
        .deleting = s->deleting,
    };
}

bool flux_status_suspended(const struct flux_status *s)
{
    return s->suspended;
}
