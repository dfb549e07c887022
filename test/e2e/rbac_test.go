package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// All that the contract allows the service account, one "verb group/resource" each. Everything that the API
// server says beyond this, and beyond what any logged-in user may, is too much.
var allowed = strings.Fields(`
	get:tekton.dev/runs list:tekton.dev/runs watch:tekton.dev/runs
	get:tekton.dev/customruns list:tekton.dev/customruns watch:tekton.dev/customruns
	patch:tekton.dev/runs/status patch:tekton.dev/customruns/status
	create:/events patch:/events
	get:kustomize.toolkit.fluxcd.io/kustomizations list:kustomize.toolkit.fluxcd.io/kustomizations
	watch:kustomize.toolkit.fluxcd.io/kustomizations
	get:helm.toolkit.fluxcd.io/helmreleases list:helm.toolkit.fluxcd.io/helmreleases
	watch:helm.toolkit.fluxcd.io/helmreleases`)

// rules asks the API server what an identity may do in a namespace.
func rules(t *testing.T, k *kube, namespace string) []string {
	t.Helper()
	answer := k.must(t, "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", jsonType,
		object{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
			"spec": object{"namespace": namespace}})
	if incomplete, _ := at(answer, "status", "incomplete").(bool); incomplete {
		t.Fatalf("the API server's answer is incomplete: %v", answer)
	}
	var all []string
	list, _ := at(answer, "status", "resourceRules").([]any)
	for _, rule := range list {
		for _, verb := range strs(rule, "verbs") {
			for _, group := range strs(rule, "apiGroups") {
				for _, kind := range strs(rule, "resources") {
					all = append(all, verb+":"+group+"/"+kind)
				}
			}
		}
	}
	return all
}

func strs(o any, member string) []string {
	var all []string
	list, _ := at(o, member).([]any)
	for _, v := range list {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

func TestServiceAccountMayNotDoMoreThanTheContract(t *testing.T) {
	namespace := cluster.namespace(t)
	account := cluster.admin.as(chartToken(t))

	// A service account without any binding: what everybody may (ask about themselves).
	cluster.admin.must(t, "POST", "/api/v1/namespaces/"+namespace+"/serviceaccounts", jsonType,
		object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": object{"name": "nobody"}})
	token, err := cluster.admin.requestToken(namespace, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	everybody := rules(t, cluster.admin.as(token), namespace)
	for _, where := range []string{namespace, cluster.chart.namespace, "kube-system"} {
		granted := rules(t, account, where)
		for _, rule := range granted {
			if !slices.Contains(allowed, rule) && !slices.Contains(everybody, rule) {
				t.Errorf("in namespace %s the chart grants %s", where, rule)
			}
		}
		for _, rule := range allowed {
			if rule != "patch:/events" && !slices.Contains(granted, rule) {
				t.Errorf("in namespace %s the chart does not grant %s", where, rule)
			}
		}
	}
}

func TestServiceAccountIsRefusedByTheAPIServer(t *testing.T) {
	namespace := cluster.namespace(t)
	account := cluster.admin.as(chartToken(t))
	create(t, customRunKind, namespace, newRun(customRunKind, "target", "example.dev/v1", "x"))
	one := customRunKind.path(namespace) + "/target"
	cancelled := object{"spec": object{"status": "RunCancelled"}}
	annotated := object{"status": object{"annotations": object{"a": "b"}}}
	for _, c := range []struct {
		method, path string
		body         any
		want         int
	}{
		{"GET", "/api/v1/secrets", nil, 403},
		{"GET", "/api/v1/namespaces/" + cluster.chart.namespace + "/secrets", nil, 403},
		{"GET", "/api/v1/namespaces/" + namespace + "/configmaps", nil, 403},
		{"GET", "/api/v1/pods", nil, 403},
		{"GET", "/api/v1/events", nil, 403},
		{"GET", pipelineRunKind.path(namespace), nil, 403},
		{"PATCH", one, cancelled, 403},
		{"DELETE", one, nil, 403},
		{"POST", customRunKind.path(namespace), newRun(customRunKind, "made", refV1, "x"), 403},
		{"PATCH", "/api/v1/namespaces/" + namespace, cancelled, 403},
		{"GET", one, nil, 200},
		{"PATCH", one + "/status?dryRun=All", annotated, 200},
	} {
		contentType := jsonType
		if c.method == "PATCH" {
			contentType = mergePatchType
		}
		code, answer, err := account.send(c.method, c.path, contentType, c.body)
		if err != nil {
			t.Fatal(err)
		}
		if code != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, code, text(answer, "message"), c.want)
		}
	}
}
