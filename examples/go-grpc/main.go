// Command go-grpc is an example plugin server: the doorman of a small shop's API. It has a hook in every phase and an
// observer, and serves Turnbuckle's native protocol and Tyk's from one address.
package main

import (
	"log/slog"
	"os"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	os.Exit(serve.Main(NewPlugin(log)))
}
