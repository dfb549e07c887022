/* What is counted of requests, and what several watches of one resource are shown as. */
#include "k8s/metrics_priv.h"

#include "harness.h"

static const struct metric *metric_named(const char *name)
{
    for (const struct metric *m = k8s_metrics; m->name; m++)
        if (strcmp(m->name, name) == 0)
            return m;
    HARNESS_FAIL("no metric %s", name);
}

/* A status is counted under its number where that is shown; none, and all others, have a place of their own. */
static void test_codes(void)
{
    static const struct {
        int status;
        const char *code;
    } rows[] = {{0, "none"},
                {200, "200"},
                {409, "409"},
                {504, "504"},
                {204, "other"},
                {599, "other"},
                {K8S_CODE_OTHER, "other"},
                {100000, "other"}};
    const struct metric *m = metric_named("flux_event_store_kube_requests_total");
    const char *const *codes = m->labels[1].values;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct k8s_numbers n = {0};
        harness_case("%d", rows[i].status);
        k8s_numbers_count(&n, K8S_COUNT_PATCH, rows[i].status);
        for (size_t verb = 0; verb < K8S_COUNTS; verb++)
            for (size_t code = 0; code < K8S_CODES; code++)
                CHECK_INT(n.requests[verb][code],
                          verb == K8S_COUNT_PATCH && strcmp(codes[code], rows[i].code) == 0);
    }
}

static struct k8s_seens seens;

static void sum_up(struct k8s_numbers *n, struct k8s_seen *seen, size_t n_seen)
{
    TAILQ_INIT(&seens);
    for (size_t i = 0; i < n_seen; i++)
        TAILQ_INSERT_TAIL(&seens, &seen[i], entry);
    k8s_numbers_watches(n, &seens, 10000);
}

/* The worst of the watches of a resource: one namespace that is out of step is not hidden by the others. */
static void test_several_namespaces(void)
{
    struct k8s_seen seen[] = {
        {.resource = "runs", .state = K8S_WATCH_SYNCED, .opened_ms = 4000, .streams = 3, .lists = 1},
        {.resource = "customruns", .state = K8S_WATCH_SYNCED, .opened_ms = 1000, .streams = 1, .lists = 1},
        {.resource = "runs", .state = K8S_WATCH_SYNCED, .opened_ms = 9000, .streams = 1, .lists = 2},
    };
    struct k8s_numbers n;

    sum_up(&n, seen, 3);
    CHECK_TEXT(n.resources[0], "runs");
    CHECK_TEXT(n.resources[1], "customruns");
    CHECK(n.resources[2] == NULL);
    CHECK_INT(n.synced[0], 1);
    CHECK_INT(n.absent[0], 0);
    CHECK_INT(n.restarts[0], 2); /* the first stream is none */
    CHECK_INT(n.lists[0], 3);
    CHECK_INT(n.age_us[0], 1000 * 1000); /* the youngest */
    CHECK_INT(n.age_us[1], 9000 * 1000);
    CHECK_INT(n.restarts[1], 0);

    harness_case("one is not open");
    seen[0] = (struct k8s_seen){.resource = "runs", .state = K8S_WATCH_FAILING};
    sum_up(&n, seen, 3);
    CHECK_INT(n.synced[0], 0);
    CHECK_INT(n.age_us[0], 0);
    CHECK_INT(n.restarts[0], 0);
    CHECK_INT(n.synced[1], 1);

    harness_case("one is forbidden");
    seen[2].state = K8S_WATCH_ABSENT;
    sum_up(&n, seen, 3);
    CHECK_INT(n.absent[0], 1);
    CHECK_INT(n.absent[1], 0);

    harness_case("none");
    sum_up(&n, seen, 0);
    CHECK(n.resources[0] == NULL);
}

/* There is room for so many resources, and what is beyond harms none of them. */
static void test_too_many_resources(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct k8s_seen seen[sizeof names / sizeof names[0] + 1] = {0};
    struct k8s_numbers n;

    _Static_assert(sizeof names / sizeof names[0] == K8S_RESOURCES + 1, "one too many");
    for (size_t i = 0; i <= K8S_RESOURCES; i++)
        seen[i] = (struct k8s_seen){.resource = names[i], .state = K8S_WATCH_SYNCED, .lists = 1};
    seen[K8S_RESOURCES + 1] = (struct k8s_seen){.resource = "h", .state = K8S_WATCH_SYNCED, .lists = 5};
    sum_up(&n, seen, K8S_RESOURCES + 2);
    for (size_t i = 0; i < K8S_RESOURCES; i++) {
        CHECK_TEXT(n.resources[i], names[i]);
        CHECK_INT(n.lists[i], i == K8S_RESOURCES - 1 ? 6 : 1);
    }
    CHECK(n.resources[K8S_RESOURCES] == NULL);
}

int main(void)
{
    return harness_run(
        (struct test[]){TEST(test_codes), TEST(test_several_namespaces), TEST(test_too_many_resources), {0}});
}
