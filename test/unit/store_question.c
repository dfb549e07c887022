/* Parameters: what they become, and the sentence for what is wrong with them. */
#include "harness.h"

#include "store/question.h"
#include "store/units.h"

#define ASKED INT64_C(1785578412000) /* 2026-08-01T10:00:12Z */

static struct question *ask(const char *const *pairs, char err[static QUESTION_ERROR])
{
    struct question_param params[16];
    struct str values[16];
    size_t n = 0;

    for (; pairs[2 * n]; n++) {
        values[n] = str_of(pairs[2 * n + 1]);
        params[n] =
            (struct question_param){.name = str_of(pairs[2 * n]), .values = &values[n], .n_values = 1};
    }
    return question_new(params, n, ASKED, err);
}
#define ASK(err, ...) ask((const char *const[]){__VA_ARGS__, NULL, NULL}, err)

static void test_defaults(void)
{
    char err[QUESTION_ERROR];
    struct question *q = ASK(err, "revision", " main@sha1:5394 \n");

    CHECK(q != NULL);
    CHECK_STR(q->revision, STR("main@sha1:5394"));
    CHECK_INT(q->n_objects, 0);
    CHECK_INT(q->expect, 1);
    CHECK_INT(q->fail_after_ms, 0);
    CHECK_INT(q->on_superseded, SUPERSEDED_FAIL);
    CHECK_INT(q->since_ms, INT64_MIN);
    CHECK(!q->has_cluster);
    CHECK_INT(q->timeout_ms, -1);
    question_free(q);
}

static void test_all(void)
{
    char err[QUESTION_ERROR];
    struct question *q =
        ASK(err, "objects",
            "Kustomization/flux-system/apps, HelmRelease/apps/pod.info,Kustomization/flux-system/apps",
            "failAfter", "5m", "onSuperseded", "succeed", "since", "1h", "cluster", "eu-1", "timeout",
            "1d12h", "revision", "r");

    CHECK(q != NULL);
    CHECK_INT(q->n_objects, 2);
    CHECK_STR(q->objects[0].kind, STR("Kustomization"));
    CHECK_STR(q->objects[0].namespace, STR("flux-system"));
    CHECK_STR(q->objects[0].name, STR("apps"));
    CHECK_STR(q->objects[1].name, STR("pod.info"));
    CHECK_INT(q->fail_after_ms, 300000);
    CHECK_INT(q->on_superseded, SUPERSEDED_SUCCEED);
    CHECK_INT(q->since_ms, ASKED - 3600000);
    CHECK(q->has_cluster);
    CHECK_STR(q->cluster, STR("eu-1"));
    CHECK_INT(q->timeout_ms, 129600000);
    question_free(q);
}

static void test_values(void)
{
    char err[QUESTION_ERROR];
    struct question *q = ASK(err, "revision", "r", "expect", "10000", "since", "2026-08-01T12:00:12+02:00",
                             "cluster", "", "timeout", "0", "onSuperseded", "wait", "failAfter", "0s");

    CHECK(q != NULL);
    CHECK_INT(q->expect, 10000);
    CHECK_INT(q->since_ms, ASKED);
    CHECK(q->has_cluster);
    CHECK_INT(q->cluster.len, 0);
    CHECK_INT(q->timeout_ms, 0);
    CHECK_INT(q->on_superseded, SUPERSEDED_WAIT);
    question_free(q);
}

static void test_problems(void)
{
    static const struct {
        const char *name, *value, *err;
    } rows[] = {
        {"revision", "", "revision: is empty: write the revision to wait for, such as a commit's SHA"},
        {"revision", " \t", "revision: is empty: write the revision to wait for, such as a commit's SHA"},
        {"revision", "$(params.sha)",
         "revision: \"$(params.sha)\" was not substituted: check the spelling of the parameter or result "
         "that it refers to"},
        {"failAfter", "5",
         "failAfter: \"5\" is not a duration: write it with a unit, such as 5s, 10m or 1h30m"},
        {"failAfter", "-5s",
         "failAfter: \"-5s\" is not a duration: write it with a unit, such as 5s, 10m or 1h30m"},
        {"failAfter", "",
         "failAfter: \"\" is not a duration: write it with a unit, such as 5s, 10m or 1h30m"},
        {"timeout", "soon",
         "timeout: \"soon\" is not a duration: write it with a unit, such as 5s, 10m or 1h30m"},
        {"timeout", "a\nb",
         "timeout: \"a b\" is not a duration: write it with a unit, such as 5s, 10m or 1h30m"},
        {"expect", "0", "expect: \"0\" is not a number of objects: write 1 to 10000"},
        {"expect", "10001", "expect: \"10001\" is not a number of objects: write 1 to 10000"},
        {"expect", "-1", "expect: \"-1\" is not a number of objects: write 1 to 10000"},
        {"expect", "two", "expect: \"two\" is not a number of objects: write 1 to 10000"},
        {"expect", "1.0", "expect: \"1.0\" is not a number of objects: write 1 to 10000"},
        {"onSuperseded", "ignore", "onSuperseded: \"ignore\" is not known: write fail, wait or succeed"},
        {"onSuperseded", "Fail", "onSuperseded: \"Fail\" is not known: write fail, wait or succeed"},
        {"since", "2030-01-01T00:00:00Z",
         "since: \"2030-01-01T00:00:00Z\" is in the future: write a time that has passed, or a duration such "
         "as 1h"},
        {"since", "yesterday",
         "since: \"yesterday\" is neither a time nor a duration: write it such as 2006-01-02T15:04:05Z, or "
         "1h for an hour "
         "before"},
        {"objects", "apps",
         "objects: \"apps\" is not of the form Kind/namespace/name, such as Kustomization/flux-system/apps"},
        {"objects", "a/b/c/d/e",
         "objects: \"a/b/c/d/e\" is not of the form Kind/namespace/name, such as "
         "Kustomization/flux-system/apps"},
        {"objects", "Kustomization/flux-system/*",
         "objects: \"Kustomization/flux-system/*\" is not of the form Kind/namespace/name, such as "
         "Kustomization/flux-system/apps"},
        {"objects", "A/b/c,",
         "objects: \"\" is not of the form Kind/namespace/name, such as Kustomization/flux-system/apps"},
        {"objects", "",
         "objects: \"\" is not of the form Kind/namespace/name, such as Kustomization/flux-system/apps"},
        {"objects", "A//c",
         "objects: \"A//c\" is not of the form Kind/namespace/name, such as Kustomization/flux-system/apps"},
        {"sha", "x",
         "sha: is no parameter: known are revision, objects, expect, failAfter, onSuperseded, since, "
         "cluster, timeout"},
        {"Revision", "x",
         "Revision: is no parameter: known are revision, objects, expect, failAfter, onSuperseded, since, "
         "cluster, timeout"},
        {"", "x",
         ": is no parameter: known are revision, objects, expect, failAfter, onSuperseded, since, cluster, "
         "timeout"},
    };
    char err[QUESTION_ERROR];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_revision = strcmp(rows[i].name, "revision") == 0;
        harness_case("%s=%s", rows[i].name, rows[i].value);
        struct question *q = is_revision ? ASK(err, rows[i].name, rows[i].value)
                                         : ASK(err, "revision", "r", rows[i].name, rows[i].value);
        CHECK(q == NULL);
        CHECK_TEXT(err, rows[i].err);
    }
}

static void test_combinations(void)
{
    char err[QUESTION_ERROR];

    CHECK(question_new(NULL, 0, ASKED, err) == NULL);
    CHECK_TEXT(err, "revision: is missing: write the revision to wait for, such as a commit's SHA");
    CHECK(ASK(err, "revision", "a", "revision", "b") == NULL);
    CHECK_TEXT(err, "revision: is given more than once");
    CHECK(ASK(err, "revision", "a", "objects", "A/b/c", "expect", "1") == NULL);
    CHECK_HAS(str_of(err), STR("expect: cannot be given beside objects"));
    CHECK(ASK(err, "x", "1", "failAfter", "5", "expect", "0") == NULL);
    CHECK_HAS(str_of(err),
              STR("x: is no parameter: known are revision, objects, expect, failAfter, onSuperseded, since, "
                  "cluster, timeout; failAfter: \"5\""));
    CHECK_HAS(str_of(err), STR("; expect: \"0\""));
    CHECK_HAS(str_of(err), STR("; revision: is missing"));
}

static void test_shapes(void)
{
    struct str two[] = {STR("A/b/c"), STR("D/e/f, G/h/i")};
    struct str one[] = {STR("r")};
    struct question_param revision = {.name = STR("revision"), .values = one, .n_values = 1};
    char err[QUESTION_ERROR];
    struct question *q = question_new(
        (struct question_param[]){revision,
                                  {.name = STR("objects"), .values = two, .n_values = 2, .is_array = true}},
        2, ASKED, err);

    CHECK(q != NULL);
    CHECK_INT(q->n_objects, 3);
    CHECK_STR(q->objects[2].kind, STR("G"));
    question_free(q);

    struct question_param empty[] = {revision, {.name = STR("objects"), .is_array = true}};
    CHECK(question_new(empty, 2, ASKED, err) == NULL);
    CHECK_HAS(str_of(err), STR("objects: is empty"));
    struct str nothing[] = {STR_NONE};
    struct question_param none[] = {revision, {.name = STR("objects"), .values = nothing, .n_values = 1}};
    CHECK(question_new(none, 2, ASKED, err) == NULL);
    CHECK_HAS(str_of(err), STR("objects: \"\" is not of the form"));
    struct question_param array = revision;
    array.is_array = true;
    CHECK(question_new(&array, 1, ASKED, err) == NULL);
    CHECK_TEXT(err, "revision: is an array: write one string");
    struct question_param object[] = {revision, {.name = STR("objects"), .not_string = true}};
    CHECK(question_new(object, 2, ASKED, err) == NULL);
    CHECK_TEXT(err, "objects: must be a string or an array of strings");
    struct question_param null[] = {revision, {.name = STR("since"), .not_string = true}};
    CHECK(question_new(null, 2, ASKED, err) == NULL);
    CHECK_TEXT(err, "since: must be a string");
}

static void test_limits(void)
{
    char long_text[QUESTION_MAX_REVISION + 2], objects[QUESTION_MAX_OBJECTS * 16 + 32], err[QUESTION_ERROR];
    size_t len = 0;

    memset(long_text, 'a', sizeof long_text);
    long_text[QUESTION_MAX_REVISION] = '\0';
    struct question *q = ASK(err, "revision", long_text);
    CHECK(q != NULL);
    CHECK_INT(q->revision.len, QUESTION_MAX_REVISION);
    question_free(q);
    long_text[QUESTION_MAX_REVISION] = 'a';
    long_text[QUESTION_MAX_REVISION + 1] = '\0';
    CHECK(ASK(err, "revision", long_text) == NULL);
    CHECK_HAS(str_of(err), STR("...\" is longer than 1024 bytes"));

    for (int i = 0; i < QUESTION_MAX_OBJECTS; i++)
        len += (size_t)snprintf(objects + len, sizeof objects - len, "%sK/ns/o%d", i ? "," : "", i);
    q = ASK(err, "revision", "r", "objects", objects);
    CHECK(q != NULL);
    CHECK_INT(q->n_objects, QUESTION_MAX_OBJECTS);
    question_free(q);
    (void)snprintf(objects + len, sizeof objects - len, ",K/ns/more");
    CHECK(ASK(err, "revision", "r", "objects", objects) == NULL);
    CHECK_TEXT(err, "objects: \"K/ns/more\" is one too many: at most 64 objects");

    /* Problems without end stay one bounded sentence. */
    struct question_param many[500];
    for (int i = 0; i < 500; i++)
        many[i] = (struct question_param){.name = STR("\x01\xff nonsense")};
    CHECK(question_new(many, 500, ASKED, err) == NULL);
    CHECK(strlen(err) < QUESTION_ERROR && strlen(err) > QUESTION_ERROR / 2);
    CHECK_HAS(str_of(err), STR(" ? nonsense: is no parameter"));
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_defaults),
                                       TEST(test_all),
                                       TEST(test_values),
                                       TEST(test_problems),
                                       TEST(test_combinations),
                                       TEST(test_shapes),
                                       TEST(test_limits),
                                       {0}});
}
