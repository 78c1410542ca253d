package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

// Dispatcher is the plugin.
type Dispatcher struct {
	coprocess.UnimplementedDispatcherServer
}

// Dispatch runs one hook: the object comes with the request and goes back with the changes.
func (d *Dispatcher) Dispatch(_ context.Context, object *coprocess.Object) (*coprocess.Object, error) {
	switch object.HookName {
	case "AddGreeting":
		return addGreeting(object), nil
	case "CheckKey":
		return checkKey(object), nil
	case "TellSession":
		return tellSession(object), nil
	case "RenameParameter":
		return renameParameter(object), nil
	case "MarkReply":
		return markReply(object), nil
	}
	return nil, fmt.Errorf("no hook %q", object.HookName)
}

// DispatchEvent logs what the gateway tells.
func (d *Dispatcher) DispatchEvent(_ context.Context, event *coprocess.Event) (*coprocess.EventReply, error) {
	log.Printf("event: %s", event.Payload)
	return &coprocess.EventReply{}, nil
}

// addGreeting (pre) sets a header, and answers /teapot itself.
func addGreeting(object *coprocess.Object) *coprocess.Object {
	object.Request.SetHeaders = map[string]string{"X-Greeting": "hello"}
	if object.Request.Url == "/tyk/teapot" {
		object.Request.ReturnOverrides = &coprocess.ReturnOverrides{
			ResponseCode:  418,
			ResponseBody:  "short and stout\n",
			OverrideError: true,
			Headers:       map[string]string{"Content-Type": "text/plain"},
		}
	}
	return object
}

// checkKey (auth_check) accepts one key. The gateway takes the caller for authenticated when the metadata has a token.
func checkKey(object *coprocess.Object) *coprocess.Object {
	key := object.Request.Headers["Authorization"]
	if key != "open sesame" {
		object.Request.ReturnOverrides = &coprocess.ReturnOverrides{ResponseCode: 403, ResponseError: "not that word"}
		return object
	}
	object.Session = &coprocess.SessionState{
		Alias:       "ali",
		LastUpdated: fmt.Sprint(time.Now().Unix()),
		Metadata:    map[string]string{"cave": "40"},
	}
	object.Metadata = map[string]string{"token": key}
	return object
}

// tellSession (post_key_auth) passes on what the session says.
func tellSession(object *coprocess.Object) *coprocess.Object {
	if object.Session != nil {
		object.Request.SetHeaders = map[string]string{"X-Alias": object.Session.Alias, "X-Cave": object.Session.Metadata["cave"]}
		object.Request.DeleteHeaders = []string{"Authorization"}
	}
	return object
}

// renameParameter (post) calls the parameter q what the upstream calls it.
func renameParameter(object *coprocess.Object) *coprocess.Object {
	if q, ok := object.Request.Params["q"]; ok {
		object.Request.AddParams = map[string]string{"query": q}
		object.Request.DeleteParams = []string{"q"}
	}
	return object
}

// markReply (response) adds a header and a line to text replies.
func markReply(object *coprocess.Object) *coprocess.Object {
	r := object.Response
	r.MultivalueHeaders = append(r.MultivalueHeaders, &coprocess.Header{Key: "X-Marked", Values: []string{"yes"}})
	if r.Headers["Content-Type"] == "text/plain" {
		r.RawBody = append(r.RawBody, "marked\n"...)
	}
	return object
}
