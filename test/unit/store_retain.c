/* Retention: what is due goes, nothing else does, numbers do not come back, and the file does not grow. */
#include "store_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define HOUR_MS     (INT64_C(3600) * 1000)
#define DAY_MS      (24 * HOUR_MS)
#define AT(seconds) (NOW_MS + (int64_t)(seconds)*1000)

/* Stands before the library's. */
static size_t most_memory = SIZE_MAX;

void *realloc(void *at, size_t size)
{
    union {
        void *symbol;
        void *(*function)(void *, size_t);
    } real = {.symbol = dlsym(RTLD_NEXT, "realloc")};

    return size > most_memory ? NULL : real.function(at, size);
}

/* ---- ages against a plain model ---- */

struct model {
    uint64_t seq;
    int64_t changed_ms;
    bool protect;
};

static int compare_model(const void *left, const void *right)
{
    const struct model *a = left, *b = right;
    if (a->protect != b->protect)
        return a->protect ? 1 : -1;
    if (a->changed_ms != b->changed_ms)
        return a->changed_ms < b->changed_ms ? -1 : 1;
    return a->seq < b->seq ? -1 : 1;
}

static void check_pick(const struct ages *ages, const struct model *model, size_t n, int64_t before_ms,
                       bool protected_last, size_t max)
{
    struct model *sorted = malloc((n + 1) * sizeof *sorted);
    uint64_t got[AGES_PICK_MAX];
    size_t want = 0;

    for (size_t i = 0; i < n; i++)
        if (model[i].changed_ms < before_ms) {
            sorted[want] = model[i];
            sorted[want++].protect &= protected_last;
        }
    qsort(sorted, want, sizeof *sorted, compare_model);
    want = want < max ? want : max;
    CHECK_INT(ages_pick(ages, before_ms, protected_last, max, got), want);
    for (size_t i = 0; i < want; i++)
        CHECK_INT(got[i], sorted[i].seq);
    free(sorted);
}

static void test_ages_against_model(void)
{
    enum { MOST = 4000 };
    struct model *model = calloc(MOST, sizeof *model);
    struct ages *ages = ages_new();
    unsigned state = 7;
    uint64_t seq = 0;
    size_t n = 0;

    CHECK_INT(ages_oldest_ms(ages), INT64_MAX);
    for (int step = 0; step < 30000; step++) {
        int64_t changed_ms = AT(rand_r(&state) % 500);
        size_t i = n ? (size_t)rand_r(&state) % n : 0;
        bool shrink = step / 5000 % 2;
        if (n < MOST && rand_r(&state) % 4 >= (shrink ? 3 : 1)) {
            seq += 1 + (uint64_t)rand_r(&state) % 3;
            model[n++] = (struct model){seq, changed_ms, false};
            CHECK(ages_add(ages, seq, changed_ms, false));
        } else if (n && rand_r(&state) % 2) {
            ages_remove(ages, model[i].seq);
            ages_remove(ages, model[i].seq);
            memmove(&model[i], &model[i + 1], (--n - i) * sizeof model[0]);
        } else if (n) {
            model[i].changed_ms = changed_ms;
            model[i].protect = rand_r(&state) % 2;
            ages_touch(ages, model[i].seq, changed_ms);
            ages_protect(ages, model[i].seq, model[i].protect);
        }
        if (step % 100)
            continue;
        harness_case("step %d, %zu", step, n);
        check_pick(ages, model, n, AT(250), false, (size_t)rand_r(&state) % 1001);
        check_pick(ages, model, n, INT64_MAX, true, (size_t)rand_r(&state) % 1001);
        int64_t oldest = INT64_MAX;
        for (i = 0; i < n; i++)
            oldest = model[i].changed_ms < oldest ? model[i].changed_ms : oldest;
        CHECK_INT(ages_oldest_ms(ages), oldest);
    }
    while (n > 10) {
        size_t i = (size_t)rand_r(&state) % n;
        ages_remove(ages, model[i].seq);
        memmove(&model[i], &model[i + 1], (--n - i) * sizeof model[0]);
    }
    check_pick(ages, model, n, INT64_MAX, true, 1000);
    CHECK(ages_bytes(ages) < 20000);
    free(model);
    ages_free(ages);
}

/* ---- the store ---- */

static struct fixture *fixture_retaining(int64_t retention_ms, uint64_t max_bytes)
{
    struct fixture *f = fixture_new();
    f->retention_ms = retention_ms;
    f->max_bytes = max_bytes;
    fixture_reopen(f);
    return f;
}

/* Ticks and turns until nothing is left to do; returns when to tick again. */
static int64_t tick(struct fixture *f, int64_t now_ms)
{
    for (;;) {
        (void)store_tick(f->store, now_ms);
        store_flush(f->store);
        if (!store_pending(f->store) && !f->store->slice_wanted)
            return store_tick(f->store, now_ms);
        fixture_turn(f);
    }
}

static uint64_t say(struct fixture *f, const char *name, const char *reason, int64_t now_ms)
{
    f->n_done = 0;
    return fixture_store(
        f, &(struct said){.kind = "Kustomization", .name = name, .reason = reason, .timestamp_ms = now_ms},
        now_ms);
}

static bool on_seq(void *arg, const struct record *r)
{
    char *text = arg;
    (void)snprintf(text + strlen(text), 200 - strlen(text), "%s%llu", *text ? " " : "",
                   (unsigned long long)r->seq);
    return true;
}

/* The numbers of what is stored. */
static const char *stored(struct fixture *f, char out[static 200])
{
    out[0] = '\0';
    (void)store_scan(f->store, 0, false, SIZE_MAX, on_seq, out, NULL);
    return out;
}

static void test_by_age(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    char text[200];
    struct store_stats stats;

    CHECK_INT(tick(f, NOW_MS), INT64_MAX);
    CHECK_INT(say(f, "a", "ReconciliationSucceeded", NOW_MS), 1);
    CHECK_INT(say(f, "b", "ReconciliationSucceeded", NOW_MS + HOUR_MS), 2);
    CHECK_INT(say(f, "c", "Progressing", NOW_MS + 2 * HOUR_MS), 3);
    CHECK_INT(say(f, "a", "ReconciliationSucceeded", NOW_MS + 3 * HOUR_MS), 1); /* keeps it alive */
    int64_t next = tick(f, NOW_MS + 3 * HOUR_MS);
    CHECK(next >= NOW_MS + DAY_MS && next < NOW_MS + HOUR_MS + DAY_MS);
    next = tick(f, next); /* looked for the first, which has been repeated since */
    CHECK(next >= NOW_MS + HOUR_MS + DAY_MS && next < NOW_MS + 2 * HOUR_MS + DAY_MS);
    CHECK_TEXT(stored(f, text), "1 2 3");
    for (int reopened = 0; reopened < 2; reopened++) {
        (void)tick(f, next);
        CHECK_TEXT(stored(f, text), "1 3");
        CHECK_INT(store_gone(f->store), 2); /* whoever has read less than that has missed something */
        fixture_reopen(f);
        CHECK_INT(store_gone(f->store), 2);
    }
    while (strcmp(stored(f, text), "1 3") == 0)
        next = tick(f, next);
    CHECK_TEXT(stored(f, text), "1");
    CHECK(next > NOW_MS + 2 * HOUR_MS + DAY_MS && next < NOW_MS + 4 * HOUR_MS + DAY_MS);
    CHECK_INT(tick(f, next), INT64_MAX);
    CHECK_TEXT(stored(f, text), "");
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.records, 0);
    CHECK_INT(f->store->numbers.deleted[DELETED_AGE], 2);
    /* Numbers go on, and arrivals do, also behind a restart. */
    fixture_reopen(f);
    CHECK_INT(say(f, "a", "ReconciliationSucceeded", NOW_MS), 4);
    CHECK(f->store->last_received_ms >= NOW_MS + 3 * HOUR_MS);
    fixture_free(f);
}

static void test_the_index_forgets(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    uint64_t first, last;
    char name[32];

    for (int i = 0; i < 3000; i++) {
        (void)snprintf(name, sizeof name, "app-%d", i % 700);
        struct said said = {.kind = "Kustomization",
                            .name = name,
                            .reason = i % 3 ? "HealthCheckFailed" : "Progressing",
                            .revision = i % 2 ? "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738" : "v1",
                            .message = i / 700 % 2 ? "a" : "b",
                            .timestamp_ms = AT(i)};
        f->n_done = 0;
        CHECK_INT(fixture_say(f, &said, AT(i), 0), STORE_OK);
        if (i % 500 == 0)
            fixture_settle(f);
    }
    fixture_settle(f);
    struct record object = {.kind = STR("Kustomization"), .name = STR("app-5")};
    uint64_t key = key_of_object(f->store->seed, object.kind, object.namespace, object.name);
    CHECK(index_ends(f->store->index, key, &first, &last));
    (void)tick(f, AT(4000) + 2 * DAY_MS);
    CHECK_INT(f->store->stats.records, 0);
    CHECK(!index_ends(f->store->index, key, &first, &last));
    object.class = CLASS_FAILURE;
    CHECK(!index_ends(f->store->index, key_of_track(f->store->seed, &object), &first, &last));
    object.class = CLASS_OTHER;
    CHECK(!index_ends(f->store->index, key_of_track(f->store->seed, &object), &first, &last));
    CHECK(ages_bytes(f->store->ages) < 1000);
    fixture_free(f);
}

/* Clusters that somebody makes up take no memory beyond that of their events. */
static void test_clusters_are_forgotten(void)
{
    enum { AT_ONCE = 50, ROUNDS = 20 };
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    struct seqs clusters = {0};
    char cluster[32], message[32];
    int64_t now_ms = NOW_MS;
    uint64_t object = key_of_object(f->store->seed, STR("Kustomization"), STR_NONE, STR("app"));

    for (int round = 0; round < ROUNDS; round++, now_ms += 2 * DAY_MS) {
        (void)tick(f, now_ms);
        CHECK_INT(f->store->stats.records, round ? 2 : 0); /* the one that stays, and the last one's */
        f->n_done = 0;
        for (int i = 0; i < 3 * AT_ONCE; i++) {
            (void)snprintf(cluster, sizeof cluster, "c-%d-%d", round, i % AT_ONCE);
            CHECK_INT(fixture_say(f,
                                  &(struct said){.kind = "Kustomization",
                                                 .name = i / AT_ONCE % 2 ? "app" : "other",
                                                 .reason = "BuildFailed",
                                                 .cluster = cluster},
                                  now_ms, 0),
                      STORE_OK);
        }
        for (int i = 0; i < 2; i++) { /* one that stays, and one more object of the last one */
            (void)snprintf(message, sizeof message, "%d", round); /* else it would be a repeat */
            (void)snprintf(cluster, sizeof cluster, i ? "c-%d-%d" : "stays", round, AT_ONCE - 1);
            CHECK_INT(fixture_say(f,
                                  &(struct said){.kind = "Kustomization",
                                                 .name = "app",
                                                 .reason = "Progressing",
                                                 .message = message,
                                                 .cluster = cluster},
                                  now_ms + DAY_MS + DAY_MS / 2, 0),
                      STORE_OK);
        }
        fixture_settle(f);
        harness_case("round %d", round);
        clusters.n = 0;
        CHECK(store_object_clusters(f->store, object, &clusters));
        uint64_t want = key_siphash(f->store->seed, str_of(cluster));
        size_t found = 0;
        for (size_t i = 0; i < clusters.n; i++)
            found += clusters.at[i] == want;
        CHECK_INT(found, 1);
    }
    CHECK(f->store->n_clusters <= AT_ONCE + 2);
    (void)tick(f, now_ms + 2 * DAY_MS);
    clusters.n = 0;
    CHECK(store_object_clusters(f->store, object, &clusters));
    CHECK_INT(clusters.n, 0);
    seqs_free(&clusters);
    fixture_free(f);
}

/* A slice is bounded, and events are committed along with it. */
static void test_slices(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    struct store_stats stats;
    char reason[32];

    for (int i = 0; i < 3500; i++) {
        (void)snprintf(reason, sizeof reason, "r%d", i);
        f->n_done = 0;
        CHECK_INT(fixture_say(f, &(struct said){.reason = reason}, NOW_MS, 0), STORE_OK);
    }
    fixture_settle(f);
    f->n_done = 0;
    (void)store_tick(f->store, NOW_MS + 2 * DAY_MS);
    CHECK_INT(fixture_say(f, &(struct said){.reason = "x"}, NOW_MS + 2 * DAY_MS, 0), STORE_OK);
    fixture_turn(f);
    CHECK_INT(f->n_done, 1);
    CHECK_INT(f->done[0].seq, 3501);
    CHECK_INT(f->store->numbers.deleted[DELETED_AGE], 16);
    (void)store_tick(f->store, NOW_MS + 2 * DAY_MS);
    fixture_turn(f);
    CHECK_INT(f->store->numbers.deleted[DELETED_AGE], 16 + 128);
    /* Without a tick there is no further slice. */
    store_flush(f->store);
    CHECK(!store_pending(f->store));
    (void)tick(f, NOW_MS + 2 * DAY_MS);
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.records, 1);
    fixture_free(f);
}

/* LMDB's map is a bound that no disk lifts: where it ends the oldest go, too. */
static void test_the_map_bounds(void)
{
    static const uint64_t sizes[] = {0, STORE_MAP_BYTES, STORE_MAP_BYTES + 1, UINT64_MAX};
    const char *base = fixture_base;

    fixture_base = "/tmp"; /* mostly larger than the map */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct fixture *f = fixture_retaining(0, sizes[i]);
        harness_case("%llu bytes", (unsigned long long)sizes[i]);
        CHECK(f->store->numbers.max_bytes > 0 && f->store->numbers.max_bytes <= STORE_MAP_BYTES);
        CHECK(f->store->max_bytes > 0 && f->store->max_bytes < STORE_MAP_BYTES - STORE_MAP_BYTES / 16);
        CHECK_INT(say(f, "a", "BuildFailed", NOW_MS), 1);
        CHECK(f->store->used_bytes > 0);
        f->store->used_bytes = f->store->max_bytes + 1;
        (void)store_tick(f->store, NOW_MS);
        CHECK(f->store->slice_wanted);
        fixture_free(f);
    }
    fixture_base = base;
}

static bool on_check_keys(void *arg, const struct record *r)
{
    const struct store *s = arg;
    uint64_t keys[KEYS_OF_RECORD_MAX];
    size_t n = keys_of_record(s->seed, r, key_siphash(s->seed, r->body_first),
                              key_siphash(s->seed, r->body_last), keys);
    uint64_t first, last;

    for (size_t i = 0; i < n; i++)
        CHECK(index_ends(s->index, keys[i], &first, &last));
    CHECK(index_ends(s->index, key_of_track(s->seed, r), &first, &last));
    return true;
}

/* Who delivers an event again is not answered with the id of a record that goes with the same commit. */
static void test_repeated_while_due(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    int64_t due_ms = NOW_MS + 2 * DAY_MS;
    char text[200];

    for (int i = 0; i < 3; i++)
        CHECK_INT(say(f, i == 1 ? "b" : "a", i == 2 ? "ReconciliationSucceeded" : "BuildFailed", NOW_MS + i),
                  i + 1);
    (void)store_tick(f->store, due_ms);
    CHECK(f->store->slice_wanted);
    for (int i = 0; i < 3; i++) {
        struct said said = {
            .kind = "Kustomization", .name = "b", .reason = "BuildFailed", .timestamp_ms = NOW_MS + 1};
        CHECK_INT(fixture_say(f, &said, due_ms, 0), STORE_OK);
    }
    f->n_done = 0;
    fixture_turn(f);
    CHECK_INT(f->n_done, 3);
    CHECK_INT(f->done[2].seq, 2);
    CHECK_TEXT(stored(f, text), "2");
    (void)tick(f, due_ms);
    CHECK_TEXT(stored(f, text), "");
    fixture_free(f);
}

/* What is said again in the very commit that would have deleted it is kept: it is acknowledged with its id. */
static void test_coalesced_while_due(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    int64_t due_ms = NOW_MS + 2 * DAY_MS;
    char text[200];

    CHECK_INT(say(f, "a", "ReconciliationSucceeded", NOW_MS), 1);
    CHECK_INT(say(f, "b", "ReconciliationSucceeded", NOW_MS), 2);
    (void)store_tick(f->store, due_ms);
    CHECK(f->store->slice_wanted);
    CHECK_INT(say(f, "a", "ReconciliationSucceeded", due_ms), 1);
    for (int reopened = 0; reopened < 2; reopened++) {
        CHECK_TEXT(stored(f, text), "1");
        (void)tick(f, due_ms);
        CHECK_TEXT(stored(f, text), "1");
        fixture_reopen(f);
    }
    fixture_free(f);
}

/* One that is not there any more, though the index says so, is no error of the commit. */
static void test_gone_already(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    unsigned char bytes[8];
    char text[200];
    MDB_txn *txn;

    CHECK_INT(say(f, "a", "ReconciliationSucceeded", NOW_MS), 1);
    CHECK_INT(say(f, "b", "ReconciliationSucceeded", NOW_MS), 2);
    commit_key(1, bytes);
    CHECK_INT(mdb_txn_begin(f->store->env, NULL, 0, &txn), 0);
    CHECK_INT(mdb_del(txn, f->store->events, &(MDB_val){sizeof bytes, bytes}, NULL), 0);
    CHECK_INT(mdb_txn_commit(txn), 0);
    (void)tick(f, NOW_MS + 2 * DAY_MS);
    CHECK(!store_dead(f->store));
    CHECK_TEXT(stored(f, text), "");
    CHECK_INT(say(f, "a", "ReconciliationSucceeded", NOW_MS + 2 * DAY_MS), 3);
    fixture_free(f);
}

/* A slice for which there is not enough memory is smaller, and what stays is found as before. */
static void test_little_memory(void)
{
    enum { RECORDS = 200 };
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    char name[32];

    for (int i = 0; i < RECORDS; i++) {
        (void)snprintf(name, sizeof name, "app-%d", i);
        struct said said = {.kind = "Kustomization", .name = name, .reason = "BuildFailed", .revision = "v1"};
        CHECK_INT(fixture_say(f, &said, NOW_MS, 0), STORE_OK);
    }
    fixture_settle(f);
    (void)store_tick(f->store, NOW_MS + 2 * DAY_MS);
    most_memory = 4096; /* 256 keys, three for each record */
    fixture_turn(f);
    most_memory = SIZE_MAX;
    CHECK_INT(f->store->stats.records, RECORDS - 85);
    (void)store_scan(f->store, 0, false, SIZE_MAX, on_check_keys, f->store, NULL);
    (void)tick(f, NOW_MS + 2 * DAY_MS);
    CHECK_INT(f->store->stats.records, 0);
    fixture_free(f);
}

static int fail_with(void *arg)
{
    return *(int *)arg;
}

/* What is being deleted is there until the commit has returned, and stays when it fails; the next try waits. */
static void test_failed_slice(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    int status = ENOSPC;
    char text[200];

    (void)say(f, "a", "ReconciliationSucceeded", NOW_MS);
    commit_set_hook(f->store->committer, fail_with, &status);
    (void)store_tick(f->store, NOW_MS + 2 * DAY_MS);
    fixture_turn(f);
    CHECK_TEXT(stored(f, text), "1");
    CHECK_INT(store_tick(f->store, NOW_MS + 2 * DAY_MS), NOW_MS + 2 * DAY_MS + 1000);
    store_flush(f->store);
    CHECK(!store_pending(f->store));
    status = 0;
    (void)tick(f, NOW_MS + 2 * DAY_MS + 1000);
    CHECK_TEXT(stored(f, text), "");
    fixture_free(f);
}

static int64_t file_bytes(struct fixture *f)
{
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    CHECK_INT(stat(path, &st), 0);
    return (int64_t)st.st_size;
}

/* A record that was said once at the start by each of ten objects outlives thousands that came after. */
static void test_by_size(void)
{
    enum { LIMIT = 8 << 20 };
    struct fixture *f = fixture_retaining(0, LIMIT);
    static char body[8000];
    char text[200];
    char name[32];
    int64_t now_ms = NOW_MS;

    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, "app-%d", i);
        CHECK_INT(say(f, name, "ReconciliationSucceeded", now_ms++), i + 1);
    }
    memset(body, 'x', sizeof body - 1);
    for (int i = 0; i < 6000; i++) {
        char reason[32];
        (void)snprintf(reason, sizeof reason, "r%d", i);
        memcpy(body, reason, strlen(reason));
        struct said said = {.kind = "Kustomization", .name = "noisy", .reason = reason, .body = body};
        f->n_done = 0;
        CHECK_INT(fixture_say(f, &said, now_ms, 0), STORE_OK);
        now_ms += 1000;
        if (i % 25 == 0) {
            (void)tick(f, now_ms);
            CHECK(file_bytes(f) <= LIMIT);
        }
    }
    (void)tick(f, now_ms);
    struct store_stats stats;
    store_get_stats(f->store, &stats);
    CHECK(stats.records > 300 && stats.records < 1000);
    CHECK(strncmp(stored(f, text), "1 2 3 4 5 6 7 8 9 10 ", 21) == 0);
    /* When there is nothing else, they go too, the longest-unchanged first. */
    f->store->max_bytes = 1;
    f->store->used_bytes = 1 << 20;
    (void)store_tick(f->store, now_ms);
    uint64_t seqs[AGES_PICK_MAX];
    size_t n = ages_pick(f->store->ages, INT64_MAX, true, 1000, seqs);
    CHECK_INT(n, stats.records);
    CHECK_INT(seqs[n - 10], 1);
    CHECK_INT(seqs[n - 1], 10);
    fixture_free(f);
}

/* Of an object's successes and failures only the newest is kept to the last, in one process as behind a restart. */
static void test_only_the_newest_goes_last(void)
{
    static const char *const reasons[] = {"BuildFailed", "ReconciliationSucceeded", "HealthCheckFailed"};
    struct fixture *f = fixture_retaining(0, 0);
    uint64_t seqs[AGES_PICK_MAX];
    int64_t now_ms = NOW_MS;

    for (int i = 0; i < 3; i++)
        CHECK_INT(say(f, "a", reasons[i], now_ms += 1000), i + 1);
    CHECK_INT(say(f, "b", "BuildFailed", now_ms += 1000), 4);
    CHECK_INT(say(f, "a", "Progressing", now_ms += 1000), 5);
    for (int reopened = 0; reopened < 2; reopened++) {
        static const uint64_t want[] = {1, 2, 5, 3, 4};
        harness_case("%s", reopened ? "reopened" : "");
        CHECK_INT(ages_pick(f->store->ages, INT64_MAX, true, 10, seqs), 5);
        for (size_t i = 0; i < 5; i++)
            CHECK_INT(seqs[i], want[i]);
        fixture_reopen(f);
    }
    fixture_free(f);
}

/* As Flux does: each object says at every interval that it is still reconciled. */
static void test_plateau(void)
{
    enum { OBJECTS = 20, DAYS = 4, MINUTES = DAYS * 24 * 60 };
    struct fixture *f = fixture_retaining(30 * DAY_MS, UINT64_C(1) << 30);
    int64_t after_first_day = 0;
    char name[32], revision[64];
    struct store_stats stats;

    for (int minute = 0; minute < MINUTES; minute++) {
        int64_t now_ms = AT(minute * 60);
        f->n_done = 0;
        for (int i = 0; i < OBJECTS; i++) {
            (void)snprintf(name, sizeof name, "app-%d", i);
            (void)snprintf(revision, sizeof revision, "main@sha1:%040d", i == 0 ? minute / 720 : 0);
            struct said said = {.kind = "Kustomization",
                                .name = name,
                                .reason = "ReconciliationSucceeded",
                                .revision = revision,
                                .timestamp_ms = now_ms};
            CHECK_INT(fixture_say(f, &said, now_ms, 0), STORE_OK);
        }
        fixture_settle(f);
        (void)tick(f, now_ms);
        if (minute == 24 * 60)
            after_first_day = file_bytes(f);
    }
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.records, OBJECTS + 2 * DAYS - 1);
    CHECK_INT(stats.received, OBJECTS * MINUTES);
    printf("# %lld bytes after a day, %lld after %d\n", (long long)after_first_day, (long long)file_bytes(f),
           DAYS);
    CHECK(file_bytes(f) <= after_first_day * 105 / 100 && file_bytes(f) < 8 << 20);
    fixture_free(f);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* On a full disk what is due goes nevertheless, and makes room. */
static void test_full_disk(void)
{
    struct fixture *f = fixture_retaining(DAY_MS, 0);
    static char body[20000];
    const char *why = NULL;
    uint64_t n = 0;

    memset(body, 'x', sizeof body - 1);
    limit_files(4 << 20);
    for (bool fits = true; fits && n < 1000; n++) {
        (void)snprintf(body, sizeof body, "%d ", (int)n);
        body[strlen(body)] = 'x';
        char reason[32];
        (void)snprintf(reason, sizeof reason, "r%d", (int)n);
        f->n_done = 0;
        CHECK_INT(fixture_say(f, &(struct said){.reason = reason, .body = body}, NOW_MS, 0), STORE_OK);
        fixture_settle(f);
        fits = f->done[0].status == STORE_OK;
    }
    CHECK(n > 10 && n < 1000);
    CHECK(!store_ready(f->store, &why));
    for (int reopened = 0; reopened < 2; reopened++) {
        harness_case("full%s", reopened ? ", reopened" : "");
        f->n_done = 0;
        CHECK_INT(fixture_say(f, &(struct said){.reason = "y", .body = body}, NOW_MS + HOUR_MS, 0), STORE_OK);
        (void)tick(f, NOW_MS + HOUR_MS);
        CHECK_INT(f->done[0].status, STORE_FULL);
        CHECK_INT(f->store->stats.records, n - 1);
        fixture_reopen(f);
    }
    harness_case("due");
    f->n_done = 0;
    (void)fixture_say(f, &(struct said){.reason = "y", .body = body}, NOW_MS + HOUR_MS, 0);
    fixture_settle(f);
    CHECK(!store_ready(f->store, &why));
    (void)tick(f, NOW_MS + 2 * DAY_MS);
    CHECK_INT(f->store->stats.records, 0);
    CHECK(store_ready(f->store, &why));
    (void)say(f, "a", "ReconciliationSucceeded", NOW_MS + 2 * DAY_MS);
    limit_files(RLIM_INFINITY);
    fixture_free(f);
}

int main(void)
{
    fixture_in_memory();
    return harness_run((struct test[]){TEST(test_ages_against_model),
                                       TEST(test_by_age),
                                       TEST(test_repeated_while_due),
                                       TEST(test_coalesced_while_due),
                                       TEST(test_gone_already),
                                       TEST(test_little_memory),
                                       TEST(test_the_map_bounds),
                                       TEST(test_the_index_forgets),
                                       TEST(test_clusters_are_forgotten),
                                       TEST(test_slices),
                                       TEST(test_failed_slice),
                                       TEST(test_by_size),
                                       TEST(test_only_the_newest_goes_last),
                                       TEST(test_plateau),
                                       TEST(test_full_disk),
                                       {0}});
}
