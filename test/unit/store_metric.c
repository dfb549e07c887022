/* Histograms: which bucket a value falls into. */
#include "harness.h"

#include "store/metric.h"

static const uint64_t bounds[] = {10, 100, 1000, 0};

static void test_a_value_counts_up_to_its_bound(void)
{
    static const struct {
        uint64_t value;
        size_t bucket;
    } rows[] = {{0, 0}, {9, 0}, {10, 0}, {11, 1}, {100, 1}, {101, 2}, {1000, 2}, {1001, 3}, {UINT64_MAX, 3}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct histogram h = {0};
        harness_case("%llu", (unsigned long long)rows[i].value);
        histogram_add(&h, bounds, rows[i].value);
        for (size_t bucket = 0; bucket <= METRIC_BUCKETS; bucket++)
            CHECK_INT(h.counts[bucket], bucket == rows[i].bucket);
        CHECK(h.sum == rows[i].value);
    }
}

static void test_values_add_up(void)
{
    struct histogram h = {0};

    for (uint64_t value = 1; value <= 2000; value++)
        histogram_add(&h, bounds, value);
    CHECK_INT(h.counts[0], 10);
    CHECK_INT(h.counts[1], 90);
    CHECK_INT(h.counts[2], 900);
    CHECK_INT(h.counts[3], 1000);
    CHECK_INT(h.sum, 2000 * 2001 / 2);
}

static void test_all_buckets_can_be_used(void)
{
    uint64_t all[METRIC_BUCKETS + 1] = {0};
    struct histogram h = {0};

    for (size_t i = 0; i < METRIC_BUCKETS; i++)
        all[i] = i + 1;
    histogram_add(&h, all, METRIC_BUCKETS);
    histogram_add(&h, all, METRIC_BUCKETS + 1);
    CHECK_INT(h.counts[METRIC_BUCKETS - 1], 1);
    CHECK_INT(h.counts[METRIC_BUCKETS], 1);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_a_value_counts_up_to_its_bound),
                                       TEST(test_values_add_up),
                                       TEST(test_all_buckets_can_be_used),
                                       {0}});
}
