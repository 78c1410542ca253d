package admin

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/archive"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
)

// maxImport bounds an archive: one of a million keys, of some 350 bytes each, has room. What it restores is held in memory at
// once.
const maxImport = 1 << 30

// importTimeout bounds how long an archive may arrive.
const importTimeout = 10 * time.Minute

// archiveType is the media type of archives: a JSON value a line.
const archiveType = "application/x-ndjson"

// export writes an archive as it is read. When it fails on the way, the connection is cut; an archive without its end is
// known as such anyway.
func (a *api) export(c *router.Call) error {
	c.W.Header().Set("Content-Type", archiveType)
	c.W.Header().Set("Cache-Control", "no-store")
	c.W.Header().Set("Content-Disposition", `attachment; filename="turnbuckle-`+a.o.Now().UTC().Format("20060102-150405")+`.ndjson"`)
	counts, err := a.archive.Export(c.Context(), c.W)
	aboutCounts(c, counts)
	if err != nil {
		c.W.Header().Del("Content-Disposition")
		return err
	}
	if counts.Unreadable > 0 {
		a.o.Log.Warn("control request: an export left out what is stored in no form that can be read", "count", counts.Unreadable)
	}
	return nil
}

// aboutCounts has the audit line tell how much was carried out or in.
func aboutCounts(c *router.Call, n archive.Counts) {
	c.About("orgs", n.Orgs)
	c.About("apis", n.APIs)
	c.About("policies", n.Policies)
	c.About("keys", n.Keys)
}

// imported is the reply to POST /v1/import.
type imported struct {
	Status string `json:"status"`
	archive.Restored
	Message string `json:"message,omitempty"`
}

// restore restores an archive, all of it or nothing.
func (a *api) restore(c *router.Call) error {
	var only []archive.Kind
	for name := range strings.SplitSeq(c.Param("only"), ",") {
		if name == "" {
			continue
		}
		kind := archive.Kind(name)
		if !slices.Contains([]archive.Kind{archive.KindOrg, archive.KindAPI, archive.KindPolicy, archive.KindKey}, kind) {
			return router.Refusef(http.StatusBadRequest, "only takes some of org, api, policy and key, with commas between, not %.20q", name)
		}
		only = append(only, kind)
	}
	// A large archive may take longer than other requests may; where the deadline cannot be moved it holds.
	_ = http.NewResponseController(c.W).SetReadDeadline(a.o.Now().Add(importTimeout))
	restored, err := a.archive.Import(c.Context(), c.Body, only...)
	if err != nil {
		return err
	}
	aboutCounts(c, restored.Counts)
	body := imported{Status: "ok", Restored: restored}
	if restored.APIs > 0 {
		body.Message = "of definitions: " + afterChange
	}
	router.Reply(c.W, http.StatusOK, body)
	return nil
}
