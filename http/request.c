/* A request as a handler sees it: path, query, headers, body.
 *
 * Invariant: the request line that gets here passed the guard, so the target begins with '/' and is printable
 * ASCII. '+' in a query is a plus: a chart version such as "1.2.3+abc" is written that way by hand, and forms
 * are not served here.
 */
#include "http/server_priv.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <sys/queue.h>

void http_request_init(struct http_request *r, struct evhttp_request *req, uint64_t id)
{
    struct str target = str_of(evhttp_request_get_uri(req));

    *r = (struct http_request){.req = req, .id = id};
    r->query = target;
    r->path = str_split(&r->query, '?');
}

void http_request_done(struct http_request *r)
{
    free(r->params);
    free(r->decoded);
}

uint64_t http_request_id(const struct http_request *r)
{
    return r->id;
}

struct str http_request_segment(const struct http_request *r)
{
    return r->segment;
}

struct str http_request_header(const struct http_request *r, const char *name)
{
    return str_trim(str_of(evhttp_find_header(evhttp_request_get_input_headers(r->req), name)));
}

bool http_request_is_head(const struct http_request *r)
{
    return evhttp_request_get_command(r->req) == EVHTTP_REQ_HEAD;
}

bool http_accepts(const struct http_request *r, const char *type)
{
    struct str rest = http_request_header(r, "Accept");

    while (rest.len > 0) {
        struct str range = str_split(&rest, ',');
        if (str_eq_nocase(str_trim(str_split(&range, ';')), str_of(type)))
            return true;
    }
    return false;
}

bool http_asks_to_close(struct evhttp_request *req)
{
    const struct evkeyval *field;

    TAILQ_FOREACH(field, evhttp_request_get_input_headers(req), next)
    {
        struct str options = str_of(field->value);
        if (!str_eq_nocase(str_of(field->key), STR("Connection")))
            continue;
        while (options.at)
            if (str_eq_nocase(str_trim(str_split(&options, ',')), STR("close")))
                return true;
    }
    return false;
}

struct str http_request_body(const struct http_request *r)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(r->req);
    size_t len = evbuffer_get_length(body);

    return (struct str){len ? (char *)evbuffer_pullup(body, -1) : NULL, len};
}

/* Appends the decoded text at *at, which has room for it, and moves *at on. */
static bool decode(struct str text, char **at, struct str *ret)
{
    char *begin = *at;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            if (text.len - i < 3 || str_hex_digit(text.at[i + 1]) < 0 || str_hex_digit(text.at[i + 2]) < 0)
                return false;
            c = (char)(str_hex_digit(text.at[i + 1]) * 16 + str_hex_digit(text.at[i + 2]));
            i += 2;
        }
        *(*at)++ = c;
    }
    *ret = (struct str){begin, (size_t)(*at - begin)};
    return true;
}

static bool read_params(struct http_request *r, char err[static HTTP_ERROR])
{
    struct str rest = r->query;
    char *at = r->decoded;
    struct text text;

    text_init(&text, err, HTTP_ERROR);
    while (rest.len > 0) {
        struct str value = str_split(&rest, '&');
        if (value.len == 0)
            continue;
        if (r->n_params == HTTP_MAX_PARAMS) {
            text_addf(&text, "more than %d query parameters", HTTP_MAX_PARAMS);
            return false;
        }
        struct http_param *p = &r->params[r->n_params];
        struct str name = str_split(&value, '=');
        if (!decode(name, &at, &p->name) || !decode(value, &at, &p->value)) {
            text_add(&text, STR("a '%' in the query is not followed by two hexadecimal digits: "));
            text_add_clean(&text, name);
            return false;
        }
        r->n_params++;
    }
    return true;
}

bool http_request_params(struct http_request *r, const struct http_param **ret, size_t *ret_n,
                         char err[static HTTP_ERROR])
{
    struct text text;

    if (!r->decoded) {
        r->params = r->params ? r->params : malloc(HTTP_MAX_PARAMS * sizeof *r->params);
        r->decoded = malloc(r->query.len + 1);
        r->n_params = 0;
        text_init(&text, err, HTTP_ERROR);
        text_add(&text, STR(NO_MEMORY));
        if (!r->params || !r->decoded || !read_params(r, err)) {
            free(r->decoded);
            r->decoded = NULL;
            return false;
        }
    }
    *ret = r->params;
    *ret_n = r->n_params;
    return true;
}

bool http_without_params(struct http_server *s, struct http_request *r)
{
    const struct http_param *params;
    char err[HTTP_ERROR];
    size_t n;

    if (!http_request_params(r, &params, &n, err))
        http_reply_refused(s, http_request_id(r), err);
    else if (n > 0)
        http_reply_error(s, http_request_id(r), 400, "this path takes no query parameters");
    else
        return true;
    return false;
}
