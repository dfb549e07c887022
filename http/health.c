/* /healthz, /health, /readyz.
 *
 * The process serves as soon as it listens, so /healthz and /health need no more than to be answered. /readyz
 * shows every part, and its status follows the parts that decide: 200 when all of them are ready, else 503.
 */
#include "http/health.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define HEALTH_MAX_PARTS 8

struct part {
    const char *name;
    bool decides;
    health_part *ask;
    void *arg;
};

struct health {
    struct http_server *server;
    struct part parts[HEALTH_MAX_PARTS];
    size_t n;
};

static void on_alive(void *arg, struct http_request *r)
{
    struct health *h = arg;
    struct http_reply reply = {.status = 200, .body = STR("{\"status\":\"ok\"}\n")};

    if (!http_without_params(h->server, r))
        return;
    http_reply(h->server, http_request_id(r), &reply);
}

/* {"ready":true} or {"ready":false,"why":"..."} */
static json_t *part_json(bool ready, const char *why)
{
    if (ready)
        return json_pack("{s:b}", "ready", 1);
    return json_pack("{s:b,s:s}", "ready", 0, "why", why ? why : "");
}

static void on_ready(void *arg, struct http_request *r)
{
    struct health *h = arg;
    struct http_reply reply = {.status = 200};

    if (!http_without_params(h->server, r))
        return;
    json_t *parts = json_object();
    bool failed = !parts;

    for (size_t i = 0; i < h->n; i++) {
        const char *why = NULL;
        bool ready = h->parts[i].ask(h->parts[i].arg, &why);
        if (!ready && h->parts[i].decides)
            reply.status = 503;
        /* json_object_set_new takes NULL too, and fails */
        failed |= json_object_set_new(parts, h->parts[i].name, part_json(ready, why)) != 0;
    }
    char *json = failed ? NULL : json_dumps(parts, JSON_COMPACT);
    char *text = NULL;
    if (json && asprintf(&text, "%s\n", json) < 0)
        text = NULL;
    if (text) {
        reply.body = str_of(text);
        reply.retry_after_s = reply.status == 503 ? HTTP_RETRY_AFTER : 0;
        http_reply(h->server, http_request_id(r), &reply);
    } else {
        http_reply_error(h->server, http_request_id(r), 503, "out of memory");
    }
    free(text);
    free(json);
    json_decref(parts);
}

struct health *health_new(struct http_server *server)
{
    struct health *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->server = server;
    if (!http_route_open(server, HTTP_GET, "/healthz", on_alive, h) ||
        !http_route_open(server, HTTP_GET, "/health", on_alive, h) ||
        !http_route_open(server, HTTP_GET, "/readyz", on_ready, h)) {
        free(h);
        return NULL;
    }
    return h;
}

bool health_add(struct health *h, const char *name, bool decides, health_part *part, void *arg)
{
    if (h->n == HEALTH_MAX_PARTS)
        return false;
    h->parts[h->n++] = (struct part){name, decides, part, arg};
    return true;
}

void health_free(struct health *h)
{
    free(h);
}
