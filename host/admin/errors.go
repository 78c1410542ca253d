package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/archive"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/orgs"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// changed is the reply of requests that changed one thing.
type changed struct {
	Key    string `json:"key"` // its id
	Status string `json:"status"`
	Action string `json:"action"` // added, modified, updated or deleted
	// KeyHash is the id that a key is kept under, where that is a hash.
	KeyHash string `json:"key_hash,omitempty"`
	// HMACSecret is one that was made for the key; it is told this once.
	HMACSecret string `json:"hmac_string,omitempty"`
	Message    string `json:"message,omitempty"` // what else is to be done, or to be known
}

// tell says how errors of what lies below are told.
func tell(err error) (status int, body router.Said) {
	body = router.Said{Status: "error"}
	var definition *folder.RefusedError
	var restored *archive.RefusedError
	switch {
	case errors.As(err, &definition):
		for _, p := range definition.Problems {
			body.Problems = append(body.Problems, p.Error())
		}
	case errors.As(err, &restored):
		body.Problems = restored.Problems
	}
	status, body.Message = statusOf(err)
	return status, body
}

func statusOf(err error) (status int, message string) {
	var r *router.Refusal
	var tooLarge *http.MaxBytesError
	var definition *folder.RefusedError
	var restored *archive.RefusedError
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.As(err, &r):
		return r.Status, r.Message
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", tooLarge.Limit)
	case errors.As(err, &definition), errors.As(err, &restored), is(archive.ErrFormat):
		return http.StatusBadRequest, err.Error()
	case is(store.ErrUnavailable, limit.ErrStore, store.ErrClosed, identity.ErrClosed, context.DeadlineExceeded, context.Canceled):
		return http.StatusServiceUnavailable, "the store does not serve now, try again: " + err.Error()
	case is(folder.ErrUnknown):
		return http.StatusNotFound, "API not found"
	case is(orgs.ErrUnknown):
		return http.StatusNotFound, err.Error()
	case is(identity.ErrUnknown):
		return http.StatusNotFound, "Key not found"
	case is(identity.ErrExists, identity.ErrReadOnly, store.ErrConflict, folder.ErrExists, folder.ErrElsewhere):
		return http.StatusConflict, err.Error()
	case is(identity.ErrForeign):
		return http.StatusBadRequest, err.Error() + ": org_id must be the key's"
	case is(store.ErrCursor):
		return http.StatusBadRequest, err.Error() + ": begin again without cursor"
	case is(identity.ErrInvalid, identity.ErrPolicy, store.ErrEntry, folder.ErrName):
		return http.StatusBadRequest, err.Error()
	}
	return http.StatusInternalServerError, err.Error()
}
