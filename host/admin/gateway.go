package admin

import (
	"errors"
	"net/http"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
)

func (a *api) hello(c *router.Call) error {
	router.Raw(c.W, http.StatusOK, a.o.Gateway.Hello())
	return nil
}

func (a *api) ready(c *router.Call) error {
	status, body := a.o.Gateway.Ready()
	router.Raw(c.W, status, body)
	return nil
}

func (a *api) status(c *router.Call) error {
	router.Reply(c.W, http.StatusOK, a.o.Gateway.Status())
	return nil
}

// shown answers with what a function tells.
func shown(tell func() any) func(c *router.Call) error {
	return func(c *router.Call) error {
		router.Reply(c.W, http.StatusOK, tell())
		return nil
	}
}

// replaceServer answers 200 when the new processes take calls, and 502 when one does not get ready.
func (a *api) replaceServer(c *router.Call) error {
	name := c.Vars["server"]
	err := a.o.ReplaceServer(c.Context(), name)
	var refused *router.Refusal
	if err != nil && !errors.As(err, &refused) {
		return router.Refusef(http.StatusBadGateway, "the processes that were there go on: %s", err.Error())
	}
	if err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, router.Said{Status: "ok", Message: "new processes take the calls"})
	return nil
}

func (a *api) metrics(c *router.Call) error {
	a.o.Metrics.ServeHTTP(c.W, c.Request)
	return nil
}

func (a *api) document(c *router.Call) error {
	router.Raw(c.W, http.StatusOK, a.openapi)
	return nil
}

func (a *api) refreshKeySets(c *router.Call) error {
	a.o.RefreshKeySets()
	router.Reply(c.W, http.StatusOK, router.Said{Status: "ok", Message: "cache invalidated"})
	return nil
}

// reloaded is the reply to POST /v1/reload.
type reloaded struct {
	Status  string         `json:"status"` // ok or error
	Message string         `json:"message"`
	Serving int            `json:"serving"` // routes, those among them whose newer definition is refused
	Refused []host.Refusal `json:"refused"`
}

// reload answers 200 when everything serves as the files say, 422 with what is refused when the others serve, 503 when
// the gateway is stopping and 500 when the files cannot be read; after the last two nothing has changed.
func (a *api) reload(c *router.Call) error {
	err := a.o.Reload(c.Context())
	status, body := 200, reloaded{Status: "ok", Refused: []host.Refusal{}}
	if err != nil {
		status, body.Status, body.Message = 500, "error", "nothing has changed: "+err.Error()
	}
	var refused *host.RefusedError
	switch {
	case errors.As(err, &refused):
		status, body.Refused = 422, refused.Refusals
		body.Message = "some definitions are refused: those that served before go on as they were, the others answer 503"
	case errors.Is(err, host.ErrClosing):
		status = 503
	}
	for _, route := range a.o.Gateway.Status().Routes {
		if route.State != "refused" {
			body.Serving++
		}
	}
	router.Reply(c.W, status, body)
	return nil
}

// tykReload answers as Tyk does, which tells nobody here what came of it: /v1/routes and the log do.
func (a *api) tykReload(c *router.Call) error {
	if err := a.o.Reload(c.Context()); err != nil {
		a.o.Log.Warn("control request: the reload that was asked for as Tyk's changed not all", "error", err.Error())
	}
	router.Reply(c.W, 200, router.Said{Status: "ok"})
	return nil
}

func (a *api) reloadGroup(c *router.Call) error {
	if err := a.o.ReloadGroup(c.Context()); err != nil {
		return err
	}
	router.Reply(c.W, 200, router.Said{Status: "ok"})
	return nil
}
