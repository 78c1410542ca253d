package identity

import (
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	at := func(seconds int64) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	never := time.Time{}
	tests := []struct {
		name   string
		l      Lifetime
		s      Session
		forced time.Duration
		end    time.Time
		keeps  time.Duration
	}{
		{"nothing said", Lifetime{}, Session{}, 0, never, 0},
		{"expires is no lifetime", Lifetime{}, Session{Expires: at(10).Unix()}, 0, never, 0},
		{"the API's", Lifetime{API: time.Minute}, Session{}, 0, at(60), time.Minute},
		{"the session's before the API's", Lifetime{API: time.Minute}, Session{Lifetime: 10}, 0, at(10), 10 * time.Second},
		{"delete", Lifetime{API: time.Minute}, Session{Lifetime: 10, PostExpiryAction: "delete", Expires: at(500).Unix()}, 0, at(500), 0},
		{"delete with grace", Lifetime{}, Session{PostExpiryAction: "delete", PostExpiryGrace: 7, Expires: at(500).Unix()}, 0, at(507), 0},
		{"delete of what does not expire", Lifetime{API: time.Minute}, Session{PostExpiryAction: "delete"}, 0, at(60), time.Minute},
		{"delete of what has expired", Lifetime{}, Session{PostExpiryAction: "delete", Expires: at(-5).Unix()}, 0, at(-5), 0},
		{"retain", Lifetime{API: time.Minute}, Session{Lifetime: 10, PostExpiryAction: "retain", Expires: at(500).Unix()}, 0, never, 0},
		{"retain with grace", Lifetime{API: time.Minute}, Session{PostExpiryAction: "retain", PostExpiryGrace: 7, Expires: at(500).Unix()}, 0, at(507), 0},
		{"retain for a negative grace", Lifetime{}, Session{PostExpiryAction: "retain", PostExpiryGrace: -1, Expires: at(500).Unix()}, 0, never, 0},
		{"another action says nothing", Lifetime{API: time.Minute}, Session{PostExpiryAction: "?", Expires: at(500).Unix()}, 0, at(60), time.Minute},
		{"forced", Lifetime{API: time.Minute}, Session{Lifetime: 10, PostExpiryAction: "retain", Expires: at(500).Unix()}, time.Hour, at(3600), time.Hour},
		{"until expiry at least", Lifetime{API: time.Minute, RespectExpiry: true}, Session{Expires: at(500).Unix()}, 0, at(500), 0},
		{"longer than until expiry", Lifetime{API: time.Minute, RespectExpiry: true}, Session{Expires: at(5).Unix()}, 0, at(60), time.Minute},
		{"at least until never", Lifetime{API: time.Minute, RespectExpiry: true}, Session{}, 0, never, 0},
		{"the session's own, until expiry at least", Lifetime{RespectExpiry: true}, Session{Lifetime: 10, Expires: at(500).Unix()}, 0, at(500), 0},
		{"beyond what can be told", Lifetime{}, Session{PostExpiryAction: "delete", Expires: 1 << 62, PostExpiryGrace: 1 << 62}, 0, time.Unix(lastSecond, 0).Add(maxSeconds * time.Second), 0},
		{"negative", Lifetime{}, Session{Lifetime: -5, Expires: -5}, 0, never, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			end, keeps := test.l.end(&test.s, test.forced, now)
			if !end.Equal(test.end) || keeps != test.keeps {
				t.Errorf("got %v, %v, want %v, %v", end, keeps, test.end, test.keeps)
			}
		})
	}
}
