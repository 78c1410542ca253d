package plugins

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// ServeNative serves the same hooks as ServeTyk and one more, written with our SDK and served with its defaults. It returns when
// the context ends and what was called has been answered.
func ServeNative(ctx context.Context, address string) error {
	noEnvironment := func(string) string { return "" }
	if status := serve.Run(ctx, benchPlugin(), []string{"-listen", address}, noEnvironment, os.Stderr); status != 0 {
		return fmt.Errorf("native plugin server on %s: exit status %d", address, status)
	}
	return nil
}

func benchPlugin() *sdk.Plugin {
	return &sdk.Plugin{
		Name:    "bench",
		Version: "1.0.0",
		Hooks: []sdk.HookSpec{
			{Name: SetHeader, Hook: sdk.HookFunc(setHeader)},
			{Name: Authenticate, Phase: sdk.Auth, Hook: sdk.HookFunc(authenticate)},
			{Name: Remember, Phase: sdk.Auth, Hook: sdk.HookFunc(remember)},
		},
	}
}

func setHeader(_ context.Context, x *sdk.Exchange) error {
	x.Request().Header().Set(BenchHeader, "1")
	return nil
}

func authenticate(_ context.Context, x *sdk.Exchange) error {
	token := x.Request().Header().Get("Authorization")
	if token != Token {
		x.Answer(http.StatusUnauthorized, []byte("no token"))
		return nil
	}
	x.Authenticate(token, "bench")
	return nil
}

func remember(ctx context.Context, x *sdk.Exchange) error {
	if err := authenticate(ctx, x); err != nil || x.Session() == nil {
		return err
	}
	x.EditSession().IDExtractorDeadline = time.Now().Add(time.Hour).Unix()
	return nil
}
