/* The query string of GET /events: parameters -> which records, how many, from where on.
 *
 * An unknown or repeated parameter is an error, not ignored: a misspelt filter would otherwise show
 * everything and look like an answer. A filter that is given empty asks for records without that value.
 */
#include "http/events_priv.h"

#include "store/units.h"

#include <stdlib.h>

#define QUERY_NAMES(X) \
    X(kind)            \
    X(namespace)       \
    X(name)            \
    X(cluster)         \
    X(reason)          \
    X(severity)        \
    X(revision)        \
    X(since)           \
    X(until)           \
    X(after)           \
    X(limit)           \
    X(order)

enum query_name {
#define X(name) QUERY_##name,
    QUERY_NAMES(X)
#undef X
        QUERY_COUNT
};

static const struct str names[QUERY_COUNT] = {
#define X(name) STR(#name),
    QUERY_NAMES(X)
#undef X
};

static bool fail(char err[static HTTP_ERROR], struct str name, const char *what)
{
    struct text text;

    text_init(&text, err, HTTP_ERROR);
    text_add_clean(&text, name);
    text_addf(&text, ": %s", what);
    return false;
}

static bool read_time(struct str value, int64_t now_ms, int64_t *ret_ms)
{
    int64_t ago_ms;

    if (time_parse(value, ret_ms))
        return true;
    if (!duration_parse(value, &ago_ms))
        return false;
    *ret_ms = now_ms - ago_ms;
    return true;
}

static bool read_limit(struct str value, size_t *ret)
{
    uint64_t n;

    if (!str_to_u64(value, &n) || n < 1 || n > LIST_MAX_LIMIT)
        return false;
    *ret = (size_t)n;
    return true;
}

static bool read_order(struct str value, bool *ret_descending)
{
    *ret_descending = str_eq(value, STR("desc"));
    return *ret_descending || str_eq(value, STR("asc"));
}

/* NULL, or what is wrong with the value. */
static const char *set(struct query *q, enum query_name name, struct str value, int64_t now_ms)
{
    switch (name) {
    case QUERY_kind: q->kind = value; return NULL;
    case QUERY_namespace: q->namespace = value; return NULL;
    case QUERY_name: q->name = value; return NULL;
    case QUERY_cluster: q->cluster = value; return NULL;
    case QUERY_reason: q->reason = value; return NULL;
    case QUERY_severity: q->severity = value; return NULL;
    case QUERY_revision: q->revision = value; return value.len ? NULL : "is empty";
    case QUERY_since:
        return read_time(value, now_ms, &q->since_ms) ? NULL : "write it as 2006-01-02T15:04:05Z or as 1h30m";
    case QUERY_until:
        return read_time(value, now_ms, &q->until_ms) ? NULL : "write it as 2006-01-02T15:04:05Z or as 1h30m";
    case QUERY_after: return str_to_u64(value, &q->after) ? NULL : "is not an id";
    case QUERY_limit: return read_limit(value, &q->limit) ? NULL : "is not a number from 1 to 1000";
    case QUERY_order: return read_order(value, &q->descending) ? NULL : "write it as asc or desc";
    case QUERY_COUNT: break;
    }
    return "there is no such parameter; there are kind, namespace, name, cluster, reason, severity, "
           "revision, since, "
           "until, after, limit, order";
}

static bool read_param(struct query *q, const struct http_param *p, char **at, int64_t now_ms,
                       char err[static HTTP_ERROR])
{
    unsigned name = 0;

    while (name < QUERY_COUNT && !str_eq(p->name, names[name]))
        name++;
    if (name < QUERY_COUNT && (q->given & 1u << name))
        return fail(err, p->name, "is given twice");
    struct str value = {*at, p->value.len};
    if (value.len)
        memcpy(*at, p->value.at, value.len);
    *at += value.len;
    const char *wrong = set(q, name, value, now_ms);
    if (wrong)
        return fail(err, p->name, wrong);
    q->given |= 1u << name;
    return true;
}

bool query_init(struct query *q, const struct http_param *params, size_t n, int64_t now_ms,
                char err[static HTTP_ERROR])
{
    size_t bytes = 1;

    *q = (struct query){.since_ms = INT64_MIN, .until_ms = INT64_MAX, .limit = LIST_DEFAULT_LIMIT};
    for (size_t i = 0; i < n; i++)
        bytes += params[i].value.len;
    q->text = malloc(bytes);
    if (!q->text)
        return fail(err, STR("the query"), "out of memory");
    char *at = q->text;
    for (size_t i = 0; i < n; i++) {
        if (!read_param(q, &params[i], &at, now_ms, err)) {
            query_done(q);
            return false;
        }
    }
    return true;
}

static bool wants(const struct query *q, enum query_name name, struct str want, struct str have)
{
    return !(q->given & 1u << name) || str_eq(want, have);
}

bool query_matches(const struct query *q, const struct record *r)
{
    return wants(q, QUERY_kind, q->kind, r->kind) && wants(q, QUERY_namespace, q->namespace, r->namespace) &&
           wants(q, QUERY_name, q->name, r->name) && wants(q, QUERY_cluster, q->cluster, r->cluster) &&
           wants(q, QUERY_reason, q->reason, r->reason) &&
           wants(q, QUERY_severity, q->severity, r->severity) && r->last.effective_ms >= q->since_ms &&
           r->last.effective_ms < q->until_ms &&
           (wants(q, QUERY_revision, q->revision, r->revision) || str_eq(q->revision, r->origin_revision) ||
            str_eq(q->revision, r->commit) || str_eq(q->revision, r->oci_digest));
}

void query_done(struct query *q)
{
    free(q->text);
    q->text = NULL;
}
