/* The decision: one enum of phases, one of findings, one table.
 *
 * Every combination has its cell, so there is no path beside the table: retry, cancel and timeout are rows.
 * The rules behind the order of findings:
 * - Cancel wins over everything that is not already written: there is no un-cancel, and Tekton counts a child
 *   as cancelled only by its reason.
 * - A stored decision whose effective time is not after the deadline wins over an expiry that was noticed
 *   late. A later one does not: had the process been up, the timeout would have been written first.
 * - Superseded and ambiguous are not retried: no repetition of an attempt can mend them. A retry is consumed
 *   by a failure or a timeout.
 * - Terminal is sticky: what the API has as True or False is never written to again, whatever else is true.
 *   knative's generated reconcilers lose this when the generation changes.
 */
#include "controller/decide_priv.h"

#define NO ACTION_NONE

/* clang-format off */
static const enum action_kind table[N_FINDINGS][N_RUN_PHASES] = {
    /*                    new                new, spare            waiting            waiting, spare        done           deleting */
    [FOUND_CANCELLED]  = {ACTION_CANCEL,     ACTION_CANCEL,        ACTION_CANCEL,     ACTION_CANCEL,        ACTION_FORGET, ACTION_FORGET},
    [FOUND_FAULT]      = {ACTION_REJECT,     ACTION_REJECT,        ACTION_REJECT,     ACTION_REJECT,        ACTION_FORGET, ACTION_FORGET},
    [FOUND_UNASKED]    = {NO,                NO,                   NO,                NO,                   ACTION_FORGET, ACTION_FORGET},
    [FOUND_EXPIRED]    = {ACTION_EXPIRE,     ACTION_RETRY_EXPIRED, ACTION_EXPIRE,     ACTION_RETRY_EXPIRED, ACTION_FORGET, ACTION_FORGET},
    [FOUND_SUCCESS]    = {ACTION_SUCCEED,    ACTION_SUCCEED,       ACTION_SUCCEED,    ACTION_SUCCEED,       ACTION_FORGET, ACTION_FORGET},
    [FOUND_FAILURE]    = {ACTION_FAIL,       ACTION_RETRY_FAILED,  ACTION_FAIL,       ACTION_RETRY_FAILED,  ACTION_FORGET, ACTION_FORGET},
    [FOUND_SUPERSEDED] = {ACTION_SUPERSEDE,  ACTION_SUPERSEDE,     ACTION_SUPERSEDE,  ACTION_SUPERSEDE,     ACTION_FORGET, ACTION_FORGET},
    [FOUND_AMBIGUOUS]  = {ACTION_AMBIGUOUS,  ACTION_AMBIGUOUS,     ACTION_AMBIGUOUS,  ACTION_AMBIGUOUS,     ACTION_FORGET, ACTION_FORGET},
    [FOUND_NOTHING]    = {ACTION_START,      ACTION_START,         ACTION_EXPLAIN,    ACTION_EXPLAIN,       ACTION_FORGET, ACTION_FORGET},
};
/* clang-format on */

enum action_kind action_ending(enum action_kind kind)
{
    switch (kind) {
    case ACTION_NONE:
    case ACTION_FORGET:
    case ACTION_START:
    case ACTION_EXPLAIN: return ACTION_NONE;
    case ACTION_RETRY_FAILED: return ACTION_FAIL;
    case ACTION_RETRY_EXPIRED: return ACTION_EXPIRE;
    case ACTION_SUCCEED:
    case ACTION_FAIL:
    case ACTION_SUPERSEDE:
    case ACTION_AMBIGUOUS:
    case ACTION_EXPIRE:
    case ACTION_CANCEL:
    case ACTION_REJECT: return kind;
    }
    return ACTION_NONE;
}

bool action_is_final(enum action_kind kind)
{
    return kind != ACTION_NONE && action_ending(kind) == kind;
}

bool action_is_retry(enum action_kind kind)
{
    return kind == ACTION_RETRY_FAILED || kind == ACTION_RETRY_EXPIRED;
}

bool action_is_transition(enum action_kind kind)
{
    return kind == ACTION_START || action_ending(kind) != ACTION_NONE;
}

/* A Run that carries a start and our own condition waits already; all else is written afresh (its startTime
 * kept). */
enum run_phase run_phase(const struct run *r)
{
    bool spare = r->retries_done < r->retries;
    bool ours = str_eq(r->reason, STR("Waiting")) || str_eq(r->reason, STR("Retrying"));

    if (r->deleting)
        return PHASE_DELETING;
    if (r->succeeded == SUCCEEDED_TRUE || r->succeeded == SUCCEEDED_FALSE)
        return PHASE_DONE;
    if (r->succeeded == SUCCEEDED_UNKNOWN && r->has_start && ours)
        return spare ? PHASE_WAITING_SPARE : PHASE_WAITING;
    return spare ? PHASE_NEW_SPARE : PHASE_NEW;
}

int64_t add_saturated(int64_t a, int64_t b)
{
    int64_t sum;

    if (__builtin_add_overflow(a, b, &sum))
        return a > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

void run_anchor(struct run *r, struct moment now)
{
    r->deadline_mono_ms = INT64_MAX;
    if (r->timeout_ms > 0 && r->start_ms != RUN_NO_TIME)
        r->deadline_mono_ms =
            add_saturated(add_saturated(now.mono_ms, r->start_ms - now.wall_ms), r->timeout_ms);
}

/* When the verdict came true: a failure counts only once it has lasted for fail_after. */
static int64_t decided_at(const struct run *r, const struct verdict *v)
{
    if (v->state != VERDICT_FAILED || !v->decider || r->fail_after_ms == 0)
        return v->decided_ms;
    int64_t lasted = add_saturated(v->decider->failing_since_ms, r->fail_after_ms);
    return lasted > v->decided_ms ? lasted : v->decided_ms;
}

static enum finding find_verdict(enum verdict_state state)
{
    switch (state) {
    case VERDICT_WAITING: return FOUND_NOTHING;
    case VERDICT_SUCCEEDED: return FOUND_SUCCESS;
    case VERDICT_FAILED: return FOUND_FAILURE;
    case VERDICT_SUPERSEDED: return FOUND_SUPERSEDED;
    case VERDICT_AMBIGUOUS: return FOUND_AMBIGUOUS;
    }
    return FOUND_NOTHING;
}

enum finding find(const struct run *r, const struct verdict *v, struct moment now)
{
    if (r->cancelled)
        return FOUND_CANCELLED;
    if (r->fault != FAULT_NONE)
        return FOUND_FAULT;
    if (!v)
        return FOUND_UNASKED;
    if (now.mono_ms >= r->deadline_mono_ms &&
        (v->state == VERDICT_WAITING || decided_at(r, v) > add_saturated(r->start_ms, r->timeout_ms)))
        return FOUND_EXPIRED;
    return find_verdict(v->state);
}

/* The next attempt begins after all that this one has seen: no record received so far may end it. It also begins after
 * this one did, where the wall clock has stepped back: two attempts with one begin could not be told apart. */
static int64_t next_attempt(const struct run *r, const struct verdict *v, int64_t now_ms)
{
    if (r->start_ms != RUN_NO_TIME && now_ms <= r->start_ms)
        now_ms = r->start_ms + 1;
    if (v && v->heard_ms >= now_ms)
        now_ms = v->heard_ms + 1;
    return now_ms;
}

struct action decide(const struct run *r, const struct verdict *v, struct moment now)
{
    struct action a = {.kind = table[find(r, v, now)][run_phase(r)], .now_ms = now.wall_ms};

    a.start_ms = r->start_ms;
    if (a.start_ms == RUN_NO_TIME)
        a.start_ms = r->created_ms > now.wall_ms ? r->created_ms : now.wall_ms;
    a.completion_ms = now.wall_ms > a.start_ms ? now.wall_ms : a.start_ms;
    a.next_ms = next_attempt(r, v, a.completion_ms);
    return a;
}
