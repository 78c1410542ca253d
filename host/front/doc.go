// Package front is the client's side of the gateway: a listener and net/http's server behind it, turned into
// [flow.Flow]s for a [flow.Handler]. HTTP/1.1 and HTTP/2, over TLS and in the clear, come out alike.
//
// What it takes care of, so that nothing behind it has to:
//
//   - The request target travels byte for byte; one that could not stand in a request line again is refused, whatever
//     protocol it came by (an HTTP/2 :path may hold a blank, which would split an HTTP/1 request upstream).
//   - HTTP/1 requests whose length can be read in two ways (RFC 9112 §6.3) are answered 400 and the connection closed:
//     see guard. net/http accepts some of them and hides the evidence from handlers.
//   - The client's address: PROXY protocol and X-Forwarded-For are believed from trusted peers only.
//   - Time: the header, the wait for the next request, a body that stops arriving, a client that stops reading.
//
// Two things to know. net/http keeps a header as a map: the values of one name keep their order, names come in none.
// And with "Expect: 100-continue" net/http sends 100 Continue when the flow's body is first read (RFC 9110 §10.1.1):
// a host that wants the upstream to decide leaves the body alone until it has, see [flow.Flow.Expect].
package front
