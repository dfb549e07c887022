/* Routes: which handler serves a method on a path.
 *
 * Paths are compared as they were sent, without decoding: one spelling for each resource, and nothing to
 * disagree about with a proxy in front. HEAD is served by the handler of GET; the answer's body is left out
 * when it is sent.
 */
#include "http/server_priv.h"

#include <event2/http.h>

bool routes_add(struct routes *routes, const struct route *route)
{
    if (routes->n == HTTP_MAX_ROUTES)
        return false;
    routes->at[routes->n++] = *route;
    return true;
}

static bool matches(const char *pattern, struct str path, struct str *ret_segment)
{
    struct str want = str_of(pattern);
    struct str id = STR("{id}");

    if (!str_ends(want, id)) {
        *ret_segment = STR_NONE;
        return str_eq(want, path);
    }
    want.len -= id.len;
    struct str rest = str_from(path, want.len);
    if (!str_starts(path, want) || rest.len == 0 || str_find(rest, '/') >= 0)
        return false;
    *ret_segment = rest;
    return true;
}

static const char *method_name(enum evhttp_cmd_type type)
{
    switch ((unsigned)type) {
    case EVHTTP_REQ_GET:
    case EVHTTP_REQ_HEAD: return "GET";
    case EVHTTP_REQ_POST: return "POST";
    }
    return "";
}

const struct route *routes_find(const struct routes *routes, struct http_request *r)
{
    struct str method = str_of(method_name(evhttp_request_get_command(r->req)));

    for (size_t i = 0; i < routes->n; i++)
        if (matches(routes->at[i].path, r->path, &r->segment) && str_eq(method, str_of(routes->at[i].method)))
            return &routes->at[i];
    return NULL;
}

void routes_allowed(const struct routes *routes, struct str path, struct text *allow)
{
    struct str segment;

    for (size_t i = 0; i < routes->n; i++) {
        const struct route *route = &routes->at[i];
        if (!matches(route->path, path, &segment))
            continue;
        bool is_get = str_eq(str_of(route->method), STR("GET"));
        text_addf(allow, "%s%s", allow->len ? ", " : "", is_get ? "GET, HEAD" : route->method);
    }
}
