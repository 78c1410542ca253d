// Package sdk is the contract between Turnbuckle and the code that plugs into it.
//
// A request passes five phases, pre, auth, post_key_auth, post and (after the upstream's reply) response. At each, the
// operator may place hooks. A [Hook] receives the [Exchange], the request and its reply as they stand at that moment,
// and may change it, answer it, or end it with an error. It is the same thing wherever it runs: inside the gateway, in
// a process beside it, or behind an address. An [Observer] sees a [Record] of every exchange after the reply, off the
// request's path.
//
// A plugin is a value that lists its hooks:
//
//	func main() {
//		os.Exit(serve.Main(&sdk.Plugin{
//			Name:    "greeter",
//			Version: "1.0.0",
//			Hooks: []sdk.HookSpec{{
//				Name:  "Greet",
//				Phase: sdk.Pre,
//				Needs: sdk.Needs{Fields: sdk.NeedNothing},
//				Hook: sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
//					x.Request().Header().Set("X-Greeting", "hello")
//					return nil
//				}),
//			}},
//		}))
//	}
//
// The package imports the standard library only. Hosts use it too: what only a host has use for says so.
package sdk
