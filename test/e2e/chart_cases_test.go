package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Every toggle of the chart: rendered by the real helm, compared with what it was, and applied, as a dry run, to the
// real API server with the real CRDs. FES_UPDATE=1 writes the golden files anew.

const togglesNamespace = "chart-toggles"

var chartCases = []struct{ name, values string }{
	{"default", ""},
	{"names", `
nameOverride: events
commonLabels: {team: platform}
commonAnnotations: {example.com/owner: platform}
podLabels: {tier: ci}
podAnnotations: {prometheus.io/scrape: "true"}`},
	{"fullname", `fullnameOverride: deployments`},
	{"image", `
image:
  repository: registry.example.com/flux-event-store
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  pullPolicy: Always
  pullSecrets: [{name: registry}]`},
	{"image-tag", `image: {tag: 0.2.0-rc.1}`},
	{"flags", `
cluster: eu-1
defaultTimeout: 30m
retention: 0
maxSize: 512MiB
logLevel: debug
logFormat: text
extraArgs: [--ref, example.dev/v1/Wait]
extraEnv: [{name: TZ, value: UTC}]
extraVolumes: [{name: more, emptyDir: {}}]
extraVolumeMounts: [{name: more, mountPath: /more}]`},
	{"namespaces", `
namespaces: [ci, apps]
fluxWatch: {namespaces: [flux-system, apps]}`},
	{"runs-in-namespaces", `namespaces: [ci]`},
	{"flux-watch-off", `fluxWatch: {enabled: false}`},
	{"flux-off", `flux: {enabled: false}`},
	{"flux-namespaces", `
clusterDomain: example.internal
flux:
  namespaces: [flux-system, apps]
  kinds: [Kustomization, HelmRelease, GitRepository, OCIRepository]
  eventMetadata: {cluster: eu-1, "answer": "42"}
  timeout: 10m`},
	{"flux-per-namespace", `flux: {perNamespace: true, namespaces: [flux-system, apps]}`},
	{"flux-in-the-release-namespace", `flux: {namespace: chart-toggles}`},
	{"flux-v1beta2", `flux: {apiVersion: notification.toolkit.fluxcd.io/v1beta2}`},
	{"flux-v1beta1", `
flux: {apiVersion: notification.toolkit.fluxcd.io/v1beta1}
hmac: {enabled: false}`},
	{"hmac-existing", `hmac: {existingSecret: my-keys, moreKeys: [token-before]}`},
	{"hmac-off", `hmac: {enabled: false}`},
	{"hmac-off-in-the-release-namespace", `
hmac: {enabled: false}
flux: {namespace: chart-toggles}`},
	{"open", `
hmac: {enabled: false}
auth: {postToken: false}`},
	{"post-token-off", `auth: {postToken: false}`},
	{"read-token", `auth: {readToken: true}`},
	{"tls", `
tls: {existingSecret: events-tls}
service: {port: 443}
flux: {certSecret: events-ca}`},
	{"tls-client-ca", `tls: {existingSecret: events-tls, clientCASecret: clients}`},
	{"admin-port", `admin: {port: 9090}`},
	{"admin-off", `admin: {enabled: false}`},
	{"admin-off-tls", `
admin: {enabled: false}
tls: {existingSecret: events-tls}`},
	{"persistence-off", `persistence: {enabled: false}`},
	{"persistence-claim", `persistence: {existingClaim: events}`},
	{"persistence-volume", `
persistence: {size: 500Mi, storageClass: "-", accessModes: [ReadWriteOncePod], keep: false, annotations: {team: ci}}`},
	{"persistence-class", `persistence: {storageClass: fast}`},
	{"service", `service: {type: LoadBalancer, port: 8080, ipFamilyPolicy: PreferDualStack, annotations: {example.com/internal: "true"}}`},
	{"common-annotations", `
commonAnnotations: {example.com/owner: ci, example.com/internal: "false"}
service: {annotations: {example.com/internal: "true"}}
persistence: {keep: false}
serviceMonitor: {enabled: true}
dashboard: {enabled: true}`},
	{"probes", `
probes:
  startup: {failureThreshold: 300}
  liveness: {periodSeconds: 30, timeoutSeconds: 10}
  readiness: {initialDelaySeconds: 1, successThreshold: 2}`},
	{"ingress", `
auth: {readToken: true}
ingress:
  enabled: true
  className: nginx
  annotations: {cert-manager.io/cluster-issuer: letsencrypt}
  hosts: [events.example.com, events.example.org]
  tls: [{hosts: [events.example.com], secretName: events-tls}]`},
	{"http-route", `
httpRoute:
  enabled: true
  annotations: {example.com/owner: ci}
  parentRefs: [{name: public, namespace: gateways, sectionName: https}]
  hostnames: [events.example.com]`},
	{"network-policy-off", `networkPolicy: {enabled: false}`},
	{"network-policy-narrow", `
networkPolicy:
  from:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: flux-system}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.9.0.0/16]}
  adminFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
  apiServerCIDRs: [10.96.0.1/32, 2001:db8::1/128]
  apiServerPorts: [6443]
  extraEgress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}]}]`},
	{"monitoring", `
serviceMonitor: {enabled: true, labels: {release: prometheus}, interval: 15s}
prometheusRule: {enabled: true, labels: {release: prometheus}, disabled: [FluxEventStoreDeaf]}
dashboard: {enabled: true, labels: {grafana: main}, annotations: {folder: ci}}`},
	{"service-account", `serviceAccount: {annotations: {example.com/role: events}, name: events}`},
	{"service-account-of-others", `
serviceAccount: {create: false, name: given}
rbac: {create: false}`},
	{"scheduling", `
resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 1Gi}}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: infra, operator: Exists, effect: NoSchedule}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
  {matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}
priorityClassName: system-cluster-critical`},
	{"extra-manifests", `
extraManifests:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: extra, namespace: "{{ .Release.Namespace }}"}
    data: {url: '{{ include "fes.url" . }}'}
  - |
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: {{ include "fes.fullname" . }}-text
      namespace: {{ .Release.Namespace }}`},
}

// valuesFile writes values where helm can read them.
func valuesFile(t *testing.T, values string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// template is what helm makes of values, with the pod of `helm test`.
func template(t *testing.T, namespace, values string) string {
	t.Helper()
	out, _, err := cluster.helm("template", releaseName, chartFolder(), "--namespace", namespace, "-f", valuesFile(t, values))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// document is one object as helm printed it.
type document struct {
	name   string // Kind namespace/name
	text   string
	object object
}

func documents(t *testing.T, manifests string) []document {
	t.Helper()
	var all []document
	for _, part := range strings.Split("\n"+manifests, "\n---\n") {
		o := object{}
		if err := yaml.UnmarshalStrict([]byte(part), &o); err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		if len(o) > 0 {
			all = append(all, document{fmt.Sprintf("%s %s/%s", text(o, "kind"), text(o, "metadata", "namespace"), name(o)),
				strings.TrimSpace(part) + "\n", o})
		}
	}
	return all
}

var randomKey = regexp.MustCompile(`\b[A-Za-z0-9]{48}\b`)

// mask replaces the random keys by names, equal ones by the same name, and leaves out the dashboard, which is a file of its
// own.
func mask(t *testing.T, all []document) {
	t.Helper()
	masks := map[string]string{}
	for i, d := range all {
		if head, _, found := strings.Cut(d.text, "flux-event-store.json: |\n"); found {
			all[i].text = head + "flux-event-store.json: (files/dashboard.json)\n"
		}
		data, _ := d.object["data"].(object)
		if text(d.object, "kind") != "Secret" {
			continue
		}
		keys := make([]string, 0, len(data))
		for key := range data {
			keys = append(keys, key)
		}
		sort.Strings(keys) // the first of equal ones gives the name
		for _, key := range keys {
			value := data[key].(string)
			plain, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				t.Fatalf("%s, key %s: %v", d.name, key, err)
			}
			random := randomKey.FindString(string(plain))
			if random == "" {
				t.Fatalf("%s, key %s: no random key", d.name, key)
			}
			if masks[random] == "" {
				masks[random] = "RANDOM (" + key + ")"
			}
			masked := strings.ReplaceAll(string(plain), random, masks[random])
			all[i].text = strings.ReplaceAll(all[i].text, value, masked)
		}
	}
}

// joinDocuments is the render again, after masking.
func joinDocuments(all []document) string {
	var out strings.Builder
	for _, d := range all {
		fmt.Fprintf(&out, "---\n%s", d.text)
	}
	return out.String()
}

// difference is what a toggle changes: the values, and a diff from the default render to its own.
func difference(t *testing.T, values, defaults, got string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range map[string]string{"default": defaults, "toggled": got} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("diff", "--unified=2", "--show-function-line=^kind:", "--label=default", "--label=toggled",
		"default", "toggled")
	cmd.Dir = folder
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("the toggle changes nothing, or diff failed: %v", err)
	}
	return strings.TrimSpace(values) + "\n\n" + string(out)
}

// compareGolden compares with a file, or writes it when FES_UPDATE is set.
func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("FES_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (FES_UPDATE=1 writes it)", err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := 0; ; i++ {
		if i == len(g) || i == len(w) || g[i] != w[i] {
			t.Errorf("%s, line %d (FES_UPDATE=1 writes it anew)\nis:\n%s\nwas:\n%s", filepath.Base(file), i+1,
				strings.Join(g[i:min(len(g), i+8)], "\n"), strings.Join(w[i:min(len(w), i+8)], "\n"))
			return
		}
	}
}

func component(t *testing.T, name string) string {
	t.Helper()
	out, err := buildComponent(name)
	if err != nil {
		t.Fatalf("%s cannot be built: %v", name, err)
	}
	return out
}

// establishChartCRDs installs the CRDs of what the chart can make beside Flux's kinds, and of what brings it.
func establishChartCRDs(t *testing.T) {
	t.Helper()
	for _, name := range []string{"chart-crds", "source-crds"} {
		crds, err := readManifests(filepath.Join(component(t, name), "crds"))
		if err == nil {
			err = cluster.installCRDs(crds)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestChartToggles(t *testing.T) {
	establishChartCRDs(t)
	for _, namespace := range []string{togglesNamespace, "apps", "ci"} {
		if err := cluster.ensureNamespace(namespace); err != nil {
			t.Fatal(err)
		}
	}
	pods := restricted(t)
	defaults := documents(t, template(t, togglesNamespace, ""))
	mask(t, defaults)
	known := map[string]bool{}
	for _, c := range chartCases {
		t.Run(c.name, func(t *testing.T) {
			all := documents(t, template(t, togglesNamespace, c.values))
			mask(t, all)
			file, got := c.name+".diff", joinDocuments(all)
			if c.name == "default" {
				file = c.name + ".yaml"
			} else {
				got = difference(t, c.values, joinDocuments(defaults), got)
			}
			known[file] = true
			compareGolden(t, filepath.Join(rootFolder, "test", "golden", "chart", file), got)

			rendered := documents(t, template(t, togglesNamespace, c.values))
			for _, d := range rendered {
				if err := cluster.admin.apply(d.object, togglesNamespace, "&dryRun=All"); err != nil {
					t.Error(err)
				}
				labels, spec := at(d.object, "metadata", "labels"), d.object["spec"]
				if text(d.object, "kind") == "Deployment" {
					labels, spec = at(spec, "template", "metadata", "labels"), at(spec, "template", "spec")
				} else if text(d.object, "kind") != "Pod" {
					continue
				}
				if code, why := createPod(t, pods, labels, spec); code != 201 {
					t.Errorf("the pod of %s: %d %s", d.name, code, why)
				}
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(rootFolder, "test", "golden", "chart", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !known[filepath.Base(file)] {
			t.Errorf("%s belongs to no case", file)
		}
	}
}

func TestChartLint(t *testing.T) {
	for _, c := range chartCases {
		if out, _, err := cluster.helm("lint", "--strict", chartFolder(), "-f", valuesFile(t, c.values)); err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}

// A value that no case sets is in no golden file.
func TestChartCasesToggleEveryValue(t *testing.T) {
	for _, key := range documentedValues(t) {
		toggled := false
		for _, c := range chartCases {
			values := object{}
			if err := yaml.Unmarshal([]byte(c.values), &values); err != nil {
				t.Fatal(err)
			}
			var path []any
			for _, step := range strings.Split(key.path, ".") {
				path = append(path, step)
			}
			toggled = toggled || at(values, path...) != nil
		}
		if !toggled && !strings.HasSuffix(key.path, "ecurityContext") {
			t.Errorf("no case sets %s", key.path)
		}
	}
}

// The examples that install the chart; the rest of docs/examples is not the chart's.
func TestExampleHelmRelease(t *testing.T) {
	establishChartCRDs(t)
	values := ""
	for _, o := range manifestsOf(t, filepath.Join(rootFolder, "docs", "examples", "helmrelease.yaml")) {
		if namespace := text(o, "metadata", "namespace"); namespace != "" {
			if err := cluster.ensureNamespace(namespace); err != nil {
				t.Fatal(err)
			}
		}
		if err := cluster.admin.apply(o, "flux-system", "&dryRun=All"); err != nil {
			t.Error(err)
		}
		if text(o, "kind") == "HelmRelease" {
			data, err := yaml.Marshal(at(o, "spec", "values"))
			if err != nil {
				t.Fatal(err)
			}
			values = string(data)
		}
	}
	if values == "" {
		t.Fatal("the example has no HelmRelease with values")
	}
	template(t, togglesNamespace, values)
}
