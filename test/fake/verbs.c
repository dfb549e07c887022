/*
 * Get, create, patch and delete, as a kube-apiserver does them for a custom resource with a status
 * subresource.
 *
 * Rules that a client's tests depend on: a status write changes nothing but .status and leaves the
 * generation; a write of the main resource leaves .status; a resourceVersion in the patch is a precondition
 * (409); a patch that changes nothing makes no new revision; an object with finalizers is only marked as
 * deleted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/rand.h>

#include "test/fake/fake.h"
#include "test/fake/schema.h"

static json_t *now_stamp(void)
{
    char text[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_string(text);
}

static json_t *new_uid(void)
{
    unsigned char raw[16];
    char text[40];
    RAND_bytes(raw, sizeof(raw));
    raw[6] = (unsigned char)((raw[6] & 0x0f) | 0x40);
    raw[8] = (unsigned char)((raw[8] & 0x3f) | 0x80);
    size_t at = 0;
    for (size_t i = 0; i < sizeof(raw); i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%02x", dash ? "-" : "", raw[i]);
    }
    return json_string(text);
}

static json_t *current(struct call *call)
{
    json_t *object = objects_get(call->fake->objects, call->resource, call->namespace, call->name);
    if (object == NULL) {
        call_fail_object(call, 404, "NotFound", "", " not found");
    }
    return object;
}

void verb_get(struct call *call)
{
    json_t *object = current(call);
    if (object != NULL) {
        call_reply_json(call, 200, json_incref(object));
    }
}

/* Name from generateName; false when there is neither. */
static bool settle_name(json_t *metadata)
{
    static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
    const char *name = json_string_value(json_object_get(metadata, "name"));
    const char *prefix = json_string_value(json_object_get(metadata, "generateName"));
    unsigned char raw[5];
    if (name != NULL && *name != '\0') {
        return true;
    }
    if (prefix == NULL || *prefix == '\0' || RAND_bytes(raw, sizeof(raw)) != 1) {
        return false;
    }
    for (size_t i = 0; i < sizeof(raw); i++) {
        raw[i] = (unsigned char)letters[raw[i] % (sizeof(letters) - 1)];
    }
    json_object_set_new(metadata, "name", json_sprintf("%s%.5s", prefix, (const char *)raw));
    return true;
}

/* Kind and version must be those of the path; a missing one is an error, too, as on the real server. */
static bool check_type(struct call *call, const json_t *body)
{
    const struct resource *resource = call->resource;
    const char *version = json_string_value(json_object_get(body, "apiVersion"));
    const char *kind = json_string_value(json_object_get(body, "kind"));
    char wanted[128];
    char problem[256];
    snprintf(wanted, sizeof(wanted), "%s%s%s", resource->group, resource->group[0] == '\0' ? "" : "/",
             resource->version);
    if (version == NULL || strcmp(version, wanted) != 0) {
        call_fail(call, 400, "BadRequest",
                  "the API version in the data (%.100s) does not match the expected API version (%s)",
                  version == NULL ? "" : version, wanted);
        return false;
    }
    if (kind == NULL || strcmp(kind, resource->kind) != 0) {
        snprintf(problem, sizeof(problem), "Invalid value: \"%.100s\": must be %s", kind == NULL ? "" : kind,
                 resource->kind);
        call_fail_field(call, resource->kind, "kind", "FieldValueInvalid", problem);
        return false;
    }
    return true;
}

/* Answers and returns false when this object cannot be created here. */
static bool check_new(struct call *call, json_t *body)
{
    json_t *metadata = json_object_get(body, "metadata");
    const char *namespace = object_meta(body, "namespace");
    if (!check_type(call, body)) {
        return false;
    }
    if (!json_is_object(metadata) || !settle_name(metadata)) {
        call_fail_field(call, call->resource->kind, "metadata.name", "FieldValueRequired",
                        "Required value: name or generateName is required");
        return false;
    }
    if (*namespace != '\0' && strcmp(namespace, call->namespace) != 0) {
        call_fail(call, 400, "BadRequest",
                  "the namespace of the provided object does not match the namespace sent on the request");
        return false;
    }
    call->name = object_meta(body, "name");
    if (objects_get(call->fake->objects, call->resource, call->namespace, call->name) != NULL) {
        call_fail_object(call, 409, "AlreadyExists", "", " already exists");
        return false;
    }
    return true;
}

void verb_create(struct call *call)
{
    json_t *body = call_body(call);
    if (body == NULL) {
        return;
    }
    if (!check_new(call, body)) {
        json_decref(body);
        return;
    }
    json_t *metadata = json_object_get(body, "metadata");
    json_object_set_new(metadata, "namespace", json_string(call->namespace));
    json_object_set_new(metadata, "uid", new_uid());
    json_object_set_new(metadata, "creationTimestamp", now_stamp());
    if (call->resource->has_status) {
        json_object_set_new(metadata, "generation", json_integer(1));
        json_object_del(body, "status");
    }
    struct schema_problem problem;
    if (!schema_apply(call->resource, body, &problem)) {
        call_fail_field(call, call->resource->kind, problem.field, problem.reason, problem.message);
        json_decref(body);
    } else if (objects_put(call->fake->objects, call->resource, json_incref(body))) {
        call_reply_json(call, 201, body);
    } else {
        json_decref(body);
        call_fail(call, 500, "InternalError", "etcdserver: mvcc: database space exceeded");
    }
}

/* RFC 7386. Returns a new reference. */
static json_t *merge(const json_t *target, json_t *patch)
{
    const char *key = NULL;
    json_t *value = NULL;
    if (!json_is_object(patch)) {
        return json_incref(patch);
    }
    json_t *result = json_is_object(target) ? json_copy((json_t *)(uintptr_t)target) : json_object();
    json_object_foreach(patch, key, value)
    {
        if (json_is_null(value)) {
            json_object_del(result, key);
        } else {
            json_object_set_new(result, key, merge(json_object_get(result, key), value));
        }
    }
    return result;
}

static void put_back(json_t *object, const json_t *from, const char *key)
{
    json_t *value = json_object_get(from, key);
    if (value == NULL) {
        json_object_del(object, key);
    } else {
        json_object_set(object, key, value);
    }
}

/* What the patch makes of the object, before the revision is given. New reference, its own copy. */
static json_t *apply(const struct call *call, json_t *object, json_t *patch)
{
    static const char *const fixed[] = {"name",       "namespace",       "uid",
                                        "generation", "resourceVersion", "creationTimestamp"};
    json_t *merged = merge(object, patch);
    json_t *next = json_deep_copy(call->status_only ? object : merged);
    if (call->status_only) {
        put_back(next, merged, "status");
    } else {
        put_back(next, object, "apiVersion");
        put_back(next, object, "kind");
        if (call->resource->has_status) {
            put_back(next, object, "status");
        }
        if (!json_is_object(json_object_get(next, "metadata"))) {
            put_back(next, object, "metadata");
        }
        for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
            put_back(json_object_get(next, "metadata"), json_object_get(object, "metadata"), fixed[i]);
        }
    }
    json_decref(merged);
    json_t *own = json_deep_copy(next);
    json_decref(next);
    return own;
}

/* The precondition of the patch; answers and returns false when it is not met. */
static bool check_version(struct call *call, const json_t *object, const json_t *patch)
{
    const json_t *version = json_object_get(json_object_get(patch, "metadata"), "resourceVersion");
    const char *text = json_string_value(version);
    uint64_t number = 0;
    if (version == NULL || json_is_null(version)) {
        return true;
    }
    if (text == NULL) {
        call_fail_field(call, call->resource->kind, "patch", "FieldValueInvalid",
                        "Invalid value: resourceVersion accessor error: is not of the type string");
    } else if (*text == '\0') {
        call_fail_field(call, call->resource->plural, "metadata.resourceVersion", "FieldValueInvalid",
                        "Invalid value: 0: must be specified for an update");
    } else if (!parse_version(text, &number)) {
        call_fail(call, 500, "", "strconv.ParseUint: parsing \"%.100s\": invalid syntax", text);
    } else if (strcmp(text, object_meta(object, "resourceVersion")) != 0) {
        call_fail_object(
            call, 409, "Conflict", "Operation cannot be fulfilled on ",
            ": the object has been modified; please apply your changes to the latest version and try "
            "again");
    } else {
        return true;
    }
    return false;
}

/* What a patch of the main resource may not touch; answers and returns false. */
static bool check_identity(struct call *call, const json_t *object, const json_t *patch)
{
    const json_t *metadata = json_object_get(patch, "metadata");
    const char *name = json_string_value(json_object_get(metadata, "name"));
    const char *uid = json_string_value(json_object_get(metadata, "uid"));
    char problem[256];
    if (name != NULL && strcmp(name, call->name) != 0) {
        call_fail(call, 400, "BadRequest",
                  "the name of the object (%.100s) does not match the name on the URL (%s)", name,
                  call->name);
        return false;
    }
    if (!call->status_only && uid != NULL && strcmp(uid, object_meta(object, "uid")) != 0) {
        snprintf(problem, sizeof(problem), "Invalid value: \"%.100s\": field is immutable", uid);
        call_fail_field(call, call->resource->kind, "metadata.uid", "FieldValueInvalid", problem);
        return false;
    }
    return true;
}

static void bump_generation(const struct call *call, json_t *next, const json_t *object)
{
    json_t *generation = json_object_get(json_object_get(next, "metadata"), "generation");
    if (!call->status_only && call->resource->has_status &&
        !json_equal(json_object_get(next, "spec"), json_object_get(object, "spec"))) {
        json_object_set_new(json_object_get(next, "metadata"), "generation",
                            json_integer(json_integer_value(generation) + 1));
    }
}

static void store(struct call *call, json_t *next)
{
    json_t *metadata = json_object_get(next, "metadata");
    bool dying = json_object_get(metadata, "deletionTimestamp") != NULL;
    if (!objects_put(call->fake->objects, call->resource, json_incref(next))) {
        abort(); /* a replacement needs no room */
    }
    if (dying && json_array_size(json_object_get(metadata, "finalizers")) == 0) {
        objects_remove(call->fake->objects, call->resource, call->namespace, call->name);
    }
    call_reply_json(call, 200, next);
}

static void patch_with(struct call *call, json_t *object, json_t *patch)
{
    struct schema_problem problem;
    if (!check_version(call, object, patch) || !check_identity(call, object, patch)) {
        return;
    }
    json_t *next = apply(call, object, patch);
    const char *denied = schema_denied_key(call->resource, next);
    if (!schema_apply(call->resource, next, &problem)) {
        call_fail_field(call, call->resource->kind, problem.field, problem.reason, problem.message);
        json_decref(next);
    } else if (denied != NULL) {
        call_fail(
            call, 400, "BadRequest",
            "admission webhook \"webhook.pipeline.tekton.dev\" denied the request: mutation failed: cannot "
            "decode incoming new object: json: unknown field \"%s\"",
            denied);
        json_decref(next);
    } else if (json_equal(next, object)) {
        call_reply_json(call, 200, next);
    } else {
        bump_generation(call, next, object);
        store(call, next);
    }
}

void verb_patch(struct call *call)
{
    if (!call_has_type(call, "application/merge-patch+json")) {
        call_fail(call, 415, "UnsupportedMediaType", "%s", status_message(415));
        return;
    }
    json_t *object = current(call);
    if (object == NULL) {
        return;
    }
    json_error_t error;
    json_t *patch = json_loadb(call->request->body, call->request->body_bytes, JSON_ALLOW_NUL, &error);
    if (json_is_object(patch)) {
        patch_with(call, object, patch);
    } else {
        call_fail(call, 400, "BadRequest", "error decoding patch: %s",
                  patch == NULL ? error.text : "not an object");
    }
    json_decref(patch);
}

void verb_delete(struct call *call)
{
    json_t *object = current(call);
    if (object == NULL) {
        return;
    }
    json_t *metadata = json_object_get(object, "metadata");
    if (json_array_size(json_object_get(metadata, "finalizers")) > 0) {
        json_t *next = json_deep_copy(object);
        if (json_object_get(metadata, "deletionTimestamp") == NULL) {
            json_t *marked = json_object_get(next, "metadata");
            json_int_t generation = json_integer_value(json_object_get(marked, "generation"));
            json_object_set_new(marked, "deletionTimestamp", now_stamp());
            json_object_set_new(marked, "deletionGracePeriodSeconds", json_integer(0));
            json_object_set_new(marked, "generation", json_integer(generation + 1));
            objects_put(call->fake->objects, call->resource, json_incref(next));
        }
        call_reply_json(call, 200, next);
        return;
    }
    json_t *answer =
        json_pack("{s:s, s:s, s:{}, s:s, s:{s:s, s:s, s:s, s:s}}", "kind", "Status", "apiVersion", "v1",
                  "metadata", "status", "Success", "details", "name", call->name, "group",
                  call->resource->group, "kind", call->resource->plural, "uid", object_meta(object, "uid"));
    objects_remove(call->fake->objects, call->resource, call->namespace, call->name);
    call_reply_json(call, 200, answer);
}
