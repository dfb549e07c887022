/* When the log has a line about what may happen a thousand times a second. */
#include "harness.h"
#include "http/tally_line_priv.h"

static void test_at_once_and_then_once_a_second(void)
{
    struct tally_line line = {0};
    int lines = 0;

    for (int64_t ms = 0; ms < 10 * TALLY_REPORT_MS; ms++) {
        harness_case("%lld", (long long)ms);
        bool due = tally_line_add(&line, ms);
        CHECK_INT(due, ms % TALLY_REPORT_MS == 0);
        if (due)
            CHECK_INT(tally_line_take(&line), lines++ == 0 ? 1 : TALLY_REPORT_MS);
    }
    CHECK_INT(lines, 10);
    CHECK_INT(line.since, TALLY_REPORT_MS - 1);
    harness_case("%s", "");
}

/* What is far apart has a line each, which tells one. The clock may begin anywhere. */
static void test_one_by_one(void)
{
    static const int64_t begins[] = {0, 1, 1000000, INT64_C(1) << 60};

    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        struct tally_line line = {0};
        harness_case("%lld", (long long)begins[i]);
        for (int64_t ms = begins[i]; ms < begins[i] + 5 * TALLY_REPORT_MS; ms += TALLY_REPORT_MS) {
            CHECK(tally_line_add(&line, ms));
            CHECK_INT(tally_line_take(&line), 1);
            CHECK_INT(tally_line_rest(&line, ms + TALLY_REST_MS), TALLY_REST_NONE);
        }
    }
    harness_case("%s", "");
}

static void test_the_rest(void)
{
    struct tally_line line = {0};

    CHECK_INT(tally_line_rest(&line, 0), TALLY_REST_NONE);
    CHECK_INT(tally_line_rest(&line, INT64_MAX), TALLY_REST_NONE);
    CHECK(tally_line_add(&line, 100));
    (void)tally_line_take(&line);
    CHECK(!tally_line_add(&line, 200));
    CHECK(!tally_line_add(&line, 100 + TALLY_REPORT_MS - 1));
    CHECK_INT(tally_line_rest(&line, 100 + TALLY_REST_MS - 1), TALLY_REST_LATER);
    CHECK_INT(tally_line_rest(&line, 100 + TALLY_REST_MS), TALLY_REST_NOW);
    CHECK_INT(tally_line_take(&line), 2);
    CHECK_INT(tally_line_rest(&line, 100 + TALLY_REST_MS), TALLY_REST_NONE);
    /* That was a line, too: the next one keeps its distance, and so does the rest after it. */
    CHECK(!tally_line_add(&line, 100 + TALLY_REST_MS + TALLY_REPORT_MS - 1));
    CHECK_INT(tally_line_rest(&line, 100 + 2 * TALLY_REST_MS - 1), TALLY_REST_LATER);
    CHECK(tally_line_add(&line, 100 + TALLY_REST_MS + TALLY_REPORT_MS));
    CHECK_INT(tally_line_take(&line), 2);
}

/* At the end nothing waits, and who comes even later is not silenced for ever. */
static void test_the_rest_at_the_end(void)
{
    struct tally_line line = {0};

    CHECK(tally_line_add(&line, 100));
    (void)tally_line_take(&line);
    CHECK(!tally_line_add(&line, 101));
    CHECK_INT(tally_line_rest(&line, INT64_MAX), TALLY_REST_NOW);
    CHECK_INT(tally_line_take(&line), 1);
    CHECK(!tally_line_add(&line, 102));
    CHECK_INT(tally_line_rest(&line, INT64_MAX), TALLY_REST_NOW);
    CHECK(tally_line_add(&line, 100 + TALLY_REPORT_MS));
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_at_once_and_then_once_a_second),
                                       TEST(test_one_by_one),
                                       TEST(test_the_rest),
                                       TEST(test_the_rest_at_the_end),
                                       {0}});
}
