/* The Run codec: objects of every shape in, merge patches and Kubernetes Events out. */
#include <jansson.h>

#include "controller/run_body_priv.h"
#include "controller_texts.h"
#include "harness.h"
#include "store/question.h"
#include "store/units.h"

#define T0     INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define MINUTE INT64_C(60000)

#define METADATA                                                                                      \
    "\"metadata\":{\"name\":\"wait\",\"namespace\":\"ci\",\"uid\":\"u-1\",\"resourceVersion\":\"7\"," \
    "\"generation\":3,\"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"annotations\":{\"big\":\"x\"}}"
#define REF    "{\"apiVersion\":\"flux-event-store.dev/v1\",\"kind\":\"FluxDeploymentWait\"}"
#define PARAMS "\"params\":[{\"name\":\"revision\",\"value\":\"abc\"}]"

static struct run_refs refs;
static const struct run_parse_options options = {&refs, 60 * MINUTE};
static struct run run;
static char *object_text;

static void drop(void)
{
    run_release(&run);
    free(object_text);
    object_text = NULL;
}

static enum run_parsed parse(enum run_kind kind, const char *json)
{
    drop();
    return run_parse(kind, str_of(json), &options, &run);
}

/* An object with this spec and status. */
__attribute__((format(printf, 2, 3))) static enum run_parsed parse_spec(enum run_kind kind, const char *spec,
                                                                        ...)
{
    char *inner = NULL;
    enum run_parsed parsed;
    va_list args;

    va_start(args, spec);
    if (vasprintf(&inner, spec, args) < 0)
        abort();
    va_end(args);
    drop();
    if (asprintf(&object_text, "{" METADATA ",\"spec\":{%s}}", inner) < 0)
        abort();
    free(inner);
    parsed = run_parse(kind, str_of(object_text), &options, &run);
    return parsed;
}

static enum run_parsed parse_status(enum run_kind kind, const char *spec, const char *status)
{
    drop();
    if (asprintf(&object_text, "{" METADATA ",\"spec\":{\"%s\":" REF "," PARAMS "%s},\"status\":%s}",
                 kind == KIND_RUN ? "ref" : "customRef", spec, status) < 0)
        abort();
    return run_parse(kind, str_of(object_text), &options, &run);
}

/* ---- whose it is ---- */

static void item_1_2_7_selection(void)
{
    static const struct {
        const char *name, *spec;
        enum run_parsed want;
        bool first;
    } table[] = {
        {"v1", "\"customRef\":" REF, RUN_OURS, false},
        {"first version",
         "\"customRef\":{\"apiVersion\":\"github.com/janakerman/flux-event-store/v0\","
         "\"kind\":\"FluxDeploymentWait\"}",
         RUN_OURS, true},
        {"--ref", "\"customRef\":{\"apiVersion\":\"a.b/c/v2\",\"kind\":\"Wait\"}", RUN_OURS, false},
        {"another kind", "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/v1\",\"kind\":\"Other\"}",
         RUN_FOREIGN, 0},
        {"another version",
         "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/v2\",\"kind\":\"FluxDeploymentWait\"}",
         RUN_FOREIGN, 0},
        {"case of the kind",
         "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/v1\",\"kind\":\"fluxdeploymentwait\"}",
         RUN_FOREIGN, 0},
        {"trailing space",
         "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/v1 \",\"kind\":\"FluxDeploymentWait\"}",
         RUN_FOREIGN, 0},
        {"item_2 neither", "\"serviceAccountName\":\"\"", RUN_FOREIGN, 0},
        {"ref null", "\"customRef\":null", RUN_FOREIGN, 0},
        {"ref a string", "\"customRef\":\"flux-event-store.dev/v1\"", RUN_FOREIGN, 0},
        {"ref an array", "\"customRef\":[" REF "]", RUN_FOREIGN, 0},
        {"members of other types", "\"customRef\":{\"apiVersion\":1,\"kind\":[]}", RUN_FOREIGN, 0},
        {"a Run's ref in a CustomRun", "\"ref\":" REF, RUN_FOREIGN, 0},
        {"foreign ref with an embedded spec of ours",
         "\"customRef\":{\"apiVersion\":\"x/v1\",\"kind\":\"Y\"},\"customSpec\":" REF, RUN_FOREIGN, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", table[i].name);
        CHECK_INT(parse_spec(KIND_CUSTOMRUN, "%s", table[i].spec), table[i].want);
        CHECK_STR(run.name, STR("wait"));
        CHECK_INT(run.first_version, table[i].first);
    }
    harness_case("Run");
    CHECK_INT(parse_spec(KIND_RUN, "\"ref\":" REF "," PARAMS), RUN_OURS);
    CHECK_INT(run.fault, FAULT_NONE);
    drop();
}

static void refs_are_split_at_the_last_slash(void)
{
    struct run_refs none = {0};
    static const char *const bad[] = {"", "x", "/Kind", "a/", "/"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(!run_refs_add(&none, bad[i]));
    CHECK_INT(none.n, 0);
}

/* ---- identity ---- */

static void item_51_malformed(void)
{
    static const struct {
        const char *name, *json;
    } table[] = {
        {"empty", ""},
        {"not JSON", "{"},
        {"null", "null"},
        {"array", "[]"},
        {"string", "\"x\""},
        {"no metadata", "{\"spec\":{}}"},
        {"metadata null", "{\"metadata\":null}"},
        {"no uid", "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"resourceVersion\":\"1\"}}"},
        {"no resourceVersion", "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"1\"}}"},
        {"no name", "{\"metadata\":{\"namespace\":\"b\",\"uid\":\"1\",\"resourceVersion\":\"1\"}}"},
        {"no namespace", "{\"metadata\":{\"name\":\"b\",\"uid\":\"1\",\"resourceVersion\":\"1\"}}"},
        {"uid a number",
         "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":1,\"resourceVersion\":\"1\"}}"},
        {"name with a slash",
         "{\"metadata\":{\"name\":\"a/../b\",\"namespace\":\"b\",\"uid\":\"1\",\"resourceVersion\":\"1\"}}"},
        {"name with a question mark",
         "{\"metadata\":{\"name\":\"a?b\",\"namespace\":\"b\",\"uid\":\"1\",\"resourceVersion\":\"1\"}}"},
        {"namespace of dots",
         "{\"metadata\":{\"name\":\"a\",\"namespace\":\"..\",\"uid\":\"1\",\"resourceVersion\":\"1\"}}"},
        {"lone surrogate",
         "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"\\ud800\",\"resourceVersion\":\"1\"}}"},
        {"bytes that are no UTF-8", "{\"metadata\":{\"name\":\"a\xff\"}}"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", table[i].name);
        CHECK_INT(parse(KIND_RUN, table[i].json), RUN_MALFORMED);
    }
}

static void a_number_beyond_64_bits_does_no_harm(void)
{
    CHECK_INT(
        parse_spec(KIND_CUSTOMRUN, "\"customRef\":" REF "," PARAMS ",\"x\":123456789012345678901234567890"),
        RUN_OURS);
    CHECK_INT(run.fault, FAULT_NONE);
    CHECK_STR(run.revision, STR("abc"));
    drop();
}

/* Nor does it to the other numbers of the object. */
static void numbers_beside_one_beyond_64_bits(void)
{
#define LARGE "\"x\":123456789012345678901234567890"
    static const struct {
        const char *value;
        unsigned want;
    } table[] = {{"2", 2},
                 {"-1", 0},
                 {"1.5", 0},
                 {"99999999999", RUN_MAX_RETRIES},
                 {"9223372036854775808", RUN_MAX_RETRIES},
                 {"123456789012345678901234567890", RUN_MAX_RETRIES},
                 {"-123456789012345678901234567890", 0}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", table[i].value);
        CHECK_INT(parse_spec(KIND_CUSTOMRUN, "\"customRef\":" REF "," PARAMS "," LARGE ",\"retries\":%s",
                             table[i].value),
                  RUN_OURS);
        CHECK_INT(run.retries, table[i].want);
        CHECK_INT(run.generation, 3);
    }
    harness_case("retriesDone of a Run");
    CHECK_INT(parse_status(KIND_RUN, ",\"retries\":3",
                           "{\"extraFields\":{\"retriesDone\":2," LARGE "},\"observedGeneration\":3}"),
              RUN_OURS);
    CHECK_INT(run.retries_done, 2);
    CHECK_INT(run.observed_generation, 3);
    drop();
#undef LARGE
}

/* ---- faults: reasons and what the message must name ---- */

#define P(list) "\"customRef\":" REF ",\"params\":" list
static const struct fault_row {
    const char *name, *spec;
    enum run_fault want;
    const char *says;
} fault_rows[] = {
    {"item_3 both", "\"customRef\":" REF ",\"customSpec\":" REF "," PARAMS, FAULT_SPEC, "ref"},
    {"item_4 embedded", "\"customSpec\":" REF "," PARAMS, FAULT_SPEC, "embedded spec"},
    {"item_5 ref.name",
     "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/v1\",\"kind\":\"FluxDeploymentWait\","
     "\"name\":\"x\"}," PARAMS,
     FAULT_NAME, "ref name"},
    {"item_5 ref.name empty",
     "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/v1\","
     "\"kind\":\"FluxDeploymentWait\",\"name\":\"\"}," PARAMS,
     FAULT_NONE, ""},
    {"item_5 ref.name a number",
     "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/v1\","
     "\"kind\":\"FluxDeploymentWait\",\"name\":5}," PARAMS,
     FAULT_NAME, "ref name"},
    {"item_6 bundle, resolver, ref.params",
     "\"customRef\":{\"apiVersion\":\"flux-event-store.dev/"
     "v1\",\"kind\":\"FluxDeploymentWait\",\"bundle\":\"b\","
     "\"resolver\":\"git\",\"params\":[{\"name\":\"x\",\"value\":\"y\"}]}," PARAMS,
     FAULT_NONE, ""},
    {"item_8 no params", "\"customRef\":" REF, FAULT_PARAMS, "revision"},
    {"item_8 empty params", P("[]"), FAULT_PARAMS, "revision"},
    {"item_9 empty", P("[{\"name\":\"revision\",\"value\":\"\"}]"), FAULT_PARAMS, "revision"},
    {"item_9 white space", P("[{\"name\":\"revision\",\"value\":\" \\n\"}]"), FAULT_PARAMS, "revision"},
    {"item_10 array", P("[{\"name\":\"revision\",\"value\":[\"a\"]}]"), FAULT_PARAMS, "string"},
    {"item_10 object", P("[{\"name\":\"revision\",\"value\":{\"a\":\"b\"}}]"), FAULT_PARAMS, "string"},
    {"item_10 null", P("[{\"name\":\"revision\",\"value\":null}]"), FAULT_PARAMS, "string"},
    {"item_10 value missing", P("[{\"name\":\"revision\"}]"), FAULT_PARAMS, "string"},
    {"item_11 integer", P("[{\"name\":\"revision\",\"value\":1234567}]"), FAULT_NONE, ""},
    {"item_11 true", P("[{\"name\":\"revision\",\"value\":true}]"), FAULT_NONE, ""},
    {"item_11 1.10 lost its text", P("[{\"name\":\"revision\",\"value\":1.10}]"), FAULT_PARAMS, "string"},
    {"item_12 twice, equal",
     P("[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"revision\",\"value\":\"a\"}]"), FAULT_PARAMS,
     "revision"},
    {"item_12 twice, different",
     P("[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"revision\",\"value\":\"b\"}]"), FAULT_PARAMS,
     "revision"},
    {"item_13 unknown",
     P("[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"colour\",\"value\":\"red\"},"
       "{\"name\":\"size\",\"value\":\"L\"}]"),
     FAULT_PARAMS, "colour"},
    {"item_14 case", P("[{\"name\":\"Revision\",\"value\":\"a\"}]"), FAULT_PARAMS, "Revision"},
    {"item_15 percent and quotes", P("[{\"name\":\"revision\",\"value\":\"%s%n\\\"'\"}]"), FAULT_NONE, ""},
    {"item_15 control characters", P("[{\"name\":\"revision\",\"value\":\"a\\u0001\\u001b[31m\\nb\"}]"),
     FAULT_NONE, ""},
    {"item_15 unsubstituted", P("[{\"name\":\"revision\",\"value\":\"$(tasks.a.results.x)\"}]"), FAULT_PARAMS,
     "revision"},
    {"item_16 params null", P("null"), FAULT_PARAMS, "revision"},
    {"item_16 params an object", P("{\"revision\":\"a\"}"), FAULT_PARAMS, "array"},
    {"item_16 params a string", P("\"revision=a\""), FAULT_PARAMS, "array"},
    {"item_16 no name", P("[{\"value\":\"a\"}]"), FAULT_PARAMS, "revision"},
    {"item_16 entries of other types", P("[null,1,\"x\",[],{}]"), FAULT_PARAMS, "revision"},
    {"item_38 1d", "\"timeout\":\"1d\"," P("[{\"name\":\"revision\",\"value\":\"a\"}]"), FAULT_TIMEOUT,
     "timeout"},
    {"item_38 abc", "\"timeout\":\"abc\"," P("[{\"name\":\"revision\",\"value\":\"a\"}]"), FAULT_TIMEOUT,
     "timeout"},
    {"item_38 empty", "\"timeout\":\"\"," P("[{\"name\":\"revision\",\"value\":\"a\"}]"), FAULT_TIMEOUT,
     "timeout"},
    {"item_38 number", "\"timeout\":5," P("[{\"name\":\"revision\",\"value\":\"a\"}]"), FAULT_TIMEOUT,
     "timeout"},
    {"item_38 negative", "\"timeout\":\"-1m\"," P("[{\"name\":\"revision\",\"value\":\"a\"}]"), FAULT_TIMEOUT,
     "negative"},
    {"bad parameter timeout",
     P("[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"timeout\",\"value\":\"soon\"}]"), FAULT_PARAMS,
     "timeout"},
};

/* The rows whose name begins with the item's. */
static void check_faults(const char *item)
{
    size_t n = 0;

    for (size_t i = 0; i < sizeof fault_rows / sizeof fault_rows[0]; i++) {
        const struct fault_row *row = &fault_rows[i];
        if (strncmp(row->name, item, strlen(item)) != 0)
            continue;
        n++;
        harness_case("%s", row->name);
        CHECK_INT(parse_spec(KIND_CUSTOMRUN, "%s", row->spec), RUN_OURS);
        CHECK_INT(run.fault, row->want);
        CHECK_HAS(run_rare(&run)->fault_message, str_of(row->says));
        if (row->want == FAULT_NONE)
            CHECK(run.question != NULL);
        drop();
    }
    CHECK(n > 0);
}

static void item_3_ref_and_embedded_spec(void)
{
    check_faults("item_3 ");
}

static void item_4_embedded_spec(void)
{
    check_faults("item_4 ");
}

static void item_5_ref_name(void)
{
    check_faults("item_5 ");
}

static void item_6_bundle_and_resolver(void)
{
    check_faults("item_6 ");
}

static void item_8_no_revision(void)
{
    check_faults("item_8 ");
}

static void item_9_empty_revision(void)
{
    check_faults("item_9 ");
}

static void item_10_revision_that_is_no_string(void)
{
    check_faults("item_10 ");
}

static void item_11_number_or_boolean(void)
{
    check_faults("item_11 ");
    CHECK_INT(parse_spec(KIND_CUSTOMRUN, P("[{\"name\":\"revision\",\"value\":1234567}]")), RUN_OURS);
    CHECK_STR(run.revision, STR("1234567"));
    drop();
}

static void item_12_repeated_parameter(void)
{
    check_faults("item_12 ");
}

static void item_13_unknown_parameter(void)
{
    check_faults("item_13 ");
    CHECK_INT(parse_spec(KIND_CUSTOMRUN, P("[{\"name\":\"colour\",\"value\":\"red\"},"
                                           "{\"name\":\"size\",\"value\":\"L\"}]")),
              RUN_OURS);
    harness_case("all problems are named at once");
    CHECK_HAS(run_rare(&run)->fault_message, STR("colour"));
    CHECK_HAS(run_rare(&run)->fault_message, STR("size"));
    CHECK_HAS(run_rare(&run)->fault_message, STR("revision"));
    drop();
}

static void item_14_case_of_a_parameter(void)
{
    check_faults("item_14 ");
}

static void item_15_hostile_revision(void)
{
    check_faults("item_15 ");
}

static void item_16_odd_params(void)
{
    check_faults("item_16 ");
}

static void item_38_timeouts_that_cannot_be_read(void)
{
    check_faults("item_38 ");
    check_faults("bad parameter");
}

static void item_15_a_long_revision(void)
{
    char *revision = malloc(10241);

    memset(revision, 'a', 10240);
    revision[10240] = '\0';
    CHECK_INT(parse_spec(KIND_CUSTOMRUN,
                         "\"customRef\":" REF ",\"params\":[{\"name\":\"revision\",\"value\":\"%s\"}]",
                         revision),
              RUN_OURS);
    free(revision);
    CHECK_INT(run.fault, FAULT_PARAMS);
    CHECK(run.revision.len <= QUESTION_MAX_REVISION);
    CHECK(run_rare(&run)->fault_message.len < 2048);
    drop();
}

static void many_numeric_params(void)
{
    char spec[4096];
    struct text t;

    text_init(&t, spec, sizeof spec);
    text_addf(&t, "\"customRef\":" REF ",\"params\":[{\"name\":\"revision\",\"value\":1}");
    for (int i = 0; i < 40; i++)
        text_addf(&t, ",{\"name\":\"n%d\",\"value\":%d}", i, i);
    text_addf(&t, "]");
    CHECK_INT(parse_spec(KIND_CUSTOMRUN, "%s", spec), RUN_OURS);
    CHECK_INT(run.fault, FAULT_PARAMS);
    CHECK_STR(run.revision, STR("1"));
    drop();
}

/* ---- timeout, retries, cancel ---- */

static void item_37_timeouts(void)
{
    static const struct {
        const char *name, *spec;
        int64_t want;
    } table[] = {
        {"none", "\"x\":1," PARAMS, 60 * MINUTE},
        {"null", "\"timeout\":null," PARAMS, 60 * MINUTE},
        {"0s", "\"timeout\":\"0s\"," PARAMS, 0},
        {"0", "\"timeout\":\"0\"," PARAMS, 0},
        {"1h30m", "\"timeout\":\"1h30m\"," PARAMS, 90 * MINUTE},
        {"1.5h", "\"timeout\":\"1.5h\"," PARAMS, 90 * MINUTE},
        {"500ms", "\"timeout\":\"500ms\"," PARAMS, 500},
        {"item_41 Go's longest", "\"timeout\":\"2562047h47m16s\"," PARAMS, INT64_C(9223372036000)},
        {"parameter",
         "\"params\":[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"timeout\",\"value\":\"5m\"}]",
         5 * MINUTE},
        {"parameter 0",
         "\"params\":[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"timeout\",\"value\":\"0s\"}]", 0},
        {"spec before parameter",
         "\"timeout\":\"2m\",\"params\":[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"timeout\","
         "\"value\":\"5m\"}]",
         2 * MINUTE},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        for (int kind = 0; kind < RUN_KINDS; kind++) {
            harness_case("%s of a %s", table[i].name, run_kind_name(kind)->kind);
            CHECK_INT(
                parse_spec(kind, "\"%s\":" REF ",%s", kind == KIND_RUN ? "ref" : "customRef", table[i].spec),
                RUN_OURS);
            CHECK_INT(run.fault, FAULT_NONE);
            CHECK_INT(run.timeout_ms, table[i].want);
        }
    drop();
}

static void item_44_retries(void)
{
    static const struct {
        const char *value;
        unsigned want;
    } table[] = {{"2", 2},
                 {"0", 0},
                 {"-1", 0},
                 {"\"2\"", 0},
                 {"null", 0},
                 {"1.5", 0},
                 {"99999999999", RUN_MAX_RETRIES}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", table[i].value);
        CHECK_INT(
            parse_spec(KIND_CUSTOMRUN, "\"customRef\":" REF "," PARAMS ",\"retries\":%s", table[i].value),
            RUN_OURS);
        CHECK_INT(run.retries, table[i].want);
    }
    drop();
}

static void item_36_cancel(void)
{
    static const struct {
        const char *spec;
        bool want;
        const char *message;
    } table[] = {
        {"\"status\":\"RunCancelled\"", true, ""},
        {"\"status\":\"RunCancelled\",\"statusMessage\":\"100% done %s\"", true, "100% done %s"},
        {"\"status\":\"RunCancelled\",\"statusMessage\":5", true, ""},
        {"\"status\":\"runcancelled\"", false, ""},
        {"\"status\":\"Foo\",\"statusMessage\":\"x\"", false, ""},
        {"\"status\":\"CustomRunCancelled\"", false, ""},
        {"\"status\":true", false, ""},
        {"\"status\":null", false, ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", table[i].spec);
        CHECK_INT(parse_spec(KIND_CUSTOMRUN, "\"customRef\":" REF "," PARAMS ",%s", table[i].spec), RUN_OURS);
        CHECK_INT(run.cancelled, table[i].want);
        CHECK_STR(run_rare(&run)->status_message, str_of(table[i].message));
    }
    drop();
}

/* ---- status ---- */

static void item_30_status_in(void)
{
    static const struct {
        const char *name, *status;
        enum run_succeeded want;
        bool has_start;
    } table[] = {
        {"none", "null", SUCCEEDED_ABSENT, false},
        {"a string", "\"x\"", SUCCEEDED_ABSENT, false},
        {"conditions null", "{\"conditions\":null,\"startTime\":null}", SUCCEEDED_ABSENT, false},
        {"conditions an object", "{\"conditions\":{\"type\":\"Succeeded\",\"status\":\"True\"}}",
         SUCCEEDED_ABSENT, false},
        {"entries of other types", "{\"conditions\":[null,1,\"x\",[],{}]}", SUCCEEDED_ABSENT, false},
        {"True", "{\"conditions\":[{\"type\":\"Succeeded\",\"status\":\"True\"}]}", SUCCEEDED_TRUE, false},
        {"False second",
         "{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"},{\"type\":\"Succeeded\","
         "\"status\":\"False\"}]}",
         SUCCEEDED_FALSE, false},
        {"Unknown",
         "{\"startTime\":\"2026-01-01T00:00:01Z\",\"conditions\":[{\"type\":\"Succeeded\","
         "\"status\":\"Unknown\"}]}",
         SUCCEEDED_UNKNOWN, true},
        {"empty word", "{\"conditions\":[{\"type\":\"Succeeded\",\"status\":\"\"}]}", SUCCEEDED_ABSENT,
         false},
        {"unknown word", "{\"conditions\":[{\"type\":\"Succeeded\",\"status\":\"true\"}]}", SUCCEEDED_ABSENT,
         false},
        {"bool", "{\"conditions\":[{\"type\":\"Succeeded\",\"status\":true}]}", SUCCEEDED_ABSENT, false},
        {"bad start", "{\"startTime\":\"yesterday\"}", SUCCEEDED_ABSENT, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", table[i].name);
        CHECK_INT(parse_status(KIND_CUSTOMRUN, "", table[i].status), RUN_OURS);
        CHECK_INT(run.succeeded, table[i].want);
        CHECK_INT(run.has_start, table[i].has_start);
    }
    drop();
}

static void attempts_in(void)
{
    CHECK_INT(parse_status(KIND_CUSTOMRUN, ",\"retries\":3",
                           "{\"startTime\":\"2026-01-01T00:05:00Z\",\"retriesStatus\":[{},{}],"
                           "\"extraFields\":{\"attemptStartTime\":\"2026-01-01T00:05:00.250Z\",\"mine\":1}}"),
              RUN_OURS);
    CHECK_INT(run.retries_done, 2);
    CHECK_INT(run.attempt_ms, T0 + 5 * MINUTE + 250);
    CHECK_INT(run.start_ms, T0 + 5 * MINUTE + 250);
    CHECK_STR(run_rare(&run)->retries_status, STR("[{},{}]"));
    harness_case("without the exact time");
    CHECK_INT(parse_status(KIND_CUSTOMRUN, ",\"retries\":3",
                           "{\"startTime\":\"2026-01-01T00:05:00Z\",\"retriesStatus\":[{}]}"),
              RUN_OURS);
    CHECK_INT(run.attempt_ms, T0 + 5 * MINUTE);
    harness_case("retriesStatus of another type");
    CHECK_INT(parse_status(KIND_CUSTOMRUN, ",\"retries\":3", "{\"retriesStatus\":\"x\"}"), RUN_OURS);
    CHECK_INT(run.retries_done, 0);
    CHECK_INT(run.attempt_ms, RUN_NO_TIME);
    harness_case("a Run counts in extraFields");
    CHECK_INT(parse_status(KIND_RUN, ",\"retries\":3",
                           "{\"startTime\":\"2026-01-01T00:05:00Z\",\"extraFields\":{\"retriesDone\":2},"
                           "\"retriesStatus\":[{}]}"),
              RUN_OURS);
    CHECK_INT(run.retries_done, 2);
    CHECK_INT(run_rare(&run)->retries_status.len, 0);
    drop();
}

/* ---- bodies ---- */

static struct verdict_object deciding = {.kind = {"Kustomization", 13},
                                         .namespace = {"apps", 4},
                                         .name = {"web", 3},
                                         .reported = true,
                                         .seq = 42,
                                         .reason = {"BuildFailed", 11},
                                         .message = {"no such file", 12},
                                         .revision = {"main@sha1:abc", 13},
                                         .effective_ms = T0 + 2 * MINUTE,
                                         .received_ms = T0 + 2 * MINUTE};
static struct verdict verdict = {.decider = &deciding,
                                 .objects = &deciding,
                                 .n_objects = 1,
                                 .explanation = {"Kustomization/apps/web has said nothing", 39}};

static json_t *patched;

/* Parses what would be sent, into `patched`. */
static json_t *patch(enum action_kind kind)
{
    struct action a = {kind, T0 + 3 * MINUTE, T0 + MINUTE, T0 + 3 * MINUTE, T0 + 3 * MINUTE + 5};
    struct str body = run_patch_body(&run, &a, action_ending(kind) == ACTION_CANCEL ? NULL : &verdict);

    json_decref(patched);
    patched = json_loadb(body.at, body.len, JSON_REJECT_DUPLICATES, NULL);
    free((char *)(uintptr_t)body.at);
    CHECK(patched != NULL);
    return json_object_get(patched, "status");
}

static struct str member(const json_t *object, const char *key)
{
    return str_of(json_string_value(json_object_get(object, key)));
}

static void check_keys(const json_t *object, const char *want)
{
    char buffer[256];
    struct text keys;
    const char *key;
    json_t *value;

    text_init(&keys, buffer, sizeof buffer);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
        text_addf(&keys, "%s%s", keys.len ? " " : "", key);
    CHECK_STR(text_str(&keys), str_of(want));
}

static void item_57_patch_of_changed_keys(void)
{
    static const struct {
        const char *name, *status;
        enum action_kind kind;
        const char *keys;
    } table[] = {
        {"item_17 first write", "null", ACTION_START, "observedGeneration conditions startTime"},
        {"start kept", "{\"startTime\":\"2026-01-01T00:01:00Z\"}", ACTION_START,
         "observedGeneration conditions"},
        {"stale completion removed", "{\"observedGeneration\":3,\"completionTime\":\"2026-01-01T00:01:00Z\"}",
         ACTION_START, "conditions startTime completionTime"},
        {"explanation", "{\"observedGeneration\":3,\"startTime\":\"2026-01-01T00:01:00Z\"}", ACTION_EXPLAIN,
         "conditions"},
        {"item_18 first write is the last", "null", ACTION_SUCCEED,
         "observedGeneration conditions startTime completionTime results"},
        {"item_19 success", "{\"observedGeneration\":3,\"startTime\":\"2026-01-01T00:01:00Z\"}",
         ACTION_SUCCEED, "conditions completionTime results"},
        {"item_32 cancel", "{\"observedGeneration\":2,\"startTime\":\"2026-01-01T00:01:00Z\"}", ACTION_CANCEL,
         "observedGeneration conditions completionTime results"},
        {"item_45 a Run's retry", "{\"observedGeneration\":3,\"startTime\":\"2026-01-01T00:01:00Z\"}",
         ACTION_RETRY_FAILED, "conditions startTime extraFields"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", table[i].name);
        CHECK_INT(parse_status(KIND_RUN, ",\"retries\":1", table[i].status), RUN_OURS);
        json_t *status = patch(table[i].kind);
        check_keys(status, table[i].keys);
        check_keys(patched, "metadata status");
        check_keys(json_object_get(patched, "metadata"), "resourceVersion");
        CHECK_STR(member(json_object_get(patched, "metadata"), "resourceVersion"), STR("7"));
    }
    drop();
}

static void item_29_foreign_conditions(void)
{
    CHECK_INT(parse_status(
                  KIND_CUSTOMRUN, "",
                  "{\"conditions\":[{\"type\":\"Mine\",\"status\":\"True\",\"x\":[1,{\"y\":null}]},{\"type\":"
                  "\"Succeeded\",\"status\":\"\"},{\"type\":\"Other\",\"status\":\"Unknown\"},7,"
                  "{\"type\":\"Succeeded\",\"status\":\"Unknown\"}]}"),
              RUN_OURS);
    json_t *conditions = json_object_get(patch(ACTION_START), "conditions");
    CHECK_INT(json_array_size(conditions), 3);
    CHECK_STR(member(json_array_get(conditions, 0), "type"), STR("Succeeded"));
    check_keys(json_array_get(conditions, 0), "type status reason message lastTransitionTime");
    char *foreign = json_dumps(json_array_get(conditions, 1), JSON_COMPACT);
    bool kept = strcmp(foreign, "{\"type\":\"Mine\",\"status\":\"True\",\"x\":[1,{\"y\":null}]}") == 0;
    free(foreign);
    CHECK(kept);
    CHECK_STR(member(json_array_get(conditions, 2), "type"), STR("Other"));
    drop();
}

static void transition_time_moves_with_the_status(void)
{
    CHECK_INT(
        parse_status(
            KIND_CUSTOMRUN, "",
            "{\"startTime\":\"2026-01-01T00:01:00Z\",\"conditions\":[{\"type\":\"Succeeded\",\"status\":"
            "\"Unknown\",\"lastTransitionTime\":\"2026-01-01T00:01:00Z\"}]}"),
        RUN_OURS);
    json_t *condition = json_array_get(json_object_get(patch(ACTION_EXPLAIN), "conditions"), 0);
    CHECK_STR(member(condition, "lastTransitionTime"), STR("2026-01-01T00:01:00Z"));
    condition = json_array_get(json_object_get(patch(ACTION_SUCCEED), "conditions"), 0);
    CHECK_STR(member(condition, "lastTransitionTime"), STR("2026-01-01T00:03:00Z"));
    drop();
}

static void reasons_and_messages(void)
{
    static const struct {
        enum run_kind kind;
        enum action_kind action;
        const char *status, *reason, *begins;
    } table[] = {
        {KIND_RUN, ACTION_START, "Unknown", "Waiting", "Kustomization/apps/web has said nothing"},
        {KIND_CUSTOMRUN, ACTION_SUCCEED, "True", "ReconciliationSucceeded",
         "The revision has been reconciled. Revision abc: Kustomization/apps/web at 2026-01-01T00:02:00Z."},
        {KIND_CUSTOMRUN, ACTION_FAIL, "False", "ReconciliationFailed",
         "The revision failed to reconcile. Reason: 'BuildFailed'. Message: 'no such file'. Revision abc: "
         "Kustomization/apps/web at 2026-01-01T00:02:00Z."},
        {KIND_CUSTOMRUN, ACTION_SUPERSEDE, "False", "Superseded", "The revision was superseded"},
        {KIND_CUSTOMRUN, ACTION_AMBIGUOUS, "False", "AmbiguousRevision", "The revision is ambiguous: "},
        {KIND_RUN, ACTION_EXPIRE, "False", "RunTimedOut",
         "The revision was not reconciled within 1h. Revision abc: "},
        {KIND_CUSTOMRUN, ACTION_EXPIRE, "False", "CustomRunTimedOut",
         "The revision was not reconciled within 1h."},
        {KIND_RUN, ACTION_CANCEL, "False", "RunCancelled", "Run cancelled while waiting for revision abc."},
        {KIND_CUSTOMRUN, ACTION_CANCEL, "False", "CustomRunCancelled", "CustomRun cancelled while waiting"},
        {KIND_CUSTOMRUN, ACTION_RETRY_FAILED, "Unknown", "Retrying",
         "Attempt 1 of 3 failed, waiting again. The revision failed to reconcile. Reason: 'BuildFailed'."},
        {KIND_CUSTOMRUN, ACTION_RETRY_EXPIRED, "Unknown", "Retrying",
         "Attempt 1 of 3 failed, waiting again. The revision was not reconciled within 1h."},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s %s", run_kind_name(table[i].kind)->kind, action_text(table[i].action));
        CHECK_INT(parse_status(table[i].kind, ",\"retries\":2", "null"), RUN_OURS);
        json_t *condition = json_array_get(json_object_get(patch(table[i].action), "conditions"), 0);
        CHECK_STR(member(condition, "status"), str_of(table[i].status));
        CHECK_STR(member(condition, "reason"), str_of(table[i].reason));
        CHECK_STR(str_upto(member(condition, "message"), strlen(table[i].begins)), str_of(table[i].begins));
    }
    harness_case("the first version's ref");
    run.first_version = true;
    CHECK_TEXT(say_reason(&run, ACTION_SUCCEED), "ReconciliationSuceeded");
    drop();
}

static void item_33_cancel_message(void)
{
    char *long_message = malloc(6001);

    memset(long_message, '%', 6000);
    long_message[6000] = '\0';
    CHECK_INT(parse_spec(KIND_CUSTOMRUN,
                         "\"customRef\":" REF "," PARAMS
                         ",\"status\":\"RunCancelled\",\"statusMessage\":\"%s\"",
                         long_message),
              RUN_OURS);
    free(long_message);
    json_t *condition = json_array_get(json_object_get(patch(ACTION_CANCEL), "conditions"), 0);
    CHECK_INT(member(condition, "message").len, SAY_MESSAGE - 1);
    drop();
}

static void item_42_45_retries_out(void)
{
    CHECK_INT(parse_status(
                  KIND_CUSTOMRUN, ",\"retries\":3",
                  "{\"observedGeneration\":3,\"startTime\":\"2026-01-01T00:01:00Z\",\"results\":[],"
                  "\"annotations\":{\"a\":\"b\"},\"extraFields\":{\"mine\":1},\"retriesStatus\":[{\"x\":1}],"
                  "\"conditions\":[{\"type\":\"Mine\",\"status\":\"True\"},{\"type\":\"Succeeded\","
                  "\"status\":\"Unknown\"}]}"),
              RUN_OURS);
    json_t *status = patch(ACTION_RETRY_FAILED);
    check_keys(status, "conditions startTime results retriesStatus extraFields");
    CHECK(json_is_null(json_object_get(status, "results")));
    CHECK_STR(member(status, "startTime"), STR("2026-01-01T00:03:00Z"));
    check_keys(json_object_get(status, "extraFields"), "attemptStartTime");
    CHECK_STR(member(json_object_get(status, "extraFields"), "attemptStartTime"),
              STR("2026-01-01T00:03:00.005Z"));
    json_t *entries = json_object_get(status, "retriesStatus");
    CHECK_INT(json_array_size(entries), 2);
    json_t *entry = json_array_get(entries, 1);
    check_keys(entry,
               "observedGeneration conditions startTime completionTime results annotations extraFields");
    CHECK_STR(member(entry, "startTime"), STR("2026-01-01T00:01:00Z"));
    CHECK_STR(member(entry, "completionTime"), STR("2026-01-01T00:03:00Z"));
    CHECK_STR(member(json_array_get(json_object_get(entry, "conditions"), 0), "status"), STR("False"));
    CHECK_STR(member(json_array_get(json_object_get(entry, "conditions"), 0), "reason"),
              STR("ReconciliationFailed"));
    CHECK_INT(json_array_size(json_object_get(entry, "conditions")), 2);
    CHECK_INT(json_array_size(json_object_get(entry, "results")), 8);
    harness_case("a Run");
    CHECK_INT(parse_status(KIND_RUN, ",\"retries\":3", "{\"extraFields\":{\"retriesDone\":1}}"), RUN_OURS);
    status = patch(ACTION_RETRY_EXPIRED);
    CHECK(json_object_get(status, "retriesStatus") == NULL);
    CHECK_INT(json_integer_value(json_object_get(json_object_get(status, "extraFields"), "retriesDone")), 2);
    drop();
}

static struct str result(const json_t *status, const char *name)
{
    size_t i;
    json_t *entry;

    json_array_foreach(json_object_get(status, "results"), i,
                       entry) if (str_eq(member(entry, "name"), str_of(name))) return member(entry, "value");
    HARNESS_FAIL("no result %s", name);
}

static void check_full_set(const json_t *status)
{
    static const char *const names[] = {"verdict", "revision",  "object",       "reason",
                                        "message", "timestamp", "supersededBy", "eventId"};
    const json_t *results = json_object_get(status, "results");

    CHECK_INT(json_array_size(results), 8);
    for (size_t i = 0; i < 8; i++) {
        const json_t *entry = json_array_get(results, i);
        struct str value = member(entry, "value");
        check_keys(entry, "name value");
        CHECK_STR(member(entry, "name"), str_of(names[i]));
        CHECK(value.at != NULL);
        json_t *as_json = json_loadb(value.at, value.len, 0, NULL);
        CHECK(as_json == NULL);
    }
    CHECK(json_dumpb(results, NULL, 0, JSON_COMPACT) < 4096);
}

static void item_58_results(void)
{
    static const struct {
        enum action_kind kind;
        const char *verdict, *object, *reason, *message, *timestamp, *id;
    } table[] = {
        {ACTION_SUCCEED, "succeeded", "Kustomization/apps/web", "BuildFailed", "no such file",
         "2026-01-01T00:02:00Z", "42"},
        {ACTION_FAIL, "failed", "Kustomization/apps/web", "BuildFailed", "no such file",
         "2026-01-01T00:02:00Z", "42"},
        {ACTION_SUPERSEDE, "superseded", "Kustomization/apps/web", "BuildFailed", "no such file",
         "2026-01-01T00:02:00Z", "42"},
        {ACTION_AMBIGUOUS, "failed", "", "AmbiguousRevision",
         "The revision is ambiguous: Kustomization/apps/web has said nothing", "2026-01-01T00:03:00Z", ""},
        {ACTION_EXPIRE, "timedout", "", "CustomRunTimedOut",
         "The revision was not reconciled within 1h. Revision abc: Kustomization/apps/web has said nothing",
         "2026-01-01T00:03:00Z", ""},
        {ACTION_CANCEL, "cancelled", "", "CustomRunCancelled",
         "CustomRun cancelled while waiting for revision abc.", "2026-01-01T00:03:00Z", ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        harness_case("%s", action_text(table[i].kind));
        CHECK_INT(parse_status(KIND_CUSTOMRUN, "", "null"), RUN_OURS);
        json_t *status = patch(table[i].kind);
        check_full_set(status);
        CHECK_STR(result(status, "verdict"), str_of(table[i].verdict));
        bool reported = table[i].kind == ACTION_SUCCEED || table[i].kind == ACTION_FAIL;
        CHECK_STR(result(status, "revision"), reported ? STR("main@sha1:abc") : STR("abc"));
        CHECK_STR(result(status, "object"), str_of(table[i].object));
        CHECK_STR(result(status, "reason"), str_of(table[i].reason));
        CHECK_STR(result(status, "message"), str_of(table[i].message));
        CHECK_STR(result(status, "timestamp"), str_of(table[i].timestamp));
        CHECK_STR(result(status, "eventId"), str_of(table[i].id));
    }
    harness_case("rejected");
    CHECK_INT(parse_spec(KIND_CUSTOMRUN, "\"customRef\":" REF), RUN_OURS);
    json_t *status = patch(ACTION_REJECT);
    check_full_set(status);
    CHECK_STR(result(status, "verdict"), STR("rejected"));
    CHECK_STR(result(status, "reason"), STR("UnexpectedParams"));
    drop();
}

static void item_58_results_of_hostile_text(void)
{
    static const char *const messages[] = {"[\"a\",\"b\"]", "{\"a\":1}", " [1]", "\n{}", "[unterminated"};
    struct verdict_object saved = deciding;
    char quotes[RECORD_MESSAGE_MAX];

    CHECK_INT(parse_status(KIND_CUSTOMRUN, "", "null"), RUN_OURS);
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        harness_case("%s", messages[i]);
        deciding.message = str_of(messages[i]);
        json_t *status = patch(ACTION_FAIL);
        check_full_set(status);
        CHECK_STR(str_upto(result(status, "message"), 2), STR(": "));
    }
    harness_case("long and all quotes");
    memset(quotes, '"', sizeof quotes);
    deciding.message = deciding.superseded_by = deciding.reason = (struct str){quotes, sizeof quotes};
    deciding.name = (struct str){quotes, sizeof quotes};
    check_full_set(patch(ACTION_FAIL));
    deciding = saved;
    drop();
}

static void item_59_event_body(void)
{
    char message[3000];
    struct run_event e = {STR("ReconciliationFailed"), {message, sizeof message}, true, T0, UINT64_C(0xABC)};

    for (size_t i = 0; i + 2 < sizeof message; i += 3)
        memcpy(message + i, "\xe2\x82\xac", 3);
    CHECK_INT(parse_status(KIND_CUSTOMRUN, "", "null"), RUN_OURS);
    struct str body = run_event_body(&run, &e);
    json_decref(patched);
    patched = json_loadb(body.at, body.len, 0, NULL);
    free((char *)(uintptr_t)body.at);
    CHECK(patched != NULL);
    CHECK_INT(member(patched, "message").len, 1023);
    CHECK_STR(member(patched, "type"), STR("Warning"));
    CHECK_STR(member(patched, "reason"), STR("ReconciliationFailed"));
    CHECK_STR(member(patched, "firstTimestamp"), STR("2026-01-01T00:00:00Z"));
    CHECK_STR(member(json_object_get(patched, "metadata"), "name"), STR("wait.0000000000000abc"));
    CHECK_STR(member(json_object_get(patched, "metadata"), "namespace"), STR("ci"));
    const json_t *involved = json_object_get(patched, "involvedObject");
    CHECK_STR(member(involved, "kind"), STR("CustomRun"));
    CHECK_STR(member(involved, "apiVersion"), STR("tekton.dev/v1beta1"));
    CHECK_STR(member(involved, "namespace"), STR("ci"));
    CHECK_STR(member(involved, "uid"), STR("u-1"));
    drop();
}

static void paths(void)
{
    char path[RUN_PATH];

    CHECK_INT(parse_status(KIND_RUN, "", "null"), RUN_OURS);
    run_path(&run, true, path);
    CHECK_TEXT(path, "/apis/tekton.dev/v1alpha1/namespaces/ci/runs/wait/status");
    run.kind = KIND_CUSTOMRUN;
    run_path(&run, false, path);
    CHECK_TEXT(path, "/apis/tekton.dev/v1beta1/namespaces/ci/customruns/wait");
    run_events_path(&run, path);
    CHECK_TEXT(path, "/api/v1/namespaces/ci/events");
    drop();
}

static void versions(void)
{
    CHECK(run_version_older(STR("9"), STR("10")));
    CHECK(!run_version_older(STR("10"), STR("10")));
    CHECK(!run_version_older(STR("11"), STR("10")));
    CHECK(!run_version_older(STR("a9"), STR("10")));
    CHECK(!run_version_older(STR("9"), STR("")));
}

int main(void)
{
    if (!run_refs_add(&refs, "a.b/c/v2/Wait"))
        return 1;
    int failed = harness_run((struct test[]){TEST(item_1_2_7_selection),
                                             TEST(refs_are_split_at_the_last_slash),
                                             TEST(item_51_malformed),
                                             TEST(a_number_beyond_64_bits_does_no_harm),
                                             TEST(numbers_beside_one_beyond_64_bits),
                                             TEST(item_3_ref_and_embedded_spec),
                                             TEST(item_4_embedded_spec),
                                             TEST(item_5_ref_name),
                                             TEST(item_6_bundle_and_resolver),
                                             TEST(item_8_no_revision),
                                             TEST(item_9_empty_revision),
                                             TEST(item_10_revision_that_is_no_string),
                                             TEST(item_11_number_or_boolean),
                                             TEST(item_12_repeated_parameter),
                                             TEST(item_13_unknown_parameter),
                                             TEST(item_14_case_of_a_parameter),
                                             TEST(item_15_hostile_revision),
                                             TEST(item_16_odd_params),
                                             TEST(item_38_timeouts_that_cannot_be_read),
                                             TEST(item_15_a_long_revision),
                                             TEST(many_numeric_params),
                                             TEST(item_37_timeouts),
                                             TEST(item_44_retries),
                                             TEST(item_36_cancel),
                                             TEST(item_30_status_in),
                                             TEST(attempts_in),
                                             TEST(item_57_patch_of_changed_keys),
                                             TEST(item_29_foreign_conditions),
                                             TEST(transition_time_moves_with_the_status),
                                             TEST(reasons_and_messages),
                                             TEST(item_33_cancel_message),
                                             TEST(item_42_45_retries_out),
                                             TEST(item_58_results),
                                             TEST(item_58_results_of_hostile_text),
                                             TEST(item_59_event_body),
                                             TEST(paths),
                                             TEST(versions),
                                             {0}});
    drop();
    json_decref(patched);
    return failed;
}
