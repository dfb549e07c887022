/*
 * The request log and the log of writes.
 *
 * An entry is addressed by its number, which never comes again, so a late answer finds its entry or notices
 * that the ring has moved on. The time of a write is taken when it is applied, which is what a latency
 * measurement wants.
 */
#include "test/fake/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/fake/fake.h"

struct request_entry {
    uint64_t number;
    double ms;
    int status;
    char method[16];
    char *target;
    char *user_agent;
};

struct write_entry {
    const struct resource *resource;
    char *key;
    char *line;
};

struct log {
    struct request_entry requests[LOG_MAX_REQUESTS];
    struct write_entry writes[LOG_MAX_WRITES];
    uint64_t requests_total;
    uint64_t requests_cleared; /* entries up to this number are not shown */
    uint64_t writes_total;
};

struct log *log_new(void)
{
    return calloc(1, sizeof(struct log));
}

void log_free(struct log *log)
{
    for (size_t i = 0; log != NULL && i < LOG_MAX_REQUESTS; i++) {
        free(log->requests[i].target);
        free(log->requests[i].user_agent);
    }
    for (size_t i = 0; log != NULL && i < LOG_MAX_WRITES; i++) {
        free(log->writes[i].key);
        free(log->writes[i].line);
    }
    free(log);
}

uint64_t log_request(struct log *log, const struct http_request *request)
{
    uint64_t number = ++log->requests_total;
    struct request_entry *entry = &log->requests[number % LOG_MAX_REQUESTS];
    free(entry->target);
    free(entry->user_agent);
    *entry = (struct request_entry){.number = number, .ms = fake_now_ms()};
    memcpy(entry->method, request->method, sizeof(entry->method));
    entry->target = strdup(request->target);
    entry->user_agent = strdup(request->user_agent == NULL ? "" : request->user_agent);
    return number;
}

void log_set_status(struct log *log, uint64_t number, int status)
{
    struct request_entry *entry = &log->requests[number % LOG_MAX_REQUESTS];
    if (number != 0 && entry->number == number) {
        entry->status = status;
    }
}

uint64_t log_requests(const struct log *log)
{
    return log->requests_total - log->requests_cleared;
}

void log_clear(struct log *log)
{
    log->requests_cleared = log->requests_total;
}

json_t *log_to_json(const struct log *log, const char *method, const char *path_contains)
{
    json_t *array = json_array();
    uint64_t first = log->requests_cleared + 1;
    if (log->requests_total > LOG_MAX_REQUESTS && first <= log->requests_total - LOG_MAX_REQUESTS) {
        first = log->requests_total - LOG_MAX_REQUESTS + 1;
    }
    for (uint64_t number = first; number <= log->requests_total; number++) {
        const struct request_entry *entry = &log->requests[number % LOG_MAX_REQUESTS];
        if ((method != NULL && strcmp(entry->method, method) != 0) ||
            (path_contains != NULL && strstr(entry->target, path_contains) == NULL)) {
            continue;
        }
        json_array_append_new(array,
                              json_pack("{s:I, s:f, s:s, s:s, s:s, s:i}", "number", (json_int_t)number, "ms",
                                        entry->ms, "method", entry->method, "target", entry->target,
                                        "userAgent", entry->user_agent, "status", entry->status));
    }
    return array;
}

static const char *text_of(const json_t *condition, const char *key)
{
    const char *text = json_string_value(json_object_get(condition, key));
    return text == NULL || *text == '\0' ? "-" : text;
}

void log_write(struct log *log, const struct change *change)
{
    static const char *const names[] = {"ADDED", "MODIFIED", "DELETED"};
    const json_t *object = change->object;
    const json_t *condition = object_succeeded(object);
    struct write_entry *entry = &log->writes[log->writes_total++ % LOG_MAX_WRITES];
    free(entry->key);
    free(entry->line);
    *entry = (struct write_entry){.resource = change->resource};
    if (asprintf(&entry->key, "%s/%s", change->namespace, object_meta(object, "name")) < 0 ||
        asprintf(&entry->line, "%.3f %s %s %s %s %s\n", fake_now_ms(), entry->key,
                 object_meta(object, "resourceVersion"), names[change->type], text_of(condition, "status"),
                 text_of(condition, "reason")) < 0) {
        abort();
    }
}

char *log_writes(const struct log *log, const struct resource *resource, const char *prefix, bool whole)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    uint64_t first = log->writes_total > LOG_MAX_WRITES ? log->writes_total - LOG_MAX_WRITES : 0;
    for (uint64_t i = first; out != NULL && i < log->writes_total; i++) {
        const struct write_entry *entry = &log->writes[i % LOG_MAX_WRITES];
        bool matches =
            whole ? strcmp(entry->key, prefix) == 0 : strncmp(entry->key, prefix, strlen(prefix)) == 0;
        if (entry->resource == resource && matches) {
            fputs(entry->line, out);
        }
    }
    if (out == NULL || fclose(out) != 0) {
        abort();
    }
    return text;
}
