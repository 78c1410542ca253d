package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
)

// afterChange is what is to be done after a definition was written.
const afterChange = "it serves after a reload: GET /tyk/reload, or POST /v1/reload, which says what is refused; gateways that watch their files do it by themselves"

// listAPIs answers with the definitions as they are written, references in them not resolved. Those that cannot be read are
// left out; GET /v1/routes has why.
func (a *api) listAPIs(c *router.Call) error {
	all, err := a.o.Folder.All()
	if err != nil {
		return err
	}
	list := []json.RawMessage{}
	for i := range all {
		if text, err := all[i].JSON(); err == nil {
			list = append(list, text)
		}
	}
	router.Reply(c.W, http.StatusOK, list)
	return nil
}

func (a *api) getAPI(c *router.Call) error {
	d, err := a.o.Folder.Get(c.Vars["api"])
	if err != nil {
		return err
	}
	text, err := d.JSON()
	if err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, json.RawMessage(text))
	return nil
}

// createAPI writes a definition that is new; one that names no id gets one.
func (a *api) createAPI(c *router.Call) error {
	text, err := c.Content()
	if err != nil {
		return err
	}
	id, said := a.o.Folder.Identify(text)
	if named := c.Vars["api"]; named != "" {
		if said && id.ID != named {
			return router.Refusef(http.StatusBadRequest, "the definition's id is %q and the path's %q: they must match", id.ID, named)
		}
		id.ID = named
	} else if !said {
		id.ID = keyid.Random()
	}
	if !said {
		if text, err = withID(text, a.o.Folder.IDKey(text), id.ID); err != nil {
			return err
		}
	}
	if c.Vars["api"] == "" {
		c.About("api", id.ID)
	}
	if err := a.o.Folder.Create(c.Context(), id.ID, text); err != nil {
		if errors.Is(err, folder.ErrExists) {
			return router.Refusef(http.StatusConflict, "%s: PUT /tyk/apis/%s replaces it", err, id.ID)
		}
		return err
	}
	router.Reply(c.W, http.StatusOK, changed{Key: id.ID, Status: "ok", Action: "added", Message: afterChange})
	return nil
}

func (a *api) replaceAPI(c *router.Call) error {
	text, err := c.Content()
	if err != nil {
		return err
	}
	named := c.Vars["api"]
	id, said := a.o.Folder.Identify(text)
	if said && id.ID != named {
		return router.Refusef(http.StatusBadRequest, "the definition's id is %q and the path's %q: they must match", id.ID, named)
	}
	if !said {
		if text, err = withID(text, a.o.Folder.IDKey(text), named); err != nil {
			return err
		}
	}
	if err := a.o.Folder.Replace(c.Context(), named, text); err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, changed{Key: named, Status: "ok", Action: "modified", Message: afterChange})
	return nil
}

func (a *api) deleteAPI(c *router.Call) error {
	if err := a.o.Folder.Delete(c.Vars["api"]); err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, changed{Key: c.Vars["api"], Status: "ok", Action: "deleted", Message: afterChange})
	return nil
}

// withID writes the id into a definition that says none.
func withID(text []byte, key, id string) ([]byte, error) {
	if _, problems := document.Parse("definition.json", text); problems.Refused() { // such as a key that stands twice
		return nil, router.Refusef(http.StatusBadRequest, "the body must be a definition, a JSON object: %s", problems.Err())
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil || fields == nil {
		return nil, router.Refusef(http.StatusBadRequest, "the body must be a definition, a JSON object")
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	fields[key] = quoted
	return json.MarshalIndent(fields, "", "  ")
}
