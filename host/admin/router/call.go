package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// MaxPage is the highest limit of a listing.
const MaxPage = 1000

// Refusal is an error with the status of its reply.
type Refusal struct {
	Status  int
	Message string
}

// Error is the message.
func (r *Refusal) Error() string { return r.Message }

// Refusef makes a Refusal. Its text says what to change.
func Refusef(status int, format string, args ...any) error {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}

// Said is the reply of requests that have nothing more to tell.
type Said struct {
	Status  string `json:"status"` // ok or error
	Message string `json:"message"`
	// Problems has each on its own, where there may be several.
	Problems []string `json:"problems,omitempty"`
}

// Content is the whole body of a request, which is bounded. Nobody changes it.
func (c *Call) Content() ([]byte, error) {
	if c.content != nil {
		return c.content, nil
	}
	data, err := io.ReadAll(c.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, err
	case err != nil:
		return nil, Refusef(http.StatusBadRequest, "the body could not be read: %s", err)
	case len(data) == 0:
		return nil, Refusef(http.StatusBadRequest, "the request has no body: send JSON")
	}
	c.content = data
	return data, nil
}

// Decode reads a small document strictly: what it does not know would be lost.
func (c *Call) Decode(into any) error {
	data, err := c.Content()
	if err != nil {
		return err
	}
	if err := Shallow(data); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return Refusef(http.StatusBadRequest, "the body is not what is expected: %s", err)
	}
	if d.More() {
		return Refusef(http.StatusBadRequest, "the body has more than one JSON value")
	}
	return nil
}

// Shallow refuses JSON that is nested deeper than anything that is asked for, and than a reader should follow.
func Shallow(data []byte) error {
	if document.Deeper(data, document.MaxDepth) {
		return Refusef(http.StatusBadRequest, "JSON nested deeper than %d", document.MaxDepth)
	}
	return nil
}

// Param is a parameter of the query, empty when it is not there.
func (c *Call) Param(name string) string { return c.URL.Query().Get(name) }

// Flag reports whether a parameter of the query is there and says yes.
func (c *Call) Flag(name string) bool {
	q := c.URL.Query()
	if !q.Has(name) {
		return false
	}
	on, err := strconv.ParseBool(q.Get(name))
	return err != nil || on
}

// Paging reads how much of a listing is asked for, and from where on; paged is false when nothing is said.
func (c *Call) Paging() (cursor string, limit int, paged bool, err error) {
	q := c.URL.Query()
	if text := q.Get("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > MaxPage {
			return "", 0, false, Refusef(http.StatusBadRequest, "limit must be a number from 1 to %d", MaxPage)
		}
	}
	return q.Get("cursor"), limit, q.Has("limit") || q.Has("cursor"), nil
}

func refuse(w http.ResponseWriter, status int, message string) {
	Reply(w, status, Said{Status: "error", Message: message})
}

// Reply writes a value as JSON.
func Reply(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, b = 500, []byte(`{"status":"error","message":"the reply could not be written as JSON"}`)
	}
	Raw(w, status, append(b, '\n'))
}

// Raw writes what is JSON already.
func Raw(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left
}
