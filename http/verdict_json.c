/* Verdict -> JSON (see verdict_json.h).
 *
 * Ids are strings, as everywhere in the API: a number of 64 bits is cut by many readers. Text of events is valid UTF-8,
 * because it came as JSON; the revision that was asked for need not be, and is cleaned. Failure mode: out of memory
 * gives no answer, never a part of one.
 */
#include "http/verdict_json.h"

#include "store/units.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

const char *verdict_reason(enum verdict_state state)
{
    switch (state) {
    case VERDICT_WAITING: return "Waiting";
    case VERDICT_SUCCEEDED: return "ReconciliationSucceeded";
    case VERDICT_FAILED: return "ReconciliationFailed";
    case VERDICT_SUPERSEDED: return "Superseded";
    case VERDICT_AMBIGUOUS: return "AmbiguousRevision";
    }
    return "";
}

/* A JSON object that remembers when memory ran out. */
struct members {
    json_t *object;
    bool failed;
};

static void add(struct members *m, const char *name, json_t *value)
{
    m->failed |= json_object_set_new(m->object, name, value) != 0; /* takes NULL too, and fails */
}

static void add_str(struct members *m, const char *name, struct str value)
{
    json_t *string = json_stringn(value.at ? value.at : "", value.len);

    if (!string) {
        char *clean = malloc(value.len + 1);
        struct text text;
        if (clean) {
            text_init(&text, clean, value.len + 1);
            text_add_clean(&text, value);
            string = json_stringn(clean, text.len);
        }
        free(clean);
    }
    add(m, name, string);
}

static void add_text(struct members *m, const char *name, const char *value)
{
    add_str(m, name, str_of(value));
}

static void add_time(struct members *m, const char *name, int64_t ms)
{
    char time[TIME_TEXT];

    add_text(m, name, time_format(ms, time));
}

static void add_id(struct members *m, const char *name, uint64_t id)
{
    char number[24];

    (void)snprintf(number, sizeof number, "%" PRIu64, id);
    add_text(m, name, number);
}

/* Nothing for the anonymous object. */
static void add_object_name(struct members *m, const char *name, const struct verdict_object *o)
{
    size_t size = o->kind.len + o->namespace.len + o->name.len + 3;
    char *line = malloc(size);
    struct text text;

    m->failed |= !line;
    if (!line)
        return;
    text_init(&text, line, size);
    if (o->kind.len || o->namespace.len || o->name.len) {
        text_add(&text, o->kind);
        text_add(&text, STR("/"));
        text_add(&text, o->namespace);
        text_add(&text, STR("/"));
        text_add(&text, o->name);
    }
    add_str(m, name, text_str(&text));
    free(line);
}

static const char *state_word(enum verdict_state state)
{
    return verdict_state_text(state == VERDICT_AMBIGUOUS ? VERDICT_FAILED : state);
}

static json_t *object_json(const struct verdict_object *o, bool *failed)
{
    struct members m = {.object = json_object()};

    add_str(&m, "cluster", o->cluster);
    add_str(&m, "kind", o->kind);
    add_str(&m, "namespace", o->namespace);
    add_str(&m, "name", o->name);
    add_text(&m, "state", state_word(o->state));
    add(&m, "reported", json_boolean(o->reported));
    if (o->seq) {
        add_str(&m, "reason", o->reason);
        add_str(&m, "message", o->message);
        add_str(&m, "revision", o->revision);
        add_id(&m, "eventId", o->seq);
        add_time(&m, "timestamp", o->effective_ms);
        add_time(&m, "receivedAt", o->received_ms);
    }
    if (o->failing_since_ms)
        add_time(&m, "failingSince", o->failing_since_ms);
    if (o->superseded_by.len) {
        add_str(&m, "supersededBy", o->superseded_by);
        add_time(&m, "supersededAt", o->superseded_ms);
    }
    *failed |= m.failed;
    return m.object;
}

static void add_decider(struct members *m, const struct verdict *v)
{
    const struct verdict_object *o = v->decider;

    if (!o || v->state == VERDICT_WAITING)
        return;
    add_object_name(m, "object", o);
    add_time(m, "timestamp", v->decided_ms);
    if (o->seq)
        add_id(m, "eventId", o->seq);
    if (o->superseded_by.len)
        add_str(m, "supersededBy", o->superseded_by);
}

/* With a line break behind it; takes over `text`. */
static char *as_line(char *text)
{
    size_t len = text ? strlen(text) : 0;
    char *line = text ? realloc(text, len + 2) : NULL;

    if (!line) {
        free(text);
        return NULL;
    }
    line[len] = '\n';
    line[len + 1] = '\0';
    return line;
}

char *verdict_to_json(const struct verdict *v, struct str revision)
{
    struct members m = {.object = json_object()};
    json_t *objects = json_array();

    add_text(&m, "verdict", state_word(v->state));
    add_text(&m, "reason", verdict_reason(v->state));
    add_str(&m, "message", v->explanation);
    add_str(&m, "revision", revision);
    add_decider(&m, v);
    for (size_t i = 0; i < v->n_objects; i++)
        m.failed |= json_array_append_new(objects, object_json(&v->objects[i], &m.failed)) != 0;
    add(&m, "objects", objects);
    char *text = m.failed ? NULL : json_dumps(m.object, JSON_COMPACT);
    json_decref(m.object);
    return as_line(text);
}
