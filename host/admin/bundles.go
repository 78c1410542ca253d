package admin

import (
	"net/http"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
)

// Bundles is what the control API asks about bundles. What is told is shown as JSON.
type Bundles struct {
	// Status tells what runs, who vouched for it, and what is refused.
	Status func() any
	// Would tells what of that would stop loading by another trust policy, given in JSON. An error is about the policy.
	Would func(policy []byte) (any, error)
}

// tryPolicy decides by another policy, and changes nothing.
func (a *api) tryPolicy(c *router.Call) error {
	policy, err := c.Content()
	if err != nil {
		return err
	}
	decided, err := a.o.Bundles.Would(policy)
	if err != nil {
		return router.Refusef(http.StatusBadRequest, "%s", err)
	}
	router.Reply(c.W, http.StatusOK, decided)
	return nil
}
