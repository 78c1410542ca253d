package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/callers"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

// openCallers makes who calls a gateway, and writes the settings by which it finds them.
func (w workshop) openCallers(ctx context.Context, f *fixture, s setup, dir string) error {
	settings, policies := "", filepath.Join(dir, "policies")
	switch {
	case !s.stored():
		return nil
	case s.redis != "":
		if err := w.openRedis(ctx, f, s, dir); err != nil {
			return err
		}
		settings = fmt.Sprintf("store: {type: redis, redis: {addresses: [%q]}}\nrate_limits: {mode: %s}\n", f.redis.Options().Addr, s.redis)
	default:
		f.storeFile = filepath.Join(dir, "data", bolt.FileName)
		settings = fmt.Sprintf("store: {path: %q}\npolicies: %q\n", filepath.Dir(f.storeFile), policies)
		if err := w.seed(ctx, f.storeFile, s.keys); err != nil {
			return err
		}
	}
	if s.keys > 0 {
		f.credential = callers.Token(0)
	}
	if strings.HasPrefix(s.definition, "jwt") {
		token, err := callers.JWT(filepath.Join(dir, "apis"), policies)
		if err != nil {
			return err
		}
		f.credential = "Bearer " + token
	}
	return os.WriteFile(filepath.Join(dir, "turnbuckle.yaml"), []byte(settings), 0o644)
}

// seed makes an embedded store with keys, unless it is there from before.
func (w workshop) seed(ctx context.Context, file string, keys int) error {
	if keys == 0 {
		return nil
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	begin := time.Now()
	err := callers.Bolt(ctx, filepath.Dir(file), keys, func(done int) {
		if keys > few {
			w.progress("%d of %d keys made in %.1f s", done, keys, time.Since(begin).Seconds())
		}
	})
	if err != nil {
		return fmt.Errorf("make %d keys: %w", keys, err)
	}
	return nil
}

// openRedis starts a Redis that saves nothing, with keys.
func (w workshop) openRedis(ctx context.Context, f *fixture, s setup, dir string) error {
	if w.redis == "" {
		return errors.New("there is no redis-server: --install installs it, as root on Debian")
	}
	address, err := proc.FreeAddress()
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	f.redis = redis.NewClient(&redis.Options{Addr: address, Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1})
	f.plugin, err = proc.Start(ctx, proc.Spec{
		Name:  s.String() + " redis-server",
		Args:  []string{w.redis, "--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", dir},
		Log:   filepath.Join(dir, "redis.log"),
		Ready: func(ctx context.Context) error { _, err := readRedis(ctx, f.redis); return err },
	})
	if err != nil {
		return err
	}
	return callers.Redis(ctx, address, s.keys)
}

// redisCounters is what a Redis has counted since it started.
type redisCounters struct{ reads, scripts float64 }

// trips is how often between two readings Redis has read from a client: one command, or several that came together, and
// so the round trips, or more of them than there were. The later reading itself is not counted.
func (c redisCounters) trips(before redisCounters) float64 { return c.reads - before.reads - 1 }

// readRedis asks a Redis, of version 6 at least, for what it has counted.
func readRedis(ctx context.Context, client *redis.Client) (redisCounters, error) {
	text, err := client.Info(ctx, "stats", "commandstats").Result()
	if err != nil {
		return redisCounters{}, fmt.Errorf("redis: %w", err)
	}
	return parseRedis(text)
}

// parseRedis reads the text that INFO gives.
func parseRedis(text string) (redisCounters, error) {
	c := redisCounters{reads: -1}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var to *float64
		switch name {
		case "total_reads_processed":
			c.reads, to = 0, &c.reads
		case "cmdstat_evalsha", "cmdstat_eval":
			to = &c.scripts
			value, _, _ = strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		default:
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return c, fmt.Errorf("redis: odd line %q", lines.Text())
		}
		*to += n
	}
	if c.reads < 0 {
		return c, errors.New("redis: no total_reads_processed: it takes version 6 at least")
	}
	return c, lines.Err()
}
