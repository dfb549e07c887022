/*
 * The parts of the CRDs' schemas that a controller can run into.
 *
 * CustomRun since Tekton 0.70 has a structural schema: unknown keys of .status vanish without a word, and a wrong
 * type is 422. Run keeps whatever it is given (x-kubernetes-preserve-unknown-fields), but the admission webhook of
 * Tekton 0.24.1 decodes it strictly. Only .status and two fields of .spec are looked at: nothing else is written here.
 */
#include "test/fake/schema.h"

#include <stdio.h>
#include <string.h>

static bool is_known(const char *const *keys, const char *key)
{
    while (*keys != NULL && strcmp(*keys, key) != 0) {
        keys++;
    }
    return *keys != NULL;
}

static void prune(const struct resource *resource, json_t *status)
{
    const char *key = NULL;
    json_t *value = NULL;
    void *next = NULL;
    json_object_foreach_safe(status, next, key, value)
    {
        if (!is_known(resource->status_keys, key)) {
            json_object_del(status, key);
        }
    }
}

const char *schema_denied_key(const struct resource *resource, const json_t *object)
{
    const char *key = NULL;
    json_t *value = NULL;
    if (resource->status_keys == NULL || resource->structural) {
        return NULL;
    }
    json_object_foreach(json_object_get(object, "status"), key, value)
    {
        if (!is_known(resource->status_keys, key)) {
            return key;
        }
    }
    return NULL;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "object";
    case JSON_ARRAY: return "array";
    case JSON_STRING: return "string";
    case JSON_INTEGER: return "integer";
    case JSON_REAL: return "number";
    case JSON_NULL: return "null";
    case JSON_TRUE:
    case JSON_FALSE: return "boolean";
    }
    return "";
}

/* One typed field; absent is right unless it is required. short_name is what follows the first dot. */
static bool check(const json_t *value, const char *field, const char *type, bool required,
                  struct schema_problem *problem)
{
    const char *short_name = strchr(field, '.');
    snprintf(problem->field, sizeof(problem->field), "%s", field);
    if (value == NULL && required) {
        problem->reason = "FieldValueRequired";
        snprintf(problem->message, sizeof(problem->message), "Required value");
        return false;
    }
    if (value == NULL || strcmp(type_name(value), type) == 0) {
        return true;
    }
    problem->reason = "FieldValueTypeInvalid";
    snprintf(problem->message, sizeof(problem->message),
             "Invalid value: \"%s\": %s in body must be of type %s: \"%s\"", type_name(value),
             short_name == NULL ? "" : short_name + 1, type, type_name(value));
    return false;
}

/* Each entry of an array of objects must have these two strings. */
static bool check_entries(const json_t *status, const char *array, const char *first, const char *second,
                          struct schema_problem *problem)
{
    const char *const keys[] = {first, second};
    const json_t *entries = json_object_get(status, array);
    char field[64];
    snprintf(field, sizeof(field), "status.%s", array);
    if (!check(entries, field, "array", false, problem)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(entries); i++) {
        for (size_t k = 0; k < 2; k++) {
            snprintf(field, sizeof(field), "status.%s[%zu].%s", array, i, keys[k]);
            if (!check(json_object_get(json_array_get(entries, i), keys[k]), field, "string", true,
                       problem)) {
                return false;
            }
        }
    }
    return true;
}

static bool check_time(const json_t *status, const char *key, struct schema_problem *problem)
{
    const json_t *value = json_object_get(status, key);
    const char *text = json_string_value(value);
    int fields[6];
    char zone[8] = "";
    char field[64];
    snprintf(field, sizeof(field), "status.%s", key);
    if (!check(value, field, "string", false, problem)) {
        return false;
    }
    if (text == NULL || (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%7s", &fields[0], &fields[1], &fields[2],
                                &fields[3], &fields[4], &fields[5], zone) == 7 &&
                         strpbrk(zone, "Z+-") != NULL)) {
        return true;
    }
    problem->reason = "FieldValueTypeInvalid";
    snprintf(problem->message, sizeof(problem->message),
             "Invalid value: \"%.40s\": %s in body must be of type date-time: \"%.40s\"", text, key, text);
    return false;
}

bool schema_apply(const struct resource *resource, json_t *object, struct schema_problem *ret_problem)
{
    json_t *status = json_object_get(object, "status");
    json_t *spec = json_object_get(object, "spec");
    if (!resource->has_status) {
        return true;
    }
    if (!check(status, "status", "object", false, ret_problem)) {
        return false;
    }
    if (!resource->structural) {
        return true;
    }
    prune(resource, status);
    return check(json_object_get(spec, "retries"), "spec.retries", "integer", false, ret_problem) &&
           check(json_object_get(spec, "timeout"), "spec.timeout", "string", false, ret_problem) &&
           check(json_object_get(status, "observedGeneration"), "status.observedGeneration", "integer", false,
                 ret_problem) &&
           check_time(status, "startTime", ret_problem) &&
           check_time(status, "completionTime", ret_problem) &&
           check_entries(status, "conditions", "type", "status", ret_problem) &&
           check_entries(status, "results", "name", "value", ret_problem);
}
