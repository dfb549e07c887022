package e2e

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
)

// Last in the order of the file names: building an image disturbs what the other tests measure. None of them needs the API
// server (run says how they are run without).

// imageRun is a container of the image on a volume that outlives it, as a pod's claim outlives the pod.
type imageRun struct {
	image, volume, container, user string
	port                           int
}

func newImageRun(t *testing.T, image string) *imageRun {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	r := &imageRun{image: image, volume: fmt.Sprintf("fes-e2e-%d", port), port: port}
	r.user, _, _ = strings.Cut(mustDocker(t, "image", "inspect", "--format", "{{.Config.User}}", image), ":")
	mustDocker(t, "volume", "create", r.volume)
	t.Cleanup(func() {
		if r.container != "" {
			if t.Failed() {
				logs, _ := exec.Command("docker", "logs", "--tail", "30", r.container).CombinedOutput()
				t.Logf("the container's log:\n%s", logs)
			}
			mustDocker(t, "rm", "--force", r.container)
		}
		mustDocker(t, "volume", "rm", r.volume)
	})
	return r
}

// start runs it with the least a container can have, and logs how long it took to be ready.
func (r *imageRun) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	r.container = mustDocker(t, "run", "--detach", "--read-only", "--cap-drop=ALL", "--user", r.user+":"+r.user,
		"--security-opt=no-new-privileges", "--network=host", "--volume", r.volume+":/data", r.image,
		"--no-kube", "--data-dir", "/data", "--listen", fmt.Sprintf("127.0.0.1:%d", r.port))
	awaitHTTP(t, loopback(r.port)+"/healthz")
	awaitHTTP(t, loopback(r.port)+"/readyz")
	inDocker := time.Since(began)
	t.Logf("ready %v after docker run, of which %v are the program's", inDocker.Round(time.Millisecond), r.startTime(t))
}

// startTime is from the start of the container to the log line that says the server has started.
func (r *imageRun) startTime(t *testing.T) time.Duration {
	t.Helper()
	begun, err := time.Parse(time.RFC3339Nano, mustDocker(t, "inspect", "--format", "{{.State.StartedAt}}", r.container))
	if err != nil {
		t.Fatal(err)
	}
	logs, err := exec.Command("docker", "logs", r.container).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(logs), "\n") {
		var said struct {
			Time time.Time
			Msg  string
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == "started" {
			return said.Time.Sub(begun).Round(time.Millisecond)
		}
	}
	t.Errorf("no line \"started\" in its log:\n%s", logs)
	return 0
}

func (r *imageRun) remove(t *testing.T) {
	t.Helper()
	mustDocker(t, "rm", r.container)
	r.container = ""
}

// hasEvent says whether the event that the test posted is there.
func (r *imageRun) hasEvent(t *testing.T) bool {
	t.Helper()
	stored, err := http.Get(loopback(r.port) + "/events?kind=Kustomization&name=apps")
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Body.Close()
	body, _ := io.ReadAll(stored.Body)
	return strings.Contains(string(body), "5394cb7f48332b2de7c17dd8b8384bbc84b7e738")
}

func TestImageIsBuiltAndServes(t *testing.T) {
	r := newImageRun(t, buildImage(t, runtime.GOARCH))
	if r.user == "" || r.user == "0" || r.user == "root" {
		t.Errorf("the image's user is %q, want one that is not root", r.user)
	}
	// The chart says runAsUser itself; both must be able to write the same volume.
	var pod any
	for _, o := range manifestsOf(t, filepath.Join(rootFolder, "test", "golden", "chart", "default.yaml")) {
		if text(o, "kind") == "Deployment" {
			pod = at(o, "spec", "template", "spec")
		}
	}
	if want := fmt.Sprint(at(pod, "securityContext", "runAsUser")); want != r.user {
		t.Errorf("the image runs as %s, the chart's pod as %s", r.user, want)
	}

	r.start(t)
	// One line of titles, one of the only process.
	inside := strings.Fields(mustDocker(t, "top", r.container, "-eo", "pid,uid"))
	if len(inside) != 4 || inside[3] != r.user {
		t.Errorf("the process does not run as %s: %q", r.user, inside)
	}
	response, err := http.Post(loopback(r.port)+"/events", jsonType, bytes.NewReader(golden(t, "01-ks-success.json")))
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("POST /events: %d %s", response.StatusCode, answer)
	}

	mustDocker(t, "kill", r.container)
	r.remove(t)
	r.start(t)
	if !r.hasEvent(t) {
		t.Error("the event is gone after docker kill")
	}
	mustDocker(t, "stop", "--time", "10", r.container)
	if code := mustDocker(t, "inspect", "--format", "{{.State.ExitCode}}", r.container); code != "0" {
		t.Errorf("stopped with exit code %s, want 0", code)
	}
	r.remove(t)
	r.start(t)
	if !r.hasEvent(t) {
		t.Error("the event is gone after docker stop")
	}
}

func TestImageSaysWhatItIs(t *testing.T) {
	image := buildImage(t, runtime.GOARCH)
	var labels map[string]string
	if err := json.Unmarshal([]byte(mustDocker(t, "image", "inspect", "--format", "{{json .Config.Labels}}", image)), &labels); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"title", "description", "licenses", "version", "revision", "source"} {
		if labels["org.opencontainers.image."+name] == "" {
			t.Errorf("the image has no label org.opencontainers.image.%s: %v", name, labels)
		}
	}

	said, version := mustDocker(t, "run", "--rm", "--read-only", image, "--version"), labels["org.opencontainers.image.version"]
	if said != "flux-event-store "+version {
		t.Errorf("the binary says it is %q, the label %q", said, version)
	}

	file, err := os.Open(takeOut(t, image, runtime.GOARCH, "/usr/share/sbom/flux-event-store.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	document, err := spdxjson.Read(file)
	if err != nil {
		t.Fatalf("the bill of materials is no SPDX: %v", err)
	}
	if err := spdxlib.ValidateDocument(document); err != nil {
		t.Errorf("the bill of materials is not valid: %v", err)
	}
	binary, err := os.ReadFile(takeOut(t, image, runtime.GOARCH, "/flux-event-store"))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, p := range document.Packages {
		versions[p.PackageName] = p.PackageVersion
		if p.PackageName == "flux-event-store" {
			if want := fmt.Sprintf("%x", sha256.Sum256(binary)); len(p.PackageChecksums) != 1 || p.PackageChecksums[0].Value != want {
				t.Errorf("it is that of another binary: %v, want %s", p.PackageChecksums, want)
			}
		}
	}
	t.Logf("in it: %v", versions)
	// The list is not just what somebody believes: these have their version as a text in what is linked.
	for library, text := range map[string]string{"openssl": "\x00%s\x00", "libevent": "\x00%s-stable\x00", "lmdb": "LMDB %s: "} {
		version, _, _ := strings.Cut(versions[library], "-")
		if version == "" || !bytes.Contains(binary, []byte(fmt.Sprintf(text, version))) {
			t.Errorf("the binary has no %s %s in it", library, versions[library])
		}
	}
}

// Cross-built, and run by an emulator of one process as far as that goes: what needs no store. It maps no file of 64 GiB, as
// the store does; on a machine of that kind all of this test program runs.
func TestImageForTheOtherArchitecture(t *testing.T) {
	other, machine, emulator := "arm64", elf.EM_AARCH64, "qemu-aarch64-static"
	if runtime.GOARCH == "arm64" {
		other, machine, emulator = "amd64", elf.EM_X86_64, "qemu-x86_64-static"
	}
	binary := takeOut(t, buildImage(t, other), other, "/flux-event-store")
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if file.Machine != machine || file.Type != elf.ET_DYN || len(file.Progs) == 0 {
		t.Errorf("the binary is of type %v for %v", file.Type, file.Machine)
	}
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it is not static: %v %v", libraries, err)
	}
	if _, err := exec.LookPath(emulator); err != nil {
		t.Fatalf("%s is missing: it is in Debian's qemu-user-static", emulator)
	}
	r := newImageRun(t, buildImage(t, runtime.GOARCH))
	r.start(t)
	token := filepath.Join(t.TempDir(), "token")
	for _, run := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--version"}, 0, "flux-event-store "},
		{[]string{"--help"}, 0, "Usage: "},
		{[]string{"--no-such-flag"}, 2, "--no-such-flag"},
		{[]string{"ping", loopback(r.port)}, 0, "gives it back"},
		{[]string{"ping", loopback(r.port), "--post-token-file", token}, 2, token},
	} {
		cmd := exec.Command(emulator, append([]string{binary}, run.args...)...)
		said, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != run.code || !strings.Contains(string(said), run.want) {
			t.Errorf("%s %q: %v, want %d and %q: %s", emulator, run.args, err, run.code, run.want, said)
		}
	}
}

func awaitHTTP(t *testing.T, url string) {
	t.Helper()
	err := until(soon, nil, func() error {
		response, err := http.Get(url)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = errors.New(url + ": " + response.Status + " " + string(body))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
