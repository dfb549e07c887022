/* The status of Flux objects as events: every sample of test/golden/status has a row here, and every row a
 * sample. The samples named never-* decide nothing. */
#include "controller/flux_status.h"

#include "golden.h"
#include "store/classify_priv.h"
#include "store/event_json.h"
#include "store/units.h"

#define R1     "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
#define R2     "main@sha1:bd88a9156325322a124e55a369b59063470310eb"
#define OCI    "latest@sha256:6f132a51cacdd080a2efc97cdc20b1807c025b6464c58a530f3803373d5f12cf"
#define R2021  "main/594a4f770b226c3acf29736fdf2c0e835b7e037f"
#define DIGEST "sha256:0cc9a8446c95009ef382f5eade883a67c257f77d50f84e78ecef2aac9428d1e5"

static const struct row {
    const char *file; /* below test/golden/status */
    enum event_class class;
    const char *reason;
    const char *revision;
    const char *time; /* of 2026-08-01 */
    const char *origin_revision;
    const char *oci_digest;
} rows[] = {
    {"kustomization/ready.json", CLASS_SUCCESS, "ReconciliationSucceeded", R1, "10:00:12", "", ""},
    {"kustomization/ready-oci-origin.json", CLASS_SUCCESS, "ReconciliationSucceeded", OCI, "10:00:12", R1,
     ""},
    {"kustomization/ready-suspended.json", CLASS_SUCCESS, "ReconciliationSucceeded", R1, "10:00:12", "", ""},
    {"kustomization/ready-of-the-previous-generation.json", CLASS_SUCCESS, "ReconciliationSucceeded", R1,
     "10:00:12", "", ""},
    {"kustomization/ready-v1beta2.json", CLASS_SUCCESS, "ReconciliationSucceeded", R1, "10:00:12", "", ""},
    {"kustomization/ready-2021-v1beta1.json", CLASS_SUCCESS, "ReconciliationSucceeded", R2021, "10:00:12", "",
     ""},
    {"kustomization/build-failed.json", CLASS_FAILURE, "BuildFailed", R2, "10:05:00", "", ""},
    {"kustomization/reconciliation-failed.json", CLASS_FAILURE, "ReconciliationFailed", R2, "10:05:00", "",
     ""},
    {"kustomization/prune-failed.json", CLASS_FAILURE, "PruneFailed", R2, "10:05:00", "", ""},
    {"kustomization/health-check-failed.json", CLASS_FAILURE, "HealthCheckFailed", R2, "10:11:00", "", ""},
    {"kustomization/health-check-failed-suspended.json", CLASS_FAILURE, "HealthCheckFailed", R2, "10:11:00",
     "", ""},
    {.file = "kustomization/never-artifact-failed.json"},
    {.file = "kustomization/never-source-not-found.json"},
    {.file = "kustomization/never-progressing.json"},
    {.file = "kustomization/never-dependency-not-ready.json"},
    {.file = "kustomization/never-health-check-canceled.json"},
    {.file = "kustomization/never-directory-creation-failed.json"},
    {.file = "kustomization/never-invalid-cel.json"},
    {.file = "kustomization/never-access-denied.json"},
    {.file = "kustomization/never-between-the-two-writes.json"},
    {.file = "kustomization/never-new.json"},
    {.file = "kustomization/never-without-status.json"},
    {.file = "kustomization/never-first-run-failing-early.json"},
    {.file = "kustomization/never-being-deleted.json"},

    {"helmrelease/ready-upgraded.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1", "10:10:20", "", ""},
    {"helmrelease/ready-installed.json", CLASS_SUCCESS, "InstallSucceeded", "6.5.1", "10:10:20", "", ""},
    {"helmrelease/ready-oci-digest.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1+0cc9a8446c95", "10:10:20",
     "", DIGEST},
    {"helmrelease/ready-tested.json", CLASS_SUCCESS, "TestSucceeded", "6.5.1", "10:07:41", "", ""},
    {"helmrelease/ready-test-failures-ignored.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1", "10:07:20",
     "", ""},
    {"helmrelease/ready-suspended.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1", "10:10:20", "", ""},
    {"helmrelease/ready-of-the-previous-generation.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1",
     "10:10:20", "", ""},
    {"helmrelease/ready-after-reverting-to-the-rollback.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.0",
     "10:15:20", "", ""},
    {"helmrelease/ready-v2beta2.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1", "10:10:20", "", ""},
    {"helmrelease/ready-v2beta2-without-history.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1", "10:07:20",
     "", ""},
    {"helmrelease/ready-2023-v2beta1.json", CLASS_SUCCESS, "UpgradeSucceeded", "6.5.1", "10:07:20", "", ""},
    {"helmrelease/upgrade-failed.json", CLASS_FAILURE, "UpgradeFailed", "6.5.1", "10:07:21", "", DIGEST},
    {"helmrelease/upgrade-failed-2023-v2beta1.json", CLASS_FAILURE, "UpgradeFailed", "6.5.1", "10:07:20", "",
     ""},
    {"helmrelease/upgrade-failed-retrying-later.json", CLASS_FAILURE, "UpgradeFailed", "6.5.1", "10:07:21",
     "", ""},
    {"helmrelease/upgrade-failed-rolled-back.json", CLASS_FAILURE, "UpgradeFailed", "6.5.1", "10:07:21", "",
     ""},
    {"helmrelease/upgrade-failed-then-source-not-ready.json", CLASS_FAILURE, "UpgradeFailed", "6.5.1",
     "10:07:21", "", ""},
    {"helmrelease/install-failed.json", CLASS_FAILURE, "InstallFailed", "6.5.1", "10:07:21", "", ""},
    {"helmrelease/install-failed-uninstalled.json", CLASS_FAILURE, "InstallFailed", "6.5.1", "10:07:21", "",
     ""},
    {"helmrelease/test-failed.json", CLASS_FAILURE, "TestFailed", "6.5.1", "10:07:41", "", ""},
    {"helmrelease/test-failed-rolled-back.json", CLASS_FAILURE, "TestFailed", "6.5.1", "10:07:41", "", ""},
    {.file = "helmrelease/never-upgrading.json"},
    {.file = "helmrelease/never-upgrading-after-a-failure.json"},
    {.file = "helmrelease/never-retrying-the-same.json"},
    {.file = "helmrelease/never-failure-of-the-chart-before.json"},
    {.file = "helmrelease/never-test-failure-of-the-chart-before.json"},
    {.file = "helmrelease/never-fulfilling-prerequisites.json"},
    {.file = "helmrelease/never-between-the-two-writes.json"},
    {.file = "helmrelease/never-awaiting-tests.json"},
    {.file = "helmrelease/never-artifact-failed.json"},
    {.file = "helmrelease/never-values-error.json"},
    {.file = "helmrelease/never-dependency-not-ready.json"},
    {.file = "helmrelease/never-source-not-ready.json"},
    {.file = "helmrelease/never-remediated.json"},
    {.file = "helmrelease/never-latest-release-not-deployed.json"},
    {.file = "helmrelease/never-uninstalled.json"},
    {.file = "helmrelease/never-being-deleted.json"},
    {.file = "helmrelease/never-new.json"},
    {.file = "helmrelease/never-ready-without-a-release.json"},
};
#define N_ROWS (sizeof rows / sizeof rows[0])

static const char *path_of(const char *file)
{
    static char path[256];

    (void)snprintf(path, sizeof path, "test/golden/status/%s", file);
    return path;
}

/* The sample's status; fails the test when it is refused. */
static struct flux_status *read_sample(const char *file)
{
    char err[FLUX_STATUS_ERROR] = "";
    struct str json = golden_read(path_of(file));
    struct flux_status *s = flux_status_read(json, err);

    free((char *)json.at);
    if (!s)
        HARNESS_FAIL("%s: %s", file, err);
    return s;
}

static void check_event(const struct row *r, const struct flux_event *e, struct str body)
{
    bool helm = str_starts(str_of(r->file), STR("helm"));
    char time[TIME_TEXT], want[TIME_TEXT];

    CHECK_INT(classify(e->kind, e->controller, e->severity, e->reason, e->message), r->class);
    CHECK_STR(e->kind, helm ? STR("HelmRelease") : STR("Kustomization"));
    CHECK_STR(e->namespace, helm ? STR("apps") : STR("flux-system"));
    CHECK_STR(e->name, helm ? STR("podinfo") : STR("apps"));
    CHECK_STR(e->uid, helm ? STR("b380efb3-5c0e-4a3e-9d40-0b2f8c1f7a11")
                           : STR("7d0cdc51-ddcf-4743-b223-83ca5c699632"));
    CHECK_STR(e->controller, helm ? STR("helm-controller") : STR("kustomize-controller"));
    CHECK_STR(e->severity, r->class == CLASS_SUCCESS ? STR("info") : STR("error"));
    CHECK_STR(e->reason, str_of(r->reason));
    CHECK_STR(e->revision, str_of(r->revision));
    CHECK_STR(e->origin_revision, str_of(r->origin_revision));
    CHECK_STR(e->oci_digest, str_of(r->oci_digest));
    CHECK_STR(e->commit, STR_NONE); /* annotations change before the status does */
    CHECK(e->message.len > 0);
    CHECK(e->has_timestamp && e->plain);
    (void)snprintf(want, sizeof want, "2026-08-01T%sZ", r->time);
    CHECK_TEXT(time_format(e->timestamp_ms, time), want);
    CHECK_HAS(body, helm ? STR("\"resourceVersion\":\"1042990\"") : STR("\"resourceVersion\":\"1042311\""));
}

static void test_samples(void)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        struct str body = STR_NONE;
        struct flux_status *s = read_sample(rows[i].file);
        const struct flux_event *e = flux_status_event(s, &body);

        harness_case("%s", rows[i].file);
        if (rows[i].reason) {
            CHECK(e != NULL);
            check_event(&rows[i], e, body);
        } else {
            CHECK(e == NULL);
            CHECK(body.at == NULL);
        }
        flux_status_free(s);
    }
}

static void test_every_sample_has_a_row(void)
{
    glob_t found;

    CHECK_INT(glob("test/golden/status/*/*.json", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        bool listed = false;
        for (size_t k = 0; k < N_ROWS && !listed; k++)
            listed = strcmp(found.gl_pathv[i], path_of(rows[k].file)) == 0;
        harness_case("%s", found.gl_pathv[i]);
        CHECK(listed);
    }
    CHECK_INT(found.gl_pathc, N_ROWS);
    globfree(&found);
}

/* Byte by byte what a controller would have sent, but for the message. */
static void test_body(void)
{
    struct str body = STR_NONE;
    struct flux_status *s = read_sample("kustomization/ready-oci-origin.json");

    CHECK(flux_status_event(s, &body) != NULL);
    CHECK_STR(
        body,
        STR("{\"involvedObject\":{\"kind\":\"Kustomization\",\"namespace\":\"flux-system\",\"name\":\"apps\","
            "\"uid\":\"7d0cdc51-ddcf-4743-b223-83ca5c699632\","
            "\"apiVersion\":\"kustomize.toolkit.fluxcd.io/v1\",\"resourceVersion\":\"1042311\"},"
            "\"severity\":\"info\",\"timestamp\":\"2026-08-01T10:00:12Z\","
            "\"message\":\"Applied revision: " OCI "\",\"reason\":\"ReconciliationSucceeded\","
            "\"metadata\":{\"originRevision\":\"" R1 "\",\"revision\":\"" OCI "\"},"
            "\"reportingController\":\"kustomize-controller\"}"));
    flux_status_free(s);

    s = read_sample("helmrelease/ready-oci-digest.json");
    CHECK(flux_status_event(s, &body) != NULL);
    CHECK_HAS(body, STR("\"metadata\":{\"app-version\":\"6.5.1\",\"oci-digest\":\"" DIGEST "\","
                        "\"revision\":\"6.5.1+0cc9a8446c95\"},\"reportingController\":\"helm-controller\"}"));
    flux_status_free(s);
}

static void test_facts(void)
{
    struct flux_facts facts;
    struct flux_status *s = read_sample("kustomization/health-check-failed-suspended.json");

    CHECK(flux_status_suspended(s));
    flux_status_facts(s, &facts);
    CHECK_STR(facts.kind, STR("Kustomization"));
    CHECK_STR(facts.namespace, STR("flux-system"));
    CHECK_STR(facts.name, STR("apps"));
    CHECK(!facts.deleting);
    flux_status_free(s);

    s = read_sample("helmrelease/never-being-deleted.json");
    CHECK(!flux_status_suspended(s));
    flux_status_facts(s, &facts);
    CHECK_STR(facts.kind, STR("HelmRelease"));
    CHECK(facts.deleting);
    flux_status_free(s);
    flux_status_free(NULL);
}

#define KUSTOMIZATION "\"kind\":\"Kustomization\",\"apiVersion\":\"kustomize.toolkit.fluxcd.io/v1\","
#define NAMED         "\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"c\"}"
#define READY         "{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":"
#define APPLIED       ",\"lastAppliedRevision\":\"main@sha1:abc\""

static const struct {
    const char *name;
    const char *json;
    const char *err; /* a part of it; NULL: well formed */
} shapes[] = {
    {"empty", "", "not a JSON object"},
    {"no JSON", "{", "not a JSON object"},
    {"an array", "[]", "not a JSON object"},
    {"another kind", "{\"kind\":\"GitRepository\",\"apiVersion\":\"source.toolkit.fluxcd.io/v1\"," NAMED "}",
     "neither"},
    {"the other Kustomization",
     "{\"kind\":\"Kustomization\",\"apiVersion\":\"kustomize.config.k8s.io/v1beta1\"," NAMED "}", "neither"},
    {"a group that only begins so",
     "{\"kind\":\"Kustomization\",\"apiVersion\":\"kustomize.toolkit.fluxcd.io.example.org/v1\"," NAMED "}",
     "neither"},
    {"no metadata", "{" KUSTOMIZATION "\"status\":{}}", "without name"},
    {"no uid", "{" KUSTOMIZATION "\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}", "without name"},
    {"a name that is a number",
     "{" KUSTOMIZATION "\"metadata\":{\"name\":1,\"namespace\":\"b\",\"uid\":\"c\"}}", "without name"},
    {"a spec that is a string", "{" KUSTOMIZATION NAMED ",\"spec\":\"\"}", "spec:"},
    {"a status that is an array", "{" KUSTOMIZATION NAMED ",\"status\":[]}", "status:"},
    {"conditions that are an object", "{" KUSTOMIZATION NAMED ",\"status\":{\"conditions\":{}}}",
     "status.conditions:"},
    {"a condition that is a string", "{" KUSTOMIZATION NAMED ",\"status\":{\"conditions\":[\"Ready\"]}}",
     "status.conditions:"},
    {"a history that is a string", "{" KUSTOMIZATION NAMED ",\"status\":{\"history\":\"\"}}",
     "status.history:"},
    {"no time", "{" KUSTOMIZATION NAMED ",\"status\":{\"conditions\":[" READY "null}]" APPLIED "}}",
     "lastTransitionTime"},
    {"a time that is none",
     "{" KUSTOMIZATION NAMED ",\"status\":{\"conditions\":[" READY "\"today\"}]" APPLIED "}}",
     "lastTransitionTime"},
    {"no name", "{" KUSTOMIZATION "\"metadata\":{\"namespace\":\"b\",\"uid\":\"c\"}}", "without name"},
    {"no namespace", "{" KUSTOMIZATION "\"metadata\":{\"name\":\"a\",\"uid\":\"c\"}}", "without name"},
    {"a history of numbers", "{" KUSTOMIZATION NAMED ",\"status\":{\"history\":[1]}}", "status.history:"},
    {"a metadata that is null", "{" KUSTOMIZATION "\"metadata\":null}", "without name"},
    {"a spec that is null", "{" KUSTOMIZATION NAMED ",\"spec\":null}", NULL},
    {"a status that is null", "{" KUSTOMIZATION NAMED ",\"status\":null}", NULL},
    {"no status", "{" KUSTOMIZATION NAMED "}", NULL},
    {"null members", "{" KUSTOMIZATION NAMED ",\"status\":{\"conditions\":null,\"history\":null}}", NULL},
    {"a revision that is a number",
     "{" KUSTOMIZATION NAMED ",\"status\":{\"conditions\":[" READY "null}],\"lastAppliedRevision\":1}}",
     NULL},
};

/* To Kubernetes null is as good as absent: what is there is read nevertheless. */
static void test_null_beside_what_is_needed(void)
{
    static const char json[] =
        "{" KUSTOMIZATION NAMED ",\"spec\":null,\"status\":{\"history\":null,\"conditions\":[" READY
        "\"2026-08-01T10:00:00Z\"}]" APPLIED "}}";
    char err[FLUX_STATUS_ERROR] = "";
    struct str body;
    struct flux_status *s = flux_status_read(str_of(json), err);

    CHECK_TEXT(err, "");
    CHECK(s != NULL);
    CHECK(!flux_status_suspended(s));
    const struct flux_event *event = flux_status_event(s, &body);
    CHECK(event != NULL);
    CHECK_STR(event->reason, STR("ReconciliationSucceeded"));
    CHECK_STR(event->revision, STR("main@sha1:abc"));
    flux_status_free(s);
}

static void test_malformed(void)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char err[FLUX_STATUS_ERROR] = "";
        struct str body;
        struct flux_status *s = flux_status_read(str_of(shapes[i].json), err);

        harness_case("%s", shapes[i].name);
        if (shapes[i].err) {
            CHECK(s == NULL);
            CHECK_HAS(str_of(err), str_of(shapes[i].err));
        } else {
            CHECK(s != NULL);
            CHECK(flux_status_event(s, &body) == NULL);
        }
        flux_status_free(s);
    }
}

/* Helm values may hold any number; only what no API server can have stored, for it reads numbers as 64 bits or as a
 * double itself, makes an object unreadable. */
static void test_large_numbers(void)
{
    static const struct {
        const char *name, *number;
        bool readable;
    } numbers[] = {
        {"integer beyond 64 bits", "123456789012345678901234567890", true},
        {"negative", "-123456789012345678901234567890", true},
        {"real", "1.5e300", true},
        {"too small for a double", "1e-400", true},
        {"beyond a double", "1e400", false},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char json[2048], err[FLUX_STATUS_ERROR] = "";
        struct str body;

        harness_case("%s", numbers[i].name);
        snprintf(json, sizeof json,
                 "{" KUSTOMIZATION NAMED ",\"spec\":{\"values\":[%s]},\"status\":{\"conditions\":[" READY
                 "\"2026-08-01T10:00:12Z\"}]" APPLIED "}}",
                 numbers[i].number);
        struct flux_status *s = flux_status_read(str_of(json), err);
        CHECK_INT(s != NULL, numbers[i].readable);
        if (s)
            CHECK(flux_status_event(s, &body) != NULL);
        flux_status_free(s);
    }
}

/* What is quoted from the object arrives in the event as it was. */
static void test_odd_text(void)
{
    char err[FLUX_STATUS_ERROR] = "";
    struct str body;
    struct flux_status *s = flux_status_read(
        STR("{" KUSTOMIZATION NAMED ",\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\","
            "\"reason\":\"BuildFailed\",\"message\":\"a\\u0000b\\u2028\\ud83d\\ude80<\\n\","
            "\"lastTransitionTime\":\"2026-08-01T10:00:12+02:00\"}],\"lastAttemptedRevision\":\"x\"}}"),
        err);
    const struct flux_event *e;

    CHECK_TEXT(err, "");
    e = flux_status_event(s, &body);
    CHECK(e != NULL);
    CHECK_STR(e->message, STR("a\0b\xe2\x80\xa8\xf0\x9f\x9a\x80<\n"));
    CHECK_INT(e->timestamp_ms, INT64_C(1785571212000));
    flux_status_free(s);
}

/* A message of Ready that names another chart is of another release; one that names none is of this. */
static void test_whom_a_message_is_about(void)
{
    static const struct {
        const char *message;
        bool decides;
    } cases[] = {
        {"Helm upgrade succeeded for release a/b.v2 with chart podinfo@6.5.1", true},
        {"Helm upgrade succeeded for release a/b.v2 with chart podinfo@6.5.0", false},
        {"Helm upgrade succeeded for release a/b.v2 with chart podinfo@6.5.1: notes", true},
        {"Helm upgrade succeeded for release a/b.v2 with chart podinfo@6.5.10", false},
        {"Helm upgrade succeeded for release a/b.v2 with chart podinfo", true},
        {"Release reconciliation succeeded", true},
        {"", true},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[1024], err[FLUX_STATUS_ERROR] = "";
        struct str body;
        harness_case("%s", cases[i].message);
        (void)snprintf(
            json, sizeof json,
            "{\"kind\":\"HelmRelease\",\"apiVersion\":\"helm.toolkit.fluxcd.io/v2\"," NAMED
            ",\"status\":{\"history\":[{\"chartVersion\":\"6.5.1\"}],\"conditions\":[{\"type\":\"Ready\","
            "\"status\":\"True\",\"reason\":\"UpgradeSucceeded\",\"message\":\"%s\","
            "\"lastTransitionTime\":\"2026-08-01T10:00:12Z\"}]}}",
            cases[i].message);
        struct flux_status *s = flux_status_read(str_of(json), err);
        CHECK_TEXT(err, "");
        CHECK_INT(flux_status_event(s, &body) != NULL, cases[i].decides);
        flux_status_free(s);
    }
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_samples),
                                       TEST(test_every_sample_has_a_row),
                                       TEST(test_body),
                                       TEST(test_facts),
                                       TEST(test_malformed),
                                       TEST(test_null_beside_what_is_needed),
                                       TEST(test_odd_text),
                                       TEST(test_whom_a_message_is_about),
                                       TEST(test_large_numbers),
                                       {0}});
}
