/* The store: what it acknowledges is there after a restart, in order, once. */
#include "lmdb_fails.h"
#include "store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const struct said ks = {.kind = "Kustomization",
                               .namespace = "flux-system",
                               .name = "apps",
                               .reason = "ReconciliationSucceeded",
                               .revision = "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                               .message = "Reconciliation finished",
                               .timestamp_ms = NOW_MS - 5000};

struct seen {
    size_t n;
    struct record last;
    uint64_t seqs[64];
    char body[256];
};

static bool on_seen(void *arg, const struct record *r)
{
    struct seen *seen = arg;
    if (seen->n < 64)
        seen->seqs[seen->n] = r->seq;
    seen->n++;
    seen->last = *r;
    (void)snprintf(seen->body, sizeof seen->body, "%.*s", STR_ARG(r->body_first));
    return true;
}

static bool on_first_only(void *arg, const struct record *r)
{
    (void)on_seen(arg, r);
    return false;
}

static void test_append_and_reopen(void)
{
    struct fixture *f = fixture_new();
    struct seen seen = {0};

    CHECK_INT(fixture_store(f, &ks, NOW_MS), 1);
    for (int i = 0; i < 2; i++) {
        seen.n = 0;
        CHECK(store_get(f->store, 1, on_seen, &seen, NULL));
        CHECK_INT(seen.n, 1);
        CHECK_INT(seen.last.class, CLASS_SUCCESS);
        CHECK_INT(seen.last.count, 1);
        CHECK_INT(seen.last.first.effective_ms, NOW_MS - 5000);
        CHECK_INT(seen.last.first.received_ms, NOW_MS);
        CHECK(!seen.last.first.by_arrival);
        CHECK(strstr(seen.body, "5394cb7f") != NULL);
        fixture_reopen(f);
    }
    CHECK(!store_get(f->store, 2, on_seen, &seen, NULL));
    CHECK(!store_get(f->store, 0, on_seen, &seen, NULL));
    CHECK_INT(fixture_store(f, &(struct said){.reason = "x"}, NOW_MS), 2);
    fixture_free(f);
}

static void test_effective_time(void)
{
    static const struct {
        const char *name;
        int64_t timestamp_ms, effective_ms;
        bool by_arrival;
    } rows[] = {
        {"absent", 0, NOW_MS, true},
        {"year 1", INT64_C(-62135596740000), NOW_MS, true},
        {"1999", YEAR_2000_MS - 1, NOW_MS, true},
        {"2000", YEAR_2000_MS, YEAR_2000_MS, false},
        {"now", NOW_MS, NOW_MS, false},
        {"in the future", NOW_MS + 1, NOW_MS, true},
    };
    struct fixture *f = fixture_new();
    struct seen seen = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        struct said said = {.reason = rows[i].name, .timestamp_ms = rows[i].timestamp_ms};
        CHECK(store_get(f->store, fixture_store(f, &said, NOW_MS), on_seen, &seen, NULL));
        CHECK_INT(seen.last.last.effective_ms, rows[i].effective_ms);
        CHECK_INT(seen.last.last.by_arrival, rows[i].by_arrival);
    }
    fixture_free(f);
}

static void test_received_never_decreases(void)
{
    struct fixture *f = fixture_new();
    struct seen seen = {0};

    (void)fixture_store(f, &(struct said){.reason = "1"}, NOW_MS);
    CHECK(store_get(f->store, fixture_store(f, &(struct said){.reason = "2"}, NOW_MS - 1000), on_seen, &seen,
                    NULL));
    CHECK_INT(seen.last.first.received_ms, NOW_MS);
    fixture_reopen(f);
    CHECK(store_get(f->store, fixture_store(f, &(struct said){.reason = "3"}, NOW_MS - 1000), on_seen, &seen,
                    NULL));
    CHECK_INT(seen.last.first.received_ms, NOW_MS);
    fixture_free(f);
}

static void test_cluster_flag(void)
{
    struct fixture *f = fixture_new();
    struct seen seen = {0};
    char err[STORE_ERROR];

    fixture_close(f);
    f->store = fixture_try_open(f, "prod", err);
    CHECK(f->store != NULL);
    (void)fixture_store(f, &(struct said){.reason = "1"}, NOW_MS);
    (void)fixture_store(f, &(struct said){.reason = "2", .cluster = "other"}, NOW_MS);
    CHECK(store_get(f->store, 1, on_seen, &seen, NULL));
    CHECK_STR(seen.last.cluster, STR("prod"));
    CHECK(store_get(f->store, 2, on_seen, &seen, NULL));
    CHECK_STR(seen.last.cluster, STR("other"));
    fixture_free(f);
}

/* Bodies as curl sends them: no object, and a timestamp that is no time. */
#define YEAR_1 INT64_C(-62135596740000)
static const struct said curl_fail = {.reason = "BuildFailed", .revision = "a", .timestamp_ms = YEAR_1};
static const struct said curl_success = {
    .reason = "ReconciliationSucceeded", .revision = "a", .timestamp_ms = YEAR_1};
static const struct said curl_late = {
    .reason = "BuildFailed", .revision = "a", .timestamp_ms = NOW_MS + 60000};
static const struct said dated_fail = {
    .reason = "BuildFailed", .revision = "a", .timestamp_ms = NOW_MS - 9000};
static const struct said dated_success = {
    .reason = "ReconciliationSucceeded", .revision = "a", .timestamp_ms = NOW_MS - 8000};
static const struct said elsewhere = {.reason = "BuildFailed",
                                      .revision = "a",
                                      .timestamp_ms = YEAR_1,
                                      .cluster = "c2",
                                      .body = "{same body, other cluster}"};
static const struct said elsewhere_here = {
    .reason = "BuildFailed", .revision = "a", .timestamp_ms = YEAR_1, .body = "{same body, other cluster}"};
static const struct said elsewhere_noise = {.reason = "noise", .cluster = "c2"};

static const struct {
    const char *name;
    const struct said *said[4];
    uint64_t seqs[4];
} repeat_rows[] = {
    {"curl twice", {&curl_fail, &curl_fail}, {1, 1}},
    {"curl fail, succeed, fail", {&curl_fail, &curl_success, &curl_fail}, {1, 2, 3}},
    {"curl fail, succeed, fail, fail", {&curl_fail, &curl_success, &curl_fail, &curl_fail}, {1, 2, 3, 3}},
    {"a timestamp in the future is none", {&curl_late, &curl_success, &curl_late}, {1, 2, 3}},
    {"Flux retries at once", {&dated_fail, &dated_fail}, {1, 1}},
    {"Flux retries late", {&dated_fail, &dated_success, &dated_fail}, {1, 2, 1}},
    {"objects of clusters differ", {&elsewhere, &elsewhere_noise, &elsewhere_here, &elsewhere}, {1, 2, 3, 1}},
};

static void test_repeats_across_batches(void)
{
    for (size_t i = 0; i < sizeof repeat_rows / sizeof repeat_rows[0]; i++) {
        for (int reopen = 0; reopen < 2; reopen++) {
            harness_case("%s%s", repeat_rows[i].name, reopen ? ", reopened between" : "");
            struct fixture *f = fixture_new();
            for (size_t j = 0; j < 4 && repeat_rows[i].said[j]; j++) {
                CHECK_INT(fixture_store(f, repeat_rows[i].said[j], NOW_MS), repeat_rows[i].seqs[j]);
                if (reopen)
                    fixture_reopen(f);
            }
            fixture_free(f);
        }
    }
}

static void test_repeats_within_a_batch(void)
{
    for (size_t i = 0; i < sizeof repeat_rows / sizeof repeat_rows[0]; i++) {
        harness_case("%s", repeat_rows[i].name);
        struct fixture *f = fixture_new();
        size_t n = 0;
        for (; n < 4 && repeat_rows[i].said[n]; n++)
            CHECK_INT(fixture_say(f, repeat_rows[i].said[n], NOW_MS, n), STORE_OK);
        fixture_settle(f);
        CHECK_INT(fixture_commits(f), 1);
        CHECK_INT(f->n_done, n);
        for (size_t j = 0; j < n; j++) {
            CHECK_INT(f->done[j].token, j);
            CHECK_INT(f->done[j].seq, repeat_rows[i].seqs[j]);
        }
        fixture_free(f);
    }
}

/* Many appends while commits run: numbers without a gap, completions in order. */
static void test_group_commit(void)
{
    struct fixture *f = fixture_new_uncoalesced();
    struct store_stats stats;
    char message[32];

    for (uint64_t i = 0; i < 3000; i++) {
        struct said said = ks;
        (void)snprintf(message, sizeof message, "message %llu", (unsigned long long)i);
        said.message = message;
        CHECK_INT(fixture_say(f, &said, NOW_MS, i), STORE_OK);
        if (i % 100 == 0)
            store_flush(f->store);
        if (i % 250 == 0)
            store_dispatch(f->store);
    }
    CHECK(store_pending(f->store));
    fixture_settle(f);
    CHECK_INT(f->n_done, 3000);
    for (uint64_t i = 0; i < 3000; i++) {
        CHECK_INT(f->done[i].token, i);
        CHECK_INT(f->done[i].status, STORE_OK);
        CHECK_INT(f->done[i].seq, i + 1);
    }
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.stored, 3000);
    CHECK_INT(stats.last_seq, 3000);
    CHECK_INT(stats.queued_bytes, 0);
    CHECK(fixture_commits(f) < 100 && fixture_commits(f) >= 3);
    fixture_free(f);
}

/* The commit is held back by the writer; nothing may be acknowledged or visible meanwhile. */
struct gate {
    sem_t reached;
    sem_t open;
    int status;
};

static int hold(void *arg)
{
    struct gate *gate = arg;
    (void)sem_post(&gate->reached);
    (void)sem_wait(&gate->open);
    return gate->status;
}

static void on_count(void *arg, const struct record *r, struct record_keys keys, bool fresh)
{
    (void)r;
    CHECK(fresh && keys.n >= 2);
    ++*(int *)arg;
}

static void test_nothing_before_the_commit(void)
{
    struct fixture *f = fixture_new();
    struct gate gate = {.status = 0};
    struct seen seen = {0};
    int told = 0;

    (void)sem_init(&gate.reached, 0, 0);
    (void)sem_init(&gate.open, 0, 0);
    store_subscribe(f->store, on_count, &told);
    commit_set_hook(f->store->committer, hold, &gate);
    CHECK_INT(fixture_say(f, &ks, NOW_MS, 7), STORE_OK);
    store_flush(f->store);
    (void)sem_wait(&gate.reached);
    /* A repeat of it, and another, arrive while the commit is held back. */
    CHECK_INT(fixture_say(f, &ks, NOW_MS, 8), STORE_OK);
    CHECK_INT(fixture_say(f, &curl_fail, NOW_MS, 9), STORE_OK);
    for (int turn = 0; turn < 100; turn++) {
        store_flush(f->store);
        store_dispatch(f->store);
        struct pollfd fd = {.fd = store_fd(f->store), .events = POLLIN};
        CHECK_INT(poll(&fd, 1, 0), 0);
        CHECK_INT(f->n_done, 0);
        CHECK_INT(told, 0);
        CHECK(!store_get(f->store, 1, on_seen, &seen, NULL));
        CHECK_INT(store_scan(f->store, 0, false, 10, on_seen, &seen, NULL), 0);
        CHECK_INT(seen.n, 0);
    }
    (void)sem_post(&gate.open);
    /* On disk, but not yet published: who reads it now would be told of it a second time. */
    struct pollfd returned = {.fd = store_fd(f->store), .events = POLLIN};
    CHECK_INT(poll(&returned, 1, DEADLINE_MS), 1);
    CHECK(!store_get(f->store, 1, on_seen, &seen, NULL));
    CHECK_INT(store_scan(f->store, 0, false, 10, on_seen, &seen, NULL), 0);
    CHECK_INT(store_scan(f->store, 0, true, 10, on_seen, &seen, NULL), 0);
    CHECK_INT(seen.n, 0);
    fixture_turn(f);
    CHECK_INT(f->n_done, 1);
    CHECK_INT(f->done[0].token, 7);
    CHECK_INT(told, 1);
    /* The next batch is already with the writer: the dispatch handed it over. */
    (void)sem_wait(&gate.reached);
    CHECK_INT(f->n_done, 1);
    (void)sem_post(&gate.open);
    fixture_settle(f);
    CHECK_INT(f->n_done, 3);
    CHECK_INT(f->done[1].seq, 1);
    CHECK_INT(f->done[2].seq, 2);
    CHECK_INT(told, 2);
    fixture_free(f);
}

static int fail_with(void *arg)
{
    return *(int *)arg;
}

static void test_disk_full(void)
{
    struct fixture *f = fixture_new_uncoalesced();
    int status = ENOSPC;
    const char *why = NULL;

    CHECK_INT(fixture_store(f, &dated_fail, NOW_MS), 1);
    f->n_done = 0;
    commit_set_hook(f->store->committer, fail_with, &status);
    CHECK_INT(fixture_say(f, &ks, NOW_MS, 1), STORE_OK);
    CHECK_INT(fixture_say(f, &dated_fail, NOW_MS, 2), STORE_OK); /* a repeat of what is stored */
    fixture_settle(f);
    CHECK_INT(f->n_done, 2);
    CHECK_INT(f->done[0].status, STORE_FULL);
    CHECK_INT(f->done[1].status, STORE_OK);
    CHECK_INT(f->done[1].seq, 1);
    CHECK(!store_dead(f->store));
    CHECK(!store_ready(f->store, &why));
    CHECK_TEXT(why, "the disk is full");

    /* One at a time is tried; readiness alone makes a probe be tried. */
    CHECK_INT(fixture_say(f, &ks, NOW_MS, 3), STORE_OK);
    CHECK_INT(fixture_say(f, &curl_fail, NOW_MS, 4), STORE_FULL);
    fixture_settle(f);
    CHECK_INT(f->done[2].status, STORE_FULL);
    CHECK(!store_ready(f->store, &why));
    store_flush(f->store);
    CHECK(store_pending(f->store));
    fixture_settle(f);
    /* Without being asked again, it rests. */
    store_flush(f->store);
    CHECK(!store_pending(f->store));
    status = 0;
    CHECK(!store_ready(f->store, &why));
    fixture_turn(f);
    CHECK(store_ready(f->store, &why));
    CHECK_INT(fixture_store(f, &ks, NOW_MS), 2);
    fixture_reopen(f);
    CHECK_INT(fixture_store(f, &curl_fail, NOW_MS), 3);
    fixture_free(f);
}

static void count_record(void *arg, const struct record *r, struct record_keys keys, bool fresh)
{
    (void)r;
    (void)keys;
    (void)fresh;
    ++*(size_t *)arg;
}

/* What repeats an append of the same batch is no more on disk than that is; and nobody hears of either. */
static void test_repeats_within_a_batch_that_fails(void)
{
    static const int errors[] = {ENOSPC, ENOMEM, EIO};
    static const enum store_status want[] = {STORE_FULL, STORE_NO_MEMORY, STORE_DEAD};

    for (size_t i = 0; i < sizeof repeat_rows / sizeof repeat_rows[0]; i++) {
        for (size_t k = 0; k < sizeof errors / sizeof errors[0]; k++) {
            struct fixture *f = fixture_new();
            int status = errors[k];
            size_t n = 0;
            size_t told = 0;
            harness_case("%s, error %d", repeat_rows[i].name, status);
            store_subscribe(f->store, count_record, &told);
            commit_set_hook(f->store->committer, fail_with, &status);
            for (; n < 4 && repeat_rows[i].said[n]; n++)
                CHECK_INT(fixture_say(f, repeat_rows[i].said[n], NOW_MS, n), STORE_OK);
            fixture_settle(f);
            CHECK_INT(f->n_done, n);
            for (size_t j = 0; j < n; j++)
                CHECK_INT(f->done[j].status, want[k]);
            CHECK_INT(store_newest(f->store), 0);
            CHECK_INT(told, 0);
            fixture_free(f);
        }
    }
}

/* A commit takes a bounded number of bytes, however many wait; one event beyond the bound has a commit of its own. */
static void test_batches_are_bounded(void)
{
    struct fixture *f = fixture_new_uncoalesced();
    static char body[(STORE_BATCH_BYTES / 2) + 2];
    enum { EVENTS = 5 };

    memset(body, 'x', sizeof body - 1);
    for (int i = 0; i < EVENTS; i++) {
        body[0] = (char)('a' + i);
        CHECK_INT(fixture_say(f, &(struct said){.reason = "r", .body = body}, NOW_MS, (uint64_t)i), STORE_OK);
    }
    fixture_settle(f);
    CHECK_INT(fixture_commits(f), EVENTS);
    CHECK_INT(f->n_done, EVENTS);
    for (uint64_t i = 0; i < EVENTS; i++)
        CHECK_INT(f->done[i].seq, i + 1);
    fixture_free(f);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A limit on the size of files cuts writes short, as a full disk does: the real thing, down to LMDB. */
static void test_really_full(void)
{
    struct fixture *f = fixture_new_uncoalesced();
    struct flux_event e = event_of(&ks);
    static char body[20000];
    const char *why = NULL;
    uint64_t stored = 0;
    struct store_stats stats;

    memset(body, 'x', sizeof body);
    limit_files(3 << 20);
    for (int i = 0; i < 1000 && stored == f->n_done; i++) {
        (void)snprintf(body, sizeof body, "{%d", i);
        CHECK_INT(store_append(f->store, &e, (struct str){body, sizeof body}, VIA_WEBHOOK, NOW_MS,
                               fixture_done, f, 0),
                  STORE_OK);
        fixture_settle(f);
        stored += f->done[f->n_done - 1].status == STORE_OK;
    }
    limit_files(RLIM_INFINITY);
    CHECK(stored > 10 && stored < 1000);
    CHECK_INT(f->done[f->n_done - 1].status, STORE_FULL);
    CHECK(!store_dead(f->store));
    CHECK(!store_ready(f->store, &why));
    fixture_turn(f);
    CHECK(store_ready(f->store, &why));
    CHECK_INT(fixture_store(f, &curl_fail, NOW_MS), stored + 1);
    fixture_reopen(f);
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.records, stored + 1);
    fixture_free(f);
}

static void test_map_full_is_full(void)
{
    struct fixture *f = fixture_new();
    int status = MDB_MAP_FULL;

    commit_set_hook(f->store->committer, fail_with, &status);
    CHECK_INT(fixture_say(f, &ks, NOW_MS, 1), STORE_OK);
    fixture_settle(f);
    CHECK_INT(f->done[0].status, STORE_FULL);
    status = 0;
    CHECK_INT(fixture_store(f, &ks, NOW_MS), 1);
    fixture_free(f);
}

static void test_sync_error_is_the_end(void)
{
    struct fixture *f = fixture_new();
    int status = EIO;
    const char *why = NULL;

    commit_set_hook(f->store->committer, fail_with, &status);
    CHECK_INT(fixture_say(f, &ks, NOW_MS, 1), STORE_OK);
    store_flush(f->store);
    CHECK_INT(fixture_say(f, &curl_fail, NOW_MS, 2), STORE_OK);
    fixture_settle(f);
    CHECK_INT(f->n_done, 2);
    CHECK_INT(f->done[0].status, STORE_DEAD);
    CHECK_INT(f->done[1].status, STORE_DEAD);
    CHECK(store_dead(f->store));
    CHECK(!store_ready(f->store, &why));
    CHECK_HAS(str_of(store_errmsg(f->store)), STR("Input/output error"));
    CHECK_INT(fixture_say(f, &curl_fail, NOW_MS, 3), STORE_DEAD);
    CHECK_TEXT(f->last_error, ""); /* who ends the process tells it */
    fixture_reopen(f);
    CHECK_INT(fixture_store(f, &ks, NOW_MS), 1);
    fixture_free(f);
}

static void test_queue_is_bounded(void)
{
    struct fixture *f = fixture_new();
    struct flux_event e = event_of(&ks);

    f->store->max_queued_bytes = 10;
    CHECK_INT(store_append(f->store, &e, STR("12345678901"), VIA_WEBHOOK, NOW_MS, NULL, NULL, 0), STORE_BUSY);
    CHECK_INT(store_append(f->store, &e, STR("123456"), VIA_WEBHOOK, NOW_MS, NULL, NULL, 0), STORE_OK);
    CHECK_INT(store_append(f->store, &e, STR("78901"), VIA_WEBHOOK, NOW_MS, NULL, NULL, 0), STORE_BUSY);
    CHECK_INT(store_append(f->store, &e, STR("7890"), VIA_STATUS, NOW_MS, NULL, NULL, 0), STORE_OK);
    fixture_settle(f);
    CHECK_INT(store_append(f->store, &e, STR("abcdef"), VIA_WEBHOOK, NOW_MS, NULL, NULL, 0), STORE_OK);
    fixture_settle(f);
    fixture_free(f);
}

/* store_close completes what is queued. */
static void test_close_commits(void)
{
    struct fixture *f = fixture_new();
    struct seen seen = {0};

    CHECK_INT(fixture_say(f, &ks, NOW_MS, 1), STORE_OK);
    fixture_close(f);
    CHECK_INT(f->n_done, 1);
    CHECK_INT(f->done[0].status, STORE_OK);
    fixture_open(f);
    CHECK(store_get(f->store, 1, on_seen, &seen, NULL));
    fixture_free(f);
}

static void test_scan(void)
{
    static const struct {
        const char *name;
        uint64_t after;
        bool descending;
        size_t max;
        uint64_t again;
        size_t n;
        uint64_t first;
    } rows[] = {
        {"all", 0, false, 100, 0, 10, 1},
        {"a page", 0, false, 4, 4, 4, 1},
        {"the next", 4, false, 4, 8, 4, 5},
        {"the last", 8, false, 4, 0, 2, 9},
        {"exactly to the end", 6, false, 4, 0, 4, 7},
        {"after the end", 10, false, 4, 0, 0, 0},
        {"far after the end", UINT64_MAX, false, 4, 0, 0, 0},
        {"down, all", 0, true, 100, 0, 10, 10},
        {"down, a page", 0, true, 4, 7, 4, 10},
        {"down, the next", 7, true, 4, 3, 4, 6},
        {"down, the last", 3, true, 4, 0, 2, 2},
        {"down, before the first", 1, true, 4, 0, 0, 0},
        {"down, from far", UINT64_MAX - 1, true, 1, 10, 1, 10},
    };
    struct fixture *f = fixture_new();
    struct seen seen = {0};

    CHECK_INT(store_scan(f->store, 0, false, 10, on_seen, &seen, NULL), 0);
    CHECK_INT(store_scan(f->store, 0, true, 10, on_seen, &seen, NULL), 0);
    CHECK_INT(seen.n, 0);
    for (int i = 0; i < 10; i++) {
        char reason[16];
        (void)snprintf(reason, sizeof reason, "r%d", i);
        (void)fixture_store(f, &(struct said){.reason = reason}, NOW_MS);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        seen.n = 0;
        CHECK_INT(store_scan(f->store, rows[i].after, rows[i].descending, rows[i].max, on_seen, &seen, NULL),
                  rows[i].again);
        CHECK_INT(seen.n, rows[i].n);
        for (size_t j = 0; j < seen.n; j++)
            CHECK_INT(seen.seqs[j], rows[i].descending ? rows[i].first - j : rows[i].first + j);
    }
    harness_case("stopped by the visitor");
    seen.n = 0;
    CHECK_INT(store_scan(f->store, 3, false, 10, on_first_only, &seen, NULL), 4);
    CHECK_INT(seen.n, 1);
    fixture_free(f);
}

/* The records under any of the keys, each once. */
static void find(struct fixture *f, const uint64_t *keys, size_t n, struct seqs *found)
{
    found->n = 0;
    for (size_t i = 0; i < n; i++)
        CHECK(index_get(f->store->index, keys[i], found));
    seqs_sort(found);
}

static void find_form(struct fixture *f, const char *revision, struct seqs *found)
{
    struct revision_form forms[REVISION_MAX_FORMS];
    uint64_t keys[REVISION_MAX_FORMS];
    size_t n = question_forms(str_of(revision), forms);
    for (size_t i = 0; i < n; i++)
        keys[i] = key_of_form(f->store->seed, &forms[i]);
    find(f, keys, n, found);
}

static void test_find(void)
{
    struct fixture *f = fixture_new();
    struct said other = ks;
    struct seqs seen = {0};

    (void)fixture_store(f, &ks, NOW_MS);
    other.revision = "v1.2.3";
    (void)fixture_store(f, &other, NOW_MS);
    other.revision = "main/5394cb7f48332b2de7c17dd8b8384bbc84b7e738";
    (void)fixture_store(f, &other, NOW_MS);
    for (int i = 0; i < 2; i++) {
        find_form(f, "5394cb7", &seen);
        CHECK_INT(seen.n, 2);
        CHECK_INT(seen.at[0], 1);
        CHECK_INT(seen.at[1], 3);
        find_form(f, ks.revision, &seen);
        CHECK_INT(seen.n, 2);
        find_form(f, "a", &seen);
        CHECK_INT(seen.n, 0);
        uint64_t object =
            key_of_object(f->store->seed, STR("Kustomization"), STR("flux-system"), STR("apps"));
        uint64_t keys[] = {key_of_object_in(object, key_siphash(f->store->seed, STR(""))), 1};
        find(f, keys, 2, &seen);
        CHECK_INT(seen.n, 3);
        fixture_reopen(f);
    }
    seqs_free(&seen);
    fixture_free(f);
}

/* What one cluster says of an object is not in the way where another's is looked for. */
static void test_clusters_of_an_object(void)
{
    struct fixture *f = fixture_new();
    struct said said = ks;
    static const char *const names[] = {"", "a", "b"};
    char revision[64];

    for (int i = 0; i < 30; i++) {
        (void)snprintf(revision, sizeof revision, "v1.0.%d", i);
        said.revision = revision;
        said.cluster = names[i % 3];
        CHECK_INT(fixture_store(f, &said, NOW_MS + i * 1000), i + 1);
    }
    uint64_t object = key_of_object(f->store->seed, STR("Kustomization"), STR("flux-system"), STR("apps"));
    for (int i = 0; i < 2; i++) {
        struct seqs clusters = {0};
        CHECK(store_object_clusters(f->store, object, &clusters));
        CHECK_INT(clusters.n, 3);
        for (size_t j = 0; j < 3; j++) {
            struct seqs about = {0};
            CHECK_INT(clusters.at[j], key_siphash(f->store->seed, str_of(names[j])));
            CHECK(index_get(f->store->index, key_of_object_in(object, clusters.at[j]), &about));
            CHECK_INT(about.n, 10);
            CHECK_INT(about.at[9], 28 + j);
            seqs_free(&about);
        }
        seqs_free(&clusters);
        fixture_reopen(f);
    }
    fixture_free(f);
}

static void test_second_process(void)
{
    struct fixture *f = fixture_new();
    char err[STORE_ERROR] = "";
    char pid[64];

    /* Open file descriptions conflict within one process too, so a second open stands for a second process.
     */
    CHECK(fixture_try_open(f, NULL, err) == NULL);
    (void)snprintf(pid, sizeof pid, "is in use by process %ld on host ", (long)getpid());
    CHECK_HAS(str_of(err), str_of(pid));
    CHECK_HAS(str_of(err), str_of(f->dir));
    CHECK_HAS(str_of(err), STR("; stop it or choose another --data-dir"));
    CHECK(strchr(err, '\n') == NULL);
    CHECK_INT(fixture_store(f, &ks, NOW_MS), 1);
    fixture_close(f);
    fixture_open(f);
    fixture_free(f);
}

/* Changes the database of a closed store. */
static void rewrite(struct fixture *f, const char *db, struct str key, void (*change)(struct str *value))
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k = commit_val(key);
    MDB_val v;

    CHECK_INT(mdb_env_create(&env), 0);
    CHECK_INT(mdb_env_set_maxdbs(env, 2), 0);
    CHECK_INT(mdb_env_open(env, f->dir, 0, 0600), 0);
    CHECK_INT(mdb_txn_begin(env, NULL, 0, &txn), 0);
    CHECK_INT(mdb_dbi_open(txn, db, 0, &dbi), 0);
    CHECK_INT(mdb_get(txn, dbi, &k, &v), 0);
    char *copy = malloc(v.mv_size);
    CHECK(copy != NULL);
    memcpy(copy, v.mv_data, v.mv_size);
    struct str value = {copy, v.mv_size};
    change(&value);
    v = commit_val(value);
    CHECK_INT(mdb_put(txn, dbi, &k, &v, 0), 0);
    free(copy);
    CHECK_INT(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void newer_schema(struct str *value)
{
    ((char *)(uintptr_t)value->at)[0] = 9;
}

static void flip_reason(struct str *value)
{
    ((char *)(uintptr_t)value->at)[RECORD_HEAD + 10] ^= 1;
}

static void flip_body(struct str *value)
{
    ((char *)(uintptr_t)value->at)[value->len - 2] ^= 1;
}

static void cut(struct str *value)
{
    value->len--;
}

static void test_refuses_what_it_cannot_trust(void)
{
    static const struct {
        const char *name, *db, *want;
        struct str key;
        void (*change)(struct str *);
    } rows[] = {
        {"newer schema",
         "meta",
         "was written by a newer version of flux-event-store: its schema is 9, this version "
         "knows 1; use the newer version",
         {"schema", 6},
         newer_schema},
        {"schema of a wrong length", "meta", "is damaged: data.mdb has no schema number", {"schema", 6}, cut},
        {"seed of a wrong length", "meta", "is damaged: data.mdb lacks a part", {"seed", 4}, cut},
        {"a flipped bit",
         "events",
         "cannot be used: record 2: its checksum is wrong",
         {"\0\0\0\0\0\0\0\2", 8},
         flip_reason},
        {"a cut record",
         "events",
         "cannot be used: record 1: its lengths do not add up",
         {"\0\0\0\0\0\0\0\1", 8},
         cut},
    };
    char err[STORE_ERROR];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        struct fixture *f = fixture_new();
        (void)fixture_store(f, &ks, NOW_MS);
        (void)fixture_store(f, &curl_fail, NOW_MS);
        fixture_close(f);
        rewrite(f, rows[i].db, rows[i].key, rows[i].change);
        CHECK(fixture_try_open(f, NULL, err) == NULL);
        CHECK_HAS(str_of(err), str_of(rows[i].want));
        CHECK_HAS(str_of(err), str_of(f->dir));
        fixture_free(f);
    }
}

static void test_damaged_body_is_not_given_away(void)
{
    struct fixture *f = fixture_new();
    struct seen seen = {0};

    (void)fixture_store(f, &ks, NOW_MS);
    fixture_close(f);
    rewrite(f, "events", (struct str){"\0\0\0\0\0\0\0\1", 8}, flip_body);
    fixture_open(f);
    CHECK(!store_get(f->store, 1, on_seen, &seen, NULL));
    CHECK_TEXT(f->last_error, "a stored record is damaged");
    CHECK_INT(store_scan(f->store, 0, false, 10, on_first_only, &seen, NULL), 0);
    CHECK_INT(seen.n, 1);
    fixture_free(f);
}

/* Who reads must be able to tell the end from a failure. */
static void test_what_could_not_be_read(void)
{
    static const struct {
        const char *name;
        enum lmdb_call call;
        int after;
        bool descending;
        size_t max;
        uint64_t again;
        size_t n;
    } rows[] = {
        {"no transaction", LMDB_RENEW, 0, false, 10, 2, 0},
        {"no cursor", LMDB_OPEN, 0, false, 10, 2, 0},
        {"at the first", LMDB_WALK, 0, false, 10, 2, 0},
        {"in the middle", LMDB_WALK, 2, false, 10, 4, 2},
        {"behind a page", LMDB_WALK, 2, false, 2, 4, 2},
        {"at the end", LMDB_WALK, 3, false, 10, 5, 3},
        {"down, at the first", LMDB_WALK, 0, true, 10, 2, 0},
    };
    struct fixture *f = fixture_new();
    struct seen seen = {0};
    struct store_missed missed;

    for (int i = 0; i < 5; i++)
        (void)fixture_store(f, &(struct said){.reason = (char[]){(char)('a' + i), '\0'}}, NOW_MS);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        seen.n = 0;
        lmdb_fails = rows[i].call;
        lmdb_fails_once = true;
        lmdb_fails_after = rows[i].after;
        CHECK_INT(store_scan(f->store, 2, rows[i].descending, rows[i].max, on_seen, &seen, &missed),
                  rows[i].again);
        lmdb_fails = LMDB_NONE;
        CHECK(missed.unread && !missed.damaged);
        CHECK_INT(seen.n, rows[i].n);
        CHECK_TEXT(f->last_error, "the store cannot be read");
    }
    for (enum lmdb_call call = LMDB_RENEW; call <= LMDB_GET; call += LMDB_GET - LMDB_RENEW) {
        harness_case("one, call %d", (int)call);
        lmdb_fails = call;
        lmdb_fails_after = 0;
        CHECK(!store_get(f->store, 1, on_seen, &seen, &missed));
        lmdb_fails = LMDB_NONE;
        CHECK(missed.unread && !missed.damaged);
    }
    harness_case("damaged");
    seen.n = 0;
    lmdb_damaged = 2;
    CHECK_INT(store_scan(f->store, 0, false, 10, on_seen, &seen, &missed), 0);
    CHECK(missed.damaged && !missed.unread);
    CHECK_INT(seen.n, 4);
    CHECK(!store_get(f->store, 2, on_seen, &seen, &missed));
    CHECK(missed.damaged && !missed.unread);
    lmdb_damaged = 0;
    harness_case("nothing");
    CHECK_INT(store_scan(f->store, 0, false, 10, on_seen, &seen, &missed), 0);
    CHECK(!missed.damaged && !missed.unread);
    CHECK(!store_get(f->store, 99, on_seen, &seen, &missed));
    CHECK(!missed.damaged && !missed.unread);
    fixture_free(f);
}

static void test_bad_directories(void)
{
    struct fixture f = {0};
    struct fixture *good = fixture_new();
    char err[STORE_ERROR];
    char path[600];

    static const struct {
        const char *name, *suffix, *want;
    } rows[] = {
        {"below nothing", "/no/such", "cannot be created: No such file or directory"},
        {"a file", "/file", "cannot be used: Not a directory"},
        {"below a file", "/file/x", "cannot be created: Not a directory"},
    };
    (void)snprintf(path, sizeof path, "%s/file", good->dir);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    (void)close(fd);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        (void)snprintf(f.dir, sizeof f.dir, "%s%s", good->dir, rows[i].suffix);
        CHECK(fixture_try_open(&f, NULL, err) == NULL);
        CHECK_HAS(str_of(err), str_of(rows[i].want));
        CHECK_HAS(str_of(err), str_of(f.dir));
        CHECK(strchr(err, '\n') == NULL);
    }
    fixture_free(good);
}

static void test_foreign_file(void)
{
    struct fixture *f = fixture_new();
    char err[STORE_ERROR];
    char path[600];

    fixture_close(f);
    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    char zeros[8192] = "this is not a database";
    CHECK_INT(write(fd, zeros, sizeof zeros), sizeof zeros);
    (void)close(fd);
    CHECK(fixture_try_open(f, NULL, err) == NULL);
    CHECK_HAS(str_of(err), STR("cannot be opened: data.mdb: "));
    fixture_free(f);
}

static void test_modes(void)
{
    struct fixture *f = fixture_new();
    struct fixture sub = {0};
    struct stat st;
    char path[600];

    (void)snprintf(path, sizeof path, "%s/sub", f->dir);
    memcpy(sub.dir, path, strlen(path) + 1);
    fixture_open(&sub);
    fixture_close(&sub);
    CHECK_INT(stat(sub.dir, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0700);
    static const char *const files[] = {"data.mdb", "lock.mdb", "store.lock"};
    for (size_t i = 0; i < 3; i++) {
        harness_case("%s", files[i]);
        (void)snprintf(path, sizeof path, "%s/%s", sub.dir, files[i]);
        CHECK_INT(stat(path, &st), 0);
        CHECK_INT(st.st_mode & 0777, 0600);
        (void)unlink(path);
    }
    (void)rmdir(sub.dir);
    fixture_free(f);
}

/* A power failure while a store is made leaves what is no LMDB file yet; test/crash makes such disks by the hundred. */
static void test_interrupted_creation(void)
{
    struct fixture *f = fixture_new();
    char path[600];

    fixture_close(f);
    (void)snprintf(path, sizeof path, "%s/data.mdb", f->dir);
    CHECK_INT(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/new", f->dir);
    CHECK_INT(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/new/data.mdb", f->dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK_INT(write(fd, "half a page", 11), 11);
    (void)close(fd);
    fixture_open(f);
    CHECK_INT(fixture_store(f, &(struct said){.name = "apps", .reason = "BuildFailed"}, NOW_MS), 1);
    (void)snprintf(path, sizeof path, "%s/new", f->dir);
    CHECK_INT(access(path, F_OK), -1);
    fixture_free(f);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_append_and_reopen),
                                       TEST(test_effective_time),
                                       TEST(test_received_never_decreases),
                                       TEST(test_cluster_flag),
                                       TEST(test_repeats_across_batches),
                                       TEST(test_repeats_within_a_batch),
                                       TEST(test_group_commit),
                                       TEST(test_nothing_before_the_commit),
                                       TEST(test_disk_full),
                                       TEST(test_repeats_within_a_batch_that_fails),
                                       TEST(test_batches_are_bounded),
                                       TEST(test_really_full),
                                       TEST(test_map_full_is_full),
                                       TEST(test_sync_error_is_the_end),
                                       TEST(test_queue_is_bounded),
                                       TEST(test_close_commits),
                                       TEST(test_scan),
                                       TEST(test_find),
                                       TEST(test_clusters_of_an_object),
                                       TEST(test_second_process),
                                       TEST(test_refuses_what_it_cannot_trust),
                                       TEST(test_damaged_body_is_not_given_away),
                                       TEST(test_what_could_not_be_read),
                                       TEST(test_bad_directories),
                                       TEST(test_foreign_file),
                                       TEST(test_modes),
                                       TEST(test_interrupted_creation),
                                       {0}});
}
