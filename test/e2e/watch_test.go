package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"
)

// seen is one state of an object and the moment the API server's watch delivered it.
type seen struct {
	object object
	at     time.Time
}

// watcher keeps every state of every object of one kind in one namespace, in the order of the watch. All the
// waiting for Runs goes through it: a test wakes when something changed, never because time passed.
type watcher struct {
	mu      sync.Mutex
	states  map[string][]seen // by object name
	changed chan struct{}     // closed and replaced at every change
	err     error
}

func watch(t *testing.T, k *kube, r resource, namespace string) *watcher {
	t.Helper()
	list := k.must(t, "GET", r.path(namespace), "", nil)
	ctx, cancel := context.WithCancel(context.Background())
	body, err := k.openWatch(ctx, r.path(namespace), text(list, "metadata", "resourceVersion"))
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{states: map[string][]seen{}, changed: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer body.Close()
		decoder := json.NewDecoder(body)
		for {
			var event struct {
				Type   string
				Object object
			}
			err := decoder.Decode(&event)
			w.record(event.Type, event.Object, err)
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *watcher) record(kind string, o object, err error) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.err = fmt.Errorf("the watch ended: %w", err)
	case kind == "ERROR":
		w.err = fmt.Errorf("the watch failed: %v", o)
	default:
		w.states[name(o)] = append(w.states[name(o)], seen{o, now})
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// await returns the first state of the named object that holds, waiting for it until the deadline.
func (w *watcher) await(t *testing.T, name, what string, limit time.Duration, holds func(object) bool) seen {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for from := 0; ; {
		w.mu.Lock()
		states, changed, err := w.states[name], w.changed, w.err
		w.mu.Unlock()
		for ; from < len(states); from++ {
			if holds(states[from].object) {
				return states[from]
			}
		}
		if err != nil {
			t.Fatalf("%s: waiting for %s: %v", name, what, err)
		}
		select {
		case <-changed:
		case <-deadline.C:
			last := "never seen"
			if len(states) > 0 {
				last = pretty(at(states[len(states)-1].object, "status"))
			}
			t.Fatalf("%s: no %s within %v; its last status: %s", name, what, limit, last)
		}
	}
}

// history gives all states of one object so far.
func (w *watcher) history(name string) []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]seen(nil), w.states[name]...)
}

func pretty(v any) string {
	data, _ := json.MarshalIndent(v, "", "  ")
	return string(data)
}
