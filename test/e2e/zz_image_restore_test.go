package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// The pod of docs/examples/restore.yaml, its containers run one after the other as the kubelet would: with their users,
// rights, commands and volumes. Only the helper's image is another one, which the machine has.
func TestImageIsRestoredByTheExample(t *testing.T) {
	image := buildImage(t, runtime.GOARCH)
	r := newImageRun(t, image)
	r.start(t)
	r.post(t, golden(t, "01-ks-success.json"))
	backup := filepath.Join(t.TempDir(), "backup.ndjson")
	r.export(t, backup)
	r.post(t, minimal("later", "ReconciliationSucceeded")) // is not in the backup
	mustDocker(t, "stop", "--time", "10", r.container)
	r.remove(t)

	example := filepath.Join(rootFolder, "docs", "examples", "restore.yaml")
	spec := at(manifestsOf(t, example)[0], "spec")
	spare := r.volume + "-backup"
	mustDocker(t, "volume", "create", spare)
	t.Cleanup(func() { mustDocker(t, "volume", "rm", spare) })
	const helper = "debian:bookworm-slim"
	ensureBaseImage(t)
	// An emptyDir belongs to the fsGroup.
	mustDocker(t, "run", "--rm", "--volume", spare+":/backup", helper, "chown", fmt.Sprint(at(spec, "securityContext", "fsGroup")), "/backup")
	volumes := map[string]string{"data": r.volume, "backup": spare}

	take := mustDocker(t, append([]string{"run", "--detach"}, podArgs(spec, at(spec, "initContainers", 0), volumes, helper)...)...)
	t.Cleanup(func() { mustDocker(t, "rm", "--force", take) })
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^# .* exec -i restore -c take -- (.*) <backup\.ndjson$`).FindSubmatch(data)
	if command == nil {
		t.Fatal("restore.yaml does not say how the file gets there")
	}
	cmd := exec.Command("bash", "-c", "docker exec -i "+take+" "+string(command[1])+" <backup.ndjson")
	cmd.Dir = filepath.Dir(backup)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command[0], err, out)
	}
	if code := mustDocker(t, "wait", take); code != "0" {
		logs, _ := exec.Command("docker", "logs", take).CombinedOutput()
		t.Fatalf("the helper ends with %s: %s", code, logs)
	}
	args := append([]string{"run", "--rm"}, podArgs(spec, at(spec, "containers", 0), volumes, image)...)
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "import: 1 records" {
		t.Fatalf("the import: %v: %s", err, out)
	}

	r.start(t)
	if !r.hasEvent(t) || strings.Contains(r.get(t, "/events"), `"later"`) {
		t.Errorf("after the restore there is %s", r.get(t, "/events"))
	}
	aside := strings.Fields(mustDocker(t, "run", "--rm", "--volume", r.volume+":/data", helper, "sh", "-c", "ls /data/before-restore-*"))
	if strings.Join(aside, " ") != "data.mdb lock.mdb" {
		t.Errorf("put aside: %q", aside)
	}
}

// podArgs are those of docker run for a container of a pod.
func podArgs(spec, container any, volumes map[string]string, image string) []string {
	user := fmt.Sprintf("%v:%v", at(spec, "securityContext", "runAsUser"), at(spec, "securityContext", "runAsGroup"))
	args := []string{"--user", user, "--network=none"}
	rights := at(container, "securityContext")
	if at(rights, "readOnlyRootFilesystem") == true {
		args = append(args, "--read-only")
	}
	if at(rights, "allowPrivilegeEscalation") == false {
		args = append(args, "--security-opt=no-new-privileges")
	}
	drop, _ := at(rights, "capabilities", "drop").([]any)
	for _, d := range drop {
		args = append(args, fmt.Sprintf("--cap-drop=%v", d))
	}
	mounts, _ := at(container, "volumeMounts").([]any)
	for _, m := range mounts {
		args = append(args, "--volume", volumes[text(m, "name")]+":"+text(m, "mountPath"))
	}
	command, _ := at(container, "command").([]any)
	rest, _ := at(container, "args").([]any)
	if len(command) > 0 {
		args = append(args, "--entrypoint", fmt.Sprint(command[0]))
		rest = append(append([]any{}, command[1:]...), rest...)
	}
	args = append(args, image)
	for _, a := range rest {
		args = append(args, fmt.Sprint(a))
	}
	return args
}

func (r *imageRun) post(t *testing.T, event []byte) {
	t.Helper()
	response, err := http.Post(loopback(r.port)+"/events", jsonType, bytes.NewReader(event))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("POST /events: %s", response.Status)
	}
}

func (r *imageRun) get(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("curl", "-sS", "--fail", loopback(r.port)+path).CombinedOutput()
	if err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, out)
	}
	return string(out)
}

// export is docs/operations.md's backup of a server that runs.
func (r *imageRun) export(t *testing.T, file string) {
	t.Helper()
	out, err := exec.Command("curl", "-sS", "--fail", "-H", "Accept: application/x-ndjson", "-o", file,
		loopback(r.port)+"/events").CombinedOutput()
	if err != nil {
		t.Fatalf("the export: %v: %s", err, out)
	}
}
