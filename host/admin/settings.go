package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Settings are those of the running gateway, which changes them for the control API.
type Settings interface {
	// List tells every setting as it holds.
	List() SettingsState
	// Patch changes settings: a JSON object of values by path, nested or joined by dots; null takes a change back. It returns,
	// once they hold and are kept, those that are not what they were. An error that is a *RefusedChange says that nothing
	// has changed, and why.
	Patch(ctx context.Context, patch []byte) ([]config.SettingValue, error)
	// Unset takes back the changes at and below a path, in the same way.
	Unset(ctx context.Context, path string) ([]config.SettingValue, error)
}

// SettingsState is the reply to GET /v1/settings.
type SettingsState struct {
	Changeable  bool                  `json:"changeable"`   // admin.settings
	ChangesFile string                `json:"changes_file"` // where changes are kept
	Waiting     []string              `json:"waiting"`      // settings that have changed in their file and wait for a restart
	Settings    []config.SettingValue `json:"settings"`
}

// RefusedChange is why settings were not changed.
type RefusedChange struct {
	Status   int
	Message  string
	Problems []string // each on its own, where there may be several
}

// Error is the message with all problems.
func (r *RefusedChange) Error() string {
	return strings.Join(append([]string{r.Message}, r.Problems...), "\n")
}

// changedSettings is the reply to changes.
type changedSettings struct {
	router.Said
	Settings []config.SettingValue `json:"settings"` // those that are not what they were
}

func (a *api) settingsRoutes() router.Table {
	return router.Table{
		{Method: "GET", Path: "/v1/settings", Access: router.Reads, Serve: a.listSettings},
		{Method: "PATCH", Path: "/v1/settings", Access: router.Writes, Serve: a.patchSettings},
		{Method: "DELETE", Path: "/v1/settings/{setting}", Access: router.Writes, Serve: a.unsetSetting},
	}
}

func (a *api) listSettings(c *router.Call) error {
	state := a.o.Settings.List()
	if state.Waiting == nil {
		state.Waiting = []string{}
	}
	router.Reply(c.W, http.StatusOK, state)
	return nil
}

func (a *api) patchSettings(c *router.Call) error {
	patch, err := c.Content()
	if err != nil {
		return err
	}
	if err := router.Shallow(patch); err != nil {
		return err
	}
	changed, err := a.o.Settings.Patch(c.Context(), patch)
	return replyChanged(c, changed, err)
}

func (a *api) unsetSetting(c *router.Call) error {
	changed, err := a.o.Settings.Unset(c.Context(), c.Vars["setting"])
	return replyChanged(c, changed, err)
}

func replyChanged(c *router.Call, changed []config.SettingValue, err error) error {
	var refused *RefusedChange
	if errors.As(err, &refused) {
		said := router.Said{Status: "error", Message: refused.Message, Problems: refused.Problems}
		if len(said.Problems) == 1 {
			said.Message += ": " + said.Problems[0]
		}
		router.Reply(c.W, refused.Status, said)
		return nil
	}
	if errors.Is(err, host.ErrClosing) {
		return router.Refusef(http.StatusServiceUnavailable, "%s", err)
	}
	if err != nil {
		return err
	}
	paths := make([]string, len(changed))
	for i, v := range changed {
		paths[i] = v.Path
	}
	c.About("changed", strings.Join(paths, ","))
	router.Reply(c.W, http.StatusOK, changedSettings{Said: router.Said{Status: "ok"}, Settings: changed})
	return nil
}
