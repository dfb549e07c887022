/* Filters of GET /events (see filter.h).
 *
 * One table of parameters: a name and how its value is read. A repeated or unknown name is an error and not
 * ignored, because a filter that silently does not filter shows the wrong deployment.
 *
 * Invariant: all slices of a filter point into its own `text`, so that the request may be gone.
 */
#include "store/filter.h"

#include <stdlib.h>

#include "store/revision_priv.h"
#include "store/units.h"

enum filter_field {
    FILTER_KIND,
    FILTER_NAMESPACE,
    FILTER_NAME,
    FILTER_CLUSTER,
    FILTER_REASON,
    FILTER_SEVERITY,
    FILTER_FIELDS,
    FILTER_REVISION = FILTER_FIELDS,
    FILTER_SINCE,
    FILTER_UNTIL,
    FILTER_AFTER,
    FILTER_LIMIT_PARAM,
    FILTER_ORDER,
    FILTER_PARAMS,
};

static const char *const names[FILTER_PARAMS] = {
    [FILTER_KIND] = "kind",         [FILTER_NAMESPACE] = "namespace", [FILTER_NAME] = "name",
    [FILTER_CLUSTER] = "cluster",   [FILTER_REASON] = "reason",       [FILTER_SEVERITY] = "severity",
    [FILTER_REVISION] = "revision", [FILTER_SINCE] = "since",         [FILTER_UNTIL] = "until",
    [FILTER_AFTER] = "after",       [FILTER_LIMIT_PARAM] = "limit",   [FILTER_ORDER] = "order",
};

struct filter {
    bool given[FILTER_PARAMS];
    struct str equal[FILTER_FIELDS];
    struct revision revision;
    int64_t since_ms;
    int64_t until_ms;
    uint64_t after;
    uint64_t limit;
    bool descending;
    char *text;
};

static enum filter_field field_of(struct str name)
{
    int i = 0;

    while (i < FILTER_PARAMS && !str_eq(name, str_of(names[i])))
        i++;
    return (enum filter_field)i;
}

static bool read_time(struct str value, int64_t now_ms, int64_t *ret_ms)
{
    int64_t ago_ms;

    if (time_parse(value, ret_ms))
        return true;
    return duration_parse(value, &ago_ms) && !__builtin_sub_overflow(now_ms, ago_ms, ret_ms);
}

static bool read_order(struct str value, bool *ret_descending)
{
    *ret_descending = str_eq(value, STR("desc"));
    return *ret_descending || str_eq(value, STR("asc"));
}

/* Returns what the value has to be, or NULL when it is. */
static const char *read_value(struct filter *f, enum filter_field field, struct str value, int64_t now_ms)
{
    static const char a_time[] = "a time like 2026-08-01T10:00:00Z or a duration like 1h";

    switch (field) {
    case FILTER_KIND:
    case FILTER_NAMESPACE:
    case FILTER_NAME:
    case FILTER_CLUSTER:
    case FILTER_REASON:
    case FILTER_SEVERITY: f->equal[field] = value; return NULL;
    case FILTER_REVISION:
        f->revision = revision_parse(value);
        return f->revision.text.len ? NULL : "a revision";
    case FILTER_SINCE: return read_time(value, now_ms, &f->since_ms) ? NULL : a_time;
    case FILTER_UNTIL: return read_time(value, now_ms, &f->until_ms) ? NULL : a_time;
    case FILTER_AFTER: return str_to_u64(value, &f->after) ? NULL : "an id, a whole number";
    case FILTER_LIMIT_PARAM:
        return str_to_u64(value, &f->limit) && f->limit >= 1 && f->limit <= FILTER_LIMIT_MAX
                   ? NULL
                   : "a whole number from 1 to 1000";
    case FILTER_ORDER: return read_order(value, &f->descending) ? NULL : "asc or desc";
    case FILTER_PARAMS: break;
    }
    return "known";
}

static bool read_param(struct filter *f, const struct filter_param *param, struct str value, int64_t now_ms,
                       struct text *err)
{
    enum filter_field field = field_of(param->name);

    if (field == FILTER_PARAMS || f->given[field]) {
        text_add(err, field == FILTER_PARAMS ? STR("unknown parameter \"") : STR("repeated parameter \""));
        text_add_clean(err, str_cut_utf8(param->name, 64));
        text_add(err, STR("\""));
        for (int i = 0; field == FILTER_PARAMS && i < FILTER_PARAMS; i++)
            text_addf(err, "%s %s", i == 0 ? ": known are" : ",", names[i]);
        return false;
    }
    f->given[field] = true;
    const char *want = read_value(f, field, value, now_ms);
    if (!want)
        return true;
    text_addf(err, "parameter %s: \"", names[field]);
    text_add_clean(err, str_cut_utf8(value, 64));
    text_addf(err, "\" is not %s", want);
    return false;
}

struct filter *filter_new(const struct filter_param *params, size_t n, int64_t now_ms,
                          char err[static FILTER_ERROR])
{
    struct filter *f = calloc(1, sizeof *f);
    struct text text;
    size_t len = 1;

    text_init(&text, err, FILTER_ERROR);
    for (size_t i = 0; i < n; i++)
        len += params[i].value.len;
    if (!f || !(f->text = malloc(len))) {
        text_add(&text, STR(NO_MEMORY));
        goto fail;
    }
    f->limit = FILTER_LIMIT;
    char *at = f->text;
    for (size_t i = 0; i < n; i++) {
        struct str value = {at, params[i].value.len};
        if (value.len)
            memcpy(at, params[i].value.at, value.len);
        at += value.len;
        if (!read_param(f, &params[i], value, now_ms, &text))
            goto fail;
    }
    return f;
fail:
    filter_free(f);
    return NULL;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    free(f->text);
    free(f);
}

bool filter_passes(const struct filter *f, const struct record *r)
{
    const struct str values[FILTER_FIELDS] = {
        [FILTER_KIND] = r->kind,       [FILTER_NAMESPACE] = r->namespace, [FILTER_NAME] = r->name,
        [FILTER_CLUSTER] = r->cluster, [FILTER_REASON] = r->reason,       [FILTER_SEVERITY] = r->severity,
    };

    if ((f->given[FILTER_SINCE] && r->last.effective_ms < f->since_ms) ||
        (f->given[FILTER_UNTIL] && r->last.effective_ms >= f->until_ms))
        return false;
    for (int i = 0; i < FILTER_FIELDS; i++)
        if (f->given[i] && !str_eq(values[i], f->equal[i]))
            return false;
    if (!f->given[FILTER_REVISION])
        return true;
    struct revision_set set = revision_set_of(r);
    return revision_match(&f->revision, &set).level != MATCH_NONE;
}

bool filter_after(const struct filter *f, uint64_t *ret_after)
{
    if (f->given[FILTER_AFTER])
        *ret_after = f->after;
    return f->given[FILTER_AFTER];
}

bool filter_pages(const struct filter *f)
{
    return f->given[FILTER_LIMIT_PARAM] || f->given[FILTER_ORDER];
}

size_t filter_limit(const struct filter *f)
{
    return f->limit;
}

bool filter_descending(const struct filter *f)
{
    return f->descending;
}
