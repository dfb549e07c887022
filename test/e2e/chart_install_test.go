package e2e

import (
	"encoding/base64"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// `helm install` as users run it, on the real API server: no pod starts, but everything else is as in a cluster. What a
// render alone does not show is what helm asks the cluster for: whether there are keys already, and what is missing.

// helmInCluster runs helm with the API server of the tests.
func helmInCluster(t *testing.T, args ...string) (string, error) {
	t.Helper()
	kubeconfig := cluster.file("helm.kubeconfig")
	cluster.writeKubeconfig(t, kubeconfig)
	out, _, err := cluster.helm(append(args, "--kubeconfig", kubeconfig)...)
	return out, err
}

func mustHelm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helmInCluster(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// secret is the decoded content of a Secret.
func secret(t *testing.T, namespace, name string) map[string]string {
	t.Helper()
	o := cluster.admin.must(t, "GET", "/api/v1/namespaces/"+namespace+"/secrets/"+name, "", nil)
	data, _ := o["data"].(object)
	all := map[string]string{}
	for key, value := range data {
		plain, err := base64.StdEncoding.DecodeString(value.(string))
		if err != nil {
			t.Fatal(err)
		}
		all[key] = string(plain)
	}
	return all
}

func TestHelmInstallUpgradeUninstall(t *testing.T) {
	namespace, flux := cluster.namespace(t), cluster.namespace(t)
	const release, object = "keeps", "keeps-flux-event-store"
	set := []string{"--namespace", namespace, "--set", "flux.namespace=" + flux}
	notes := mustHelm(t, append([]string{"install", release, chartFolder()}, set...)...)
	t.Cleanup(func() { _, _ = helmInCluster(t, "uninstall", release, "--namespace", namespace) })
	for _, want := range []string{"rollout status deployment/" + object, "/readyz", "/events?order=desc", "/wait?revision="} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	first, sent := secret(t, namespace, object), secret(t, flux, object)
	if len(first["token"]) != 48 || len(first["post-token"]) != 48 || first["token"] == first["post-token"] {
		t.Errorf("keys of %d and %d characters, want two different ones of 48", len(first["token"]), len(first["post-token"]))
	}
	if len(sent) != 1 || sent["token"] != first["token"] {
		t.Error("what Flux signs with is not the key of the pod, or not that alone")
	}

	mustHelm(t, append([]string{"upgrade", release, chartFolder(), "--set", "auth.readToken=true"}, set...)...)
	second := secret(t, namespace, object)
	if second["token"] != first["token"] || second["post-token"] != first["post-token"] {
		t.Error("an upgrade changed the keys")
	}
	if len(second["read-token"]) != 48 {
		t.Error("the upgrade made no read-token")
	}
	if secret(t, flux, object)["token"] != first["token"] {
		t.Error("an upgrade changed the Provider's key")
	}

	mustHelm(t, "uninstall", release, "--namespace", namespace)
	claim := "/api/v1/namespaces/" + namespace + "/persistentvolumeclaims/" + object
	if o := cluster.admin.must(t, "GET", claim, "", nil); at(o, "metadata", "deletionTimestamp") != nil {
		t.Error("helm uninstall deletes the events")
	}
	if code, _, err := cluster.admin.send("GET", "/api/v1/namespaces/"+flux+"/secrets/"+object, "", nil); err != nil || code != 404 {
		t.Errorf("the Provider's Secret after the uninstall: %d %v", code, err)
	}
}

// What the schema cannot refuse is said in one line of the notes.
func TestHelmNotesWarn(t *testing.T) {
	warning := regexp.MustCompile(`(?m)^WARNING: .*$`)
	namespace := cluster.namespace(t)
	cluster.admin.must(t, "POST", "/api/v1/namespaces/"+namespace+"/secrets", jsonType, object{"apiVersion": "v1",
		"kind": "Secret", "metadata": object{"name": "here-only"}, "stringData": object{"token": "x"}})
	for _, c := range []struct {
		name, values string
		want         []string
	}{
		{"the defaults", "", nil},
		{"a Secret that is missing", `hmac: {existingSecret: nowhere}`, []string{
			"WARNING: hmac.existingSecret: there is no Secret nowhere in namespace " + namespace +
				" yet; the pod does not start without it.",
			"WARNING: hmac.existingSecret: there is no Secret nowhere in namespace flux-system yet; Flux cannot send without it."}},
		{"a Secret that only the pod has", `hmac: {existingSecret: here-only}`, []string{
			"WARNING: hmac.existingSecret: there is no Secret here-only in namespace flux-system yet; Flux cannot send without it."}},
		{"a Secret that is there", "{hmac: {existingSecret: here-only}, flux: {enabled: false}}", nil},
		{"persistence off", `persistence: {enabled: false}`, []string{
			"WARNING: persistence.enabled is false: every event is lost when the pod goes."}},
		{"a namespace list without RBAC", "{namespaces: [ci, apps], rbac: {create: false}}", []string{
			"WARNING: rbac.create is false: notes-flux-event-store must be granted the rules in ci, apps by other means."}},
		{"no RBAC", "rbac: {create: false}", []string{
			"WARNING: rbac.create is false: notes-flux-event-store must be granted the rules in all namespaces by other means."}},
		{"open to all", "{hmac: {enabled: false}, auth: {postToken: false}}", []string{
			"WARNING: hmac.enabled and auth.postToken are false: whoever reaches the Service can make a Run succeed."}},
		{"TLS without a CA", `tls: {existingSecret: a}`, []string{
			"WARNING: flux.certSecret is empty: notification-controller trusts the certificate only if a public CA signed it."}},
		{"readable from outside", `ingress: {enabled: true, hosts: [events.example.com]}`, []string{
			"WARNING: the port can be read from outside without a token (value auth.readToken)."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := mustHelm(t, "install", "notes", chartFolder(), "--namespace", namespace, "--dry-run=server",
				"-f", valuesFile(t, c.values))
			_, notes, found := strings.Cut(out, "\nNOTES:\n")
			if !found {
				t.Fatalf("no notes in\n%s", out)
			}
			got := warning.FindAllString(notes, -1)
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("the notes warn:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// What make manifests writes is what a user applies: as it is, and through Kustomize.
func TestManifestsWithoutHelm(t *testing.T) {
	folder := t.TempDir()
	runScript(t, filepath.Join(chartFolder(), "manifests.sh"), folder)
	direct := manifestsOf(t, filepath.Join(folder, "install.yaml"))
	built := decodeOutput(t, filepath.Join(component(t, "kustomize"), "kustomize"), "build", filepath.Join(folder, "kustomize"))
	names := func(all []object) map[string]bool {
		found := map[string]bool{}
		for _, o := range all {
			found[text(o, "kind")+" "+text(o, "metadata", "namespace")+"/"+name(o)] = true
		}
		return found
	}
	a, b := names(direct), names(built)
	for n := range a {
		if !b[n] {
			t.Errorf("%s is in install.yaml, not in the kustomize base", n)
		}
	}
	if len(a) != len(b) || len(a) < 9 {
		t.Errorf("install.yaml has %d objects, the kustomize base %d", len(a), len(b))
	}
	namespaces := 0
	for _, o := range append(direct, built...) {
		kind, labels := text(o, "kind"), at(o, "metadata", "labels")
		switch {
		case kind == "Secret":
			t.Error("install.yaml brings a Secret: its keys would be the same for everybody")
		case kind == "Namespace":
			namespaces++
			if err := cluster.ensureNamespace(name(o)); err != nil {
				t.Fatal(err)
			}
		case text(labels, "app.kubernetes.io/managed-by") != "" || text(labels, "helm.sh/chart") != "":
			t.Errorf("%s %s says that Helm manages it", kind, name(o))
		}
		if err := cluster.admin.apply(o, "", "&dryRun=All"); err != nil {
			t.Error(err)
		}
	}
	if namespaces != 2 {
		t.Errorf("%d Namespaces, want one in each", namespaces)
	}
}
