package counts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func open(t testing.TB, path string, o Options) *File {
	t.Helper()
	f, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func shut(t testing.TB, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func used(owner, scope string, n int64) Change {
	return Change{Name{owner, scope}, Count{Used: n, Begun: 1}}
}

func save(t testing.TB, f *File, changes ...Change) {
	t.Helper()
	if err := f.Save(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, f *File, owner, scope string, n int64) {
	t.Helper()
	if c, err := f.Get(t.Context(), Name{owner, scope}); err != nil || c.Used != n {
		t.Errorf("%s/%s: %+v, %v, want %d", owner, scope, c, err, n)
	}
}

// memory is how many counts are held.
func (f *File) memory() (n int) {
	for i := range f.shards {
		n += len(f.shards[i].counts)
	}
	return n
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	f := open(t, path, Options{})
	whole := Count{Used: 1 << 60, Begun: -5, Ends: time.Now().Add(time.Hour).UnixMilli()}
	save(t, f, used("a", "", 1), used("a", "x", 2), used("a", "x", 3), used("b", "", 4), Change{Name{"c", "z"}, whole})
	save(t, f, used("b", "", 0), used("d", strings.Repeat("long", 1000), 5))
	for range 2 {
		want(t, f, "a", "", 1)
		want(t, f, "a", "x", 3)
		want(t, f, "b", "", 0)
		want(t, f, "d", strings.Repeat("long", 1000), 5)
		if c, err := f.Get(t.Context(), Name{"c", "z"}); err != nil || c != whole {
			t.Errorf("%+v, %v", c, err)
		}
		if f.memory() != 4 {
			t.Errorf("%d counts", f.memory())
		}
		shut(t, f)
		if err := f.Save(t.Context()); !errors.Is(err, store.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		f = open(t, path, Options{})
	}
	if err := f.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	shut(t, f)
	f = open(t, path, Options{})
	want(t, f, "a", "", 0)
	want(t, f, "a", "x", 0)
	if f.memory() != 2 {
		t.Errorf("%d counts", f.memory())
	}
}

// More than a block holds, at once; and of one owner.
func TestManyBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	f := open(t, path, Options{})
	const n = 3 * maxBlock / maxCount
	var all []Change
	for i := range n {
		all = append(all, used("o", strconv.Itoa(i), int64(i+1)))
	}
	save(t, f, all...)
	shut(t, f)
	f = open(t, path, Options{})
	for i := range n {
		want(t, f, "o", strconv.Itoa(i), int64(i+1))
	}
	if err := f.Forget(t.Context(), "o"); err != nil || f.memory() != 0 {
		t.Errorf("%d left, %v", f.memory(), err)
	}
}

// The file stays in proportion to what it holds, and what has ended leaves it and memory.
func TestRewrite(t *testing.T) {
	var offset atomic.Int64
	now := func() time.Time { return time.UnixMilli(1e12 + offset.Load()) }
	path := filepath.Join(t.TempDir(), "counts")
	f := open(t, path, Options{Now: now, Slack: 1000})
	c := used("ends", "", 1)
	c.Ends = now().UnixMilli() + 10
	save(t, f, c)
	want(t, f, "ends", "", 1)
	offset.Store(10)
	want(t, f, "ends", "", 0)
	for i := range 1000 {
		save(t, f, used("o", strconv.Itoa(i%10), int64(i+1)))
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 3000 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	if f.memory() != 10 {
		t.Errorf("%d counts", f.memory())
	}
	shut(t, f)
	f = open(t, path, Options{Now: now})
	for i := range 10 {
		want(t, f, "o", strconv.Itoa(i), int64(991+i))
	}
}

// Whatever of the last block is missing or wrong, what was acknowledged before is there, and writing goes on.
func TestTorn(t *testing.T) {
	folder := t.TempDir()
	f := open(t, filepath.Join(folder, "whole"), Options{})
	save(t, f, used("a", "", 1), used("b", "", 2))
	good := f.size
	save(t, f, used("a", "", 7), used("c", "", 8))
	shut(t, f)
	whole, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, content []byte) {
		path := filepath.Join(folder, "torn")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want(t, f, "a", "", 1)
		want(t, f, "b", "", 2)
		want(t, f, "c", "", 0)
		save(t, f, used("c", "", 3))
		shut(t, f)
		f = open(t, path, Options{})
		want(t, f, "a", "", 1)
		want(t, f, "c", "", 3)
	}
	for end := good; end < int64(len(whole)); end++ {
		check(fmt.Sprint("cut at ", end), whole[:end])
		flipped := bytes.Clone(whole)
		flipped[end] ^= 0x10
		if end >= good+4 { // a length that is too small leaves something behind
			check(fmt.Sprint("flipped at ", end), flipped)
		}
	}
	check("zeros", append(bytes.Clone(whole[:good]), make([]byte, 5000)...))
}

func TestDamaged(t *testing.T) {
	folder := t.TempDir()
	f := open(t, filepath.Join(folder, "whole"), Options{})
	save(t, f, used("a", "", 1))
	save(t, f, used("b", "", 2))
	shut(t, f)
	whole, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	inside := bytes.Clone(whole)
	inside[len(magic)+blockHead+1] ^= 1
	unreadable := append([]byte(magic), endBlock(append(beginBlock(nil), 1, 2, 3))...)
	for name, content := range map[string][]byte{
		"empty": nil, "short": whole[:5], "another": []byte("tbcount2" + string(whole[8:])), "inside": inside, "unreadable": unreadable,
		"a long tail": append(bytes.Clone(whole), make([]byte, maxBlock+blockHead+1)...),
	} {
		path := filepath.Join(folder, "damaged")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, content) {
			t.Errorf("%s: it was changed, %v", name, err)
		}
	}
}

// After a write that failed nothing is believed of the file; the next one makes it anew.
func TestWriteFails(t *testing.T) {
	var outcomes []error
	path := filepath.Join(t.TempDir(), "counts")
	f := open(t, path, Options{Wrote: func(err error) { outcomes = append(outcomes, err) }})
	save(t, f, used("a", "", 1))
	works := f.file
	reading, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.file = reading
	for range 2 {
		if err := os.Mkdir(path+".new", 0o700); err != nil { // neither can it be written anew
			t.Fatal(err)
		}
		if err := f.Save(t.Context(), used("a", "", 2)); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		want(t, f, "a", "", 1)
		if err := os.Remove(path + ".new"); err != nil {
			t.Fatal(err)
		}
	}
	save(t, f) // no change, but an attempt
	save(t, f, used("b", "", 3))
	if len(outcomes) != 5 || outcomes[0] != nil || outcomes[1] == nil || outcomes[2] == nil || outcomes[3] != nil || outcomes[4] != nil {
		t.Errorf("told %v", outcomes)
	}
	if err := works.Close(); err != nil {
		t.Error(err)
	}
	shut(t, f)
	f = open(t, path, Options{})
	want(t, f, "a", "", 1)
	want(t, f, "b", "", 3)
}

func TestWaitIsBounded(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "counts"), Options{})
	f.writing <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Save(ctx, used("a", "", 1)); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-f.writing
}

func TestConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	f := open(t, path, Options{Slack: 2000})
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			name := strconv.Itoa(w)
			for i := range 100 {
				save(t, f, used(name, "", int64(i+1)), used("gone", name, 1))
				want(t, f, name, "", int64(i+1))
				if err := f.Forget(t.Context(), "gone"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	shut(t, f)
	f = open(t, path, Options{})
	for w := range 4 {
		want(t, f, strconv.Itoa(w), "", 100)
		want(t, f, "gone", strconv.Itoa(w), 0)
	}
}

// The tests run their own binary as another process, with the file it is to write in childVariable.
const childVariable = "TURNBUCKLE_COUNTS_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		child(path)
		return
	}
	os.Exit(m.Run())
}

// child counts until it is killed, and says what was acknowledged.
func child(path string) {
	f, err := Open(path, Options{Slack: 4 << 10}) // written anew all the time
	if err != nil {
		fmt.Println("error", err)
		return
	}
	begin, _ := f.Get(context.Background(), Name{Owner: "0"})
	for n := begin.Used + 1; ; n++ {
		var changes []Change
		for i := range 50 {
			changes = append(changes, used(strconv.Itoa(i), "", n))
		}
		if err := f.Save(context.Background(), changes...); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("ack", n)
	}
}

// What was acknowledged survives kill -9, at whatever moment, and each write as a whole.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	last := int64(0)
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		bound := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		first := last
		for lines := bufio.NewScanner(out); lines.Scan(); {
			number, ok := strings.CutPrefix(lines.Text(), "ack ")
			if !ok {
				t.Fatal(lines.Text())
			}
			if last, err = strconv.ParseInt(number, 10, 64); err != nil {
				t.Fatal(err)
			}
			if last == first+100+int64(17*round) {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		bound.Stop()
		if last < first+100 {
			t.Fatalf("only %d writes", last-first)
		}
		f, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var found []int64
		for i := range 50 {
			c, err := f.Get(t.Context(), Name{Owner: strconv.Itoa(i)})
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, c.Used)
		}
		if low, high := slices.Min(found), slices.Max(found); low != high || low < last || low > last+1 {
			t.Errorf("round %d: counts from %d to %d, acknowledged %d", round, low, high, last)
		}
		last = found[0]
		shut(t, f)
	}
}

func FuzzOpen(f *testing.F) {
	block := appendCount(beginBlock(nil), id{1, 2}, Count{3, -4, 5})
	f.Add(append([]byte(magic), endBlock(block)...))
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\x00\x00\x00\x01\x00\x00\x00\x00\x00"))
	path := filepath.Join(f.TempDir(), "counts")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := Open(path, Options{Now: func() time.Time { return time.UnixMilli(0) }})
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if err := first.rewrite(); err != nil {
			t.Fatal(err)
		}
		shut(t, first)
		again, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, again)
		for i := range first.shards {
			if a, b := first.shards[i].counts, again.shards[i].counts; len(a) != len(b) {
				t.Fatalf("%v, then %v", a, b)
			}
			for of, c := range first.shards[i].counts {
				if again.shards[i].counts[of] != c {
					t.Fatalf("%v: %v, then %v", of, c, again.shards[i].counts[of])
				}
			}
		}
	})
}

// A second's changes of a gateway with a million callers, as it writes them.
func BenchmarkSave(b *testing.B) {
	f := open(b, filepath.Join(b.TempDir(), "counts"), Options{})
	changes := make([]Change, 4096)
	names := make([]string, 1<<20)
	for i := range names {
		names[i] = fmt.Sprintf("%064x", i)
	}
	b.ReportAllocs()
	next := 0
	for b.Loop() {
		for i := range changes {
			next = (next + 7919) % len(names)
			changes[i] = used(names[next], "", int64(next+1))
		}
		save(b, f, changes...)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(changes)), "ns/count")
}
