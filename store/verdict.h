/* The verdict on a question: a pure function of records, question and time.
 *
 * Rules (the contract on verdicts):
 * - A record is success, failure, progress or other (classify). Order of records: effective time in whole seconds,
 *   then failure after success, then sequence; among records ranked by arrival, sequence alone.
 * - The state of an object for the revision is its latest success-or-failure record that matches it. It fails from the
 *   earliest failure after its last success for this revision.
 * - Per object: success, else superseded, else failed (once it has been failing for fail_after), else waiting. Over
 *   the objects: any failed -> failed; any superseded -> by on_superseded; every object asked for in success, or
 *   `expect` of them -> succeeded; else waiting. An entry of `objects` is satisfied when at least one cluster's object
 *   of that name succeeded and none that reported the revision failed.
 * - S supersedes R on object X when X is not in success for R, X's newest success-or-failure is a success for S, and S
 *   was first seen after R on the same reporter: both on X, or both on one source object of the same cluster. First
 *   seen = smallest effective time of that revision's records on that reporter; equal times are no evidence; a repeated
 *   success for the revision before R is none.
 * - An exact match of the revision beats a prefix; a short SHA with several candidates is failed (AMBIGUOUS).
 */
#ifndef FES_STORE_VERDICT_H
#define FES_STORE_VERDICT_H

#include "store/question.h"
#include "store/record.h"

#define VERDICT_STATES(X)               \
    X(VERDICT_WAITING, "waiting")       \
    X(VERDICT_SUCCEEDED, "succeeded")   \
    X(VERDICT_FAILED, "failed")         \
    X(VERDICT_SUPERSEDED, "superseded") \
    X(VERDICT_AMBIGUOUS, "ambiguous")
enum verdict_state {
#define X(id, text) id,
    VERDICT_STATES(X)
#undef X
};
const char *verdict_state_text(enum verdict_state state);

#define VERDICT_EXPLANATION 2048

/* What one object says about the revision. Text is owned by the verdict. */
struct verdict_object {
    struct str cluster, kind, namespace, name; /* kind, namespace and name empty: the anonymous object */
    enum verdict_state state;
    bool suspended; /* nothing new will be said of it until somebody resumes it */
    bool reported;  /* false: asked for in `objects` and never heard of with this revision */
    uint64_t seq;   /* the record that decided its state (superseded: the other revision's success) or, while
                              waiting, its last word; 0: none */
    struct str reason;        /* of that record */
    struct str message;       /* of that record, at most RECORD_MESSAGE_MAX bytes */
    struct str revision;      /* as that record reported it */
    int64_t effective_ms;     /* of that record (its last statement) */
    int64_t received_ms;      /* of that record (its last statement) */
    int64_t failing_since_ms; /* effective time from which it fails; valid for failures, counted or not yet */
    struct str superseded_by; /* revision S; also set on a success that a later revision replaced */
    int64_t superseded_ms;
};

struct verdict {
    enum verdict_state state;
    /* The object that decided (succeeded: with which the number asked for was reached); NULL while waiting. */
    const struct verdict_object *decider;
    const struct verdict_object *objects; /* every object that matched or was asked for, in a stable order */
    size_t n_objects;
    int64_t wake_at_ms; /* wall time at which the answer may change by itself; INT64_MAX: never */
    int64_t
        decided_ms; /* since when it is so: effective time of the statement that decided, plus fail_after where a
                           failure had to last; 0 while waiting */
    int64_t
        heard_ms; /* when the last of all records about the revision was received; INT64_MIN: there are none */
    struct str explanation; /* one sentence: what is awaited and what each said last, with absolute times */
};

/* What is known beside the records. For the explanation only: a change of it makes no waiter ask again, so that an
 * explanation kept for long may lack it. */
struct verdict_facts {
    /* Of an object of `cluster`; NULL: not known. */
    bool (*is_suspended)(void *arg, struct str kind, struct str namespace, struct str name);
    void *arg;
    struct str cluster;
    bool only_errors_of_kustomizations; /* notifications of them came, failures, and never a success */
    bool only_errors_of_helm_releases;
};

struct verdict_now {
    int64_t wall_ms;
    int64_t
        failures_from_ms; /* a failure last received before this does not count (a retry's attempt began then);
                                 INT64_MIN: all count. A success always counts. */
    const struct verdict_facts *facts; /* NULL: none */
};

/* Records: those that match the question, and those that show superseding, in any order; others do no harm. Returns
 * NULL only when out of memory. The verdict owns copies of all its text; free with verdict_free. */
struct verdict *verdict_new(const struct question *q, const struct record *records, size_t n,
                            struct verdict_now now);
void verdict_free(struct verdict *v);

#endif
