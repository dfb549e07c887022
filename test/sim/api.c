/* The API server: objects with versions, status as a subresource, merge patches with optimistic locking.
 *
 * Every version that an object ever had is kept, so that a watch can be resumed anywhere, and so that what the
 * controller sends can be held against the very version on which it was decided. A removed object stays as a life
 * that is gone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"
#include "store/units.h"

#define FIRST_VERSION 100

const char *namespace_name(unsigned namespace)
{
    return namespace == 0 ? "ci" : "team-b";
}

void api_path(const struct sim *s, unsigned life, char out[static PATH_MOST])
{
    const struct life *l = &s->lives[life];
    const struct run_kind_name *names = run_kind_name(l->asked.kind);

    (void)snprintf(out, PATH_MOST, "%s/namespaces/%s/%s/w%u", names->prefix,
                   namespace_name(l->asked.namespace), names->plural, l->slot);
}

int api_find(const struct sim *s, const char *path)
{
    char own[PATH_MOST];

    for (unsigned i = 0; i < SLOTS; i++) {
        if (s->slots[i] < 0)
            continue;
        api_path(s, (unsigned)s->slots[i], own);
        size_t len = strlen(own);
        if (strncmp(path, own, len) == 0 && (path[len] == '\0' || strcmp(path + len, "/status") == 0))
            return s->slots[i];
    }
    return -1;
}

const struct state *api_state(const struct sim *s, unsigned life)
{
    return &s->states[s->lives[life].current];
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int64_t time_at(const json_t *object, const char *key)
{
    const char *text = text_at(object, key);
    int64_t ms;

    return time_parse(str_of(text), &ms) ? ms : NO_TIME;
}

/* What the version says, read without the controller's own reader. */
static void read_state(struct state *state, const json_t *object, enum run_kind kind)
{
    const json_t *status = json_object_get(object, "status");
    const json_t *extra = json_object_get(status, "extraFields");
    const json_t *first = json_array_get(json_object_get(status, "conditions"), 0);
    const char *word = text_at(first, "status");

    state->cancelled = strcmp(text_at(json_object_get(object, "spec"), "status"), "RunCancelled") == 0;
    state->deleting = json_object_get(json_object_get(object, "metadata"), "deletionTimestamp") != NULL;
    state->outcome = OUTCOME_NONE;
    if (strcmp(text_at(first, "type"), "Succeeded") == 0)
        state->outcome = strcmp(word, "True") == 0      ? OUTCOME_TRUE
                         : strcmp(word, "False") == 0   ? OUTCOME_FALSE
                         : strcmp(word, "Unknown") == 0 ? OUTCOME_UNKNOWN
                                                        : OUTCOME_NONE;
    (void)snprintf(state->reason, sizeof state->reason, "%s", text_at(first, "reason"));
    (void)snprintf(state->start, sizeof state->start, "%s", text_at(status, "startTime"));
    state->start_ms = time_at(status, "startTime");
    state->attempt_ms = time_at(extra, "attemptStartTime");
    state->retries_done = kind == KIND_CUSTOMRUN
                              ? (unsigned)json_array_size(json_object_get(status, "retriesStatus"))
                              : (unsigned)json_integer_value(json_object_get(extra, "retriesDone"));
}

/* The object has a new version. */
static void record(struct sim *s, unsigned life, bool deleted)
{
    struct life *l = &s->lives[life];
    char version[24];

    if (s->n_states == STATES_MOST) {
        sim_fail(s, "%d versions: somebody writes all the time", STATES_MOST);
        return;
    }
    struct state *state = &s->states[s->n_states];
    *state = (struct state){.life = life, .version = FIRST_VERSION + s->n_states, .deleted = deleted};
    (void)snprintf(version, sizeof version, "%llu", (unsigned long long)state->version);
    json_object_set_new(json_object_get(l->object, "metadata"), "resourceVersion", json_string(version));
    read_state(state, l->object, l->asked.kind);
    state->json = json_dumps(l->object, JSON_COMPACT);
    l->current = s->n_states++;
    watches_poke(s);
}

/* RFC 7386 */
static void merge(json_t *target, json_t *patch)
{
    const char *key;
    json_t *value;

    json_object_foreach(patch, key, value)
    {
        if (json_is_null(value)) {
            (void)json_object_del(target, key);
        } else if (json_is_object(value)) {
            if (!json_is_object(json_object_get(target, key)))
                json_object_set_new(target, key, json_object());
            merge(json_object_get(target, key), value);
        } else {
            json_object_set_new(target, key, json_deep_copy(value));
        }
    }
}

/* ---- what people do ---- */

static json_t *param(const char *name, const char *value)
{
    return json_pack("{s:s,s:s}", "name", name, "value", value);
}

static json_t *params(const struct asked *a)
{
    static const char *const on_superseded[] = {"fail", "wait", "succeed"};
    json_t *array = json_array();
    char text[128];

    json_array_append_new(array, param("revision", revision_texts[a->revision][a->form]));
    if (a->fail_after_ms > 0) {
        (void)snprintf(text, sizeof text, "%llds", (long long)(a->fail_after_ms / 1000));
        json_array_append_new(array, param("failAfter", text));
    }
    if (a->on_superseded != 0)
        json_array_append_new(array, param("onSuperseded", on_superseded[a->on_superseded]));
    if (a->expect > 1) {
        (void)snprintf(text, sizeof text, "%u", a->expect);
        json_array_append_new(array, param("expect", text));
    }
    if (a->objects != 0) {
        json_t *objects = json_array();
        for (unsigned i = 0; i < REPORTERS; i++) {
            (void)snprintf(text, sizeof text, "%s/%s/%s", reporter_names[i][0], reporter_names[i][1],
                           reporter_names[i][2]);
            if (a->objects & 1u << i)
                json_array_append_new(objects, json_string(text));
        }
        json_array_append_new(array, json_pack("{s:s,s:o}", "name", "objects", "value", objects));
    }
    return array;
}

static json_t *spec(const struct asked *a)
{
    const char *api_version = a->foreign         ? "example.dev/v1"
                              : a->first_version ? "github.com/janakerman/flux-event-store/v0"
                                                 : "flux-event-store.dev/v1";
    json_t *object = json_pack("{s:{s:s,s:s},s:o}", a->kind == KIND_RUN ? "ref" : "customRef", "apiVersion",
                               api_version, "kind", "FluxDeploymentWait", "params", params(a));
    char timeout[32];

    (void)snprintf(timeout, sizeof timeout, "%llds", (long long)(a->timeout_ms / 1000));
    json_object_set_new(object, "timeout", json_string(timeout));
    if (a->retries > 0)
        json_object_set_new(object, "retries", json_integer(a->retries));
    return object;
}

void api_create(struct sim *s, unsigned slot, const struct asked *asked)
{
    char time[TIME_TEXT], name[16], uid[32];

    if (s->n_lives == LIVES_MOST)
        return;
    unsigned life = s->n_lives++;
    struct life *l = &s->lives[life];
    *l = (struct life){.asked = *asked,
                       .slot = slot,
                       .created_ms = T0 + s->now_ms,
                       .tried_ms = NO_TIME,
                       .overdue_ms = NO_TIME,
                       .paused_ms = INT64_MIN / 2,
                       .written_ms = INT64_MIN / 2};
    (void)snprintf(name, sizeof name, "w%u", slot);
    (void)snprintf(uid, sizeof uid, "uid-%u", life);
    l->object = json_pack("{s:{s:s,s:s,s:s,s:i,s:s},s:o}", "metadata", "name", name, "namespace",
                          namespace_name(asked->namespace), "uid", uid, "generation", 1, "creationTimestamp",
                          time_format(l->created_ms, time), "spec", spec(asked));
    s->slots[slot] = (int)life;
    s->counts->runs += !asked->foreign;
    sim_trace(s,
              "%s %s (uid-%u)%s is created: revision %s, timeout %lld s, retries %u, failAfter %lld s, "
              "onSuperseded %d, expect %u, objects %x",
              asked->kind == KIND_RUN ? "Run" : "CustomRun", name, life,
              asked->foreign ? ", somebody else's," : "", revision_texts[asked->revision][asked->form],
              (long long)(asked->timeout_ms / 1000), asked->retries, (long long)(asked->fail_after_ms / 1000),
              asked->on_superseded, asked->expect, asked->objects);
    record(s, life, false);
}

void api_change(struct sim *s, unsigned life, json_t *patch, bool is_spec)
{
    struct life *l = &s->lives[life];
    json_t *metadata = json_object_get(l->object, "metadata");

    merge(l->object, patch);
    json_decref(patch);
    if (is_spec)
        json_object_set_new(metadata, "generation",
                            json_integer(json_integer_value(json_object_get(metadata, "generation")) + 1));
    record(s, life, false);
}

void api_remove(struct sim *s, unsigned life)
{
    struct life *l = &s->lives[life];

    l->gone = true;
    s->slots[l->slot] = -1;
    record(s, life, true);
}

/* ---- what clients ask ---- */

static int answer_with(struct sim *s, struct request *r, int life)
{
    const struct state *state = api_state(s, (unsigned)life);

    r->answer = strdup(state->json);
    r->answer_version = state->version;
    return 200;
}

int api_patch(struct sim *s, struct request *r)
{
    int life = api_find(s, r->path);
    json_t *body = json_loads(r->body, 0, NULL);
    json_t *status = json_object_get(body, "status");
    int code = life < 0 ? 404 : 409;

    if (life >= 0 &&
        strcmp(text_at(json_object_get(body, "metadata"), "resourceVersion"),
               text_at(json_object_get(s->lives[life].object, "metadata"), "resourceVersion")) == 0) {
        const struct state before = *api_state(s, (unsigned)life);
        json_t *wrapped = json_pack("{s:O}", "status", status);
        merge(s->lives[life].object, wrapped);
        json_decref(wrapped);
        record(s, (unsigned)life, false);
        sim_trace(s, "the API server takes the write: w%u (uid-%d) is %s", s->lives[life].slot, life,
                  api_state(s, (unsigned)life)->reason);
        check_accepted(s, r, &before, api_state(s, (unsigned)life));
        code = answer_with(s, r, life);
    }
    json_decref(body);
    return code;
}

int api_get(struct sim *s, struct request *r)
{
    int life = api_find(s, r->path);

    return life < 0 ? 404 : answer_with(s, r, life);
}
