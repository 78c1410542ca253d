package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
)

// hostile is a plugin server that means harm. The name of the hook it is called for says which harm; "fine" does what
// it should.
type hostile struct {
	native, noCredit bool
}

// oversized is more than the gateway takes by default.
const oversized = 5 << 20

func runHostile(args []string) error {
	f := flag.NewFlagSet("hostile", flag.ContinueOnError)
	h := &hostile{}
	f.BoolVar(&h.native, "native", false, "speak the native protocol")
	f.BoolVar(&h.noCredit, "no-credit", false, "grant no credit")
	address := f.String("listen", "127.0.0.1:0", "address, or the path of a unix socket")
	if err := f.Parse(args); err != nil {
		return err
	}
	l, err := listenAnywhere(*address)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	return grpc.NewServer(grpc.ForceServerCodecV2(rawcodec.New()), grpc.UnknownServiceHandler(h.handle)).Serve(l)
}

func (h *hostile) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	switch {
	case method == pluginv1.Plugin_Describe_FullMethodName && h.native:
		return stream.SendMsg(&pluginv1.DescribeReply{Name: "hostile", Version: "1"})
	case method == pluginv1.Plugin_Session_FullMethodName && h.native:
		return h.session(stream)
	case method == coprocess.Dispatcher_Dispatch_FullMethodName && !h.native:
		return dispatchHostile(stream)
	}
	return status.Error(codes.Unimplemented, "no "+method)
}

func sendBytes(stream grpc.ServerStream, b []byte) error {
	return stream.SendMsg(&rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(b)}})
}

func dispatchHostile(stream grpc.ServerStream) error {
	var o coprocess.Object
	if err := stream.RecvMsg(&o); err != nil {
		return err
	}
	fmt.Printf("called %s\n", o.HookName)
	q := o.Request
	set := func(name, value string) { q.SetHeaders = map[string]string{name: value} }
	switch o.HookName {
	case "fine":
		set("X-Fine", "yes")
		o.Session, o.Metadata = &coprocess.SessionState{}, map[string]string{"token": "t"}
	case "hang":
		return hang(stream.Context())
	case "die":
		os.Exit(3)
	case "garbage":
		return sendBytes(stream, []byte("\xff\xff\xff HTTP/1.1 200 OK\r\n\r\n"))
	case "truncated":
		return sendBytes(stream, []byte{3<<3 | 2, 50, 1})
	case "nothing":
		return nil
	case "nil-request":
		return stream.SendMsg(&coprocess.Object{Session: &coprocess.SessionState{}})
	case "oversized":
		q.RawBody = make([]byte, oversized)
	case "header-name":
		set("X-Bad: 1\r\nX-Smuggled", "1")
	case "header-value":
		set("X-Bad", "1\r\nX-Smuggled: 1")
	case "nul":
		set("X-Bad", "a\x00b")
	case "bad-url":
		q.Url = "://%zz not a url"
	case "url-crlf":
		q.Url = "/a HTTP/1.1\r\nX-Smuggled: 1\r\n\r\n"
	case "bad-method":
		q.Method = "GET / HTTP/1.1\r\n"
	case "many-headers":
		q.SetHeaders = map[string]string{}
		for i := range 10_000 {
			q.SetHeaders[fmt.Sprintf("X-H-%d", i)] = "v"
		}
	case "response-crlf":
		o.Response.MultivalueHeaders = append(o.Response.MultivalueHeaders, &coprocess.Header{Key: "X-Bad", Values: []string{"1\r\nX-Smuggled: 1"}})
	case "response-status":
		o.Response.StatusCode = 99
	case "response-nil":
		o.Response = nil
	default:
		var code int32
		if _, err := fmt.Sscanf(o.HookName, "status=%d", &code); err != nil {
			return status.Error(codes.Unimplemented, o.HookName)
		}
		q.ReturnOverrides = &coprocess.ReturnOverrides{ResponseCode: code, ResponseBody: "over", OverrideError: true}
	}
	return stream.SendMsg(&o)
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	fmt.Println("canceled")
	return ctx.Err()
}

// session takes frames and answers each call as its hook's name says.
func (h *hostile) session(stream grpc.ServerStream) error {
	credit := uint32(100)
	if h.noCredit {
		credit = 0
	}
	if err := stream.SendMsg(&pluginv1.PluginFrame{Credit: credit}); err != nil {
		return err
	}
	names := map[uint32]string{}
	for {
		var in rawcodec.In
		if err := stream.RecvMsg(&in); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		var f pluginv1.HostFrame
		if err := proto.Unmarshal(in.Data, &f); err != nil {
			return err
		}
		for _, b := range f.Bindings {
			names[b.Id] = b.Hooks[0].Name
		}
		if len(f.Cancels) > 0 {
			fmt.Println("canceled")
		}
		answer := &pluginv1.PluginFrame{Ack: f.Seq}
		for _, c := range f.Calls {
			fmt.Printf("called %s\n", names[c.Binding])
			switch name := names[c.Binding]; name {
			case "garbage":
				if err := sendBytes(stream, bytes.Repeat([]byte{0xff}, 100)); err != nil {
					return err
				}
			case "end":
				return nil
			case "abort":
				return status.Error(codes.Internal, "deliberate")
			case "wrong-ack":
				answer.Ack = f.Seq + 1000
			default:
				answer.Replies = append(answer.Replies, replyHostile(name, c)...)
			}
		}
		if err := stream.SendMsg(answer); err != nil {
			return err
		}
	}
}

// replyHostile is what the hook of that name makes of a call; nothing at all when it hangs.
func replyHostile(name string, c *pluginv1.Call) []*pluginv1.Reply {
	with := func(e *pluginv1.Effects) []*pluginv1.Reply { return []*pluginv1.Reply{{Id: c.Id, Effects: e}} }
	set := func(name, value string) []*pluginv1.HeaderOp {
		return []*pluginv1.HeaderOp{{Kind: pluginv1.HeaderOpKind_HEADER_OP_KIND_SET, Name: name, Value: []byte(value)}}
	}
	switch name {
	case "fine":
		return with(&pluginv1.Effects{Headers: set("X-Fine", "yes"), Session: &pluginv1.Session{KeyId: "t"}})
	case "hang":
		return nil
	case "die":
		os.Exit(3)
	case "unknown-ids":
		return []*pluginv1.Reply{{Id: c.Id + 1<<40}, {Id: 0}, {Id: c.Id + 7}}
	case "twice":
		r := with(&pluginv1.Effects{Headers: set("X-Fine", "yes")})
		return append(r, r[0])
	case "oversized":
		return with(&pluginv1.Effects{Body: make([]byte, oversized)})
	case "header-name":
		return with(&pluginv1.Effects{Headers: set("X-Bad: 1\r\nX-Smuggled", "1")})
	case "header-value":
		return with(&pluginv1.Effects{Headers: set("X-Bad", "1\r\nX-Smuggled: 1")})
	case "nul":
		return with(&pluginv1.Effects{Headers: set("X-Bad", "a\x00b")})
	case "bad-url":
		return with(&pluginv1.Effects{Path: []byte("not a path %zz")})
	case "url-crlf":
		return with(&pluginv1.Effects{Path: []byte("/a HTTP/1.1\r\nX-Smuggled: 1")})
	case "bad-method":
		return with(&pluginv1.Effects{Method: []byte("GET / HTTP/1.1\r\n")})
	case "no-effects":
		return with(nil)
	case "many-headers":
		e := &pluginv1.Effects{}
		for i := range 10_000 {
			e.Headers = append(e.Headers, set(fmt.Sprintf("X-H-%d", i), "v")...)
		}
		return with(e)
	case "answer-crlf":
		return with(&pluginv1.Effects{Answer: &pluginv1.Response{Status: 200, Headers: []*pluginv1.Field{{Name: "X-Bad", Value: []byte("1\r\nX-Smuggled: 1")}}}})
	}
	var code int32
	switch {
	case strings.HasPrefix(name, "status="):
		_, _ = fmt.Sscanf(name, "status=%d", &code)
		return with(&pluginv1.Effects{Answer: &pluginv1.Response{Status: code, Body: []byte("over")}})
	case strings.HasPrefix(name, "error="):
		_, _ = fmt.Sscanf(name, "error=%d", &code)
		return []*pluginv1.Reply{{Id: c.Id, Error: &pluginv1.Error{Status: code, Message: "absurd"}}}
	}
	return []*pluginv1.Reply{{Id: c.Id, Failure: &pluginv1.Failure{Code: pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED}}}
}
