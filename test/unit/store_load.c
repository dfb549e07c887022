/* Opening in slices: what is in memory afterwards is what the records say, however they were sliced. */
#include "store_fixture.h"

#include <stdlib.h>

#define RECORDS   3000
#define OBJECTS   2000 /* more than the loader remembers, so that they take each other's place */
#define REVISIONS 1500

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Shapes that differ in which member is empty, and in where one ends and the next begins. */
static void say_random(struct fixture *f, uint64_t *state, uint64_t n)
{
    static const char *const kinds[] = {"Kustomization", "HelmRelease", ""};
    static const char *const clusters[] = {"", "a", "aHelm"};
    char name[32], revision[80], other[80], body[64];
    uint64_t object = next_random(state) % OBJECTS;
    uint64_t commit = next_random(state) % REVISIONS;

    (void)snprintf(name, sizeof name, "app-%llu", (unsigned long long)object);
    (void)snprintf(revision, sizeof revision, "main@sha1:%040llx", (unsigned long long)commit * 7919);
    (void)snprintf(other, sizeof other, "6.0.%llu+%012llx", (unsigned long long)commit,
                   (unsigned long long)commit * 104729);
    (void)snprintf(body, sizeof body, "{%llu}", (unsigned long long)n);
    bool chart = next_random(state) % 4 == 0;
    struct flux_event e = {.kind = str_of(kinds[next_random(state) % 3]),
                           .cluster = str_of(clusters[next_random(state) % 3]),
                           .namespace = next_random(state) % 2 ? STR("flux-system") : STR_NONE,
                           .name = str_of(name),
                           .reason =
                               next_random(state) % 2 ? STR("ReconciliationSucceeded") : STR("Progressing"),
                           .severity = STR("info"),
                           .revision = str_of(chart ? other : revision),
                           .origin_revision = next_random(state) % 3 ? STR_NONE : str_of(revision),
                           .commit = next_random(state) % 3 ? STR_NONE : str_of(revision),
                           .oci_digest = next_random(state) % 5 ? STR_NONE : STR("sha256:0123456789"),
                           .timestamp_ms = NOW_MS,
                           .has_timestamp = true};
    CHECK_INT(store_append(f->store, &e, str_of(body), VIA_WEBHOOK, NOW_MS, NULL, NULL, 0), STORE_OK);
    if (n % 500 == 0)
        fixture_settle(f);
}

static struct fixture *filled(void)
{
    struct fixture *f = fixture_new();
    uint64_t state = 1;

    f->retention_ms = 0;
    for (uint64_t n = 1; n <= RECORDS; n++)
        say_random(f, &state, n);
    fixture_settle(f);
    fixture_close(f);
    return f;
}

static struct store *begin(struct fixture *f, char err[static STORE_ERROR])
{
    struct reporter reporter = {fixture_report, f};
    struct store_config config = {.dir = f->dir, .allow_network_fs = true};

    return store_begin(&config, &reporter, err);
}

struct pairs {
    struct store *s;
    struct pair {
        uint64_t key;
        uint64_t seq;
    } at[RECORDS * KEYS_OF_RECORD_MAX];
    size_t n;
};

static bool on_record(void *arg, const struct record *r)
{
    struct pairs *pairs = arg;
    uint64_t keys[KEYS_OF_RECORD_MAX];
    size_t n = keys_of_record(pairs->s->seed, r, key_siphash(pairs->s->seed, r->body_first),
                              key_siphash(pairs->s->seed, r->body_last), keys);

    keys[0] = key_of_object_in(keys[0], key_siphash(pairs->s->seed, r->cluster));
    for (size_t i = 0; i < n; i++)
        pairs->at[pairs->n++] = (struct pair){keys[i], r->seq};
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Each key has exactly the records that carry it. */
static void check_index(struct store *s)
{
    static struct pairs pairs;
    struct seqs found = {0};

    pairs = (struct pairs){.s = s};
    CHECK_INT(store_scan(s, 0, false, SIZE_MAX, on_record, &pairs, NULL), 0);
    CHECK(pairs.n > RECORDS);
    qsort(pairs.at, pairs.n, sizeof pairs.at[0], by_key);
    for (size_t i = 0; i < pairs.n; i += found.n) {
        size_t n = 1;
        while (i + n < pairs.n && pairs.at[i + n].key == pairs.at[i].key)
            n++;
        found.n = 0;
        CHECK(index_get(s->index, pairs.at[i].key, &found));
        CHECK_INT(found.n, n);
        for (size_t j = 0; j < n; j++)
            CHECK_INT(found.at[j], pairs.at[i + j].seq);
    }
    seqs_free(&found);
}

static void test_slices(void)
{
    static const size_t slices[] = {1, 31, 32, 33, 1000, SIZE_MAX};
    struct fixture *f = filled();
    char err[STORE_ERROR] = "";
    struct store_stats stats;

    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++) {
        size_t turns = 0;
        const char *why = NULL;
        enum store_loading state;
        harness_case("slices of %zu", slices[i]);
        f->store = begin(f, err);
        CHECK(f->store != NULL);
        CHECK(!store_ready(f->store, &why));
        store_get_stats(f->store, &stats);
        CHECK_INT(stats.records, 0);
        while ((state = store_load(f->store, slices[i], err)) == STORE_LOADING) {
            char want[96];
            turns++;
            store_get_stats(f->store, &stats);
            CHECK_INT(stats.records, turns * slices[i]);
            (void)snprintf(want, sizeof want, "the store is being opened (%llu of ",
                           (unsigned long long)stats.records);
            CHECK(!store_ready(f->store, &why));
            CHECK_HAS(str_of(why), str_of(want));
            CHECK(!store_pending(f->store) && !store_dead(f->store));
        }
        CHECK_INT(state, STORE_LOADED);
        store_get_stats(f->store, &stats);
        /* It goes on: a new record, and after that a repeat of it. */
        CHECK_INT(fixture_store(f, &(struct said){.reason = "x"}, NOW_MS), stats.records + (i == 0));
        fixture_close(f);
    }
    fixture_free(f);
}

/* Closed half way, and tried again. */
static void test_given_up(void)
{
    struct fixture *f = filled();
    char err[STORE_ERROR] = "";

    for (int i = 0; i < 3; i++) {
        f->store = begin(f, err);
        CHECK(f->store != NULL);
        for (int j = 0; j < i; j++)
            CHECK_INT(store_load(f->store, 100, err), STORE_LOADING);
        fixture_close(f);
    }
    fixture_open(f);
    check_index(f->store);
    fixture_free(f);
}

/* Flips a bit in the head of a record. */
static void damage(struct fixture *f, uint64_t seq)
{
    unsigned char bytes[8];
    MDB_txn *txn;
    MDB_val key = {sizeof bytes, bytes};
    MDB_val value;

    fixture_open(f);
    commit_key(seq, bytes);
    CHECK_INT(mdb_txn_begin(f->store->env, NULL, 0, &txn), 0);
    CHECK_INT(mdb_get(txn, f->store->events, &key, &value), 0);
    char *copy = malloc(value.mv_size);
    CHECK(copy != NULL);
    memcpy(copy, value.mv_data, value.mv_size);
    copy[40] ^= 1;
    value.mv_data = copy;
    CHECK_INT(mdb_put(txn, f->store->events, &key, &value, 0), 0);
    CHECK_INT(mdb_txn_commit(txn), 0);
    free(copy);
    fixture_close(f);
}

static void test_damaged(void)
{
    struct fixture *f = filled();
    char err[STORE_ERROR] = "";
    enum store_loading state;

    damage(f, 1234);
    f->store = begin(f, err);
    CHECK(f->store != NULL);
    while ((state = store_load(f->store, 1000, err)) == STORE_LOADING)
        ;
    CHECK_INT(state, STORE_LOAD_FAILED);
    CHECK_HAS(str_of(err), STR("cannot be used: record 1234: its checksum is wrong"));
    CHECK_HAS(str_of(err), str_of(f->dir));
    fixture_close(f);
    CHECK(fixture_try_open(f, NULL, err) == NULL);
    CHECK_HAS(str_of(err), STR("record 1234"));
    fixture_free(f);
}

int main(void)
{
    static const struct test tests[] = {TEST(test_slices), TEST(test_given_up), TEST(test_damaged), {0}};
    fixture_in_memory();
    return harness_run(tests);
}
