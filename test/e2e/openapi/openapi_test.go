// Package openapi validates docs/openapi.yaml against OpenAPI 3.1. What it says is compared with the binary by
// test/integration/test_openapi.py.
package openapi

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

func TestOpenAPIDocumentIsValid(t *testing.T) {
	root := os.Getenv("FES_ROOT")
	if root == "" {
		root = "../../.."
	}
	data, err := os.ReadFile(filepath.Join(root, "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := libopenapi.NewDocument(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := document.BuildV3Model(); err != nil {
		t.Error(err)
	}
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	_, problems := v.ValidateDocument()
	for _, p := range problems {
		t.Errorf("%s: %s", p.Message, p.Reason)
		for _, s := range p.SchemaValidationErrors {
			t.Errorf("%s: %s", s.KeywordLocation, s.Reason)
		}
	}
}
