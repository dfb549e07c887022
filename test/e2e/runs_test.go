package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	refV0    = "github.com/janakerman/flux-event-store/v0" // the first version's
	refV1    = "flux-event-store.dev/v1"
	taskKind = "FluxDeploymentWait"

	// soon is the deadline of waits that take milliseconds; generous, as other work may share the machine.
	soon = 10 * time.Second
)

// newRun is a Run or CustomRun that waits for a revision; params are further name, value pairs.
func newRun(r resource, name, ref, revision string, params ...string) object {
	list := []any{object{"name": "revision", "value": revision}}
	for i := 0; i+1 < len(params); i += 2 {
		list = append(list, object{"name": params[i], "value": params[i+1]})
	}
	refMember := "customRef"
	if r == runKind {
		refMember = "ref"
	}
	return object{
		"apiVersion": r.apiVersion, "kind": r.kind,
		"metadata": object{"name": name},
		"spec":     object{refMember: object{"apiVersion": ref, "kind": taskKind}, "params": list},
	}
}

// create is strict: a field that the CRD does not have is an error, as Tekton's webhook would make it.
func create(t *testing.T, r resource, namespace string, o object) object {
	t.Helper()
	return cluster.admin.must(t, "POST", r.path(namespace)+"?fieldValidation=Strict", jsonType, o)
}

// in tells whether the condition Succeeded has this status and reason.
func in(status, reason string) func(object) bool {
	return func(o object) bool {
		c := condition(o, "Succeeded")
		return c != nil && text(c, "status") == status && text(c, "reason") == reason
	}
}

func done(o object) bool {
	c := condition(o, "Succeeded")
	return c != nil && (text(c, "status") == "True" || text(c, "status") == "False")
}

func (w *watcher) awaitWaiting(t *testing.T, name string) seen {
	t.Helper()
	s := w.await(t, name, "Waiting", soon, in("Unknown", "Waiting"))
	if text(s.object, "status", "startTime") == "" {
		t.Errorf("%s: Waiting without startTime: %s", name, pretty(s.object["status"]))
	}
	if text(s.object, "status", "completionTime") != "" {
		t.Errorf("%s: Waiting with a completionTime: %s", name, pretty(s.object["status"]))
	}
	return s
}

// awaitDone waits for a final status and checks what every final status must be.
func (w *watcher) awaitDone(t *testing.T, r resource, name, status, reason string) seen {
	t.Helper()
	s := w.await(t, name, "final status", soon, done)
	if !in(status, reason)(s.object) {
		t.Fatalf("%s: want Succeeded=%s reason %s; status: %s", name, status, reason, pretty(s.object["status"]))
	}
	checkFinal(t, r, name, s.object)
	return s
}

// resultNames is the full set; a task that reads one of them must find it whatever the outcome was.
var resultNames = []string{
	"verdict", "revision", "object", "reason", "message", "timestamp", "supersededBy", "eventId",
}

func results(o object) map[string]string {
	all := map[string]string{}
	list, _ := at(o, "status", "results").([]any)
	for _, r := range list {
		value, isString := at(r, "value").(string)
		if !isString {
			value = fmt.Sprintf("not a string: %v", at(r, "value"))
		}
		all[text(r, "name")] = value
	}
	return all
}

// The members that Tekton's own types have: its webhook refuses a status with any other.
var statusMembers = map[resource]string{
	runKind: "observedGeneration conditions annotations startTime completionTime results extraFields",
	customRunKind: "observedGeneration conditions annotations startTime completionTime results extraFields " +
		"retriesStatus",
}

func checkFinal(t *testing.T, r resource, name string, o object) {
	t.Helper()
	start, startErr := time.Parse("2006-01-02T15:04:05Z", text(o, "status", "startTime"))
	end, endErr := time.Parse("2006-01-02T15:04:05Z", text(o, "status", "completionTime"))
	if startErr != nil || endErr != nil || end.Before(start) {
		t.Errorf("%s: startTime and completionTime of %s", name, pretty(o["status"]))
	}
	if text(o, "status", "conditions", 0, "type") != "Succeeded" {
		t.Errorf("%s: the first condition is not Succeeded: %s", name, pretty(o["status"]))
	}
	found := results(o)
	for _, want := range resultNames {
		if _, ok := found[want]; !ok {
			t.Errorf("%s: no result %q in %v", name, want, found)
		}
	}
	if len(found) != len(resultNames) {
		t.Errorf("%s: results %v, want exactly %v", name, found, resultNames)
	}
	status, _ := o["status"].(object)
	for member := range status {
		if !containsWord(statusMembers[r], member) {
			t.Errorf("%s: status.%s is no member of Tekton's %s", name, member, r.kind)
		}
	}
}

func wantResult(t *testing.T, o object, name, want string) {
	t.Helper()
	if got := results(o)[name]; got != want {
		t.Errorf("result %s is %q, want %q", name, got, want)
	}
}

func message(o object) string { return text(condition(o, "Succeeded"), "message") }

// secondPasses waits until a startTime written now would differ from this one: before that, a startTime that
// was moved looks the same.
func secondPasses(t *testing.T, startTime string) {
	t.Helper()
	start, err := time.Parse(time.RFC3339, startTime)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(start.Add(time.Second)))
}

func containsWord(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if w == word {
			return true
		}
	}
	return false
}

// awaitKubeEvent waits for a Kubernetes Event about an object. Events are written beside the status, not
// before it, so the test asks again until it is there.
func awaitKubeEvent(t *testing.T, namespace string, about object, kind, reason string) {
	t.Helper()
	uid := text(about, "metadata", "uid")
	err := until(soon, nil, func() error {
		list := cluster.admin.must(t, "GET", "/api/v1/namespaces/"+namespace+"/events", "", nil)
		items, _ := at(list, "items").([]any)
		var have []string
		for _, e := range items {
			if text(e, "involvedObject", "uid") != uid {
				continue
			}
			if text(e, "type") == kind && text(e, "reason") == reason {
				return nil
			}
			have = append(have, text(e, "type")+"/"+text(e, "reason"))
		}
		return fmt.Errorf("no Event %s/%s on %s; there are %v", kind, reason, name(about), have)
	})
	if err != nil {
		t.Error(err)
	}
}
