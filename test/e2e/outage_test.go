package e2e

import (
	"fmt"
	"testing"
	"time"
)

// The API server dies, as in an upgrade of a cluster with one of them. Events are taken all the same, and
// what they decided is written when it is back, on its own and without a restart.
func TestAPIServerGoesAwayAndComesBack(t *testing.T) {
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	for _, run := range []string{"before", "during", "after"} {
		create(t, customRunKind, namespace, newRun(customRunKind, run, refV1, "decided-"+run))
		runs.awaitWaiting(t, run)
	}
	p.post(minimal("decided-before", "ReconciliationSucceeded"))
	runs.awaitDone(t, customRunKind, "before", "True", "ReconciliationSucceeded")

	cluster.apiserver.kill()
	p.post(minimal("decided-during", "ReconciliationSucceeded"))
	if err := until(soon, p.process, func() error {
		if len(p.logLines("refused", "connect", "reset", "closed")) == 0 {
			return fmt.Errorf("the log does not say that the API server is gone")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := cluster.launchAPIServer(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	p.post(minimal("decided-after", "BuildFailed"))

	// The test's own watch died with the server: ask instead.
	for run, status := range map[string]string{"during": "True", "after": "False"} {
		err := until(60*time.Second, p.process, func() error {
			o, err := cluster.admin.call("GET", customRunKind.path(namespace)+"/"+run, "", nil)
			if err == nil && text(condition(o, "Succeeded"), "status") != status {
				err = fmt.Errorf("%s: %s", run, pretty(o["status"]))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	t.Logf("the Runs were finished %v after the API server was back", time.Since(back).Round(time.Millisecond))
}
