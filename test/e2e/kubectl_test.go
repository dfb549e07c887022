package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The commands of the documents that need a cluster, as a user's shell runs them, with the real kubectl. What a kubelet is
// needed for is left out: the product listens where the document forwards a port to.

// The commit that `git rev-parse HEAD` gives in those commands.
const headCommit = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738"

// terminal is a shell of somebody who has a kubeconfig.
type terminal struct {
	kubectl string
	env     []string
	folder  string
}

// newTerminal gives one whose kubeconfig has this namespace as its own; folder is where its commands run.
func newTerminal(t *testing.T, namespace string) *terminal {
	t.Helper()
	term := &terminal{folder: t.TempDir(), kubectl: filepath.Join(component(t, "kubectl"), "kubectl")}
	config := filepath.Join(term.folder, "kubeconfig")
	cluster.writeKubeconfig(t, config)
	term.env = append(os.Environ(), "KUBECONFIG="+config, "HOME="+term.folder, "KUBECTL="+term.kubectl, "COMMIT="+headCommit)
	term.run(t, "kubectl config set-context --current --namespace="+namespace)
	return term
}

// run gives what commands print; the last one must end well.
func (term *terminal) run(t *testing.T, commands string) string {
	t.Helper()
	const shims = `kubectl() { case " $* " in *" port-forward "* | *" rollout "*) ;; *) "$KUBECTL" "$@" ;; esac; }
git() { [ "$*" = "rev-parse HEAD" ] && echo "$COMMIT"; }
curl() { command curl --silent --show-error "$@"; }
`
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", shims+commands)
	cmd.Dir, cmd.Env = term.folder, term.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v: %s", commands, err, out)
	}
	return string(out)
}

// shown is the only block of a part of a document that has these words.
func shown(t *testing.T, blocks []block, words string) string {
	t.Helper()
	found := ""
	for _, b := range blocks {
		if strings.Contains(b.content, words) {
			if found != "" {
				t.Fatalf("%q is in two blocks", words)
			}
			found = b.content
		}
	}
	if found == "" {
		t.Fatalf("no block with %q: %q", words, blocks)
	}
	return found
}

// throughProxy starts `kubectl proxy` and the binary as README.md says. A port of the machine's own is given to both, and a
// folder to the binary; that it has all rights of the kubeconfig, and neither token nor CA, is what is tested.
func throughProxy(t *testing.T, term *terminal) *product {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	proxy, serve, _ := strings.Cut(strings.TrimSpace(shown(t, blocksBelow(t, "README.md", "## Install"), "kubectl proxy")), "\n")
	proxy = instead(t, proxy, "kubectl proxy &", fmt.Sprintf("exec %s proxy --port=%d", term.kubectl, port))
	running, err := startProcess("kubectl proxy", filepath.Join(term.folder, "proxy.log"), term.env, "bash", "-c", proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.kill)
	awaitHTTP(t, loopback(port)+"/readyz")

	p := newProduct(t)
	serve = instead(t, serve, "http://127.0.0.1:8001", loopback(port))
	serve = instead(t, serve, "build/flux-event-store", binaryPath)
	p.process, err = startProcess("flux-event-store", filepath.Join(p.folder, "log"), nil, "bash", "-c",
		fmt.Sprintf("exec %s --listen 127.0.0.1:%d --data-dir %s --allow-network-fs", serve, p.port, filepath.Join(p.folder, "data")))
	if err != nil {
		t.Fatal(err)
	}
	p.awaitReady()
	return p
}

// The README from "Outside a cluster" to the end of "The first wait in the cluster".
func TestReadmeOutsideTheCluster(t *testing.T) {
	namespace := cluster.namespace(t)
	term := newTerminal(t, namespace)
	p := throughProxy(t, term)
	here := func(commands string) string {
		return strings.ReplaceAll(commands, "http://127.0.0.1:8080", p.base)
	}
	blocks := blocksBelow(t, "README.md", "## The first wait in the cluster")

	if err := os.WriteFile(filepath.Join(term.folder, "wait.yaml"), []byte(shown(t, blocks, "kind: CustomRun")), 0o600); err != nil {
		t.Fatal(err)
	}
	apply, get, _ := strings.Cut(shown(t, blocks, "kubectl apply -f wait.yaml"), "\n")
	runs := watch(t, cluster.admin, customRunKind, namespace)
	term.run(t, apply)
	runs.awaitWaiting(t, "wait-for-commit")

	// docs/operations.md, about a Run that waits.
	asks := shown(t, blocksBelow(t, "docs/operations.md", "### My Run waits for ever"), "kubectl get customrun NAME")
	said := term.run(t, here(strings.ReplaceAll(asks, "NAME", "wait-for-commit")))
	for _, want := range []string{"no event of revision " + headCommit + " was received", `"name":"wait-for-commit"`} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in what the commands of docs/operations.md print:\n%s", want, said)
		}
	}

	p.post(kustomizationAt("apps", headCommit, "ReconciliationSucceeded", "info", time.Now()))
	runs.awaitDone(t, customRunKind, "wait-for-commit", "True", "ReconciliationSucceeded")
	sameTable(t, term.run(t, get), shown(t, blocks, "STARTTIME"))

	said = term.run(t, here(shown(t, blocks, "port-forward")))
	if !strings.HasPrefix(said, "revision "+headCommit+" was reconciled: Kustomization/flux-system/apps said ReconciliationSucceeded") {
		t.Errorf("the README's curl says %q", said)
	}
}

// sameTable compares what kubectl prints, column by column; a time since something is another one each time.
func sameTable(t *testing.T, printed, said string) {
	t.Helper()
	since := regexp.MustCompile(`^([0-9]+[smhd])+$`)
	have, want := strings.Fields(printed), strings.Fields(said)
	same := len(have) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = have[i] == want[i] || since.MatchString(have[i]) && since.MatchString(want[i])
	}
	if !same {
		t.Errorf("kubectl prints\n%sand the document says\n%s", printed, said)
	}
}

// The keys that the documents tell to make, made as they say: what each one has in it, and that the process takes them.
func TestDocumentedKeysAreMade(t *testing.T) {
	here, flux := cluster.namespace(t), cluster.namespace(t)
	for _, c := range []struct{ file, heading, words, pod string }{
		{"chart/README.md", "## Keys", "my-keys", "my-keys"},
		{"docs/security.md", "## Keys", "--from-file=token=key", ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			term := newTerminal(t, here)
			term.run(t, strings.NewReplacer("-n flux-event-store ", "-n "+here+" ", "-n flux-system ", "-n "+flux+" ").
				Replace(shown(t, blocksBelow(t, c.file, c.heading), c.words)))
			p := newProduct(t)
			sent := map[string]string{}
			if c.pod == "" { // the file is the process's own
				sent = secret(t, flux, "flux-event-store")
				p.flags = []string{"--hmac-key-file", filepath.Join(term.folder, "key")}
			} else {
				sent = secret(t, flux, c.pod)
				keys := secret(t, here, c.pod)
				if len(keys) != 2 || len(keys["post-token"]) != 64 || keys["post-token"] == keys["token"] || keys["token"] != sent["token"] {
					t.Errorf("the pod's Secret has %d keys, or others than it should", len(keys))
				}
				p.flags = []string{"--hmac-key-file", p.writeKey("token", keys["token"])}
			}
			if len(sent) != 1 || len(sent["token"]) != 64 {
				t.Errorf("Flux's Secret has %d keys, and a token of %d characters", len(sent), len(sent["token"]))
			}
			p.start()
			p.awaitReady()
			event := minimal(strings.Repeat("6b", 20), "ReconciliationSucceeded")
			for key, want := range map[string]int{sent["token"]: 200, sent["token"] + "x": 401} {
				if code := p.postSigned(t, key, event); code != want {
					t.Errorf("an event that is signed with a key of %d characters: %d, want %d", len(key), code, want)
				}
			}
		})
	}
}

func (p *product) postSigned(t *testing.T, key string, body []byte) int {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	request, err := http.NewRequest("POST", p.base+"/events", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Signature", fmt.Sprintf("sha256=%x", mac.Sum(nil)))
	response, err := p.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// What `helm install` tells to do next, done: the commands of NOTES.txt, in its order, against the process that the same
// values start.
func TestHelmNotesCommands(t *testing.T) {
	for name, values := range map[string]string{
		"default": "flux: {enabled: false}", "read token": "{flux: {enabled: false}, auth: {readToken: true}}",
	} {
		t.Run(name, func(t *testing.T) {
			known := map[string]string{
				"rollout status deployment/": "", "port-forward service/": "", "POST=$(kubectl ": "",
				"/readyz": `"ready":true`, "/events?order=desc&limit=1": headCommit,
				"/wait?revision=": "revision " + headCommit + " was reconciled", `{"revision":"hello"}`: `{"id":"2"}`,
			}
			if name == "read token" {
				known["READ=$(kubectl "] = ""
			}
			i := installProduct(t, values)
			i.start()
			i.awaitReady()
			keys := secret(t, i.chart.namespace, i.chart.account)
			if code := i.postWith(t, "Bearer "+keys["post-token"],
				kustomization("apps", headCommit, "ReconciliationSucceeded", "info")); code != http.StatusOK {
				t.Fatalf("the event that the commands ask for: %d", code)
			}
			out := mustHelm(t, "install", releaseName, chartFolder(), "--namespace", i.chart.namespace, "--dry-run=server",
				"--take-ownership", "-f", valuesFile(t, values))
			_, notes, _ := strings.Cut(out, "\nNOTES:\n")
			term := newTerminal(t, i.chart.namespace)
			answers := term.run(t, notesCommands(t, notes, i.base, known))
			for _, answer := range strings.Split(strings.TrimSuffix(answers, "@@\n"), "@@\n") {
				want, said, _ := strings.Cut(answer, "\n")
				if !strings.Contains(said, want) {
					t.Errorf("no %q in the answer %q", want, said)
				}
			}
			if name == "read token" { // docs/operations.md has the same for both tokens
				commands := strings.NewReplacer("-n flux-event-store ", "-n "+i.chart.namespace+" ",
					"get secret flux-event-store ", "get secret "+i.chart.account+" ", "http://127.0.0.1:8080", i.base).
					Replace(shown(t, blocksBelow(t, "docs/operations.md", "## Tokens"), "read-token"))
				if said := term.run(t, commands); !strings.HasPrefix(said, `{"id":"2"}`) || !strings.Contains(said, `"verdict":"succeeded"`) {
					t.Errorf("%s\nprints %s", commands, said)
				}
			}
			if n := strings.Count(answers, "@@\n"); n != 4 {
				t.Errorf("%d answers, want 4:\n%s", n, answers)
			}
		})
	}
}

// notesCommands gives the indented lines of the notes, each with the line that its answer is to have before it and a mark
// behind it. Every line has to be one that the test knows, and all that it knows have to be there.
func notesCommands(t *testing.T, notes, base string, known map[string]string) string {
	t.Helper()
	script, found := "", map[string]bool{}
	for _, line := range strings.Split(notes, "\n") {
		command, indented := strings.CutPrefix(line, "  ")
		if !indented {
			continue
		}
		answer, isKnown := "", false
		for words, want := range known {
			if strings.Contains(command, words) {
				answer, isKnown, found[words] = want, true, true
			}
		}
		switch {
		case strings.HasSuffix(command, "/events"): // the Provider's address, which is no command
			continue
		case !isKnown:
			t.Errorf("the notes have a command that this test does not know: %s", command)
		case answer != "":
			command = fmt.Sprintf("echo '%s'\n%s\necho; echo @@", answer, instead(t, command, "http://127.0.0.1:8080", base))
		}
		script += command + "\n"
	}
	if len(found) != len(known) {
		t.Errorf("the notes have only the commands %v", found)
	}
	return script
}
