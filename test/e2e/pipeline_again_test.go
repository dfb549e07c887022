package e2e

import "testing"

// awaitOther waits for a state of an object of the same name that is not the one with this UID.
func awaitOther(t *testing.T, w *watcher, old object, what string, holds func(object) bool) seen {
	t.Helper()
	return w.await(t, name(old), what, tektonLimit, func(o object) bool {
		return text(o, "metadata", "uid") != text(old, "metadata", "uid") && holds(o)
	})
}

// recreatedAfterCollection: the child has the name of the old one, which was collected, and begins afresh: what the old
// one was told does not count.
func recreatedAfterCollection(c *pipelineCase) {
	pipeline := object{"tasks": tasks(c.wait("wait"))}
	first := c.create(pipeline)
	child := c.waiting("wait").object
	c.fail("wait")
	c.childEnds("wait", "False", "ReconciliationFailed")
	c.ends("False", "Failed")
	// The garbage collector's part: there is none here.
	c.remove(pipelineRunKind, c.run)
	c.remove(customRunKind, c.child("wait"))
	pipeline["tasks"] = tasks(c.waitFor("wait", c.revision("second")))
	c.create(pipeline)
	again := awaitOther(c.t, c.children, child, "Waiting", in("Unknown", "Waiting"))
	if at(again.object, "status", "completionTime") != nil || len(results(again.object)) != 0 {
		c.t.Errorf("the new child has something of the old one: %s", pretty(again.object["status"]))
	}
	c.succeed("second")
	awaitOther(c.t, c.children, child, "success", in("True", "ReconciliationSucceeded"))
	awaitOther(c.t, c.runs, first, "success", in("True", "Succeeded"))
}

// recreatedAdoptsItsChild: Tekton does not ask whose child it is. A child that still waits when its PipelineRun is made
// again must go on waiting, and its end counts for the new one.
func recreatedAdoptsItsChild(c *pipelineCase) {
	pipeline := object{"tasks": tasks(c.wait("wait"), c.wait("next", after("wait")))}
	first := c.create(pipeline)
	child := c.waiting("wait").object
	c.remove(pipelineRunKind, c.run)
	c.create(pipeline)
	awaitOther(c.t, c.runs, first, "reference to the old child", func(o object) bool {
		return text(o, "status", "childReferences", 0, "name") == c.child("wait")
	})
	c.succeed("wait")
	end := c.childEnds("wait", "True", "ReconciliationSucceeded")
	if text(end, "metadata", "uid") != text(child, "metadata", "uid") {
		c.t.Errorf("%s: Tekton made another child; this case is about an adopted one", c.child("wait"))
	}
	c.waiting("next")
	c.succeed("next")
	c.childEnds("next", "True", "ReconciliationSucceeded")
	awaitOther(c.t, c.runs, first, "success", in("True", "Succeeded"))
}

// childDeletedMidWay: Tekton makes another one of that name at once, and it waits.
func childDeletedMidWay(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait"))})
	child := c.waiting("wait").object
	c.remove(customRunKind, c.child("wait"))
	awaitOther(c.t, c.children, child, "Waiting", in("Unknown", "Waiting"))
	c.succeed("wait")
	awaitOther(c.t, c.children, child, "success", in("True", "ReconciliationSucceeded"))
	c.ends("True", "Succeeded")
}
