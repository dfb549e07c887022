package e2e

import "time"

// attempt waits until so many attempts of the task have failed and the next one waits.
func (c *pipelineCase) attempt(task string, failed int) seen {
	c.t.Helper()
	return c.children.await(c.t, c.child(task), "another attempt", tektonLimit, func(o object) bool {
		list, _ := at(o, "status", "retriesStatus").([]any)
		return len(list) == failed && !done(o)
	})
}

// wantAttempts: the failed attempts are recorded, each as it ended and without a record of its own, and in no state that
// anybody could see did the child look finished before.
func (c *pipelineCase) wantAttempts(task string, reasons ...string) {
	c.t.Helper()
	states := c.children.history(c.child(task))
	last := states[len(states)-1].object
	list, _ := at(last, "status", "retriesStatus").([]any)
	if len(list) != len(reasons) {
		c.t.Fatalf("%s: %d recorded attempts, want %d: %s", c.child(task), len(list), len(reasons),
			pretty(last["status"]))
	}
	for i, reason := range reasons {
		one, _ := list[i].(object)
		if !in("False", reason)(object{"status": one}) {
			c.t.Errorf("%s: attempt %d: want False %s, is %s", c.child(task), i+1, reason, pretty(one))
		}
		if text(one, "startTime") == "" || text(one, "completionTime") == "" {
			c.t.Errorf("%s: attempt %d has no times: %s", c.child(task), i+1, pretty(one))
		}
		if one["retriesStatus"] != nil {
			c.t.Errorf("%s: attempt %d records attempts itself: %s", c.child(task), i+1, pretty(one))
		}
	}
	for _, s := range states {
		made, _ := at(s.object, "status", "retriesStatus").([]any)
		if done(s.object) && len(made) < len(reasons) {
			c.t.Errorf("%s was finished with attempts left: %s", c.child(task), pretty(s.object["status"]))
		}
	}
}

func retryUntilSuccess(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", retries(2)))})
	c.waiting("wait")
	c.fail("wait")
	c.attempt("wait", 1)
	c.fail("wait") // said again with all but the time equal: it still counts
	c.attempt("wait", 2)
	c.succeed("wait")
	c.childEnds("wait", "True", "ReconciliationSucceeded")
	c.wantAttempts("wait", "ReconciliationFailed", "ReconciliationFailed")
	c.ends("True", "Succeeded")
}

func retriesSpent(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", retries(1))), "finally": tasks(c.wait("last"))})
	c.waiting("wait")
	c.fail("wait")
	c.attempt("wait", 1)
	c.fail("wait")
	c.childEnds("wait", "False", "ReconciliationFailed")
	c.wantAttempts("wait", "ReconciliationFailed")
	c.waiting("last")
	c.succeed("last")
	c.childEnds("last", "True", "ReconciliationSucceeded")
	c.endsAfter("last", "False", "Failed")
}

// retryAfterTimeout: each attempt has the whole timeout.
func retryAfterTimeout(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", retries(1), timeout(taskSpan)))})
	c.waiting("wait")
	second := c.attempt("wait", 1)
	wantTimedOut(c, "wait", second.at, 3*time.Second)
	c.wantAttempts("wait", "CustomRunTimedOut")
	c.ends("False", "Failed")
}

// cancelledRetry: a cancellation is never tried again.
func cancelledRetry(c *pipelineCase) {
	c.create(object{"tasks": tasks(c.wait("wait", retries(5)))})
	c.waiting("wait")
	c.fail("wait")
	c.attempt("wait", 1)
	c.setStatus("Cancelled")
	c.wantMessage(c.childEnds("wait", "False", "CustomRunCancelled"), saidCancelled)
	c.wantAttempts("wait", "ReconciliationFailed")
	c.ends("False", "Cancelled")
}
