/* What to do with a Run: a pure function of the Run as the API has it, the verdict, and the time. */
#ifndef FES_CONTROLLER_DECIDE_PRIV_H
#define FES_CONTROLLER_DECIDE_PRIV_H

#include "controller/run_json_priv.h"
#include "store/verdict.h"

/* Where a Run stands. "Spare": another attempt is left should this one fail. */
#define RUN_PHASES(X)                                \
    X(PHASE_NEW, "new")                              \
    X(PHASE_NEW_SPARE, "new, attempts left")         \
    X(PHASE_WAITING, "waiting")                      \
    X(PHASE_WAITING_SPARE, "waiting, attempts left") \
    X(PHASE_DONE, "done")                            \
    X(PHASE_DELETING, "being deleted")
enum run_phase {
#define X(id, text) id,
    RUN_PHASES(X)
#undef X
};
#define N_RUN_PHASES 6
const char *run_phase_text(enum run_phase phase);

/* What is true about it now; the first that applies, in this order. */
#define FINDINGS(X)                                                \
    X(FOUND_CANCELLED, "cancel asked for")                         \
    X(FOUND_FAULT, "cannot be waited for")                         \
    X(FOUND_UNASKED, "the store was not asked yet")                \
    X(FOUND_EXPIRED, "timeout ran out, undecided at the deadline") \
    X(FOUND_SUCCESS, "verdict succeeded")                          \
    X(FOUND_FAILURE, "verdict failed")                             \
    X(FOUND_SUPERSEDED, "verdict superseded")                      \
    X(FOUND_AMBIGUOUS, "verdict ambiguous")                        \
    X(FOUND_NOTHING, "verdict waiting")
enum finding {
#define X(id, text) id,
    FINDINGS(X)
#undef X
};
#define N_FINDINGS 9
const char *finding_text(enum finding finding);

#define ACTIONS(X)                                                                            \
    X(ACTION_NONE, "nothing")                                                                 \
    X(ACTION_FORGET, "forget")       /* never written to again */                             \
    X(ACTION_START, "start waiting") /* Unknown/Waiting */                                    \
    X(ACTION_EXPLAIN, "explain")     /* the message only, when it has something new to say */ \
    X(ACTION_RETRY_FAILED, "retry after failure")                                             \
    X(ACTION_RETRY_EXPIRED, "retry after timeout")                                            \
    X(ACTION_SUCCEED, "succeed")                                                              \
    X(ACTION_FAIL, "fail")                                                                    \
    X(ACTION_SUPERSEDE, "fail as superseded")                                                 \
    X(ACTION_AMBIGUOUS, "fail as ambiguous")                                                  \
    X(ACTION_EXPIRE, "fail by timeout")                                                       \
    X(ACTION_CANCEL, "fail as cancelled")                                                     \
    X(ACTION_REJECT, "reject")
enum action_kind {
#define X(id, text) id,
    ACTIONS(X)
#undef X
};
#define N_ACTIONS 13
const char *action_text(enum action_kind kind);

/* How an attempt ends; ACTION_NONE for actions that end none. A retry ends one as the failure it is. */
enum action_kind action_ending(enum action_kind kind);
bool action_is_final(enum action_kind kind);
bool action_is_retry(enum action_kind kind);
/* A change of state: written at once and told by a Kubernetes Event. */
bool action_is_transition(enum action_kind kind);

struct action {
    enum action_kind kind;
    int64_t now_ms;
    int64_t start_ms;      /* startTime of the attempt under way, or beginning now */
    int64_t completion_ms; /* of the attempt that ends, never before its start */
    int64_t next_ms; /* of a retry: begin of the next attempt, after everything that was received so far */
};

enum run_phase run_phase(const struct run *r);
/* v NULL: not asked. */
enum finding find(const struct run *r, const struct verdict *v, struct moment now);
/* v is borrowed for the call. */
struct action decide(const struct run *r, const struct verdict *v, struct moment now);

/* The nearest there is when the sum is beyond 64 bits. */
int64_t add_saturated(int64_t a, int64_t b);

/* Sets the deadline on the monotonic clock from the start and timeout on the wall clock. Done when the Run is
 * first seen and when either changes; a step of the wall clock in between moves nothing. */
void run_anchor(struct run *r, struct moment now);

#endif
