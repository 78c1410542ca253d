package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/orgs"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redis"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// failing is a store whose batches fail when it is told so.
type failing struct {
	store.Store
	fail bool
}

func (f *failing) Apply(ctx context.Context, writes ...store.Write) error {
	if f.fail {
		return fmt.Errorf("on purpose: %w", store.ErrUnavailable)
	}
	return f.Store.Apply(ctx, writes...)
}

type fixture struct {
	*Gateway
	storage *failing
	apis    string
}

func newFixture(t *testing.T, o identity.Options) *fixture {
	t.Helper()
	opened, err := bolt.Open(t.Context(), filepath.Join(t.TempDir(), "data"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return fixtureOn(t, o, opened)
}

// onRedis is a fixture in a Redis, under a prefix of its own.
func onRedis(t *testing.T, server *redistest.Server, prefix string) *fixture {
	t.Helper()
	opened, err := redis.Open(t.Context(), redis.Options{Addrs: []string{server.Addr}, Prefix: prefix, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return fixtureOn(t, identity.Options{}, opened)
}

func fixtureOn(t *testing.T, o identity.Options, opened interface {
	store.Store
	io.Closer
}) *fixture {
	t.Helper()
	f := &fixture{storage: &failing{Store: opened}, apis: filepath.Join(t.TempDir(), "apis")}
	policies := identity.OpenPolicies(f.storage)
	keys, err := identity.Open(t.Context(), f.storage, policies, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		policies.Close()
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	check := func(_ context.Context, d *config.Definition) config.Problems {
		if d.ID == "refused" {
			return config.Problems{{Severity: config.SeverityError, Message: "refused on purpose"}}
		}
		return nil
	}
	f.Gateway = &Gateway{
		Store: f.storage, Orgs: orgs.New(f.storage), Policies: policies, Keys: keys, Now: time.Now,
		Folder: folder.New(folder.Options{Dir: f.apis, Loader: config.Loader{}, Check: check}),
	}
	return f
}

const shop = "id: shop # by hand\nlisten: {path: /shop}\nupstream: {url: \"http://127.0.0.1:1\"}\n"

// fill puts some of everything into a gateway, and returns the token of a key.
func (f *fixture) fill(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	if err := os.MkdirAll(f.apis, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.apis, "shop.yaml"), []byte(shop), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Orgs.Put(ctx, "acme", &identity.Session{QuotaMax: 7}); err != nil {
		t.Fatal(err)
	}
	rights := map[string]identity.Access{"shop": {APIID: "shop"}}
	if _, _, err := f.Policies.Put(ctx, &identity.Policy{ID: "gold", OrgID: "acme", Rate: 5, Per: 1, AccessRights: rights}); err != nil {
		t.Fatal(err)
	}
	f.Policies.SetFiles([]*identity.Policy{{ID: "filed", OrgID: "acme", Name: "<of a file>", AccessRights: rights}})
	s := &identity.Session{Alias: "ada & <co>", ApplyPolicies: []string{"gold"}, Certificate: "00ff", BasicAuth: identity.BasicAuth{Password: "hash", Hash: "bcrypt"}, Lifetime: 3600}
	made, err := f.Keys.Create(ctx, "acme", "", s, identity.Lifetime{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := f.Keys.Create(ctx, "acme", "", &identity.Session{AccessRights: rights}, identity.Lifetime{}); err != nil {
			t.Fatal(err)
		}
	}
	return made.Token
}

func (f *fixture) export(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := f.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// body is an archive without its header, which has a time.
func body(archive string) string {
	_, rest, _ := strings.Cut(archive, "\n")
	return rest
}

func TestRestoresTheSame(t *testing.T) {
	from, to := newFixture(t, identity.Options{}), newFixture(t, identity.Options{})
	token := from.fill(t)
	archive := from.export(t)
	want := Restored{Counts: Counts{Orgs: 1, APIs: 1, Policies: 2, Keys: 4}}
	for range 2 { // a second time changes nothing
		got, err := to.Import(t.Context(), strings.NewReader(archive))
		if err != nil || got != want {
			t.Fatalf("got %+v %v, want %+v", got, err, want)
		}
		if diff := cmp.Diff(body(archive), body(to.export(t))); diff != "" {
			t.Fatalf("what was restored is not what was exported:\n%s", diff)
		}
	}
	caller, err := to.Keys.Lookup(t.Context(), "acme", token)
	if err != nil || caller.Session.Rate != 5 || caller.Session.Alias != "ada & <co>" {
		t.Errorf("got %+v %v", caller, err)
	}
	if caller, err := to.Keys.ByCertificate(t.Context(), "acme", "00ff"); err != nil || caller.ID != to.Keys.ID(token) {
		t.Errorf("the certificate finds %+v %v", caller, err)
	}
	if text, err := os.ReadFile(filepath.Join(to.apis, "shop.yaml")); err != nil || string(text) != shop {
		t.Errorf("got %q %v", text, err)
	}
	// What is newer here gives way; what is of another id stays; policies of files hold.
	if _, err := to.Keys.Put(t.Context(), identity.Ref{Org: "acme", Key: token}, &identity.Session{Alias: "eve"}, identity.Lifetime{}); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Keys.Create(t.Context(), "acme", "mine", &identity.Session{}, identity.Lifetime{}); err != nil {
		t.Fatal(err)
	}
	to.Policies.SetFiles([]*identity.Policy{{ID: "filed", OrgID: "acme", Name: "of here"}})
	got, err := to.Import(t.Context(), strings.NewReader(archive), KindPolicy, KindKey)
	if want := (Restored{Counts: Counts{Policies: 1, Keys: 4}, Kept: 1}); err != nil || got != want {
		t.Errorf("got %+v %v, want %+v", got, err, want)
	}
	for token, alias := range map[string]string{token: "ada & <co>", "acmemine": ""} {
		if caller, err := to.Keys.Lookup(t.Context(), "acme", token); err != nil || caller.Session.Alias != alias {
			t.Errorf("%s: got %+v %v", token, caller, err)
		}
	}
	if p, err := to.Policies.Get(t.Context(), "acme", "filed"); err != nil || p.Name != "of here" {
		t.Errorf("got %+v %v", p, err)
	}
}

// More keys than a page has, and than a batch of the store.
func TestManyKeys(t *testing.T) {
	from, to := newFixture(t, identity.Options{}), newFixture(t, identity.Options{})
	var writes []store.Write
	for i := range 3000 {
		w, err := identity.WriteKey(fmt.Sprintf("%064x", i), &identity.Session{OrgID: "acme", Alias: fmt.Sprint(i)}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, w...)
	}
	if err := from.Store.Apply(t.Context(), writes...); err != nil {
		t.Fatal(err)
	}
	archive := from.export(t)
	if got, err := to.Import(t.Context(), strings.NewReader(archive)); err != nil || got.Keys != 3000 {
		t.Fatalf("got %+v %v", got, err)
	}
	if body(archive) != body(to.export(t)) {
		t.Error("what was restored is not what was exported")
	}
}

// What is exported from a Redis is restored in a Redis, and in the embedded store, and the other way round.
func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	one, two, embedded := onRedis(t, server, "one:"), onRedis(t, server, "two:"), newFixture(t, identity.Options{})
	token := one.fill(t)
	for range 700 { // more than a page
		if _, err := one.Keys.Create(t.Context(), "acme", "", &identity.Session{Alias: "many", Lifetime: 3600}, identity.Lifetime{}); err != nil {
			t.Fatal(err)
		}
	}
	archive := one.export(t)
	want := Restored{Counts: Counts{Orgs: 1, APIs: 1, Policies: 2, Keys: 704}}
	from := archive
	for name, to := range map[string]*fixture{"Redis": two, "the embedded store": embedded} {
		for range 2 {
			got, err := to.Import(t.Context(), strings.NewReader(from))
			if err != nil || got != want {
				t.Fatalf("into %s: got %+v %v, want %+v", name, got, err, want)
			}
		}
		from = to.export(t) // goes on into the next
		if diff := cmp.Diff(sorted(archive), sorted(from)); diff != "" {
			t.Errorf("%s has something else:\n%s", name, diff)
		}
		if _, err := to.Keys.Lookup(t.Context(), "acme", token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	kept, stored := server.Do("PTTL", "two:key/"+two.Keys.ID(token)), ""
	if _, err := fmt.Sscanf(kept, ":%s", &stored); err != nil || stored == "-1" || stored == "-2" {
		t.Errorf("a key that was to be kept for an hour has a time to live of %s", kept)
	}
	before := sorted(two.export(t))
	if _, err := two.Import(t.Context(), strings.NewReader(strings.Replace(archive, `"alias":"many"`, `"alias":7`, 1))); err == nil {
		t.Error("a bad archive was taken")
	}
	two.storage.fail = true
	if _, err := two.Import(t.Context(), strings.NewReader(archive)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, sorted(two.export(t))); diff != "" {
		t.Errorf("something has changed:\n%s", diff)
	}
}

// sorted is the lines of an archive without its header, once each: a Redis lists in no order, and may list a key twice. Ends
// are left out, which a Redis is told as time to live.
func sorted(archive string) []string {
	lines := strings.Split(strings.TrimSpace(body(archive)), "\n")
	ends := regexp.MustCompile(`,"expires":"[^"]*"`)
	for i := range lines {
		lines[i] = ends.ReplaceAllString(lines[i], "")
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func TestAllOrNothing(t *testing.T) {
	from := newFixture(t, identity.Options{})
	from.fill(t)
	archive := from.export(t)
	lines := strings.SplitAfter(archive, "\n")
	header := lines[0]
	with := func(record string, counts string) string {
		return header + record + "\n" + `{"kind":"end","counts":` + counts + "}\n"
	}
	key := `{"kind":"key","id":"00ff","session":{"org_id":"acme"}}`
	tests := map[string]struct{ archive, want string }{
		"empty":                 {"", "empty"},
		"no archive":            {"{}\n", "does not begin"},
		"no JSON":               {"PK\x03\x04", "does not begin"},
		"other version":         {`{"turnbuckle_archive":2}`, "version is 2"},
		"cut at a line":         {strings.Join(lines[:len(lines)-2], ""), "breaks off"},
		"cut within":            {archive[:len(archive)/2], "line"},
		"a line is missing":     {strings.Replace(archive, lines[3], "", 1), "missing"},
		"more after the end":    {archive + lines[1], "after the end"},
		"unknown kind":          {with(`{"kind":"secret"}`, `{}`), "secret"},
		"unknown field":         {with(`{"kind":"key","id":"00ff","sesion":{}}`, `{}`), "sesion"},
		"two values":            {with(key+key, `{"keys":1}`), "more than one"},
		"session of other kind": {with(`{"kind":"key","id":"00ff","session":[]}`, `{"orgs":0,"apis":0,"policies":0,"keys":1}`), "line 2: key: invalid session"},
		"no session":            {with(`{"kind":"key","id":"00ff"}`, `{"keys":1}`), "line 2: key: invalid"},
		"no id":                 {with(`{"kind":"key","session":{}}`, `{"keys":1}`), "an id has"},
		"long id":               {with(`{"kind":"key","id":"`+strings.Repeat("x", 2000)+`","session":{}}`, `{"keys":1}`), "an id has"},
		"deep session":          {with(`{"kind":"key","id":"00ff","session":{"meta_data":`+strings.Repeat("[", 80)+strings.Repeat("]", 80)+`}}`, `{"keys":1}`), "deeper"},
		"policy of other kind":  {with(`{"kind":"policy","id":"x","policy":7}`, `{"policies":1}`), "policy"},
		"policy that cannot be": {with(`{"kind":"policy","id":"x","policy":{"partitions":{"per_api":true,"acl":true}}}`, `{"policies":1}`), "per_api"},
		"policy without id":     {with(`{"kind":"policy","policy":{}}`, `{"policies":1}`), "an id has"},
		"organisation":          {with(`{"kind":"org","session":{}}`, `{"orgs":1}`), "an id has"},
		"API without file":      {with(`{"kind":"api","id":"x","text":"{}"}`, `{"apis":1}`), "id, file and text"},
		"API out of the folder": {with(`{"kind":"api","id":"x","file":"../x.json","text":"{}"}`, `{"apis":1}`), "file"},
		"API that is refused": {header + key + "\n" + `{"kind":"api","id":"refused","file":"r.json","text":"{\"id\":\"refused\",\"listen\":{\"path\":\"/r\"},\"upstream\":{\"url\":\"http://127.0.0.1:1\"}}"}` + "\n" +
			`{"kind":"end","counts":{"keys":1,"apis":1}}`, "refused on purpose"},
		"API that lies about its id": {with(`{"kind":"api","id":"y","file":"r.json","text":"{\"id\":\"x\",\"listen\":{\"path\":\"/r\"},\"upstream\":{\"url\":\"http://127.0.0.1:1\"}}"}`, `{"apis":1}`), "its id is"},
		"too long a line":            {header + strings.Repeat("x", maxLine+1), "more than"},
		"another hash":               {strings.Replace(header, "sha256", "murmur64", 1) + key + "\n" + `{"kind":"end","counts":{"keys":1}}`, "keys.hash"},
		"good and bad":               {header + key + "\n" + `{"kind":"key","id":"","session":{}}` + "\n" + `{"kind":"end","counts":{"keys":2}}`, "line 3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			to := newFixture(t, identity.Options{})
			empty := body(to.export(t))
			_, err := to.Import(t.Context(), strings.NewReader(tt.archive))
			var refused *RefusedError
			if !errors.Is(err, ErrFormat) && !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to hold %q", err, tt.want)
			}
			if got := body(to.export(t)); got != empty {
				t.Errorf("something has been restored: %s", got)
			}
			if entries, err := os.ReadDir(to.apis); err == nil && len(entries) > 0 {
				t.Errorf("something is left in the folder: %v", entries)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	f := newFixture(t, identity.Options{})
	var b strings.Builder
	w, err := NewWriter(&b, Header{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := w.Put(Record{Kind: KindKey, Session: json.RawMessage("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if _, err := f.Import(t.Context(), strings.NewReader(b.String())); !errors.As(err, &refused) || len(refused.Problems) != maxProblems || refused.More != 100-maxProblems {
		t.Errorf("got %v", err)
	}
}

// A store that fails leaves the definitions alone.
func TestStoreFails(t *testing.T) {
	from, to := newFixture(t, identity.Options{}), newFixture(t, identity.Options{})
	from.fill(t)
	archive := from.export(t)
	to.storage.fail = true
	if _, err := to.Import(t.Context(), strings.NewReader(archive)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(to.apis); err != nil || len(entries) > 0 {
		t.Errorf("the folder has %v %v", entries, err)
	}
	to.storage.fail = false
	if _, err := to.Import(t.Context(), strings.NewReader(archive)); err != nil {
		t.Errorf("the archive cannot be imported again: %v", err)
	}
}

// Keys whose time came on the way are left out, and those of hashes that are read as well are found.
func TestEndedAndFallback(t *testing.T) {
	from := newFixture(t, identity.Options{Hash: keyid.Murmur64})
	made, err := from.Keys.Create(t.Context(), "acme", "", &identity.Session{}, identity.Lifetime{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.Keys.Create(t.Context(), "acme", "", &identity.Session{Lifetime: 60}, identity.Lifetime{}); err != nil {
		t.Fatal(err)
	}
	archive := from.export(t)
	to := newFixture(t, identity.Options{Fallback: []keyid.Function{keyid.Murmur64}})
	to.Now = func() time.Time { return time.Now().Add(time.Hour) }
	got, err := to.Import(t.Context(), strings.NewReader(archive))
	if err != nil || got.Keys != 1 || got.Ended != 1 {
		t.Errorf("got %+v %v", got, err)
	}
	if _, err := to.Keys.Lookup(t.Context(), "acme", made.Token); err != nil {
		t.Error(err)
	}
}

// An entry that is no session does not keep the others from being exported.
func TestUnreadable(t *testing.T) {
	f := newFixture(t, identity.Options{})
	f.fill(t)
	if err := f.Store.Apply(t.Context(), store.Write{Key: "key/bad", Entry: store.Entry{Value: []byte("[]")}}, store.Write{Key: "org/bad", Entry: store.Entry{Value: []byte("[]")}}); err != nil {
		t.Fatal(err)
	}
	// Definitions that no archive could have: torn, empty, in no text, and more than is read of a file.
	huge := "{\"id\":\"huge\",\"name\":\"" + strings.Repeat("x", document.MaxBytes) + "\"}"
	for name, text := range map[string]string{"torn.yaml": "listen: {path: /torn\n", "empty.json": "", "bytes.json": "{\"id\":\"b\xff\"}", "huge.json": huge} {
		if err := os.WriteFile(filepath.Join(f.apis, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	counts, err := f.Export(t.Context(), &b)
	if err != nil || counts.Unreadable != 6 || counts.Keys != 4 || counts.APIs != 1 {
		t.Fatalf("got %+v %v", counts, err)
	}
	if _, err := newFixture(t, identity.Options{}).Import(t.Context(), &b); err != nil {
		t.Error(err)
	}
}

func FuzzReader(f *testing.F) {
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Hashes: []string{"sha256"}})
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range []Record{
		{Kind: KindOrg, ID: "acme", Session: json.RawMessage(`{"quota_max":1}`)}, {Kind: KindAPI, ID: "a", File: "a.json", Text: "{}"},
		{Kind: KindPolicy, ID: "p", Org: "acme", Policy: json.RawMessage(`{}`)}, {Kind: KindKey, ID: "k", Session: json.RawMessage(`{"meta_data":{"a":[1]}}`), Expires: time.UnixMilli(1e12).UTC()},
	} {
		if err := w.Put(r); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"turnbuckle_archive":1}` + "\n" + `{"kind":"end","counts":{}}`))
	f.Add([]byte(`{"turnbuckle_archive":1}` + "\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		var out bytes.Buffer
		again, err := NewWriter(&out, r.Header)
		if err != nil {
			return // a time that has no text
		}
		p := plan{g: &Gateway{Now: time.Now}}
		var records []Record
		for {
			record, err := r.Next()
			if err != nil {
				if errors.Is(err, io.EOF) {
					break
				}
				if !errors.Is(err, ErrFormat) {
					t.Fatalf("an error of no kind: %v", err)
				}
				return
			}
			if record.Kind == KindKey || record.Kind == KindOrg {
				p.add(r.Line(), record)
			}
			if err := again.Put(record); err != nil {
				return
			}
			records = append(records, record)
		}
		// A whole archive is the same when it is written and read again.
		if _, err := again.Close(); err != nil {
			t.Fatal(err)
		}
		second, err := NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			if _, err := second.Next(); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
		}
	})
}
