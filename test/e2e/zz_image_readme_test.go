package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Before the other tests of the image: where nothing was built before, this one measures what a newcomer waits for.

// A fenced block of a document: how it is marked, and what is in it.
type block struct{ marking, content string }

// blocksBelow gives the fenced blocks between a heading of a document and the next of its rank.
func blocksBelow(t *testing.T, file, heading string) []block {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(rootFolder, file))
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(data), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	part, _, _ = strings.Cut(part, "\n"+heading[:strings.IndexByte(heading, ' ')+1])
	var all []block
	for _, b := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(part, -1) {
		all = append(all, block{b[1], b[2]})
	}
	return all
}

// instead replaces what belongs to the machine in a command of a document; that it is there, once, is part of the test.
func instead(t *testing.T, command, written, here string) string {
	t.Helper()
	if strings.Count(command, written) != 1 {
		t.Fatalf("%q is not once in %q", written, command)
	}
	return strings.Replace(command, written, here, 1)
}

// matches compares what was printed with what a document says, where "…" stands for anything within a line. The lines come
// in any order: curl and the shell print to two streams.
func matches(printed, said string) error {
	have := strings.Split(strings.TrimSpace(printed), "\n")
	want := strings.Split(strings.TrimSpace(said), "\n")
	for _, line := range want {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "$")
		found := false
		for i, h := range have {
			if found = pattern.MatchString(h); found {
				have = append(have[:i], have[i+1:]...)
				break
			}
		}
		if !found {
			return fmt.Errorf("no line %q", line)
		}
	}
	if len(have) > 0 {
		return fmt.Errorf("more lines than said: %q", have)
	}
	return nil
}

// The README promises the first answer within two minutes. Where other tests and their servers share the machine, the build
// gets more; what comes behind it does not.
const (
	firstWaitMost  = 2 * time.Minute
	sharedMost     = 6 * time.Minute
	afterBuildMost = 15 * time.Second
)

// The README's way without a cluster, as a newcomer goes it: its two docker lines as they are written, but for what belongs
// to the machine (the port of the host, and the volume, which must be a fresh one and nobody's), then its curls, in its order.
func TestImageAsTheReadmeRunsIt(t *testing.T) {
	needDocker(t)
	if os.Getenv("FES_IMAGE") == "" {
		ensureBaseImage(t)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	blocks := blocksBelow(t, "README.md", "## Try it, without a cluster")
	build, run, found := "", "", false
	for _, b := range blocks {
		if strings.Contains(b.content, "docker run") {
			build, run, found = strings.Cut(strings.TrimSpace(b.content), "\n")
		}
	}
	if !found || !strings.HasPrefix(build, "docker build -t ") || strings.Contains(run, "\n") {
		t.Fatalf("the README does not have a docker build and a docker run: %q", blocks)
	}

	began := time.Now()
	readmeBuild(t, build)
	built := time.Since(began)
	readmeRun(t, run, port)
	awaitHTTP(t, loopback(port)+"/readyz")
	up := time.Since(began)
	play(t, blocks, port)
	took := time.Since(began)
	t.Logf("first wait answered after %v: %v for the build, %v until it was ready, %v for the README's curls",
		took.Round(time.Millisecond), built.Round(time.Millisecond), (up - built).Round(time.Millisecond),
		(took - up).Round(time.Millisecond))
	most := sharedMost
	if os.Getenv("FES_IMAGE_ONLY") != "" {
		most = firstWaitMost
	}
	if took > most || took-built > afterBuildMost {
		t.Errorf("a newcomer waits for %v, of these %v after the build: at most %v and %v are promised", took, took-built, most, afterBuildMost)
	}
}

// readmeBuild runs the README's build. The builder before BuildKit is told to use the machine's network (buildFlags); where
// an image is given, it gets the name that the README gives.
func readmeBuild(t *testing.T, command string) {
	t.Helper()
	shim := ""
	switch given := os.Getenv("FES_IMAGE"); {
	case given != "":
		shim = `docker() { [ "$1 $2 $4" = "build -t ." ] && command docker tag "$IMAGE" "$3"; }` + "\n"
	case !hasBuildKit():
		shim = `docker() { command docker "$1" --network=host "${@:2}"; }` + "\n"
	}
	cmd := exec.Command("bash", "-euc", shim+command)
	cmd.Dir = rootFolder
	cmd.Env = append(os.Environ(), "IMAGE="+os.Getenv("FES_IMAGE")+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, tailOf(string(out), 30))
	}
}

// readmeRun runs the README's container in the foreground, as it is written there, until the end of the test.
func readmeRun(t *testing.T, command string, port int) {
	t.Helper()
	volume := fmt.Sprintf("fes-e2e-%d", port)
	command = instead(t, command, "-p 8080:8080", fmt.Sprintf("-p 127.0.0.1:%d:8080", port))
	command = instead(t, command, "-v events:/data", "-v "+volume+":/data")
	p, err := startProcess("docker run", filepath.Join(t.TempDir(), "log"), nil, "bash", "-c", "exec "+command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", command, p.tail(30))
		}
		// The client hands SIGTERM on, and ends as the container does.
		if err := p.stop(15 * time.Second); err != nil {
			t.Errorf("SIGTERM to docker run: %v\n%s", err, p.tail(30))
		}
		if left := strings.Fields(mustDocker(t, "ps", "--all", "--quiet", "--filter", "volume="+volume)); len(left) > 0 {
			mustDocker(t, append([]string{"rm", "--force"}, left...)...)
			t.Error("--rm left the container")
		}
		mustDocker(t, "volume", "rm", volume)
	})
}

// play runs the section's commands for curl in one shell, and compares what each prints with the block behind it.
func play(t *testing.T, blocks []block, port int) {
	t.Helper()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte("silent\nshow-error\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script, played := "", []int{}
	for i, b := range blocks {
		if b.marking == "sh" && strings.Contains(b.content, "curl ") {
			script += b.content + fmt.Sprintf("echo '@@ end %d'\n", i)
			played = append(played, i)
		}
	}
	if len(played) < 4 || strings.Count(script, "127.0.0.1:8080") < 4 {
		t.Fatalf("the README has only these curls:\n%s", script)
	}
	cmd := exec.Command("bash", "-c", strings.ReplaceAll(script, "127.0.0.1:8080", fmt.Sprintf("127.0.0.1:%d", port)))
	cmd.Env = append(os.Environ(), "CURL_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := string(out)
	for _, i := range played {
		printed, after, _ := strings.Cut(rest, fmt.Sprintf("@@ end %d\n", i))
		rest = after
		if i+1 < len(blocks) && blocks[i+1].marking == "text" {
			if err := matches(printed, blocks[i+1].content); err != nil {
				t.Errorf("%sprinted\n%s%v", blocks[i].content, printed, err)
			}
		}
	}
}
