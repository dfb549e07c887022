package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// product is the binary under test on its own data directory, as a pod of the chart would run it: with the
// chart's service account and no other right. It outlives its process, so that a test can kill and restart it.
type product struct {
	t       *testing.T
	folder  string
	port    int
	api     string   // the API server's URL
	token   string   // the token file
	ca      string   // the CA file
	flags   []string // further ones
	args    []string // what the chart says; nil: as the other tests have it
	process *process
	base    string
	http    *http.Client
}

// newProduct prepares an instance without starting it; a test may change its files and flags before.
func newProduct(t *testing.T) *product {
	t.Helper()
	p := &product{t: t, folder: t.TempDir(), api: cluster.url, ca: cluster.caFile}
	var err error
	if p.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	p.base = loopback(p.port)
	p.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	p.token = filepath.Join(p.folder, "token")
	p.writeToken(chartToken(t))
	t.Cleanup(func() {
		if p.process != nil && p.process.running() {
			if err := p.process.stop(5 * time.Second); err != nil {
				t.Errorf("SIGTERM at the end of the test: %v", err)
			}
		}
		if t.Failed() && p.process != nil {
			t.Logf("the binary's log:\n%s", p.process.tail(60))
		}
	})
	return p
}

// startProduct starts an instance and waits until it is ready for events and for Runs.
func startProduct(t *testing.T) *product {
	t.Helper()
	p := newProduct(t)
	p.start()
	p.awaitReady()
	return p
}

func chartToken(t *testing.T) string {
	t.Helper()
	token, err := cluster.admin.requestToken(cluster.chart.namespace, cluster.chart.account)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (p *product) writeToken(token string) {
	p.t.Helper()
	// By rename, as the kubelet does it: no reader ever sees half a token.
	if err := os.WriteFile(p.token+".new", []byte(token), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.token+".new", p.token); err != nil {
		p.t.Fatal(err)
	}
}

func (p *product) start() {
	p.t.Helper()
	args := p.args
	if args == nil {
		args = []string{"--listen", fmt.Sprintf("127.0.0.1:%d", p.port), "--data-dir", filepath.Join(p.folder, "data")}
	}
	args = append(args[:len(args):len(args)],
		"--allow-network-fs", "--kube-api", p.api, "--kube-token-file", p.token, "--kube-ca-file", p.ca)
	args = append(args, p.flags...)
	var err error
	log := filepath.Join(p.folder, "log")
	p.process, err = startProcess("flux-event-store", log, nil, binaryPath, args...)
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *product) awaitReady() {
	p.t.Helper()
	if err := until(10*time.Second, p.process, func() error {
		code, body, err := p.get("/readyz")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("/readyz: %d %s", code, body)
		}
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
}

// crash is kill -9.
func (p *product) crash() {
	p.t.Helper()
	p.process.kill()
	p.http.CloseIdleConnections()
}

func (p *product) get(path string) (int, string, error) {
	response, err := p.http.Get(p.base + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// post sends an event as Flux does and returns its id; anything but 200 fails the test.
func (p *product) post(body []byte) string {
	p.t.Helper()
	response, err := p.http.Post(p.base+"/events", jsonType, bytes.NewReader(body))
	if err != nil {
		p.t.Fatalf("POST /events: %v", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatalf("POST /events: %v", err)
	}
	var answer struct{ ID string }
	if err := json.Unmarshal(data, &answer); response.StatusCode != http.StatusOK || err != nil || answer.ID == "" {
		p.t.Fatalf(`POST /events: %d %s, want 200 {"id":"..."}`, response.StatusCode, data)
	}
	return answer.ID
}

// minimal is the body of the first README.
func minimal(revision, reason string) []byte {
	return fmt.Appendf(nil, `{"metadata":{"revision":"%s"},"timestamp":"0001-01-01T00:01:00Z","reason":"%s"}`,
		revision, reason)
}

// kustomization is an event as kustomize-controller writes it, for a Kustomization and a full revision.
func kustomization(object, sha, reason, severity string) []byte {
	return kustomizationAt(object, sha, reason, severity, time.Now())
}

func kustomizationAt(object, sha, reason, severity string, when time.Time) []byte {
	return fmt.Appendf(nil, `{"involvedObject":{"kind":"Kustomization","namespace":"flux-system","name":"%s",`+
		`"uid":"7d0cdc51-ddcf-4743-b223-83ca5c699632","apiVersion":"kustomize.toolkit.fluxcd.io/v1",`+
		`"resourceVersion":"1042311"},`+
		`"severity":"%s","timestamp":"%s","message":"what happened to %s","reason":"%s",`+
		`"metadata":{"revision":"main@sha1:%s"},"reportingController":"kustomize-controller",`+
		`"reportingInstance":"kustomize-controller-7c7b47f5f-8bhrp"}`,
		object, severity, when.UTC().Format(time.RFC3339), object, reason, sha)
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(rootFolder, "test", "golden", "flux", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// logLines are the lines of the binary's log that contain any of the words, in any case.
func (p *product) logLines(words ...string) []string {
	var found []string
	for _, line := range strings.Split(p.process.output(), "\n") {
		lower := strings.ToLower(line)
		for _, word := range words {
			if strings.Contains(lower, word) {
				found = append(found, line)
				break
			}
		}
	}
	return found
}
