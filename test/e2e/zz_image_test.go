package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Last in the order of the file names: building an image disturbs what the other tests measure.

// docker runs the real client and gives its standard output.
func docker(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", args[0], err, tailOf(stderr.String()+string(out), 30))
	}
	return strings.TrimSpace(string(out)), err
}

func mustDocker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := docker(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tailOf(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// ensureBaseImage gives the daemon the image that the Dockerfile starts from, where it has none.
func ensureBaseImage(t *testing.T) {
	t.Helper()
	const image = "debian:bookworm-slim"
	if _, err := docker(t, "image", "inspect", image); err == nil {
		return
	}
	cmd := exec.Command("./build.sh", "base-image")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the base image cannot be made: %v: %s", err, stderr.String())
	}
	_, folder, _ := strings.Cut(strings.TrimSpace(string(out)), "=")
	mustDocker(t, "import", filepath.Join(folder, "base.tar"), image)
}

func TestImageIsBuiltAndServes(t *testing.T) {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("no docker on this machine: the image is not tested")
	}
	if _, err := docker(t, "version", "--format", "{{.Server.Version}}"); err != nil {
		t.Skipf("no docker daemon answers: the image is not tested (%v)", err)
	}
	ensureBaseImage(t)
	const image = "flux-event-store:e2e"
	started := time.Now()
	mustDocker(t, "build", "--network=host", "--tag", image, rootFolder)
	size := mustDocker(t, "image", "inspect", "--format", "{{.Size}}", image)
	t.Logf("built in %v, %s bytes", time.Since(started).Round(time.Second), size)

	user, _, _ := strings.Cut(mustDocker(t, "image", "inspect", "--format", "{{.Config.User}}", image), ":")
	if user == "" || user == "0" || user == "root" {
		t.Errorf("the image's user is %q, want one that is not root", user)
	}
	// The chart says runAsUser itself; both must be able to write the same volume.
	pod := at(cluster.chart.find("Deployment"), "spec", "template", "spec")
	if want := fmt.Sprint(at(pod, "securityContext", "runAsUser")); want != user {
		t.Errorf("the image runs as %s, the chart's pod as %s", user, want)
	}

	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	volume := fmt.Sprintf("fes-e2e-%d", port)
	mustDocker(t, "volume", "create", volume)
	container := ""
	t.Cleanup(func() {
		if container != "" {
			if t.Failed() {
				logs, _ := exec.Command("docker", "logs", "--tail", "30", container).CombinedOutput()
				t.Logf("the container's log:\n%s", logs)
			}
			mustDocker(t, "rm", "--force", container)
		}
		mustDocker(t, "volume", "rm", volume)
	})
	run := func() {
		container = mustDocker(t, "run", "--detach", "--read-only", "--cap-drop=ALL",
			"--security-opt=no-new-privileges", "--network=host", "--volume", volume+":/data", image,
			"--no-kube", "--data-dir", "/data", "--listen", fmt.Sprintf("127.0.0.1:%d", port))
		awaitHTTP(t, loopback(port)+"/healthz")
		awaitHTTP(t, loopback(port)+"/readyz")
	}
	run()
	// One line of titles, one of the only process.
	inside := strings.Fields(mustDocker(t, "top", container, "-eo", "pid,uid"))
	if len(inside) != 4 || inside[3] != user {
		t.Errorf("the process does not run as %s: %q", user, inside)
	}
	response, err := http.Post(loopback(port)+"/events", jsonType, bytes.NewReader(golden(t, "01-ks-success.json")))
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("POST /events: %d %s", response.StatusCode, answer)
	}

	// The volume outlives the container, as a pod's claim outlives the pod.
	mustDocker(t, "stop", "--time", "10", container)
	if code := mustDocker(t, "inspect", "--format", "{{.State.ExitCode}}", container); code != "0" {
		t.Errorf("stopped with exit code %s, want 0", code)
	}
	mustDocker(t, "rm", container)
	container = ""
	run()
	stored, err := http.Get(loopback(port) + "/events?kind=Kustomization&name=apps")
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Body.Close()
	body, _ := io.ReadAll(stored.Body)
	if !strings.Contains(string(body), "5394cb7f48332b2de7c17dd8b8384bbc84b7e738") {
		t.Errorf("the event is gone after a restart: %s", body)
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
