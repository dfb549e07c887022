/* Arranges records for a verdict: lets through what the question allows, matches each against the revision,
 * and puts them in order, object by object (see verdict_priv.h).
 *
 * Invariant: the result does not depend on the order of the records given, nor on one being given twice.
 * Everything behind works on this arrangement only.
 */
#include <stdlib.h>

#include "store/verdict_priv.h"

bool is_source(struct str kind)
{
    static const char *const kinds[] = {"GitRepository",  "OCIRepository", "Bucket",
                                        "HelmRepository", "HelmChart",     "ExternalArtifact"};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (str_eq(kind, str_of(kinds[i])))
            return true;
    return false;
}

static int compare_objects(const struct record *a, const struct record *b)
{
    int order = str_compare(a->cluster, b->cluster);

    if (order == 0)
        order = str_compare(a->kind, b->kind);
    if (order == 0)
        order = str_compare(a->namespace, b->namespace);
    return order != 0 ? order : str_compare(a->name, b->name);
}

static int compare_items(const void *left, const void *right)
{
    const struct record *a = ((const struct view_item *)left)->r;
    const struct record *b = ((const struct view_item *)right)->r;
    int order = compare_objects(a, b);

    return order != 0 ? order : (a->seq > b->seq) - (a->seq < b->seq);
}

static bool lets_through(const struct question *q, const struct record *r)
{
    return (!q->has_cluster || str_eq(r->cluster, q->cluster)) && r->last.effective_ms >= q->since_ms;
}

/* An exact match anywhere makes all prefixes strangers. Several different hashes behind one prefix are
 * ambiguous. */
static void decide_level(struct view *v)
{
    enum revision_level level = MATCH_NONE;
    struct str candidate = STR_NONE;

    for (size_t i = 0; i < v->n_items; i++)
        if (v->items[i].match.level > level)
            level = v->items[i].match.level;
    for (size_t i = 0; i < v->n_items; i++) {
        struct view_item *item = &v->items[i];
        item->concerns = level != MATCH_NONE && item->match.level == level;
        for (size_t c = 0; item->concerns && c < item->match.n_candidates; c++) {
            v->ambiguous =
                v->ambiguous || (candidate.len > 0 && !str_eq_nocase(candidate, item->match.candidates[c]));
            candidate = item->match.candidates[c];
        }
    }
}

static void group(struct view *v)
{
    for (size_t i = 0; i < v->n_items; i++) {
        if (i == 0 || compare_objects(v->items[i - 1].r, v->items[i].r) != 0)
            v->objects[v->n_objects++] = (struct view_object){.items = &v->items[i]};
        struct view_object *o = &v->objects[v->n_objects - 1];
        o->n++;
        o->reported = o->reported || v->items[i].concerns;
    }
}

bool view_init(struct view *v, const struct question *q, const struct record *records, size_t n)
{
    *v = (struct view){.q = q, .asked = revision_parse(q->revision)};
    v->items = calloc(n + 1, sizeof *v->items);
    v->objects = calloc(n + 1, sizeof *v->objects);
    if (!v->items || !v->objects) {
        view_free(v);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!lets_through(q, &records[i]))
            continue;
        struct revision_set set = revision_set_of(&records[i]);
        v->items[v->n_items++] =
            (struct view_item){.r = &records[i], .match = revision_match(&v->asked, &set)};
    }
    qsort(v->items, v->n_items, sizeof *v->items, compare_items);
    decide_level(v);
    group(v);
    return true;
}

void view_free(struct view *v)
{
    free(v->items);
    free(v->objects);
    *v = (struct view){0};
}
