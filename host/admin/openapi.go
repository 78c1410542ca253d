package admin

import (
	_ "embed"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

//go:embed openapi.yaml
var openapi []byte

// openapiDocument makes the OpenAPI document (3.1) of the control API, in JSON.
func openapiDocument() ([]byte, error) {
	root, problems := document.Parse("openapi.yaml", openapi)
	if root == nil || problems.Refused() {
		return nil, fmt.Errorf("OpenAPI document: %w", problems.Err())
	}
	text, problems := root.JSON()
	if problems.Refused() {
		return nil, fmt.Errorf("OpenAPI document: %w", problems.Err())
	}
	return append(text, '\n'), nil
}
