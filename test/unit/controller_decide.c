/* The decision as a table: every pair of phase and finding, then how phases and findings are recognised, and
 * times. */
#include "controller/decide_priv.h"
#include "controller_texts.h"
#include "harness.h"

#define T0     INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define MONO   INT64_C(5000000)
#define NEVER  INT64_MAX

static struct moment at(int64_t after_t0_ms)
{
    return (struct moment){T0 + after_t0_ms, MONO + after_t0_ms};
}

/* ---- a Run in each phase, a verdict for each finding ---- */

static struct run run_in(enum run_phase phase)
{
    struct run r = {.kind = KIND_CUSTOMRUN,
                    .created_ms = T0,
                    .start_ms = RUN_NO_TIME,
                    .attempt_ms = RUN_NO_TIME,
                    .transition_ms = RUN_NO_TIME,
                    .deadline_mono_ms = NEVER,
                    .timeout_ms = 10 * MINUTE};

    switch (phase) {
    case PHASE_NEW_SPARE: r.retries = 2; break;
    case PHASE_NEW: break;
    case PHASE_WAITING_SPARE:
    case PHASE_WAITING:
        r.retries = phase == PHASE_WAITING_SPARE ? 1 : 0;
        r.succeeded = SUCCEEDED_UNKNOWN;
        r.reason = STR("Waiting");
        r.start_ms = T0;
        r.has_start = true;
        break;
    case PHASE_DONE:
        r.succeeded = SUCCEEDED_FALSE;
        r.start_ms = T0;
        r.has_start = true;
        break;
    case PHASE_DELETING: r.deleting = true; break;
    }
    return r;
}

/* Makes f true of r at minute 5 and returns the verdict that does so (NULL: none). */
static const struct verdict *make_true(enum finding f, struct run *r, struct verdict *v)
{
    *v = (struct verdict){.state = VERDICT_WAITING, .wake_at_ms = NEVER, .decided_ms = T0 + MINUTE};
    switch (f) {
    case FOUND_CANCELLED: r->cancelled = true; break;
    case FOUND_FAULT: r->fault = FAULT_PARAMS; break;
    case FOUND_UNASKED: return NULL;
    case FOUND_EXPIRED: r->deadline_mono_ms = MONO + MINUTE; break;
    case FOUND_SUCCESS: v->state = VERDICT_SUCCEEDED; break;
    case FOUND_FAILURE: v->state = VERDICT_FAILED; break;
    case FOUND_SUPERSEDED: v->state = VERDICT_SUPERSEDED; break;
    case FOUND_AMBIGUOUS: v->state = VERDICT_AMBIGUOUS; break;
    case FOUND_NOTHING: break;
    }
    return v;
}

/* clang-format off */
static const struct row {
    const char *name;
    enum finding finding;
    enum run_phase phase;
    enum action_kind want;
} rows[] = {
    {"item_34_cancel_at_creation_ends_in_one_write",  FOUND_CANCELLED,  PHASE_NEW,           ACTION_CANCEL},
    {"cancel_at_creation_is_not_retried",             FOUND_CANCELLED,  PHASE_NEW_SPARE,     ACTION_CANCEL},
    {"item_31_32_cancel_while_waiting",               FOUND_CANCELLED,  PHASE_WAITING,       ACTION_CANCEL},
    {"cancel_is_never_retried",                       FOUND_CANCELLED,  PHASE_WAITING_SPARE, ACTION_CANCEL},
    {"item_28_cancel_of_a_terminal_run",              FOUND_CANCELLED,  PHASE_DONE,          ACTION_FORGET},
    {"cancel_of_a_run_being_deleted",                 FOUND_CANCELLED,  PHASE_DELETING,      ACTION_FORGET},

    {"item_8_fault_of_a_new_run",                     FOUND_FAULT,      PHASE_NEW,           ACTION_REJECT},
    {"a_fault_is_not_retried",                        FOUND_FAULT,      PHASE_NEW_SPARE,     ACTION_REJECT},
    {"spec_made_faulty_while_waiting",                FOUND_FAULT,      PHASE_WAITING,       ACTION_REJECT},
    {"spec_made_faulty_with_attempts_left",           FOUND_FAULT,      PHASE_WAITING_SPARE, ACTION_REJECT},
    {"fault_of_a_terminal_run",                       FOUND_FAULT,      PHASE_DONE,          ACTION_FORGET},
    {"item_48_fault_of_a_run_being_deleted",          FOUND_FAULT,      PHASE_DELETING,      ACTION_FORGET},

    {"no_write_before_the_store_was_asked",           FOUND_UNASKED,    PHASE_NEW,           ACTION_NONE},
    {"no_write_before_asked_attempts_left",           FOUND_UNASKED,    PHASE_NEW_SPARE,     ACTION_NONE},
    {"nothing_new_while_waiting",                     FOUND_UNASKED,    PHASE_WAITING,       ACTION_NONE},
    {"nothing_new_while_waiting_attempts_left",       FOUND_UNASKED,    PHASE_WAITING_SPARE, ACTION_NONE},
    {"item_27_terminal_run_listed_again",             FOUND_UNASKED,    PHASE_DONE,          ACTION_FORGET},
    {"item_48_run_being_deleted",                     FOUND_UNASKED,    PHASE_DELETING,      ACTION_FORGET},

    {"expired_before_the_first_write_was_accepted",   FOUND_EXPIRED,    PHASE_NEW,           ACTION_EXPIRE},
    {"expired_before_first_write_attempts_left",      FOUND_EXPIRED,    PHASE_NEW_SPARE,     ACTION_RETRY_EXPIRED},
    {"item_39_expiry",                                FOUND_EXPIRED,    PHASE_WAITING,       ACTION_EXPIRE},
    {"item_43_expiry_with_attempts_left",             FOUND_EXPIRED,    PHASE_WAITING_SPARE, ACTION_RETRY_EXPIRED},
    {"expiry_of_a_terminal_run",                      FOUND_EXPIRED,    PHASE_DONE,          ACTION_FORGET},
    {"expiry_of_a_run_being_deleted",                 FOUND_EXPIRED,    PHASE_DELETING,      ACTION_FORGET},

    {"item_18_success_before_the_run",                FOUND_SUCCESS,    PHASE_NEW,           ACTION_SUCCEED},
    {"success_before_the_run_attempts_left",          FOUND_SUCCESS,    PHASE_NEW_SPARE,     ACTION_SUCCEED},
    {"item_19_success",                               FOUND_SUCCESS,    PHASE_WAITING,       ACTION_SUCCEED},
    {"success_with_attempts_left",                    FOUND_SUCCESS,    PHASE_WAITING_SPARE, ACTION_SUCCEED},
    {"item_24_success_again",                         FOUND_SUCCESS,    PHASE_DONE,          ACTION_FORGET},
    {"success_of_a_run_being_deleted",                FOUND_SUCCESS,    PHASE_DELETING,      ACTION_FORGET},

    {"failure_before_the_run",                        FOUND_FAILURE,    PHASE_NEW,           ACTION_FAIL},
    {"failure_before_the_run_attempts_left",          FOUND_FAILURE,    PHASE_NEW_SPARE,     ACTION_RETRY_FAILED},
    {"item_20_failure",                               FOUND_FAILURE,    PHASE_WAITING,       ACTION_FAIL},
    {"item_42_failure_with_attempts_left",            FOUND_FAILURE,    PHASE_WAITING_SPARE, ACTION_RETRY_FAILED},
    {"failure_after_the_end",                         FOUND_FAILURE,    PHASE_DONE,          ACTION_FORGET},
    {"failure_of_a_run_being_deleted",                FOUND_FAILURE,    PHASE_DELETING,      ACTION_FORGET},

    {"superseded_before_the_run",                     FOUND_SUPERSEDED, PHASE_NEW,           ACTION_SUPERSEDE},
    {"superseded_before_the_run_is_not_retried",      FOUND_SUPERSEDED, PHASE_NEW_SPARE,     ACTION_SUPERSEDE},
    {"superseded",                                    FOUND_SUPERSEDED, PHASE_WAITING,       ACTION_SUPERSEDE},
    {"superseded_is_not_retried",                     FOUND_SUPERSEDED, PHASE_WAITING_SPARE, ACTION_SUPERSEDE},
    {"superseded_after_the_end",                      FOUND_SUPERSEDED, PHASE_DONE,          ACTION_FORGET},
    {"superseded_while_being_deleted",                FOUND_SUPERSEDED, PHASE_DELETING,      ACTION_FORGET},

    {"ambiguous_before_the_run",                      FOUND_AMBIGUOUS,  PHASE_NEW,           ACTION_AMBIGUOUS},
    {"ambiguous_before_the_run_is_not_retried",       FOUND_AMBIGUOUS,  PHASE_NEW_SPARE,     ACTION_AMBIGUOUS},
    {"ambiguous",                                     FOUND_AMBIGUOUS,  PHASE_WAITING,       ACTION_AMBIGUOUS},
    {"ambiguous_is_not_retried",                      FOUND_AMBIGUOUS,  PHASE_WAITING_SPARE, ACTION_AMBIGUOUS},
    {"ambiguous_after_the_end",                       FOUND_AMBIGUOUS,  PHASE_DONE,          ACTION_FORGET},
    {"ambiguous_while_being_deleted",                 FOUND_AMBIGUOUS,  PHASE_DELETING,      ACTION_FORGET},

    {"item_17_new_run_without_event",                 FOUND_NOTHING,    PHASE_NEW,           ACTION_START},
    {"new_run_without_event_attempts_left",           FOUND_NOTHING,    PHASE_NEW_SPARE,     ACTION_START},
    {"item_21_22_nothing_that_decides",               FOUND_NOTHING,    PHASE_WAITING,       ACTION_EXPLAIN},
    {"nothing_that_decides_attempts_left",            FOUND_NOTHING,    PHASE_WAITING_SPARE, ACTION_EXPLAIN},
    {"item_27_nothing_new_for_a_terminal_run",        FOUND_NOTHING,    PHASE_DONE,          ACTION_FORGET},
    {"nothing_new_while_being_deleted",               FOUND_NOTHING,    PHASE_DELETING,      ACTION_FORGET},
};
/* clang-format on */
#define N_ROWS (sizeof rows / sizeof rows[0])

static void every_pair_has_its_action(void)
{
    unsigned seen[N_FINDINGS][N_RUN_PHASES] = {0};

    for (size_t i = 0; i < N_ROWS; i++) {
        const struct row *row = &rows[i];
        struct run r = run_in(row->phase);
        struct verdict verdict;
        const struct verdict *v = make_true(row->finding, &r, &verdict);
        harness_case("%s", row->name);
        if (row->finding == FOUND_EXPIRED && r.start_ms == RUN_NO_TIME)
            r.start_ms = T0;
        struct action a = decide(&r, v, at(5 * MINUTE));
        printf("# %-48s %-24s %-44s -> %s\n", row->name, run_phase_text(row->phase),
               finding_text(row->finding), action_text(a.kind));
        CHECK_TEXT(run_phase_text(run_phase(&r)), run_phase_text(row->phase));
        CHECK_TEXT(finding_text(find(&r, v, at(5 * MINUTE))), finding_text(row->finding));
        CHECK_TEXT(action_text(a.kind), action_text(row->want));
        seen[row->finding][row->phase]++;
    }
    for (int f = 0; f < N_FINDINGS; f++)
        for (int p = 0; p < N_RUN_PHASES; p++) {
            harness_case("%s / %s", finding_text(f), run_phase_text(p));
            CHECK_INT(seen[f][p], 1);
        }
}

/* ---- phases ---- */

static void phases(void)
{
    static const struct {
        const char *name;
        enum run_succeeded succeeded;
        const char *reason;
        bool has_start;
        uint32_t retries, done;
        enum run_phase want;
    } table[] = {
        {"no status at all", SUCCEEDED_ABSENT, "", false, 0, 0, PHASE_NEW},
        {"item_30 condition that is no word", SUCCEEDED_ABSENT, "Waiting", true, 0, 0, PHASE_NEW},
        {"Unknown of another writer", SUCCEEDED_UNKNOWN, "Started", true, 0, 0, PHASE_NEW},
        {"Waiting without a start", SUCCEEDED_UNKNOWN, "Waiting", false, 0, 0, PHASE_NEW},
        {"Waiting", SUCCEEDED_UNKNOWN, "Waiting", true, 0, 0, PHASE_WAITING},
        {"Retrying", SUCCEEDED_UNKNOWN, "Retrying", true, 2, 1, PHASE_WAITING_SPARE},
        {"Retrying for the last time", SUCCEEDED_UNKNOWN, "Retrying", true, 2, 2, PHASE_WAITING},
        {"more attempts than retries", SUCCEEDED_UNKNOWN, "Retrying", true, 1, 3, PHASE_WAITING},
        {"True", SUCCEEDED_TRUE, "", false, 1, 0, PHASE_DONE},
        {"False", SUCCEEDED_FALSE, "Waiting", true, 1, 0, PHASE_DONE},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct run r = {.succeeded = table[i].succeeded,
                        .reason = str_of(table[i].reason),
                        .has_start = table[i].has_start,
                        .retries = table[i].retries,
                        .retries_done = table[i].done};
        harness_case("%s", table[i].name);
        CHECK_TEXT(run_phase_text(run_phase(&r)), run_phase_text(table[i].want));
    }
}

/* ---- the deadline, and what wins over it ---- */

static void item_40_stored_decision_against_expiry(void)
{
    static const struct {
        const char *name;
        enum verdict_state state;
        int64_t decided; /* after the start */
        int64_t failing_since;
        int64_t fail_after;
        int64_t now;
        enum finding want;
    } table[] = {
        {"success before the deadline, asked in time", VERDICT_SUCCEEDED, MINUTE, 0, 0, 2 * MINUTE,
         FOUND_SUCCESS},
        {"success before the deadline, noticed late", VERDICT_SUCCEEDED, MINUTE, 0, 0, 60 * MINUTE,
         FOUND_SUCCESS},
        {"success at the deadline, noticed late", VERDICT_SUCCEEDED, 10 * MINUTE, 0, 0, 60 * MINUTE,
         FOUND_SUCCESS},
        {"success after it, noticed late", VERDICT_SUCCEEDED, 11 * MINUTE, 0, 0, 60 * MINUTE, FOUND_EXPIRED},
        {"failure before it, noticed late", VERDICT_FAILED, 9 * MINUTE, 0, 0, 60 * MINUTE, FOUND_FAILURE},
        {"failure after it", VERDICT_FAILED, 10 * MINUTE + 1, 0, 0, 60 * MINUTE, FOUND_EXPIRED},
        {"failing since before, long enough after", VERDICT_FAILED, 9 * MINUTE, 9 * MINUTE, 5 * MINUTE,
         60 * MINUTE, FOUND_EXPIRED},
        {"failing long enough before", VERDICT_FAILED, 4 * MINUTE, 4 * MINUTE, 5 * MINUTE, 60 * MINUTE,
         FOUND_FAILURE},
        {"superseded before", VERDICT_SUPERSEDED, MINUTE, 0, 0, 60 * MINUTE, FOUND_SUPERSEDED},
        {"undecided, a moment before", VERDICT_WAITING, 0, 0, 0, 10 * MINUTE - 1, FOUND_NOTHING},
        {"undecided, at the deadline", VERDICT_WAITING, 0, 0, 0, 10 * MINUTE, FOUND_EXPIRED},
        {"success from before the Run", VERDICT_SUCCEEDED, -MINUTE, 0, 0, 60 * MINUTE, FOUND_SUCCESS},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct run r = run_in(PHASE_WAITING);
        struct verdict_object o = {.failing_since_ms = T0 + table[i].failing_since};
        struct verdict v = {.state = table[i].state, .decided_ms = T0 + table[i].decided, .decider = &o};
        harness_case("%s", table[i].name);
        r.fail_after_ms = table[i].fail_after;
        run_anchor(&r, at(0));
        CHECK_TEXT(finding_text(find(&r, &v, at(table[i].now))), finding_text(table[i].want));
    }
}

static void item_41_50_deadlines(void)
{
    static const struct {
        const char *name;
        int64_t start, timeout, now, want; /* want: after MONO; NEVER */
    } table[] = {
        {"no timeout", 0, 0, 0, NEVER},
        {"from the start", 0, 10 * MINUTE, 0, 10 * MINUTE},
        {"item_25 anchored late", 0, 10 * MINUTE, 7 * MINUTE, 10 * MINUTE},
        {"long over", 0, MINUTE, 60 * MINUTE, MINUTE},
        {"start ahead of the clock", 5 * MINUTE, MINUTE, 0, 6 * MINUTE},
        {"half a second", 0, 500, 0, 500},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct run r = run_in(PHASE_WAITING);
        harness_case("%s", table[i].name);
        r.start_ms = T0 + table[i].start;
        r.timeout_ms = table[i].timeout;
        run_anchor(&r, at(table[i].now));
        CHECK_INT(r.deadline_mono_ms, table[i].want == NEVER ? NEVER : MONO + table[i].want);
    }
    struct run r = run_in(PHASE_WAITING);
    harness_case("beyond what fits");
    r.timeout_ms = INT64_MAX - 1;
    run_anchor(&r, at(0));
    CHECK_INT(r.deadline_mono_ms, NEVER);
    harness_case("a step of the wall clock moves nothing");
    r.timeout_ms = 10 * MINUTE;
    run_anchor(&r, at(0));
    struct verdict v = {.state = VERDICT_WAITING};
    CHECK_TEXT(finding_text(find(&r, &v, (struct moment){T0 + 600 * MINUTE, MONO + MINUTE})),
               finding_text(FOUND_NOTHING));
    CHECK_TEXT(finding_text(find(&r, &v, (struct moment){T0 - 600 * MINUTE, MONO + 10 * MINUTE})),
               finding_text(FOUND_EXPIRED));
}

static void item_50_times(void)
{
    struct verdict v = {.state = VERDICT_SUCCEEDED};
    struct run r = run_in(PHASE_NEW);
    struct action a = decide(&r, &v, at(MINUTE));

    CHECK_INT(a.start_ms, T0 + MINUTE);
    CHECK_INT(a.completion_ms, T0 + MINUTE);
    harness_case("clock behind the creation");
    a = decide(&r, &v, at(-MINUTE));
    CHECK_INT(a.start_ms, T0);
    CHECK_INT(a.completion_ms, T0);
    harness_case("clock stepped behind the start");
    r = run_in(PHASE_WAITING);
    a = decide(&r, &v, at(-MINUTE));
    CHECK_INT(a.start_ms, T0);
    CHECK_INT(a.completion_ms, T0);
    harness_case("start kept");
    a = decide(&r, &v, at(3 * MINUTE));
    CHECK_INT(a.start_ms, T0);
    CHECK_INT(a.completion_ms, T0 + 3 * MINUTE);
}

static void item_46_next_attempt_begins_after_all_that_was_received(void)
{
    struct verdict_object decider = {.reported = true, .received_ms = T0 + MINUTE};
    struct verdict v = {.state = VERDICT_FAILED,
                        .decider = &decider,
                        .objects = &decider,
                        .n_objects = 1,
                        .heard_ms = T0 + 2 * MINUTE};
    struct run r = run_in(PHASE_WAITING_SPARE);

    CHECK_INT(decide(&r, &v, at(3 * MINUTE)).next_ms, T0 + 3 * MINUTE);
    harness_case("received in the same millisecond");
    CHECK_INT(decide(&r, &v, at(2 * MINUTE)).next_ms, T0 + 2 * MINUTE + 1);
    harness_case("the wall clock stepped back");
    CHECK_INT(decide(&r, &v, at(MINUTE)).next_ms, T0 + 2 * MINUTE + 1);
}

static void sums_are_bounded(void)
{
    static const struct {
        int64_t a, b, sum;
    } cases[] = {
        {1, 2, 3},
        {INT64_MAX - 1, 1, INT64_MAX},
        {INT64_MAX, 1, INT64_MAX},
        {1, INT64_MAX, INT64_MAX},
        {INT64_MIN, -1, INT64_MIN},
        {-1, INT64_MIN, INT64_MIN},
        {INT64_MIN, INT64_MAX, -1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        harness_case("row %zu", i);
        CHECK_INT(add_saturated(cases[i].a, cases[i].b), cases[i].sum);
    }
}

static void precedence(void)
{
    struct verdict v = {.state = VERDICT_SUCCEEDED, .decided_ms = T0};
    struct run r = run_in(PHASE_WAITING);

    harness_case("item_35 cancel and success at once");
    r.cancelled = true;
    CHECK_TEXT(action_text(decide(&r, &v, at(0)).kind), action_text(ACTION_CANCEL));
    harness_case("cancel and fault at once");
    r.fault = FAULT_TIMEOUT;
    CHECK_TEXT(action_text(decide(&r, NULL, at(0)).kind), action_text(ACTION_CANCEL));
    harness_case("deleting and done");
    r.deleting = true;
    r.succeeded = SUCCEEDED_TRUE;
    CHECK_TEXT(action_text(decide(&r, &v, at(0)).kind), action_text(ACTION_FORGET));
}

int main(void)
{
    return harness_run((struct test[]){TEST(every_pair_has_its_action),
                                       TEST(phases),
                                       TEST(item_40_stored_decision_against_expiry),
                                       TEST(item_41_50_deadlines),
                                       TEST(item_50_times),
                                       TEST(item_46_next_attempt_begins_after_all_that_was_received),
                                       TEST(sums_are_bounded),
                                       TEST(precedence),
                                       {0}});
}
