package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// The two stories of the first README, on the CRD of the Tekton release it was written for.

func TestStory1FailedBuildFailsTheRun(t *testing.T) {
	for _, ref := range []string{refV0, refV1} {
		t.Run(strings.ReplaceAll(ref, "/", "_"), func(t *testing.T) {
			namespace := cluster.namespace(t)
			runs := watch(t, cluster.admin, runKind, namespace)
			p := startProduct(t)
			create(t, runKind, namespace, newRun(runKind, "story", ref, "a"))
			runs.awaitWaiting(t, "story")
			p.post(minimal("a", "BuildFailed"))
			s := runs.awaitDone(t, runKind, "story", "False", "ReconciliationFailed")
			const want = "The revision failed to reconcile. Reason: 'BuildFailed'."
			if !strings.HasPrefix(message(s.object), want) {
				t.Errorf("message %q does not begin with %q", message(s.object), want)
			}
			wantResult(t, s.object, "verdict", "failed")
			wantResult(t, s.object, "revision", "a")
			wantResult(t, s.object, "reason", "BuildFailed")
			awaitKubeEvent(t, namespace, s.object, "Normal", "Waiting")
			awaitKubeEvent(t, namespace, s.object, "Warning", "ReconciliationFailed")
		})
	}
}

func TestStory2ReconciledRevisionSucceedsTheRun(t *testing.T) {
	// The first version's misspelling is kept for its own ref.
	for ref, reason := range map[string]string{refV0: "ReconciliationSuceeded", refV1: "ReconciliationSucceeded"} {
		t.Run(strings.ReplaceAll(ref, "/", "_"), func(t *testing.T) {
			namespace := cluster.namespace(t)
			runs := watch(t, cluster.admin, runKind, namespace)
			p := startProduct(t)
			create(t, runKind, namespace, newRun(runKind, "story", ref, "b"))
			runs.awaitWaiting(t, "story")
			id := p.post(minimal("b", "ReconciliationSucceeded"))
			s := runs.awaitDone(t, runKind, "story", "True", reason)
			if want := "The revision has been reconciled."; !strings.HasPrefix(message(s.object), want) {
				t.Errorf("message %q does not begin with %q", message(s.object), want)
			}
			wantResult(t, s.object, "verdict", "succeeded")
			wantResult(t, s.object, "revision", "b")
			wantResult(t, s.object, "eventId", id)
			awaitKubeEvent(t, namespace, s.object, "Normal", reason)
		})
	}
}

func TestCustomRunIsCompletedByARealFluxEvent(t *testing.T) {
	const sha = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738" // of the golden event
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	create(t, customRunKind, namespace, newRun(customRunKind, "commit", refV1, sha))
	create(t, customRunKind, namespace, newRun(customRunKind, "other", refV1, strings.Repeat("0", 40)))
	runs.awaitWaiting(t, "commit")
	runs.awaitWaiting(t, "other")
	id := p.post(golden(t, "01-ks-success.json"))
	s := runs.awaitDone(t, customRunKind, "commit", "True", "ReconciliationSucceeded")
	wantResult(t, s.object, "verdict", "succeeded")
	if got := results(s.object)["revision"]; !strings.HasSuffix(got, sha) {
		t.Errorf("result revision is %q, want one of %s", got, sha)
	}
	wantResult(t, s.object, "object", "Kustomization/flux-system/apps")
	wantResult(t, s.object, "reason", "ReconciliationSucceeded")
	wantResult(t, s.object, "message", "Reconciliation finished in 2.084434647s, next run in 10m0s")
	wantResult(t, s.object, "supersededBy", "")
	wantResult(t, s.object, "eventId", id)
	if got := results(s.object)["timestamp"]; got == "" {
		t.Error("result timestamp is empty")
	}
	for _, part := range []string{sha, "Kustomization/flux-system/apps"} {
		if !strings.Contains(message(s.object), part) {
			t.Errorf("message %q does not name %s", message(s.object), part)
		}
	}
	// A Run of another revision is untouched: its last state is still the first write.
	for _, state := range runs.history("other") {
		if done(state.object) {
			t.Errorf("the Run of another revision ended: %s", pretty(state.object["status"]))
		}
	}
}

func TestEventBeforeItsRunCompletesItInTheFirstWrite(t *testing.T) {
	namespace := cluster.namespace(t)
	p := startProduct(t)
	p.post(minimal("early", "ReconciliationSucceeded"))
	p.post(kustomization("apps", strings.Repeat("e", 40), "HealthCheckFailed", "error"))
	for _, r := range []resource{runKind, customRunKind} {
		runs := watch(t, cluster.admin, r, namespace)
		create(t, r, namespace, newRun(r, "early", refV1, "early"))
		create(t, r, namespace, newRun(r, "early-failed", refV1, strings.Repeat("e", 40)))
		runs.awaitDone(t, r, "early", "True", "ReconciliationSucceeded")
		runs.awaitDone(t, r, "early-failed", "False", "ReconciliationFailed")
		for _, run := range []string{"early", "early-failed"} {
			if states := runs.history(run); len(states) != 2 {
				t.Errorf("%s %s went through %d states, want 2 (created, done)", r.kind, run, len(states))
			}
		}
	}
}

// Both kinds may hold a Run of one name; they are different Runs.
func TestRunAndCustomRunOfOneNameAreDistinct(t *testing.T) {
	namespace := cluster.namespace(t)
	old, current := watch(t, cluster.admin, runKind, namespace), watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	create(t, runKind, namespace, newRun(runKind, "twin", refV0, "of-the-run"))
	create(t, customRunKind, namespace, newRun(customRunKind, "twin", refV1, "of-the-customrun"))
	old.awaitWaiting(t, "twin")
	current.awaitWaiting(t, "twin")
	p.post(minimal("of-the-customrun", "BuildFailed"))
	current.awaitDone(t, customRunKind, "twin", "False", "ReconciliationFailed")
	p.post(minimal("of-the-run", "ReconciliationSucceeded"))
	old.awaitDone(t, runKind, "twin", "True", "ReconciliationSuceeded")
}

// A Run of another controller's kind must never be written, whatever its parameters say.
func TestForeignRunsAreLeftAlone(t *testing.T) {
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	foreign := newRun(customRunKind, "foreign", "example.dev/v1", "shared")
	wrongCase := newRun(customRunKind, "wrong-case", refV1, "shared")
	wrongCase["spec"].(object)["customRef"].(object)["kind"] = strings.ToLower(taskKind)
	create(t, customRunKind, namespace, foreign)
	create(t, customRunKind, namespace, wrongCase)
	create(t, customRunKind, namespace, newRun(customRunKind, "ours", refV1, "shared"))
	runs.awaitWaiting(t, "ours")
	p.post(minimal("shared", "ReconciliationSucceeded"))
	runs.awaitDone(t, customRunKind, "ours", "True", "ReconciliationSucceeded")
	for _, run := range []string{"foreign", "wrong-case"} {
		if states := runs.history(run); len(states) != 1 {
			t.Errorf("%s was written: %s", run, pretty(states[len(states)-1].object["status"]))
		}
	}
}

func TestOneEventCompletesManyRuns(t *testing.T) {
	const n = 50
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	sha := strings.Repeat("ab", 20)
	for i := range n {
		create(t, customRunKind, namespace, newRun(customRunKind, fmt.Sprintf("many-%d", i), refV1, sha[:7+i%34]))
	}
	for i := range n {
		runs.awaitWaiting(t, fmt.Sprintf("many-%d", i))
	}
	p.post(kustomization("apps", sha, "ReconciliationSucceeded", "info"))
	for i := range n {
		runs.awaitDone(t, customRunKind, fmt.Sprintf("many-%d", i), "True", "ReconciliationSucceeded")
	}
}
