/* The writer thread against the loop, for the thread sanitizer: appends, reads and dispatches go on while
 * commits run. */
#include "store_fixture.h"

#define EVENTS 4000

static bool on_any(void *arg, const struct record *r)
{
    *(uint64_t *)arg += r->body_first.len;
    return true;
}

static void on_record(void *arg, const struct record *r, struct record_keys keys, bool fresh)
{
    struct fixture *f = arg;
    /* Completion comes before the subscribers of the same batch, and in order. */
    CHECK(fresh && keys.n > 0);
    CHECK(f->n_done >= r->seq);
}

static void test_appends_while_commits_run(void)
{
    struct fixture *f = fixture_new();
    struct store_stats stats;
    uint64_t bytes = 0;
    char message[32];

    store_subscribe(f->store, on_record, f);
    for (uint64_t i = 0; i < EVENTS; i++) {
        (void)snprintf(message, sizeof message, "m%llu", (unsigned long long)i);
        struct said said = {.reason = "r",
                            .revision = "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                            .message = message};
        CHECK_INT(fixture_say(f, &said, NOW_MS, i), STORE_OK);
        store_flush(f->store);
        store_dispatch(f->store);
        if (i % 16 == 0)
            (void)store_scan(f->store, 0, true, 8, on_any, &bytes, NULL);
        if (i % 512 == 0)
            fixture_turn(f);
    }
    fixture_settle(f);
    CHECK_INT(f->n_done, EVENTS);
    for (uint64_t i = 0; i < EVENTS; i++) {
        CHECK_INT(f->done[i].status, STORE_OK);
        CHECK_INT(f->done[i].seq, i + 1);
    }
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.records, EVENTS);
    printf("# %llu commits\n", (unsigned long long)fixture_commits(f));
    fixture_free(f);
}

static void test_open_and_close_at_once(void)
{
    for (int i = 0; i < 20; i++) {
        struct fixture *f = fixture_new();
        if (i % 2)
            CHECK_INT(fixture_say(f, &(struct said){.reason = "r"}, NOW_MS, 0), STORE_OK);
        if (i % 4 == 3)
            store_flush(f->store);
        fixture_free(f);
    }
}

int main(void)
{
    return harness_run(
        (struct test[]){TEST(test_appends_while_commits_run), TEST(test_open_and_close_at_once), {0}});
}
