/* From struct run and an action to what is sent.
 *
 * Tekton's webhook refuses unknown status keys, and Run 0.24.1 knows neither retriesStatus nor anything new:
 * the keys written are observedGeneration, conditions, startTime, completionTime, results and extraFields,
 * and retriesStatus on a CustomRun only. An entry of retriesStatus that Tekton's informers cannot decode
 * stops every PipelineRun of the cluster, so its members have exactly the types of the Go struct.
 *
 * Failure mode: jansson returns NULL when out of memory; its setters accept NULL and fail, so the sequence
 * goes on and one sticky flag says at the end that the body is not complete.
 */
#include "controller/run_body_priv.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/units.h"

void run_path(const struct run *r, bool status, char out[static RUN_PATH])
{
    const struct run_kind_name *names = run_kind_name(r->kind);

    (void)snprintf(out, RUN_PATH, "%s/namespaces/%.*s/%s/%.*s%s", names->prefix, STR_ARG(r->namespace),
                   names->plural, STR_ARG(r->name), status ? "/status" : "");
}

void run_events_path(const struct run *r, char out[static RUN_PATH])
{
    (void)snprintf(out, RUN_PATH, "/api/v1/namespaces/%.*s/events", STR_ARG(r->namespace));
}

/* ---- a JSON writer with a sticky failure ---- */

struct writer {
    bool failed;
};

/* Takes over value. */
static void put(struct writer *w, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        w->failed = true;
}

static void append(struct writer *w, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        w->failed = true;
}

static json_t *string(struct str s)
{
    return json_stringn(s.len ? s.at : "", s.len);
}

static void put_text(struct writer *w, json_t *object, const char *key, struct str s)
{
    put(w, object, key, string(s));
}

static void put_time(struct writer *w, json_t *object, const char *key, int64_t ms)
{
    char time[TIME_TEXT];

    put_text(w, object, key, str_of(time_format(ms, time)));
}

/* With milliseconds, for what must be told apart within a second. */
static void put_exact_time(struct writer *w, json_t *object, const char *key, int64_t ms)
{
    char time[TIME_TEXT];
    char exact[TIME_TEXT + 8];
    int64_t rest = ms % 1000;

    time_format(ms, time);
    (void)snprintf(exact, sizeof exact, "%.19s.%03dZ", time, (int)(rest < 0 ? rest + 1000 : rest));
    put_text(w, object, key, str_of(exact));
}

/* Text that was JSON when it was read. */
static json_t *parsed(struct str json)
{
    return json_loadb(json.at, json.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
}

static struct str dump(struct writer *w, json_t *root)
{
    char *text = w->failed ? NULL : json_dumps(root, JSON_COMPACT);
    return str_of(text);
}

/* ---- parts of a status ---- */

/* Succeeded first: Tekton's $(tasks.X.reason) and tkn read conditions[0]. lastTransitionTime moves with the
 * status only, as Kubernetes has it. */
static json_t *conditions(struct writer *w, const struct run *r, enum action_kind kind,
                          const struct action *a, const struct verdict *v)
{
    const char *status = say_status(kind);
    bool stays = r->succeeded == SUCCEEDED_UNKNOWN && strcmp(status, "Unknown") == 0 &&
                 r->transition_ms != RUN_NO_TIME;
    struct action as = *a;
    char buffer[SAY_MESSAGE];
    struct text message;
    json_t *succeeded = json_object();
    json_t *array =
        run_rare(r)->foreign_conditions.len ? parsed(run_rare(r)->foreign_conditions) : json_array();

    as.kind = kind;
    text_init(&message, buffer, sizeof buffer);
    say_message(r, &as, v, &message);
    put_text(w, succeeded, "type", STR("Succeeded"));
    put_text(w, succeeded, "status", str_of(status));
    put_text(w, succeeded, "reason", str_of(say_reason(r, kind)));
    put_text(w, succeeded, "message", text_str(&message));
    put_time(w, succeeded, "lastTransitionTime", stays ? r->transition_ms : a->now_ms);
    if (json_array_insert_new(array, 0, succeeded) != 0)
        w->failed = true;
    return array;
}

static void append_result(struct writer *w, json_t *array, const char *name, const char *value)
{
    json_t *entry = json_object();

    put_text(w, entry, "name", str_of(name));
    put_text(w, entry, "value", str_of(value));
    append(w, array, entry);
}

/* The full set. Values are halved until all of it is below RESULTS_MAX as JSON. */
static json_t *results(struct writer *w, const struct run *r, const struct action *a, const struct verdict *v)
{
    struct results say;

    for (size_t most = 1024;; most /= 2) {
        json_t *array = json_array();
        say_results(r, a, v, most, &say);
#define X(field, size) append_result(w, array, #field, say.field);
        RESULTS(X)
#undef X
        if (w->failed || most < 64 || json_dumpb(array, NULL, 0, JSON_COMPACT) < RESULTS_MAX)
            return array;
        json_decref(array);
    }
}

/* The attempt that ends, as a status of its own: what the status would be, had it been the last. */
static json_t *ended_attempt(struct writer *w, const struct run *r, const struct action *a,
                             const struct verdict *v)
{
    enum action_kind ending = action_ending(a->kind);
    json_t *entry = json_object();

    if (r->generation > 0)
        put(w, entry, "observedGeneration", json_integer(r->generation));
    put(w, entry, "conditions", conditions(w, r, ending, a, v));
    put_time(w, entry, "startTime", a->start_ms);
    put_time(w, entry, "completionTime", a->completion_ms);
    put(w, entry, "results", results(w, r, a, v));
    if (run_rare(r)->annotations.len)
        put(w, entry, "annotations", parsed(run_rare(r)->annotations));
    if (run_rare(r)->extra_fields.len)
        put(w, entry, "extraFields", parsed(run_rare(r)->extra_fields));
    return entry;
}

static void put_retry(struct writer *w, json_t *status, const struct run *r, const struct action *a,
                      const struct verdict *v)
{
    json_t *extra = json_object();

    put_time(w, status, "startTime", a->next_ms);
    if (r->has_completion)
        put(w, status, "completionTime", json_null());
    if (r->has_results)
        put(w, status, "results", json_null());
    put_exact_time(w, extra, "attemptStartTime", a->next_ms);
    if (r->kind == KIND_CUSTOMRUN) {
        json_t *entries =
            run_rare(r)->retries_status.len ? parsed(run_rare(r)->retries_status) : json_array();
        append(w, entries, ended_attempt(w, r, a, v));
        put(w, status, "retriesStatus", entries);
    } else {
        put(w, extra, "retriesDone", json_integer((json_int_t)r->retries_done + 1));
    }
    put(w, status, "extraFields", extra);
}

static json_t *status(struct writer *w, const struct run *r, const struct action *a, const struct verdict *v)
{
    json_t *object = json_object();

    if (r->generation > 0 && r->generation != r->observed_generation)
        put(w, object, "observedGeneration", json_integer(r->generation));
    put(w, object, "conditions", conditions(w, r, a->kind, a, v));
    if (action_is_retry(a->kind)) {
        put_retry(w, object, r, a, v);
        return object;
    }
    if (!r->has_start)
        put_time(w, object, "startTime", a->start_ms);
    if (action_is_final(a->kind)) {
        put_time(w, object, "completionTime", a->completion_ms);
        put(w, object, "results", results(w, r, a, v));
    } else if (r->has_completion) {
        put(w, object, "completionTime", json_null());
    }
    return object;
}

struct str run_patch_body(const struct run *r, const struct action *a, const struct verdict *v)
{
    struct writer w = {0};
    json_auto_t *root = json_object();
    json_t *metadata = json_object();

    put_text(&w, metadata, "resourceVersion", r->resource_version);
    put(&w, root, "metadata", metadata);
    put(&w, root, "status", status(&w, r, a, v));
    return dump(&w, root);
}

/* ---- Kubernetes Events ---- */

/* "<object name>.<hex>", as client-go names them: a DNS-1123 subdomain again, however long the object's name
 * is. */
static void put_event_name(struct writer *w, json_t *metadata, const struct run *r, uint64_t unique)
{
    char name[RUN_MAX_NAME + 1];
    struct text t;
    struct str stem = str_upto(r->name, RUN_MAX_NAME - 17);

    while (stem.len && (stem.at[stem.len - 1] == '.' || stem.at[stem.len - 1] == '-'))
        stem.len--;
    text_init(&t, name, sizeof name);
    text_add(&t, stem);
    text_addf(&t, ".%016llx", (unsigned long long)unique);
    put_text(w, metadata, "name", text_str(&t));
}

static json_t *involved_object(struct writer *w, const struct run *r)
{
    const struct run_kind_name *names = run_kind_name(r->kind);
    json_t *object = json_object();

    put_text(w, object, "apiVersion", str_of(names->api_version));
    put_text(w, object, "kind", str_of(names->kind));
    put_text(w, object, "namespace", r->namespace);
    put_text(w, object, "name", r->name);
    put_text(w, object, "uid", r->uid);
    put_text(w, object, "resourceVersion", r->resource_version);
    return object;
}

struct str run_event_body(const struct run *r, const struct run_event *e)
{
    struct writer w = {0};
    json_auto_t *root = json_object();
    json_t *metadata = json_object();
    json_t *source = json_object();

    put_event_name(&w, metadata, r, e->unique);
    put_text(&w, metadata, "namespace", r->namespace);
    put_text(&w, source, "component", STR("flux-event-store"));
    put_text(&w, root, "apiVersion", STR("v1"));
    put_text(&w, root, "kind", STR("Event"));
    put(&w, root, "metadata", metadata);
    put(&w, root, "involvedObject", involved_object(&w, r));
    put_text(&w, root, "reason", e->reason);
    put_text(&w, root, "message", str_cut_utf8(e->message, RUN_EVENT_MESSAGE));
    put_text(&w, root, "type", e->warning ? STR("Warning") : STR("Normal"));
    put(&w, root, "source", source);
    put_time(&w, root, "firstTimestamp", e->now_ms);
    put_time(&w, root, "lastTimestamp", e->now_ms);
    put(&w, root, "count", json_integer(1));
    put_text(&w, root, "reportingComponent", STR("flux-event-store"));
    put_text(&w, root, "reportingInstance", STR(""));
    return dump(&w, root);
}
