/*
 * Lists, in pages.
 *
 * All pages of one list show one moment: the first page takes a snapshot (references, not copies), and the
 * continue token names it. A token whose snapshot was compacted or pushed out gets 410 Expired. The token has
 * characters that a query string must escape, so that a client which does not is found out here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/fake/fake.h"

#define MAX_SNAPSHOTS 16u

struct snapshot {
    uint64_t version; /* 0: empty slot */
    const struct resource *resource;
    json_t *items;
};

struct snapshots {
    struct snapshot slots[MAX_SNAPSHOTS];
    size_t next; /* the slot that is given away next */
};

struct snapshots *snapshots_new(void)
{
    return calloc(1, sizeof(struct snapshots));
}

void snapshots_free(struct snapshots *snapshots)
{
    for (size_t i = 0; snapshots != NULL && i < MAX_SNAPSHOTS; i++) {
        json_decref(snapshots->slots[i].items);
    }
    free(snapshots);
}

bool parse_version(const char *text, uint64_t *ret_version)
{
    *ret_version = 0;
    if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 19) {
        return false;
    }
    *ret_version = strtoull(text, NULL, 10);
    return true;
}

static void fail_version(struct call *call, const char *text)
{
    call_fail(call, 400, "BadRequest",
              "invalid resource version: resourceVersion: Invalid value: \"%.100s\": strconv.ParseUint: "
              "parsing \"%.100s\": invalid syntax",
              text, text);
}

static void fail_too_large(struct call *call, uint64_t version)
{
    char message[128];
    snprintf(message, sizeof(message), "Timeout: Too large resource version: %" PRIu64 ", current: %" PRIu64,
             version, objects_version(call->fake->objects));
    json_t *details = json_pack("{s:[{s:s, s:s}], s:i}", "causes", "reason", "ResourceVersionTooLarge",
                                "message", "Too large resource version", "retryAfterSeconds", 1);
    call_fail_with(call, 504, "Timeout", details, 1, message);
}

static json_t *collect(const struct call *call)
{
    const struct objects *objects = call->fake->objects;
    json_t *items = json_array();
    for (size_t i = 0; i < objects_count(objects, call->resource); i++) {
        json_t *object = objects_at(objects, call->resource, i);
        if (call->namespace == NULL || strcmp(call->namespace, object_meta(object, "namespace")) == 0) {
            json_array_append(items, object);
        }
    }
    return items;
}

/* Takes over items. */
static struct snapshot *keep_snapshot(struct call *call, json_t *items)
{
    struct snapshots *snapshots = call->fake->snapshots;
    struct snapshot *slot = &snapshots->slots[snapshots->next];
    snapshots->next = (snapshots->next + 1) % MAX_SNAPSHOTS;
    json_decref(slot->items);
    *slot = (struct snapshot){objects_version(call->fake->objects), call->resource, items};
    return slot;
}

/* The snapshot and position of a token; NULL when it is none of ours or expired. */
static struct snapshot *find_snapshot(struct call *call, const char *token, size_t *ret_start)
{
    struct snapshots *snapshots = call->fake->snapshots;
    uint64_t version = 0;
    unsigned slot = 0;
    if (sscanf(token, "%" SCNu64 "/%u+%zu==", &version, &slot, ret_start) != 3 || slot >= MAX_SNAPSHOTS) {
        return NULL;
    }
    struct snapshot *snapshot = &snapshots->slots[slot];
    bool fresh = version != 0 && snapshot->version == version && snapshot->resource == call->resource &&
                 version >= objects_oldest(call->fake->objects, call->resource);
    return fresh ? snapshot : NULL;
}

/* One page; *snapshot stays where it is for the next one. */
static void reply_page(struct call *call, const struct snapshot *snapshot, size_t start, size_t limit)
{
    size_t total = json_array_size(snapshot->items);
    size_t end = limit == 0 || total - start < limit ? total : start + limit;
    json_t *page = json_array();
    for (size_t i = start; i < end; i++) {
        json_array_append(page, json_array_get(snapshot->items, i));
    }
    json_t *metadata = json_object();
    json_t *token = end < total ? json_sprintf("%" PRIu64 "/%zu+%zu==", snapshot->version,
                                               (size_t)(snapshot - call->fake->snapshots->slots), end)
                                : json_string("");
    json_object_set_new(metadata, "continue", token);
    if (end < total) {
        json_object_set_new(metadata, "remainingItemCount", json_integer((json_int_t)(total - end)));
    }
    json_object_set_new(metadata, "resourceVersion", json_sprintf("%" PRIu64, snapshot->version));
    const struct resource *resource = call->resource;
    call_reply_json(call, 200,
                    json_pack("{s:s++, s:o, s:s+, s:o}", "apiVersion", resource->group,
                              resource->group[0] == '\0' ? "" : "/", resource->version, "items", page, "kind",
                              resource->kind, "List", "metadata", metadata));
}

static void list_first(struct call *call, size_t limit)
{
    reply_page(call, keep_snapshot(call, collect(call)), 0, limit);
}

static void list_next(struct call *call, const char *token, size_t limit)
{
    size_t start = 0;
    const struct snapshot *snapshot = find_snapshot(call, token, &start);
    if (strstr(token, "==") == NULL) {
        call_fail(call, 400, "BadRequest",
                  "invalid continue token: continue key is not valid: invalid character looking for "
                  "beginning of value");
    } else if (snapshot == NULL || start > json_array_size(snapshot->items)) {
        call_fail(
            call, 410, "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a "
            "new list without the continue parameter, or use the continue token in this response to retrieve "
            "the remainder of the results. Continuing with the provided token results in an inconsistent "
            "list - "
            "objects that were created, modified, or deleted between the time the first chunk was returned "
            "and "
            "now may show up in the list.");
    } else {
        reply_page(call, snapshot, start, limit);
    }
}

void verb_list(struct call *call)
{
    char *limit_text = http_query(call->request, "limit");
    char *token = http_query(call->request, "continue");
    char *version_text = http_query(call->request, "resourceVersion");
    uint64_t limit = 0;
    uint64_t version = 0;
    if (limit_text != NULL && !parse_version(limit_text, &limit)) {
        call_fail(call, 400, "BadRequest", "strconv.ParseInt: parsing \"%.100s\": invalid syntax",
                  limit_text);
    } else if (version_text != NULL && !parse_version(version_text, &version)) {
        fail_version(call, version_text);
    } else if (version > objects_version(call->fake->objects)) {
        fail_too_large(call, version);
    } else if (token != NULL && *token != '\0') {
        list_next(call, token, (size_t)limit);
    } else {
        /* "0" is answered from the watch cache, which knows no pages. */
        bool cached = version_text != NULL && strcmp(version_text, "0") == 0;
        list_first(call, cached ? 0 : (size_t)limit);
    }
    free(limit_text);
    free(token);
    free(version_text);
}
