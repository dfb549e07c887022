/* Classification: a row for each line of the reasons that Flux's controllers use, and every sample event. */
#include "harness.h"

#include "golden.h"
#include "store/classify_priv.h"
#include "store/event_json.h"

#define KS "Kustomization"
#define HR "HelmRelease"

struct row {
    const char *kind, *severity, *reason, *message;
    enum event_class class;
};

static void check_rows(const struct row *rows, size_t n, const char *controller)
{
    for (size_t i = 0; i < n; i++) {
        harness_case("%s %s %s \"%s\"", rows[i].kind, rows[i].severity, rows[i].reason, rows[i].message);
        CHECK_INT(classify(str_of(rows[i].kind), str_of(controller), str_of(rows[i].severity),
                           str_of(rows[i].reason), str_of(rows[i].message)),
                  rows[i].class);
    }
}
#define CHECK_ROWS(rows, controller) check_rows(rows, sizeof(rows) / sizeof(rows)[0], controller)

static void test_kustomization(void)
{
    static const struct row rows[] = {
        {KS, "info", "ReconciliationSucceeded", "Reconciliation finished in 2s, next run in 10m0s",
         CLASS_SUCCESS},
        {KS, "info", "ReconciliationSucceeded", "Update completed", CLASS_SUCCESS},
        {KS, "", "ReconciliationSucceeded", "", CLASS_SUCCESS},
        {KS, "error", "ReconciliationSucceeded", "pruning for deleted resource failed", CLASS_PROGRESS},
        {KS, "info", "Progressing", "Deployment/apps/podinfo configured", CLASS_PROGRESS},
        {KS, "info", "Progressing", "Health check passed in 1.5s", CLASS_PROGRESS},
        {KS, "error", "Progressing", "status patch failed", CLASS_PROGRESS},
        {KS, "info", "DependencyNotReady", "", CLASS_PROGRESS},
        {KS, "info", "HealthCheckCanceled", "", CLASS_PROGRESS},
        {KS, "error", "ArtifactFailed", "", CLASS_FAILURE},
        {KS, "error", "BuildFailed", "", CLASS_FAILURE},
        {KS, "error", "ReconciliationFailed", "", CLASS_FAILURE},
        {KS, "error", "ValidationFailed", "", CLASS_FAILURE},
        {KS, "error", "PruneFailed", "", CLASS_FAILURE},
        {KS, "error", "HealthCheckFailed", "", CLASS_FAILURE},
        {KS, "info", "HealthCheckFailed", "", CLASS_FAILURE},
        {KS, "error", "StorageOperationFailed", "", CLASS_FAILURE},
        {KS, "error", "DirectoryCreationFailed", "", CLASS_FAILURE},
        {KS, "error", "InvalidCELExpression", "", CLASS_FAILURE},
        {KS, "", "BuildFailed", "", CLASS_FAILURE},
        {KS, "info", "ArtifactFailed", "", CLASS_PROGRESS},
        {KS, "info", "BuildFailed", "", CLASS_PROGRESS},
        {KS, "info", "ReconciliationFailed", "", CLASS_PROGRESS},
        {KS, "info", "ValidationFailed", "", CLASS_PROGRESS},
        {KS, "info", "PruneFailed", "", CLASS_PROGRESS},
        {KS, "info", "StorageOperationFailed", "", CLASS_PROGRESS},
        {KS, "info", "DirectoryCreationFailed", "", CLASS_PROGRESS},
        {KS, "info", "InvalidCELExpression", "", CLASS_PROGRESS},
        {KS, "error", "FeatureGateDisabled", "", CLASS_PROGRESS},
        {KS, "error", "AccessDenied", "", CLASS_PROGRESS},
        {KS, "error", "SomethingNew", "", CLASS_PROGRESS},
        {KS, "error", "UpgradeFailed", "", CLASS_PROGRESS},
        {KS, "info", "UpgradeSucceeded", "", CLASS_PROGRESS},
        {KS, "info", "reconciliationsucceeded", "", CLASS_PROGRESS},
        {KS, "info", "info", "Helm upgrade succeeded", CLASS_PROGRESS},
        {KS, "info", "", "", CLASS_PROGRESS},
    };
    CHECK_ROWS(rows, "kustomize-controller");
    CHECK_ROWS(rows, "");
}

static void test_helm_release(void)
{
    static const struct row rows[] = {
        {HR, "info", "InstallSucceeded", "", CLASS_SUCCESS},
        {HR, "info", "UpgradeSucceeded", "", CLASS_SUCCESS},
        {HR, "info", "TestSucceeded", "", CLASS_SUCCESS},
        {HR, "error", "InstallFailed", "", CLASS_FAILURE},
        {HR, "error", "UpgradeFailed", "", CLASS_FAILURE},
        {HR, "error", "TestFailed", "", CLASS_FAILURE},
        {HR, "info", "RollbackSucceeded", "", CLASS_OTHER},
        {HR, "error", "RollbackFailed", "", CLASS_OTHER},
        {HR, "info", "UninstallSucceeded", "", CLASS_PROGRESS},
        {HR, "error", "UninstallFailed", "", CLASS_PROGRESS},
        {HR, "info", "PendingRelease", "", CLASS_PROGRESS},
        {HR, "error", "PendingRelease", "", CLASS_PROGRESS},
        {HR, "error", "DriftDetected", "", CLASS_OTHER},
        {HR, "info", "DriftCorrected", "", CLASS_OTHER},
        {HR, "error", "DriftCorrectionFailed", "", CLASS_OTHER},
        {HR, "info", "DependencyNotReady", "", CLASS_PROGRESS},
        {HR, "info", "HealthCheckCanceled", "", CLASS_PROGRESS},
        {HR, "error", "ArtifactFailed", "", CLASS_OTHER},
        {HR, "error", "ValuesError", "", CLASS_OTHER},
        {HR, "error", "InvalidCELExpression", "", CLASS_OTHER},
        {HR, "error", "AccessDenied", "", CLASS_OTHER},
        {HR, "error", "InventoryBuildFailed", "", CLASS_OTHER},
        {HR, "error", "NamespaceCheckSkipped", "", CLASS_OTHER},
        {HR, "info", "ReconciliationSucceeded", "", CLASS_OTHER},
        {HR, "error", "BuildFailed", "", CLASS_OTHER},
        {HR, "error", "SomethingNew", "", CLASS_OTHER},
        /* helm-controller below 0.37 */
        {HR, "info", "info", "Helm install has started", CLASS_PROGRESS},
        {HR, "info", "info", "Helm upgrade has started", CLASS_PROGRESS},
        {HR, "info", "info", "Helm install succeeded", CLASS_SUCCESS},
        {HR, "info", "info", "Helm upgrade succeeded", CLASS_SUCCESS},
        {HR, "info", "info", "Helm test succeeded", CLASS_SUCCESS},
        {HR, "error", "error", "Helm install failed: timed out", CLASS_FAILURE},
        {HR, "error", "error", "Helm upgrade failed: timed out", CLASS_FAILURE},
        {HR, "error", "error", "Helm test failed: pod failed", CLASS_FAILURE},
        {HR, "info", "info", "Helm rollback succeeded", CLASS_OTHER},
        {HR, "error", "error", "Helm rollback failed: x", CLASS_OTHER},
        {HR, "info", "info", "Helm uninstall succeeded", CLASS_OTHER},
        {HR, "error", "error", "Helm uninstall failed: x", CLASS_OTHER},
        {HR, "error", "error", "reconciliation failed: install retries exhausted", CLASS_FAILURE},
        {HR, "error", "error", "chart reconciliation failed: no such chart", CLASS_FAILURE},
        {HR, "info", "info", "dependencies do not meet ready condition (x)", CLASS_PROGRESS},
        {HR, "error", "error", "dependencies do not meet ready condition (x)", CLASS_PROGRESS},
        {HR, "info", "info", "HelmChart 'ns/name' is not ready", CLASS_PROGRESS},
        {HR, "info", "info", "", CLASS_PROGRESS},
        {HR, "info", "info", "the Helm upgrade succeeded", CLASS_PROGRESS},
    };
    CHECK_ROWS(rows, "helm-controller");
    CHECK_ROWS(rows, "");
}

static void test_sources(void)
{
    static const char *const errors[] = {
        "ArtifactVerificationFailed",
        "AuthenticationFailed",
        "URLInvalid",
        "DirectoryCreationFailed",
        "StatOperationFailed",
        "ReadOperationFailed",
        "AcquireLockFailed",
        "InvalidPath",
        "ArchiveOperationFailed",
        "PatchOperationFailed",
        "CacheOperationFailed",
        "VerificationError",
        "GarbageCollectionFailed",
        "SourceIgnoreError",
        "FeatureGateDisabled",
        "InvalidProviderConfiguration",
        "InvalidSTSConfiguration",
        "Failed",
        "GitOperationFailed",
        "IllegalPath",
        "OCIArtifactPullFailed",
        "OCIArtifactLayerOperationFailed",
        "BucketOperationFailed",
        "IndexationFailed",
        "NoSourceArtifact",
        "ArtifactUpToDate",
        "GitOperationSucceeded",
        "BuildFailed",
        "ReconciliationSucceeded",
        "error",
        "info",
    };
    static const char *const source_kinds[] = {"GitRepository", "OCIRepository", "Bucket", "HelmRepository",
                                               "HelmChart"};
    static const char *const news[] = {"NewArtifact", "Succeeded", "ChartPullSucceeded",
                                       "ChartPackageSucceeded"};

    for (size_t k = 0; k < 5; k++) {
        struct str kind = str_of(source_kinds[k]);
        for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
            harness_case("%s %s", source_kinds[k], errors[i]);
            CHECK_INT(classify(kind, STR("source-controller"), STR("error"), str_of(errors[i]),
                               STR("Helm test failed")),
                      CLASS_OTHER);
        }
        for (size_t i = 0; i < sizeof news / sizeof news[0]; i++) {
            harness_case("%s %s", source_kinds[k], news[i]);
            CHECK_INT(classify(kind, STR_NONE, STR("info"), str_of(news[i]), STR_NONE), CLASS_PROGRESS);
        }
    }
}

static void test_other_kinds(void)
{
    static const struct row rows[] = {
        {"ImageUpdateAutomation", "info", "Succeeded", "", CLASS_OTHER},
        {"ImageUpdateAutomation", "error", "GitOperationFailed", "", CLASS_OTHER},
        {"ImageRepository", "info", "Succeeded", "", CLASS_OTHER},
        {"ImagePolicy", "error", "DependencyNotReady", "", CLASS_OTHER},
        {"ArtifactGenerator", "info", "Ready", "", CLASS_OTHER},
        {"ArtifactGenerator", "error", "BuildFailed", "", CLASS_OTHER},
        {"ArtifactGenerator", "error", "ReconciliationFailed", "", CLASS_OTHER},
        {"Canary", "info", "ReconciliationSucceeded", "", CLASS_OTHER},
        {"ResourceSet", "info", "ReconciliationSucceeded", "", CLASS_OTHER},
        {"FluxInstance", "error", "HealthCheckFailed", "", CLASS_OTHER},
        {"kustomization", "info", "ReconciliationSucceeded", "", CLASS_OTHER},
    };
    CHECK_ROWS(rows, "kustomize-controller"); /* the kind is looked at first */
}

/* Without a kind the controller tells it; without either the reason does. */
static void test_no_kind(void)
{
    static const struct {
        const char *controller, *severity, *reason, *message;
        enum event_class class;
    } rows[] = {
        {"kustomize-controller", "info", "ReconciliationSucceeded", "", CLASS_SUCCESS},
        {"kustomize-controller", "info", "BuildFailed", "", CLASS_PROGRESS},
        {"helm-controller", "info", "info", "Helm upgrade succeeded", CLASS_SUCCESS},
        {"helm-controller", "info", "ReconciliationSucceeded", "", CLASS_OTHER},
        {"source-controller", "info", "NewArtifact", "", CLASS_PROGRESS},
        {"source-controller", "error", "BuildFailed", "", CLASS_OTHER},
        {"source-watcher", "error", "BuildFailed", "", CLASS_OTHER},
        {"image-automation-controller", "info", "ReconciliationSucceeded", "", CLASS_OTHER},
        {"", "", "ReconciliationSucceeded", "", CLASS_SUCCESS},
        {"", "error", "ReconciliationSucceeded", "", CLASS_SUCCESS},
        {"", "", "BuildFailed", "", CLASS_FAILURE},
        {"", "info", "ValidationFailed", "", CLASS_FAILURE},
        {"", "", "HealthCheckFailed", "", CLASS_FAILURE},
        {"", "", "ArtifactFailed", "", CLASS_FAILURE},
        {"", "", "ReconciliationFailed", "", CLASS_FAILURE},
        {"", "", "PruneFailed", "", CLASS_FAILURE},
        {"", "", "InvalidCELExpression", "", CLASS_FAILURE},
        {"", "", "StorageOperationFailed", "", CLASS_FAILURE},
        {"", "", "DirectoryCreationFailed", "", CLASS_FAILURE},
        {"", "", "Progressing", "", CLASS_PROGRESS},
        {"", "", "UpgradeSucceeded", "", CLASS_OTHER},
        {"", "info", "info", "Helm upgrade succeeded", CLASS_OTHER},
        {"", "", "", "", CLASS_OTHER},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        harness_case("\"%s\" %s", rows[i].controller, rows[i].reason);
        CHECK_INT(classify(STR_NONE, str_of(rows[i].controller), str_of(rows[i].severity),
                           str_of(rows[i].reason), str_of(rows[i].message)),
                  rows[i].class);
    }
}

static const struct {
    const char *file;
    enum event_class class;
} samples[] = {
    {"flux/01-ks-success", CLASS_SUCCESS},
    {"flux/02-ks-progressing-apply", CLASS_PROGRESS},
    {"flux/03-ks-healthcheck-passed", CLASS_PROGRESS},
    {"flux/04-ks-build-failed", CLASS_FAILURE},
    {"flux/05-ks-healthcheck-failed", CLASS_FAILURE},
    {"flux/06-ks-dependency-not-ready", CLASS_PROGRESS},
    {"flux/07-ks-prune-failed", CLASS_FAILURE},
    {"flux/08-ks-artifact-failed", CLASS_FAILURE},
    {"flux/09-ks-reconciliation-failed", CLASS_FAILURE},
    {"flux/10-ks-healthcheck-canceled", CLASS_PROGRESS},
    {"flux/11-ks-oci-origin", CLASS_SUCCESS},
    {"flux/12-hr-upgrade-succeeded", CLASS_SUCCESS},
    {"flux/13-hr-upgrade-failed", CLASS_FAILURE},
    {"flux/14-hr-rollback-succeeded", CLASS_OTHER},
    {"flux/15-hr-test-failed", CLASS_FAILURE},
    {"flux/16-git-new-artifact", CLASS_PROGRESS},
    {"flux/17-oci-new-artifact", CLASS_PROGRESS},
    {"flux/18-2021-ks-success", CLASS_SUCCESS},
    {"flux/19-2021-ks-validation-failed", CLASS_FAILURE},
    {"flux/20-2023-hr-reason-is-severity", CLASS_SUCCESS},
    {"flux/21-no-metadata", CLASS_OTHER},
    {"flux/22-unicode-and-escapes", CLASS_FAILURE},
    {"flux/23-prefixed-keys-direct", CLASS_FAILURE},
    {"flux/24-upstream-hmac-vector", CLASS_OTHER},
    {"flux/25-poc-readme-minimal", CLASS_SUCCESS},
    {"flux/26-null-timestamp-null-metadata", CLASS_PROGRESS},
    {"flux/27-pull-request-ref", CLASS_SUCCESS},
    {"flux/28-bucket-revision", CLASS_SUCCESS},
    {"flux/29-hr-gitchart-revision-strategy", CLASS_SUCCESS},
    {"flux/30-2021-prune-checksum-as-revision", CLASS_PROGRESS},
    {"flux/31-huge-message", CLASS_FAILURE},
    {"notification-controller-1.5.0/git-failed-no-revision", CLASS_OTHER},
    {"notification-controller-1.5.0/git-new-artifact", CLASS_PROGRESS},
    {"notification-controller-1.5.0/ks-build-failed.hmac", CLASS_FAILURE},
    {"notification-controller-1.5.0/ks-build-failed", CLASS_FAILURE},
    {"notification-controller-1.5.0/ks-dependency-not-ready.hmac", CLASS_PROGRESS},
    {"notification-controller-1.5.0/ks-dependency-not-ready", CLASS_PROGRESS},
    {"notification-controller-1.5.0/ks-healthcheck-failed.hmac", CLASS_FAILURE},
    {"notification-controller-1.5.0/ks-healthcheck-failed", CLASS_FAILURE},
    {"notification-controller-1.5.0/ks-oci-origin.hmac", CLASS_SUCCESS},
    {"notification-controller-1.5.0/ks-oci-origin", CLASS_SUCCESS},
    {"notification-controller-1.5.0/ks-progressing.hmac", CLASS_PROGRESS},
    {"notification-controller-1.5.0/ks-progressing", CLASS_PROGRESS},
    {"notification-controller-1.5.0/ks-success.hmac", CLASS_SUCCESS},
    {"notification-controller-1.5.0/ks-success", CLASS_SUCCESS},
    {"notification-controller-1.5.0/ks-unicode-html.hmac", CLASS_FAILURE},
    {"notification-controller-1.5.0/ks-unicode-html", CLASS_FAILURE},
};
#define N_SAMPLES (sizeof samples / sizeof samples[0])

static void check_sample(const char *path, struct str body)
{
    struct str name = str_from(str_of(path), strlen("test/golden/"));
    char err[EVENT_ERROR];
    size_t i = 0;

    name = str_upto(name, name.len - strlen(".json"));
    while (i < N_SAMPLES && !str_eq(name, str_of(samples[i].file)))
        i++;
    if (i == N_SAMPLES)
        HARNESS_FAIL("this sample is not in the list");
    struct flux_event *e = event_from_json(body, err);
    CHECK(e != NULL);
    enum event_class class = classify(e->kind, e->controller, e->severity, e->reason, e->message);
    event_json_free(e);
    CHECK_INT(class, samples[i].class);
}

static void test_samples(void)
{
    CHECK_INT(golden_each(check_sample), N_SAMPLES);
}

int main(void)
{
    return harness_run((struct test[]){TEST(test_kustomization),
                                       TEST(test_helm_release),
                                       TEST(test_sources),
                                       TEST(test_other_kinds),
                                       TEST(test_no_kind),
                                       TEST(test_samples),
                                       {0}});
}
