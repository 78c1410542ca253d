package sdk

import (
	"net/netip"
	"strings"
	"time"
)

// Batch is what an observer takes at a time.
type Batch struct {
	Records []Record
	Events  []Event
	Dropped uint64 // records and events that were dropped before this batch, since the previous one
}

// Record is one exchange that has ended, whatever answered it.
type Record struct {
	Time        time.Time // when the request arrived
	Duration    time.Duration
	Upstream    time.Duration // waiting for the upstream's header; 0 when it was not asked
	RequestID   string
	Trace       Trace
	Route       string // its ID
	RouteName   string
	Org         string
	Client      netip.AddrPort
	Method      string
	Scheme      string
	Host        string
	Path        string
	Query       string
	Proto       string
	UserAgent   string
	Status      int
	RequestSize int64  // body bytes received
	ReplySize   int64  // body bytes sent
	Target      string // the upstream target that answered; "" when none was asked
	AnsweredBy  string // "upstream", "gateway", or the name of the hook that answered
	Alias       string
	KeyHash     string
	Tags        []string
	Error       string // why the exchange failed, for logs; "" when it did not
	Hooks       []HookRecord
	Header      []Field // of the request as the client sent it: what the observer asked for (see [RecordNeeds])
	ReplyHeader []Field // of the reply as it was sent, likewise
	HeaderCut   bool    // some of them were too many or too long: fields are missing, or end in "…"
}

// RecordNeeds is what an observer wants in records besides what is always there: header fields, by their names, without
// regard to case. A name that ends in * stands for all that begin so. The zero value is none, which costs nothing.
type RecordNeeds struct {
	Header      []string // of requests
	ReplyHeader []string // of replies
}

// None reports whether nothing is wanted.
func (n *RecordNeeds) None() bool { return len(n.Header)+len(n.ReplyHeader) == 0 }

// NameIn reports whether the name of a header field is in a list of a RecordNeeds.
func NameIn(list []string, name string) bool {
	for _, n := range list {
		if begin, open := strings.CutSuffix(n, "*"); EqualFold(n, name) || open && len(name) >= len(begin) && EqualFold(name[:len(begin)], begin) {
			return true
		}
	}
	return false
}

// A RecordNeeder is an [Observer] that wants more in records. What it says may change between batches, when its server
// was replaced; what it returns is not changed any more.
type RecordNeeder interface {
	RecordNeeds() RecordNeeds
}

// Observing makes o an observer with needs. Its needs are all there are: those that o has are not asked for.
func Observing(needs RecordNeeds, o Observer) Observer { return &needing{o, needs} }

type needing struct {
	Observer
	needs RecordNeeds
}

// RecordNeeds implements [RecordNeeder].
func (n *needing) RecordNeeds() RecordNeeds { return n.needs }

// HookRecord is the outcome of one hook in an exchange.
type HookRecord struct {
	Name     string
	Server   string
	Phase    Phase
	Outcome  Outcome
	Changed  Change
	Duration time.Duration
	Error    string
}

// Outcome is how a call of a hook ended.
type Outcome uint8

// The outcomes of a call.
const (
	OutcomeOK          Outcome = iota // the exchange goes on
	OutcomeAnswered                   // the hook answered
	OutcomeRefused                    // the hook ended the exchange with an Error of its own
	OutcomeFailed                     // it failed for a cause with no outcome of its own
	OutcomeTimeout                    // its deadline or the exchange's budget passed
	OutcomeUnavailable                // its server was down or draining
	OutcomeOverloaded                 // no capacity
	OutcomeBreaker                    // its breaker was open
	OutcomeGarbage                    // it answered what no message can hold
	OutcomeCanceled                   // the client left
	OutcomeTooLarge                   // the body was over the buffer limit
	OutcomeSkipped                    // it failed and its policy skipped it
	outcomeEnd
)

var outcomeNames = [outcomeEnd]string{
	"ok", "answered", "refused", "failed", "timeout", "unavailable", "overloaded", "breaker", "garbage", "canceled",
	"too_large", "skipped",
}

// Outcomes is the number of outcomes: each is below it.
const Outcomes = int(outcomeEnd)

// String returns the outcome's name as metrics and logs spell it.
func (o Outcome) String() string {
	if o >= outcomeEnd {
		return "unknown"
	}
	return outcomeNames[o]
}

// MarshalText writes the outcome's name.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Event is something that happened to an API, a caller or the gateway itself.
type Event struct {
	Time      time.Time
	Type      string // such as AuthFailure, BreakerTripped, HostDown
	Route     string // its ID; "" for the gateway's own
	Org       string
	RequestID string // "" when no exchange caused it
	Message   string
	Meta      map[string]string // further facts, by the names Tyk's events use where there are such
}

// The types of events, spelled as Tyk's definitions spell them (sic).
const (
	EventAuthFailure       = "AuthFailure"
	EventKeyExpired        = "KeyExpired"
	EventQuotaExceeded     = "QuotaExceeded"
	EventRateLimitExceeded = "RatelimitExceeded"
	EventVersionFailure    = "VersionFailure"
	EventBreakerTripped    = "BreakerTripped"
	EventBreakerReset      = "BreakerReset"
	EventHostDown          = "HostDown"
	EventHostUp            = "HostUp"
	EventReload            = "Reload"
)
