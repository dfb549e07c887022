package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// tekton is the real controller of the pinned release. It needs no webhook, no kubelet and no image for
// Pipelines whose tasks are all custom tasks.
func startTekton(t *testing.T) *process {
	t.Helper()
	const namespace = "tekton-pipelines"
	if err := cluster.ensureNamespace(namespace); err != nil {
		t.Fatal(err)
	}
	configs, err := readManifests(filepath.Join(cluster.components["tekton"], "config"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range configs {
		if text(o, "kind") != "ConfigMap" {
			continue
		}
		if err := cluster.admin.apply(o, namespace, ""); err != nil {
			t.Fatal(err)
		}
	}
	probes, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := cluster.file("tekton.kubeconfig")
	cluster.writeKubeconfig(t, kubeconfig)
	// One controller at a time: without the lease that the one of an earlier test was killed with.
	args := []string{"-kubeconfig", kubeconfig, "-disable-ha"}
	for _, image := range []string{"entrypoint", "nop", "sidecarlogresults", "workingdirinit", "shell"} {
		args = append(args, "-"+image+"-image", "x")
	}
	args = append(args, "-shell-image-win", "x")
	p, err := startProcess("tekton", cluster.file("tekton.log"), []string{
		"SYSTEM_NAMESPACE=" + namespace, "POD_NAME=e2e", "METRICS_DOMAIN=tekton.dev/pipeline",
		"KUBERNETES_MIN_VERSION=v1.28.0", "CONFIG_LOGGING_NAME=config-logging",
		"CONFIG_DEFAULTS_NAME=config-defaults", "CONFIG_OBSERVABILITY_NAME=config-observability",
		"CONFIG_FEATURE_FLAGS_NAME=feature-flags",
		"CONFIG_LEADERELECTION_NAME=config-leader-election-controller",
		"CONFIG_SPIRE=config-spire", "CONFIG_TRACING_NAME=config-tracing",
		"PROBES_PORT=" + strconv.Itoa(probes), "METRICS_PROMETHEUS_PORT=" + strconv.Itoa(metrics),
	}, filepath.Join(cluster.components["tekton"], "controller"), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !p.running() {
			t.Errorf("the Tekton controller ended by itself: %v", p.err)
		} else {
			p.kill()
		}
		if t.Failed() {
			t.Logf("Tekton's log:\n%s", p.tail(20))
		}
	})
	return p
}

func (w *world) writeKubeconfig(t *testing.T, file string) {
	t.Helper()
	config := strings.NewReplacer("URL", w.url, "CA", w.caFile, "TOKEN", adminToken).Replace(`apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "URL", certificate-authority: "CA"}}]
users: [{name: e2e, user: {token: "TOKEN"}}]
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
current-context: e2e
`)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each case is one PipelineRun. What it asserts is the PipelineRun's own end, and the end of our children.
var pipelineCases = map[string]func(*pipelineCase){
	"good":           goodPipeline,
	"bad":            badPipeline,
	"failed-message": failedMessageReachesFinally,
	"missing-result": missingResult,
	"old-ref":        oldRefIsRefused,
	"twice":          duplicateParameter,
	"number":         numberAsRevision,

	"cancelled":      cancelledPipeline,
	"cancel-finally": cancelledRunFinally,
	"stop-finally":   stoppedRunFinally,
	"stopped":        stoppedWithFailure,
	"child-cancel":   childCancelledAlone,

	"pipeline-time": pipelineTimeout,
	"tasks-time":    tasksTimeout,
	"finally-time":  finallyTimeout,
	"task-time":     taskTimeout,
	"spec-time":     taskRunSpecTimeout,

	"retry":       retryUntilSuccess,
	"retry-spent": retriesSpent,
	"retry-time":  retryAfterTimeout,
	"retry-stop":  cancelledRetry,

	"go-on":        continueOnError,
	"go-on-cancel": continueOnCancelledChild,

	"matrix":        matrixFansOut,
	"matrix-bad":    matrixWithOneFailure,
	"matrix-result": matrixResultToNextTask,
	"matrix-sum":    matrixResultToPipeline,

	"recreated":     recreatedAfterCollection,
	"adopts":        recreatedAdoptsItsChild,
	"child-deleted": childDeletedMidWay,
}

func TestPipelineRunOfTheRealTekton(t *testing.T) {
	w := startPipelines(t)
	t.Run("case", func(t *testing.T) {
		for run, play := range pipelineCases {
			t.Run(run, func(t *testing.T) {
				t.Parallel()
				play(w.newCase(t, run))
			})
		}
	})
	t.Run("50 at once", func(t *testing.T) { fiftyPipelines(w.newCase(t, "fifty")) })
}
