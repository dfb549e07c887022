/*
 * The fault table.
 *
 * Each named action of the JSON form is one row of `actions`: what it does to the request, and which damage
 * with which defaults. A rule is unpacked strictly, since a misspelt key in a test would inject nothing and
 * pass.
 */
#include "test/fake/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOR_EVER (-1)
#define UNSET    (-2) /* after_bytes; HTTP_HALF_OF_ANSWER is -1 */

struct action {
    const char *name;
    enum fault_action action;
    struct http_damage damage;
};

static const struct action actions[] = {
    {"delay", FAULT_DELAY, {0}},
    {"status", FAULT_STATUS, {0}},
    /* With after_bytes these two become damage: the request is applied, the answer begins. */
    {"reset", FAULT_END, {.kind = HTTP_DAMAGE_CUT, .end = HTTP_END_RESET}},
    {"hang", FAULT_END, {.kind = HTTP_DAMAGE_CUT, .end = HTTP_END_HANG}},
    {"truncate", FAULT_DAMAGE, {HTTP_DAMAGE_CUT, HTTP_END_CLEAN, HTTP_HALF_OF_ANSWER, 0, 0}},
    {"drop_answer", FAULT_DAMAGE, {.kind = HTTP_DAMAGE_CUT, .end = HTTP_END_CLEAN}},
    {"garbage", FAULT_DAMAGE, {.kind = HTTP_DAMAGE_GARBAGE, .end = HTTP_END_CLEAN}},
    {"dribble", FAULT_DAMAGE, {.kind = HTTP_DAMAGE_DRIBBLE, .piece_bytes = 1}},
};

struct rule {
    const struct action *action;
    char *method;        /* NULL: any */
    char *path_contains; /* in the target, query included */
    char *body_contains;
    int skip; /* matches that pass unharmed first */
    int left; /* or FOR_EVER */
    int hits;
    struct fault_case fault;
};

struct faults {
    struct rule rules[FAULTS_MAX];
    size_t count;
    char problem[256];
};

struct faults *faults_new(void)
{
    return calloc(1, sizeof(struct faults));
}

static void rule_clear(struct rule *rule)
{
    free(rule->method);
    free(rule->path_contains);
    free(rule->body_contains);
    free(rule->fault.body);
}

void faults_clear(struct faults *faults)
{
    for (size_t i = 0; i < faults->count; i++) {
        rule_clear(&faults->rules[i]);
    }
    faults->count = 0;
}

void faults_free(struct faults *faults)
{
    if (faults != NULL) {
        faults_clear(faults);
        free(faults);
    }
}

static const struct action *find_action(const char *name)
{
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(actions[i].name, name) == 0) {
            return &actions[i];
        }
    }
    return NULL;
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : strdup(text);
}

/* What the rule says of the answer, on top of what its action does by default. */
static void fill_case(struct fault_case *fault, int after_bytes, int piece_bytes, int interval_ms,
                      int close_notify)
{
    if (after_bytes != UNSET) {
        fault->damage.after_bytes = after_bytes;
        fault->action = fault->action == FAULT_END ? FAULT_DAMAGE : fault->action;
    }
    if (piece_bytes > 0) {
        fault->damage.piece_bytes = (size_t)piece_bytes;
    }
    if (close_notify == 0 && fault->damage.end == HTTP_END_CLEAN) {
        fault->damage.end = HTTP_END_DIRTY;
    }
    fault->damage.interval_ms = interval_ms;
}

bool faults_add(struct faults *faults, json_t *json, const char **ret_problem)
{
    const char *name = NULL;
    const char *method = NULL;
    const char *path = NULL;
    const char *in_body = NULL;
    const char *body = NULL;
    int after_bytes = UNSET;
    int piece_bytes = 0;
    int interval_ms = 0;
    int close_notify = 1;
    struct rule rule = {.left = 1};
    json_error_t error;
    *ret_problem = faults->problem;
    if (faults->count == FAULTS_MAX) {
        *ret_problem = "the fault table is full";
        return false;
    }
    if (json_unpack_ex(json, &error, JSON_STRICT,
                       "{s:s, s?{s?s, s?s, s?s !}, s?i, s?i, s?i, s?i, s?i, s?s, s?i, s?i, s?i, s?b}",
                       "action", &name, "match", "method", &method, "path_contains", &path, "body_contains",
                       &in_body, "times", &rule.left, "skip", &rule.skip, "status", &rule.fault.status,
                       "retry_after", &rule.fault.retry_after_seconds, "delay_ms", &rule.fault.delay_ms,
                       "body", &body, "after_bytes", &after_bytes, "bytes", &piece_bytes, "interval_ms",
                       &interval_ms, "close_notify", &close_notify) != 0) {
        snprintf(faults->problem, sizeof(faults->problem), "%s", error.text);
        return false;
    }
    rule.action = find_action(name);
    if (rule.action == NULL || (rule.action->action == FAULT_STATUS && rule.fault.status < 200)) {
        *ret_problem = rule.action == NULL ? "no such action" : "action status needs a status";
        return false;
    }
    rule.fault.action = rule.action->action;
    rule.fault.damage = rule.action->damage;
    fill_case(&rule.fault, after_bytes, piece_bytes, interval_ms, close_notify);
    rule.method = copy(method);
    rule.path_contains = copy(path);
    rule.body_contains = copy(in_body);
    rule.fault.body = copy(body);
    faults->rules[faults->count++] = rule;
    return true;
}

json_t *faults_to_json(const struct faults *faults)
{
    json_t *array = json_array();
    for (size_t i = 0; i < faults->count; i++) {
        const struct rule *rule = &faults->rules[i];
        json_array_append_new(array, json_pack("{s:s, s:i, s:i}", "action", rule->action->name, "hits",
                                               rule->hits, "left", rule->left));
    }
    return array;
}

static bool matches(const struct rule *rule, const struct http_request *request)
{
    return rule->left != 0 && (rule->method == NULL || strcmp(rule->method, request->method) == 0) &&
           (rule->path_contains == NULL || strstr(request->target, rule->path_contains) != NULL) &&
           (rule->body_contains == NULL || strstr(request->body, rule->body_contains) != NULL);
}

struct fault_case *faults_take(struct faults *faults, const struct http_request *request)
{
    for (size_t i = 0; i < faults->count; i++) {
        struct rule *rule = &faults->rules[i];
        if (!matches(rule, request)) {
            continue;
        }
        if (rule->skip > 0) {
            rule->skip--;
            return NULL;
        }
        rule->hits++;
        rule->left -= rule->left == FOR_EVER ? 0 : 1;
        struct fault_case *fault = malloc(sizeof(*fault));
        if (fault != NULL) {
            *fault = rule->fault;
            fault->body = copy(rule->fault.body);
        }
        return fault;
    }
    return NULL;
}

void fault_case_free(struct fault_case *fault)
{
    if (fault != NULL) {
        free(fault->body);
        free(fault);
    }
}
