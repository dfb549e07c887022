package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const adminToken = "the-administrator-of-the-tests"

// world is everything that is there before the first test: etcd, the API server with the CRDs, the chart's
// objects, and a token of the chart's service account.
type world struct {
	folder     string
	components map[string]string
	etcd       *process
	apiserver  *process
	admin      *kube
	etcdURL    string
	url        string // of the API server
	serverArgs []string
	caFile     string
	signingKey string
	chart      *chart
	namespaces int
}

func startWorld(folder string) (*world, error) {
	w := &world{folder: folder, components: map[string]string{}}
	for _, line := range strings.Fields(os.Getenv("FES_COMPONENTS")) {
		name, path, _ := strings.Cut(line, "=")
		w.components[name] = path
	}
	for _, name := range []string{"kube-apiserver", "tekton", "tekton-old", "helm", "flux-crds"} {
		if w.components[name] == "" {
			return w, fmt.Errorf("component %s is missing: start the tests with test/e2e/run", name)
		}
	}
	started := time.Now()
	steps := []func() error{w.startEtcd, w.startAPIServer, w.applyCRDs, w.installChart}
	for _, step := range steps {
		if err := step(); err != nil {
			return w, err
		}
	}
	took := time.Since(started).Round(time.Millisecond)
	fmt.Printf("e2e: the API server is up, with CRDs and chart, after %v\n", took)
	return w, nil
}

// buildComponent gives the folder of a component that only some tests need.
func buildComponent(name string) (string, error) {
	cmd := exec.Command("./build.sh", name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	_, folder, _ := strings.Cut(strings.TrimSpace(string(out)), "=")
	return folder, nil
}

func (w *world) stop() {
	if w == nil {
		return
	}
	// Nothing of it is kept: no reason to be polite.
	for _, p := range []*process{w.apiserver, w.etcd} {
		if p != nil && p.running() {
			p.kill()
		}
	}
}

func (w *world) file(name string) string { return filepath.Join(w.folder, name) }

func (w *world) startEtcd() error {
	found, err := exec.Command(filepath.Join(rootFolder, "test", "debian.sh"), "etcd-server", "usr/bin/etcd").Output()
	if err != nil {
		return fmt.Errorf("debian.sh: %w", err)
	}
	etcd := strings.TrimSpace(string(found))
	client, err := freePort()
	if err != nil {
		return err
	}
	peer, err := freePort()
	if err != nil {
		return err
	}
	clientURL, peerURL := loopback(client), loopback(peer)
	w.etcd, err = startProcess("etcd", w.file("etcd.log"), nil, etcd,
		"--name=e2e", "--data-dir="+w.file("etcd"),
		"--listen-client-urls="+clientURL, "--advertise-client-urls="+clientURL,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster=e2e="+peerURL,
		"--unsafe-no-fsync")
	if err != nil {
		return err
	}
	w.etcdURL = clientURL
	return until(20*time.Second, w.etcd, func() error {
		response, err := http.Get(clientURL + "/health")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && !bytes.Contains(body, []byte("true")) {
			err = fmt.Errorf("etcd says %s", body)
		}
		return err
	})
}

func loopback(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// writePKI makes the API server's certificate and its key for service-account tokens.
func (w *world) writePKI() ([]byte, error) {
	ca, err := newAuthority("e2e test CA")
	if err != nil {
		return nil, err
	}
	cert, key, err := ca.serving("kube-apiserver")
	if err != nil {
		return nil, err
	}
	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := privateKeyPEM(signing)
	if err != nil {
		return nil, err
	}
	public, err := publicKeyPEM(signing.Public())
	if err != nil {
		return nil, err
	}
	w.caFile, w.signingKey = w.file("ca.crt"), w.file("sa.key")
	files := map[string][]byte{
		"ca.crt": ca.pem, "apiserver.crt": cert, "apiserver.key": key, "sa.key": private, "sa.pub": public,
		"tokens.csv": []byte(adminToken + `,admin,admin,"system:masters"` + "\n"),
	}
	for name, data := range files {
		if err := os.WriteFile(w.file(name), data, 0o600); err != nil {
			return nil, err
		}
	}
	return ca.pem, nil
}

func (w *world) startAPIServer() error {
	ca, err := w.writePKI()
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	w.url = fmt.Sprintf("https://127.0.0.1:%d", port)
	w.admin = newKube(w.url, adminToken, ca)
	w.serverArgs = []string{
		"--etcd-servers=" + w.etcdURL,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + w.file("apiserver.crt"), "--tls-private-key-file=" + w.file("apiserver.key"),
		"--client-ca-file=" + w.caFile,
		"--service-account-key-file=" + w.file("sa.pub"), "--service-account-signing-key-file=" + w.signingKey,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--token-auth-file=" + w.file("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--disable-admission-plugins=ServiceAccount",
		"--delete-collection-workers=8", // what a test leaves behind may be thousands of Runs
	}
	return w.launchAPIServer()
}

// launchAPIServer starts the server, at first and after a test ended it, and waits until it serves.
func (w *world) launchAPIServer() (err error) {
	w.apiserver, err = startProcess("kube-apiserver", w.file("kube-apiserver.log"), nil,
		filepath.Join(w.components["kube-apiserver"], "kube-apiserver"), w.serverArgs...)
	if err != nil {
		return err
	}
	return until(60*time.Second, w.apiserver, func() error {
		_, err := w.admin.call("GET", "/readyz", "", nil)
		return err
	})
}

// applyCRDs installs the CRDs of both Tekton generations side by side, as an upgraded cluster has them, and
// Flux's. Conversion webhooks are left out: nothing here serves them.
func (w *world) applyCRDs() error {
	var crds []object
	for _, name := range []string{"tekton-old", "tekton", "flux-crds"} {
		found, err := readManifests(filepath.Join(w.components[name], "crds"))
		if err != nil {
			return err
		}
		for _, o := range found {
			if text(o, "kind") == "CustomResourceDefinition" {
				spec, _ := at(o, "spec").(object)
				delete(spec, "conversion")
				crds = append(crds, o)
			}
		}
	}
	if err := w.installCRDs(crds); err != nil {
		return err
	}
	for _, r := range []resource{runKind, customRunKind, pipelineRunKind} {
		// Established comes a moment before the first list works.
		err := until(30*time.Second, w.apiserver, func() error {
			_, err := w.admin.call("GET", r.path("default"), "", nil)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// installCRDs waits until they are established.
func (w *world) installCRDs(crds []object) error {
	const collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
	for _, crd := range crds {
		path := collection + name(crd) + "?fieldManager=e2e&force=true"
		if _, err := w.admin.call("PATCH", path, applyPatchType, crd); err != nil {
			return err
		}
	}
	for _, crd := range crds {
		err := until(30*time.Second, w.apiserver, func() error {
			o, err := w.admin.call("GET", collection+name(crd), "", nil)
			if err == nil && !hasCondition(o, "Established", "True") {
				err = fmt.Errorf("CRD %s is not established", name(crd))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func hasCondition(o object, kind, status string) bool {
	c := condition(o, kind)
	return c != nil && text(c, "status") == status
}

func condition(o object, kind string) object {
	list, _ := at(o, "status", "conditions").([]any)
	for _, c := range list {
		if text(c, "type") == kind {
			found, _ := c.(object)
			return found
		}
	}
	return nil
}

// readManifests decodes every document of every YAML file in a folder, in the order of the file names.
func readManifests(folder string) ([]object, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	var all []object
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		objects, err := decodeYAML(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, objects...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no manifests", folder)
	}
	return all, nil
}

func decodeYAML(data []byte) ([]object, error) {
	var all []object
	for _, document := range bytes.Split(append([]byte("\n"), data...), []byte("\n---")) {
		o := object{}
		if err := yaml.Unmarshal(document, &o); err != nil {
			return nil, err
		}
		if len(o) > 0 {
			all = append(all, o)
		}
	}
	return all, nil
}

func (w *world) ensureNamespace(name string) error {
	return w.admin.apply(object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": name}}, "", "")
}

// namespace makes a namespace for one test. Its Runs are deleted after the test, so that the next instance of
// the binary starts with nothing to do (there is no namespace controller to do it).
func (w *world) namespace(t *testing.T) string {
	t.Helper()
	w.namespaces++
	namespace := fmt.Sprintf("e2e-%d", w.namespaces)
	if err := w.ensureNamespace(namespace); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range []resource{pipelineRunKind, runKind, customRunKind} {
			if _, err := w.admin.call("DELETE", r.path(namespace), "", nil); err != nil {
				t.Error(err)
			}
		}
	})
	return namespace
}
