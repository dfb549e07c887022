package e2e

import "time"

// The timeouts that count from the PipelineRun's start must leave Tekton the time to create the child.
const (
	pipelineSpan = "8s"
	taskSpan     = "3s"
)

func timeouts(members object) object { return object{"timeouts": members} }

// pipelineTimeout: the PipelineRun ends at once and tells its child why.
func pipelineTimeout(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait")), "finally": tasks(c.wait("last"))},
		timeouts(object{"pipeline": pipelineSpan}))
	c.waiting("wait")
	c.wantMessage(c.childEnds("wait", "False", "CustomRunCancelled"), saidTimedOut)
	c.ends("False", "PipelineRunTimeout")
	c.neverStarted("last")
}

// tasksTimeout: `finally` has its own time, and waits; the PipelineRun says in the end what went wrong at first.
func tasksTimeout(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait")), "finally": tasks(c.wait("last"))},
		timeouts(object{"pipeline": "5m", "tasks": pipelineSpan}))
	c.waiting("wait")
	c.wantMessage(c.childEnds("wait", "False", "CustomRunCancelled"), saidTimedOut)
	c.waiting("last")
	c.succeed("last")
	c.childEnds("last", "True", "ReconciliationSucceeded")
	c.endsAfter("last", "False", "PipelineRunTimeout")
}

func finallyTimeout(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait")), "finally": tasks(c.wait("last"))},
		timeouts(object{"pipeline": "5m", "finally": pipelineSpan}))
	c.waiting("wait")
	c.succeed("wait")
	c.childEnds("wait", "True", "ReconciliationSucceeded")
	c.waiting("last")
	c.wantMessage(c.childEnds("last", "False", "CustomRunCancelled"), saidTimedOut)
	c.endsAfter("last", "False", "Failed")
}

// taskTimeout is ours alone to keep: Tekton copies it to the child and looks no further.
func taskTimeout(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", timeout(taskSpan))), "finally": tasks(c.wait("last"))})
	waiting := c.waiting("wait")
	wantTimedOut(c, "wait", waiting.at, 3*time.Second)
	c.waiting("last")
	c.succeed("last")
	c.childEnds("last", "True", "ReconciliationSucceeded")
	c.endsAfter("last", "False", "Failed")
}

// wantTimedOut: the child times out after this span, as seen from when its attempt was first seen.
func wantTimedOut(c *pipelineCase, task string, began time.Time, span time.Duration) object {
	c.t.Helper()
	s := c.children.awaitDone(c.t, customRunKind, c.child(task), "False", "CustomRunTimedOut")
	wantResult(c.t, s.object, "verdict", "timedout")
	// The start is written in whole seconds, so up to one of them may be over when it is seen.
	if waited := s.at.Sub(began); waited < span-1100*time.Millisecond || waited > span+time.Second {
		c.t.Errorf("%s ended %v after it was seen waiting, want %v", c.child(task), waited, span)
	}
	return s.object
}

// taskRunSpecTimeout: taskRunSpecs beats the task's own; with neither, the child has none.
func taskRunSpecTimeout(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", timeout("1h")), c.wait("free"))},
		object{"taskRunSpecs": []any{object{"pipelineTaskName": "wait", "timeout": taskSpan}}})
	free := c.waiting("free")
	if got := at(free.object, "spec", "timeout"); got != nil {
		c.t.Errorf("a task without a timeout has a child with timeout %v", got)
	}
	waiting := c.waiting("wait")
	if got := text(waiting.object, "spec", "timeout"); got != taskSpan {
		c.t.Errorf("the child's timeout is %q, want %s", got, taskSpan)
	}
	wantTimedOut(c, "wait", waiting.at, 3*time.Second)
	c.succeed("free")
	c.childEnds("free", "True", "ReconciliationSucceeded")
	c.ends("False", "Failed")
}
