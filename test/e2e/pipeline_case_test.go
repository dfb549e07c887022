package e2e

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tektonLimit is the deadline of waits in which Tekton has a part: it takes its time, more so with others at work.
const tektonLimit = 60 * time.Second

// pipelines is what the cases share: one instance of the binary, one Tekton, one namespace and its watches.
type pipelines struct {
	product   *product
	namespace string
	runs      *watcher
	children  *watcher
}

func startPipelines(t *testing.T) *pipelines {
	t.Helper()
	w := &pipelines{namespace: cluster.namespace(t), product: startProduct(t)}
	startTekton(t)
	w.runs = watch(t, cluster.admin, pipelineRunKind, w.namespace)
	w.children = watch(t, cluster.admin, customRunKind, w.namespace)
	return w
}

// pipelineCase is one PipelineRun, its name unique among the cases. Each revision it waits for is reported by an object
// of its own, so that no case supersedes what another one waits for.
type pipelineCase struct {
	*pipelines
	t      *testing.T
	run    string
	events int
}

func (w *pipelines) newCase(t *testing.T, run string) *pipelineCase {
	own := *w
	product := *w.product
	product.t = t
	own.product = &product
	return &pipelineCase{pipelines: &own, t: t, run: run}
}

// revision gives a full commit that only this case knows.
func (c *pipelineCase) revision(of string) string {
	return fmt.Sprintf("%x", sha1.Sum([]byte(c.run+"/"+of)))
}

// wait is a task of ours that waits for the case's revision of the task's name; more are members of the task.
func (c *pipelineCase) wait(task string, more ...object) object {
	return c.waitFor(task, c.revision(task), more...)
}

func (c *pipelineCase) waitFor(task, revision string, more ...object) object {
	o := object{"name": task,
		"taskRef": object{"apiVersion": refV1, "kind": taskKind},
		"params":  []any{object{"name": "revision", "value": revision}}}
	for _, members := range more {
		for member, value := range members {
			o[member] = value
		}
	}
	return o
}

// create makes the PipelineRun; pipeline is its spec.pipelineSpec, more are members of its spec.
func (c *pipelineCase) create(pipeline object, more ...object) object {
	c.t.Helper()
	spec := object{"pipelineSpec": pipeline}
	for _, members := range more {
		for member, value := range members {
			spec[member] = value
		}
	}
	return create(c.t, pipelineRunKind, c.namespace, object{
		"apiVersion": pipelineRunKind.apiVersion, "kind": pipelineRunKind.kind,
		"metadata": object{"name": c.run}, "spec": spec,
	})
}

func (c *pipelineCase) child(task string) string { return c.run + "-" + task }

// waiting waits until the task's child waits and the PipelineRun knows it: a child that is not recorded there is never
// told of a cancellation.
func (c *pipelineCase) waiting(task string) seen {
	c.t.Helper()
	s := c.children.await(c.t, c.child(task), "Waiting", tektonLimit, in("Unknown", "Waiting"))
	c.recorded(task)
	return s
}

func (c *pipelineCase) recorded(task string) {
	c.t.Helper()
	c.runs.await(c.t, c.run, "reference to its child "+c.child(task), tektonLimit, func(o object) bool {
		list, _ := at(o, "status", "childReferences").([]any)
		return slices.ContainsFunc(list, func(ref any) bool { return text(ref, "name") == c.child(task) })
	})
}

// event reports one of the case's revisions. Each is a second later than the one before, as those of one object are.
func (c *pipelineCase) event(of, reason, severity string) time.Time {
	c.t.Helper()
	c.events++
	when := time.Now().Add(time.Duration(c.events)*time.Second - time.Minute)
	revision := c.revision(of)
	sent := time.Now()
	c.product.post(kustomizationAt("app-"+revision[:8], revision, reason, severity, when))
	return sent
}

func (c *pipelineCase) succeed(of string) {
	c.t.Helper()
	c.event(of, "ReconciliationSucceeded", "info")
}
func (c *pipelineCase) fail(of string) { c.t.Helper(); c.event(of, "BuildFailed", "error") }

// childEnds waits for the end of the task's child.
func (c *pipelineCase) childEnds(task, status, reason string) object {
	c.t.Helper()
	return c.children.awaitDone(c.t, customRunKind, c.child(task), status, reason).object
}

// ends waits for the PipelineRun's own final status, which must be this one.
func (c *pipelineCase) ends(status, reason string) object {
	c.t.Helper()
	s := c.runs.await(c.t, c.run, "final status", tektonLimit, done)
	if !in(status, reason)(s.object) {
		c.t.Errorf("PipelineRun %s: want Succeeded=%s reason %s; status: %s", c.run, status, reason,
			pretty(s.object["status"]))
	}
	return s.object
}

// endsAfter is ends for a PipelineRun that has to wait for this task of `finally`. Versions of one server's objects are
// ordered, so they tell what came first where two watches cannot.
func (c *pipelineCase) endsAfter(task, status, reason string) object {
	c.t.Helper()
	end := c.ends(status, reason)
	child := c.children.await(c.t, c.child(task), "final status", soon, done).object
	if version(c.t, end) < version(c.t, child) {
		c.t.Errorf("PipelineRun %s ended before %s", c.run, c.child(task))
	}
	return end
}

func version(t *testing.T, o object) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(text(o, "metadata", "resourceVersion"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// setStatus asks for the end of the PipelineRun in one of Tekton's three ways.
func (c *pipelineCase) setStatus(status string) {
	c.t.Helper()
	cluster.admin.must(c.t, "PATCH", pipelineRunKind.path(c.namespace)+"/"+c.run, mergePatchType,
		object{"spec": object{"status": status}})
}

func (c *pipelineCase) cancelChild(task string) {
	c.t.Helper()
	cancel(c.t, customRunKind, c.namespace, c.child(task))
}

func (c *pipelineCase) remove(r resource, name string) {
	c.t.Helper()
	cluster.admin.must(c.t, "DELETE", r.path(c.namespace)+"/"+name, "", nil)
}

// neverStarted is for the time after the end of the PipelineRun.
func (c *pipelineCase) neverStarted(task string) {
	c.t.Helper()
	if states := c.children.history(c.child(task)); len(states) != 0 {
		c.t.Errorf("%s was started: %s", c.child(task), pretty(states[0].object))
	}
}

func (c *pipelineCase) wantMessage(o object, part string) {
	c.t.Helper()
	if !strings.Contains(message(o), part) {
		c.t.Errorf("%s: message %q does not contain %q", name(o), message(o), part)
	}
}

// pipelineResult is a result of the PipelineRun itself.
func (c *pipelineCase) wantPipelineResult(o object, name, want string) {
	c.t.Helper()
	list, _ := at(o, "status", "results").([]any)
	for _, r := range list {
		if text(r, "name") == name {
			if text(r, "value") != want {
				c.t.Errorf("PipelineRun %s: result %s is %q, want %q", c.run, name, text(r, "value"), want)
			}
			return
		}
	}
	c.t.Errorf("PipelineRun %s: no result %s in %v", c.run, name, list)
}

func paramOf(o object, name string) string {
	list, _ := at(o, "spec", "params").([]any)
	for _, p := range list {
		if text(p, "name") == name {
			return text(p, "value")
		}
	}
	return ""
}

func tasks(list ...any) []any { return list }

func after(task string) object { return object{"runAfter": []any{task}} }

func timeout(d string) object { return object{"timeout": d} }

func retries(n int) object { return object{"retries": n} }

func onErrorContinue() object { return object{"onError": "continue"} }

func result(name, value string) object { return object{"name": name, "value": value} }
