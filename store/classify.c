/* Classification of Flux events (see classify_priv.h).
 *
 * The kind is looked at first, because different controllers use the same reason for different things:
 * BuildFailed of an ArtifactGenerator is no failure of a deployment. Only a Kustomization and a HelmRelease
 * deploy, so only they can succeed or fail; an event of neither kind nor controller is one that a person
 * posted with curl, and its reason decides alone.
 *
 * Invariant: each table is read from the top and the first row that fits decides; each group ends with a row
 * that fits everything. What is not known never succeeds and never fails.
 */
#include "store/classify_priv.h"

enum group {
    GROUP_KUSTOMIZATION,
    GROUP_HELM_RELEASE,
    GROUP_SOURCE,
    GROUP_UNNAMED, /* neither kind nor controller */
    GROUP_OTHER,
};

static const struct {
    const char *kind;
    const char
        *controller; /* whose only kind it is, as far as it matters here; NULL: no kind follows from it */
    enum group group;
} kinds[] = {
    {"Kustomization", "kustomize-controller", GROUP_KUSTOMIZATION},
    {"HelmRelease", "helm-controller", GROUP_HELM_RELEASE},
    {"GitRepository", "source-controller", GROUP_SOURCE},
    {"OCIRepository", NULL, GROUP_SOURCE},
    {"Bucket", NULL, GROUP_SOURCE},
    {"HelmRepository", NULL, GROUP_SOURCE},
    {"HelmChart", NULL, GROUP_SOURCE},
};

enum severity_rule {
    ANY_SEVERITY,
    NOT_ERROR,
    NOT_INFO, /* an absent severity is neither */
};

#define ANY_REASON NULL

static const struct {
    enum group group;
    const char *reason;
    enum severity_rule severity;
    enum event_class class;
} rows[] = {
    /* "Health check passed" is a Progressing, and a run that is aborted an error of the same reason. An
     * unknown reason is kept and shown, and fails nothing. */
    {GROUP_KUSTOMIZATION, "ReconciliationSucceeded", NOT_ERROR, CLASS_SUCCESS},
    {GROUP_KUSTOMIZATION, "HealthCheckFailed", ANY_SEVERITY, CLASS_FAILURE}, /* mislabelled by a known bug */
    {GROUP_KUSTOMIZATION, "ArtifactFailed", NOT_INFO, CLASS_FAILURE},
    {GROUP_KUSTOMIZATION, "BuildFailed", NOT_INFO, CLASS_FAILURE},
    {GROUP_KUSTOMIZATION, "ReconciliationFailed", NOT_INFO, CLASS_FAILURE},
    {GROUP_KUSTOMIZATION, "ValidationFailed", NOT_INFO, CLASS_FAILURE}, /* until kustomize-controller 0.1x */
    {GROUP_KUSTOMIZATION, "PruneFailed", NOT_INFO, CLASS_FAILURE},
    {GROUP_KUSTOMIZATION, "InvalidCELExpression", NOT_INFO, CLASS_FAILURE},
    {GROUP_KUSTOMIZATION, "StorageOperationFailed", NOT_INFO, CLASS_FAILURE},
    {GROUP_KUSTOMIZATION, "DirectoryCreationFailed", NOT_INFO, CLASS_FAILURE},
    {GROUP_KUSTOMIZATION, ANY_REASON, ANY_SEVERITY, CLASS_PROGRESS},

    /* Rollback and uninstall are remedies: they succeed because the release did not. */
    {GROUP_HELM_RELEASE, "InstallSucceeded", ANY_SEVERITY, CLASS_SUCCESS},
    {GROUP_HELM_RELEASE, "UpgradeSucceeded", ANY_SEVERITY, CLASS_SUCCESS},
    {GROUP_HELM_RELEASE, "TestSucceeded", ANY_SEVERITY, CLASS_SUCCESS},
    {GROUP_HELM_RELEASE, "InstallFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_HELM_RELEASE, "UpgradeFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_HELM_RELEASE, "TestFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_HELM_RELEASE, "UninstallSucceeded", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_HELM_RELEASE, "UninstallFailed", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_HELM_RELEASE, "PendingRelease", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_HELM_RELEASE, "DependencyNotReady", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_HELM_RELEASE, "HealthCheckCanceled", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_HELM_RELEASE, "Progressing", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_HELM_RELEASE, ANY_REASON, ANY_SEVERITY, CLASS_OTHER},

    /* A source has seen the revision; its errors name none. */
    {GROUP_SOURCE, "NewArtifact", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_SOURCE, "Succeeded", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_SOURCE, "ChartPullSucceeded", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_SOURCE, "ChartPackageSucceeded", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_SOURCE, ANY_REASON, ANY_SEVERITY, CLASS_OTHER},

    {GROUP_UNNAMED, "ReconciliationSucceeded", ANY_SEVERITY, CLASS_SUCCESS},
    {GROUP_UNNAMED, "HealthCheckFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "ArtifactFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "BuildFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "ReconciliationFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "ValidationFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "PruneFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "InvalidCELExpression", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "StorageOperationFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "DirectoryCreationFailed", ANY_SEVERITY, CLASS_FAILURE},
    {GROUP_UNNAMED, "Progressing", ANY_SEVERITY, CLASS_PROGRESS},
    {GROUP_UNNAMED, ANY_REASON, ANY_SEVERITY, CLASS_OTHER},

    {GROUP_OTHER, ANY_REASON, ANY_SEVERITY, CLASS_OTHER},
};

/* Until helm-controller 0.36 the reason of a HelmRelease's event is its severity, and the message tells. */
static const struct {
    const char *begins;
    enum event_class class;
} helm_messages[] = {
    {"Helm install has started", CLASS_PROGRESS},
    {"Helm upgrade has started", CLASS_PROGRESS},
    {"Helm install succeeded", CLASS_SUCCESS},
    {"Helm upgrade succeeded", CLASS_SUCCESS},
    {"Helm test succeeded", CLASS_SUCCESS},
    {"Helm install failed", CLASS_FAILURE},
    {"Helm upgrade failed", CLASS_FAILURE},
    {"Helm test failed", CLASS_FAILURE},
    {"Helm rollback ", CLASS_OTHER},
    {"Helm uninstall ", CLASS_OTHER},
    {"reconciliation failed:", CLASS_FAILURE},
    {"chart reconciliation failed:", CLASS_FAILURE},
    {"", CLASS_PROGRESS}, /* dependencies, a chart that is not ready */
};

static enum group find_group(struct str kind, struct str controller)
{
    if (kind.len == 0 && controller.len == 0)
        return GROUP_UNNAMED;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kind.len > 0 ? str_eq(kind, str_of(kinds[i].kind))
                         : kinds[i].controller && str_eq(controller, str_of(kinds[i].controller)))
            return kinds[i].group;
    return GROUP_OTHER;
}

static bool severity_fits(enum severity_rule rule, struct str severity)
{
    switch (rule) {
    case ANY_SEVERITY: return true;
    case NOT_ERROR: return !str_eq(severity, STR("error"));
    case NOT_INFO: return !str_eq(severity, STR("info"));
    }
    return false;
}

static enum event_class classify_message(struct str message)
{
    size_t i = 0;

    while (!str_starts(message, str_of(helm_messages[i].begins)))
        i++;
    return helm_messages[i].class;
}

enum event_class classify(struct str kind, struct str controller, struct str severity, struct str reason,
                          struct str message)
{
    enum group group = find_group(kind, controller);

    if (group == GROUP_HELM_RELEASE && (str_eq(reason, STR("info")) || str_eq(reason, STR("error"))))
        return classify_message(message);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].group == group && (!rows[i].reason || str_eq(reason, str_of(rows[i].reason))) &&
            severity_fits(rows[i].severity, severity))
            return rows[i].class;
    return CLASS_OTHER;
}
