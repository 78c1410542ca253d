// Command conformance is a plugin server with the hooks of proto/CONFORMANCE.md, on our Go SDK:
//
//	turnbuckle plugin conform ./conformance
package main

import (
	"os"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

func main() { os.Exit(serve.Main(conformance.Plugin())) }
