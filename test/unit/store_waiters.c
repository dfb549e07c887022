/* Waiters: asked again exactly when a record carries a key that their last answer read; dropping is always
 * safe. */
#include "lmdb_fails.h"
#include "store_fixture.h"

#include <malloc.h>

#include "store/waiters.h"

#define SHA_1 "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
#define SHA_2 "bd88a9156325322a124e55a369b59063470310eb"

static struct question *question_of(const char *revision, const char *objects)
{
    char err[QUESTION_ERROR];
    struct str values[] = {str_of(revision), str_of(objects)};
    struct question_param params[] = {{.name = STR("revision"), .values = &values[0], .n_values = 1},
                                      {.name = STR("objects"), .values = &values[1], .n_values = 1}};
    struct question *q = question_new(params, objects ? 2 : 1, NOW_MS, err);
    if (!q)
        HARNESS_FAIL("question_new: %s", err);
    return q;
}

struct asker {
    struct waiters *waiters;
    struct waiter *waiter;
    struct asker *drops[3]; /* dropped by the callback */
    bool pokes_itself;
    const char *adds; /* a question added by the callback */
    struct asker *added;
    size_t answers;
    enum verdict_state state;
    char explanation[VERDICT_EXPLANATION];
};

static void on_answer(void *arg, const struct verdict *v)
{
    struct asker *a = arg;
    a->answers++;
    a->state = v->state;
    (void)snprintf(a->explanation, sizeof a->explanation, "%.*s", STR_ARG(v->explanation));
    if (a->pokes_itself)
        waiter_poke(a->waiter);
    if (a->adds) {
        a->added->waiter = waiter_add(a->waiters, question_of(a->adds, NULL), on_answer, a->added);
        a->adds = NULL;
    }
    for (size_t i = 0; i < 3; i++) {
        struct asker *other = a->drops[i];
        if (other && other->waiter) {
            waiter_drop(other->waiter);
            other->waiter = NULL;
        }
    }
}

static void asker_add(struct asker *a, struct waiters *ws, const char *revision, const char *objects)
{
    a->waiters = ws;
    a->waiter = waiter_add(ws, question_of(revision, objects), on_answer, a);
    CHECK(a->waiter != NULL);
}

static void asker_drop(struct asker *a)
{
    if (a->waiter)
        waiter_drop(a->waiter);
    a->waiter = NULL;
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

static void test_asked_only_when_concerned(void)
{
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    struct asker any = {0};
    struct asker named = {0};
    struct said said = app("apps", "Progressing", "main@sha1:" SHA_1, NOW_MS - 9000);

    CHECK(ws != NULL);
    asker_add(&any, ws, SHA_1, NULL);
    asker_add(&named, ws, SHA_2, "Kustomization/flux-system/named");
    CHECK_INT(any.answers, 0);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(any.answers, 1);
    CHECK_INT(named.answers, 1);
    CHECK_INT(any.state, VERDICT_WAITING);

    harness_case("nobody is concerned");
    (void)fixture_store(f, &(struct said){.reason = "r", .revision = "other"}, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(any.answers + named.answers, 2);

    harness_case("by revision");
    (void)fixture_store(f, &said, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(any.answers, 2);
    CHECK_INT(named.answers, 1);

    harness_case("by an object that reported it");
    said.revision = "main@sha1:0000000000000000000000000000000000000000";
    said.reason = "BuildFailed";
    (void)fixture_store(f, &said, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(any.answers, 3);
    CHECK_INT(named.answers, 1);

    harness_case("by an object that was named");
    said.name = "named";
    (void)fixture_store(f, &said, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(any.answers, 3);
    CHECK_INT(named.answers, 2);

    harness_case("by the success of another revision on the named object: its source matters now");
    said = app("named", "ReconciliationSucceeded", "main@sha1:" SHA_1, NOW_MS - 2000);
    (void)fixture_store(f, &said, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(named.answers, 3);
    struct said git = {
        .kind = "GitRepository", .namespace = "x", .name = "y", .revision = "main@sha1:" SHA_1};
    (void)fixture_store(f, &git, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(named.answers, 4);

    asker_drop(&any);
    asker_drop(&named);
    waiters_free(ws);
    fixture_free(f);
}

static void test_repeats_do_not_ask(void)
{
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    struct asker a = {0};
    struct said said = app("apps", "ReconciliationSucceeded", "main@sha1:" SHA_1, NOW_MS - 9000);

    asker_add(&a, ws, SHA_1, NULL);
    (void)fixture_store(f, &said, NOW_MS);
    (void)waiters_run(ws, NOW_MS, 10);
    CHECK_INT(a.state, VERDICT_SUCCEEDED);
    (void)fixture_store(f, &said, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(a.answers, 1);
    asker_drop(&a);
    waiters_free(ws);
    fixture_free(f);
}

static void test_fairness_and_poke(void)
{
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    struct asker a[5] = {0};

    for (size_t i = 0; i < 5; i++)
        asker_add(&a[i], ws, "x", NULL);
    CHECK_INT(waiters_count(ws), 5);
    CHECK(waiters_run(ws, NOW_MS, 2));
    CHECK_INT(a[0].answers + a[1].answers, 2);
    CHECK_INT(a[2].answers, 0);
    CHECK(!waiters_run(ws, NOW_MS, 100));
    for (size_t i = 0; i < 5; i++)
        CHECK_INT(a[i].answers, 1);
    waiter_poke(a[3].waiter);
    waiter_poke(a[3].waiter);
    CHECK(!waiters_run(ws, NOW_MS, 100));
    CHECK_INT(a[3].answers, 2);
    a[3].pokes_itself = true; /* once a run, not for ever */
    waiter_poke(a[3].waiter);
    CHECK(waiters_run(ws, NOW_MS, 100));
    CHECK_INT(a[3].answers, 3);
    a[3].pokes_itself = false;
    CHECK(!waiters_run(ws, NOW_MS, 100));
    for (size_t i = 0; i < 5; i++)
        asker_drop(&a[i]);
    CHECK_INT(waiters_count(ws), 0);
    waiters_free(ws);
    fixture_free(f);
}

static void test_new_attempt(void)
{
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    struct asker a = {0};
    struct said said = app("apps", "BuildFailed", "main@sha1:" SHA_1, NOW_MS - 9000);

    asker_add(&a, ws, SHA_1, NULL);
    (void)fixture_store(f, &said, NOW_MS);
    (void)waiters_run(ws, NOW_MS, 10);
    CHECK_INT(a.state, VERDICT_FAILED);
    waiter_new_attempt(a.waiter, NOW_MS + 1);
    (void)waiters_run(ws, NOW_MS, 10);
    CHECK_INT(a.answers, 2);
    CHECK_INT(a.state, VERDICT_WAITING);
    said.message = "again";
    (void)fixture_store(f, &said, NOW_MS + 1);
    (void)waiters_run(ws, NOW_MS, 10);
    CHECK_INT(a.state, VERDICT_FAILED);
    asker_drop(&a);
    waiters_free(ws);
    fixture_free(f);
}

/* Each callback drops itself, one that was asked and one that is still to be asked, and adds one. */
static void test_drop_inside_a_callback(void)
{
    for (size_t who = 0; who < 5; who++) {
        harness_case("waiter %zu", who);
        struct fixture *f = fixture_new();
        struct waiters *ws = waiters_new(f->store);
        struct asker a[5] = {0};
        struct asker added = {0};
        for (size_t i = 0; i < 5; i++)
            asker_add(&a[i], ws, SHA_1, NULL);
        (void)waiters_run(ws, NOW_MS, 10);
        a[who].drops[0] = &a[who];
        a[who].drops[1] = &a[(who + 1) % 5];
        a[who].drops[2] = &a[(who + 4) % 5];
        a[who].adds = SHA_2;
        a[who].added = &added;
        a[who].pokes_itself = true; /* a mark on one that is then dropped */
        struct said said = app("apps", "ReconciliationSucceeded", "main@sha1:" SHA_1, NOW_MS - 9000);
        (void)fixture_store(f, &said, NOW_MS);
        while (waiters_run(ws, NOW_MS, 10))
            ;
        CHECK_INT(waiters_count(ws), 3);
        CHECK_INT(added.answers, 1);
        CHECK(!a[who].waiter && !a[(who + 1) % 5].waiter);
        CHECK_INT(a[(who + 2) % 5].answers, 2);
        said.revision = "main@sha1:" SHA_2;
        (void)fixture_store(f, &said, NOW_MS);
        (void)waiters_run(ws, NOW_MS, 10);
        CHECK_INT(added.state, VERDICT_SUCCEEDED);
        for (size_t i = 0; i < 5; i++)
            asker_drop(&a[i]);
        asker_drop(&added);
        waiters_free(ws);
        fixture_free(f);
    }
}

/* Whichever of its reads fails: no answer rather than one from half of the records, and it is asked again. */
static void test_the_store_cannot_be_read(void)
{
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    struct asker a = {0};
    struct asker other = {0};
    struct said failed = app("apps", "BuildFailed", "main@sha1:" SHA_1, NOW_MS - 9000);
    struct said succeeded = app("infra", "ReconciliationSucceeded", "main@sha1:" SHA_1, NOW_MS - 9000);
    int fails = 0;

    (void)fixture_store(f, &failed, NOW_MS);
    (void)fixture_store(f, &succeeded, NOW_MS);
    asker_add(&a, ws, SHA_1, NULL);
    asker_add(&other, ws, "unheard", NULL);
    lmdb_fails_once = true;
    for (;; fails++) {
        harness_case("read %d", fails);
        lmdb_fails = LMDB_GET;
        lmdb_fails_after = fails;
        if (waiters_run(ws, NOW_MS, 10) != WAITERS_LATER)
            break;
        CHECK_INT(a.answers, 0);
        CHECK_INT(other.answers, 1);
        CHECK_TEXT(f->last_error, "the store cannot be read");
    }
    lmdb_fails = LMDB_NONE;
    CHECK(fails >= 4); /* each record is looked at, and then read */
    CHECK_INT(a.answers, 1);
    CHECK_INT(a.state, VERDICT_FAILED);
    asker_drop(&a);
    asker_drop(&other);
    waiters_free(ws);
    fixture_free(f);
}

/* waiters end before the store, whose close still completes what is queued. */
static void test_free_before_close(void)
{
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    CHECK_INT(fixture_say(f, &(struct said){.reason = "r"}, NOW_MS, 0), STORE_OK);
    waiters_free(ws);
    fixture_free(f);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

/* Without what comes from facts (struct verdict_facts), which wake nobody. */
static struct str of_records(struct str explanation)
{
    const struct str begins = STR("; of Kustomizations only errors");
    const char *found =
        explanation.len ? memmem(explanation.at, explanation.len, begins.at, begins.len) : NULL;

    return found ? str_upto(explanation, (size_t)(found - explanation.at)) : explanation;
}

/* A new revision of a repository tells those who wait for an older one, too: it ends what their answer says of it. */
static void test_a_source_goes_on(void)
{
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    struct asker asker = {0};
    struct said said = {.kind = "GitRepository",
                        .namespace = "flux-system",
                        .name = "fleet",
                        .reason = "NewArtifact",
                        .revision = "main@sha1:" SHA_1,
                        .timestamp_ms = NOW_MS - 9000};
    const struct str trouble = STR("; since then GitRepository/flux-system/fleet said GitOperationFailed");

    (void)fixture_store(f, &said, NOW_MS);
    asker_add(&asker, ws, SHA_1, NULL);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    said.reason = "GitOperationFailed";
    said.revision = NULL;
    said.timestamp_ms += 1000;
    (void)fixture_store(f, &said, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_HAS(str_of(asker.explanation), trouble);
    said.reason = "NewArtifact";
    said.revision = "main@sha1:" SHA_2;
    said.timestamp_ms += 1000;
    (void)fixture_store(f, &said, NOW_MS);
    CHECK(!waiters_run(ws, NOW_MS, 10));
    CHECK_INT(asker.answers, 3);
    CHECK(strstr(asker.explanation, "GitOperationFailed") == NULL);
    asker_drop(&asker);
    waiters_free(ws);
    fixture_free(f);
}

/* However events come, a waiter that is not asked again would have got the answer it has. */
static void test_no_wake_up_is_missed(void)
{
    static const char *const revisions[] = {
        "main@sha1:" SHA_1, "main@sha1:" SHA_2, "main/" SHA_1, "1.2.3", "a", ""};
    static const char *const reasons[] = {"ReconciliationSucceeded", "BuildFailed", "Progressing"};
    static const char *const kinds[] = {"Kustomization", "Kustomization", "GitRepository", "HelmRelease",
                                        "Kustomization"};
    static const char *const names[] = {"k1", "k2", "g", "h", "z"};
    static const char *const objects[] = {NULL, "Kustomization/flux-system/k2", "HelmRelease/flux-system/h"};
    static const char *const asked[] = {SHA_1, "5394cb7", SHA_2, "a", "1.2.3"};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *f = fixture_new();
        struct waiters *ws = waiters_new(f->store);
        struct asker a[15] = {0};
        uint64_t random = seed * 0x9E3779B97F4A7C15;
        size_t rested = 0;
        for (size_t i = 0; i < 15; i++)
            asker_add(&a[i], ws, asked[i % 5], objects[i / 5]);
        for (int i = 0; i < 80; i++) {
            size_t answers[15];
            for (size_t j = 0; j < 15; j++)
                answers[j] = a[j].answers;
            size_t object = random_next(&random) % 5;
            struct said said = {.kind = kinds[object],
                                .namespace = "flux-system",
                                .name = names[object],
                                .reason = reasons[random_next(&random) % 3],
                                .revision = object == 4 ? "unrelated" : revisions[random_next(&random) % 6],
                                .timestamp_ms = NOW_MS + i * 1000 - (int64_t)(random_next(&random) % 9000)};
            (void)fixture_store(f, &said, NOW_MS + i * 1000);
            CHECK(!waiters_run(ws, NOW_MS, 100));
            for (size_t j = 0; j < 15; j++) {
                harness_case("seed %llu, event %d, waiter %zu", (unsigned long long)seed, i, j);
                rested += a[j].answers == answers[j];
                struct verdict *v =
                    ask(f->store, waiter_question(a[j].waiter),
                        (struct verdict_now){.wall_ms = NOW_MS, .failures_from_ms = INT64_MIN}, NULL);
                CHECK(v != NULL);
                bool same = v->state == a[j].state &&
                            str_eq(of_records(v->explanation), of_records(str_of(a[j].explanation)));
                if (!same)
                    printf("# has \"%s\"\n# now \"%.*s\"\n", a[j].explanation, STR_ARG(v->explanation));
                verdict_free(v);
                CHECK(same);
            }
        }
        CHECK(rested > 100); /* or the test shows nothing */
        for (size_t j = 0; j < 15; j++)
            asker_drop(&a[j]);
        waiters_free(ws);
        fixture_free(f);
    }
}

static void test_memory(void)
{
    enum { MANY = 2000 };
    struct fixture *f = fixture_new();
    struct waiters *ws = waiters_new(f->store);
    static struct asker a[MANY];
    struct said said = app("apps", "Progressing", "main@sha1:" SHA_1, NOW_MS - 9000);
    struct mallinfo2 before;

    (void)fixture_store(f, &said, NOW_MS);
    before = mallinfo2();
    for (size_t i = 0; i < MANY; i++)
        asker_add(&a[i], ws, SHA_1, "Kustomization/flux-system/apps");
    CHECK(!waiters_run(ws, NOW_MS, MANY));
    size_t bytes = (mallinfo2().uordblks - before.uordblks) / MANY;
    if (bytes) /* a sanitizer's allocator counts nothing */
        printf("# %zu bytes for a waiter\n", bytes);
    CHECK(bytes < 1024);
    for (size_t i = 0; i < MANY; i++)
        asker_drop(&a[i]);
    waiters_free(ws);
    fixture_free(f);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_asked_only_when_concerned),
                                       TEST(test_repeats_do_not_ask),
                                       TEST(test_fairness_and_poke),
                                       TEST(test_new_attempt),
                                       TEST(test_drop_inside_a_callback),
                                       TEST(test_the_store_cannot_be_read),
                                       TEST(test_free_before_close),
                                       TEST(test_a_source_goes_on),
                                       TEST(test_no_wake_up_is_missed),
                                       TEST(test_memory),
                                       {0}});
}
