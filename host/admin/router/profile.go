package router

import "net/http/pprof"

// Profiles are the routes of the runtime's profiles. A command line may hold a secret, so they are for those who may write.
func Profiles() Table {
	return Table{
		{Method: "GET", Path: "/debug/pprof", Access: Writes, Serve: profileIndex},
		{Method: "GET", Path: "/debug/pprof/{profile}", Access: Writes, Serve: profile},
	}
}

func profileIndex(c *Call) error {
	r := c.Clone(c.Context())
	r.URL.Path = "/debug/pprof/"
	pprof.Index(c.W, r)
	return nil
}

func profile(c *Call) error {
	switch c.Vars["profile"] {
	case "profile":
		pprof.Profile(c.W, c.Request)
	case "symbol":
		pprof.Symbol(c.W, c.Request)
	case "trace":
		pprof.Trace(c.W, c.Request)
	case "cmdline":
		pprof.Cmdline(c.W, c.Request)
	default:
		pprof.Handler(c.Vars["profile"]).ServeHTTP(c.W, c.Request)
	}
	return nil
}
