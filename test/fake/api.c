/*
 * A request from its arrival to its verb: logged, struck by a fault, authenticated, routed.
 *
 * A fault comes before authentication, as a broken network does. Requests below /_control/ are neither logged
 * nor struck, or a test could not heal what it broke. A path that is not served gets Go's plain "404 page not
 * found", which is what a real API server says of a CRD that does not exist; an object that does not exist
 * gets a Status.
 */
#include <stdlib.h>
#include <string.h>

#include "test/fake/fake.h"
#include "test/fake/faults.h"
#include "test/fake/log.h"

#define MAX_SEGMENTS 10u

static void on_call_end(void *arg)
{
    struct call *call = arg;
    if (call->in_flight) {
        call->fake->in_flight--;
    }
    if (call->watch != NULL) {
        watch_free(call->watch);
    }
    if (call->delay != NULL) {
        event_free(call->delay);
    }
    fault_case_free(call->fault);
    free(call->segments);
    free(call);
}

static void reply_versions(struct call *call)
{
    call_reply_json(call, 200,
                    json_pack("{s:s, s:s, s:s, s:s}", "major", "1", "minor", "36", "gitVersion",
                              "v1.36.1-fake", "platform", "linux/amd64"));
}

/* GET /apis/GROUP/VERSION: what of it is served. */
static void reply_discovery(struct call *call, const char *group, const char *version)
{
    const struct objects *objects = call->fake->objects;
    json_t *list = json_array();
    for (size_t i = 0; i < objects_resources(objects); i++) {
        const struct resource *resource = objects_resource(objects, i);
        if (!resource->served || strcmp(resource->group, group) != 0 ||
            strcmp(resource->version, version) != 0) {
            continue;
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:[sssssss]}", "name", resource->plural,
                                              "singularName", resource->singular, "namespaced", 1, "kind",
                                              resource->kind, "verbs", "delete", "get", "list", "patch",
                                              "create", "update", "watch"));
        if (resource->has_status) {
            json_array_append_new(list, json_pack("{s:s+, s:s, s:b, s:s, s:[ss]}", "name", resource->plural,
                                                  "/status", "singularName", "", "namespaced", 1, "kind",
                                                  resource->kind, "verbs", "get", "patch"));
        }
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        call_reply_text(call, 404, "404 page not found\n");
        return;
    }
    json_t *body = json_pack("{s:s, s:s, s:s++, s:o}", "kind", "APIResourceList", "apiVersion", "v1",
                             "groupVersion", group, group[0] == '\0' ? "" : "/", version, "resources", list);
    call_reply_json(call, 200, body);
}

static void go(struct call *call)
{
    const char *method = call->request->method;
    char *watch = http_query(call->request, "watch");
    bool watches = watch != NULL && (strcmp(watch, "1") == 0 || strcmp(watch, "true") == 0);
    free(watch);
    if (call->unknown_part) {
        call_fail_object(call, 404, "NotFound", "", " not found");
    } else if (call->name != NULL && strcmp(method, "GET") == 0) {
        verb_get(call);
    } else if (call->name != NULL && strcmp(method, "PATCH") == 0) {
        verb_patch(call);
    } else if (call->name != NULL && !call->status_only && strcmp(method, "DELETE") == 0) {
        verb_delete(call);
    } else if (call->name == NULL && strcmp(method, "GET") == 0 && watches) {
        verb_watch(call);
    } else if (call->name == NULL && strcmp(method, "GET") == 0) {
        verb_list(call);
    } else if (call->name == NULL && call->namespace != NULL && strcmp(method, "POST") == 0) {
        verb_create(call);
    } else if (call->name == NULL && call->namespace == NULL) {
        call_reply_text(call, 404, "404 page not found\n"); /* objects are made in namespaces */
    } else {
        call_fail(call, 405, "MethodNotAllowed", "%s", status_message(405));
    }
}

/* What is left after the group and version: [namespaces/NS/]PLURAL[/NAME[/status]]. */
static bool route_resource(struct call *call, const char *group, const char *version, char **segments,
                           size_t count)
{
    if (count >= 3 && strcmp(segments[0], "namespaces") == 0) {
        call->namespace = segments[1];
        segments += 2;
        count -= 2;
    }
    if (count < 1 || count > 3 || (count > 1 && call->namespace == NULL)) {
        return false;
    }
    call->resource = objects_find(call->fake->objects, group, version, segments[0]);
    call->name = count > 1 ? segments[1] : NULL;
    call->status_only = count == 3;
    call->unknown_part = count == 3 && !(call->resource != NULL && call->resource->has_status &&
                                         strcmp(segments[2], "status") == 0);
    return call->resource != NULL && call->resource->served;
}

static void route(struct call *call)
{
    char *segments[MAX_SEGMENTS] = {0};
    size_t count = 0;
    call->segments = strdup(call->request->path + 1);
    for (char *at = call->segments; at != NULL && count < MAX_SEGMENTS;) {
        segments[count++] = strsep(&at, "/");
    }
    bool core = count >= 2 && strcmp(segments[0], "api") == 0;
    bool grouped = count >= 3 && strcmp(segments[0], "apis") == 0;
    const char *group = grouped ? segments[1] : "";
    size_t head = grouped ? 3 : 2;
    if (strcmp(call->request->path, "/version") == 0) {
        reply_versions(call);
    } else if (strcmp(call->request->path, "/readyz") == 0) {
        call_reply_text(call, 200, "ok");
    } else if ((core || grouped) && count == head) {
        reply_discovery(call, group, segments[head - 1]);
    } else if ((core || grouped) && count < MAX_SEGMENTS &&
               route_resource(call, group, segments[head - 1], segments + head, count - head)) {
        go(call);
    } else {
        call_reply_text(call, 404, "404 page not found\n");
    }
}

static void authenticate(struct call *call)
{
    if (call->fake->needs_token && !identity_accepts(call->fake->identity, call->request->authorization)) {
        call_fail(call, 401, "Unauthorized", "Unauthorized");
    } else {
        route(call);
    }
}

static void strike(struct call *call)
{
    const struct fault_case *fault = call->fault;
    switch (fault->action) {
    case FAULT_DELAY: authenticate(call); break;
    case FAULT_END: http_conn_end(call->conn, fault->damage.end); break;
    case FAULT_DAMAGE:
        http_set_damage(call->conn, &fault->damage);
        authenticate(call);
        break;
    case FAULT_STATUS:
        if (fault->body != NULL) {
            log_set_status(call->fake->log, call->log_number, fault->status);
            http_reply(call->conn, fault->status, "application/json", "", fault->body, strlen(fault->body));
        } else {
            json_t *details = fault->retry_after_seconds == 0
                                  ? NULL
                                  : json_pack("{s:i}", "retryAfterSeconds", fault->retry_after_seconds);
            call_fail_with(call, fault->status, status_reason(fault->status), details,
                           fault->retry_after_seconds, status_message(fault->status));
        }
        break;
    }
}

static void on_delay_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    strike(arg);
}

void api_on_request(struct http_conn *conn, struct http_request *request, void *arg)
{
    struct fake *fake = arg;
    struct call *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        abort();
    }
    *call = (struct call){.fake = fake, .conn = conn, .request = request};
    http_on_end(conn, on_call_end, call);
    if (strncmp(request->path, "/_control/", 10) == 0) {
        control_handle(call);
        return;
    }
    call->log_number = log_request(fake->log, request);
    call->in_flight = true;
    fake->in_flight++;
    fake->in_flight_peak = fake->in_flight > fake->in_flight_peak ? fake->in_flight : fake->in_flight_peak;
    call->fault = faults_take(fake->faults, request);
    if (call->fault == NULL) {
        authenticate(call);
    } else if (call->fault->delay_ms == 0) {
        strike(call);
    } else {
        int ms = call->fault->delay_ms;
        struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
        call->delay = evtimer_new(fake->base, on_delay_over, call);
        event_add(call->delay, &wait);
    }
}
