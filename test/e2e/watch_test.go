package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	version := text(k.must(t, "GET", r.path(namespace), "", nil), "metadata", "resourceVersion")
	ctx, cancel := context.WithCancel(context.Background())
	body, err := k.openWatch(ctx, r.path(namespace), version)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{states: map[string][]seen{}, changed: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for err == nil {
			version, err = w.follow(body, version)
			body.Close()
			// The API server ends the watch of a client that is slow to read, as on a busy machine; it goes on where it was.
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				body, err = k.openWatch(ctx, r.path(namespace), version)
			}
		}
		w.fail(fmt.Errorf("the watch ended: %w", err))
	}()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// follow records what the stream tells, to its end, and returns the last resourceVersion.
func (w *watcher) follow(stream io.Reader, version string) (string, error) {
	for decoder := json.NewDecoder(stream); ; {
		var event struct {
			Type   string
			Object object
		}
		if err := decoder.Decode(&event); err != nil {
			return version, err
		}
		if event.Type == "ERROR" {
			return version, fmt.Errorf("the API server: %v", event.Object)
		}
		w.record(event.Object)
		version = text(event.Object, "metadata", "resourceVersion")
	}
}

func (w *watcher) record(o object) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[name(o)] = append(w.states[name(o)], seen{o, now})
	w.tell()
}

func (w *watcher) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.tell()
}

// tell wakes all that wait; w.mu is held.
func (w *watcher) tell() {
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
