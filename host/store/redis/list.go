package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	scanMost  = 10000 // keys the server looks at in one step: a few milliseconds
	scanSteps = 50    // of one page
)

// List is store.Reader's, with SCAN: the server looks at every key it has, one master after the other, so a listing of
// few keys among many costs as much as one of all. The cursor is SCAN's, and in a cluster the master's address with it.
func (s *Store) List(ctx context.Context, prefix, cursor string, limit int) (store.Page, error) {
	if limit <= 0 {
		limit = 100
	}
	at, err := s.position(ctx, cursor)
	if err != nil {
		return store.Page{}, err
	}
	var page store.Page
	count := int64(min(limit, scanMost))
	for range scanSteps {
		keys, err := s.scan(ctx, &at, globbed(s.Key(prefix))+"*", count)
		if err != nil {
			return store.Page{}, err
		}
		for _, key := range keys {
			page.Keys = append(page.Keys, strings.TrimPrefix(key, s.options.Prefix))
		}
		if at.done {
			return page, nil
		}
		if len(page.Keys) >= limit {
			break
		}
		if int64(len(keys)) < count/4 {
			count = min(4*count, scanMost)
		}
	}
	page.Next = at.String()
	return page, nil
}

// position is where a listing stands: in a cluster, at SCAN's cursor of one of the masters, which come by address.
type position struct {
	masters []*goredis.Client
	addr    string
	cursor  uint64
	done    bool
}

func (p position) String() string {
	if p.masters == nil {
		return strconv.FormatUint(p.cursor, 10)
	}
	return strconv.FormatUint(p.cursor, 10) + "@" + p.addr
}

func (s *Store) position(ctx context.Context, cursor string) (position, error) {
	at := position{}
	number, addr, hasAddr := strings.Cut(cursor, "@")
	if cursor != "" {
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || hasAddr != s.cluster {
			return at, store.ErrCursor
		}
		at.cursor, at.addr = n, addr
	}
	if !s.cluster {
		return at, nil
	}
	masters, err := s.masters(ctx)
	if err != nil {
		return at, err
	}
	at.masters = masters
	if cursor == "" {
		at.addr = masters[0].Options().Addr
	} else if at.master() == nil {
		return at, fmt.Errorf("%w: %q is no master of the cluster any more: list from the beginning", store.ErrCursor, addr)
	}
	return at, nil
}

// masters are the cluster's, by address.
func (s *Store) masters(ctx context.Context) ([]*goredis.Client, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var mu sync.Mutex
	var masters []*goredis.Client
	err := s.client.(*goredis.ClusterClient).ForEachMaster(ctx, func(_ context.Context, node *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, node)
		return nil
	})
	if err == nil && len(masters) == 0 {
		err = fmt.Errorf("the cluster has no master")
	}
	if err != nil {
		return nil, s.fault("list", err)
	}
	slices.SortFunc(masters, func(a, b *goredis.Client) int { return cmp.Compare(a.Options().Addr, b.Options().Addr) })
	return masters, nil
}

func (p position) master() *goredis.Client {
	i := slices.IndexFunc(p.masters, func(c *goredis.Client) bool { return c.Options().Addr == p.addr })
	if i < 0 {
		return nil
	}
	return p.masters[i]
}

// scan takes one step and moves on.
func (s *Store) scan(ctx context.Context, at *position, match string, count int64) ([]string, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var from goredis.Cmdable = s.client
	if s.cluster {
		from = at.master()
	}
	keys, next, err := from.Scan(ctx, at.cursor, match, count).Result()
	if err != nil {
		return nil, s.fault("list", err)
	}
	at.cursor = next
	if next != 0 {
		return keys, nil
	}
	i := slices.IndexFunc(at.masters, func(c *goredis.Client) bool { return c.Options().Addr == at.addr })
	if at.done = i+1 >= len(at.masters); !at.done {
		at.addr = at.masters[i+1].Options().Addr
	}
	return keys, nil
}

// globbed has MATCH take the text as it is.
func globbed(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}
