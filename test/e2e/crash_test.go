package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A restart must be invisible to a waiting Run but for the pause: kill -9, the same data directory and port.

func TestKilledWhileARunWaits(t *testing.T) {
	namespace := cluster.namespace(t)
	old, current := watch(t, cluster.admin, runKind, namespace), watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	create(t, runKind, namespace, newRun(runKind, "waiting", refV0, "after-the-crash"))
	create(t, customRunKind, namespace, newRun(customRunKind, "waiting", refV1, "after-the-crash"))
	oldStart := text(old.awaitWaiting(t, "waiting").object, "status", "startTime")
	start := text(current.awaitWaiting(t, "waiting").object, "status", "startTime")
	p.crash()
	secondPasses(t, start)
	p.start()
	p.awaitReady()
	p.post(minimal("after-the-crash", "ReconciliationSucceeded"))
	o := old.awaitDone(t, runKind, "waiting", "True", "ReconciliationSuceeded").object
	c := current.awaitDone(t, customRunKind, "waiting", "True", "ReconciliationSucceeded").object
	if got := text(o, "status", "startTime"); got != oldStart {
		t.Errorf("startTime of the Run moved from %s to %s", oldStart, got)
	}
	if got := text(c, "status", "startTime"); got != start {
		t.Errorf("startTime of the CustomRun moved from %s to %s", start, got)
	}
}

// 200 means on disk: whatever was answered before the kill decides after it, ten times in a row.
func TestKilledRightAfterThePostWasAnswered(t *testing.T) {
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	for i := range 10 {
		run := fmt.Sprintf("acked-%d", i)
		sha := fmt.Sprintf("%040x", 0xabcdef0123+i)
		create(t, customRunKind, namespace, newRun(customRunKind, run, refV1, sha))
		runs.awaitWaiting(t, run)
		p.post(kustomization("apps", sha, "ReconciliationSucceeded", "info"))
		p.crash()
		p.start()
		runs.awaitDone(t, customRunKind, run, "True", "ReconciliationSucceeded")
		p.awaitReady()
	}
}

// The Run and its event both come while no process runs.
func TestRunCreatedWhileTheProcessWasDown(t *testing.T) {
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	sha := strings.Repeat("d0", 20)
	p.post(kustomization("apps", sha, "ReconciliationSucceeded", "info"))
	p.crash()
	create(t, customRunKind, namespace, newRun(customRunKind, "meanwhile", refV1, sha))
	create(t, customRunKind, namespace, newRun(customRunKind, "undecided", refV1, strings.Repeat("d1", 20)))
	p.start()
	runs.awaitDone(t, customRunKind, "meanwhile", "True", "ReconciliationSucceeded")
	runs.awaitWaiting(t, "undecided")
}

// A finished Run is never written again, not by a restart that lists it anew and not by a late cancel.
func TestFinishedRunsStayAsTheyAre(t *testing.T) {
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	create(t, customRunKind, namespace, newRun(customRunKind, "sticky", refV1, "sticky"))
	runs.awaitWaiting(t, "sticky")
	p.post(minimal("sticky", "ReconciliationSucceeded"))
	final := runs.awaitDone(t, customRunKind, "sticky", "True", "ReconciliationSucceeded").object
	cancel(t, customRunKind, namespace, "sticky")
	p.post(minimal("sticky", "BuildFailed"))
	p.crash()
	p.start()
	p.awaitReady()
	// A Run created last is served last: once it waits, the restarted process has seen the finished one.
	create(t, customRunKind, namespace, newRun(customRunKind, "marker", refV1, "marker"))
	runs.awaitWaiting(t, "marker")
	states := runs.history("sticky")
	last := states[len(states)-1].object
	if pretty(last["status"]) != pretty(final["status"]) {
		t.Errorf("the finished Run was written again:\n%s\nwas\n%s", pretty(last["status"]), pretty(final["status"]))
	}
}
