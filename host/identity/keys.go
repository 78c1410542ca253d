package identity

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	keyPrefix         = "key/"
	certificatePrefix = "keycert/"

	maxToken   = 16 << 10 // bytes; longer ones are not known
	cacheToken = 4 << 10  // longer ones are looked up every time

	defaultMinToken = 3
	defaultCached   = 1 << 16
	defaultRoom     = 512 << 20
	defaultFlush    = 500 * time.Millisecond

	stripes = 64
)

// Options of the keys. The zero value is useful.
type Options struct {
	// Hash makes the ids of new keys; SHA256 by default. Keys with ids by the Fallback functions are found too. Plain
	// cannot be among those: an id, which is no secret, would do as a token.
	Hash     keyid.Function
	Fallback []keyid.Function
	// Encoded makes new tokens in the base64 form, which names the hash function.
	Encoded bool
	// MinToken is how many bytes a token has at least, 3 by default.
	MinToken int
	// Cached bounds how many sessions are held decoded, 65,536 by default, and CachedBytes the memory of it as it can be
	// estimated, 512 MiB by default. A session takes about 1.5 KiB, and 1 KiB more for each
	// API whose rights it shares with no other.
	Cached      int
	CachedBytes int64
	// FlushEvery is how long sessions that authenticators made wait to be written; 500 ms by default. A process that is
	// killed loses them.
	FlushEvery time.Duration
	// ForceLifetime keeps every session for so long, whatever it says; 0 is off.
	ForceLifetime time.Duration
	// Master lets policies that grant no API, though it is theirs to say which, admit to every API. Without, whose policies
	// grant nothing is ErrPolicy.
	Master bool
	// Stale lets in who was known before the store went away, until it is back. Without, everybody is
	// store.ErrUnavailable who is not known to be as before.
	Stale bool
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Failed is told why sessions could not be written, at most once a flush. They are tried again.
	Failed func(error)
}

func (o Options) complete() (Options, error) {
	o.Hash = cmp.Or(o.Hash, keyid.SHA256)
	for _, f := range append([]keyid.Function{o.Hash}, o.Fallback...) {
		if !f.Known() {
			return o, fmt.Errorf("hash function %q: %w", f, keyid.ErrFunction)
		}
	}
	if o.Hash != keyid.Plain && slices.Contains(o.Fallback, keyid.Plain) {
		return o, fmt.Errorf("%w fallback: with hashed ids, plain would let ids be used as tokens", ErrInvalid)
	}
	o.Fallback = slices.DeleteFunc(slices.Clone(o.Fallback), func(f keyid.Function) bool { return f == o.Hash })
	if o.MinToken <= 0 {
		o.MinToken = defaultMinToken
	}
	if o.Cached <= 0 {
		o.Cached = defaultCached
	}
	if o.CachedBytes <= 0 {
		o.CachedBytes = defaultRoom
	}
	if o.FlushEvery <= 0 {
		o.FlushEvery = defaultFlush
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	return o, nil
}

// Keys is the service over the store and the policies. It is safe for concurrent use.
type Keys struct {
	storage  Storage
	policies *Policies
	options  Options
	cache    *cache
	shared   *sharing
	behind   *behind
	stop     func()
	doubts   atomic.Uint64 // goes up when changes may have been missed, see Options.Stale
	seed     maphash.Seed
	// stripes serialise, by id, those who make a session of what is stored.
	stripes [stripes]sync.Mutex
}

// Open begins to serve. Of the context only the values are kept; Close ends it, before the policies and the store are
// closed.
func Open(ctx context.Context, storage Storage, policies *Policies, options Options) (*Keys, error) {
	options, err := options.complete()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	k := &Keys{
		storage: storage, policies: policies, options: options, seed: maphash.MakeSeed(),
		cache: newCache(options.Cached, options.CachedBytes), shared: newSharing(),
	}
	k.behind = newBehind(ctx, storage, k.sum, options, k.cache.forget)
	k.stop = storage.Watch(k.told)
	return k, nil
}

// Close writes what waits to be written, until the context ends, and stops. Its error says how many sessions are lost.
func (k *Keys) Close(ctx context.Context) error {
	err := k.behind.close(ctx)
	k.stop()
	return err
}

// told forgets what a change concerns.
func (k *Keys) told(c store.Change) {
	switch {
	case c.All && k.options.Stale: // it is read again before it is gone by, as long as the store can be read
		k.doubts.Add(1)
		k.cache.doubt()
		return
	case c.All:
		k.cache.forgetAll()
		return
	}
	for _, key := range c.Keys {
		if id, ok := strings.CutPrefix(key, keyPrefix); ok {
			k.cache.forget(id)
		} else if org, fingerprint, ok := parseCertificateKey(key); ok {
			k.cache.forgetName(byCertificate, org, fingerprint)
		}
	}
}

// sum tells two encoded sessions apart.
func (k *Keys) sum(data []byte) uint64 { return cmp.Or(maphash.Bytes(k.seed, data), 1) }

// lock is held by who changes the session of an id by what it is.
func (k *Keys) lock(id string) (unlock func()) {
	mu := &k.stripes[maphash.String(k.seed, id)%stripes]
	mu.Lock()
	return mu.Unlock
}

// Token makes the token of a key with a name of its own, like the user of basic auth or the identity of a JWT
// (reference §9.2).
func (k *Keys) Token(org, name string) string {
	if k.options.Encoded {
		return keyid.Encode(org, name, k.options.Hash)
	}
	return keyid.Join(org, name)
}

// ID is what a new session of that token is stored under.
func (k *Keys) ID(token string) string {
	if parts, ok := keyid.Decode(token); ok && parts.Function.Known() && parts.Function != keyid.Plain && k.options.Hash != keyid.Plain {
		return parts.Function.ID(token)
	}
	return k.options.Hash.ID(token)
}

// own are the ids the token itself can have, the likeliest first.
func (k *Keys) own(token string) []string {
	first := k.ID(token)
	if len(k.options.Fallback) == 0 && !encoded(token) { // as most are
		return addID(nil, first)
	}
	ids := addID(make([]string, 0, 8), first)
	for _, f := range k.functions() {
		ids = addID(ids, f.ID(token))
	}
	return ids
}

// candidates are the token's own ids, and those of the key of that organisation that has the token as its name.
func (k *Keys) candidates(org, token string) []string {
	ids := k.own(token)
	if whole(org, token) {
		return ids
	}
	for _, f := range k.functions() {
		ids = addID(ids, f.ID(keyid.Join(org, token)))
	}
	for _, f := range k.functions() {
		ids = addID(ids, f.ID(keyid.Encode(org, token, f)))
	}
	return ids
}

// whole reports whether a token has its organisation in it, and is no mere name.
func whole(org, token string) bool {
	return org != "" && strings.HasPrefix(token, org) || encoded(token)
}

// encoded reports whether a token says which function its id is made with.
func encoded(token string) bool {
	_, is := keyid.Decode(token)
	return is
}

func (k *Keys) functions() []keyid.Function {
	return append([]keyid.Function{k.options.Hash}, k.options.Fallback...)
}

func addID(ids []string, id string) []string {
	if id == "" || len(keyPrefix)+len(id) > store.MaxKey || slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}

func certificateKey(org, fingerprint string) string {
	return certificatePrefix + org + "/" + fingerprint
}

func parseCertificateKey(key string) (org, fingerprint string, ok bool) {
	rest, ok := strings.CutPrefix(key, certificatePrefix)
	i := strings.LastIndexByte(rest, '/')
	if !ok || i < 0 {
		return "", "", false
	}
	return rest[:i], rest[i+1:], true
}
