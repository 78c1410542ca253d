// Package callers makes those who call a measured gateway with authentication: keys in its store, and a JSON Web Token.
package callers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redis"
)

// Org and API are what the keys belong to, and are good for.
const (
	Org = "bench"
	API = "bench"
)

// A key's token is TokenPrefix and a number from FirstKey on: as long as those of real keys, and made in no time by a
// load generator that asks with another one each time.
const (
	TokenPrefix = Org + "7c1e9b3d4860a1c25f2a03"
	FirstKey    = 1_000_000_000
)

// Token returns the token of the i-th key, from 0.
func Token(i int) string { return TokenPrefix + strconv.Itoa(FirstKey+i) }

// batch is how many keys are written at once. Large ones are written fastest.
const batch = 50_000

// Bolt makes an embedded store with that many keys in a folder. told hears how many there are, now and then.
func Bolt(ctx context.Context, folder string, keys int, told func(done int)) (err error) {
	s, err := bolt.Open(ctx, folder, bolt.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fill(ctx, s, keys, batch, told)
}

// Redis puts that many keys into a Redis, as a gateway finds them that has no settings but its address.
func Redis(ctx context.Context, address string, keys int) (err error) {
	s, err := redis.Open(ctx, redis.Options{Addrs: []string{address}, Prefix: redis.DefaultPrefix, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fill(ctx, s, keys, batch, func(int) {})
}

// fill writes keys in the order of their ids: a tree that grows at its end is written once.
func fill(ctx context.Context, s store.Writer, keys, batch int, told func(done int)) error {
	ids := make([]string, keys)
	for i := range ids {
		ids[i] = keyid.SHA256.ID(Token(i))
	}
	slices.Sort(ids)
	session, done := session(), 0
	for some := range slices.Chunk(ids, batch) {
		writes := make([]store.Write, 0, len(some))
		for _, id := range some {
			session.Alias = id[:12] + "@example.com"
			w, err := identity.WriteKey(id, session, time.Time{})
			if err != nil {
				return err
			}
			writes = append(writes, w...)
		}
		if err := s.Apply(ctx, writes...); err != nil {
			return fmt.Errorf("write %d keys: %w", len(some), err)
		}
		done += len(some)
		told(done)
	}
	return nil
}

// session is every key's but for its alias: limits that are counted and never reached, and the right to the one API.
func session() *identity.Session {
	return &identity.Session{
		OrgID: Org, Rate: 1e9, Per: 1, QuotaMax: 1 << 50, QuotaRenewalRate: 3600,
		AccessRights: map[string]identity.Access{API: {APIName: "Bench", APIID: API, Versions: []string{"Default"}}},
	}
}
