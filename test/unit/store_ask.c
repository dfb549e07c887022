/* ask(): the records it gathers lead to the same verdict as all records would, and its keys are all that
 * matter. */
#include "store_fixture.h"

#include <dlfcn.h>

#include "store/ask.h"

#define SHA_1 "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
#define SHA_2 "bd88a9156325322a124e55a369b59063470310eb"
#define SHA_3 "5394cb7000000000000000000000000000000000" /* begins like SHA_1 */

static struct question *question_of(const char *revision, const char *objects, const char *superseded)
{
    char err[QUESTION_ERROR];
    struct str values[] = {str_of(revision), str_of(objects), str_of(superseded)};
    struct question_param params[3] = {{.name = STR("revision"), .values = &values[0], .n_values = 1}};
    size_t n = 1;
    if (objects)
        params[n++] = (struct question_param){.name = STR("objects"), .values = &values[1], .n_values = 1};
    if (superseded)
        params[n++] =
            (struct question_param){.name = STR("onSuperseded"), .values = &values[2], .n_values = 1};
    struct question *q = question_new(params, n, NOW_MS, err);
    if (!q)
        HARNESS_FAIL("question_new: %s", err);
    return q;
}

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

static const struct verdict_now now = {.wall_ms = NOW_MS, .failures_from_ms = INT64_MIN};

static enum verdict_state state_of(struct fixture *f, const char *revision, const char *objects)
{
    struct question *q = question_of(revision, objects, NULL);
    struct verdict *v = ask(f->store, q, now, NULL);
    CHECK(v != NULL);
    enum verdict_state state = v->state;
    verdict_free(v);
    question_free(q);
    return state;
}

static struct said app(const char *name, const char *reason, const char *revision, int64_t timestamp_ms)
{
    return (struct said){.kind = "Kustomization",
                         .namespace = "flux-system",
                         .name = name,
                         .reason = reason,
                         .revision = revision,
                         .timestamp_ms = timestamp_ms};
}

static void test_stories(void)
{
    struct fixture *f = fixture_new();
    struct said said[] = {
        {.reason = "BuildFailed", .revision = "a", .timestamp_ms = -1},
        {.reason = "ReconciliationSucceeded", .revision = "b", .timestamp_ms = -1},
        app("apps", "ReconciliationSucceeded", "main@sha1:" SHA_1, NOW_MS - 9000),
        app("apps", "ReconciliationSucceeded", "main@sha1:" SHA_2, NOW_MS - 5000),
    };
    static const struct {
        const char *revision, *objects;
        enum verdict_state want;
    } rows[] = {
        {"a", NULL, VERDICT_FAILED},
        {"b", NULL, VERDICT_SUCCEEDED},
        {"c", NULL, VERDICT_WAITING},
        {SHA_1, NULL, VERDICT_SUCCEEDED},
        {"5394cb7", NULL, VERDICT_SUCCEEDED},
        {"main/" SHA_1, NULL, VERDICT_SUCCEEDED},
        {SHA_1, "Kustomization/flux-system/apps", VERDICT_SUCCEEDED},
        {SHA_1, "Kustomization/flux-system/other", VERDICT_WAITING},
        {"5394cb", NULL, VERDICT_WAITING},
    };

    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        (void)fixture_store(f, &said[i], NOW_MS);
    for (int reopened = 0; reopened < 2; reopened++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            harness_case("%s of %s%s", rows[i].revision, rows[i].objects ? rows[i].objects : "any",
                         reopened ? ", reopened" : "");
            CHECK_TEXT(verdict_state_text(state_of(f, rows[i].revision, rows[i].objects)),
                       verdict_state_text(rows[i].want));
        }
        fixture_reopen(f);
    }
    fixture_free(f);
}

/* Superseding needs what the object said last, and what its source said about either revision. */
static void test_superseded_by_source(void)
{
    struct fixture *f = fixture_new();
    struct said git = {
        .kind = "GitRepository", .namespace = "flux-system", .name = "repo", .reason = "NewArtifact"};
    struct said ks = app("apps", "ReconciliationSucceeded", "main@sha1:" SHA_2, NOW_MS - 4000);
    struct said fails = app("apps", "BuildFailed", "main@sha1:" SHA_1, NOW_MS - 9500);

    git.revision = "main@sha1:" SHA_1;
    git.timestamp_ms = NOW_MS - 20000;
    (void)fixture_store(f, &git, NOW_MS);
    (void)fixture_store(f, &ks, NOW_MS);
    CHECK_TEXT(verdict_state_text(state_of(f, SHA_1, "Kustomization/flux-system/apps")), "waiting");
    git.revision = "main@sha1:" SHA_2;
    git.timestamp_ms = NOW_MS - 10000;
    (void)fixture_store(f, &git, NOW_MS);
    CHECK_TEXT(verdict_state_text(state_of(f, SHA_1, "Kustomization/flux-system/apps")), "superseded");
    CHECK_TEXT(verdict_state_text(state_of(f, SHA_2, "Kustomization/flux-system/apps")), "succeeded");
    (void)fixture_store(f, &fails, NOW_MS);
    CHECK_TEXT(verdict_state_text(state_of(f, SHA_1, NULL)), "superseded");
    fixture_free(f);
}

static void test_ambiguous(void)
{
    struct fixture *f = fixture_new();
    struct said one = app("one", "ReconciliationSucceeded", "main@sha1:" SHA_1, NOW_MS - 9000);
    struct said two = app("two", "ReconciliationSucceeded", "main@sha1:" SHA_3, NOW_MS - 8000);

    (void)fixture_store(f, &one, NOW_MS);
    CHECK_TEXT(verdict_state_text(state_of(f, "5394cb7", NULL)), "succeeded");
    (void)fixture_store(f, &two, NOW_MS);
    CHECK_TEXT(verdict_state_text(state_of(f, "5394cb7", NULL)), "ambiguous");
    CHECK_TEXT(verdict_state_text(state_of(f, "5394cb7f", NULL)), "succeeded");
    fixture_free(f);
}

/* --- against all records, by chance --- */

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

static const char *const revisions[] = {"main@sha1:" SHA_1,
                                        "main@sha1:" SHA_2,
                                        "main@sha1:" SHA_3,
                                        "main/" SHA_1,
                                        "1.2.3",
                                        "1.2.3+5394cb7f4833",
                                        "a",
                                        ""};
static const char *const asked[] = {SHA_1, SHA_2, "5394cb7", "main@sha1:" SHA_3, "1.2.3", "a"};
static const char *const objects_asked[] = {NULL, NULL, "Kustomization/flux-system/k1",
                                            "Kustomization/flux-system/k1,HelmRelease/flux-system/h"};
static const char *const kinds[] = {"Kustomization", "Kustomization", "HelmRelease", "GitRepository", ""};
static const char *const object_names[] = {"k1", "k2", "h", "g", ""};
static const char *const ks_reasons[] = {"ReconciliationSucceeded", "BuildFailed", "Progressing"};
static const char *const hr_reasons[] = {"UpgradeSucceeded", "UpgradeFailed", "UpgradeSucceeded"};

struct copies {
    struct record records[128];
    size_t n;
};

static bool on_copy(void *arg, const struct record *r)
{
    struct copies *copies = arg;
    CHECK(copies->n < 128);
    copies->records[copies->n++] = *r; /* slices into the map, which nobody writes to meanwhile */
    return true;
}

static void say_something(struct fixture *f, uint64_t *random, bool clusters, int64_t *at_ms)
{
    size_t object = random_next(random) % 5;
    *at_ms += (int64_t)(random_next(random) % 3000);
    int64_t said_ms = *at_ms - (int64_t)(random_next(random) % 4 == 0 ? random_next(random) % 20000 : 0);
    struct said said = {
        .kind = kinds[object],
        .namespace = object == 4 ? "" : "flux-system",
        .name = object_names[object],
        .reason = (object == 2 ? hr_reasons : ks_reasons)[random_next(random) % 3],
        .revision = revisions[random_next(random) % 8],
        .cluster = clusters && random_next(random) % 3 == 0 ? "other" : NULL,
        .timestamp_ms = random_next(random) % 5 == 0 ? 0 : said_ms,
    };
    CHECK_INT(fixture_say(f, &said, *at_ms, 0), STORE_OK);
}

static void check_same(const struct verdict *got, const struct verdict *want)
{
    CHECK_TEXT(verdict_state_text(got->state), verdict_state_text(want->state));
    CHECK_STR(got->explanation, want->explanation);
    CHECK_INT(got->decided_ms, want->decided_ms);
    CHECK_INT(got->wake_at_ms, want->wake_at_ms);
    CHECK_INT(got->n_objects, want->n_objects);
    for (size_t i = 0; i < got->n_objects; i++) {
        CHECK_INT(got->objects[i].state, want->objects[i].state);
        CHECK_INT(got->objects[i].seq, want->objects[i].seq);
        CHECK_STR(got->objects[i].superseded_by, want->objects[i].superseded_by);
    }
}

static void check_against_all(struct fixture *f, uint64_t *random, int64_t at_ms)
{
    struct copies *copies = calloc(1, sizeof *copies);
    struct verdict_now when = {.wall_ms = at_ms, .failures_from_ms = INT64_MIN};
    const struct store_heard *heard = f->store->heard;
    struct verdict_facts facts = {
        .only_errors_of_kustomizations =
            heard[HEARD_KUSTOMIZATION].failure && !heard[HEARD_KUSTOMIZATION].success,
        .only_errors_of_helm_releases =
            heard[HEARD_HELM_RELEASE].failure && !heard[HEARD_HELM_RELEASE].success,
    };
    CHECK(copies != NULL);
    when.facts = &facts;
    if (random_next(random) % 3 == 0)
        when.failures_from_ms = at_ms - (int64_t)(random_next(random) % 40000);
    CHECK_INT(store_scan(f->store, 0, false, 128, on_copy, copies, NULL), 0);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct question *q = question_of(asked[i], objects_asked[random_next(random) % 4], NULL);
        struct verdict *got = ask(f->store, q, when, NULL);
        struct verdict *want = verdict_new(q, copies->records, copies->n, when);
        CHECK(got && want);
        check_same(got, want);
        verdict_free(got);
        verdict_free(want);
        question_free(q);
    }
    free(copies);
}

static void test_same_as_from_all_records(void)
{
    const char *rounds = getenv("ASK_ROUNDS");
    uint64_t n_rounds = rounds ? strtoull(rounds, NULL, 10) : 60;

    for (uint64_t seed = 1; seed <= n_rounds; seed++) {
        struct fixture *f = fixture_new();
        uint64_t random = seed * 0x9E3779B97F4A7C15;
        int64_t at_ms = NOW_MS;
        for (int i = 0; i < 100; i++) {
            harness_case("seed %llu, %d events", (unsigned long long)seed, i + 1);
            say_something(f, &random, seed % 3 == 0, &at_ms);
            if (i % 10 == 9) {
                fixture_settle(f);
                check_against_all(f, &random, at_ms);
            }
        }
        fixture_free(f);
    }
}

static void check_explained(struct fixture *f, const char *revision, const char *objects, const char *part,
                            bool has)
{
    struct question *q = question_of(revision, objects, NULL);
    struct verdict *v = ask(f->store, q, now, NULL);
    harness_case("%s: %s", revision, part);
    CHECK(v != NULL);
    CHECK_INT(v->state, VERDICT_WAITING);
    if (has)
        CHECK_HAS(v->explanation, str_of(part));
    else
        CHECK(!str_has(v->explanation, str_of(part)));
    harness_case("%s", "");
    verdict_free(v);
    question_free(q);
}

/* A text that stands only for itself and matches nothing: what it may have meant, also after a restart. */
static void test_hints(void)
{
    struct fixture *f = fixture_new();
    struct said first = app("apps", "ReconciliationSucceeded", "main@sha1:" SHA_2, NOW_MS - 9000);
    struct said second = app("apps", "ReconciliationSucceeded", "main@sha1:" SHA_1, NOW_MS - 8000);
    struct said other = app("infra", "ReconciliationSucceeded", "refs/tags/v1@sha1:" SHA_2, NOW_MS - 7000);

    fixture_store(f, &first, NOW_MS);
    for (int i = 0; i < 2; i++) {
        if (i == 1)
            fixture_reopen(f);
        check_explained(f, "main", NULL, "branch, tag or ref of main@sha1:", true);
        if (i == 0)
            fixture_store(f, &second, NOW_MS);
        check_explained(f, "main", NULL, "wait for " SHA_1, true);
        check_explained(f, "main", "Kustomization/flux-system/apps", "wait for " SHA_1, true);
        check_explained(f, "5394cb", NULL, "it begins main@sha1:" SHA_1 ": write 5394cb7 or more digits",
                        true);
        check_explained(f, "BD88A", NULL, "write bd88a91 or more digits", true);
        check_explained(f, "mai", NULL, "branch", false);
        check_explained(f, "5394cc", NULL, "begins", false);
        check_explained(f, "v1", NULL, "branch", i == 1);
        if (i == 0)
            fixture_store(f, &other, NOW_MS);
    }
    fixture_free(f);
}

/* More branches than are remembered: the latest are. */
static void test_hints_are_bounded(void)
{
    struct fixture *f = fixture_new();
    char revision[128];

    check_explained(f, "main", NULL, "branch", false);
    for (int i = 0; i < 3 * HINTS_MOST; i++) {
        (void)snprintf(revision, sizeof revision, "branch-%d@sha1:%040d", i, i);
        struct said said = app("apps", "ReconciliationSucceeded", revision, NOW_MS - 900000 + i * 1000);
        CHECK_INT(fixture_say(f, &said, NOW_MS, 0), STORE_OK);
        fixture_turn(f);
    }
    fixture_settle(f);
    (void)snprintf(revision, sizeof revision, "branch-%d", 3 * HINTS_MOST - 1);
    check_explained(f, revision, NULL, "branch, tag or ref", true);
    (void)snprintf(revision, sizeof revision, "branch-%d", 2 * HINTS_MOST);
    check_explained(f, revision, NULL, "branch, tag or ref", true);
    check_explained(f, "branch-0", NULL, "branch, tag or ref", false);
    fixture_free(f);
}

/* However long a branch is that somebody sends. */
static void test_hints_are_short(void)
{
    enum { LONG = 1 << 16 };
    struct fixture *f = fixture_new();
    char *branch = malloc(LONG);
    char *revision = malloc(LONG + 64);
    size_t bytes = 0;

    CHECK(branch && revision);
    check_explained(f, "main", NULL, "branch", false); /* from now on they are noted */
    for (int i = 0; i < 10; i++) {
        bool fits = i == 3;
        size_t len = fits ? QUESTION_MAX_REVISION : LONG - 1;
        memset(branch, 'a' + i, len);
        branch[len] = '\0';
        (void)snprintf(revision, LONG + 64, "%s@sha1:%040d", branch, i);
        struct said said = app("apps", "ReconciliationSucceeded", revision, NOW_MS - 9000 + i);
        fixture_store(f, &said, NOW_MS);
        if (fits)
            check_explained(f, branch, NULL, "branch, tag or ref", true);
    }
    for (size_t i = 0; i < f->store->hints.pointers.n; i++)
        bytes += strlen(f->store->hints.pointers.at[i].text);
    for (size_t i = 0; i < f->store->hints.hashes.n; i++)
        bytes += strlen(f->store->hints.hashes.at[i].text);
    CHECK(bytes > 0 && bytes < 10000);
    free(branch);
    free(revision);
    fixture_free(f);
}

/* notification-controller 1.8.0 to 1.8.3 lets no success of a Kustomization through. */
static void test_only_errors(void)
{
    static const char *const part = "of Kustomizations only errors were ever notified";
    struct fixture *f = fixture_new();
    struct said progress = app("apps", "Progressing", "main@sha1:" SHA_1, NOW_MS - 9000);
    struct said failure = app("infra", "BuildFailed", "main@sha1:" SHA_2, NOW_MS - 8000);
    struct said success = app("other", "ReconciliationSucceeded", "main@sha1:" SHA_2, NOW_MS - 7000);

    fixture_store(f, &progress, NOW_MS);
    check_explained(f, SHA_1, NULL, part, false);
    fixture_store(f, &failure, NOW_MS);
    check_explained(f, SHA_1, NULL, part, true);
    check_explained(f, "1111111", NULL, part, true);
    check_explained(f, SHA_1, NULL, "of HelmReleases", false);
    fixture_reopen(f);
    check_explained(f, SHA_1, NULL, part, true);
    fixture_store(f, &success, NOW_MS);
    check_explained(f, SHA_1, NULL, part, false);
    fixture_reopen(f);
    check_explained(f, SHA_1, NULL, part, false);
    fixture_free(f);
}

static bool only_apps(void *arg, struct str kind, struct str namespace, struct str name)
{
    (void)arg;
    return str_eq(kind, STR("Kustomization")) && str_eq(namespace, STR("flux-system")) &&
           str_eq(name, STR("apps"));
}

static void test_suspended(void)
{
    struct fixture *f = fixture_new();
    struct said progress = app("apps", "Progressing", "main@sha1:" SHA_1, NOW_MS - 9000);
    struct said far = app("apps", "Progressing", "main@sha1:" SHA_2, NOW_MS - 9000);

    far.cluster = "far";
    fixture_store(f, &progress, NOW_MS);
    fixture_store(f, &far, NOW_MS);
    check_explained(f, SHA_1, NULL, "suspended", false);
    store_set_suspended(f->store, only_apps, NULL);
    check_explained(f, SHA_1, NULL, ", and is suspended", true);
    check_explained(f, SHA_2, NULL, "suspended", false);
    check_explained(f, "1111111", "Kustomization/flux-system/apps",
                    "Kustomization/flux-system/apps (suspended)", true);
    check_explained(f, "1111111", "Kustomization/flux-system/other", "suspended", false);
    fixture_free(f);
}

/* What an answer costs does not grow with how long its objects have been known. */
static void test_a_long_history_is_not_read(void)
{
    enum { REVISIONS = 400, LATEST = REVISIONS - 1, MOST = 50 };
    struct fixture *f = fixture_new();
    char revision[REVISIONS][64];
    struct said git = {
        .kind = "GitRepository", .namespace = "flux-system", .name = "repo", .reason = "NewArtifact"};
    int64_t at_ms = NOW_MS;

    for (int i = 0; i < REVISIONS; i++, at_ms += 60000) {
        (void)snprintf(revision[i], sizeof revision[i], "main@sha1:%08x%032x", (unsigned)i * 2654435761U, i);
        struct said said[] = {git, app("drifts", "Progressing", revision[i], at_ms - 800),
                              app("apps", "ReconciliationSucceeded", revision[i], at_ms - 700),
                              app("steady", "ReconciliationSucceeded", revision[0], at_ms - 600),
                              app("steady", "Progressing", revision[i], at_ms - 500)};
        said[0].revision = revision[i];
        said[0].timestamp_ms = at_ms - 900;
        f->n_done = 0;
        for (size_t n = 0; n < sizeof said / sizeof said[0]; n++)
            if (i < LATEST || n < 2)
                CHECK_INT(fixture_say(f, &said[n], at_ms, 0), STORE_OK);
        if (i % 100 == 99)
            fixture_settle(f);
    }
    fixture_settle(f);
    const struct {
        const char *what, *revision, *objects;
        enum verdict_state want;
    } rows[] = {
        {"a source", revision[LATEST], NULL, VERDICT_WAITING},
        {"an object that never decides", revision[LATEST], "Kustomization/flux-system/drifts",
         VERDICT_WAITING},
        {"another revision came", revision[LATEST - 1], "Kustomization/flux-system/apps", VERDICT_SUCCEEDED},
        {"one decision, said again and again", revision[1], "Kustomization/flux-system/steady",
         VERDICT_WAITING},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].what);
        n_reads = 0;
        CHECK_TEXT(verdict_state_text(state_of(f, rows[i].revision, rows[i].objects)),
                   verdict_state_text(rows[i].want));
        if (n_reads > MOST)
            HARNESS_FAIL("%zu records were read, want at most %d", n_reads, MOST);
    }
    fixture_free(f);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Many objects report one revision: each key is there, and once. */
static void test_many_keys(void)
{
    enum { OBJECTS = 300 };
    struct fixture *f = fixture_new();
    struct question *q = question_of(SHA_1, NULL, NULL);
    struct ask_keys keys = {0};
    char name[32];

    for (int i = 0; i < OBJECTS; i++) {
        (void)snprintf(name, sizeof name, "app-%d", i);
        struct said said = app(name, "BuildFailed", "main@sha1:" SHA_1, NOW_MS - 9000);
        CHECK_INT(fixture_say(f, &said, NOW_MS, 0), STORE_OK);
        said = app(name, "ReconciliationSucceeded", "main@sha1:" SHA_2, NOW_MS - 8000);
        CHECK_INT(fixture_say(f, &said, NOW_MS, 0), STORE_OK);
    }
    fixture_settle(f);
    for (int again = 0; again < 2; again++) {
        struct verdict *v = ask(f->store, q, now, &keys);
        CHECK(v != NULL);
        CHECK_TEXT(verdict_state_text(v->state), "superseded");
        CHECK_INT(v->n_objects, OBJECTS);
        verdict_free(v);
        /* The asked revision's text and digits, the same of the one that came, and each object. */
        CHECK_INT(keys.n, OBJECTS + 4);
        qsort(keys.at, keys.n, sizeof keys.at[0], by_number);
        for (size_t i = 1; i < keys.n; i++)
            CHECK(keys.at[i - 1] < keys.at[i]);
    }
    ask_keys_free(&keys);
    question_free(q);
    fixture_free(f);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_stories),
                                       TEST(test_many_keys),
                                       TEST(test_a_long_history_is_not_read),
                                       TEST(test_hints),
                                       TEST(test_hints_are_bounded),
                                       TEST(test_hints_are_short),
                                       TEST(test_only_errors),
                                       TEST(test_suspended),
                                       TEST(test_superseded_by_source),
                                       TEST(test_ambiguous),
                                       TEST(test_same_as_from_all_records),
                                       {0}});
}
