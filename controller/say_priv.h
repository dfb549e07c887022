/* The words of a Run's status: reasons, messages, results. Pure. */
#ifndef FES_CONTROLLER_SAY_PRIV_H
#define FES_CONTROLLER_SAY_PRIV_H

#include "controller/decide_priv.h"

#define SAY_MESSAGE 4096 /* bytes of a condition's message, with the NUL */

/* The condition's reason for an action, of constant memory. */
const char *say_reason(const struct run *r, enum action_kind kind);
/* "True", "False" or "Unknown". */
const char *say_status(enum action_kind kind);
/* The result `verdict` of an ending: "succeeded", "failed", ..., of constant memory. */
const char *say_verdict(enum action_kind ending);
/* The condition's message. v may be NULL for a cancel and a rejection. */
void say_message(const struct run *r, const struct action *a, const struct verdict *v, struct text *out);

/* Tells whether what the objects say about the revision has changed; times and counts are left out, because
 * Flux repeats itself at every interval. Never 0. */
uint64_t say_digest(const struct verdict *v);

/* The results, always the full set, in this order. */
#define RESULTS(X)          \
    X(verdict, 16)          \
    X(revision, 1025)       \
    X(object, 513)          \
    X(reason, 257)          \
    X(message, 1025)        \
    X(timestamp, TIME_TEXT) \
    X(supersededBy, 1025)   \
    X(eventId, 24)
#define RESULT_ROOM 4 /* for the prefix below */
struct results {
#define X(name, size) char name[(size) + RESULT_ROOM];
    RESULTS(X)
#undef X
};
#define RESULTS_MAX 4096 /* bytes of all results as JSON */

/* `revision` is what the deciding record reported, so that a short SHA becomes the full revision for the tasks that
 * follow; without such a record, and for a superseded one, it is what was asked for.
 *
 * Fills the results of an ending, each value at most `most` bytes. Tekton turns a value that parses as a JSON
 * array of strings into an array parameter; a value that begins like an array or object is therefore given
 * the prefix ": ". */
void say_results(const struct run *r, const struct action *a, const struct verdict *v, size_t most,
                 struct results *ret);

#endif
