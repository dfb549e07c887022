/* The event codec: what is accepted, what is refused with which words, and what is given back. */
#include "harness.h"

#include <jansson.h>

#include "golden.h"
#include "store/event_json.h"

static struct flux_event *parse(const char *body)
{
    static char err[EVENT_ERROR];
    struct flux_event *e = event_from_json(str_of(body), err);

    if (!e)
        HARNESS_FAIL("refused: %s", err);
    return e;
}

static void test_members(void)
{
    struct flux_event *e = parse(
        "{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"apps\","
        "\"uid\":\"u1\",\"apiVersion\":\"kustomize.toolkit.fluxcd.io/"
        "v1\",\"resourceVersion\":\"7\",\"fieldPath\":\"f\"},"
        "\"severity\":\"info\",\"timestamp\":\"2026-08-01T10:00:12Z\",\"message\":\"a\\u0000b\\u00e9\\n\","
        "\"reason\":\"ReconciliationSucceeded\",\"metadata\":{\"cluster\":\"c1\",\"revision\":\"r\","
        "\"originRevision\":\"o\",\"commit\":\"m\",\"oci-digest\":\"d\",\"env\":\"x\"},"
        "\"reportingController\":\"kustomize-controller\",\"reportingInstance\":\"i\"}");

    CHECK_STR(e->kind, STR("Kustomization"));
    CHECK_STR(e->namespace, STR("flux-system"));
    CHECK_STR(e->name, STR("apps"));
    CHECK_STR(e->uid, STR("u1"));
    CHECK_STR(e->api_version, STR("kustomize.toolkit.fluxcd.io/v1"));
    CHECK_STR(e->severity, STR("info"));
    CHECK_STR(e->message, STR("a\0b\xC3\xA9\n"));
    CHECK_STR(e->reason, STR("ReconciliationSucceeded"));
    CHECK_STR(e->controller, STR("kustomize-controller"));
    CHECK_STR(e->cluster, STR("c1"));
    CHECK_STR(e->revision, STR("r"));
    CHECK_STR(e->origin_revision, STR("o"));
    CHECK_STR(e->commit, STR("m"));
    CHECK_STR(e->oci_digest, STR("d"));
    CHECK(e->has_timestamp);
    CHECK_INT(e->timestamp_ms, INT64_C(1785578412000));
    CHECK(e->plain);
    event_json_free(e);
}

/* A body of n nested arrays in one member. */
static char *nested(size_t n)
{
    char *body = malloc(2 * n + 16);
    size_t len = (size_t)snprintf(body, 16, "{\"x\":");

    memset(body + len, '[', n);
    memset(body + len + n, ']', n);
    memcpy(body + len + 2 * n, "}", 2);
    return body;
}

static void test_accepted(void)
{
    static const struct {
        const char *name, *body, *revision, *reason;
        bool plain, has_time;
    } rows[] = {
        {"nothing", "{}", "", "", true, false},
        {"white space", " \r\n\t{ } ", "", "", false, false},
        {"curl",
         "{\"metadata\":{\"revision\":\"a\"},\"timestamp\":\"0001-01-01T00:01:00Z\",\"reason\":"
         "\"BuildFailed\"}",
         "a", "BuildFailed", true, true},
        {"nulls",
         "{\"involvedObject\":null,\"severity\":null,\"timestamp\":null,\"message\":null,\"reason\":null,"
         "\"metadata\":null,\"reportingController\":null,\"reportingInstance\":null}",
         "", "", true, false},
        {"null inside", "{\"involvedObject\":{\"kind\":null,\"uid\":null},\"metadata\":{\"revision\":null}}",
         "", "", true, false},
        {"unknown members", "{\"x\":[1,{\"y\":true}],\"reason\":\"R\"}", "", "R", true, false},
        {"unreadable time", "{\"timestamp\":\"yesterday\"}", "", "", true, false},
        {"repeated: the last wins", "{\"reason\":\"A\",\"reason\":\"B\"}", "", "B", false, false},
        {"repeated in metadata", "{\"metadata\":{\"revision\":\"1\",\"revision\":\"2\"}}", "2", "", false,
         false},
        {"repeated far down", "{\"x\":[{\"a\":1,\"a\":2}]}", "", "", false, false},
        {"large integer", "{\"n\":123456789012345678901234567890,\"reason\":\"R\"}", "", "R", true, false},
        {"large real", "{\"n\":1e999,\"m\":-1.5E+4000,\"s\":\"1e999\",\"reason\":\"1e999\"}", "", "1e999",
         true, false},
        {"an answer's member", "{\"id\":\"9\",\"reason\":\"R\"}", "", "R", false, false},
        {"prefixed", "{\"metadata\":{\"kustomize.toolkit.fluxcd.io/revision\":\"p\"}}", "p", "", false,
         false},
        {"prefixed, escaped slash", "{\"metadata\":{\"kustomize.toolkit.fluxcd.io\\/revision\":\"p\"}}", "p",
         "", false, false},
        {"prefixed and bare", "{\"metadata\":{\"revision\":\"b\",\"helm.toolkit.fluxcd.io/revision\":\"p\"}}",
         "b", "", false, false},
        {"bare after prefixed",
         "{\"metadata\":{\"helm.toolkit.fluxcd.io/revision\":\"p\",\"revision\":\"b\"}}", "b", "", false,
         false},
        {"the object's own group",
         "{\"metadata\":{\"example.com/revision\":\"g\"},\"involvedObject\":{\"apiVersion\":\"example.com/"
         "v1\"}}",
         "g", "", false, false},
        {"the controller's over an annotation's",
         "{\"involvedObject\":{\"apiVersion\":\"helm.toolkit.fluxcd.io/v2\"},\"metadata\":{"
         "\"helm.toolkit.fluxcd.io/revision\":\"h\",\"event.toolkit.fluxcd.io/revision\":\"e\"}}",
         "h", "", false, false},
        {"of two prefixes the later by its bytes",
         "{\"metadata\":{\"helm.toolkit.fluxcd.io/revision\":\"h\",\"event.toolkit.fluxcd.io/"
         "revision\":\"e\"}}",
         "h", "", false, false},
        {"wherever they stand, and repeated",
         "{\"metadata\":{\"event.toolkit.fluxcd.io/revision\":\"a\",\"helm.toolkit.fluxcd.io/"
         "revision\":\"h\","
         "\"event.toolkit.fluxcd.io/revision\":\"e\"}}",
         "h", "", false, false},
        {"nothing behind the prefix", "{\"metadata\":{\"event.toolkit.fluxcd.io/\":\"x\"}}", "", "", true,
         false},
        {"another prefix stays", "{\"metadata\":{\"example.com/revision\":\"g\"}}", "", "", true, false},
        {"no group, slash first",
         "{\"metadata\":{\"/revision\":\"g\"},\"involvedObject\":{\"apiVersion\":\"v1\"}}", "", "", true,
         false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        struct flux_event *e = parse(rows[i].body);
        CHECK_STR(e->revision, str_of(rows[i].revision));
        CHECK_STR(e->reason, str_of(rows[i].reason));
        CHECK_INT(e->plain, rows[i].plain);
        CHECK_INT(e->has_timestamp, rows[i].has_time);
        event_json_free(e);
    }
    char *body = nested(EVENT_MAX_DEPTH - 1);
    harness_case("deepest");
    event_json_free(parse(body));
    free(body);
}

static void test_refused(void)
{
    char *deep = nested(EVENT_MAX_DEPTH), *very_deep = nested(100000);
    const struct {
        const char *name;
        struct str body;
        const char *err;
    } rows[] = {
        {"empty", STR(""), "not JSON: the body is empty"},
        {"empty but for white space", STR(" \r\n"), "not JSON: the body is empty"},
        {"text", STR("hello"), "not JSON: "},
        {"cut", STR("{\"reason\":\"R\""), "not JSON: "},
        {"trailing comma", STR("{\"reason\":\"R\",}"), "not JSON: "},
        {"two values", STR("{}{}"), "not JSON: "},
        {"NUL behind", STR("{}\0"), "not JSON: "},
        {"raw newline in a string", STR("{\"reason\":\"a\nb\"}"), "not JSON: "},
        {"invalid UTF-8", STR("{\"reason\":\"\xff\"}"), "not JSON: "},
        {"bad number beside a large one", STR("{\"a\":1e999,\"b\":01}"), "not JSON: "},
        {"array", STR("[]"), "an event must be a JSON object"},
        {"number", STR("1e999"), "an event must be a JSON object"},
        {"null", STR("null"), "an event must be a JSON object"},
        {"too deep", str_of(deep), "nested deeper than 32 levels"},
        {"much too deep", str_of(very_deep), "nested deeper than 32 levels"},
        {"reason", STR("{\"reason\":1}"), "reason: must be a string or null"},
        {"message", STR("{\"message\":{}}"), "message: must be a string or null"},
        {"severity", STR("{\"severity\":[]}"), "severity: must be a string or null"},
        {"timestamp", STR("{\"timestamp\":1785578412}"), "timestamp: must be a string or null"},
        {"controller", STR("{\"reportingController\":true}"),
         "reportingController: must be a string or null"},
        {"instance", STR("{\"reportingInstance\":0}"), "reportingInstance: must be a string or null"},
        {"object", STR("{\"involvedObject\":\"x\"}"), "involvedObject: must be an object or null"},
        {"kind", STR("{\"involvedObject\":{\"kind\":1}}"), "involvedObject.kind: must be a string or null"},
        {"fieldPath", STR("{\"involvedObject\":{\"fieldPath\":1}}"),
         "involvedObject.fieldPath: must be a string or null"},
        {"metadata", STR("{\"metadata\":[]}"), "metadata: must be an object or null"},
        {"metadata value", STR("{\"metadata\":{\"a\\nb\":1}}"), "metadata.a b: must be a string or null"},
    };
    char err[EVENT_ERROR];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        CHECK(event_from_json(rows[i].body, err) == NULL);
        CHECK_HAS(str_of(err), str_of(rows[i].err));
        CHECK(str_find(str_of(err), '\n') < 0);
    }
    free(deep);
    free(very_deep);
}

static struct record record_of(const struct flux_event *e, struct str body)
{
    return (struct record){
        .seq = 7,
        .class = CLASS_SUCCESS,
        .via = VIA_WEBHOOK,
        .plain = e->plain,
        .count = 3,
        .first = {.effective_ms = 0, .received_ms = INT64_C(1785578412999)},
        .last = {.effective_ms = INT64_C(1785578472000), .received_ms = INT64_C(1785578472001)},
        .body_first = body,
        .body_last = body};
}

#define ADDED                                                                                                \
    "\"id\":\"7\",\"receivedAt\":\"2026-08-01T10:00:12Z\",\"count\":3,\"lastTimestamp\":\"2026-08-01T10:01:" \
    "12Z\","                                                                                                 \
    "\"class\":\"success\",\"via\":\"webhook\"}"

static void test_answer(void)
{
    static const struct {
        const char *name, *body, *answer;
    } rows[] = {
        {"empty", "{}", "{" ADDED},
        {"empty, spaced", " { } ", "{" ADDED},
        {"plain", "{\"b\":1.10,\"a\":1e999,\"reason\":\"\\u003c\"}",
         "{\"b\":1.10,\"a\":1e999,\"reason\":\"\\u003c\"," ADDED},
        {"spaced", "{ \"a\" : [ 1 , \" x \\\" \" ] ,\n\"b\":\t{ } }",
         "{\"a\":[1,\" x \\\" \"],\"b\":{}," ADDED},
        {"own members give way", "{\"id\":1,\"a\":2,\"via\":{\"x\":[]},\"class\":null}", "{\"a\":2," ADDED},
        {"only own members", "{\"id\":1}", "{" ADDED},
        {"repeated", "{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":2,\"a\":3," ADDED},
        {"repeated, escaped", "{\"a\":1,\"\\u0061\":3}", "{\"\\u0061\":3," ADDED},
        {"prefixed", "{\"metadata\":{\"kustomize.toolkit.fluxcd.io/revision\":\"p\",\"x\":\"y\"}}",
         "{\"metadata\":{\"revision\":\"p\",\"x\":\"y\"}," ADDED},
        {"prefixed and bare", "{\"metadata\":{\"revision\":\"b\",\"helm.toolkit.fluxcd.io/revision\":\"p\"}}",
         "{\"metadata\":{\"revision\":\"b\"}," ADDED},
        {"group, large number",
         "{\"n\":1e999,\"metadata\":{\"example.com/k\":\"g\",\"e.com/"
         "k\":\"h\"},\"involvedObject\":{\"apiVersion\":"
         "\"example.com/v1\"}}",
         "{\"n\":1e999,\"metadata\":{\"k\":\"g\",\"e.com/k\":\"h\"},\"involvedObject\":{\"apiVersion\":"
         "\"example.com/v1\"}," ADDED},
        {"the controller's over an annotation's",
         "{\"involvedObject\":{\"apiVersion\":\"helm.toolkit.fluxcd.io/v2\"},\"metadata\":{"
         "\"helm.toolkit.fluxcd.io/revision\":\"h\",\"event.toolkit.fluxcd.io/revision\":\"e\"}}",
         "{\"involvedObject\":{\"apiVersion\":\"helm.toolkit.fluxcd.io/"
         "v2\"},\"metadata\":{\"revision\":\"h\"}," ADDED},
        {"of two prefixes the later by its bytes, wherever they stand, and repeated",
         "{\"metadata\":{\"event.toolkit.fluxcd.io/revision\":\"a\",\"helm.toolkit.fluxcd.io/"
         "revision\":\"h\","
         "\"event.toolkit.fluxcd.io/revision\":\"e\"}}",
         "{\"metadata\":{\"revision\":\"h\"}," ADDED},
        {"a prefix further down stays", "{ \"x\":{\"metadata\":{\"helm.toolkit.fluxcd.io/a\":1}}}",
         "{\"x\":{\"metadata\":{\"helm.toolkit.fluxcd.io/a\":1}}," ADDED},
        {"key to be escaped", "{\"metadata\":{\"helm.toolkit.fluxcd.io/a\\\"\\n\":\"v\"}}",
         "{\"metadata\":{\"a\\\"\\n\":\"v\"}," ADDED},
    };
    struct json_out out = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].name);
        struct flux_event *e = parse(rows[i].body);
        struct record r = record_of(e, str_of(rows[i].body));
        out.len = 0;
        CHECK(event_record_to_json(&r, &out));
        CHECK_STR(((struct str){out.at, out.len}), str_of(rows[i].answer));
        event_json_free(e);
    }
    json_out_free(&out);
}

/* Appends behind what is there. */
static void test_answer_appends(void)
{
    struct flux_event *e = parse("{}");
    struct record r = record_of(e, STR("{}"));
    struct json_out out = {0};

    CHECK(event_record_to_json(&r, &out));
    CHECK(event_record_to_json(&r, &out));
    CHECK_STR(((struct str){out.at, out.len}), STR("{" ADDED "{" ADDED));
    json_out_free(&out);
    event_json_free(e);
}

static void check_golden(const char *path, struct str body)
{
    char err[EVENT_ERROR];
    struct json_out out = {0};
    struct flux_event *e = event_from_json(body, err);

    if (!e)
        HARNESS_FAIL("refused: %s", err);
    struct record r = record_of(e, body);
    CHECK(event_record_to_json(&r, &out));
    struct str answer = {out.at, out.len};
    /* All samples are as Go writes them; just one has prefixed keys. */
    if (str_has(str_of(path), STR("23-prefixed-keys-direct"))) {
        CHECK(!e->plain);
        CHECK_HAS(answer, STR("\"revision\":"));
        CHECK(!str_has(answer, STR("toolkit.fluxcd.io/revision")));
    } else {
        CHECK(e->plain);
        CHECK(str_starts(answer, str_upto(body, body.len - 1)));
        CHECK_STR(str_from(answer, body.len), STR(ADDED));
    }
    CHECK(str_find(answer, '\n') < 0);
    struct flux_event *again = event_from_json(answer, err);
    CHECK(again != NULL);
    CHECK_STR(again->message, e->message);
    CHECK_STR(again->revision, e->revision);
    CHECK_STR(again->origin_revision, e->origin_revision);
    CHECK_STR(again->oci_digest, e->oci_digest);
    event_json_free(again);
    event_json_free(e);
    json_out_free(&out);
}

static void test_golden(void)
{
    CHECK_INT(golden_each(check_golden), 47);
}

/* Many repeated members cost no more than the same number of different ones. */
static void test_many_members(void)
{
    size_t n = 200000, len = 1;
    char *body = malloc(n * 8 + 2);

    body[0] = '{';
    for (size_t i = 0; i < n; i++) {
        memcpy(body + len, "\"a\":1, ", 7);
        len += 7;
    }
    memcpy(body + len - 2, "}", 2);
    struct flux_event *e = parse(body);
    struct record r = record_of(e, str_of(body));
    struct json_out out = {0};
    CHECK(event_record_to_json(&r, &out));
    CHECK_STR(((struct str){out.at, out.len}), STR("{\"a\":1," ADDED));
    json_out_free(&out);
    event_json_free(e);
    free(body);
}

static size_t allocations_left;

static void *failing_malloc(size_t size)
{
    return allocations_left == 0 ? NULL : (allocations_left--, malloc(size));
}

/* A tree's memory comes in blocks, so only a larger body needs several. */
static char *body_of_many_blocks(void)
{
    enum { MEMBERS = 1000, ROOM = 64 * MEMBERS };
    char *body = malloc(ROOM);
    struct text t;

    text_init(&t, body, ROOM);
    text_add(&t, STR("{\"metadata\":{\"revision\":\"r\""));
    for (int i = 0; i < MEMBERS; i++)
        text_addf(&t, ",\"member-%d\":\"value %d\"", i, i);
    text_add(&t, STR("}}"));
    return body;
}

/* The n-th allocation fails, for each n: nothing leaks (the sanitizer looks), and nothing is said that is not
 * so. */
static void test_out_of_memory(void)
{
    static const char body[] =
        "{ \"n\":1e999,\"involvedObject\":{\"kind\":\"K\",\"apiVersion\":\"example.com/v1\"},"
        "\"metadata\":{\"example.com/revision\":\"r\",\"a\":\"b\"}}";
    static const char answer[] =
        "{\"n\":1e999,\"involvedObject\":{\"kind\":\"K\",\"apiVersion\":\"example.com/v1\"},"
        "\"metadata\":{\"revision\":\"r\",\"a\":\"b\"}," ADDED;
    struct flux_event *e = parse(body);
    struct record r = record_of(e, str_of(body));
    char err[EVENT_ERROR], *many = body_of_many_blocks();
    bool done = false;
    size_t n = 0, said = 0;

    event_json_free(e);
    for (; !done; n++) {
        harness_case("parse, allocation %zu", n);
        allocations_left = n;
        json_set_alloc_funcs(failing_malloc, free);
        e = event_from_json(str_of(many), err);
        json_set_alloc_funcs(malloc, free);
        done = e != NULL;
        CHECK(done || err[0] != '\0');
        said += !done && is_no_memory(err);
        if (done)
            CHECK_STR(e->revision, STR("r"));
        event_json_free(e);
    }
    free(many);
    CHECK(n > 4);
    CHECK(said > 0); /* not each time: jansson does not always tell it from bad syntax */
    for (n = 0, done = false; !done; n++) {
        struct json_out out = {0};
        harness_case("answer, allocation %zu", n);
        allocations_left = n;
        json_set_alloc_funcs(failing_malloc, free);
        done = event_record_to_json(&r, &out);
        json_set_alloc_funcs(malloc, free);
        if (done)
            CHECK_STR(((struct str){out.at, out.len}), str_of(answer));
        else
            CHECK_INT(out.len, 0);
        json_out_free(&out);
    }
    CHECK(n > 10);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_members),
                                       TEST(test_accepted),
                                       TEST(test_refused),
                                       TEST(test_answer),
                                       TEST(test_answer_appends),
                                       TEST(test_golden),
                                       TEST(test_many_members),
                                       TEST(test_out_of_memory),
                                       {0}});
}
