package e2e

import "fmt"

// matrix fans a task out over the case's revisions of these names.
func (c *pipelineCase) matrix(task string, of ...string) object {
	var revisions []any
	for _, one := range of {
		revisions = append(revisions, c.revision(one))
	}
	o := c.wait(task, object{"matrix": object{"params": []any{object{"name": "revision", "value": revisions}}}})
	delete(o, "params")
	return o
}

func (c *pipelineCase) allWaiting(task string, n int) {
	c.t.Helper()
	for i := range n {
		c.waiting(fmt.Sprintf("%s-%d", task, i))
	}
}

func matrixFansOut(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.matrix("wait", "a", "b", "c"), c.wait("next", after("wait")))})
	c.allWaiting("wait", 3)
	for i, one := range []string{"a", "b", "c"} {
		c.neverStarted("next")
		c.succeed(one)
		c.childEnds(fmt.Sprintf("wait-%d", i), "True", "ReconciliationSucceeded")
	}
	c.waiting("next")
	c.succeed("next")
	c.childEnds("next", "True", "ReconciliationSucceeded")
	c.ends("True", "Succeeded")
}

// matrixWithOneFailure: the others are not stopped, and what follows does not begin.
func matrixWithOneFailure(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.matrix("wait", "a", "b"), c.wait("next", after("wait")))})
	c.allWaiting("wait", 2)
	c.fail("a")
	c.childEnds("wait-0", "False", "ReconciliationFailed")
	c.succeed("b")
	c.childEnds("wait-1", "True", "ReconciliationSucceeded")
	c.ends("False", "Failed")
	c.neverStarted("next")
}

// matrixResultToNextTask: Tekton cannot hand results of a matrixed custom task on and leaves the text as it is. A child
// that waited for that text would wait until its timeout.
func matrixResultToNextTask(c *pipelineCase) {
	next := c.wait("next")
	next["params"] = []any{object{"name": "objects", "value": []any{"$(tasks.wait.results.object[*])"}},
		object{"name": "revision", "value": c.revision("next")}}
	c.create(object{"tasks": tasks(c.matrix("wait", "a", "b"), next)})
	c.allWaiting("wait", 2)
	c.succeed("a")
	c.succeed("b")
	c.childEnds("wait-0", "True", "ReconciliationSucceeded")
	c.childEnds("wait-1", "True", "ReconciliationSucceeded")
	c.wantMessage(c.childEnds("next", "False", "UnexpectedParams"), "$(")
	c.ends("False", "Failed")
}

func matrixResultToPipeline(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.matrix("wait", "a", "b")),
		"results": []any{object{"name": "objects", "type": "array", "value": []any{
			"$(tasks.wait.results.object[*])"}}}})
	c.allWaiting("wait", 2)
	c.succeed("a")
	c.succeed("b")
	c.childEnds("wait-0", "True", "ReconciliationSucceeded")
	c.childEnds("wait-1", "True", "ReconciliationSucceeded")
	c.ends("False", "CouldntGetPipelineResult")
}
