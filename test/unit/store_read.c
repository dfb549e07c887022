/* Reading: what is damaged while the store is open, or cannot be read. */
#include "lmdb_fails.h"
#include "store_fixture.h"

struct reports {
    const char *sentence;
    size_t n;
    int64_t id;
    int64_t times;
};

static void on_report(void *arg, const struct report *report)
{
    struct reports *reports = arg;

    CHECK_TEXT(report->sentence, reports->sentence);
    CHECK_INT(report->level, REPORT_ERROR);
    reports->n++;
    for (const struct report_field *field = report->fields; field->name; field++) {
        if (strcmp(field->name, "id") == 0)
            reports->id = field->number;
        if (strcmp(field->name, "times") == 0)
            reports->times = field->number;
    }
}

/* Behind the store's back. */
static void damage(struct store *s, uint64_t seq)
{
    unsigned char bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val value;
    MDB_txn *txn;

    commit_key(seq, bytes);
    CHECK_INT(mdb_txn_begin(s->env, NULL, 0, &txn), 0);
    CHECK_INT(mdb_get(txn, s->events, &key, &value), 0);
    char *copy = malloc(value.mv_size);
    CHECK(copy != NULL);
    memcpy(copy, value.mv_data, value.mv_size);
    copy[value.mv_size - 1] ^= 1;
    CHECK_INT(mdb_put(txn, s->events, &key, &(MDB_val){value.mv_size, copy}, 0), 0);
    CHECK_INT(mdb_txn_commit(txn), 0);
    free(copy);
}

static bool on_nothing(void *arg, const struct record *r)
{
    (void)arg;
    (void)r;
    return true;
}

/* However often it is read, there is a line a minute. */
static void test_damage_is_no_log_storm(void)
{
    struct fixture *f = fixture_new();
    struct reports reports = {.sentence = "a stored record is damaged"};
    const struct {
        int64_t at_ms;
        size_t lines;
        int64_t times;
    } rows[] = {
        {NOW_MS, 1, 1},          {NOW_MS + 59999, 1, 1},   {NOW_MS + 60000, 2, 20},
        {NOW_MS + 90000, 2, 20}, {NOW_MS + 120000, 3, 20}, {NOW_MS, 4, 10} /* the clock was set back */,
    };

    (void)fixture_store(f, &(struct said){.name = "a", .reason = "BuildFailed"}, NOW_MS);
    (void)fixture_store(f, &(struct said){.name = "b", .reason = "BuildFailed"}, NOW_MS);
    f->store->reporter = (struct reporter){on_report, &reports};
    CHECK(store_get(f->store, 2, on_nothing, NULL, NULL));
    CHECK_INT(reports.n, 0);
    damage(f->store, 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%lld ms", (long long)(rows[i].at_ms - NOW_MS));
        (void)store_tick(f->store, rows[i].at_ms);
        for (int n = 0; n < 10; n++)
            CHECK(!store_get(f->store, 2, on_nothing, NULL, NULL));
        CHECK_INT(reports.n, rows[i].lines);
        CHECK_INT(reports.times, rows[i].times);
        CHECK_INT(reports.id, 2);
    }
    CHECK(store_get(f->store, 1, on_nothing, NULL, NULL));
    fixture_free(f);
}

/* Whatever call fails, and whoever asks: a line a second. */
static void test_a_store_that_cannot_be_read_is_no_log_storm(void)
{
    struct fixture *f = fixture_new();
    struct reports reports = {.sentence = "the store cannot be read"};
    const struct {
        int64_t at_ms;
        size_t lines;
        int64_t times;
    } rows[] = {
        {NOW_MS, 1, 1}, {NOW_MS + 999, 1, 1}, {NOW_MS + 1000, 2, 80}, {NOW_MS, 3, 40}, /* set back */
    };

    (void)fixture_store(f, &(struct said){.name = "a", .reason = "BuildFailed"}, NOW_MS);
    f->store->reporter = (struct reporter){on_report, &reports};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%lld ms", (long long)(rows[i].at_ms - NOW_MS));
        (void)store_tick(f->store, rows[i].at_ms);
        for (int n = 0; n < 10; n++)
            for (enum lmdb_call call = LMDB_RENEW; call <= LMDB_GET; call++) {
                lmdb_fails = call;
                lmdb_fails_after = 0;
                if (call == LMDB_OPEN || call == LMDB_WALK)
                    (void)store_scan(f->store, 0, false, 10, on_nothing, NULL, NULL);
                else
                    CHECK(!store_get(f->store, 1, on_nothing, NULL, NULL));
            }
        lmdb_fails = LMDB_NONE;
        CHECK_INT(reports.n, rows[i].lines);
        CHECK_INT(reports.times, rows[i].times);
    }
    CHECK(store_get(f->store, 1, on_nothing, NULL, NULL));
    CHECK_INT(reports.n, 3);
    fixture_free(f);
}

int main(void)
{
    fixture_in_memory();
    return harness_run((struct test[]){
        TEST(test_damage_is_no_log_storm), TEST(test_a_store_that_cannot_be_read_is_no_log_storm), {0}});
}
