package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// runScript runs a script of the repository that needs helm.
func runScript(t *testing.T, script string, args ...string) {
	t.Helper()
	cmd := exec.Command(script, args...)
	cmd.Env = append(os.Environ(), "HELM="+filepath.Join(cluster.components["helm"], "helm"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func manifestsOf(t *testing.T, file string) []object {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := decodeYAML(data)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return all
}

// decodeOutput reads the objects that a program prints.
func decodeOutput(t *testing.T, program string, args ...string) []object {
	t.Helper()
	cmd := exec.Command(program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, stderr.String())
	}
	all, err := decodeYAML(out)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
