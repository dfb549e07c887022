package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// values.yaml is what users read; the schema refuses the rest, and the table in the chart's README repeats it.

type chartValue struct{ path, preset, description string }

var (
	describes = regexp.MustCompile(`^( *)# -- (.*)$`)
	goesOn    = regexp.MustCompile(`^( *)# (.*)$`)
	isKey     = regexp.MustCompile(`^( *)([A-Za-z]+):`)
)

// documentedValues reads the values that a comment "# -- " describes, in the order of the file. A value below a
// described one is part of it.
func documentedValues(t *testing.T) []chartValue {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(chartFolder(), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	presets := object{}
	if err := yaml.UnmarshalStrict(data, &presets); err != nil {
		t.Fatal(err)
	}
	var all []chartValue
	path, description, inside := []any{}, "", -1
	for number, line := range strings.Split(string(data), "\n") {
		if m := describes.FindStringSubmatch(line); m != nil {
			description = m[2]
			continue
		}
		if m := goesOn.FindStringSubmatch(line); m != nil && description != "" {
			description += " " + m[2]
			continue
		}
		m := isKey.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		depth := len(m[1]) / 2
		if inside >= 0 && depth > inside {
			continue
		}
		inside = -1
		path = append(path[:depth:depth], m[2])
		value := at(presets, path...)
		if description != "" {
			preset, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, chartValue{joined(path), string(preset), description})
			description, inside = "", depth
		} else if _, section := value.(object); !section {
			t.Errorf("values.yaml, line %d: %s has no comment", number+1, joined(path))
		}
	}
	if len(all) < 50 {
		t.Fatalf("values.yaml: only %d values were found", len(all))
	}
	return all
}

func joined(path []any) string {
	var steps []string
	for _, step := range path {
		steps = append(steps, fmt.Sprint(step))
	}
	return strings.Join(steps, ".")
}

const (
	tableBegin = "<!-- values: made from values.yaml by FES_UPDATE=1 test/e2e/run -run TestChartReadme -->\n"
	tableEnd   = "<!-- end of values -->\n"
)

func TestChartReadmeListsTheValues(t *testing.T) {
	var table strings.Builder
	table.WriteString("\n| value | default | |\n|---|---|---|\n")
	for _, v := range documentedValues(t) {
		escape := strings.NewReplacer("|", `\|`).Replace
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.path, escape(v.preset), escape(v.description))
	}
	table.WriteString("\n")
	file := filepath.Join(chartFolder(), "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(readme), tableBegin)
	_, tail, ends := strings.Cut(rest, tableEnd)
	if !found || !ends {
		t.Fatalf("README.md of the chart lacks the line %q or %q", tableBegin, tableEnd)
	}
	compareGolden(t, file, head+tableBegin+table.String()+tableEnd+tail)
}

func readSchema(t *testing.T) object {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(chartFolder(), "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	schema := object{}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// Each value has its place in the schema, and the schema knows nothing else.
func TestChartSchemaKnowsTheValuesAndNoOthers(t *testing.T) {
	schema, values := readSchema(t), map[string]bool{}
	for _, v := range documentedValues(t) {
		values[v.path] = true
	}
	var known []string
	var walk func(prefix string, o any)
	walk = func(prefix string, o any) {
		properties, _ := at(o, "properties").(object)
		for name, property := range properties {
			path := strings.TrimPrefix(prefix+"."+name, ".")
			if at(property, "properties") != nil && !values[path] {
				walk(path, property)
			} else {
				known = append(known, path)
			}
		}
	}
	walk("", schema)
	sort.Strings(known)
	for _, path := range known {
		if !values[path] && path != "global" {
			t.Errorf("the schema has %s, values.yaml has not", path)
		}
		delete(values, path)
	}
	for path := range values {
		t.Errorf("values.yaml has %s, the schema has not", path)
	}
}

// Kubernetes' own structures that the chart passes on are checked by the API server. All else refuses a typo.
func TestChartSchemaIsClosed(t *testing.T) {
	open := []string{"global", "items", "valueFrom", "namespaceSelector", "podSelector", "nodeAffinity", "podAffinity",
		"podAntiAffinity", "podSecurityContext", "securityContext"}
	var walk func(name string, o any)
	walk = func(name string, o any) {
		list, _ := o.([]any)
		for _, one := range list {
			walk(name, one)
		}
		m, _ := o.(object)
		for _, part := range []string{"if", "then", "$comment"} {
			if m[part] != nil {
				return
			}
		}
		if m["type"] == "object" && m["additionalProperties"] == nil && !slices.Contains(open, name) {
			t.Errorf("the schema of %s takes any member", name)
		}
		for key, value := range m {
			walk(key, value)
		}
	}
	walk("", readSchema(t))
}

// Values that are wrong are refused before anything is rendered, in words that name the place.
func TestChartRefuses(t *testing.T) {
	for _, c := range []struct{ name, values, want string }{
		{"a typo", `persistance: {enabled: false}`, "additional properties 'persistance' not allowed"},
		{"a typo within", `flux: {namspaces: [apps]}`, "at '/flux': additional properties 'namspaces' not allowed"},
		{"a typo of case", `hmac: {existingsecret: x}`, "at '/hmac': additional properties 'existingsecret' not allowed"},
		{"several pods", `replicaCount: 2`, "additional properties 'replicaCount' not allowed"},
		{"a text for a switch", `persistence: {enabled: "no"}`, "at '/persistence/enabled': got string, want boolean"},
		{"no image", `image: {repository: ""}`, "at '/image/repository': minLength"},
		{"a digest cut short", `image: {digest: "sha256:0123"}`, "at '/image/digest': 'sha256:0123' does not match pattern"},
		{"a tag with a colon", `image: {tag: "v1:x"}`, "at '/image/tag'"},
		{"a pull secret as text", `image: {pullSecrets: [registry]}`, "at '/image/pullSecrets/0': got string, want object"},
		{"a duration without a unit", `defaultTimeout: 60`, "at '/defaultTimeout': maximum"},
		{"a duration in weeks", `retention: 4w`, "at '/retention': '4w' does not match pattern"},
		{"a size in words", `maxSize: big`, "at '/maxSize': 'big' does not match pattern"},
		{"a log level", `logLevel: verbose`, "at '/logLevel': value must be one of"},
		{"namespaces as text", `namespaces: apps`, "at '/namespaces': got string, want array"},
		{"a namespace with a star", `namespaces: ["*"]`, "at '/namespaces/0': '*' does not match pattern"},
		{"a namespace twice", `namespaces: [a, a]`, "at '/namespaces': items at 0 and 1 are equal"},
		{"a wildcard that Flux has not", `flux: {namespaces: ["*"]}`, "at '/flux/namespaces/0': '*' does not match pattern"},
		{"no namespace for Flux", `flux: {namespaces: []}`, "at '/flux/namespaces': minItems"},
		{"a kind that Flux has not", `flux: {kinds: [Deployment]}`, "at '/flux/kinds/0': value must be one of"},
		{"a timeout in hours", `flux: {timeout: 1h}`, "at '/flux/timeout': '1h' does not match pattern"},
		{"another version", `flux: {apiVersion: notification.toolkit.fluxcd.io/v1}`, "at '/flux/apiVersion'"},
		{"a number as metadata", `flux: {eventMetadata: {shard: 1}}`, "at '/flux/eventMetadata/shard': got number, want string"},
		{"signatures in v1beta1", `flux: {apiVersion: notification.toolkit.fluxcd.io/v1beta1}`, "at '/hmac/enabled': value must be false"},
		{"a second key of one's own Secret", `hmac: {moreKeys: [old]}`, "at '/hmac/existingSecret': minLength"},
		{"a Secret's name in capitals", `hmac: {existingSecret: MySecret}`, "at '/hmac/existingSecret': 'MySecret' does not match pattern"},
		{"client certificates without TLS", `tls: {clientCASecret: clients}`, "at '/tls/existingSecret': minLength"},
		{"client certificates of the kubelet", `{tls: {existingSecret: a, clientCASecret: b}, admin: {enabled: false}}`, "at '/admin/enabled': value must be true"},
		{"the admin port on the other", `admin: {port: 8080}`, "at '/admin/port': 'not' failed"},
		{"a claim that nobody uses", `persistence: {enabled: false, existingClaim: data}`, "at '/persistence/enabled': value must be true"},
		{"a size without a number", `persistence: {size: large}`, "at '/persistence/size': 'large' does not match pattern"},
		{"a volume for readers", `persistence: {accessModes: [ReadOnlyMany]}`, "at '/persistence/accessModes/0': value must be one of"},
		{"a headless service", `service: {type: None}`, "at '/service/type': value must be one of"},
		{"an IP family", `service: {ipFamilyPolicy: IPv6}`, "at '/service/ipFamilyPolicy': value must be one of"},
		{"a probe of one's own", `probes: {liveness: {exec: {command: [true]}}}`, "at '/probes/liveness': additional properties 'exec' not allowed"},
		{"a probe each half second", `probes: {readiness: {periodSeconds: 0.5}}`, "at '/probes/readiness/periodSeconds': got number, want integer"},
		{"a liveness that wants two answers", `probes: {liveness: {successThreshold: 2}}`, "'successThreshold' not allowed"},
		{"a port of zero", `service: {port: 0}`, "at '/service/port': minimum"},
		{"an Ingress for all hosts", `ingress: {enabled: true}`, "at '/ingress/hosts': minItems"},
		{"a route without a Gateway", `httpRoute: {enabled: true}`, "at '/httpRoute/parentRefs': minItems"},
		{"a peer that is a name", `networkPolicy: {from: [flux-system]}`, "at '/networkPolicy/from/0': got string, want object"},
		{"a peer that is nothing", `networkPolicy: {from: [{}]}`, "at '/networkPolicy/from/0': minProperties"},
		{"a peer with a typo", `networkPolicy: {from: [{namespaceSelecter: {}}]}`, "'namespaceSelecter' not allowed"},
		{"an address without a mask", `networkPolicy: {apiServerCIDRs: [10.0.0.1]}`, "at '/networkPolicy/apiServerCIDRs/0'"},
		{"no port of the API server", `networkPolicy: {apiServerPorts: []}`, "at '/networkPolicy/apiServerPorts': minItems"},
		{"metrics without their port", `{serviceMonitor: {enabled: true}, admin: {enabled: false}}`, "at '/admin/enabled': value must be true"},
		{"an interval without a unit", `serviceMonitor: {interval: "30"}`, "at '/serviceMonitor/interval'"},
		{"a label that is a number", `podLabels: {shard: 1}`, "at '/podLabels/shard': got number, want string"},
		{"a toleration with a typo", `tolerations: [{keys: a}]`, "at '/tolerations/0': additional properties 'keys' not allowed"},
		{"a resource with a typo", `resources: {request: {cpu: 1}}`, "at '/resources': additional properties 'request' not allowed"},
		{"flags in one text", `extraArgs: --ref x`, "at '/extraArgs': got string, want array"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _, err := cluster.helm("template", releaseName, chartFolder(), "-f", valuesFile(t, c.values))
			if err == nil {
				t.Fatalf("%s was rendered:\n%.300s", c.values, out)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s\nis refused with %v\nwant %q", c.values, err, c.want)
			}
		})
	}
}
