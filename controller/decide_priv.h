/* What to do with a Run: a pure function of the Run as the API has it, the verdict, and the time. */
#ifndef FES_CONTROLLER_DECIDE_PRIV_H
#define FES_CONTROLLER_DECIDE_PRIV_H

#include "controller/run_json_priv.h"
#include "store/verdict.h"

/* Where a Run stands. "Spare": another attempt is left should this one fail. */
enum run_phase {
    PHASE_NEW,
    PHASE_NEW_SPARE,
    PHASE_WAITING,
    PHASE_WAITING_SPARE,
    PHASE_DONE,
    PHASE_DELETING,
};
#define N_RUN_PHASES 6

/* What is true about it now; the first that applies, in this order. */
enum finding {
    FOUND_CANCELLED, /* a cancel was asked for */
    FOUND_FAULT,     /* it cannot be waited for */
    FOUND_UNASKED,   /* the store was not asked yet */
    FOUND_EXPIRED,   /* the timeout ran out, undecided at the deadline */
    FOUND_SUCCESS,   /* what the verdict is: */
    FOUND_FAILURE,
    FOUND_SUPERSEDED,
    FOUND_AMBIGUOUS,
    FOUND_NOTHING, /* waiting */
};
#define N_FINDINGS 9

enum action_kind {
    ACTION_NONE,
    ACTION_FORGET,  /* never written to again */
    ACTION_START,   /* Unknown/Waiting */
    ACTION_EXPLAIN, /* the message only, when it has something new to say */
    ACTION_RETRY_FAILED,
    ACTION_RETRY_EXPIRED,
    ACTION_SUCCEED,
    ACTION_FAIL, /* by the verdict; those below fail it otherwise */
    ACTION_SUPERSEDE,
    ACTION_AMBIGUOUS,
    ACTION_EXPIRE,
    ACTION_CANCEL,
    ACTION_REJECT,
};

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
