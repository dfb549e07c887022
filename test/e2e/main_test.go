// Package e2e runs flux-event-store against the real components, on one machine and without pods: etcd,
// kube-apiserver with RBAC, Tekton's CRDs and its controller, helm. The binary runs as the chart's service
// account, with a token of the TokenRequest API, so it can do what the chart grants and nothing else.
//
// `test/e2e/run` is the way in; it builds the components (build.sh) and says where they are:
//
//	FES_COMPONENTS  lines NAME=FOLDER, as build.sh prints them
//	FES_ROOT        the repository (chart/ and Dockerfile); default: two folders up
//	FES_BINARY      the binary under test; default: build/flux-event-store of FES_ROOT
//	FES_IMAGE_ONLY  not empty: neither API server nor binary are there, for the tests of the image
//	FES_NEED_DOCKER not empty: a test that finds no docker fails, instead of being skipped
//	FES_IMAGE       images that are there already (docker_test.go)
//
// One API server serves all tests, and the tests run one after another, because every instance of the binary
// serves every Run of the cluster. Each test has namespaces, a data directory and an instance of its own.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var (
	cluster    *world
	binaryPath string
	rootFolder string
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if rootFolder, err = filepath.Abs(fallback(os.Getenv("FES_ROOT"), "../..")); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	if os.Getenv("FES_IMAGE_ONLY") != "" {
		return m.Run()
	}
	binary := fallback(os.Getenv("FES_BINARY"), filepath.Join(rootFolder, "build", "flux-event-store"))
	if binaryPath, err = filepath.Abs(binary); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	if _, err := os.Stat(binaryPath); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: the binary under test is missing (make all, or set FES_BINARY): %v\n", err)
		return 2
	}
	folder, err := os.MkdirTemp("", "fes-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	defer os.RemoveAll(folder)
	cluster, err = startWorld(folder)
	defer cluster.stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 2
	}
	return m.Run()
}

func fallback(value, other string) string {
	if value == "" {
		return other
	}
	return value
}
