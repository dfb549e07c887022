/*
 * Answers, and the errors of the API machinery in its own words.
 *
 * Each error is a metav1.Status, as clients parse it; only what the real server answers in plain text (a path
 * that nobody serves) is plain text here.
 */
#include "test/fake/fake.h"
#include "test/fake/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct status_row {
    int status;
    const char *reason;
    const char *message;
};

static const struct status_row status_rows[] = {
    {400, "BadRequest", "the server rejected our request for an unknown reason"},
    {401, "Unauthorized", "Unauthorized"},
    {403, "Forbidden",
     "customruns.tekton.dev is forbidden: User \"system:serviceaccount:default:fake\" cannot patch resource "
     "\"customruns/status\" in API group \"tekton.dev\" in the namespace \"default\""},
    {404, "NotFound", "the server could not find the requested resource"},
    {405, "MethodNotAllowed", "the server does not allow this method on the requested resource"},
    {409, "Conflict",
     "Operation cannot be fulfilled on customruns.tekton.dev \"fake\": the object has been modified; please "
     "apply "
     "your changes to the latest version and try again"},
    {410, "Expired", "too old resource version: 1 (2)"},
    {415, "UnsupportedMediaType",
     "the body of the request was in an unknown format - accepted media types include: "
     "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"},
    {422, "Invalid", "CustomRun.tekton.dev \"fake\" is invalid: status: Invalid value"},
    {429, "TooManyRequests", "Too many requests, please try again later."},
    {500, "InternalError",
     "Internal error occurred: failed calling webhook \"validation.webhook.pipeline.tekton.dev\": failed to "
     "call "
     "webhook: Post "
     "\"https://tekton-pipelines-webhook.tekton-pipelines.svc:443/resource-validation?timeout=10s\": "
     "no endpoints available for service \"tekton-pipelines-webhook\""},
    {503, "ServiceUnavailable", "the server is currently unable to handle the request"},
    {504, "Timeout", "Timeout: request did not complete within the allotted timeout"},
};

static const struct status_row *find_row(int status)
{
    for (size_t i = 0; i < sizeof(status_rows) / sizeof(status_rows[0]); i++) {
        if (status_rows[i].status == status) {
            return &status_rows[i];
        }
    }
    return NULL;
}

const char *status_reason(int status)
{
    const struct status_row *row = find_row(status);
    return row == NULL ? "" : row->reason;
}

const char *status_message(int status)
{
    const struct status_row *row = find_row(status);
    return row == NULL ? "unknown" : row->message;
}

double fake_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

json_t *status_failure(int status, const char *reason, const char *message, json_t *details)
{
    const char *named = *reason == '\0' ? NULL : reason; /* some errors of the real server have none */
    return json_pack("{s:s, s:s, s:{}, s:s, s:s, s:s*, s:o*, s:i}", "kind", "Status", "apiVersion", "v1",
                     "metadata", "status", "Failure", "message", message, "reason", named, "details", details,
                     "code", status);
}

static void reply(struct call *call, int status, const char *content_type, const char *headers,
                  const char *text, size_t bytes)
{
    log_set_status(call->fake->log, call->log_number, status);
    http_reply(call->conn, status, content_type, headers, text, bytes);
}

void call_reply_json(struct call *call, int status, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    char *line = NULL;
    int bytes = text == NULL ? -1 : asprintf(&line, "%s\n", text);
    json_decref(body);
    free(text);
    if (bytes < 0) {
        abort();
    }
    reply(call, status, "application/json", "", line, (size_t)bytes);
    free(line);
}

void call_reply_text(struct call *call, int status, const char *text)
{
    reply(call, status, "text/plain; charset=utf-8", "", text, strlen(text));
}

void call_fail_with(struct call *call, int status, const char *reason, json_t *details,
                    int retry_after_seconds, const char *message)
{
    char headers[64] = "";
    if (retry_after_seconds > 0) {
        snprintf(headers, sizeof(headers), "Retry-After: %d\r\n", retry_after_seconds);
    }
    json_t *body = status_failure(status, reason, message, details);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text == NULL) {
        abort();
    }
    reply(call, status, "application/json", headers, text, strlen(text));
    free(text);
}

void call_fail(struct call *call, int status, const char *reason, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    call_fail_with(call, status, reason, NULL, 0, message);
}

void call_fail_object(struct call *call, int status, const char *reason, const char *before,
                      const char *after)
{
    const struct resource *resource = call->resource;
    const char *name = call->name == NULL ? "" : call->name;
    char message[1024];
    snprintf(message, sizeof(message), "%s%s%s%s \"%s\"%s", before, resource->plural,
             resource->group[0] == '\0' ? "" : ".", resource->group, name, after);
    json_t *details =
        json_pack("{s:s, s:s, s:s}", "name", name, "group", resource->group, "kind", resource->plural);
    call_fail_with(call, status, reason, details, 0, message);
}

void call_fail_field(struct call *call, const char *kind, const char *field, const char *reason,
                     const char *problem)
{
    const struct resource *resource = call->resource;
    char message[1024];
    snprintf(message, sizeof(message), "%s.%s \"%s\" is invalid: %s: %s", kind, resource->group,
             call->name == NULL ? "" : call->name, field, problem);
    json_t *details =
        json_pack("{s:s*, s:s, s:s, s:[{s:s, s:s, s:s}]}", "name", call->name, "group", resource->group,
                  "kind", kind, "causes", "reason", reason, "message", problem, "field", field);
    call_fail_with(call, 422, "Invalid", details, 0, message);
}

bool call_has_type(const struct call *call, const char *content_type)
{
    const char *type = call->request->content_type == NULL ? "" : call->request->content_type;
    return strcspn(type, "; ") == strlen(content_type) &&
           strncmp(type, content_type, strlen(content_type)) == 0;
}

json_t *call_body(struct call *call)
{
    json_error_t error;
    if (call->request->content_type != NULL && !call_has_type(call, "application/json")) {
        call_fail(call, 415, "UnsupportedMediaType",
                  "the body of the request was in an unknown format - accepted media types include: "
                  "application/json, "
                  "application/yaml, application/vnd.kubernetes.protobuf");
        return NULL;
    }
    json_t *body = json_loadb(call->request->body, call->request->body_bytes, JSON_ALLOW_NUL, &error);
    if (!json_is_object(body)) {
        call_fail(call, 400, "BadRequest",
                  "the object provided is unrecognized (must be of type %s): couldn't get version/kind; json "
                  "parse error: %s",
                  call->resource->kind, body == NULL ? error.text : "not an object");
        json_decref(body);
        return NULL;
    }
    return body;
}
