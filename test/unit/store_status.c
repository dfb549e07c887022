/* A status that says what is known: found as if all records of the object were read, without reading them. */
#include "store_fixture.h"

#include <dlfcn.h>

#include "store/verdict_priv.h"

#define REVISIONS 3

/* Stands before LMDB's, and counts. */
static size_t n_reads;

int mdb_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
    union {
        void *symbol;
        int (*function)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *);
    } real = {.symbol = dlsym(RTLD_NEXT, "mdb_get")};

    n_reads++;
    return real.function(txn, dbi, key, data);
}

static struct flux_event event(const char *reason, const char *revision, const char *message, int64_t at_ms)
{
    struct said said = {.kind = "Kustomization",
                        .namespace = "flux-system",
                        .name = "apps",
                        .reason = reason,
                        .revision = revision,
                        .message = message,
                        .timestamp_ms = at_ms};
    return event_of(&said);
}

/* Each body is another one, so that only what it says makes it known. */
static void say(struct fixture *f, struct flux_event e, enum event_via via, int64_t now_ms)
{
    static unsigned long n;
    char body[32];

    (void)snprintf(body, sizeof body, "{%lu}", n++);
    CHECK_INT(store_append(f->store, &e, str_of(body), via, now_ms, NULL, NULL, 0), STORE_OK);
    fixture_settle(f);
}

/* Which record makes the status known; 0: none. */
static uint64_t known(struct fixture *f, struct flux_event e, int64_t now_ms)
{
    struct record_stored said = store_statement(f->store, &e, STR("{}"), VIA_STATUS, now_ms);
    uint64_t seq = 0;

    CHECK(store_read_begin(f->store));
    store_forget_batch(f->store);
    n_reads = 0;
    bool is_known = store_status_is_known(f->store, &said.record, &seq);
    store_read_end(f->store);
    CHECK_INT(is_known, seq > 0);
    return seq;
}

/* The same from all records; they have no more members than are compared here. */
struct model {
    const struct record *said;
    struct record newest;
    uint64_t same;
};

static bool same(const struct record *a, const struct record *b)
{
    return a->class == b->class && str_eq(a->revision, b->revision) &&
           (a->class == CLASS_SUCCESS || str_eq(a->reason, b->reason));
}

static bool on_record(void *arg, const struct record *r)
{
    struct model *m = arg;

    if (!record_decides(r))
        return true;
    if (m->newest.seq == 0 || record_before(&m->newest, r))
        m->newest = *r;
    if (r->via == VIA_STATUS && r->last.effective_ms == m->said->last.effective_ms && same(m->said, r))
        m->same = r->seq;
    return true;
}

static void test_as_from_all_records(void)
{
    static const char *const reasons[] = {"ReconciliationSucceeded", "BuildFailed", "HealthCheckFailed",
                                          "Progressing"};
    static const char *const revisions[REVISIONS] = {"main@sha1:a", "main@sha1:b", "main@sha1:c"};
    unsigned state = 5;
    struct flux_event past[100];
    size_t n_known = 0, n_new = 0;

    for (int round = 0; round < 40; round++) {
        struct fixture *f = fixture_new();
        int64_t now_ms = NOW_MS;
        for (int i = 0; i < 100; i++) {
            now_ms += rand_r(&state) % 4 ? rand_r(&state) % 3000 : rand_r(&state) % 60000;
            int64_t at_ms = now_ms - (rand_r(&state) % 3 ? 0 : rand_r(&state) % 90000);
            at_ms = at_ms / 1000 * 1000;
            struct flux_event e = event(reasons[rand_r(&state) % 4], revisions[rand_r(&state) % REVISIONS],
                                        rand_r(&state) % 2 ? "x" : "y", at_ms);
            past[i] = e;
            if (i > 0 && rand_r(&state) % 3 == 0) /* the object is seen again as it was */
                e = past[rand_r(&state) % (unsigned)i];
            struct record_stored said = store_statement(f->store, &e, STR("{}"), VIA_STATUS, now_ms);
            struct model m = {.said = &said.record};
            (void)store_scan(f->store, 0, false, SIZE_MAX, on_record, &m, NULL);
            bool want = m.same > 0 || (m.newest.seq > 0 && same(&said.record, &m.newest));
            harness_case("round %d, event %d", round, i);
            CHECK_INT(known(f, e, now_ms) > 0, want);
            n_known += want;
            n_new += !want;
            say(f, e, rand_r(&state) % 2 ? VIA_WEBHOOK : VIA_STATUS, now_ms);
        }
        fixture_free(f);
    }
    CHECK(n_known > 200 && n_new > 1000);
}

/* What an object was like long ago is not read, and what else it said meanwhile hides nothing. */
static void test_a_long_history_is_not_read(void)
{
    enum { HISTORY = 300, MOST = 6 };
    struct fixture *f = fixture_new();
    int64_t now_ms = NOW_MS;
    char message[32];

    for (int i = 0; i < HISTORY; i++, now_ms += 60000)
        say(f, event(i % 2 ? "ReconciliationSucceeded" : "BuildFailed", "main@sha1:a", "m", now_ms),
            VIA_WEBHOOK, now_ms);
    int64_t decided_ms = now_ms - 60000;
    for (int i = 0; i < HISTORY; i++, now_ms += 60000) {
        (void)snprintf(message, sizeof message, "m%d", i);
        say(f, event("Progressing", "main@sha1:b", message, now_ms), VIA_WEBHOOK, now_ms);
    }
    harness_case("known");
    CHECK_INT(known(f, event("ReconciliationSucceeded", "main@sha1:a", "", decided_ms), now_ms), HISTORY);
    CHECK(n_reads <= MOST);
    harness_case("new");
    CHECK_INT(known(f, event("ReconciliationSucceeded", "main@sha1:b", "", now_ms), now_ms), 0);
    CHECK(n_reads <= MOST);
    fixture_free(f);
}

/* A member that the status lacks is no statement; one that the record lacks is said for the first time. */
static void test_what_a_member_adds(void)
{
    struct facts {
        const char *kind, *reason, *severity, *revision, *origin, *digest, *uid;
    };
#define K "Kustomization"
#define H "HelmRelease"
#define S "ReconciliationSucceeded", "info"
    static const struct {
        const char *name;
        struct facts stored, said;
        bool known;
    } rows[] = {
        {"all the same", {K, S, "r", "o", "d", "u"}, {K, S, "r", "o", "d", "u"}, true},
        {"another revision", {K, S, "r", "", "", ""}, {K, S, "s", "", "", ""}, false},
        {"an origin more", {K, S, "r", "", "", ""}, {K, S, "r", "o", "", ""}, false},
        {"an origin less", {K, S, "r", "o", "", ""}, {K, S, "r", "", "", ""}, true},
        {"another origin", {K, S, "r", "o", "", ""}, {K, S, "r", "p", "", ""}, false},
        {"a digest more", {K, S, "r", "", "", ""}, {K, S, "r", "", "d", ""}, false},
        {"a digest less", {K, S, "r", "", "d", ""}, {K, S, "r", "", "", ""}, true},
        {"another digest", {K, S, "r", "", "d", ""}, {K, S, "r", "", "e", ""}, false},
        {"a uid more", {K, S, "r", "", "", ""}, {K, S, "r", "", "", "u"}, true},
        {"another uid: the object was made anew", {K, S, "r", "", "", "u"}, {K, S, "r", "", "", "v"}, false},
        {"a success by another reason",
         {H, "InstallSucceeded", "info", "r", "", "", ""},
         {H, "UpgradeSucceeded", "info", "r", "", "", ""},
         true},
        {"a failure",
         {K, "BuildFailed", "error", "r", "", "", ""},
         {K, "BuildFailed", "error", "r", "", "", ""},
         true},
        {"a failure by another reason",
         {K, "BuildFailed", "error", "r", "", "", ""},
         {K, "PruneFailed", "error", "r", "", "", ""},
         false},
        {"a failure whose reason was its severity",
         {H, "error", "error", "r", "", "", ""},
         {H, "UpgradeFailed", "error", "r", "", "", ""},
         true},
        {"a failure after a success",
         {K, S, "r", "", "", ""},
         {K, "BuildFailed", "error", "r", "", "", ""},
         false},
        {"another object's",
         {H, "UpgradeSucceeded", "info", "r", "", "", ""},
         {K, S, "r", "", "", ""},
         false},
    };
#undef K
#undef H
#undef S

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture *f = fixture_new();
        struct flux_event events[2];
        for (int n = 0; n < 2; n++) {
            const struct facts *facts = n ? &rows[i].said : &rows[i].stored;
            events[n] = event(facts->reason, facts->revision, "Helm upgrade failed: no", NOW_MS + n * 60000);
            events[n].kind = str_of(facts->kind);
            events[n].severity = str_of(facts->severity);
            events[n].origin_revision = str_of(facts->origin);
            events[n].oci_digest = str_of(facts->digest);
            events[n].uid = str_of(facts->uid);
        }
        harness_case("%s", rows[i].name);
        say(f, events[0], VIA_WEBHOOK, NOW_MS);
        CHECK_INT(known(f, events[1], NOW_MS + 60000), rows[i].known);
        fixture_free(f);
    }
}

int main(void)
{
    fixture_in_memory();
    return harness_run((struct test[]){TEST(test_as_from_all_records),
                                       TEST(test_a_long_history_is_not_read),
                                       TEST(test_what_a_member_adds),
                                       {0}});
}
