package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// proxy is a front on net/http, as much of one as a test needs.
func proxy(t *testing.T, u *upstream.Upstream) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		f := &flow.Flow{}
		f.X.Request().Fill(sdk.RequestInit{Method: r.Method, Length: r.ContentLength})
		for name, values := range r.Header {
			for _, v := range values {
				f.X.Request().Header().Append(name, v)
			}
		}
		f.Out = flow.Outbound{Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host}
		if r.Body != http.NoBody {
			f.Body = &frontBody{r, rc}
		}
		if err := u.RoundTrip(r.Context(), f); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("round trip: %v", err)
			}
			w.WriteHeader(502)
			return
		}
		defer f.Reply.Body.Close()
		for name, value := range f.X.Response().Header().All() {
			w.Header().Add(name, value)
		}
		w.WriteHeader(f.X.Response().Status())
		if f.X.Response().Length() != 0 { // else header and end leave together, as gRPC's replies of trailers alone have to
			rc.Flush()
		}
		b := make([]byte, 4096)
		for {
			n, err := f.Reply.Body.Read(b)
			if n > 0 {
				w.Write(b[:n])
				rc.Flush()
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		if trailer := f.Reply.Body.Trailer(); trailer != nil {
			for name, value := range trailer.All() {
				w.Header().Add(http.TrailerPrefix+name, value)
			}
		}
	}
}

type frontBody struct {
	r  *http.Request
	rc *http.ResponseController
}

func (b *frontBody) Read(p []byte) (int, error) { return b.r.Body.Read(p) }
func (b *frontBody) Trailer() *sdk.Header       { return nil }
func (b *frontBody) Close() error               { return b.rc.SetReadDeadline(time.Unix(1, 0)) }

// The service under test: unary, and a stream that answers each message and ends with a status and trailers.
func echoService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.StringValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "unary"))
			if in.Value == "fail" {
				return nil, status.Error(codes.FailedPrecondition, "as asked: ünïcode")
			}
			return in, nil
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			s.SetTrailer(metadata.Pairs("x-trailer", "stream"))
			for {
				in := &wrapperspb.StringValue{}
				if err := s.RecvMsg(in); err == io.EOF {
					return status.Error(codes.DataLoss, "end of stream")
				} else if err != nil {
					return err
				}
				if err := s.SendMsg(in); err != nil {
					return err
				}
			}
		}}},
	}
}

func TestGRPC(t *testing.T) {
	certificate := httptest.NewTLSServer(nil) // for its certificate
	defer certificate.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Certificate())
	for _, secure := range []bool{false, true} {
		name := "h2c"
		if secure {
			name = "tls"
		}
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			o := upstream.Options{Targets: targets("http://" + l.Addr().String()), Protocol: upstream.H2C}
			var options []grpc.ServerOption
			if secure {
				options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&certificate.TLS.Certificates[0])))
				o = upstream.Options{Targets: targets("https://" + l.Addr().String()), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
			}
			server := grpc.NewServer(options...)
			server.RegisterService(echoService(), nil)
			served := make(chan error, 1)
			go func() { served <- server.Serve(l) }()
			t.Cleanup(func() {
				server.Stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			})
			front := httptest.NewUnstartedServer(proxy(t, open(t, o)))
			front.Config.Protocols = &http.Protocols{}
			front.Config.Protocols.SetUnencryptedHTTP2(true)
			front.Start()
			t.Cleanup(front.Close)
			client, err := grpc.NewClient(strings.TrimPrefix(front.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			callAll(t, client)
		})
	}
}

func callAll(t *testing.T, client *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	big := strings.Repeat("x", 1<<20)
	for _, text := range []string{"hello", big} {
		var trailer metadata.MD
		out := &wrapperspb.StringValue{}
		if err := client.Invoke(ctx, "/test.Echo/Unary", wrapperspb.String(text), out, grpc.Trailer(&trailer)); err != nil {
			t.Fatal(err)
		}
		if out.Value != text || trailer.Get("x-trailer")[0] != "unary" {
			t.Errorf("got %d bytes, trailer %v", len(out.Value), trailer)
		}
	}
	err := client.Invoke(ctx, "/test.Echo/Unary", wrapperspb.String("fail"), &wrapperspb.StringValue{})
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "as asked: ünïcode" {
		t.Errorf("got %v", err)
	}
	err = client.Invoke(ctx, "/test.Echo/Nothing", wrapperspb.String(""), &wrapperspb.StringValue{}) // a reply of trailers alone
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	s, err := client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Stream")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		want := strings.Repeat("y", i*1000)
		if err := s.SendMsg(wrapperspb.String(want)); err != nil {
			t.Fatal(err)
		}
		out := &wrapperspb.StringValue{}
		if err := s.RecvMsg(out); err != nil || out.Value != want {
			t.Fatalf("message %d: got %d bytes, %v", i, len(out.Value), err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	err = s.RecvMsg(&wrapperspb.StringValue{})
	if got := status.Convert(err); got.Code() != codes.DataLoss || got.Message() != "end of stream" || s.Trailer().Get("x-trailer")[0] != "stream" {
		t.Errorf("got %v, trailer %v", err, s.Trailer())
	}
	// A client that cancels in the middle of a stream.
	ctx, cancelStream := context.WithCancel(ctx)
	s, err = client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Stream")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(wrapperspb.String("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&wrapperspb.StringValue{}); err != nil {
		t.Fatal(err)
	}
	cancelStream()
	if err := s.RecvMsg(&wrapperspb.StringValue{}); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
}
