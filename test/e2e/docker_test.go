package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

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

// needDocker skips where there is no docker, unless FES_NEED_DOCKER promises that there is one.
func needDocker(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("docker")
	if err == nil {
		_, err = docker(t, "version", "--format", "{{.Server.Version}}")
	}
	switch {
	case err == nil:
	case os.Getenv("FES_NEED_DOCKER") != "":
		t.Fatalf("FES_NEED_DOCKER is set, and there is none: %v", err)
	default:
		t.Skipf("no docker on this machine, the image is not tested: %v", err)
	}
}

// ensureBaseImage gives the daemon the image that the Dockerfile starts from, where it has none and cannot pull it.
func ensureBaseImage(t *testing.T) {
	t.Helper()
	const image = "debian:bookworm-slim"
	if _, err := docker(t, "image", "inspect", image); err == nil {
		return
	}
	if _, err := docker(t, "pull", "--quiet", image); err == nil {
		return
	}
	folder, err := buildComponent("base-image")
	if err != nil {
		t.Fatalf("the base image can neither be pulled nor made: %v", err)
	}
	mustDocker(t, "import", filepath.Join(folder, "base.tar"), image)
}

func hasBuildKit() bool { return exec.Command("docker", "buildx", "version").Run() == nil }

// buildFlags say the processor. BuildKit tells the Dockerfile by itself; the builder before it leaves that to the caller.
// It is also told to use the machine's own network, as a daemon that old may have no other with a way out.
func buildFlags(arch string) []string {
	if hasBuildKit() {
		return []string{"--platform", "linux/" + arch}
	}
	flags := []string{"--network=host"}
	if arch != runtime.GOARCH {
		flags = append(flags, "--build-arg", "TARGETARCH="+arch)
	}
	return flags
}

// The bound of the image, for a pull that nobody notices.
const imageBytesMost = 6 << 20

// buildImage builds the Dockerfile for an architecture, and gives the image's name. FES_IMAGE is the start of the names of
// images that are there, and to be tested in place of it: "NAME:TAG-" for NAME:TAG-amd64 and NAME:TAG-arm64.
func buildImage(t *testing.T, arch string) string {
	t.Helper()
	needDocker(t)
	image := "flux-event-store:e2e-" + arch
	if given := os.Getenv("FES_IMAGE"); given != "" {
		image = given + arch
	} else {
		ensureBaseImage(t)
		started := time.Now()
		mustDocker(t, append(append([]string{"build"}, buildFlags(arch)...), "--tag", image, rootFolder)...)
		t.Logf("%s: built in %v", arch, time.Since(started).Round(time.Second))
	}
	size, err := strconv.Atoi(mustDocker(t, "image", "inspect", "--format", "{{.Size}}", image))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %.2f MiB", arch, float64(size)/(1<<20))
	if size > imageBytesMost {
		t.Errorf("the image has %d bytes, more than %d", size, imageBytesMost)
	}
	if said := mustDocker(t, "image", "inspect", "--format", "{{.Architecture}}", image); hasBuildKit() && said != arch {
		t.Errorf("the image says it is for %s, not %s", said, arch)
	}
	return image
}

// takeOut copies a file out of an image, and gives its place.
func takeOut(t *testing.T, image, arch, path string) string {
	t.Helper()
	create := []string{"create"}
	if hasBuildKit() { // or the image is marked with the processor that it was built on
		create = append(create, "--platform", "linux/"+arch)
	}
	container := mustDocker(t, append(create, image)...)
	defer mustDocker(t, "rm", container)
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	mustDocker(t, "cp", container+":"+path, to)
	return to
}
