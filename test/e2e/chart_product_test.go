package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The binary as the chart would run it, the container's arguments included: only the places that a pod has and this
// machine has not are put elsewhere (the volumes, the ports, the name of the Service).

type installed struct {
	*product
	chart *chart
	admin string // URL of the admin port
	test  object // the pod of `helm test`
}

// installProduct applies the chart's render of some values in a namespace of its own, and starts the container.
func installProduct(t *testing.T, values string) *installed {
	t.Helper()
	namespace := cluster.namespace(t)
	i := &installed{product: newProduct(t)}
	out, _, err := cluster.helm("template", releaseName, chartFolder(), "--namespace", namespace, "-f", valuesFile(t, values))
	if err != nil {
		t.Fatal(err)
	}
	if i.chart, err = newChart([]byte(out), namespace); err != nil {
		t.Fatal(err)
	}
	rendered := i.chart.objects
	i.chart.objects = nil
	for _, o := range rendered {
		switch text(o, "kind") {
		case "Pod":
			i.test = o
			continue
		case "Provider":
			o["spec"].(object)["address"] = i.base + "/events"
		}
		i.chart.objects = append(i.chart.objects, o)
	}
	if err := i.chart.applyTo(cluster, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.remove)
	token, err := cluster.admin.requestToken(namespace, i.chart.account)
	if err != nil {
		t.Fatal(err)
	}
	i.writeToken(token)
	i.mountSecret()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	i.admin = loopback(port)
	i.args = i.inPlace(i.chart.find("Deployment"), fmt.Sprintf("127.0.0.1:%d", port))
	return i
}

// remove deletes what would be in the way of other tests: grants, and Alerts of a Provider that is gone.
func (i *installed) remove() {
	for _, o := range i.chart.objects {
		path, err := cluster.admin.objectPath(o, i.chart.namespace)
		if err == nil {
			_, err = cluster.admin.call("DELETE", path, "", nil)
		}
		if err != nil {
			i.t.Error(err)
		}
	}
}

// mountSecret writes the files that the kubelet would.
func (i *installed) mountSecret() {
	i.t.Helper()
	template := at(i.chart.find("Deployment"), "spec", "template", "spec")
	volumes, _ := at(template, "volumes").([]any)
	for _, v := range volumes {
		if text(v, "name") != "auth" {
			continue
		}
		keys := secret(i.t, i.chart.namespace, text(v, "secret", "secretName"))
		if err := os.MkdirAll(filepath.Join(i.folder, "auth"), 0o700); err != nil {
			i.t.Fatal(err)
		}
		items, _ := at(v, "secret", "items").([]any)
		for _, item := range items {
			i.writeKey(filepath.Join("auth", text(item, "path")), keys[text(item, "key")])
		}
	}
}

// inPlace is the arguments of a pod's only container, with the places of this machine.
func (i *installed) inPlace(o object, admin string) []string {
	spec := at(o, "spec")
	if text(o, "kind") == "Deployment" {
		spec = at(spec, "template", "spec")
	}
	var args []string
	list, _ := at(spec, "containers", 0, "args").([]any)
	for _, arg := range list {
		s := fmt.Sprint(arg)
		s = strings.Replace(s, "/etc/flux-event-store", i.folder, 1)
		switch {
		case s == "/data":
			s = filepath.Join(i.folder, "data")
		case s == ":8080":
			s = fmt.Sprintf("127.0.0.1:%d", i.port)
		case s == ":8081":
			s = admin
		case strings.HasPrefix(s, "http://"):
			s = i.base
		}
		args = append(args, s)
	}
	return args
}

// probe does what the kubelet does with a probe of the container.
func (i *installed) probe(t *testing.T, name string) {
	t.Helper()
	container := at(i.chart.find("Deployment"), "spec", "template", "spec", "containers", 0)
	get := at(container, name, "httpGet")
	base := map[string]string{"http": i.base, "admin": i.admin}[text(get, "port")]
	if base == "" {
		t.Fatalf("%s: %s", name, pretty(get))
	}
	awaitHTTP(t, base+text(get, "path"))
}

func (i *installed) postWith(t *testing.T, authorization string, body []byte) int {
	t.Helper()
	request, err := http.NewRequest("POST", i.base+"/events", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := i.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// finishes sees a notification of a Kustomization come through the chart's Provider and Alert, and end a Run.
func (i *installed) finishes(t *testing.T, n *notifier, namespace, sha string) {
	t.Helper()
	runs := watch(t, cluster.admin, customRunKind, namespace)
	create(t, customRunKind, namespace, newRun(customRunKind, "commit", refV1, sha))
	runs.awaitWaiting(t, "commit")
	n.sendUntil(t, namespace, sha, func() error {
		if len(i.events("?revision="+sha)) == 0 {
			return fmt.Errorf("no event of %s is stored", sha)
		}
		return nil
	})
	runs.awaitDone(t, customRunKind, "commit", "True", "ReconciliationSucceeded")
	if event := i.events("?revision=" + sha)[0]; text(event, "via") != "webhook" {
		t.Errorf("stored: %s", pretty(event))
	}
}

func TestChartsContainerWithChartsSecretAndProvider(t *testing.T) {
	n := startNotifier(t)
	apps, flux := cluster.namespace(t), cluster.namespace(t)
	i := installProduct(t, fmt.Sprintf("flux: {namespace: %s, namespaces: [%s]}", flux, apps))
	i.start()
	for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		i.probe(t, probe)
	}
	i.finishes(t, n, apps, strings.Repeat("7a", 20))

	keys := secret(t, i.chart.namespace, i.chart.account)
	for authorization, want := range map[string]int{
		"": 401, "Bearer wrong": 401, "Bearer " + keys["token"]: 401, "Bearer " + keys["post-token"]: 200,
	} {
		if code := i.postWith(t, authorization, minimal("x", "Hello")); code != want {
			t.Errorf("a POST with a token of %d characters: %d, want %d", len(authorization), code, want)
		}
	}

	// helm test: its pod's arguments, against this Service.
	out, err := exec.Command(binaryPath, i.inPlace(i.test, "")...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "gives it back") {
		t.Errorf("helm test: %v: %s", err, out)
	}
}

// A Provider in the namespace of each Alert, where Flux allows no other.
func TestChartWhereFluxIsLockedDown(t *testing.T) {
	n := startNotifier(t, "--no-cross-namespace-refs=true")
	apps := cluster.namespace(t)
	i := installProduct(t, fmt.Sprintf("flux: {perNamespace: true, namespaces: [%s]}", apps))
	i.start()
	i.awaitReady()
	i.finishes(t, n, apps, strings.Repeat("7b", 20))
}

// A Provider of type generic, which sends the token as a header: Flux before 0.36.
func TestChartWithoutSignatures(t *testing.T) {
	n := startNotifier(t)
	apps, flux := cluster.namespace(t), cluster.namespace(t)
	i := installProduct(t, fmt.Sprintf("{hmac: {enabled: false}, flux: {namespace: %s, namespaces: [%s]}}", flux, apps))
	i.start()
	i.awaitReady()
	if code := i.postWith(t, "", minimal("x", "Hello")); code != 401 {
		t.Errorf("a POST without a token: %d, want 401", code)
	}
	i.finishes(t, n, apps, strings.Repeat("7c", 20))
}

// With Roles instead of a ClusterRole: Runs of the namespaces that are listed, and nothing of the others.
func TestChartWithRolesInNamespaces(t *testing.T) {
	served, other := cluster.namespace(t), cluster.namespace(t)
	i := installProduct(t, fmt.Sprintf("{namespaces: [%s], fluxWatch: {namespaces: [%s]}, flux: {enabled: false}}", served, served))
	account := cluster.admin.as(i.accountToken(t))
	for namespace, want := range map[string]int{served: 200, other: 403} {
		for _, r := range []resource{runKind, customRunKind, kustomizationKind, helmReleaseKind} {
			if code, _, err := account.send("GET", r.path(namespace), "", nil); err != nil || code != want {
				t.Errorf("list of %s in %s: %d %v, want %d", r.plural, namespace, code, err, want)
			}
		}
	}
	if i.chart.find("ClusterRole") != nil {
		t.Error("a ClusterRole is rendered")
	}
	i.start()
	i.awaitReady()
	runs := watch(t, cluster.admin, customRunKind, served)
	create(t, customRunKind, served, newRun(customRunKind, "commit", refV1, "roles"))
	runs.awaitWaiting(t, "commit")
	keys := secret(t, i.chart.namespace, i.chart.account)
	if code := i.postWith(t, "Bearer "+keys["post-token"], minimal("roles", "ReconciliationSucceeded")); code != 200 {
		t.Fatalf("a POST with the token: %d", code)
	}
	runs.awaitDone(t, customRunKind, "commit", "True", "ReconciliationSucceeded")
}

func (i *installed) accountToken(t *testing.T) string {
	t.Helper()
	token, err := cluster.admin.requestToken(i.chart.namespace, i.chart.account)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A key file that is missing (the kubelet would not start such a pod) is one line that names flag and file.
func TestChartsContainerWithoutItsSecret(t *testing.T) {
	i := installProduct(t, "flux: {enabled: false}")
	missing := filepath.Join(i.folder, "auth", "token")
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}
	i.start()
	select {
	case <-i.process.gone:
	case <-time.After(soon):
		t.Fatal("the process starts without its key")
	}
	log := strings.TrimSpace(i.process.output())
	if code := i.process.cmd.ProcessState.ExitCode(); code != 2 || strings.Contains(log, "\n") ||
		!strings.Contains(log, "--hmac-key-file "+missing) {
		t.Errorf("exit code %d, log %q", code, log)
	}
}
