package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Flux's side: the real notification-controller between an event and the binary, and, where no notification
// comes, the status of Flux's objects on the real CRDs.

var (
	kustomizationKind = resource{"kustomize.toolkit.fluxcd.io/v1", "Kustomization", "kustomizations"}
	helmReleaseKind   = resource{"helm.toolkit.fluxcd.io/v2", "HelmRelease", "helmreleases"}
)

const notificationVersion = "notification.toolkit.fluxcd.io/v1beta3"

// notifier is notification-controller; events is where Flux's controllers post to.
type notifier struct {
	process *process
	events  string
}

func startNotifier(t *testing.T, flags ...string) *notifier {
	t.Helper()
	folder := component(t, "notification-controller")
	kubeconfig := cluster.file("notification-controller.kubeconfig")
	cluster.writeKubeconfig(t, kubeconfig)
	addresses := map[string]string{}
	for _, flag := range []string{"--events-addr", "--health-addr", "--metrics-addr", "--receiverAddr"} {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		addresses[flag] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	args := append([]string{"--enable-leader-election=false"}, flags...)
	for flag, address := range addresses {
		args = append(args, flag+"="+address)
	}
	n := &notifier{events: "http://" + addresses["--events-addr"]}
	var err error
	n.process, err = startProcess("notification-controller", filepath.Join(t.TempDir(), "notification-controller.log"),
		[]string{"KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=flux-system"},
		filepath.Join(folder, "notification-controller"), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !n.process.running() {
			t.Errorf("notification-controller ended by itself: %v", n.process.err)
		} else {
			n.process.kill()
		}
		if t.Failed() {
			t.Logf("notification-controller's log:\n%s", n.process.tail(20))
		}
	})
	err = until(60*time.Second, n.process, func() error {
		response, err := http.Get("http://" + addresses["--health-addr"] + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s", response.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// alert makes a Provider and an Alert for all Kustomizations of a namespace; token: the Secret of generic-hmac.
func alert(t *testing.T, p *product, namespace, kind, token string) {
	t.Helper()
	spec := object{"type": kind, "address": p.base + "/events", "timeout": "1m"}
	if token != "" {
		apply(t, namespace, object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "fes"},
			"stringData": object{"token": token}})
		spec["secretRef"] = object{"name": "fes"}
	}
	apply(t, namespace, object{"apiVersion": notificationVersion, "kind": "Provider", "metadata": object{"name": "fes"},
		"spec": spec})
	apply(t, namespace, object{"apiVersion": notificationVersion, "kind": "Alert", "metadata": object{"name": "fes"},
		"spec": object{
			"providerRef": object{"name": "fes"}, "eventSeverity": "info",
			"eventMetadata": object{"env": "prod", "cluster": "eu-1"},
			"eventSources":  []any{object{"kind": "Kustomization", "name": "*"}},
		}})
}

func apply(t *testing.T, namespace string, o object) {
	t.Helper()
	if err := cluster.admin.apply(o, namespace, ""); err != nil {
		t.Fatal(err)
	}
}

// send posts an event as kustomize-controller does. notification-controller reads Alerts from a cache that may
// not have the new one yet; it answers 202 all the same, so what proves the way is what arrives at its end.
// It drops what it has seen within five minutes, so each event's message differs.
func (n *notifier) send(t *testing.T, namespace, sha string, number int) {
	t.Helper()
	body, err := json.Marshal(object{
		"involvedObject": object{"kind": "Kustomization", "namespace": namespace, "name": "apps",
			"uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632", "apiVersion": kustomizationKind.apiVersion,
			"resourceVersion": "1042311"},
		"severity": "info", "timestamp": time.Now().UTC().Format(time.RFC3339),
		"message": fmt.Sprintf("Reconciliation finished in %d.084434647s, next run in 10m0s", number),
		"reason":  "ReconciliationSucceeded",
		"metadata": object{"kustomize.toolkit.fluxcd.io/revision": "main@sha1:" + sha,
			"kustomize.toolkit.fluxcd.io/commit_status": "update"},
		"reportingController": "kustomize-controller", "reportingInstance": "kustomize-controller-7c7b47f5f-8bhrp",
	})
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(n.events+"/", jsonType, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("notification-controller answers %s to an event", response.Status)
	}
}

// sendUntil sends events, one a second, until the condition holds.
func (n *notifier) sendUntil(t *testing.T, namespace, sha string, holds func() error) {
	t.Helper()
	var next time.Time
	number := 0
	err := until(30*time.Second, n.process, func() error {
		if time.Now().After(next) {
			next = time.Now().Add(time.Second)
			number++
			n.send(t, namespace, sha, number)
		}
		return holds()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *product) events(query string) []object {
	p.t.Helper()
	code, body, err := p.get("/events" + query)
	var list []object
	if err == nil && code == http.StatusOK {
		err = json.Unmarshal([]byte(body), &list)
	}
	if err != nil || code != http.StatusOK {
		p.t.Fatalf("GET /events%s: %d %s %v", query, code, body, err)
	}
	return list
}

func (p *product) writeKey(name, content string) string {
	p.t.Helper()
	file := filepath.Join(p.folder, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return file
}

func TestNotificationControllerFinishesARun(t *testing.T) {
	n := startNotifier(t)
	for i, kind := range []string{"generic", "generic-hmac"} {
		t.Run(kind, func(t *testing.T) {
			sha := strings.Repeat(fmt.Sprintf("%da", i+1), 20)
			namespace := cluster.namespace(t)
			p := newProduct(t)
			token := ""
			if kind == "generic-hmac" {
				token = "a key of the e2e tests"
				// As a file made with an editor: the Secret has the key without the line's end.
				p.flags = []string{"--hmac-key-file", p.writeKey("key", token+"\n")}
			}
			p.start()
			p.awaitReady()
			runs := watch(t, cluster.admin, customRunKind, namespace)
			create(t, customRunKind, namespace, newRun(customRunKind, "commit", refV1, sha, "cluster", "eu-1"))
			runs.awaitWaiting(t, "commit")
			alert(t, p, namespace, kind, token)
			n.sendUntil(t, namespace, sha, func() error {
				if len(p.events("?revision="+sha)) == 0 {
					return fmt.Errorf("no event of %s is stored", sha)
				}
				return nil
			})
			s := runs.awaitDone(t, customRunKind, "commit", "True", "ReconciliationSucceeded")
			wantResult(t, s.object, "object", "Kustomization/"+namespace+"/apps")
			wantResult(t, s.object, "revision", "main@sha1:"+sha)
			event := p.events("?revision=" + sha)[0]
			if text(event, "via") != "webhook" || text(event, "metadata", "env") != "prod" ||
				text(event, "metadata", "cluster") != "eu-1" {
				t.Errorf("stored: %s", pretty(event))
			}
		})
	}
}

func TestNotificationIsRetriedWhileTheEndpointIsDown(t *testing.T) {
	sha := strings.Repeat("5d", 20)
	n := startNotifier(t)
	namespace := cluster.namespace(t)
	p := startProduct(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	create(t, customRunKind, namespace, newRun(customRunKind, "commit", refV1, sha))
	runs.awaitWaiting(t, "commit")
	alert(t, p, namespace, "generic", "")
	// The way works before it is cut.
	first := strings.Repeat("5c", 20)
	n.sendUntil(t, namespace, first, func() error {
		if len(p.events("?revision="+first)) == 0 {
			return fmt.Errorf("no event of %s is stored", first)
		}
		return nil
	})
	if err := p.process.stop(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	n.send(t, namespace, sha, 1)
	down := time.Now()
	time.Sleep(5 * time.Second)
	p.start()
	p.awaitReady()
	s := runs.await(t, "commit", "final status", 40*time.Second, done)
	if !in("True", "ReconciliationSucceeded")(s.object) {
		t.Fatalf("status: %s", pretty(s.object["status"]))
	}
	if stored := p.events("?revision=" + sha); len(stored) != 1 || text(stored[0], "via") != "webhook" {
		t.Errorf("stored: %s", pretty(stored))
	}
	t.Logf("the retry finished the Run %v after the event", s.at.Sub(down).Round(time.Millisecond))
}

func TestAWrongKeyStoresNothingAndTheLogSaysSo(t *testing.T) {
	sha := strings.Repeat("6e", 20)
	n := startNotifier(t)
	namespace := cluster.namespace(t)
	p := newProduct(t)
	p.flags = []string{"--hmac-key-file", p.writeKey("key", "the right key")}
	p.start()
	p.awaitReady()
	alert(t, p, namespace, "generic-hmac", "the wrong key")
	n.sendUntil(t, namespace, sha, func() error {
		if len(p.logLines("request denied")) == 0 {
			return fmt.Errorf("the log has no word of it:\n%s", p.process.tail(5))
		}
		return nil
	})
	if stored := p.events(""); len(stored) != 0 {
		t.Errorf("stored: %s", pretty(stored))
	}
	line := p.logLines("request denied")[0]
	if !strings.Contains(line, "X-Signature does not fit the body") || !strings.Contains(line, "/events") {
		t.Errorf("the log's line: %s", line)
	}
	if secrets := p.logLines("right key", "wrong key"); len(secrets) > 0 {
		t.Errorf("the log holds a key: %s", secrets[0])
	}
}

// statusSample is a golden object, as a controller left it behind, ready to be made in a namespace.
func statusSample(t *testing.T, file, namespace, name string) (o, status object) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(rootFolder, "test", "golden", "status", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	status, _ = o["status"].(object)
	delete(o, "status")
	o["metadata"] = object{"name": name, "namespace": namespace}
	return o, status
}

// writeStatus is what a Flux controller does at the end of a run.
func writeStatus(t *testing.T, r resource, namespace, name string, status object) {
	t.Helper()
	cluster.admin.must(t, "PATCH", r.path(namespace)+"/"+name+"/status", mergePatchType, object{"status": status})
}

func removeAll(t *testing.T, namespace string) {
	t.Cleanup(func() {
		for _, r := range []resource{kustomizationKind, helmReleaseKind} {
			if _, err := cluster.admin.call("DELETE", r.path(namespace), "", nil); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestARunCompletesWhenItsNotificationIsDropped(t *testing.T) {
	namespace := cluster.namespace(t)
	removeAll(t, namespace)
	p := startProduct(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	objects := watch(t, cluster.admin, kustomizationKind, namespace)
	o, status := statusSample(t, "kustomization/ready.json", namespace, "apps")
	sha := strings.TrimPrefix(text(status, "lastAppliedRevision"), "main@sha1:")
	create(t, customRunKind, namespace, newRun(customRunKind, "commit", refV1, sha))
	runs.awaitWaiting(t, "commit")
	cluster.admin.must(t, "POST", kustomizationKind.path(namespace), jsonType, o)
	writeStatus(t, kustomizationKind, namespace, "apps", status)
	changed := objects.await(t, "apps", "status", soon, func(o object) bool { return hasCondition(o, "Ready", "True") })
	s := runs.awaitDone(t, customRunKind, "commit", "True", "ReconciliationSucceeded")
	took := s.at.Sub(changed.at)
	t.Logf("the Run was complete %v after the status", took)
	if took > time.Second {
		t.Errorf("that is more than 1 s")
	}
	stored := p.events("?revision=" + sha)
	if len(stored) != 1 || text(stored[0], "via") != "status" {
		t.Errorf("stored: %s", pretty(stored))
	}
	// Seen again after a restart, it is no news.
	p.crash()
	p.start()
	p.awaitReady()
	other, status := statusSample(t, "kustomization/ready-oci-origin.json", namespace, "marker")
	cluster.admin.must(t, "POST", kustomizationKind.path(namespace), jsonType, other)
	writeStatus(t, kustomizationKind, namespace, "marker", status)
	if err := until(soon, p.process, func() error {
		if len(p.events("?name=marker")) == 0 {
			return fmt.Errorf("the second object's status is not stored")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if stored := p.events("?namespace=" + namespace); len(stored) != 2 {
		t.Errorf("stored: %s", pretty(stored))
	}
}

// Every sample on the real CRDs: what is called never-* is not stored, everything else is, once.
func TestEveryStatusOnTheRealCRDs(t *testing.T) {
	namespace := cluster.namespace(t)
	removeAll(t, namespace)
	p := startProduct(t)
	want := map[string]bool{}
	for folder, r := range map[string]resource{"kustomization": kustomizationKind, "helmrelease": helmReleaseKind} {
		files, err := filepath.Glob(filepath.Join(rootFolder, "test", "golden", "status", folder, "*.json"))
		if err != nil || len(files) < 10 {
			t.Fatalf("samples of %s: %v %v", folder, files, err)
		}
		made := 0
		for _, file := range files {
			object := folder + "-" + strings.TrimSuffix(filepath.Base(file), ".json")
			o, status := statusSample(t, folder+"/"+filepath.Base(file), namespace, object)
			if text(o, "apiVersion") != r.apiVersion || strings.Contains(file, "being-deleted") {
				continue // an older version, or a state that only the API server can give
			}
			if code, answer, err := cluster.admin.send("POST", r.path(namespace), jsonType, o); err != nil || code != 201 {
				t.Fatalf("%s: %d %s %v", file, code, text(answer, "message"), err)
			}
			if status != nil {
				writeStatus(t, r, namespace, object, status)
			}
			want[object] = !strings.Contains(file, "never-")
			made++
		}
		if made < 10 {
			t.Errorf("only %d samples of %s were tried", made, folder)
		}
		// The last one of the watch, so that all before it were seen.
		marker := map[string]string{"kustomization": "ready.json", "helmrelease": "ready-upgraded.json"}[folder]
		o, status := statusSample(t, folder+"/"+marker, namespace, folder+"-zz-last")
		cluster.admin.must(t, "POST", r.path(namespace), jsonType, o)
		writeStatus(t, r, namespace, folder+"-zz-last", status)
		want[folder+"-zz-last"] = true
	}
	for _, last := range []string{"kustomization-zz-last", "helmrelease-zz-last"} {
		if err := until(soon, p.process, func() error {
			if len(p.events("?name="+last)) == 0 {
				return fmt.Errorf("%s is not stored", last)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	stored := map[string]int{}
	for _, event := range p.events("?limit=1000&namespace=" + namespace) {
		stored[text(event, "involvedObject", "name")]++
	}
	for object, decides := range want {
		if expected := map[bool]int{true: 1, false: 0}[decides]; stored[object] != expected {
			t.Errorf("%s: stored %d times, want %d", object, stored[object], expected)
		}
	}
}
