/*
 * Watch streams.
 *
 * A watch starts after a resourceVersion (replaying what is kept since), or without one with an ADDED per
 * existing object; then it gets each change of its resource and namespace, a bookmark per interval if it
 * asked for them, and a clean final chunk when its timeoutSeconds are over. A resourceVersion older than the
 * kept history gets 410, in the stream as an ERROR event, or as the HTTP status when the settings say so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/fake/fake.h"
#include "test/fake/log.h"

/* A real server draws 1800 to 3600 s when the client names none. */
#define DEFAULT_TIMEOUT_SECONDS 1800u

struct watch {
    LIST_ENTRY(watch) link;
    struct call *call;
    uint64_t after; /* may lie in the future: then all is silent until it has passed, as on the real server */
    struct event *timeout;
    struct event *bookmark; /* NULL: the client did not ask */
};

static void write_line(struct watch *watch, const char *line, size_t bytes)
{
    http_stream_write(watch->call->conn, line, bytes, watch->call->fake->settings.watch_chunk_bytes);
}

void watch_free(struct watch *watch)
{
    LIST_REMOVE(watch, link);
    event_free(watch->timeout);
    if (watch->bookmark != NULL) {
        event_free(watch->bookmark);
    }
    free(watch);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    struct watch *watch = arg;
    (void)fd;
    (void)what;
    http_stream_end(watch->call->conn);
}

static void arm_bookmark(struct watch *watch)
{
    int ms = watch->call->fake->settings.bookmark_ms;
    struct timeval interval = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (watch->bookmark != NULL) {
        event_add(watch->bookmark, &interval);
    }
}

void watch_rearm_bookmarks(struct fake *fake)
{
    struct watch *watch = NULL;
    LIST_FOREACH(watch, &fake->watches, link)
    {
        arm_bookmark(watch);
    }
}

static void on_bookmark(evutil_socket_t fd, short what, void *arg)
{
    struct watch *watch = arg;
    const struct resource *resource = watch->call->resource;
    char line[512];
    (void)fd;
    (void)what;
    int bytes =
        snprintf(line, sizeof(line),
                 "{\"type\":\"BOOKMARK\",\"object\":{\"apiVersion\":\"%s%s%s\",\"kind\":\"%s\",\"metadata\":"
                 "{\"resourceVersion\":\"%" PRIu64 "\"}}}\n",
                 resource->group, resource->group[0] == '\0' ? "" : "/", resource->version, resource->kind,
                 objects_version(watch->call->fake->objects));
    write_line(watch, line, (size_t)bytes);
}

static void offer(const struct change *change, void *arg)
{
    struct watch *watch = arg;
    const struct call *call = watch->call;
    if (change->resource == call->resource && change->version > watch->after &&
        (call->namespace == NULL || strcmp(call->namespace, change->namespace) == 0)) {
        write_line(watch, change->line, change->line_bytes);
    }
}

void watch_on_change(const struct change *change, void *arg)
{
    struct fake *fake = arg;
    struct watch *next = NULL;
    log_write(fake->log, change);
    for (struct watch *watch = LIST_FIRST(&fake->watches); watch != NULL; watch = next) {
        next = LIST_NEXT(watch, link); /* a watch may end under its own write */
        offer(change, watch);
    }
}

static void send_existing(struct watch *watch)
{
    const struct call *call = watch->call;
    for (size_t i = 0; i < objects_count(call->fake->objects, call->resource); i++) {
        const json_t *object = objects_at(call->fake->objects, call->resource, i);
        if (call->namespace != NULL && strcmp(call->namespace, object_meta(object, "namespace")) != 0) {
            continue;
        }
        char *text = json_dumps(object, JSON_COMPACT);
        char *line = NULL;
        int bytes = asprintf(&line, "{\"type\":\"ADDED\",\"object\":%s}\n", text == NULL ? "null" : text);
        if (bytes > 0) {
            write_line(watch, line, (size_t)bytes);
            free(line);
        }
        free(text);
    }
}

static void start(struct call *call, uint64_t version, uint64_t timeout_seconds, bool bookmarks)
{
    struct fake *fake = call->fake;
    struct watch *watch = calloc(1, sizeof(*watch));
    struct timeval timeout = {.tv_sec = (time_t)timeout_seconds};
    if (watch == NULL) {
        abort();
    }
    watch->call = call;
    watch->after = version;
    watch->timeout = evtimer_new(fake->base, on_timeout, watch);
    watch->bookmark = bookmarks ? event_new(fake->base, -1, EV_PERSIST, on_bookmark, watch) : NULL;
    LIST_INSERT_HEAD(&fake->watches, watch, link);
    call->watch = watch;
    call->in_flight = false;
    fake->in_flight--;
    event_add(watch->timeout, &timeout);
    arm_bookmark(watch);
    log_set_status(fake->log, call->log_number, 200);
    http_stream_begin(call->conn);
    if (version == 0) {
        send_existing(watch);
    } else {
        objects_since(fake->objects, call->resource, version, offer, watch);
    }
}

static void refuse_gone(struct call *call, uint64_t version)
{
    char message[128];
    snprintf(message, sizeof(message), "too old resource version: %" PRIu64 " (%" PRIu64 ")", version,
             objects_oldest(call->fake->objects, call->resource));
    if (call->fake->settings.gone_as_status) {
        call_fail(call, 410, "Expired", "%s", message);
        return;
    }
    json_t *event =
        json_pack("{s:s, s:o}", "type", "ERROR", "object", status_failure(410, "Expired", message, NULL));
    char *text = json_dumps(event, JSON_COMPACT);
    char line[1024];
    int bytes = snprintf(line, sizeof(line), "%s\n", text == NULL ? "" : text);
    struct http_conn *conn = call->conn;
    json_decref(event);
    free(text);
    log_set_status(call->fake->log, call->log_number, 200);
    http_stream_begin(conn);
    http_stream_write(conn, line, (size_t)bytes, 0);
    http_stream_end(conn);
}

/* What this server does not do must not look as if it did. */
static bool check_options(struct call *call)
{
    static const char *const unsupported[] = {"labelSelector", "fieldSelector"};
    char *initial = http_query(call->request, "sendInitialEvents");
    bool ok = initial == NULL;
    free(initial);
    if (!ok) {
        call_fail(
            call, 422, "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is "
            "forbidden for watch unless the WatchList feature gate is enabled");
        return false;
    }
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        char *value = http_query(call->request, unsupported[i]);
        ok = value == NULL;
        free(value);
        if (!ok) {
            call_fail(call, 400, "BadRequest", "this fake API server knows no %s", unsupported[i]);
            return false;
        }
    }
    return true;
}

void verb_watch(struct call *call)
{
    char *version_text = http_query(call->request, "resourceVersion");
    char *timeout_text = http_query(call->request, "timeoutSeconds");
    char *bookmarks = http_query(call->request, "allowWatchBookmarks");
    uint64_t version = 0;
    uint64_t timeout = DEFAULT_TIMEOUT_SECONDS;
    if (!check_options(call)) {
        goto out;
    }
    if (version_text != NULL && !parse_version(version_text, &version)) {
        call_fail(call, 500, "",
                  "resourceVersion: Invalid value: \"%.100s\": strconv.ParseUint: parsing \"%.100s\": "
                  "invalid syntax",
                  version_text, version_text); /* sic: a list says 400 */
    } else if (timeout_text != NULL && (!parse_version(timeout_text, &timeout) || timeout > 86400)) {
        call_fail(call, 400, "BadRequest", "strconv.ParseInt: parsing \"%.100s\": invalid syntax",
                  timeout_text);
    } else if (version != 0 && version < objects_oldest(call->fake->objects, call->resource)) {
        refuse_gone(call, version);
    } else {
        bool wants = bookmarks != NULL && (strcmp(bookmarks, "true") == 0 || strcmp(bookmarks, "1") == 0);
        start(call, version, timeout == 0 ? DEFAULT_TIMEOUT_SECONDS : timeout, wants);
    }
out:
    free(version_text);
    free(timeout_text);
    free(bookmarks);
}

unsigned watch_count(const struct fake *fake, const struct resource *resource)
{
    const struct watch *watch = NULL;
    unsigned count = 0;
    LIST_FOREACH(watch, &fake->watches, link)
    {
        count += resource == NULL || watch->call->resource == resource;
    }
    return count;
}

void watch_end(struct fake *fake, const struct resource *resource)
{
    struct watch *next = NULL;
    for (struct watch *watch = LIST_FIRST(&fake->watches); watch != NULL; watch = next) {
        next = LIST_NEXT(watch, link);
        if (resource == NULL || watch->call->resource == resource) {
            http_stream_end(watch->call->conn);
        }
    }
}

void watch_inject(struct fake *fake, const struct resource *resource, const char *raw, size_t bytes)
{
    struct watch *next = NULL;
    for (struct watch *watch = LIST_FIRST(&fake->watches); watch != NULL; watch = next) {
        next = LIST_NEXT(watch, link);
        if (watch->call->resource == resource) {
            write_line(watch, raw, bytes);
        }
    }
}
