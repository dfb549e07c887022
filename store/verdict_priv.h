/* What the files of the verdict share. verdict_view.c arranges the records, verdict_state.c judges one
 * object, verdict.c judges over the objects and owns the result, explain.c puts it in words. */
#ifndef FES_STORE_VERDICT_PRIV_H
#define FES_STORE_VERDICT_PRIV_H

#include "store/revision_priv.h"
#include "store/verdict.h"

/* One record that the question lets through (cluster, since). */
struct view_item {
    const struct record *r;
    struct revision_match match;
    bool concerns; /* is about the revision asked for, at the level that counts */
};

/* All of one object's, in order of sequence. */
struct view_object {
    const struct view_item *items;
    size_t n;
    bool reported; /* at least one concerns the revision */
};

struct view {
    const struct question *q;
    const struct verdict_facts *facts; /* NULL: none */
    struct revision asked;
    struct view_item *items; /* by object, then by sequence */
    size_t n_items;
    struct view_object *objects; /* by cluster, kind, namespace, name */
    size_t n_objects;
    bool ambiguous;
};
/* Borrows q and records. False when out of memory. */
bool view_init(struct view *v, const struct question *q, const struct record *records, size_t n);
void view_free(struct view *v);

bool is_source(struct str kind);

/* What one object says about the revision. */
struct object_state {
    const struct view_object *object; /* NULL: asked for and not among the records */
    struct str cluster, kind, namespace, name;
    enum verdict_state state;
    bool reported;
    bool asked;                /* counts for the verdict */
    const struct record *word; /* that decided or, while waiting, the last one; NULL: none */
    int64_t from_ms;           /* decided: since when */
    bool fails;                /* its latest statement is a failure, counted or not yet */
    int64_t failing_since_ms;
    int64_t fails_at_ms;     /* when that counts as failed */
    const struct record *by; /* the success of the revision that came instead or afterwards; NULL: none */
    int64_t by_ms;           /* since when */
};
struct object_state object_judge(const struct view *v, const struct view_object *object,
                                 struct verdict_now now);

/* Order of records. */
bool record_before(const struct record *a, const struct record *b);
/* Whether the store knows it to be suspended: nothing will come of it. */
bool object_is_suspended(const struct view *v, const struct object_state *s);
/* The revision that a record is shown as. */
struct str record_revision(const struct record *r);

struct judgement {
    enum verdict_state state;
    const struct object_state *decider; /* NULL: none */
    int64_t decided_ms;
    int64_t wake_at_ms;
    uint32_t succeeded; /* objects that count as success, and how many must */
    uint32_t needed;
};
/* One sentence. `records` are those that were given, for the hint about a branch or a short beginning. */
void explain(struct text *t, const struct view *v, const struct judgement *j,
             const struct object_state *states, size_t n_states, const struct record *records,
             size_t n_records);

#endif
