/* The controller on the real store: what Flux said, through verdict and waiters, to the status of a Run. */
#define WORLD_REAL_STORE
#include "controller_world.h"
#include "store_fixture.h"

#define C KIND_CUSTOMRUN
#define R KIND_RUN

static struct fixture *fixture;

static int64_t world_now_ms(void)
{
    return now.wall_ms;
}

static void open_world(void)
{
    fixture = fixture_new();
    world_waiters = waiters_new(fixture->store);
    CHECK(world_waiters != NULL);
    begin();
}

static void close_world(void)
{
    end();
    waiters_free(world_waiters);
    fixture_free(fixture);
}

/* A Kustomization reports; stored, and one turn of the loop. */
static uint64_t flux_says(const char *reason, const char *revision, int64_t timestamp_ms)
{
    const struct said said = {"Kustomization", "apps",       "web", reason, revision, NULL,
                              "said by Flux",  timestamp_ms, NULL};
    uint64_t seq = fixture_store(fixture, &said, now.wall_ms);
    turn();
    return seq;
}

/* "a" fails by BuildFailed, "b" succeeds, as in the first README. */
static void the_two_stories(void)
{
    open_world();
    create(R, "r", "");
    serve_all();
    CHECK_STR(condition(R, "r", "reason"), STR("Waiting"));
    CHECK(condition(R, "r", "message").len > 0);
    printf("# %.*s\n", STR_ARG(condition(R, "r", "message")));
    advance(SECOND);
    flux_says("BuildFailed", "a", now.wall_ms);
    serve_all();
    printf("# %.*s\n", STR_ARG(condition(R, "r", "message")));
    CHECK_STR(condition(R, "r", "reason"), STR("ReconciliationFailed"));
    CHECK_HAS(condition(R, "r", "message"), STR("Reason: 'BuildFailed'."));
    make(C, "b", "b", "");
    change(C, "b", "{\"spec\":{\"params\":[{\"name\":\"revision\",\"value\":\"b\"}]}}");
    show(C, "b");
    turn();
    serve_all();
    flux_says("ReconciliationSucceeded", "b", now.wall_ms);
    serve_all();
    CHECK_STR(condition(C, "b", "status"), STR("True"));
    printf("# %.*s\n", STR_ARG(condition(C, "b", "message")));
    CHECK_HAS(condition(C, "b", "message"), STR("Kustomization/apps/web"));
    close_world();
}

static void item_18_and_22(void)
{
    open_world();
    flux_says("ReconciliationSucceeded", "main@sha1:0123456789abcdef0123456789abcdef01234567", now.wall_ms);
    make(C, "w", "w", "");
    change(C, "w",
           "{\"spec\":{\"params\":[{\"name\":\"revision\",\"value\":"
           "\"0123456789abcdef0123456789abcdef01234567\"}]}}");
    show(C, "w");
    turn();
    serve_all();
    CHECK_INT(count_requests(A_PATCH), 1);
    CHECK_STR(condition(C, "w", "status"), STR("True"));
    harness_case("item_22");
    create(C, "x", "");
    serve_all();
    size_t before = count_requests(A_PATCH);
    flux_says("ReconciliationSucceeded", "other", now.wall_ms);
    flux_says("BuildFailed", "another", now.wall_ms);
    serve_all();
    CHECK_INT(count_requests(A_PATCH), before);
    close_world();
}

static void item_42_a_coalesced_failure_consumes_a_retry(void)
{
    open_world();
    create(C, "w", ",\"retries\":1");
    serve_all();
    advance(MINUTE);
    uint64_t first = flux_says("BuildFailed", "a", now.wall_ms);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Retrying"));
    advance(20 * SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "status"), STR("Unknown"));
    advance(MINUTE);
    uint64_t second = flux_says("BuildFailed", "a", now.wall_ms);
    printf("# failures stored as %llu and %llu\n", (unsigned long long)first, (unsigned long long)second);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("ReconciliationFailed"));
    CHECK_INT(json_array_size(at_path(object(C, "w"), "status.retriesStatus")), 1);
    close_world();
}

/* Two failures are known when the attempt ends, and the one received last is not the latest by its own time. */
static void item_46_all_failures_that_are_known_end_one_attempt(void)
{
    open_world();
    create(C, "w", ",\"retries\":1");
    serve_all();
    advance(MINUTE);
    flux_says("HealthCheckFailed", "a", now.wall_ms);
    advance(SECOND);
    flux_says("BuildFailed", "a", now.wall_ms - 30 * SECOND);
    harness_case("the wall clock steps back");
    now.wall_ms -= MINUTE;
    fail_one(500, -1);
    advance(SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Retrying"));
    turn();
    CHECK_INT(count_under_way(), 0);
    CHECK_STR(condition(C, "w", "status"), STR("Unknown"));
    close_world();
}

static void fail_after_is_woken_up(void)
{
    open_world();
    make(C, "w", "w", "");
    change(C, "w",
           "{\"spec\":{\"params\":[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"failAfter\",\"value\":"
           "\"5m\"}]}}");
    show(C, "w");
    turn();
    serve_all();
    flux_says("BuildFailed", "a", now.wall_ms);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    advance(4 * MINUTE);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("Waiting"));
    advance(MINUTE + SECOND);
    serve_all();
    CHECK_STR(condition(C, "w", "reason"), STR("ReconciliationFailed"));
    close_world();
}

int main(void)
{
    return harness_run((struct test[]){TEST(the_two_stories),
                                       TEST(item_18_and_22),
                                       TEST(item_42_a_coalesced_failure_consumes_a_retry),
                                       TEST(item_46_all_failures_that_are_known_end_one_attempt),
                                       TEST(fail_after_is_woken_up),
                                       {0}});
}
