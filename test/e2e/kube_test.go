package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// object is any Kubernetes object, as JSON gives it.
type object = map[string]any

// at walks down members and list positions ("spec", "params", 0, "name"); nil when the way ends early.
func at(o any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[step]
		case int:
			list, _ := o.([]any)
			if step >= len(list) {
				return nil
			}
			o = list[step]
		}
	}
	return o
}

func text(o any, path ...any) string {
	s, _ := at(o, path...).(string)
	return s
}

func name(o object) string { return text(o, "metadata", "name") }

// kube is one identity at the API server: the tests' own administrator, or a service account.
type kube struct {
	base  string
	token string
	http  *http.Client
	pools *x509.CertPool
}

func newKube(base, token string, ca []byte) *kube {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &kube{base, token, &http.Client{Transport: kubeTransport(pool)}, pool}
}

func kubeTransport(pool *x509.CertPool) *http.Transport {
	return &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 8,
	}
}

// as is the same API server seen by another identity.
func (k *kube) as(token string) *kube {
	return &kube{k.base, token, &http.Client{Transport: kubeTransport(k.pools)}, k.pools}
}

const (
	jsonType       = "application/json"
	mergePatchType = "application/merge-patch+json"
	applyPatchType = "application/apply-patch+yaml"
)

// send makes one request and gives the status code and the decoded answer, whatever the code is.
func (k *kube) send(method, path, contentType string, body any) (int, object, error) {
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		reader = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, k.base+path, reader)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+k.token)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := k.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, nil, err
	}
	answer := object{}
	if json.Unmarshal(data, &answer) != nil {
		answer["message"] = string(data)
	}
	return response.StatusCode, answer, nil
}

// call is send for requests that must succeed.
func (k *kube) call(method, path, contentType string, body any) (object, error) {
	code, answer, err := k.send(method, path, contentType, body)
	if err != nil {
		return nil, err
	}
	if code >= 300 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, code, text(answer, "message"))
	}
	return answer, nil
}

func (k *kube) must(t testing.TB, method, path, contentType string, body any) object {
	t.Helper()
	answer, err := k.call(method, path, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func groupPath(apiVersion string) string {
	if strings.Contains(apiVersion, "/") {
		return "/apis/" + apiVersion
	}
	return "/api/" + apiVersion
}

// objectPath asks the API server where objects of this kind live, as kubectl does.
func (k *kube) objectPath(o object, namespace string) (string, error) {
	apiVersion, kind := text(o, "apiVersion"), text(o, "kind")
	list, err := k.call("GET", groupPath(apiVersion), "", nil)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", apiVersion, kind, err)
	}
	resources, _ := at(list, "resources").([]any)
	for _, r := range resources {
		plural := text(r, "name")
		if text(r, "kind") != kind || strings.Contains(plural, "/") {
			continue
		}
		path := groupPath(apiVersion)
		if namespaced, _ := at(r, "namespaced").(bool); namespaced {
			if own := text(o, "metadata", "namespace"); own != "" {
				namespace = own
			}
			path += "/namespaces/" + namespace
		}
		return path + "/" + plural + "/" + name(o), nil
	}
	return "", fmt.Errorf("%s %s: the API server does not serve this kind", apiVersion, kind)
}

// apply is `kubectl apply --server-side --validate=strict`; query adds parameters such as dryRun=All.
func (k *kube) apply(o object, namespace, query string) error {
	path, err := k.objectPath(o, namespace)
	if err != nil {
		return err
	}
	path += "?fieldManager=e2e&force=true&fieldValidation=Strict" + query
	if _, err := k.call("PATCH", path, applyPatchType, o); err != nil {
		return fmt.Errorf("%s %s: %w", text(o, "kind"), name(o), err)
	}
	return nil
}

// resource is one kind of object that a test creates, waits for and watches.
type resource struct {
	apiVersion, kind, plural string
}

var (
	runKind         = resource{"tekton.dev/v1alpha1", "Run", "runs"}
	customRunKind   = resource{"tekton.dev/v1beta1", "CustomRun", "customruns"}
	pipelineRunKind = resource{"tekton.dev/v1", "PipelineRun", "pipelineruns"}
)

func (r resource) path(namespace string) string {
	return groupPath(r.apiVersion) + "/namespaces/" + namespace + "/" + r.plural
}

// requestToken gets a token of a service account the way the kubelet does for a pod.
func (k *kube) requestToken(namespace, account string) (string, error) {
	path := "/api/v1/namespaces/" + namespace + "/serviceaccounts/" + account + "/token"
	answer, err := k.call("POST", path, jsonType, object{"apiVersion": "authentication.k8s.io/v1",
		"kind": "TokenRequest", "spec": object{"expirationSeconds": 3600}})
	if err != nil {
		return "", err
	}
	return text(answer, "status", "token"), nil
}

// openWatch starts a watch stream on a collection and returns its body.
func (k *kube) openWatch(ctx context.Context, path, resourceVersion string) (io.ReadCloser, error) {
	query := url.Values{"watch": {"1"}, "resourceVersion": {resourceVersion}, "timeoutSeconds": {"3600"}}
	request, err := http.NewRequestWithContext(ctx, "GET", k.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+k.token)
	response, err := k.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("watch %s: %s", path, response.Status)
	}
	return response.Body, nil
}
