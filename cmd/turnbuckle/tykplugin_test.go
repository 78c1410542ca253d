package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

// tykPlugin is a plugin server as one is written for Tyk: generated stubs and a switch over hook names, nothing of ours.
type tykPlugin struct {
	coprocess.UnimplementedDispatcherServer
	name string
}

func runTykPlugin(args []string) error {
	f := flag.NewFlagSet("tykplugin", flag.ContinueOnError)
	name := f.String("name", "tyk", "how it calls itself")
	address := f.String("listen", "127.0.0.1:0", "address, or the path of a unix socket")
	if err := f.Parse(args); err != nil {
		return err
	}
	l, err := listenAnywhere(*address)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	coprocess.RegisterDispatcherServer(s, &tykPlugin{name: *name})
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	go func() { // as an author does who means well: what is under way ends
		<-told
		s.GracefulStop()
	}()
	fmt.Println("listening on", l.Addr())
	return s.Serve(l)
}

func listenAnywhere(address string) (net.Listener, error) {
	if strings.Contains(address, "/") {
		_ = os.Remove(address) // what a killed process left
		return net.Listen("unix", address)
	}
	return net.Listen("tcp", address)
}

func (p *tykPlugin) Dispatch(ctx context.Context, o *coprocess.Object) (*coprocess.Object, error) {
	fmt.Printf("hook %s %s %s\n", o.HookType, o.HookName, o.Request.Url)
	q := o.Request
	switch o.HookName {
	case "Trail": // leaves its name and phase; tells the session's alias
		q.SetHeaders = map[string]string{
			"X-Trail": q.Headers["X-Trail"] + "/" + o.HookType.String(),
			"X-From":  p.name, "X-Alias": o.Session.GetAlias(), "X-Config": o.Spec["config_data"],
		}
	case "Edit": // changes everything that can be changed
		q.RawBody = append(q.RawBody, "+tyk"...)
		q.DeleteHeaders, q.SetHeaders = []string{"X-Gone"}, map[string]string{"X-Set": "1", "Host": "ignored.example"}
		q.DeleteParams, q.AddParams = []string{"a"}, map[string]string{"b": "2"}
		q.Method, q.Url = "PUT", strings.Replace(q.Url, "/before", "/after", 1)
	case "Auth":
		auth(o)
	case "Fail":
		return nil, fmt.Errorf("deliberate")
	case "Hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "Override": // as the request's X-Override header says: CODE|body|error|override
		override(o)
	case "Response":
		r := o.Response
		r.RawBody = append([]byte("tyk saw "+fmt.Sprint(r.StatusCode)+"\n"), r.RawBody...)
		r.StatusCode = 203
		r.MultivalueHeaders = append(r.MultivalueHeaders, &coprocess.Header{Key: "X-Many", Values: []string{"1", "2"}})
	case "ResponseHeaders": // as a server does that knows single values alone
		o.Response.Headers["X-Single"] = "yes"
		delete(o.Response.Headers, "X-Upstream")
	case "NoResponse":
		o.Response = nil
	default:
		return nil, fmt.Errorf("no hook %q", o.HookName)
	}
	return o, nil
}

func auth(o *coprocess.Object) {
	switch key := o.Request.Headers["Authorization"]; key {
	case "good":
		o.Session = &coprocess.SessionState{Alias: "ali", LastUpdated: "1", Metadata: map[string]string{"plan": "gold"}}
		o.Metadata = map[string]string{"token": key}
	case "no-token":
		o.Session = &coprocess.SessionState{Alias: "nobody"}
	case "inactive":
		o.Session = &coprocess.SessionState{IsInactive: true}
		o.Metadata = map[string]string{"token": key}
	case "expired":
		o.Session = &coprocess.SessionState{Expires: 1}
		o.Metadata = map[string]string{"token": key}
	case "elsewhere":
		o.Session = &coprocess.SessionState{AccessRights: map[string]*coprocess.AccessDefinition{"other": {ApiId: "other"}}}
		o.Metadata = map[string]string{"token": key}
	default:
		o.Request.ReturnOverrides = &coprocess.ReturnOverrides{ResponseCode: 401, ResponseError: "who are you?"}
	}
}

func override(o *coprocess.Object) {
	parts := strings.Split(o.Request.Headers["X-Override"]+"||||", "|")
	code := int32(0)
	if _, err := fmt.Sscan(parts[0], &code); err != nil {
		return // nothing asked for
	}
	o.Request.ReturnOverrides = &coprocess.ReturnOverrides{
		ResponseCode: code, ResponseBody: parts[1], ResponseError: parts[2], OverrideError: parts[3] != "",
		Headers: map[string]string{"X-Override": "yes", "Content-Type": "text/special"},
	}
}

func (p *tykPlugin) DispatchEvent(_ context.Context, e *coprocess.Event) (*coprocess.EventReply, error) {
	fmt.Printf("event %s\n", e.Payload)
	return &coprocess.EventReply{}, nil
}
