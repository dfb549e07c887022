/* The n-th allocation is refused while the watch shows a Run, for n = 1, 2, 3, ...: the log says for which Run there was no
 * memory, and when it is listed again all goes on. The same with a reply.
 */
#include "controller_world.h"
#include "memory.h"

/* Shows w with its n-th allocation refused. False when there were not so many. */
static bool show_without(long n)
{
    harness_case("allocation %ld", n);
    begin();
    make(KIND_CUSTOMRUN, "w", "w", "");
    memory_before = n;
    show(KIND_CUSTOMRUN, "w");
    bool refused = memory_again();
    turn();
    return refused;
}

static void the_run_is_named_and_comes_back(void)
{
    long n = 0;

    for (; show_without(n); n++) {
        CHECK_INT(n_reports[REPORT_ERROR], 1);
        CHECK_TEXT(last_report, "out of memory for a Run");
        CHECK_TEXT(last_about, "CustomRun ci/w");
        advance(LIST_AGAIN_MS);
        CHECK_INT(n_list_again, 1);
        store_says(VERDICT_SUCCEEDED, T0);
        controller_on_list(controller, KIND_CUSTOMRUN, 0);
        show(KIND_CUSTOMRUN, "w");
        controller_on_synced(controller, KIND_CUSTOMRUN, 0, now);
        turn();
        serve_all();
        CHECK_STR(condition(KIND_CUSTOMRUN, "w", "status"), STR("True"));
    }
    CHECK(n > 5);
    CHECK_INT(n_reports[REPORT_ERROR], 0);
}

/* The reply to a PATCH is an object, too. */
static void a_reply_is_asked_for_again(void)
{
    bool refused = true;
    long n = 0;

    for (; refused; n++) {
        harness_case("allocation %ld", n);
        begin();
        create(KIND_CUSTOMRUN, "w", "");
        memory_before = n;
        CHECK_INT(serve_one(), 200);
        refused = memory_again();
        store_says(VERDICT_SUCCEEDED, T0);
        turn();
        advance(MINUTE);
        serve_all();
        CHECK_STR(condition(KIND_CUSTOMRUN, "w", "status"), STR("True"));
    }
    CHECK(n > 5);
}

int main(void)
{
    int failed = harness_run(
        (struct test[]){TEST(the_run_is_named_and_comes_back), TEST(a_reply_is_asked_for_again), {0}});
    end();
    return failed;
}
