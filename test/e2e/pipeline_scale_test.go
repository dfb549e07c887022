package e2e

import (
	"fmt"
	"time"
)

const fifty = 50

// fiftyPipelines measures how long after its event's POST a child is done, as a watch sees it, while Tekton has all of
// them at work. Beside it: what a bare PATCH takes under the same load, and the PipelineRun's own end, which is Tekton's
// time.
func fiftyPipelines(c *pipelineCase) {
	const bar, broken = 50 * time.Millisecond, 500 * time.Millisecond
	yardsticks := fiftyWaiting(c, "bare", "example.dev/v1", nil)
	var sent [fifty]time.Time
	forEach(fifty, func(i int) {
		sent[i] = time.Now()
		patchYardstick(c.t, customRunKind, c.namespace, yardsticks[i].child("wait"))
	})
	bare, _ := fiftyEnds(c, yardsticks, sent[:])
	line, _ := figures("a bare PATCH seen", bare)
	c.t.Log(line)

	cases := fiftyWaiting(c, "fifty", refV1, in("Unknown", "Waiting"))
	for i, one := range cases {
		sent[i] = one.event("wait", "ReconciliationSucceeded", "info")
	}
	children, runs := fiftyEnds(c, cases, sent[:])
	line, p50 := figures("event posted to CustomRun done seen", children)
	c.t.Logf("%s (bar: p50 %v)", line, bar)
	if p50 > broken {
		c.t.Errorf("p50 %v: something waits for something else", p50)
	}
	line, _ = figures("event posted to PipelineRun done", runs)
	c.t.Logf("%s (Tekton's own pace)", line)
}

// fiftyWaiting makes the PipelineRuns at once and waits until Tekton knows that all their children have started.
func fiftyWaiting(c *pipelineCase, run, apiVersion string, holds func(object) bool) []*pipelineCase {
	c.t.Helper()
	cases := make([]*pipelineCase, fifty)
	for i := range cases {
		cases[i] = c.pipelines.newCase(c.t, fmt.Sprintf("%s-%d", run, i))
	}
	ref := object{"taskRef": object{"apiVersion": apiVersion, "kind": taskKind}}
	forEach(fifty, func(i int) { cases[i].create(object{"tasks": tasks(cases[i].wait("wait", ref))}) })
	for _, one := range cases {
		if holds != nil {
			one.children.await(c.t, one.child("wait"), "Waiting", tektonLimit, holds)
		}
		one.recorded("wait")
	}
	return cases
}

// fiftyEnds gives how long after what was sent the children and the PipelineRuns were seen to succeed.
func fiftyEnds(c *pipelineCase, cases []*pipelineCase, sent []time.Time) (children, runs []time.Duration) {
	c.t.Helper()
	for i, one := range cases {
		child := one.children.await(c.t, one.child("wait"), "final status", tektonLimit, done)
		run := one.runs.await(c.t, one.run, "final status", tektonLimit, done)
		if text(condition(child.object, "Succeeded"), "status") != "True" || !in("True", "Succeeded")(run.object) {
			c.t.Errorf("PipelineRun %s: %s, its child: %s", one.run, pretty(run.object["status"]),
				pretty(child.object["status"]))
		}
		children = append(children, child.at.Sub(sent[i]))
		runs = append(runs, run.at.Sub(sent[i]))
	}
	return children, runs
}
