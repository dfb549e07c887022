package e2e

// What Tekton says to a child in these two cases; which of them it was is how it counts the child's end.
const (
	saidCancelled = "CustomRun cancelled as the PipelineRun it belongs to has been cancelled."
	saidTimedOut  = "CustomRun cancelled as the PipelineRun it belongs to has timed out."
)

// cancelledPipeline: the PipelineRun ends at once, without `finally`.
func cancelledPipeline(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"), c.wait("other")), "finally": tasks(c.wait("last"))})
	c.waiting("wait")
	c.waiting("other")
	c.setStatus("Cancelled")
	for _, task := range []string{"wait", "other"} {
		c.wantMessage(c.childEnds(task, "False", "CustomRunCancelled"), saidCancelled)
	}
	c.ends("False", "Cancelled")
	c.neverStarted("last")
}

// cancelledRunFinally: `finally` begins when the cancelled children have answered, and may wait itself.
func cancelledRunFinally(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"), c.wait("next", after("wait"))),
		"finally": tasks(c.wait("last"))})
	c.waiting("wait")
	c.setStatus("CancelledRunFinally")
	c.wantMessage(c.childEnds("wait", "False", "CustomRunCancelled"), saidCancelled)
	c.waiting("last")
	c.succeed("last")
	c.childEnds("last", "True", "ReconciliationSucceeded")
	c.endsAfter("last", "False", "Cancelled")
	c.neverStarted("next")
}

// stoppedRunFinally: what runs may end by itself, nothing but `finally` begins, and the PipelineRun counts as cancelled
// although all that ran succeeded.
func stoppedRunFinally(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"), c.wait("next", after("wait"))),
		"finally": tasks(c.wait("last"))})
	c.waiting("wait")
	c.setStatus("StoppedRunFinally")
	c.succeed("wait")
	c.childEnds("wait", "True", "ReconciliationSucceeded")
	c.waiting("last")
	c.succeed("last")
	c.childEnds("last", "True", "ReconciliationSucceeded")
	c.endsAfter("last", "False", "Cancelled")
	c.neverStarted("next")
}

func stoppedWithFailure(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"), c.wait("next", after("wait"))),
		"finally": tasks(c.wait("last"))})
	c.waiting("wait")
	c.setStatus("StoppedRunFinally")
	c.fail("wait")
	c.childEnds("wait", "False", "ReconciliationFailed")
	c.waiting("last")
	c.succeed("last")
	c.childEnds("last", "True", "ReconciliationSucceeded")
	c.endsAfter("last", "False", "Failed")
	c.neverStarted("next")
}

// childCancelledAlone: the exact reason is all that tells Tekton a cancelled child from a failed one.
func childCancelledAlone(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"), c.wait("next", after("wait")))})
	c.waiting("wait")
	c.cancelChild("wait")
	c.childEnds("wait", "False", "CustomRunCancelled")
	c.ends("False", "Cancelled")
	c.neverStarted("next")
}
