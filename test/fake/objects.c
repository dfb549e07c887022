/*
 * The object store: sorted arrays of objects, and per resource a queue of the last changes.
 *
 * Sorted by "namespace/name" because a list and its pages come in that order. Bounded by number and by bytes
 * of kept history; the oldest change goes first, which makes watches from before it "too old" exactly as
 * etcd's compaction does. Out of memory ends the process: it is a test program.
 */
#include "test/fake/objects.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* etcd's counter is in the thousands before the first custom resource exists. */
#define FIRST_VERSION 1000u

/* Run at Tekton 0.24.1: its webhook refuses any other key of status. */
static const char *const run_status_keys[] = {
    "observedGeneration", "conditions", "annotations", "startTime",
    "completionTime",     "results",    "extraFields", NULL,
};

static const char *const customrun_status_keys[] = {
    "observedGeneration", "conditions",    "annotations", "startTime", "completionTime", "results",
    "extraFields",        "retriesStatus", NULL,
};

static const struct resource known_resources[] = {
    {"tekton.dev", "v1alpha1", "runs", "Run", "run", run_status_keys, false, true, true},
    {"tekton.dev", "v1beta1", "customruns", "CustomRun", "customrun", customrun_status_keys, true, true,
     true},
    {"", "v1", "events", "Event", "event", NULL, false, false, true},
    {"kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization", "kustomization", NULL, false,
     true, false},
    {"helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease", "helmrelease", NULL, false, true, false},
};
#define RESOURCES (sizeof(known_resources) / sizeof(known_resources[0]))

struct entry {
    char *key; /* "namespace/name" */
    json_t *object;
};

struct table {
    struct entry *entries;
    size_t count;
    size_t capacity;
    struct change *history; /* ring */
    size_t history_first;
    size_t history_count;
    size_t history_bytes;
    uint64_t oldest;
};

struct objects {
    struct resource resources[RESOURCES];
    struct table tables[RESOURCES];
    uint64_t version;
    void (*on_change)(const struct change *change, void *arg);
    void *arg;
};

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

struct objects *objects_new(void (*on_change)(const struct change *change, void *arg), void *arg)
{
    struct objects *objects = must(calloc(1, sizeof(*objects)));
    memcpy(objects->resources, known_resources, sizeof(known_resources));
    objects->version = FIRST_VERSION;
    objects->on_change = on_change;
    objects->arg = arg;
    for (size_t i = 0; i < RESOURCES; i++) {
        objects->tables[i].history = must(calloc(OBJECTS_MAX_HISTORY, sizeof(struct change)));
        objects->tables[i].oldest = FIRST_VERSION;
    }
    return objects;
}

static struct table *table_of(const struct objects *objects, const struct resource *resource)
{
    struct objects *owner = (struct objects *)(uintptr_t)objects;
    return &owner->tables[resource - objects->resources];
}

static void forget_oldest(struct table *table)
{
    struct change *change = &table->history[table->history_first];
    table->oldest = change->version;
    table->history_bytes -= change->line_bytes;
    free(change->namespace);
    free(change->line);
    table->history_first = (table->history_first + 1) % OBJECTS_MAX_HISTORY;
    table->history_count--;
}

void objects_free(struct objects *objects)
{
    if (objects == NULL) {
        return;
    }
    for (size_t i = 0; i < RESOURCES; i++) {
        struct table *table = &objects->tables[i];
        while (table->history_count > 0) {
            forget_oldest(table);
        }
        for (size_t j = 0; j < table->count; j++) {
            free(table->entries[j].key);
            json_decref(table->entries[j].object);
        }
        free(table->entries);
        free(table->history);
    }
    free(objects);
}

size_t objects_resources(const struct objects *objects)
{
    (void)objects;
    return RESOURCES;
}

const struct resource *objects_resource(const struct objects *objects, size_t index)
{
    return &objects->resources[index];
}

const struct resource *objects_find(const struct objects *objects, const char *group, const char *version,
                                    const char *plural)
{
    for (size_t i = 0; i < RESOURCES; i++) {
        const struct resource *resource = &objects->resources[i];
        if (strcmp(resource->plural, plural) == 0 &&
            (group == NULL ||
             (strcmp(resource->group, group) == 0 && strcmp(resource->version, version) == 0))) {
            return resource;
        }
    }
    return NULL;
}

uint64_t objects_version(const struct objects *objects)
{
    return objects->version;
}

size_t objects_count(const struct objects *objects, const struct resource *resource)
{
    return table_of(objects, resource)->count;
}

/* Where key is, or where it would be inserted. */
static size_t find_place(const struct table *table, const char *key, bool *ret_found)
{
    size_t low = 0;
    size_t high = table->count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(table->entries[middle].key, key);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static char *make_key(const char *namespace, const char *name)
{
    char *key = NULL;
    if (asprintf(&key, "%s/%s", namespace, name) < 0) {
        abort();
    }
    return key;
}

json_t *objects_get(const struct objects *objects, const struct resource *resource, const char *namespace,
                    const char *name)
{
    const struct table *table = table_of(objects, resource);
    char *key = make_key(namespace, name);
    bool found = false;
    size_t place = find_place(table, key, &found);
    free(key);
    return found ? table->entries[place].object : NULL;
}

json_t *objects_at(const struct objects *objects, const struct resource *resource, size_t index)
{
    const struct table *table = table_of(objects, resource);
    return index < table->count ? table->entries[index].object : NULL;
}

/* Gives the object its resourceVersion, keeps the change, tells the watchers. */
static void record(struct objects *objects, const struct resource *resource, enum change_type type,
                   json_t *object)
{
    static const char *const names[] = {"ADDED", "MODIFIED", "DELETED"};
    struct table *table = table_of(objects, resource);
    char version[24];
    objects->version++;
    snprintf(version, sizeof(version), "%" PRIu64, objects->version);
    json_object_set_new(json_object_get(object, "metadata"), "resourceVersion", json_string(version));

    struct change change = {.type = type, .resource = resource, .version = objects->version};
    char *text = must(json_dumps(object, JSON_COMPACT));
    change.namespace = must(strdup(object_meta(object, "namespace")));
    int bytes = asprintf(&change.line, "{\"type\":\"%s\",\"object\":%s}\n", names[type], text);
    free(text);
    if (bytes < 0) {
        abort();
    }
    change.line_bytes = (size_t)bytes;
    while (
        table->history_count >= OBJECTS_MAX_HISTORY ||
        (table->history_count > 0 && table->history_bytes + change.line_bytes > OBJECTS_MAX_HISTORY_BYTES)) {
        forget_oldest(table);
    }
    table->history[(table->history_first + table->history_count) % OBJECTS_MAX_HISTORY] = change;
    table->history_count++;
    table->history_bytes += change.line_bytes;
    change.object = object;
    objects->on_change(&change, objects->arg);
}

bool objects_put(struct objects *objects, const struct resource *resource, json_t *object)
{
    struct table *table = table_of(objects, resource);
    char *key = make_key(object_meta(object, "namespace"), object_meta(object, "name"));
    bool found = false;
    size_t place = find_place(table, key, &found);
    if (found) {
        free(key);
        json_decref(table->entries[place].object);
        table->entries[place].object = object;
        record(objects, resource, CHANGE_MODIFIED, object);
        return true;
    }
    if (table->count >= OBJECTS_MAX_PER_RESOURCE) {
        free(key);
        json_decref(object);
        return false;
    }
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
        table->entries = must(realloc(table->entries, table->capacity * sizeof(struct entry)));
    }
    memmove(&table->entries[place + 1], &table->entries[place],
            (table->count - place) * sizeof(struct entry));
    table->entries[place] = (struct entry){.key = key, .object = object};
    table->count++;
    record(objects, resource, CHANGE_ADDED, object);
    return true;
}

static void remove_at(struct objects *objects, const struct resource *resource, size_t place)
{
    struct table *table = table_of(objects, resource);
    struct entry entry = table->entries[place];
    table->count--;
    memmove(&table->entries[place], &table->entries[place + 1],
            (table->count - place) * sizeof(struct entry));
    /* The last state with a new resourceVersion; on a copy, because lists may hold the old one. */
    json_t *last = must(json_deep_copy(entry.object));
    record(objects, resource, CHANGE_DELETED, last);
    json_decref(last);
    json_decref(entry.object);
    free(entry.key);
}

void objects_remove(struct objects *objects, const struct resource *resource, const char *namespace,
                    const char *name)
{
    char *key = make_key(namespace, name);
    bool found = false;
    size_t place = find_place(table_of(objects, resource), key, &found);
    free(key);
    if (found) {
        remove_at(objects, resource, place);
    }
}

void objects_serve(struct objects *objects, const struct resource *resource, bool served)
{
    while (!served && objects_count(objects, resource) > 0) {
        remove_at(objects, resource, objects_count(objects, resource) - 1);
    }
    objects->resources[resource - objects->resources].served = served;
}

void objects_compact(struct objects *objects, const struct resource *resource)
{
    struct table *table = table_of(objects, resource);
    while (table->history_count > 0) {
        forget_oldest(table);
    }
    table->oldest = objects->version;
}

uint64_t objects_oldest(const struct objects *objects, const struct resource *resource)
{
    return table_of(objects, resource)->oldest;
}

void objects_since(const struct objects *objects, const struct resource *resource, uint64_t version,
                   void (*fn)(const struct change *change, void *arg), void *arg)
{
    const struct table *table = table_of(objects, resource);
    for (size_t i = 0; i < table->history_count; i++) {
        const struct change *change = &table->history[(table->history_first + i) % OBJECTS_MAX_HISTORY];
        if (change->version > version) {
            fn(change, arg);
        }
    }
}

const char *object_meta(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(json_object_get(object, "metadata"), key));
    return value == NULL ? "" : value;
}

const json_t *object_succeeded(const json_t *object)
{
    const json_t *conditions = json_object_get(json_object_get(object, "status"), "conditions");
    for (size_t i = 0; i < json_array_size(conditions); i++) {
        const json_t *condition = json_array_get(conditions, i);
        const char *type = json_string_value(json_object_get(condition, "type"));
        if (type != NULL && strcmp(type, "Succeeded") == 0) {
            return condition;
        }
    }
    return NULL;
}
