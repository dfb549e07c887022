package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"
)

var (
	pipelineKind = resource{"tekton.dev/v1", "Pipeline", "pipelines"}
	taskRunKind  = resource{"tekton.dev/v1", "TaskRun", "taskruns"}
	podKind      = resource{"v1", "Pod", "pods"}
)

// A fenced block of YAML in a document.
var fenced = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// documented gives every Kubernetes object of docs/examples, and of the YAML blocks of the documents, by where it is.
func documented(t *testing.T) map[string][]object {
	t.Helper()
	all := map[string][]object{}
	add := func(name, manifests string) {
		objects, err := decodeYAML([]byte(manifests))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, o := range objects {
			if text(o, "apiVersion") != "" && text(o, "kind") != "" {
				all[name] = append(all[name], o)
			}
		}
	}
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/examples/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(rootFolder, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := filepath.Rel(rootFolder, file)
			if !strings.HasSuffix(file, ".md") {
				add(name, string(data))
				continue
			}
			for _, block := range fenced.FindAllStringSubmatch(string(data), -1) {
				if strings.HasPrefix(block[1], "apiVersion:") { // others are parts of an object
					add(name, block[1])
				}
			}
		}
	}
	return all
}

// applySourceCRDs adds the CRDs of Flux's sources, which nothing else here needs.
func applySourceCRDs(t *testing.T) {
	t.Helper()
	out, err := exec.Command("./build.sh", "source-crds").Output()
	if err != nil {
		t.Fatalf("the CRDs of source-controller cannot be fetched: %v", err)
	}
	_, folder, _ := strings.Cut(strings.TrimSpace(string(out)), "=")
	crds, err := readManifests(filepath.Join(folder, "crds"))
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.installCRDs(crds); err != nil {
		t.Fatal(err)
	}
}

// Every object that the documents show is one that the real API server takes, with the real CRDs.
func TestExamplesAreTakenByTheAPIServer(t *testing.T) {
	applySourceCRDs(t)
	own := cluster.namespace(t)
	all := documented(t)
	var names []string
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	count := 0
	for _, file := range names {
		for _, o := range all[file] {
			count++
			if namespace := text(o, "metadata", "namespace"); namespace != "" {
				if err := cluster.ensureNamespace(namespace); err != nil {
					t.Fatal(err)
				}
			}
			if err := dryRun(o, own); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if count < 15 || len(all["README.md"]) == 0 || len(all["docs/flux.md"]) == 0 {
		t.Errorf("only %d objects were found: %v", count, names)
	}
	t.Logf("%d objects of %d files", count, len(names))
}

func dryRun(o object, namespace string) error {
	if generated := text(o, "metadata", "generateName"); generated != "" { // no server-side apply without a name
		metadata, _ := o["metadata"].(object)
		metadata["name"] = generated + "x"
		delete(metadata, "generateName")
	}
	return cluster.admin.apply(o, namespace, "&dryRun=All")
}

// The pod of the example is one that the chart's namespace takes. TestImageIsRestoredByTheExample runs its containers.
func TestRestorePodPassesPodSecurityRestricted(t *testing.T) {
	spec, _ := exampleOf(t, "restore.yaml", "Pod")["spec"].(object)
	if code, why := createPod(t, restricted(t), nil, spec); code != 201 {
		t.Errorf("the pod: %d %s", code, why)
	}
	claim := text(spec, "volumes", 0, "persistentVolumeClaim", "claimName")
	out, _, err := cluster.helm("template", "flux-event-store", chartFolder(), "--namespace", releaseNamespace)
	if err != nil {
		t.Fatal(err)
	}
	released, err := newChart([]byte(out), releaseNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if claim != name(released.find("PersistentVolumeClaim")) {
		t.Errorf("it restores on the claim %q, the release's is %q", claim, name(released.find("PersistentVolumeClaim")))
	}
	pod := at(released.find("Deployment"), "spec", "template", "spec", "securityContext")
	if pretty(spec["securityContext"]) != pretty(pod) {
		t.Errorf("it runs as %s, and the release as %s", pretty(spec["securityContext"]), pretty(pod))
	}
}

// What helm is told in README.md renders, and the API server takes it. docker and the rest of the block are left out.
func TestReadmeInstallsWithHelm(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(rootFolder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```shell\n([^`]*^helm [^`]*)```$").FindSubmatch(data)
	if block == nil {
		t.Fatal("README.md installs nothing with helm")
	}
	const shims = `docker() { :; }
helm() { [ "$1 $2" = "upgrade --install" ] && shift 2 && "$HELM" template "$@"; }
`
	cmd := exec.Command("bash", "-euc", shims+string(block[1]))
	cmd.Dir = rootFolder
	cmd.Env = append(os.Environ(), "HELM="+filepath.Join(cluster.components["helm"], "helm"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s\n%v", block[1], err)
	}
	objects, err := decodeYAML(out)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, o := range objects {
		kinds[text(o, "kind")]++
		if namespace := text(o, "metadata", "namespace"); namespace != "" {
			if err := cluster.ensureNamespace(namespace); err != nil {
				t.Fatal(err)
			}
		}
		if err := cluster.admin.apply(o, releaseNamespace, "&dryRun=All"); err != nil {
			t.Error(err)
		}
	}
	if kinds["Deployment"] != 1 || kinds["Alert"] != 1 || !strings.Contains(string(out), "namespace: \"apps\"") {
		t.Errorf("rendered: %v", kinds)
	}
}

// The CustomRun and the Run of the examples end as they should.
func TestExampleRunsEnd(t *testing.T) {
	p := startProduct(t)
	namespace := cluster.namespace(t)
	for file, r := range map[string]resource{"tekton-customrun.yaml": customRunKind, "tekton-run.yaml": runKind} {
		w := watch(t, cluster.admin, r, namespace)
		o := exampleOf(t, file, r.kind)
		create(t, r, namespace, o)
		w.awaitWaiting(t, name(o))
		reason := "ReconciliationSucceeded"
		if r == runKind {
			p.post([]byte(`{"metadata":{"revision":"a"},"timestamp":"0001-01-01T00:01:00Z","reason":"ReconciliationSucceeded"}`))
			reason = "ReconciliationSuceeded" // sic: the first version's ref
		} else {
			for _, object := range []string{"apps", "infrastructure"} {
				p.post(kustomizationAt(object, paramOf(o, "revision"), reason, "info", time.Now()))
			}
		}
		w.awaitDone(t, r, name(o), "True", reason)
	}
}

func exampleOf(t *testing.T, file, kind string) object {
	t.Helper()
	for _, o := range documented(t)["docs/examples/"+file] {
		if text(o, "kind") == kind {
			return o
		}
	}
	t.Fatalf("%s has no %s", file, kind)
	return nil
}

// podOf plays the kubelet for the pod of a TaskRun: all its containers end with this exit code, and say these results.
func podOf(t *testing.T, namespace, taskRun string, exitCode int, results ...string) object {
	t.Helper()
	pod := object{}
	path := podKind.path(namespace) + "/" + taskRun + "-pod"
	err := until(tektonLimit, nil, func() (err error) {
		pod, err = cluster.admin.call("GET", path, "", nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	said := []object{}
	for i := 0; i+1 < len(results); i += 2 {
		said = append(said, object{"key": results[i], "value": results[i+1], "type": 1}) // 1: a result of the Task
	}
	message, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	statuses := []any{}
	containers, _ := at(pod, "spec", "containers").([]any)
	for _, c := range containers {
		statuses = append(statuses, object{"name": text(c, "name"), "image": text(c, "image"), "imageID": "x", "ready": false,
			"restartCount": 0, "state": object{"terminated": object{"exitCode": exitCode, "reason": "Completed",
				"startedAt": now, "finishedAt": now, "message": string(message)}}})
	}
	phase := "Succeeded"
	if exitCode != 0 {
		phase = "Failed"
	}
	cluster.admin.must(t, "PATCH", path+"/status", mergePatchType, object{"status": object{
		"phase": phase, "startTime": now, "containerStatuses": statuses}})
	return pod
}

func variable(pod object, name string) string {
	containers, _ := at(pod, "spec", "containers").([]any)
	for _, c := range containers {
		list, _ := at(c, "env").([]any)
		for _, e := range list {
			if text(e, "name") == name {
				return text(e, "value")
			}
		}
	}
	return ""
}

// The example Pipeline, run by the real Tekton; only the kubelet is played. A failure reaches the script that rolls back,
// with Flux's own message.
func TestExamplePipeline(t *testing.T) {
	p := startProduct(t)
	namespace := cluster.namespace(t)
	startTekton(t)
	t.Cleanup(func() {
		for _, r := range []resource{taskRunKind, podKind, pipelineKind} {
			_, _ = cluster.admin.call("DELETE", r.path(namespace), "", nil)
		}
	})
	apply(t, namespace, object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": object{"name": "default"}})
	apply(t, namespace, exampleOf(t, "tekton-pipeline.yaml", "Pipeline"))
	runs := watch(t, cluster.admin, pipelineRunKind, namespace)
	children := watch(t, cluster.admin, customRunKind, namespace)

	start := func(run string, number int) string {
		o := exampleOf(t, "tekton-pipelinerun.yaml", "PipelineRun")
		o["metadata"] = object{"name": run}
		create(t, pipelineRunKind, namespace, o)
		commit := fmt.Sprintf("%040x", number)
		podOf(t, namespace, run+"-deploy", 0, "commit", commit)
		children.await(t, run+"-wait", "Waiting", tektonLimit, in("Unknown", "Waiting"))
		return commit
	}

	t.Run("good", func(t *testing.T) {
		commit := start("good", 0xA1)
		// Before the failure below, which would be superseded by it otherwise: both are about one object.
		p.post(kustomizationAt("apps", commit, "ReconciliationSucceeded", "info", time.Now().Add(-time.Hour)))
		podOf(t, namespace, "good-test", 0)
		s := runs.await(t, "good", "final status", tektonLimit, done)
		if !in("True", "Completed")(s.object) { // roll-back was skipped
			t.Errorf("status: %s", pretty(s.object["status"]))
		}
	})
	t.Run("bad", func(t *testing.T) {
		commit := start("bad", 0xB2)
		// It has been failing for longer than failAfter.
		p.post(kustomizationAt("apps", commit, "HealthCheckFailed", "error", time.Now().Add(-3*time.Minute)))
		pod := podOf(t, namespace, "bad-roll-back", 0)
		want := "Kustomization/flux-system/apps: HealthCheckFailed: what happened to apps"
		if variable(pod, "WHY") != want || variable(pod, "COMMIT") != commit {
			t.Errorf("the roll-back was told %q of %q", variable(pod, "WHY"), variable(pod, "COMMIT"))
		}
		s := runs.await(t, "bad", "final status", tektonLimit, done)
		if !in("False", "Failed")(s.object) {
			t.Errorf("status: %s", pretty(s.object["status"]))
		}
	})
	t.Run("superseded", func(t *testing.T) {
		commit := start("superseded", 0xC3)
		p.post(kustomizationAt("apps", commit, "Progressing", "info", time.Now().Add(-2*time.Second)))
		p.post(kustomizationAt("apps", fmt.Sprintf("%040x", 0xD4), "ReconciliationSucceeded", "info", time.Now()))
		s := runs.await(t, "superseded", "final status", tektonLimit, done)
		if !in("False", "Failed")(s.object) {
			t.Errorf("status: %s", pretty(s.object["status"]))
		}
		if code, _, _ := cluster.admin.send("GET", taskRunKind.path(namespace)+"/superseded-roll-back", "", nil); code != 404 {
			t.Errorf("somebody else's commit is rolled back: %d", code)
		}
	})
}
