/* The words of a Run's condition: the first version's sentence, then revision, object and time, of every ending. */
#include "controller/say_priv.h"
#include "harness.h"
#include "store/units.h"

#define T0 INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */

static const struct verdict_object web = {.kind = STR("Kustomization"),
                                          .namespace = STR("apps"),
                                          .name = STR("web"),
                                          .reason = STR("BuildFailed"),
                                          .message = STR("no\nfile"),
                                          .effective_ms = T0,
                                          .superseded_by = STR("main@sha1:b"),
                                          .superseded_ms = T0 + 60000};
static const struct verdict_object elsewhere = {.cluster = STR("prod"),
                                                .kind = STR("HelmRelease"),
                                                .namespace = STR("apps"),
                                                .name = STR("web"),
                                                .reason = STR("UpgradeFailed"),
                                                .effective_ms = T0};
static const struct verdict_object anonymous = {.reason = STR("BuildFailed"), .effective_ms = T0};

static void test_messages(void)
{
    static const struct {
        enum action_kind kind;
        const struct verdict_object *o; /* NULL: without a verdict */
        const char *want;
    } rows[] = {
        {ACTION_SUCCEED, &web,
         "The revision has been reconciled. Revision abc: Kustomization/apps/web at 2026-01-01T00:00:00Z."
         " Replaced by main@sha1:b at 2026-01-01T00:01:00Z."},
        {ACTION_SUCCEED, &elsewhere,
         "The revision has been reconciled. Revision abc: HelmRelease/apps/web of cluster prod at "
         "2026-01-01T00:00:00Z."},
        {ACTION_SUCCEED, &anonymous,
         "The revision has been reconciled. Revision abc: an event without an object at "
         "2026-01-01T00:00:00Z."},
        {ACTION_SUCCEED, NULL, "The revision has been reconciled. Revision abc."},
        {ACTION_FAIL, &web,
         "The revision failed to reconcile. Reason: 'BuildFailed'. Message: 'no file'. Revision abc: "
         "Kustomization/apps/web at 2026-01-01T00:00:00Z."},
        {ACTION_FAIL, &anonymous,
         "The revision failed to reconcile. Reason: 'BuildFailed'. Message: ''. Revision abc: an event "
         "without an "
         "object at 2026-01-01T00:00:00Z."},
        {ACTION_FAIL, NULL, "The revision failed to reconcile. Revision abc."},
        {ACTION_RETRY_FAILED, &elsewhere,
         "Attempt 2 of 4 failed, waiting again. The revision failed to reconcile. Reason: 'UpgradeFailed'. "
         "Message: ''."
         " Revision abc: HelmRelease/apps/web of cluster prod at 2026-01-01T00:00:00Z."},
        {ACTION_SUPERSEDE, &web,
         "The revision was superseded before it was reconciled. Revision abc: Kustomization/apps/web "
         "reconciled "
         "main@sha1:b instead, at 2026-01-01T00:01:00Z."},
        {ACTION_SUPERSEDE, NULL, "The revision was superseded before it was reconciled. Revision abc."},
        {ACTION_AMBIGUOUS, &web, "The revision is ambiguous: so it is explained"},
        {ACTION_EXPIRE, &web, "The revision was not reconciled within 1h. Revision abc: so it is explained"},
        {ACTION_EXPIRE, NULL, "The revision was not reconciled within 1h. Revision abc"},
        {ACTION_RETRY_EXPIRED, &web,
         "Attempt 2 of 4 failed, waiting again. The revision was not reconciled within 1h. Revision abc: so "
         "it is "
         "explained"},
        {ACTION_CANCEL, NULL, "Run cancelled while waiting for revision abc."},
        {ACTION_REJECT, NULL, ""},
        {ACTION_START, &web, "Attempt 2 of 4: so it is explained"},
        {ACTION_EXPLAIN, &web, "Attempt 2 of 4: so it is explained"},
    };
    const struct run r = {
        .kind = KIND_RUN, .revision = STR("abc"), .retries = 3, .retries_done = 1, .timeout_ms = 3600000};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct action a = {.kind = rows[i].kind};
        const struct verdict v = {.decider = rows[i].o, .explanation = STR("so it is\nexplained")};
        char message[SAY_MESSAGE];
        struct text t;
        text_init(&t, message, sizeof message);
        harness_case("row %zu", i);
        say_message(&r, &a, rows[i].o ? &v : NULL, &t);
        CHECK_TEXT(message, rows[i].want);
    }
}

/* A following task reads the results: those of the deciding record where one decided, of the Run where none did. */
static void test_results(void)
{
    static const struct {
        enum action_kind kind;
        const struct verdict_object *o;
        const char *verdict, *revision, *object, *reason, *timestamp, *event_id;
    } rows[] = {
        {ACTION_SUCCEED, &web, "succeeded", "full", "Kustomization/apps/web", "BuildFailed",
         "2026-01-01T00:00:00Z", "7"},
        {ACTION_SUPERSEDE, &web, "superseded", "abc", "Kustomization/apps/web", "BuildFailed",
         "2026-01-01T00:00:00Z", "7"},
        {ACTION_FAIL, &anonymous, "failed", "full", "", "BuildFailed", "2026-01-01T00:00:00Z", "7"},
        {ACTION_AMBIGUOUS, &web, "failed", "abc", "", "AmbiguousRevision", "2026-01-01T00:02:00Z", ""},
        {ACTION_EXPIRE, &web, "timedout", "abc", "", "CustomRunTimedOut", "2026-01-01T00:02:00Z", ""},
        {ACTION_CANCEL, NULL, "cancelled", "abc", "", "CustomRunCancelled", "2026-01-01T00:02:00Z", ""},
        {ACTION_SUCCEED, NULL, "succeeded", "abc", "", "ReconciliationSucceeded", "2026-01-01T00:02:00Z", ""},
    };
    const struct run r = {.kind = KIND_CUSTOMRUN, .revision = STR("abc"), .timeout_ms = 1000};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct action a = {.kind = rows[i].kind, .completion_ms = T0 + 120000};
        struct verdict_object o = rows[i].o ? *rows[i].o : anonymous;
        const struct verdict v = {.decider = &o};
        struct results results;
        o.seq = 7;
        o.revision = STR("full");
        harness_case("row %zu", i);
        say_results(&r, &a, rows[i].o ? &v : NULL, 1024, &results);
        CHECK_TEXT(results.verdict, rows[i].verdict);
        CHECK_TEXT(results.revision, rows[i].revision);
        CHECK_TEXT(results.object, rows[i].object);
        CHECK_TEXT(results.reason, rows[i].reason);
        CHECK_TEXT(results.timestamp, rows[i].timestamp);
        CHECK_TEXT(results.eventId, rows[i].event_id);
    }
    harness_case("a record without a revision, and without a number");
    const struct action a = {.kind = ACTION_SUCCEED};
    const struct verdict v = {.decider = &anonymous};
    struct results results;
    say_results(&r, &a, &v, 1024, &results);
    CHECK_TEXT(results.revision, "abc");
    CHECK_TEXT(results.eventId, "");
}

/* What an object says makes a new explanation due; when and how often it said so does not. */
static void test_digest(void)
{
    struct verdict_object o = elsewhere;
    const struct verdict v = {.objects = &o, .n_objects = 1}, none = {0};
    uint64_t first = say_digest(&v);

    CHECK(first != 0 && say_digest(&none) != 0 && say_digest(&none) != first);
    o.effective_ms += 60000;
    o.received_ms += 60000;
    o.seq++;
    CHECK(say_digest(&v) == first);
#define CHANGES(field, value)           \
    do {                                \
        o = elsewhere;                  \
        o.field = (value);              \
        harness_case("%s", #field);     \
        CHECK(say_digest(&v) != first); \
    } while (0)
    CHANGES(cluster, STR("test"));
    CHANGES(kind, STR("Kustomization"));
    CHANGES(namespace, STR("web"));
    CHANGES(name, STR("apps"));
    CHANGES(reason, STR("TestFailed"));
    CHANGES(message, STR("x"));
    CHANGES(revision, STR("x"));
    CHANGES(superseded_by, STR("x"));
    CHANGES(suspended, true);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_messages), TEST(test_results), TEST(test_digest), {0}});
}
