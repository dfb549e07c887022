package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func cancel(t *testing.T, r resource, namespace, name string) {
	t.Helper()
	cluster.admin.must(t, "PATCH", r.path(namespace)+"/"+name, mergePatchType,
		object{"spec": object{"status": "RunCancelled"}})
}

func TestCancelEndsTheRunAtOnce(t *testing.T) {
	// The value that asks for it is the same for both kinds; the reason that answers is not.
	for r, reason := range map[resource]string{runKind: "RunCancelled", customRunKind: "CustomRunCancelled"} {
		t.Run(r.kind, func(t *testing.T) {
			namespace := cluster.namespace(t)
			runs := watch(t, cluster.admin, r, namespace)
			startProduct(t)
			create(t, r, namespace, newRun(r, "waiting", refV1, "never"))
			start := text(runs.awaitWaiting(t, "waiting").object, "status", "startTime")
			secondPasses(t, start)
			cancel(t, r, namespace, "waiting")
			s := runs.awaitDone(t, r, "waiting", "False", reason)
			if got := text(s.object, "status", "startTime"); got != start {
				t.Errorf("startTime moved from %s to %s", start, got)
			}
			wantResult(t, s.object, "verdict", "cancelled")
			awaitKubeEvent(t, namespace, s.object, "Normal", reason)

			born := newRun(r, "born-cancelled", refV1, "never")
			born["spec"].(object)["status"] = "RunCancelled"
			create(t, r, namespace, born)
			runs.awaitDone(t, r, "born-cancelled", "False", reason)
			if states := runs.history("born-cancelled"); len(states) != 2 {
				t.Errorf("a Run created cancelled went through %d states, want 2 (created, done)", len(states))
			}
		})
	}
}

func TestCancelMessageIsTektons(t *testing.T) {
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	startProduct(t)
	create(t, customRunKind, namespace, newRun(customRunKind, "waiting", refV1, "never"))
	runs.awaitWaiting(t, "waiting")
	const why = "CustomRun cancelled as the PipelineRun it belongs to has been cancelled. 100%s"
	cluster.admin.must(t, "PATCH", customRunKind.path(namespace)+"/waiting", mergePatchType,
		object{"spec": object{"status": "RunCancelled", "statusMessage": why}})
	s := runs.awaitDone(t, customRunKind, "waiting", "False", "CustomRunCancelled")
	if message(s.object) != why {
		t.Errorf("message %q, want %q", message(s.object), why)
	}
}

func TestTimeout(t *testing.T) {
	const limit = 2 * time.Second
	namespace := cluster.namespace(t)
	old, current := watch(t, cluster.admin, runKind, namespace), watch(t, cluster.admin, customRunKind, namespace)
	startProduct(t)
	// A Run of Tekton 0.24.1 has no spec.timeout: the parameter stands in for it.
	create(t, runKind, namespace, newRun(runKind, "short", refV0, "never", "timeout", "2s"))
	short := newRun(customRunKind, "short", refV1, "never")
	short["spec"].(object)["timeout"] = "2s"
	create(t, customRunKind, namespace, short)
	for _, c := range []struct {
		w      *watcher
		r      resource
		reason string
	}{{old, runKind, "RunTimedOut"}, {current, customRunKind, "CustomRunTimedOut"}} {
		waiting := c.w.awaitWaiting(t, "short")
		s := c.w.awaitDone(t, c.r, "short", "False", c.reason)
		wantResult(t, s.object, "verdict", "timedout")
		// startTime has whole seconds, so up to one of them may be over when it is written.
		waited := s.at.Sub(waiting.at)
		if waited < limit-time.Second-100*time.Millisecond || waited > limit+time.Second {
			t.Errorf("%s ended %v after it was seen Waiting, want %v +- 1 s", c.r.kind, waited, limit)
		}
		awaitKubeEvent(t, namespace, s.object, "Warning", c.reason)
	}
}

func TestRejectedSpecs(t *testing.T) {
	namespace := cluster.namespace(t)
	p := startProduct(t)
	named := func(r resource, ref string) object {
		o := newRun(r, "named", refV1, "never")
		o["spec"].(object)[ref].(object)["name"] = "someone"
		return o
	}
	custom := func(name, revision string, params ...string) object {
		return newRun(customRunKind, name, refV1, revision, params...)
	}
	without := newRun(customRunKind, "without", refV1, "never")
	without["spec"].(object)["params"] = []any{}
	array := newRun(customRunKind, "array", refV1, "never")
	array["spec"].(object)["params"] = []any{object{"name": "revision", "value": []any{"a", "b"}}}
	embedded := newRun(customRunKind, "embedded", refV1, "never")
	delete(embedded["spec"].(object), "customRef")
	embedded["spec"].(object)["customSpec"] = object{"apiVersion": refV1, "kind": taskKind, "spec": object{"a": "b"}}
	badTimeout := newRun(customRunKind, "bad-timeout", refV1, "never")
	badTimeout["spec"].(object)["timeout"] = "1d"
	for _, c := range []struct {
		r      resource
		o      object
		reason string
		names  []string // what the message must name
	}{
		{runKind, named(runKind, "ref"), "UnexpectedName", []string{"ref.name"}},
		{customRunKind, named(customRunKind, "customRef"), "UnexpectedName", []string{"name"}},
		{runKind, newRun(runKind, "unknown", refV0, "x", "colour", "red", "size", "5"), "UnexpectedParams",
			[]string{"colour", "size"}},
		{customRunKind, custom("unknown", "x", "Revision", "y"), "UnexpectedParams", []string{"Revision"}},
		{customRunKind, custom("unsubstituted", "$(tasks.a.results.b)"), "UnexpectedParams", []string{"revision"}},
		{customRunKind, custom("blank", "  "), "UnexpectedParams", []string{"revision"}},
		{customRunKind, custom("expect", "x", "expect", "many"), "UnexpectedParams", []string{"expect"}},
		{customRunKind, without, "UnexpectedParams", []string{"revision"}},
		{customRunKind, array, "UnexpectedParams", []string{"revision"}},
		{customRunKind, embedded, "UnsupportedSpec", nil},
		{customRunKind, badTimeout, "InvalidTimeout", []string{"spec.timeout"}},
	} {
		t.Run(c.r.kind+"/"+name(c.o), func(t *testing.T) {
			runs := watch(t, cluster.admin, c.r, namespace)
			create(t, c.r, namespace, c.o)
			s := runs.awaitDone(t, c.r, name(c.o), "False", c.reason)
			for _, word := range c.names {
				if !strings.Contains(message(s.object), word) {
					t.Errorf("message %q does not name %s", message(s.object), word)
				}
			}
			wantResult(t, s.object, "verdict", "rejected")
			awaitKubeEvent(t, namespace, s.object, "Warning", c.reason)
			if t.Failed() {
				t.Logf("the binary's log:\n%s", p.process.tail(20))
			}
		})
	}
}

func TestRunDeletedWhileWaitingIsForgotten(t *testing.T) {
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	p := startProduct(t)
	create(t, customRunKind, namespace, newRun(customRunKind, "again", refV1, "first"))
	first := runs.awaitWaiting(t, "again")
	cluster.admin.must(t, "DELETE", customRunKind.path(namespace)+"/again", "", nil)
	create(t, customRunKind, namespace, newRun(customRunKind, "again", refV1, "second"))
	runs.await(t, "again", "second Waiting", soon, func(o object) bool {
		return text(o, "metadata", "uid") != text(first.object, "metadata", "uid") && in("Unknown", "Waiting")(o)
	})
	p.post(minimal("first", "BuildFailed"))
	p.post(minimal("second", "ReconciliationSucceeded"))
	runs.awaitDone(t, customRunKind, "again", "True", "ReconciliationSucceeded")
}

// mustServeEvents: trouble with the API server never takes the event endpoint away, and does not spin.
func mustServeEvents(t *testing.T, p *product, words ...string) {
	t.Helper()
	var body string
	err := until(soon, p.process, func() error {
		code, answer, err := p.get("/readyz")
		if err != nil {
			return err
		}
		body = answer
		if code != http.StatusOK {
			return fmt.Errorf("/readyz: %d %s, want 200: events can be stored", code, answer)
		}
		lower := strings.ToLower(answer)
		for _, word := range words {
			if strings.Contains(lower, word) {
				return nil
			}
		}
		return fmt.Errorf("/readyz does not name the trouble (one of %q): %s", words, answer)
	})
	if err != nil {
		t.Error(err)
	}
	p.post(minimal("still-served", "ReconciliationSucceeded"))
	code, answer, err := p.get("/events?revision=still-served")
	if err != nil || code != http.StatusOK || !strings.Contains(answer, "still-served") {
		t.Errorf("GET /events: %d %s %v", code, answer, err)
	}

	// Two seconds of trouble: a log line now and then and next to no processor time.
	before, err := p.process.cpu()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // an interval that is measured, not a wait
	after, err := p.process.cpu()
	if err != nil {
		t.Fatal(err)
	}
	if spent := after - before; spent > 300*time.Millisecond {
		t.Errorf("used %v of processor time in 2 s: a busy loop", spent)
	}
	lines := p.logLines(words...)
	if len(lines) == 0 {
		t.Errorf("no log line names the trouble (one of %q)", words)
	}
	if len(lines) > 8 {
		t.Errorf("%d log lines about one trouble in seconds:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	t.Logf("/readyz: %s\nlog: %s", strings.TrimSpace(body), strings.Join(lines, "\n"))
}

func TestWrongCA(t *testing.T) {
	other, err := newAuthority("another CA")
	if err != nil {
		t.Fatal(err)
	}
	p := newProduct(t)
	p.ca = filepath.Join(p.folder, "other-ca.crt")
	if err := os.WriteFile(p.ca, other.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	mustServeEvents(t, p, "certificate", "verif")

	// The right CA arrives in the same file: no restart is needed.
	namespace := cluster.namespace(t)
	runs := watch(t, cluster.admin, customRunKind, namespace)
	right, err := os.ReadFile(cluster.caFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.ca+".new", right, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(p.ca+".new", p.ca); err != nil {
		t.Fatal(err)
	}
	create(t, customRunKind, namespace, newRun(customRunKind, "served", refV1, "still-served"))
	runs.await(t, "served", "final status", 60*time.Second, done)
}

func TestUnusableTokens(t *testing.T) {
	genuine := chartToken(t)
	expired, err := resign(genuine, cluster.signingKey, func(claims map[string]any) {
		past := time.Now().Add(-2 * time.Hour).Unix()
		claims["iat"], claims["nbf"], claims["exp"] = past, past, past+3600
	})
	if err != nil {
		t.Fatal(err)
	}
	// The forgery must fail for its age alone: signed again without a change it is accepted.
	same, err := resign(genuine, cluster.signingKey, func(map[string]any) {})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{same: 200, expired: 401} {
		code, _, err := cluster.admin.as(token).send("GET", customRunKind.path("default"), "", nil)
		if err != nil || code != want {
			t.Fatalf("a token signed by the test: %d %v, want %d", code, err, want)
		}
	}
	for what, token := range map[string]string{"expired": expired, "garbage": "not-a-token"} {
		t.Run(what, func(t *testing.T) {
			p := newProduct(t)
			p.writeToken(token)
			p.start()
			mustServeEvents(t, p, "unauthorized", "credentials")

			namespace := cluster.namespace(t)
			runs := watch(t, cluster.admin, customRunKind, namespace)
			p.writeToken(chartToken(t))
			create(t, customRunKind, namespace, newRun(customRunKind, "served", refV1, "still-served"))
			runs.await(t, "served", "final status", 60*time.Second, done)
		})
	}
}

func TestAPIServerThatIsNotThere(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	p := newProduct(t)
	p.api = fmt.Sprintf("https://127.0.0.1:%d", port)
	p.start()
	mustServeEvents(t, p, "refused", "connect")
}
