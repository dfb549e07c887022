/* Which records a reader of GET /events wants: the same for a list, a stream and an export.
 *
 * revision (matched as in a question, members and short forms included), kind, namespace, name, cluster,
 * reason and severity (exact), since and until (exclusive), after, limit, order. All given filters must pass.
 */
#ifndef FES_STORE_FILTER_H
#define FES_STORE_FILTER_H

#include "store/record.h"

struct filter;

struct filter_param {
    struct str name;
    struct str value;
};

#define FILTER_LIMIT     100 /* when `limit` is not given */
#define FILTER_LIMIT_MAX 1000
#define FILTER_ERROR     256

/* since and until are RFC 3339 times, or durations before now_ms ("1h", "30d"). They are compared with the
 * effective time of a record's last statement: the time that the answer shows and verdicts go by, not that of
 * arrival. Copies what it needs. On a bad parameter returns NULL with one sentence in err that names it:
 * unknown, repeated, empty, or a value that does not fit. Free with filter_free. */
struct filter *filter_new(const struct filter_param *params, size_t n, int64_t now_ms,
                          char err[static FILTER_ERROR]);
void filter_free(struct filter *f);

/* Looks at stored fields only, never at a body. Does not look at `after`, `limit` and `order`, which are the
 * scan's. */
bool filter_passes(const struct filter *f, const struct record *r);

/* For store_scan. False when `after` was not given. */
bool filter_after(const struct filter *f, uint64_t *ret_after);
/* Whether `limit` or `order` was given: they are for pages only. */
bool filter_pages(const struct filter *f);
size_t filter_limit(const struct filter *f);
bool filter_descending(const struct filter *f);

#endif
