package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

const (
	releaseName      = "fes"
	releaseNamespace = "flux-event-store"
)

// chart is what helm made of chart/ with its default values, and what the tests need to know of it.
type chart struct {
	objects   []object
	account   string // of the pod
	namespace string // of the release
}

// helm runs the real helm.
func (w *world) helm(args ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(filepath.Join(w.components["helm"], "helm"), args...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	// What the user of this machine has configured for helm is no part of a test; helm keeps its files in HOME.
	cmd.Env = []string{"HOME=" + w.folder}
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("helm %s: %w: %s", args[0], err, errors.String())
	}
	return out.String(), errors.String(), err
}

func chartFolder() string { return filepath.Join(rootFolder, "chart") }

// render is the chart with its default values, without the pod of `helm test`; no cluster is asked.
func (w *world) render() (*chart, error) {
	out, _, err := w.helm("template", releaseName, chartFolder(), "--namespace", releaseNamespace, "--no-hooks")
	if err != nil {
		return nil, err
	}
	return newChart([]byte(out), releaseNamespace)
}

func newChart(manifests []byte, namespace string) (c *chart, err error) {
	c = &chart{namespace: namespace}
	if c.objects, err = decodeYAML(manifests); err != nil {
		return nil, err
	}
	deployment := c.find("Deployment")
	if deployment == nil {
		return nil, errors.New("the chart renders no Deployment")
	}
	c.account = text(deployment, "spec", "template", "spec", "serviceAccountName")
	if c.account == "" {
		return nil, errors.New("the chart's Deployment names no service account")
	}
	return c, nil
}

func (c *chart) find(kind string) object {
	if all := c.all(kind); len(all) > 0 {
		return all[0]
	}
	return nil
}

func (c *chart) all(kind string) (found []object) {
	for _, o := range c.objects {
		if text(o, "kind") == kind {
			found = append(found, o)
		}
	}
	return found
}

// applyTo applies all of the render, strictly: a field that the API server does not know is an error.
func (c *chart) applyTo(w *world, query string) error {
	for _, o := range c.objects {
		if namespace := text(o, "metadata", "namespace"); namespace != "" {
			if err := w.ensureNamespace(namespace); err != nil {
				return err
			}
		}
		if err := w.admin.apply(o, c.namespace, query); err != nil {
			return err
		}
	}
	return nil
}

// installChart is `helm install` as far as it goes without pods: a server-side dry run, then the real thing.
func (w *world) installChart() (err error) {
	if err = w.ensureNamespace(releaseNamespace); err != nil {
		return err
	}
	if w.chart, err = w.render(); err != nil {
		return err
	}
	if err = w.chart.applyTo(w, "&dryRun=All"); err != nil {
		return fmt.Errorf("the chart's render, server-side dry run: %w", err)
	}
	if err = w.chart.applyTo(w, ""); err != nil {
		return fmt.Errorf("the chart's render: %w", err)
	}
	return nil
}

// The render was applied by startWorld, or no test would run; this looks at what the API server made of it.
func TestChartAppliesToTheRealAPIServer(t *testing.T) {
	for _, kind := range []string{
		"ServiceAccount", "Service", "Deployment", "PersistentVolumeClaim", "ClusterRole", "ClusterRoleBinding",
		"NetworkPolicy", "Secret", "Provider", "Alert",
	} {
		o := cluster.chart.find(kind)
		if o == nil {
			t.Errorf("the chart renders no %s", kind)
			continue
		}
		path, err := cluster.admin.objectPath(o, cluster.chart.namespace)
		if err != nil {
			t.Error(err)
			continue
		}
		cluster.admin.must(t, "GET", path, "", nil)
	}
	if t.Failed() {
		return
	}
	deployment, service := cluster.chart.find("Deployment"), cluster.chart.find("Service")
	labels, _ := at(deployment, "spec", "template", "metadata", "labels").(object)
	selector, _ := at(service, "spec", "selector").(object)
	if len(selector) == 0 {
		t.Error("the Service has no selector")
	}
	for key, value := range selector {
		if labels[key] != value {
			t.Errorf("the Service selects %s=%v, the pods carry %v", key, value, labels[key])
		}
	}
	if strategy := text(deployment, "spec", "strategy", "type"); strategy != "Recreate" {
		t.Errorf("strategy %q, want Recreate: two pods cannot share the store", strategy)
	}
	alert := cluster.chart.find("Alert")
	if version := text(alert, "apiVersion"); version != "notification.toolkit.fluxcd.io/v1beta3" {
		t.Errorf("Alert is %s", version)
	}
	if severity := text(alert, "spec", "eventSeverity"); severity != "info" {
		t.Errorf("the Alert's severity is %q: anything but info leaves out the successes", severity)
	}
}

// restricted makes a namespace that takes no pod but those of Pod Security `restricted`.
func restricted(t *testing.T) string {
	t.Helper()
	namespace := cluster.namespace(t)
	label := object{"metadata": object{"labels": object{"pod-security.kubernetes.io/enforce": "restricted"}}}
	cluster.admin.must(t, "PATCH", "/api/v1/namespaces/"+namespace, mergePatchType, label)
	return namespace
}

// createPod tries, as a dry run, and gives the status code: 403 is Pod Security's.
func createPod(t *testing.T, namespace string, labels, spec any) (int, string) {
	t.Helper()
	pod := object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": "from-the-chart", "labels": labels},
		"spec": spec}
	path := "/api/v1/namespaces/" + namespace + "/pods?fieldValidation=Strict&dryRun=All"
	code, answer, err := cluster.admin.send("POST", path, jsonType, pod)
	if err != nil {
		t.Fatal(err)
	}
	return code, text(answer, "message")
}

// Pod Security is enforced by the API server on Pods only, so a Pod is made of the Deployment's template.
func TestChartPodPassesPodSecurityRestricted(t *testing.T) {
	namespace := restricted(t)
	template, _ := at(cluster.chart.find("Deployment"), "spec", "template").(object)
	if code, why := createPod(t, namespace, at(template, "metadata", "labels"), template["spec"]); code != 201 {
		t.Errorf("the chart's pod: %d %s", code, why)
	}
	// The same pod without its security settings must be refused, or this test would show nothing.
	bare := object{"containers": []any{object{"name": "bare", "image": "bare"}}}
	if code, _ := createPod(t, namespace, nil, bare); code != 403 {
		t.Errorf("a pod without security settings: %d, want 403", code)
	}
}
