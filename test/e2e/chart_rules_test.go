package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The alerts and the dashboard: understood by Prometheus, about metrics that there are, and the alerts fire when they
// should (test/golden/chart-alerts.yaml, a unit test in promtool's own language).

func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.Command(filepath.Join(rootFolder, "test", "promtool.sh")).Output()
	if err != nil {
		t.Fatalf("promtool.sh: %v", err)
	}
	cmd := exec.Command(strings.TrimSpace(string(path)), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func writeYAML(t *testing.T, file string, content any) {
	t.Helper()
	data, err := yaml.Marshal(content)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dashboardQueries are the expressions of the panels, with what Grafana puts into them.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(chartFolder(), "files", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	dashboard := object{}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$pod", ".*")
	panels, _ := dashboard["panels"].([]any)
	for _, panel := range panels {
		targets, _ := at(panel, "targets").([]any)
		for _, target := range targets {
			queries = append(queries, variables.Replace(text(target, "expr")))
		}
	}
	if len(queries) < 20 {
		t.Fatalf("the dashboard has %d queries", len(queries))
	}
	return queries
}

func TestAlertsAndDashboardAreUnderstoodByPrometheus(t *testing.T) {
	folder := t.TempDir()
	alerts := filepath.Join(chartFolder(), "files", "alerts.yaml")
	promtool(t, "check", "rules", alerts)
	promtool(t, "test", "rules", filepath.Join(rootFolder, "test", "golden", "chart-alerts.yaml"))

	// As the operator gives it to Prometheus: the spec of the PrometheusRule, one alert being disabled.
	establishChartCRDs(t)
	rendered := documents(t, template(t, togglesNamespace,
		"prometheusRule: {enabled: true, disabled: [FluxEventStoreDeaf]}"))
	file, found := filepath.Join(folder, "rendered.yaml"), false
	for _, d := range rendered {
		if text(d.object, "kind") == "PrometheusRule" {
			found = true
			writeYAML(t, file, d.object["spec"])
		}
	}
	if !found {
		t.Fatal("no PrometheusRule is rendered")
	}
	promtool(t, "check", "rules", file)
	source, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if has, want := strings.Count(string(data), "alert: "), strings.Count(string(source), "alert: ")-1; has != want {
		t.Errorf("the PrometheusRule has %d alerts, want %d", has, want)
	}

	// promtool checks queries as recording rules.
	var rules []any
	for i, query := range dashboardQueries(t) {
		rules = append(rules, object{"record": fmt.Sprintf("dashboard:query:%d", i), "expr": query})
	}
	file = filepath.Join(folder, "dashboard.yaml")
	writeYAML(t, file, object{"groups": []any{object{"name": "dashboard", "rules": rules}}})
	promtool(t, "check", "rules", file)
}

func TestAlertsAndDashboardUseMetricsThatThereAre(t *testing.T) {
	p := startProduct(t)
	code, served, err := p.get("/metrics")
	if err != nil || code != 200 {
		t.Fatalf("GET /metrics: %d %v", code, err)
	}
	alerts, err := os.ReadFile(filepath.Join(chartFolder(), "files", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	metric := regexp.MustCompile(`\b(flux_event_store|process)_[a-z_]+`)
	for _, query := range append(dashboardQueries(t), string(alerts)) {
		for _, name := range metric.FindAllString(query, -1) {
			used[strings.TrimSuffix(name, "_bucket")] = true
		}
	}
	for name := range used {
		if !strings.Contains(served, "# TYPE "+name+" ") {
			t.Errorf("%s is used, but /metrics has it not", name)
		}
	}
	// The labels by which alerts select.
	for _, sample := range []string{`events_received_total{via="webhook"} `, `events_received_total{via="status"} `,
		`store_deleted_records_total{cause="size"} `, `http_requests_total{code="401"} `} {
		if !strings.Contains(served, "\nflux_event_store_"+sample) {
			t.Errorf("/metrics has no flux_event_store_%s", sample)
		}
	}
}
