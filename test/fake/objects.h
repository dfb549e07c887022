/*
 * The object store of the fake API server: what etcd is to the real one.
 *
 * One resourceVersion counter over all resources. Every write makes a new revision of an object; a stored
 * json_t is never changed afterwards, so that a list page or a watch line may keep a reference. The last
 * changes of each resource are kept, so that a watch can start in the past, until they are compacted.
 */
#ifndef TEST_FAKE_OBJECTS_H
#define TEST_FAKE_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define OBJECTS_MAX_PER_RESOURCE  100000u
#define OBJECTS_MAX_HISTORY       20000u
#define OBJECTS_MAX_HISTORY_BYTES (128u * 1024u * 1024u)

struct objects;

/* One row of the table of resources; lives as long as the store. */
struct resource {
    const char *group; /* "" for core */
    const char *version;
    const char *plural;
    const char *kind;
    const char *singular;
    const char *const *status_keys; /* NULL: any */
    bool structural; /* the CRD's schema drops other keys; else an admission webhook refuses them */
    bool has_status; /* a status subresource */
    bool served;     /* switched by objects_serve */
};

enum change_type { CHANGE_ADDED, CHANGE_MODIFIED, CHANGE_DELETED };

struct change {
    enum change_type type;
    const struct resource *resource;
    uint64_t version;
    const json_t *object; /* only during on_change */
    char *namespace;
    char *line; /* the watch event as JSON with its newline, made once for all watchers */
    size_t line_bytes;
};

/* on_change fires for each write, before the call that made it returns; it may not write itself. */
struct objects *objects_new(void (*on_change)(const struct change *change, void *arg), void *arg);
void objects_free(struct objects *objects);

size_t objects_resources(const struct objects *objects);
const struct resource *objects_resource(const struct objects *objects, size_t index);
/* By path segments, or by plural alone when group is NULL. NULL when there is none; it may not be served. */
const struct resource *objects_find(const struct objects *objects, const char *group, const char *version,
                                    const char *plural);

uint64_t objects_version(const struct objects *objects);
size_t objects_count(const struct objects *objects, const struct resource *resource);
/* Borrowed until the object's next write; keep it with json_incref. */
json_t *objects_get(const struct objects *objects, const struct resource *resource, const char *namespace,
                    const char *name);
/* The i-th object in the order of namespace/name; for lists. */
json_t *objects_at(const struct objects *objects, const struct resource *resource, size_t index);

/*
 * Stores `object` (takes over the reference; it must be the caller's own copy), which gets a resourceVersion.
 * metadata.namespace and metadata.name must be there. False when the resource is full.
 */
bool objects_put(struct objects *objects, const struct resource *resource, json_t *object);
void objects_remove(struct objects *objects, const struct resource *resource, const char *namespace,
                    const char *name);
/* Serving nothing of a resource any more removes its objects, as deleting its CRD does. */
void objects_serve(struct objects *objects, const struct resource *resource, bool served);

/* Forgets the kept changes: a watch from before now is too old. */
void objects_compact(struct objects *objects, const struct resource *resource);
/* The oldest resourceVersion from which a watch can still start. */
uint64_t objects_oldest(const struct objects *objects, const struct resource *resource);
/* Calls fn for each kept change of the resource that is newer than `version`, in order. */
void objects_since(const struct objects *objects, const struct resource *resource, uint64_t version,
                   void (*fn)(const struct change *change, void *arg), void *arg);

const char *object_meta(const json_t *object, const char *key); /* "" when absent or not a string */
/* The condition of type Succeeded; NULL when there is none. */
const json_t *object_succeeded(const json_t *object);

#endif
