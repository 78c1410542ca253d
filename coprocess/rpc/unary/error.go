package unary

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Error is a call without a reply.
type Error struct {
	Code    codes.Code // the peer's, or what the failure amounts to
	Message string
	NotSent bool // the peer certainly did not run the call: it may go elsewhere
	Gone    bool // the connection is gone or takes no more calls
	Garbage bool // the peer broke the protocol or a limit of ours
}

// Error implements error.
func (e *Error) Error() string {
	if e.Message == "" {
		return "code " + e.Code.String()
	}
	return fmt.Sprintf("code %s: %s", e.Code, e.Message)
}

// notSentError is the end of a call's context before the call was sent.
type notSentError struct{ error }

func notSent(err error) error { return notSentError{err} }

func (e notSentError) Error() string { return "not sent: " + e.error.Error() }

func (e notSentError) Unwrap() error { return e.error }

// NotSent reports whether the failed call certainly was not run.
func NotSent(err error) bool {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.NotSent
	}
	return errors.As(err, new(notSentError))
}

func garbage(format string, args ...any) *Error {
	return &Error{Code: codes.Internal, Message: fmt.Sprintf(format, args...), Garbage: true}
}

// connError ends the connection, with a code for the peer (RFC 9113 §5.4.1).
type connError struct {
	code http2.ErrCode
	why  string
}

func (e *connError) Error() string { return fmt.Sprintf("peer broke HTTP/2: %s (%v)", e.why, e.code) }

func protocolError(why string) error { return &connError{http2.ErrCodeProtocol, why} }

// resetError is what the peer's RST_STREAM means for the call.
func resetError(code http2.ErrCode) *Error {
	e := &Error{Code: codes.Internal, Message: fmt.Sprintf("peer reset the stream (%v)", code)}
	switch code {
	case http2.ErrCodeRefusedStream: // RFC 9113 §8.7: certainly not processed
		e.Code, e.NotSent = codes.Unavailable, true
	case http2.ErrCodeCancel:
		e.Code = codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		e.Code = codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		e.Code = codes.PermissionDenied
	}
	return e
}

// codeOfHTTP is the code of a reply that has none, from something that is not a gRPC server.
func codeOfHTTP(status string) codes.Code {
	switch status {
	case "400":
		return codes.Internal
	case "401":
		return codes.Unauthenticated
	case "403":
		return codes.PermissionDenied
	case "404":
		return codes.Unimplemented
	case "429", "502", "503", "504":
		return codes.Unavailable
	}
	return codes.Unknown
}

// httpMessage names a status that is not 200.
func httpMessage(status string) string {
	var n int
	if _, err := fmt.Sscan(status, &n); err == nil && http.StatusText(n) != "" {
		return "HTTP status " + status + " " + http.StatusText(n)
	}
	return fmt.Sprintf("HTTP status %q", status)
}

// maxMessage is how much of a message is kept: it is for logs.
const maxMessage = 4 << 10

// percentDecoded decodes grpc-message: bytes other than printable ASCII travel as %XX, and what is no such thing stands
// for itself. What it returns is UTF-8, cut to maxMessage bytes, and keeps no more than that in memory.
func percentDecoded(s string) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < maxMessage; i++ {
		if s[i] == '%' && i+2 < len(s) {
			high, ok1 := sdk.HexDigit(s[i+1])
			low, ok2 := sdk.HexDigit(s[i+2])
			if ok1 && ok2 {
				b.WriteByte(high<<4 | low)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}
