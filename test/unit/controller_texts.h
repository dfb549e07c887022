/* Phases, findings and actions in words, for the lines that a test prints. */
#ifndef FES_TEST_CONTROLLER_TEXTS_H
#define FES_TEST_CONTROLLER_TEXTS_H

#include "controller/decide_priv.h"
#include "harness.h"

__attribute__((unused)) static const char *run_phase_text(enum run_phase phase)
{
    static const char *const texts[N_RUN_PHASES] = {
        [PHASE_NEW] = "new",         [PHASE_NEW_SPARE] = "new, attempts left",
        [PHASE_WAITING] = "waiting", [PHASE_WAITING_SPARE] = "waiting, attempts left",
        [PHASE_DONE] = "done",       [PHASE_DELETING] = "being deleted",
    };
    return texts[phase];
}

__attribute__((unused)) static const char *finding_text(enum finding finding)
{
    static const char *const texts[N_FINDINGS] = {
        [FOUND_CANCELLED] = "cancel asked for",
        [FOUND_FAULT] = "cannot be waited for",
        [FOUND_UNASKED] = "the store was not asked yet",
        [FOUND_EXPIRED] = "timeout ran out, undecided at the deadline",
        [FOUND_SUCCESS] = "verdict succeeded",
        [FOUND_FAILURE] = "verdict failed",
        [FOUND_SUPERSEDED] = "verdict superseded",
        [FOUND_AMBIGUOUS] = "verdict ambiguous",
        [FOUND_NOTHING] = "verdict waiting",
    };
    return texts[finding];
}

__attribute__((unused)) static const char *action_text(enum action_kind kind)
{
    static const char *const texts[] = {
        [ACTION_NONE] = "nothing",
        [ACTION_FORGET] = "forget",
        [ACTION_START] = "start waiting",
        [ACTION_EXPLAIN] = "explain",
        [ACTION_RETRY_FAILED] = "retry after failure",
        [ACTION_RETRY_EXPIRED] = "retry after timeout",
        [ACTION_SUCCEED] = "succeed",
        [ACTION_FAIL] = "fail",
        [ACTION_SUPERSEDE] = "fail as superseded",
        [ACTION_AMBIGUOUS] = "fail as ambiguous",
        [ACTION_EXPIRE] = "fail by timeout",
        [ACTION_CANCEL] = "fail as cancelled",
        [ACTION_REJECT] = "reject",
    };
    return texts[kind];
}

#endif
