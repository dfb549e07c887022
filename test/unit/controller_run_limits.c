/* The bounds of what a Run may say, on both sides of each. */
#include "controller/run_json_priv.h"
#include "harness.h"
#include "store/str.h"

#define REF    "{\"apiVersion\":\"flux-event-store.dev/v1\",\"kind\":\"FluxDeploymentWait\"}"
#define PARAMS "\"params\":[{\"name\":\"revision\",\"value\":\"abc\"}]"
#define MANY   (256u << 10)

static struct run_refs refs;
static const struct run_parse_options options = {&refs, 0};
static struct run run;
static char object[MANY];
static struct text json;

static void begin(void)
{
    run_release(&run);
    text_init(&json, object, sizeof object);
}

static enum run_parsed parse(enum run_kind kind)
{
    CHECK(json.len < sizeof object - 1);
    return run_parse(kind, text_str(&json), &options, &run);
}

/* So many times one character. */
static void add_many(char c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        text_add(&json, (struct str){&c, 1});
}

/* What goes into a path or into a PATCH is bounded, and of the characters that stand in a path as they are. */
static void names_and_ids(void)
{
    static const struct {
        const char *member, *before; /* so many x stand between the two */
        size_t n;
        const char *after;
        bool good;
    } rows[] = {
        {"name", "", RUN_MAX_NAME, "", true},
        {"name", "", RUN_MAX_NAME + 1, "", false},
        {"name", "", 0, "", false},
        {"name", "a-0.9z", 1, "", true},
        {"name", ".", 1, "", false},
        {"name", "", 1, "\\u0000", false},
        {"name", "", 1, "A", false},
        {"name", "", 1, "_", false},
        {"name", "", 1, ":", false},
        {"name", "", 1, "{", false},
        {"name", "", 1, " ", false},
        {"name", "", 1, "%2f", false},
        {"namespace", "", RUN_MAX_NAME, "", true},
        {"namespace", "", RUN_MAX_NAME + 1, "", false},
        {"uid", "", RUN_MAX_ID, "", true},
        {"uid", "", RUN_MAX_ID + 1, "", false},
        {"uid", "", 0, "", false},
        {"uid", "", 1, "\\u0000", false},
        {"resourceVersion", "", RUN_MAX_ID, "", true},
        {"resourceVersion", "", RUN_MAX_ID + 1, "", false},
        {"resourceVersion", "", 0, "", false},
    };
    static const char *const members[] = {"name", "namespace", "uid", "resourceVersion"};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s of %s, %zu x, %s", rows[i].member, rows[i].before, rows[i].n, rows[i].after);
        begin();
        text_addf(&json, "{\"metadata\":{\"x\":1");
        for (size_t m = 0; m < sizeof members / sizeof members[0]; m++) {
            bool is_it = strcmp(members[m], rows[i].member) == 0;
            text_addf(&json, ",\"%s\":\"%s", members[m], is_it ? rows[i].before : "a");
            add_many('x', is_it ? rows[i].n : 0);
            text_addf(&json, "%s\"", is_it ? rows[i].after : "");
        }
        text_addf(&json, "},\"spec\":{\"customRef\":" REF "," PARAMS "}}");
        CHECK_INT(parse(KIND_CUSTOMRUN), rows[i].good ? RUN_OURS : RUN_MALFORMED);
    }
}

static void begin_spec(enum run_kind kind)
{
    begin();
    text_addf(&json,
              "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"c\",\"resourceVersion\":\"1\"},"
              "\"spec\":{\"%s\":" REF ",\"retries\":%d,",
              kind == KIND_RUN ? "ref" : "customRef", RUN_MAX_RETRIES);
}

static void params(void)
{
    static const struct {
        const char *params;
        enum run_fault fault;
        const char *says;
    } rows[] = {
        {"[{\"name\":\"revision\",\"value\":false}]", FAULT_NONE, ""},
        {"[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"objects\",\"value\":[\"K/n/a\",\"K/n/b\"]}]",
         FAULT_NONE, ""},
        {"[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"objects\",\"value\":[\"K/n/a\",7]}]",
         FAULT_PARAMS, "must be a string or an array of strings"},
        {"[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"objects\",\"value\":[null]}]", FAULT_PARAMS,
         "must be a string or an array of strings"},
        {"[{\"name\":\"revision\",\"value\":\"a\"},{\"name\":\"objects\",\"value\":[]}]", FAULT_PARAMS,
         "name at least one object"},
        {"[{\"name\":\"revision\",\"value\":[\"a\",\"b\"]}]", FAULT_PARAMS, "revision"},
        {"true", FAULT_PARAMS, "not an array"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("%s", rows[i].params);
        begin_spec(KIND_CUSTOMRUN);
        text_addf(&json, "\"params\":%s}}", rows[i].params);
        CHECK_INT(parse(KIND_CUSTOMRUN), RUN_OURS);
        CHECK_INT(run.fault, rows[i].fault);
        CHECK_HAS(run_rare(&run)->fault_message, str_of(rows[i].says));
    }
    harness_case("false is a text");
    begin_spec(KIND_RUN);
    text_addf(&json, "\"params\":[{\"name\":\"revision\",\"value\":false}]}}");
    CHECK_INT(parse(KIND_RUN), RUN_OURS);
    CHECK_STR(run.revision, STR("false"));
}

/* The most are read one by one, and one more is refused without it. */
static void many_params(void)
{
    for (size_t n = RUN_MAX_PARAMS; n <= RUN_MAX_PARAMS + 1; n++) {
        harness_case("%zu", n);
        begin_spec(KIND_CUSTOMRUN);
        text_addf(&json, "\"params\":[{\"name\":\"revision\",\"value\":\"abc\"}");
        for (size_t i = 1; i < n; i++)
            text_addf(&json, ",{\"name\":\"p%zu\",\"value\":\"\"}", i);
        text_addf(&json, "]}}");
        CHECK_INT(parse(KIND_CUSTOMRUN), RUN_OURS);
        CHECK_INT(run.fault, FAULT_PARAMS);
        CHECK_INT(str_has(run_rare(&run)->fault_message, STR("There are too many params.")),
                  n > RUN_MAX_PARAMS);
        CHECK_INT(str_has(run_rare(&run)->fault_message, STR("p1")), n <= RUN_MAX_PARAMS);
    }
}

/* The message names the member that is to be left out, which the two kinds call differently; the name may be of any
 * length. */
static void ref_name(void)
{
    for (int kind = 0; kind < RUN_KINDS; kind++) {
        const char *member = kind == KIND_RUN ? "ref" : "customRef";
        char want[64];
        harness_case("%s", member);
        begin();
        text_addf(
            &json,
            "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"c\",\"resourceVersion\":\"1\"},"
            "\"spec\":{\"%s\":{\"apiVersion\":\"flux-event-store.dev/v1\",\"kind\":\"FluxDeploymentWait\","
            "\"name\":\"",
            member);
        add_many('n', 10000);
        text_addf(&json, "\"}," PARAMS "}}");
        CHECK_INT(parse((enum run_kind)kind), RUN_OURS);
        CHECK_INT(run.fault, FAULT_NAME);
        (void)snprintf(want, sizeof want, ": leave spec.%s.name out.", member);
        CHECK(str_ends(run_rare(&run)->fault_message, str_of(want)));
        CHECK(run_rare(&run)->fault_message.len < 512);
    }
}

/* Parses a CustomRun with this begin of a status, so many x, and this end. */
static void parse_status(const char *before, size_t n, const char *after)
{
    begin_spec(KIND_CUSTOMRUN);
    text_addf(&json, PARAMS "},\"status\":{%s", before);
    add_many('x', n);
    text_addf(&json, "%s}}", after);
    CHECK_INT(parse(KIND_CUSTOMRUN), RUN_OURS);
}

/* Annotations and extraFields are carried into retriesStatus, but only so much of them: the object has to fit into etcd.
 */
static void what_a_retry_carries(void)
{
    size_t most = RUN_MAX_CARRIED - strlen("{\"a\":\"\"}");

    for (size_t n = most; n <= most + 1; n++) {
        bool carried = n == most;
        harness_case("%zu", n);
        parse_status("\"annotations\":{\"a\":\"", n, "\"}");
        CHECK_INT(run_rare(&run)->annotations.len, carried ? RUN_MAX_CARRIED : 0);
        CHECK_INT(run_rare(&run)->extra_fields.len, 0);
        parse_status("\"extraFields\":{\"a\":\"", n, "\"}");
        CHECK_INT(run_rare(&run)->extra_fields.len, carried ? RUN_MAX_CARRIED : 0);
        CHECK_INT(run_rare(&run)->annotations.len, 0);
    }
    harness_case("of other types");
    parse_status("\"annotations\":[],\"extraFields\":null", 0, "");
    CHECK_INT(run_rare(&run)->annotations.len, 0);
    CHECK_INT(run_rare(&run)->extra_fields.len, 0);
}

static void attempts(void)
{
    harness_case("the last retry is done: nothing is carried any more");
    begin_spec(KIND_CUSTOMRUN);
    text_addf(&json, PARAMS "},\"status\":{\"annotations\":{\"a\":\"b\"},\"retriesStatus\":[{}");
    for (size_t i = 1; i < RUN_MAX_RETRIES + 5; i++)
        text_addf(&json, ",{}");
    text_addf(&json, "]}}");
    CHECK_INT(parse(KIND_CUSTOMRUN), RUN_OURS);
    CHECK_INT(run.retries_done, RUN_MAX_RETRIES);
    CHECK_INT(run_rare(&run)->retries_status.len, 0);
    CHECK_INT(run_rare(&run)->annotations.len, 0);

    harness_case("an attempt that began at another second than the status says");
    parse_status("\"startTime\":\"2026-01-01T00:05:00Z\",\"retriesStatus\":[{}],"
                 "\"extraFields\":{\"attemptStartTime\":\"2026-01-01T00:05:01.250Z\"}",
                 0, "");
    CHECK_INT(run.attempt_ms, run.start_ms + 1250);
    harness_case("an attempt without a start");
    parse_status("\"retriesStatus\":[{}],\"extraFields\":{\"attemptStartTime\":\"2026-01-01T00:05:01.250Z\"}",
                 0, "");
    CHECK(!run.has_start);
    CHECK(run.attempt_ms != RUN_NO_TIME);
    harness_case("a time that is none");
    parse_status("\"startTime\":\"2026-01-01T00:05:00Z\",\"retriesStatus\":[{}],"
                 "\"extraFields\":{\"attemptStartTime\":5}",
                 0, "");
    CHECK_INT(run.attempt_ms, run.start_ms);
}

/* Only the first condition of type Succeeded counts; those of others are kept, those of none are not. */
static void conditions(void)
{
    parse_status(
        "\"conditions\":[{\"status\":\"True\"},{\"type\":\"\"},{\"type\":\"Ready\",\"status\":\"True\"},"
        "{\"type\":\"Succeeded\",\"status\":\"Unknown\",\"reason\":\"one\"},"
        "{\"type\":\"Succeeded\",\"status\":\"True\",\"reason\":\"two\"}]",
        0, "");
    CHECK_INT(run.succeeded, SUCCEEDED_UNKNOWN);
    CHECK_STR(run.reason, STR("one"));
    CHECK_STR(run_rare(&run)->foreign_conditions, STR("[{\"type\":\"Ready\",\"status\":\"True\"}]"));
}

int main(void)
{
    int failed = harness_run((struct test[]){TEST(names_and_ids),
                                             TEST(params),
                                             TEST(many_params),
                                             TEST(ref_name),
                                             TEST(what_a_retry_carries),
                                             TEST(attempts),
                                             TEST(conditions),
                                             {0}});
    run_release(&run);
    return failed;
}
