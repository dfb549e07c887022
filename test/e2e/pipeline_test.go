package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
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

// newPipelineRun waits for one revision and, when that succeeded, for a second one whose name is a result of
// the first wait: so the results are read by Tekton, not only by this test.
func newPipelineRun(name, revision string) object {
	wait := func(task, revision string) object {
		return object{"name": task, "timeout": "5m",
			"taskRef": object{"apiVersion": refV1, "kind": taskKind},
			"params":  []any{object{"name": "revision", "value": revision}}}
	}
	return object{
		"apiVersion": pipelineRunKind.apiVersion, "kind": pipelineRunKind.kind, "metadata": object{"name": name},
		"spec": object{"pipelineSpec": object{
			"tasks": []any{
				wait("wait", revision),
				wait("again", "$(tasks.wait.results.verdict)-"+name),
			},
			"results": []any{object{"name": "deployed", "value": "$(tasks.wait.results.object)"}},
		}},
	}
}

func TestPipelineRunOfTheRealTekton(t *testing.T) {
	const limit = 60 * time.Second // Tekton's start included
	namespace := cluster.namespace(t)
	p := startProduct(t)
	startTekton(t)
	pipelines := watch(t, cluster.admin, pipelineRunKind, namespace)
	children := watch(t, cluster.admin, customRunKind, namespace)
	good, bad := strings.Repeat("1a", 20), strings.Repeat("2b", 20)
	for run, revision := range map[string]string{"good": good, "bad": bad, "cancelled": strings.Repeat("3c", 20)} {
		create(t, pipelineRunKind, namespace, newPipelineRun(run, revision))
	}
	for _, run := range []string{"good", "bad", "cancelled"} {
		children.await(t, run+"-wait", "Waiting", limit, in("Unknown", "Waiting"))
		// From here on the PipelineRun knows its child: Tekton never tells a child it has not recorded.
		pipelines.await(t, run, "child references", limit, func(o object) bool {
			return at(o, "status", "childReferences", 0) != nil
		})
	}

	p.post(kustomization("apps", good, "ReconciliationSucceeded", "info"))
	children.awaitDone(t, customRunKind, "good-wait", "True", "ReconciliationSucceeded")
	second := children.await(t, "good-again", "Waiting", limit, in("Unknown", "Waiting"))
	if got := text(second.object, "spec", "params", 0, "value"); got != "succeeded-good" {
		t.Errorf("Tekton handed on revision %q, want succeeded-good", got)
	}
	p.post(minimal("succeeded-good", "ReconciliationSucceeded"))
	s := pipelines.await(t, "good", "final status", limit, done)
	if !in("True", "Succeeded")(s.object) {
		t.Errorf("PipelineRun good: %s", pretty(s.object["status"]))
	}
	if got := text(s.object, "status", "results", 0, "value"); got != "Kustomization/flux-system/apps" {
		t.Errorf("PipelineRun good: result deployed is %q", got)
	}

	p.post(kustomization("apps", bad, "BuildFailed", "error"))
	children.awaitDone(t, customRunKind, "bad-wait", "False", "ReconciliationFailed")
	if s = pipelines.await(t, "bad", "final status", limit, done); !in("False", "Failed")(s.object) {
		t.Errorf("PipelineRun bad: %s", pretty(s.object["status"]))
	}
	if states := children.history("bad-again"); len(states) != 0 {
		t.Errorf("the task after the failed one was started: %s", pretty(states[0].object))
	}

	cluster.admin.must(t, "PATCH", pipelineRunKind.path(namespace)+"/cancelled", mergePatchType,
		object{"spec": object{"status": "Cancelled"}})
	children.awaitDone(t, customRunKind, "cancelled-wait", "False", "CustomRunCancelled")
	if s = pipelines.await(t, "cancelled", "final status", limit, done); !in("False", "Cancelled")(s.object) {
		t.Errorf("PipelineRun cancelled: %s", pretty(s.object["status"]))
	}
}
