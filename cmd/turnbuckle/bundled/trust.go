package bundled

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

// Trust says whom to believe, by files. Either PublicKeys or KeyRing; either Policy or AllowUnsigned and
// TrustTykWiring. The zero value trusts nobody.
type Trust struct {
	// PublicKeys are PEM files of keys that may sign every name.
	PublicKeys []string
	// AllowUnsigned are names, exactly as definitions have them, that nobody need have signed; TrustTykWiring takes the
	// manifest of bundles that Tyk signed, which that signature does not cover.
	AllowUnsigned  []string
	TrustTykWiring bool
	// Policy is a file in JSON (trust.Policy).
	Policy string
	// KeyRing is a signed key ring, or a folder with its versions 1.dsse.json, 2.dsse.json and so on; KeyRingSHA256 the
	// digest of the first one that is trusted.
	KeyRing       string
	KeyRingSHA256 string
	// Index is a signed index: a file, or a URL.
	Index string
}

// Trusted is what Trust's files say.
type Trusted struct {
	Policy *trust.Policy
	Ring   *trust.KeyRing
	Index  *trust.Index // nil without one

	ringDigest  string // "" for plain keys
	indexSHA256 string // of the index's file, "" without one
	// stale is why the index comes from the cache.
	stale error
}

// Read reads the files. The index must be signed by the ring's role for it; whether ring and index are older than what
// was seen is for Record.
func (t Trust) Read(ctx context.Context, now time.Time, cache *source.Cache) (*Trusted, error) {
	var out Trusted
	var err error
	if out.Policy, err = t.policy(); err != nil {
		return nil, err
	}
	switch {
	case t.KeyRing != "" && len(t.PublicKeys) > 0:
		return nil, refusal.New(refusal.KeyRingMalformed, "public keys are given besides a key ring; only the ring counts then, put them in it")
	case t.KeyRing != "":
		out.Ring, out.ringDigest, err = readRing(t.KeyRing, t.KeyRingSHA256)
	default:
		out.Ring, err = t.plainKeys()
	}
	if err != nil {
		return nil, err
	}
	if t.Index != "" {
		err = out.readIndex(ctx, t.Index, now, cache)
	}
	return &out, err
}

// Record accepts ring and index in the state: older ones are refused from then on.
func (t *Trusted) Record(state *trust.StateFile, now time.Time) error {
	if t.ringDigest != "" {
		if err := state.AcceptKeyRing(t.Ring, t.ringDigest, now); err != nil {
			return err
		}
	}
	if t.Index != nil {
		return state.AcceptIndex(t.Index, now)
	}
	return nil
}

func (t Trust) policy() (*trust.Policy, error) {
	if t.Policy == "" {
		return trust.Simple(t.AllowUnsigned, t.TrustTykWiring)
	}
	if len(t.AllowUnsigned) > 0 || t.TrustTykWiring {
		return nil, refusal.New(refusal.PolicyMalformed, "what may be unsigned, or is trusted of Tyk, is given besides a policy; say it in %s", t.Policy)
	}
	data, err := source.ReadDocument(t.Policy, trust.MaxDocument)
	if err != nil {
		return nil, fmt.Errorf("the trust policy: %w", err)
	}
	return trust.ParsePolicy(data)
}

func (t Trust) plainKeys() (*trust.KeyRing, error) {
	var keys []sign.PublicKey
	for _, file := range t.PublicKeys {
		key, err := sign.ReadPublicKey(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return trust.PlainKeys(keys)
}

// ReadEnvelope reads a file with an envelope of a type.
func ReadEnvelope(file, payloadType string) (sign.Envelope, error) {
	data, err := source.ReadDocument(file, trust.MaxDocument)
	if err != nil {
		return sign.Envelope{}, err
	}
	e, err := sign.DecodeEnvelope(data, payloadType, trust.MaxDocument)
	if err != nil {
		return e, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

// maxVersions bounds how many versions of a key ring follow the pinned one.
const maxVersions = 10_000

// RingFile is the name of a version in a folder of key rings.
func RingFile(version uint64) string { return strconv.FormatUint(version, 10) + ".dsse.json" }

// ringVersion is the version that a file's name stands for.
func ringVersion(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".dsse.json")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && RingFile(n) == name
}

// ReadRing reads the newest ring at a path as Trust.KeyRing has it, and returns it with its digest. An empty pin takes the
// oldest ring that is there, for whoever makes rings and has nobody to believe but himself.
func ReadRing(at, pin string) (*trust.KeyRing, string, error) {
	if pin != "" {
		return readRing(at, pin)
	}
	files, err := RingVersions(at)
	if err != nil {
		return nil, "", err
	}
	if len(files) == 0 {
		return nil, "", refusal.New(refusal.SourceMissing, "there is no key ring in %s", at)
	}
	first, err := ReadEnvelope(filepath.Join(at, RingFile(files[0])), trust.KeyRingType)
	if err != nil {
		return nil, "", err
	}
	return readRing(at, first.Digest())
}

// RingVersions lists the versions in a folder of key rings, in their order.
func RingVersions(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, refusal.New(refusal.SourceMissing, "the key ring: %w", err)
	}
	var all []uint64
	for _, entry := range entries {
		if n, ok := ringVersion(entry.Name()); ok {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// readRing goes from the ring that is pinned to the newest one, each signed by the roots of both.
func readRing(at, pin string) (*trust.KeyRing, string, error) {
	if pin == "" {
		return nil, "", refusal.New(refusal.KeyRingPin, "no digest is given for the key ring %s", at)
	}
	info, err := os.Stat(at)
	if err != nil {
		return nil, "", refusal.New(refusal.SourceMissing, "the key ring: %w", err)
	}
	if !info.IsDir() {
		e, err := ReadEnvelope(at, trust.KeyRingType)
		if err != nil {
			return nil, "", err
		}
		ring, err := trust.Pinned(e, pin)
		return ring, e.Digest(), err
	}
	e, err := pinned(at, pin)
	if err != nil {
		return nil, "", err
	}
	ring, err := trust.Pinned(e, pin)
	for n := 0; err == nil && n < maxVersions; n++ {
		next, missing := ReadEnvelope(filepath.Join(at, RingFile(ring.Version+1)), trust.KeyRingType)
		if refusal.CodeOf(missing) == refusal.SourceMissing {
			return ring, e.Digest(), nil
		}
		if missing != nil {
			return nil, "", missing
		}
		e = next
		ring, err = ring.Next(e)
	}
	return ring, e.Digest(), err
}

// pinned finds the version with the pinned digest in a folder.
func pinned(dir, pin string) (sign.Envelope, error) {
	versions, err := RingVersions(dir)
	if err != nil {
		return sign.Envelope{}, err
	}
	for _, n := range versions {
		if e, err := ReadEnvelope(filepath.Join(dir, RingFile(n)), trust.KeyRingType); err == nil && e.Digest() == pin {
			return e, nil
		}
	}
	return sign.Envelope{}, refusal.New(refusal.KeyRingPin, "no key ring in %s has the digest %.16s…", dir, pin)
}

// readIndex reads and verifies the index.
func (t *Trusted) readIndex(ctx context.Context, at string, now time.Time, cache *source.Cache) error {
	var got source.Fetched
	u, err := url.Parse(at)
	if err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		got, err = fetchIndex(ctx, *u, cache)
	} else {
		got.Archive, err = source.ReadDocument(at, trust.MaxDocument)
	}
	if err != nil {
		return fmt.Errorf("the index: %w", err)
	}
	e, err := sign.DecodeEnvelope(got.Archive, trust.IndexType, trust.MaxDocument)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	t.stale, t.indexSHA256 = got.Stale, digest(got.Archive)
	t.Index, err = t.Ring.OpenIndex(e, now)
	if err == nil {
		return got.Keep()
	}
	if refusal.CodeOf(err) == refusal.IndexExpired {
		err = nil // names that need no index load all the same; the others are refused when they are asked for
	}
	return err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// fetchIndex asks a server. That the way there is open to others does not matter: it is signed, and does not go back.
func fetchIndex(ctx context.Context, u url.URL, cache *source.Cache) (source.Fetched, error) {
	name := path.Base(u.Path)
	u.Path, u.RawPath = path.Dir(u.Path), ""
	server, err := source.NewHTTP(u.String(), source.HTTPOptions{AllowPlainHTTP: true, Limits: source.DefaultLimits(), Cache: cache})
	if err != nil {
		return source.Fetched{}, err
	}
	got, err := server.Document(ctx, name, trust.MaxDocument)
	return got, errors.Join(err, server.Close())
}

func asRefusal(err error) (*refusal.Error, bool) { return errors.AsType[*refusal.Error](err) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
