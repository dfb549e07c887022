/*
 * The control endpoints: what a test asks of the fake API server, and does to it. README.md lists them.
 *
 * Behind the same port, and the token of the start, so that rotating it locks no test out. Bodies are
 * unpacked strictly: an unknown key is 400, since a misspelt order that did nothing would let a test pass.
 */
#include <stdlib.h>
#include <string.h>

#include "test/fake/fake.h"
#include "test/fake/faults.h"
#include "test/fake/log.h"

static void fail(struct call *call, const char *problem)
{
    call_fail(call, 400, "BadRequest", "%s", problem);
}

static void done(struct call *call)
{
    call_reply_json(call, 200, json_object());
}

static const struct resource *find(struct call *call, const char *plural)
{
    return plural == NULL ? NULL : objects_find(call->fake->objects, NULL, NULL, plural);
}

static void get_state(struct call *call, const json_t *body)
{
    struct fake *fake = call->fake;
    struct http_stats stats = http_server_stats(fake->http);
    json_t *watches = json_object();
    json_t *counts = json_object();
    (void)body;
    for (size_t i = 0; i < objects_resources(fake->objects); i++) {
        const struct resource *resource = objects_resource(fake->objects, i);
        json_object_set_new(watches, resource->plural, json_integer(watch_count(fake, resource)));
        json_object_set_new(counts, resource->plural,
                            json_integer((json_int_t)objects_count(fake->objects, resource)));
    }
    /* Without the connection that asks. */
    call_reply_json(call, 200,
                    json_pack("{s:i, s:I, s:i, s:o, s:o, s:I, s:I, s:i, s:i}", "connections",
                              (int)stats.open - 1, "accepted", (json_int_t)stats.accepted, "watches",
                              (int)watch_count(fake, NULL), "watchesOf", watches, "objects", counts,
                              "resourceVersion", (json_int_t)objects_version(fake->objects), "requests",
                              (json_int_t)log_requests(fake->log), "inFlight", (int)fake->in_flight,
                              "inFlightPeak", (int)fake->in_flight_peak));
}

static void get_table(struct call *call, const json_t *body)
{
    char *plural = http_query(call->request, "resource");
    const struct resource *resource = find(call, plural);
    (void)body;
    free(plural);
    if (resource == NULL) {
        fail(call, "no such resource");
    } else {
        view_table(call, resource);
    }
}

static void get_writes(struct call *call, const json_t *body)
{
    char *plural = http_query(call->request, "resource");
    char *prefix = http_query(call->request, "object");
    const struct resource *resource = find(call, plural);
    (void)body;
    free(plural);
    if (resource == NULL) {
        fail(call, "no such resource");
    } else {
        char *text = log_writes(call->fake->log, resource, prefix == NULL ? "" : prefix, prefix != NULL);
        call_reply_text(call, 200, text);
        free(text);
    }
    free(prefix);
}

static void get_requests(struct call *call, const json_t *body)
{
    char *method = http_query(call->request, "method");
    char *path = http_query(call->request, "path_contains");
    (void)body;
    call_reply_json(call, 200, log_to_json(call->fake->log, method, path));
    free(method);
    free(path);
}

static void delete_requests(struct call *call, const json_t *body)
{
    (void)body;
    log_clear(call->fake->log);
    call->fake->in_flight_peak = call->fake->in_flight;
    done(call);
}

static void get_faults(struct call *call, const json_t *body)
{
    (void)body;
    call_reply_json(call, 200, faults_to_json(call->fake->faults));
}

static void post_fault(struct call *call, const json_t *body)
{
    const char *problem = NULL;
    if (faults_add(call->fake->faults, (json_t *)(uintptr_t)body, &problem)) {
        done(call);
    } else {
        fail(call, problem);
    }
}

static void delete_faults(struct call *call, const json_t *body)
{
    (void)body;
    faults_clear(call->fake->faults);
    done(call);
}

static bool unpack_resource(struct call *call, const char *plural, const struct resource **ret)
{
    *ret = find(call, plural);
    if (*ret == NULL) {
        fail(call, "no such resource");
    }
    return *ret != NULL;
}

static void post_serve(struct call *call, const json_t *body)
{
    const char *plural = NULL;
    int served = 1;
    const struct resource *resource = NULL;
    if (json_unpack_ex((json_t *)(uintptr_t)body, NULL, JSON_STRICT, "{s:s, s:b}", "resource", &plural,
                       "served", &served) != 0) {
        fail(call, "want {resource, served}");
    } else if (unpack_resource(call, plural, &resource)) {
        objects_serve(call->fake->objects, resource, served);
        if (!served) {
            watch_end(call->fake, resource);
        }
        done(call);
    }
}

static void post_compact(struct call *call, const json_t *body)
{
    struct objects *objects = call->fake->objects;
    (void)body;
    for (size_t i = 0; i < objects_resources(objects); i++) {
        objects_compact(objects, objects_resource(objects, i));
    }
    done(call);
}

static void post_settings(struct call *call, const json_t *body)
{
    struct settings *settings = &call->fake->settings;
    int bookmark_ms = settings->bookmark_ms;
    int gone_as_status = settings->gone_as_status;
    int chunk_bytes = (int)settings->watch_chunk_bytes;
    if (json_unpack_ex((json_t *)(uintptr_t)body, NULL, JSON_STRICT, "{s?i, s?b, s?i}", "bookmark_ms",
                       &bookmark_ms, "gone_as_status", &gone_as_status, "watch_chunk_bytes",
                       &chunk_bytes) != 0 ||
        bookmark_ms < 1 || chunk_bytes < 0) {
        fail(call, "want {bookmark_ms, gone_as_status, watch_chunk_bytes}");
        return;
    }
    *settings = (struct settings){bookmark_ms, gone_as_status, (size_t)chunk_bytes};
    watch_rearm_bookmarks(call->fake);
    done(call);
}

static void post_rotate(struct call *call, const json_t *body)
{
    struct fake *fake = call->fake;
    const char *what = NULL;
    int wrong_san = 0;
    int expired = 0;
    int write = 1;
    if (json_unpack_ex((json_t *)(uintptr_t)body, NULL, JSON_STRICT, "{s:s, s?b, s?b, s?b}", "what", &what,
                       "wrong_san", &wrong_san, "expired", &expired, "write", &write) != 0) {
        fail(call, "want {what, wrong_san, expired, write}");
        return;
    }
    struct identity_cert cert = {.wrong_san = wrong_san, .expired = expired};
    bool ok = false;
    if (strcmp(what, "token") == 0) {
        ok = identity_rotate_token(fake->identity, write);
    } else if (strcmp(what, "cert") == 0 || strcmp(what, "ca") == 0) {
        ok = identity_rotate_cert(fake->identity, &cert, strcmp(what, "ca") == 0, write);
        http_server_set_ssl_ctx(fake->http, identity_ssl_ctx(fake->identity));
    }
    if (ok) {
        done(call);
    } else {
        fail(call, "cannot rotate that");
    }
}

struct pick {
    const struct http_conn *asking;
    bool watches_only;
};

static bool pick_conn(struct http_conn *conn, void *arg)
{
    const struct pick *pick = arg;
    const struct call *call = http_end_arg(conn);
    return conn != pick->asking && (!pick->watches_only || (call != NULL && call->watch != NULL));
}

static void post_drop(struct call *call, const json_t *body)
{
    static const char *const ways[] = {"clean", "dirty", "reset", "hang"}; /* as enum http_end */
    const char *which = "all";
    const char *how = "reset";
    size_t way = 0;
    if (json_unpack_ex((json_t *)(uintptr_t)body, NULL, JSON_STRICT, "{s:s, s:s}", "which", &which, "how",
                       &how) != 0 ||
        (strcmp(which, "all") != 0 && strcmp(which, "watches") != 0)) {
        fail(call, "want {which: all|watches, how: end|clean|dirty|reset|hang}");
        return;
    }
    struct pick pick = {.asking = call->conn, .watches_only = strcmp(which, "watches") == 0};
    while (way < 4 && strcmp(ways[way], how) != 0) {
        way++;
    }
    if (way < 4) {
        http_server_end_where(call->fake->http, pick_conn, &pick, (enum http_end)way);
        done(call);
    } else if (strcmp(how, "end") == 0 && pick.watches_only) {
        watch_end(call->fake, NULL);
        done(call);
    } else {
        fail(call, "how: end (watches only), clean, dirty, reset or hang");
    }
}

static void post_inject(struct call *call, const json_t *body)
{
    const char *plural = NULL;
    const char *raw = NULL;
    size_t bytes = 0;
    const struct resource *resource = NULL;
    if (json_unpack_ex((json_t *)(uintptr_t)body, NULL, JSON_STRICT, "{s:s, s:s%}", "resource", &plural,
                       "raw", &raw, &bytes) != 0) {
        fail(call, "want {resource, raw}");
    } else if (unpack_resource(call, plural, &resource)) {
        watch_inject(call->fake, resource, raw, bytes);
        done(call);
    }
}

static void post_pause(struct call *call, const json_t *body)
{
    int ms = 0;
    int stall = 0;
    if (json_unpack_ex((json_t *)(uintptr_t)body, NULL, JSON_STRICT, "{s:i, s?b}", "ms", &ms, "stall",
                       &stall) != 0 ||
        ms < 1) {
        fail(call, "want {ms, stall}");
        return;
    }
    http_server_pause(call->fake->http, stall, ms);
    done(call);
}

struct endpoint {
    const char *method;
    const char *path;
    void (*handle)(struct call *call, const json_t *body);
};

static const struct endpoint endpoints[] = {
    {"GET", "state", get_state},
    {"GET", "table", get_table},
    {"GET", "writes", get_writes},
    {"GET", "requests", get_requests},
    {"DELETE", "requests", delete_requests},
    {"GET", "faults", get_faults},
    {"POST", "faults", post_fault},
    {"DELETE", "faults", delete_faults},
    {"POST", "serve", post_serve},
    {"POST", "compact", post_compact},
    {"POST", "settings", post_settings},
    {"POST", "rotate", post_rotate},
    {"POST", "drop", post_drop},
    {"POST", "inject", post_inject},
    {"POST", "pause", post_pause},
};

void control_handle(struct call *call)
{
    const char *path = call->request->path + strlen("/_control/");
    if (call->fake->needs_token && !identity_knows(call->fake->identity, call->request->authorization)) {
        call_fail(call, 401, "Unauthorized", "Unauthorized");
        return;
    }
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        const struct endpoint *endpoint = &endpoints[i];
        if (strcmp(endpoint->path, path) != 0 || strcmp(endpoint->method, call->request->method) != 0) {
            continue;
        }
        json_t *body = call->request->body_bytes == 0
                           ? json_object()
                           : json_loadb(call->request->body, call->request->body_bytes, JSON_ALLOW_NUL, NULL);
        if (json_is_object(body)) {
            endpoint->handle(call, body);
        } else {
            fail(call, "not a JSON object");
        }
        json_decref(body);
        return;
    }
    call_fail(call, 404, "NotFound", "no such control endpoint; see the README beside the source");
}
