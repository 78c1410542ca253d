// Package limit says whether a request is within the rates and quotas that hold for it. A host asks one question per
// request, an Ask, about all of them at once: those of the key, of the key on this API, of the API, of the gateway. The
// answer, a Verdict, is all or nothing: a request that one bucket refuses takes nothing from the others.
//
// Three limiters answer, and pass the suite in package limittest:
//
//   - package local counts in the memory of one gateway, and keeps quotas in its store;
//   - package exact counts in a Redis that several gateways share, one round trip per request;
//   - package distributed counts in memory too, and gateways tell each other over Redis what they let pass.
//
// # Rates
//
// A rate is a GCRA bucket: it holds at most Rate.Requests requests, at least one, and gains Requests every Per, evenly.
// Over any time t it lets at most burst + rate × t requests pass, and never refuses a caller that stays below its rate.
// Time is the monotonic clock of the gateway (or Redis's own clock), so that setting the clock changes nothing; a
// clock that does go back can only delay a caller, by the time to regain one burst at most.
//
// # Quotas
//
// A quota counts the requests that passed since the first of a window, and refuses those over Max until Renewal has
// passed since that first one. What is kept is how many were used and when the window began: a change of Max or
// Renewal holds from the next request on and leaves what was used as it is.
package limit
