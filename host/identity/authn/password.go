package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
)

var (
	errPassword   = errors.New("wrong password")
	errNoPassword = errors.New("the key has no password: it is no user of basic authentication")
	errHashType   = errors.New("the hash_type of the user's password is none of bcrypt, sha256, murmur32, murmur64, murmur128 and none")
	errCost       = errors.New("the user's bcrypt hash is malformed, or of a cost over 16: store one of a lower cost")
)

// decoy is what an unknown user's password is compared with, behind a cost. Nobody has a password for it.
const decoy = "ZTHTzAfPV9fd3JtNjDVJ8OVIzUfCLuRD1t1sGO4m7fm0WxVfoyUSi"

// maxCost is what one comparison may cost: some seconds.
const maxCost = 16

// checker verifies the passwords of one API.
type checker struct {
	memory *Memory
	api    string
	cache  time.Duration // 0: hash every time
	// cost is the highest that a user's hash was seen to have: an unknown user costs as much.
	cost atomic.Int64
}

func newChecker(memory *Memory, api string, cache time.Duration) *checker {
	c := &checker{memory: memory, api: api, cache: cache}
	c.cost.Store(int64(bcrypt.DefaultCost))
	return c
}

// check returns nil when the password is the caller's, a reason why not, or the context's error. A nil caller has no
// password. Whoever is refused has cost one comparison with a bcrypt hash.
func (c *checker) check(ctx context.Context, caller *identity.Caller, password string) (refused, failed error) {
	if caller == nil {
		return identity.ErrUnknown, c.pretend(ctx, password)
	}
	stored := caller.Session.BasicAuth
	if stored.Password == "" {
		return errNoPassword, c.pretend(ctx, password)
	}
	if stored.Hash != "bcrypt" {
		if refused = compare(stored, password); refused != nil {
			failed = c.pretend(ctx, password)
		}
		return refused, failed
	}
	cost, err := bcrypt.Cost([]byte(stored.Password))
	if err != nil || cost > maxCost {
		return errCost, c.pretend(ctx, password)
	}
	return c.bcrypt(ctx, caller, password, int64(cost))
}

// bcrypt is check for a password that is stored as a hash of that cost.
func (c *checker) bcrypt(ctx context.Context, caller *identity.Caller, password string, cost int64) (refused, failed error) {
	stored := caller.Session.BasicAuth.Password
	var d [32]byte
	if c.cache > 0 {
		d = c.memory.digest(c.api, caller.ID, stored, password)
		if c.memory.right.has(d, time.Now()) {
			return nil, nil
		}
	}
	if cost > c.cost.Load() {
		c.cost.Store(cost)
	}
	if failed = c.enter(ctx); failed != nil {
		return nil, failed
	}
	defer c.leave()
	if c.cache > 0 && c.memory.right.has(d, time.Now()) { // somebody else hashed it meanwhile
		return nil, nil
	}
	if bcrypt.CompareHashAndPassword([]byte(stored), []byte(password)) != nil {
		return errPassword, nil
	}
	if c.cache > 0 {
		now := time.Now()
		c.memory.right.add(d, now, now.Add(c.cache))
	}
	return nil, nil
}

// pretend does what comparing a wrong password with a hash costs.
func (c *checker) pretend(ctx context.Context, password string) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	_ = bcrypt.CompareHashAndPassword(fmt.Appendf(nil, "$2a$%02d$%s", c.cost.Load(), decoy), []byte(password))
	return nil
}

func (c *checker) enter(ctx context.Context) error {
	select {
	case c.memory.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting to hash a password: %w", ctx.Err())
	}
}

func (c *checker) leave() { <-c.memory.hashing }

// compare compares with a password that is stored in clear or under a hash that is readable for the sake of existing
// users only.
func compare(stored identity.BasicAuth, password string) error {
	want, got := stored.Password, password
	switch f := keyid.Function(stored.Hash); f {
	case "", keyid.Plain:
	case keyid.SHA256, keyid.Murmur32, keyid.Murmur64, keyid.Murmur128:
		want, got = strings.ToLower(want), f.ID(password)
	default:
		return errHashType
	}
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got)) // of one length, whatever they had
	if subtle.ConstantTimeCompare(a[:], b[:]) == 0 {
		return errPassword
	}
	return nil
}
