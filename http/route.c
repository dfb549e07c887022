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

/* Of a route's method: the requests that it serves, and Allow. */
static const struct {
    unsigned commands;
    const char *allow;
} methods[] = {
    [HTTP_GET] = {EVHTTP_REQ_GET | EVHTTP_REQ_HEAD, "GET, HEAD"},
    [HTTP_GET_ONLY] = {EVHTTP_REQ_GET, "GET"},
    [HTTP_POST] = {EVHTTP_REQ_POST, "POST"},
};

const struct route *routes_find(const struct routes *routes, unsigned serves, struct http_request *r)
{
    unsigned command = evhttp_request_get_command(r->req);

    for (size_t i = 0; i < routes->n; i++)
        if ((routes->at[i].access & serves) != 0 && matches(routes->at[i].path, r->path, &r->segment) &&
            (methods[routes->at[i].method].commands & command) != 0)
            return &routes->at[i];
    return NULL;
}

void routes_allowed(const struct routes *routes, unsigned serves, struct str path, struct text *allow)
{
    struct str segment;

    for (size_t i = 0; i < routes->n; i++) {
        const struct route *route = &routes->at[i];
        if ((route->access & serves) == 0 || !matches(route->path, path, &segment))
            continue;
        text_addf(allow, "%s%s", allow->len ? ", " : "", methods[route->method].allow);
    }
}

struct str routes_none(const struct routes *routes, unsigned serves, char out[static ROUTES_NONE])
{
    struct text text;
    const char *separator = "";

    text_init(&text, out, ROUTES_NONE);
    text_add(&text, STR("there is nothing at this path: served are "));
    for (size_t i = 0; i < routes->n; i++) {
        const struct route *route = &routes->at[i];
        size_t before = 0;
        while (before < i && strcmp(routes->at[before].path, route->path) != 0)
            before++;
        if (before < i || (route->access & serves) == 0)
            continue;
        text_addf(&text, "%s%s", separator, route->path);
        separator = ", ";
    }
    return text_str(&text);
}
