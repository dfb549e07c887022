/* Coalescing: what becomes one record, what that record says, and that no verdict can tell the difference. */
#include "store_fixture.h"

#include <errno.h>

#include "store/ask.h"
#include "store/coalesce_priv.h"

#define SHA_1       "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
#define SHA_2       "main@sha1:bd88a9156325322a124e55a369b59063470310eb"
#define SHA_3       "main@sha1:0000000156325322a124e55a369b59063470310e"
#define AT(seconds) (NOW_MS + (int64_t)(seconds)*1000)

static struct said apps(const char *reason, int64_t timestamp_ms)
{
    return (struct said){.kind = "Kustomization",
                         .namespace = "flux-system",
                         .name = "apps",
                         .reason = reason,
                         .revision = SHA_1,
                         .message = "Reconciliation finished",
                         .timestamp_ms = timestamp_ms};
}

static void test_what_fits(void)
{
    static const struct record success = {.class = CLASS_SUCCESS,
                                          .count = 1,
                                          .cluster = STR("c"),
                                          .kind = STR("Kustomization"),
                                          .namespace = STR("ns"),
                                          .name = STR("apps"),
                                          .uid = STR("u"),
                                          .severity = STR("info"),
                                          .reason = STR("ReconciliationSucceeded"),
                                          .revision = STR("r"),
                                          .origin_revision = STR("o"),
                                          .commit = STR("c"),
                                          .oci_digest = STR("d"),
                                          .message = STR("took 1 s"),
                                          .message_digest = 1};
    static const struct {
        const char *name;
        size_t offset; /* of the member that differs */
        bool fits;
    } rows[] = {
        {"cluster", offsetof(struct record, cluster), false},
        {"kind", offsetof(struct record, kind), false},
        {"namespace", offsetof(struct record, namespace), false},
        {"name", offsetof(struct record, name), false},
        {"uid", offsetof(struct record, uid), false},
        {"severity", offsetof(struct record, severity), false},
        {"reason", offsetof(struct record, reason), false},
        {"revision", offsetof(struct record, revision), false},
        {"originRevision", offsetof(struct record, origin_revision), false},
        {"commit", offsetof(struct record, commit), false},
        {"oci-digest", offsetof(struct record, oci_digest), false},
        {"message", offsetof(struct record, message), true},
    };

    CHECK(coalesce_fits(&success, &success));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct record other = success;
        harness_case("%s", rows[i].name);
        memcpy((char *)&other + rows[i].offset, &STR("other"), sizeof(struct str));
        CHECK_INT(coalesce_fits(&success, &other), rows[i].fits);
    }
    struct record progress = success;
    struct record other = success;
    progress.class = other.class = CLASS_PROGRESS;
    harness_case("progress");
    CHECK(coalesce_fits(&progress, &other));
    CHECK(!coalesce_fits(&progress, &success));
    other.message = STR("took 2 s");
    CHECK(!coalesce_fits(&progress, &other));
    other = progress;
    other.message_digest = 2; /* equal as far as it is kept */
    CHECK(!coalesce_fits(&progress, &other));
    progress.count = UINT32_MAX;
    CHECK(!coalesce_fits(&progress, &progress));
}

struct copy {
    struct record r;
    char first[512], last[512];
};

static bool on_copy(void *arg, const struct record *r)
{
    struct copy *copy = arg;
    copy->r = *r;
    (void)snprintf(copy->first, sizeof copy->first, "%.*s", STR_ARG(r->body_first));
    (void)snprintf(copy->last, sizeof copy->last, "%.*s", STR_ARG(r->body_last));
    return true;
}

static struct copy get(struct fixture *f, uint64_t seq)
{
    struct copy copy = {0};
    CHECK(store_get(f->store, seq, on_copy, &copy, NULL));
    return copy;
}

struct told {
    size_t n, fresh, updates;
    uint32_t count;
};

static void on_told(void *arg, const struct record *r, struct record_keys keys, bool fresh)
{
    struct told *told = arg;
    CHECK(keys.n >= 3);
    told->n++;
    told->fresh += fresh;
    told->updates += !fresh;
    told->count = r->count;
}

/* What is said, in order of arrival, and the number of the record that it must become part of. Stored one by one, all
 * in one commit, and with a restart after each. */
static const struct row {
    const char *name;
    struct {
        const char *reason;
        int at;
        const char *revision, *message, *body;
        uint64_t seq;
    } said[7];
} rows[] = {
    {"a success every minute",
     {{"ReconciliationSucceeded", 0, SHA_1, "m", "A", 1},
      {"ReconciliationSucceeded", 60, SHA_1, "n", "B", 1},
      {"ReconciliationSucceeded", 120, SHA_1, "o", "C", 1}}},
    {"every transition is a record",
     {{"ReconciliationSucceeded", 0, SHA_1, "m", "A", 1},
      {"HealthCheckFailed", 1, SHA_1, "m", "B", 2},
      {"ReconciliationSucceeded", 2, SHA_1, "m", "C", 3},
      {"ReconciliationSucceeded", 3, SHA_2, "m", "D", 4},
      {"ReconciliationSucceeded", 4, SHA_1, "m", "E", 5},
      {"ReconciliationSucceeded", 5, SHA_1, "m", "F", 5}}},
    {"progress between does not part successes, nor they progress",
     {{"Progressing", 0, SHA_1, "m", "A", 1},
      {"ReconciliationSucceeded", 1, SHA_1, "m", "B", 2},
      {"Progressing", 2, SHA_1, "m", "C", 1},
      {"ReconciliationSucceeded", 3, SHA_1, "m", "D", 2}}},
    {"progress with another message",
     {{"Progressing", 0, SHA_1, "m", "A", 1},
      {"Progressing", 1, SHA_1, "n", "B", 2},
      {"Progressing", 2, SHA_1, "m", "C", 3}}},
    {"retried deliveries of the first and the last body",
     {{"ReconciliationSucceeded", 0, SHA_1, "m", "A", 1},
      {"ReconciliationSucceeded", 60, SHA_1, "m", "B", 1},
      {"ReconciliationSucceeded", 120, SHA_1, "m", "C", 1},
      {"HealthCheckFailed", 130, SHA_1, "m", "D", 2},
      {"ReconciliationSucceeded", 120, SHA_1, "m", "C", 1},
      {"ReconciliationSucceeded", 0, SHA_1, "m", "A", 1}}},
    {"a late one becomes the first",
     {{"ReconciliationSucceeded", 60, SHA_1, "m", "A", 1},
      {"ReconciliationSucceeded", 0, SHA_1, "n", "B", 1}}},
    {"a late one becomes neither",
     {{"ReconciliationSucceeded", 0, SHA_1, "m", "A", 1},
      {"ReconciliationSucceeded", 60, SHA_1, "n", "B", 1},
      {"ReconciliationSucceeded", 30, SHA_1, "o", "C", 1}}},
};

enum how { ONE_BY_ONE, TOGETHER, REOPENED, HOWS };

static void say_row(struct fixture *f, const struct row *row, enum how how)
{
    for (size_t i = 0; i < 7 && row->said[i].reason; i++) {
        struct said said = apps(row->said[i].reason, AT(row->said[i].at));
        said.revision = row->said[i].revision;
        said.message = row->said[i].message;
        said.body = row->said[i].body;
        CHECK_INT(fixture_say(f, &said, AT(200 + i), i), STORE_OK);
        if (how != TOGETHER)
            fixture_settle(f);
        if (how == REOPENED)
            fixture_reopen(f);
    }
    fixture_settle(f);
}

static void check_row(struct fixture *f, const struct row *row)
{
    uint64_t highest = 0;
    struct store_stats stats;

    for (size_t i = 0; i < 7 && row->said[i].reason; i++) {
        CHECK_INT(f->done[i].token, i);
        CHECK_INT(f->done[i].status, STORE_OK);
        CHECK_INT(f->done[i].seq, row->said[i].seq);
        highest = row->said[i].seq > highest ? row->said[i].seq : highest;
    }
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.records, highest);
    CHECK_INT(stats.last_seq, highest);
    /* Each record: first and last by time, and as many as were no repeats. */
    for (uint64_t seq = 1; seq <= highest; seq++) {
        size_t first = 7, last = 7;
        uint32_t count = 0;
        for (size_t i = 0; i < 7 && row->said[i].reason; i++) {
            bool repeat = false;
            for (size_t j = 0; j < i; j++)
                repeat |= strcmp(row->said[j].body, row->said[i].body) == 0;
            if (row->said[i].seq != seq || repeat)
                continue;
            count++;
            first = first == 7 || row->said[i].at < row->said[first].at ? i : first;
            last = last == 7 || row->said[i].at > row->said[last].at ? i : last;
        }
        struct copy copy = get(f, seq);
        CHECK_INT(copy.r.count, count);
        CHECK_TEXT(copy.first, row->said[first].body);
        CHECK_TEXT(copy.last, row->said[last].body);
        CHECK_INT(copy.r.first.effective_ms, AT(row->said[first].at));
        CHECK_INT(copy.r.last.effective_ms, AT(row->said[last].at));
        CHECK(copy.r.first.received_ms <= copy.r.last.received_ms);
    }
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (enum how how = 0; how < HOWS; how++) {
            static const char *const names[] = {"one by one", "together", "reopened"};
            struct fixture *f = fixture_new();
            harness_case("%s, %s", rows[i].name, names[how]);
            say_row(f, &rows[i], how);
            check_row(f, &rows[i]);
            fixture_reopen(f);
            check_row(f, &rows[i]);
            fixture_free(f);
        }
}

static void test_subscribers(void)
{
    struct fixture *f = fixture_new();
    struct told told = {0};
    struct said said = apps("ReconciliationSucceeded", 0);

    store_subscribe(f->store, on_told, &told);
    for (int i = 0; i < 3; i++) {
        said.timestamp_ms = AT(i);
        CHECK_INT(fixture_say(f, &said, AT(10), 0), STORE_OK);
    }
    fixture_settle(f);
    CHECK_INT(told.fresh, 1);
    CHECK_INT(told.n, 1);
    CHECK_INT(told.count, 3);
    for (int i = 3; i < 6; i++) {
        said.timestamp_ms = AT(i);
        CHECK_INT(fixture_say(f, &said, AT(10 + i), 0), STORE_OK);
    }
    fixture_settle(f);
    CHECK_INT(told.fresh, 1);
    CHECK_INT(told.updates, 1);
    CHECK_INT(told.count, 6);
    struct store_stats stats;
    store_get_stats(f->store, &stats);
    CHECK_INT(stats.stored, 1);
    CHECK_INT(stats.coalesced, 5);
    CHECK_INT(stats.records, 1);
    CHECK_INT(get(f, 1).r.last.received_ms, AT(15));
    fixture_free(f);
}

static int fail_with(void *arg)
{
    return *(int *)arg;
}

/* A commit that fails takes nothing along: neither the record as it was, nor the sequence. */
static void test_failed_commit(void)
{
    struct fixture *f = fixture_new();
    struct said said = apps("ReconciliationSucceeded", AT(0));
    int status = ENOSPC;

    CHECK_INT(fixture_store(f, &said, AT(0)), 1);
    commit_set_hook(f->store->committer, fail_with, &status);
    said.timestamp_ms = AT(60);
    CHECK_INT(fixture_say(f, &said, AT(60), 7), STORE_OK);
    fixture_settle(f);
    CHECK_INT(f->done[1].status, STORE_FULL);
    CHECK_INT(get(f, 1).r.count, 1);
    status = 0;
    CHECK_INT(fixture_store(f, &said, AT(61)), 1);
    CHECK_INT(get(f, 1).r.count, 2);
    fixture_free(f);
}

/* Onto a record whose bodies are damaged nothing is written: it would get a checksum that is right. */
static void test_damaged(void)
{
    struct fixture *f = fixture_new();
    struct said said = apps("ReconciliationSucceeded", AT(0));
    unsigned char bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val value;
    MDB_txn *txn;

    CHECK_INT(fixture_store(f, &said, AT(0)), 1);
    commit_key(1, bytes);
    CHECK_INT(mdb_txn_begin(f->store->env, NULL, 0, &txn), 0);
    CHECK_INT(mdb_get(txn, f->store->events, &key, &value), 0);
    char *copy = malloc(value.mv_size);
    CHECK(copy != NULL);
    memcpy(copy, value.mv_data, value.mv_size);
    copy[value.mv_size - 1] ^= 1; /* of the body */
    CHECK_INT(mdb_put(txn, f->store->events, &key, &(MDB_val){value.mv_size, copy}, 0), 0);
    CHECK_INT(mdb_txn_commit(txn), 0);
    free(copy);
    said.timestamp_ms = AT(60);
    CHECK_INT(fixture_store(f, &said, AT(60)), 2);
    said.timestamp_ms = AT(120);
    CHECK_INT(fixture_store(f, &said, AT(120)), 2);
    CHECK_INT(get(f, 2).r.count, 2);
    fixture_free(f);
}

/* The index holds nothing of bodies that came and went, and the record is still found under the others. */
static void test_index_forgets_bodies(void)
{
    enum { STATEMENTS = 300 };
    struct fixture *f = fixture_new();
    uint64_t found, last;
    char body[32];

    for (int i = 0; i < STATEMENTS; i++) {
        struct said said = apps("ReconciliationSucceeded", AT(i));
        (void)snprintf(body, sizeof body, "body %d", i);
        said.body = body;
        CHECK_INT(fixture_say(f, &said, AT(i), 0), STORE_OK);
        if (i % 3 == 0)
            fixture_settle(f);
    }
    fixture_settle(f);
    for (int reopened = 0; reopened < 2; reopened++) {
        for (int i = 0; i < STATEMENTS; i++) {
            harness_case("body %d%s", i, reopened ? ", reopened" : "");
            (void)snprintf(body, sizeof body, "body %d", i);
            uint64_t key = key_of_body(key_siphash(f->store->seed, str_of(body)));
            CHECK_INT(index_ends(f->store->index, key, &found, &last), i == 0 || i == STATEMENTS - 1);
        }
        fixture_reopen(f);
    }
    CHECK_INT(get(f, 1).r.count, STATEMENTS);
    fixture_free(f);
}

/* ---- the same verdicts as without coalescing ---- */

/* How much of two verdicts is equal. */
enum compared { COMPARE_NONE, COMPARE_LAST, COMPARE_STATES, COMPARE_ALL };

struct worlds {
    struct fixture *merged;
    struct fixture *plain;
    bool ordered; /* timestamps increase; what is said within one second has an order that runs do not keep */
    int64_t retention_ms; /* 0: for ever */
    unsigned state;
    int64_t now_ms;
    unsigned n;
    struct said last;
    unsigned asked[COMPARE_ALL + 1];
};

static unsigned pick(struct worlds *w, unsigned n)
{
    return (unsigned)rand_r(&w->state) % n;
}

static void both_say(struct worlds *w)
{
    static const char *const revisions[] = {SHA_1, SHA_2, SHA_3};
    static const char *const reasons[] = {"ReconciliationSucceeded", "HealthCheckFailed", "Progressing",
                                          "BuildFailed"};
    static const char *const names[] = {"apps", "infra"};
    static const char *const messages[] = {"one", "two"};
    struct said said = w->last;

    if (!said.reason || pick(w, 5) < 2) {
        bool source = pick(w, 4) == 0;
        said = (struct said){.kind = source ? "GitRepository" : "Kustomization",
                             .namespace = "flux-system",
                             .name = source ? "repo" : names[pick(w, 2)],
                             .reason = source ? "NewArtifact" : reasons[pick(w, 4)],
                             .cluster = pick(w, 6) ? "" : "other",
                             .message = messages[pick(w, 2)],
                             .revision = revisions[pick(w, 3)]};
    }
    w->last = said;
    w->now_ms += (w->ordered ? 1000 : 1) + pick(w, 3) * (int64_t)pick(w, 2000);
    said.timestamp_ms = w->ordered ? w->now_ms - w->now_ms % 1000 : w->now_ms - pick(w, 20000);
    if (!w->ordered && pick(w, 3) == 0)
        said.timestamp_ms = 0;
    /* No two bodies are equal: whether a body without a time is a repeat depends on what its object said last, and a
     * late one that is coalesced is not the last. */
    char body[32];
    (void)snprintf(body, sizeof body, "{%u}", ++w->n);
    said.body = body;
    for (unsigned deliveries = pick(w, 8) && w->ordered ? 2 : 1; deliveries > 0; deliveries--) {
        CHECK_INT(fixture_say(w->merged, &said, w->now_ms, 0), STORE_OK);
        CHECK_INT(fixture_say(w->plain, &said, w->now_ms, 0), STORE_OK);
    }
    w->merged->n_done = w->plain->n_done = 0;
}

struct straddle {
    int64_t effective_ms, received_ms,
        kept_ms; /* since, begin of a retry's attempt, bound of the retention */
    bool effective, received, kept;
    bool due; /* retention may take its time */
};

static bool on_straddle(void *arg, const struct record *r)
{
    struct straddle *s = arg;
    s->effective |= r->first.effective_ms < s->effective_ms && r->last.effective_ms >= s->effective_ms;
    s->received |= r->first.received_ms < s->received_ms && r->last.received_ms >= s->received_ms;
    s->due |= r->last.received_ms < s->kept_ms;
    s->kept |= r->first.received_ms < s->kept_ms && r->last.received_ms >= s->kept_ms;
    return true;
}

static void compare_objects(const struct verdict_object *a, const struct verdict_object *b, bool times)
{
    CHECK_STR(a->cluster, b->cluster);
    CHECK_STR(a->kind, b->kind);
    CHECK_STR(a->name, b->name);
    CHECK_TEXT(verdict_state_text(a->state), verdict_state_text(b->state));
    CHECK_INT(a->reported, b->reported);
    CHECK_STR(a->reason, b->reason);
    CHECK_STR(a->message, b->message);
    CHECK_STR(a->revision, b->revision);
    CHECK_INT(a->effective_ms / 1000, b->effective_ms / 1000);
    CHECK_STR(a->superseded_by, b->superseded_by);
    if (!times)
        return;
    CHECK_INT(a->received_ms, b->received_ms);
    CHECK_INT(a->failing_since_ms, b->failing_since_ms);
    CHECK_INT(a->superseded_ms, b->superseded_ms);
}

/* What a run says that lasts across a bound below which the single statements do not count (`since`), or are gone: all
 * that its last statement says. Not since when, and so, first seen being a matter of that too, not what is superseded. */
static void compare_last(const struct verdict *a, const struct verdict *b)
{
    bool superseded = false;

    CHECK_INT(a->n_objects, b->n_objects);
    for (size_t i = 0; i < a->n_objects; i++) {
        enum verdict_state x = a->objects[i].state;
        enum verdict_state y = b->objects[i].state;
        CHECK_INT(x == VERDICT_SUCCEEDED, y == VERDICT_SUCCEEDED);
        if (x == VERDICT_SUPERSEDED || y == VERDICT_SUPERSEDED)
            superseded = true;
        else
            compare_objects(&a->objects[i], &b->objects[i], false);
    }
    if (!superseded)
        CHECK_TEXT(verdict_state_text(a->state), verdict_state_text(b->state));
}

static void compare(struct worlds *w, const struct question *q, struct verdict_now now, enum compared what)
{
    struct verdict *a = ask(w->merged->store, q, now, NULL);
    struct verdict *b = ask(w->plain->store, q, now, NULL);
    bool times = what == COMPARE_ALL;

    CHECK(a && b);
    if (what == COMPARE_LAST) {
        compare_last(a, b);
        goto out;
    }
    CHECK_TEXT(verdict_state_text(a->state), verdict_state_text(b->state));
    CHECK_INT(a->n_objects, b->n_objects);
    for (size_t i = 0; i < a->n_objects; i++)
        compare_objects(&a->objects[i], &b->objects[i], times);
    if (times) {
        CHECK_INT(a->decider ? a->decider - a->objects : -1, b->decider ? b->decider - b->objects : -1);
        CHECK_INT(a->decided_ms, b->decided_ms);
        CHECK_INT(a->wake_at_ms, b->wake_at_ms);
    }
out:
    verdict_free(a);
    verdict_free(b);
}

/* A run of statements that lasts across `since`, across the begin of a retry's attempt, or across what retention has
 * left, counts as a whole, by the contract; single ones do not. So there the two stores may differ in times. Where times
 * matter to the state (failAfter; late ones, which do not make a run's last statement its latest), nothing is promised. */
static enum compared promised(const struct worlds *w, const struct question *q, const struct straddle *s)
{
    bool promises = w->ordered && q->fail_after_ms == 0;

    if (s->due)
        return COMPARE_NONE;
    if (s->effective || s->kept)
        return promises && !s->received ? COMPARE_LAST : COMPARE_NONE;
    if (s->received)
        return promises ? COMPARE_STATES : COMPARE_NONE;
    return w->ordered ? COMPARE_ALL : COMPARE_STATES;
}

static void ask_both(struct worlds *w)
{
    static const char *const revisions[] = {SHA_1, SHA_2, "0000000"};
    struct question q = {.revision = str_of(revisions[pick(w, 3)]),
                         .expect = 1 + pick(w, 2),
                         .since_ms = INT64_MIN,
                         .on_superseded = (enum question_superseded)pick(w, 3)};
    static const struct question_object named[] = {{STR("Kustomization"), STR("flux-system"), STR("apps")}};
    struct verdict_now now = {.wall_ms = w->now_ms, .failures_from_ms = INT64_MIN};
    struct straddle straddle = {.effective_ms = INT64_MIN,
                                .received_ms = INT64_MIN,
                                .kept_ms = w->retention_ms ? w->now_ms - w->retention_ms + 1 : INT64_MIN};

    if (pick(w, 3) == 0) {
        q.objects = named;
        q.n_objects = 1;
    }
    if (pick(w, 4) == 0) {
        q.has_cluster = true;
        q.cluster = STR("other");
    }
    if (w->ordered)
        q.fail_after_ms = pick(w, 2) * 4000;
    if (pick(w, 3) == 0)
        now.failures_from_ms = straddle.received_ms = w->now_ms - pick(w, 8000);
    if (pick(w, 3) == 0)
        q.since_ms = straddle.effective_ms = w->now_ms - pick(w, 30000);
    (void)store_scan(w->merged->store, 0, false, SIZE_MAX, on_straddle, &straddle, NULL);
    (void)store_scan(w->plain->store, 0, false, SIZE_MAX, on_straddle, &straddle, NULL);
    enum compared what = promised(w, &q, &straddle);
    w->asked[what]++;
    if (what == COMPARE_NONE)
        return;
    compare(w, &q, now, what);
    now.wall_ms += 4000;
    compare(w, &q, now, what);
}

/* All that is due goes, in both. */
static void both_age(struct worlds *w)
{
    struct fixture *const both[] = {w->merged, w->plain};

    for (size_t i = 0; w->retention_ms && i < 2; i++)
        do {
            (void)store_tick(both[i]->store, w->now_ms);
            store_flush(both[i]->store);
            fixture_settle(both[i]);
        } while (both[i]->store->slice_wanted);
}

static struct fixture *world_new(int64_t retention_ms, bool uncoalesced)
{
    struct fixture *f = uncoalesced ? fixture_new_uncoalesced() : fixture_new();

    f->retention_ms = retention_ms;
    fixture_reopen(f);
    return f;
}

static void step_on(struct worlds *w, bool reopen)
{
    for (unsigned n = 1 + pick(w, 4); n > 0; n--)
        both_say(w);
    fixture_settle(w->merged);
    fixture_settle(w->plain);
    both_age(w);
    if (reopen) {
        fixture_reopen(w->merged);
        fixture_reopen(w->plain);
        both_age(w);
    }
    for (int i = 0; i < 12; i++)
        ask_both(w);
}

#define SEEDS 16
static void run_worlds(const char *name, bool ordered, int64_t retention_ms)
{
    uint64_t merged = 0, plain = 0;
    unsigned asked[COMPARE_ALL + 1] = {0};

    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct worlds w = {.merged = world_new(retention_ms, false),
                           .plain = world_new(retention_ms, true),
                           .ordered = ordered,
                           .retention_ms = retention_ms,
                           .state = seed,
                           .now_ms = NOW_MS};
        struct store_stats stats;
        for (int step = 0; step < 40; step++) {
            harness_case("%s, seed %u, step %d", name, seed, step);
            step_on(&w, step % 10 == 9);
        }
        store_get_stats(w.merged->store, &stats);
        merged += stats.records;
        store_get_stats(w.plain->store, &stats);
        plain += stats.records;
        for (size_t i = 0; i <= COMPARE_ALL; i++)
            asked[i] += w.asked[i];
        fixture_free(w.merged);
        fixture_free(w.plain);
    }
    harness_case("%s", "");
    printf("# %s: %llu statements, %llu records; questions: %u all equal, %u states, %u last statements, %u "
           "nothing "
           "promised\n",
           name, (unsigned long long)plain, (unsigned long long)merged, asked[COMPARE_ALL],
           asked[COMPARE_STATES], asked[COMPARE_LAST], asked[COMPARE_NONE]);
    CHECK(merged * 4 < plain * 3 &&
          asked[COMPARE_NONE] * 2 / 3 < asked[COMPARE_ALL] + asked[COMPARE_STATES] + asked[COMPARE_LAST]);
}

static void test_same_verdicts_in_order(void)
{
    run_worlds("in order", true, 0);
}

static void test_same_verdicts_with_late_ones(void)
{
    run_worlds("late ones", false, 0);
}

static void test_same_verdicts_with_retention(void)
{
    run_worlds("with retention", true, 60000);
}

/* A retry: what failed before it does not count, unless a statement coalesced with it came after the attempt began. */
static void test_retry(void)
{
    struct fixture *f = fixture_new();
    struct question q = {.revision = STR(SHA_1), .expect = 1, .since_ms = INT64_MIN};
    struct verdict_now now = {.wall_ms = AT(100), .failures_from_ms = AT(50)};
    struct said said = apps("HealthCheckFailed", AT(0));

    CHECK_INT(fixture_store(f, &said, AT(0)), 1);
    struct verdict *v = ask(f->store, &q, now, NULL);
    CHECK_TEXT(verdict_state_text(v->state), "waiting");
    verdict_free(v);
    said.timestamp_ms = AT(60);
    CHECK_INT(fixture_store(f, &said, AT(60)), 1);
    v = ask(f->store, &q, now, NULL);
    CHECK_TEXT(verdict_state_text(v->state), "failed");
    verdict_free(v);
    fixture_free(f);
}

/* Without a clock, what equals the last word of the object is a delivery that was retried; whatever else was said since,
 * and into however old a record it went, makes it a new statement. */
static void test_last_word_of_an_object(void)
{
    static const struct {
        const char *reason;
        uint64_t seq;
    } words[] = {{"Progressing", 1},       {"HealthCheckFailed", 2}, {"Progressing", 1},
                 {"HealthCheckFailed", 2}, {"HealthCheckFailed", 2}, {"Progressing", 1},
                 {"Progressing", 1}};

    for (enum how how = 0; how < HOWS; how++) {
        struct fixture *f = fixture_new();
        harness_case("%d", how);
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            struct said said = apps(words[i].reason, 0);
            said.body = words[i].reason;
            CHECK_INT(fixture_say(f, &said, AT(i), i), STORE_OK);
            if (how != TOGETHER)
                fixture_settle(f);
            if (how == REOPENED)
                fixture_reopen(f);
        }
        fixture_settle(f);
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            CHECK_INT(f->done[i].seq, words[i].seq);
        CHECK_INT(get(f, 1).r.count, 3);
        CHECK_INT(get(f, 2).r.count, 2);
        CHECK_INT(get(f, 2).r.last.received_ms, AT(3));
        fixture_free(f);
    }
}

/* The key of one of the object's tracks turns out to be another object's as well: then all records are looked at. */
static void test_last_word_under_a_shared_key(void)
{
    struct fixture *f = fixture_new();
    struct said failure = apps("HealthCheckFailed", 0), progress = apps("Progressing", 0);
    struct said other = apps("Progressing", 0);

    failure.body = "failure";
    progress.body = "progress";
    other.name = "other";
    CHECK_INT(fixture_store(f, &progress, AT(0)), 1);
    CHECK_INT(fixture_store(f, &failure, AT(1)), 2);
    CHECK_INT(fixture_store(f, &other, AT(2)), 3);
    struct record r = get(f, 1).r;
    r.kind = str_of(progress.kind);
    r.namespace = str_of(progress.namespace);
    r.name = str_of(progress.name);
    r.cluster = STR("");
    uint64_t track = key_of_track(f->store->seed, &r);
    CHECK(index_set(f->store->index, track, 3));
    CHECK_INT(fixture_store(f, &failure, AT(3)), 2);
    CHECK_INT(get(f, 2).r.count, 1);
    CHECK_INT(fixture_store(f, &progress, AT(4)), 4);
    CHECK(index_set(f->store->index, track, 3));
    CHECK_INT(fixture_store(f, &failure, AT(5)), 2);
    CHECK_INT(get(f, 2).r.count, 2);
    fixture_free(f);
}

int main(void)
{
    fixture_in_memory();
    return harness_run((struct test[]){TEST(test_what_fits),
                                       TEST(test_rows),
                                       TEST(test_subscribers),
                                       TEST(test_failed_commit),
                                       TEST(test_damaged),
                                       TEST(test_index_forgets_bodies),
                                       TEST(test_same_verdicts_in_order),
                                       TEST(test_same_verdicts_with_late_ones),
                                       TEST(test_same_verdicts_with_retention),
                                       TEST(test_retry),
                                       TEST(test_last_word_of_an_object),
                                       TEST(test_last_word_under_a_shared_key),
                                       {0}});
}
