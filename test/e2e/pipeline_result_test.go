package e2e

import "strings"

// goodPipeline waits for one revision and, when that succeeded, for a second one whose name is a result of the first
// wait: so the results are read by Tekton, not only by this test.
func goodPipeline(c *pipelineCase) {
	c.create(object{
		"tasks": tasks(c.wait("wait", timeout("5m")),
			c.waitFor("again", "$(tasks.wait.results.verdict)-"+c.run)),
		"results": []any{result("deployed", "$(tasks.wait.results.object)"),
			result("none", "$(tasks.wait.results.supersededBy)")},
	})
	c.waiting("wait")
	c.succeed("wait")
	object := results(c.childEnds("wait", "True", "ReconciliationSucceeded"))["object"]
	second := c.waiting("again")
	if got := paramOf(second.object, "revision"); got != "succeeded-good" {
		c.t.Errorf("Tekton handed on revision %q, want succeeded-good", got)
	}
	c.product.post(minimal("succeeded-good", "ReconciliationSucceeded"))
	c.childEnds("again", "True", "ReconciliationSucceeded")
	end := c.ends("True", "Succeeded")
	if !strings.HasPrefix(object, "Kustomization/flux-system/app-") {
		c.t.Errorf("result object is %q", object)
	}
	c.wantPipelineResult(end, "deployed", object)
	// Always the full set: an empty one is there, or the PipelineRun would fail for want of it.
	c.wantPipelineResult(end, "none", "")
}

func badPipeline(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"), c.wait("again", after("wait")))})
	c.waiting("wait")
	c.fail("wait")
	c.childEnds("wait", "False", "ReconciliationFailed")
	c.ends("False", "Failed")
	c.neverStarted("again")
}

// failedMessageReachesFinally: what a notification in `finally` would say is a result of the task that failed. It
// may be a result of the failed PipelineRun as well.
func failedMessageReachesFinally(c *pipelineCase) {
	c.create(object{
		"tasks": tasks(c.wait("wait")),
		"finally": tasks(c.waitFor("tell", "$(tasks.wait.results.message)"),
			c.waitFor("state", c.run+" $(tasks.wait.status) $(tasks.wait.reason) $(tasks.wait.results.verdict)")),
		"results": []any{result("said", "$(tasks.wait.results.message)")},
	})
	c.waiting("wait")
	c.fail("wait")
	said := results(c.childEnds("wait", "False", "ReconciliationFailed"))["message"]
	told := paramOf(c.waiting("tell").object, "revision")
	if want := "what happened to app-" + c.revision("wait")[:8]; told != said || told != want {
		c.t.Errorf("finally was told %q; the result is %q, want %q", told, said, want)
	}
	c.product.post(minimal(told, "ReconciliationSucceeded"))
	c.childEnds("tell", "True", "ReconciliationSucceeded")
	state := paramOf(c.waiting("state").object, "revision")
	if want := c.run + " Failed ReconciliationFailed failed"; state != want {
		c.t.Errorf("finally was told %q, want %q", state, want)
	}
	c.product.post(minimal(state, "ReconciliationSucceeded"))
	c.childEnds("state", "True", "ReconciliationSucceeded")
	c.wantPipelineResult(c.endsAfter("state", "False", "Failed"), "said", said)
}

// missingResult: a name that no task of ours has. The full set of results is what spares users this.
func missingResult(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"), c.waitFor("next", "$(tasks.wait.results.nothing)"))})
	c.waiting("wait")
	c.succeed("wait")
	c.childEnds("wait", "True", "ReconciliationSucceeded")
	c.ends("False", "PipelineValidationFailed")
	c.neverStarted("next")
}

func oldRefIsRefused(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait",
		object{"taskRef": object{"apiVersion": refV0, "kind": taskKind}}))})
	c.wantMessage(c.ends("False", "PipelineValidationFailed"), "invalid apiVersion format")
	c.neverStarted("wait")
}

func duplicateParameter(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", object{"params": []any{
		result("revision", "a"), result("revision", "b")}}))})
	c.ends("False", "PipelineValidationFailed")
	c.neverStarted("wait")
}

// numberAsRevision: a short SHA of digits only, without quotes in somebody's YAML, is a number; Tekton makes it text.
func numberAsRevision(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", object{"params": []any{
		object{"name": "revision", "value": 7654321}}}))})
	if got := paramOf(c.waiting("wait").object, "revision"); got != "7654321" {
		c.t.Errorf("the child's revision is %q, want 7654321", got)
	}
	c.product.post(kustomization("number", "7654321"+strings.Repeat("9", 33), "ReconciliationSucceeded", "info"))
	c.childEnds("wait", "True", "ReconciliationSucceeded")
	c.ends("True", "Succeeded")
}

// continueOnError: the failure is ignored, what follows reads its results, and the PipelineRun succeeds.
func continueOnError(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", onErrorContinue()),
		c.waitFor("next", c.run+" $(tasks.wait.results.verdict)", after("wait")))})
	c.waiting("wait")
	c.fail("wait")
	c.childEnds("wait", "False", "ReconciliationFailed")
	if got := paramOf(c.waiting("next").object, "revision"); got != c.run+" failed" {
		c.t.Errorf("the next task was told %q", got)
	}
	c.product.post(minimal(c.run+" failed", "ReconciliationSucceeded"))
	c.childEnds("next", "True", "ReconciliationSucceeded")
	c.wantMessage(c.ends("True", "Succeeded"), "Failed: 1 (Ignored: 1), Cancelled 0")
}

// continueOnCancelledChild: a cancelled child is no failure to be ignored. What follows still runs.
func continueOnCancelledChild(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", onErrorContinue()), c.wait("next", after("wait")))})
	c.waiting("wait")
	c.cancelChild("wait")
	c.childEnds("wait", "False", "CustomRunCancelled")
	c.waiting("next")
	c.succeed("next")
	c.childEnds("next", "True", "ReconciliationSucceeded")
	c.ends("False", "Cancelled")
}
