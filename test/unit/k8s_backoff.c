/* Waiting times: growth, cap, jitter, and starting afresh. */
#include "k8s/backoff_priv.h"

#include "harness.h"

static void item_65_growth(void)
{
    static const int64_t least[] = {800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
    struct k8s_backoff low = {0}, high = {0};
    int64_t now_ms = 1000000;

    for (size_t i = 0; i < sizeof least / sizeof *least; i++) {
        harness_case("failure %zu", i + 1);
        int64_t most = 2 * least[i] < K8S_BACKOFF_MOST_MS ? 2 * least[i] : K8S_BACKOFF_MOST_MS;
        CHECK_INT(k8s_backoff_next(&low, now_ms, 0), least[i]);
        int64_t wait = k8s_backoff_next(&high, now_ms, UINT32_MAX);
        CHECK(wait <= most && wait >= most - 1);
        now_ms += wait;
    }
}

static void test_afresh(void)
{
    struct k8s_backoff b = {0};

    CHECK_INT(k8s_backoff_next(&b, 0, 0), 800);
    CHECK_INT(k8s_backoff_next(&b, K8S_BACKOFF_RESET_MS - 1, 0), 1600);
    CHECK_INT(k8s_backoff_next(&b, 2 * K8S_BACKOFF_RESET_MS - 1, 0), 800);
    CHECK_INT(k8s_backoff_next(&b, 2 * K8S_BACKOFF_RESET_MS, 0), 1600);
}

static void test_retry(void)
{
    CHECK_INT(k8s_backoff_retry(0), 500);
    CHECK(k8s_backoff_retry(UINT32_MAX) <= 800);
    CHECK(k8s_backoff_retry(UINT32_MAX) >= 799);
}

static void test_refused(void)
{
    struct k8s_backoff b = {0};

    CHECK_INT(k8s_backoff_refused(&b, 429, 3000, 0, 0), 3000);
    CHECK_INT(k8s_backoff_refused(&b, 503, 3600000, 0, 0), K8S_HOLD_MOST_MS);
    CHECK_INT(k8s_backoff_refused(&b, 503, 0, 0, 0), 0);
    CHECK_INT(k8s_backoff_refused(&b, 502, -1, 0, 0), 500);
    CHECK_INT(k8s_backoff_refused(&b, 504, 0, 0, 0), 500);
    CHECK_INT(k8s_backoff_refused(&b, 429, 0, 0, 0), 800);
    CHECK_INT(k8s_backoff_refused(&b, 500, -1, 0, 0), 1600);
}

int main(void)
{
    return harness_run(
        (struct test[]){TEST(item_65_growth), TEST(test_afresh), TEST(test_retry), TEST(test_refused), {0}});
}
