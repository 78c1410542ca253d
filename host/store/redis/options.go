package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// DefaultPrefix keeps our keys apart from others' in the same database.
const DefaultPrefix = "turnbuckle:"

// Options say where the server is. Addrs alone is enough.
type Options struct {
	// Addrs are host:port: of the server, of sentinels when Master is set, or of some nodes of a cluster.
	Addrs []string
	// Master is the name by which sentinels know the master; with it, Addrs are theirs.
	Master string
	// Cluster says that Addrs belong to a Redis cluster. It has no effect together with Master.
	Cluster bool
	// DB is the number of the database; a cluster has only 0.
	DB int

	Username, Password                 string // of an ACL user; the password alone for requirepass
	SentinelUsername, SentinelPassword string
	// TLS encrypts all connections, to sentinels too; nil does not.
	TLS *tls.Config

	// Prefix comes before every key and channel, as it is; usually DefaultPrefix. Empty gives bare keys.
	Prefix string
	// Timeout bounds each call, connecting and waiting for a connection included; 1 s by default. A context that ends
	// earlier ends the call earlier.
	Timeout time.Duration
	// PoolSize bounds the connections to each server; 10 per processor by default.
	PoolSize int
}

// longest bounds a single answer of the server to whoever shares the client without a deadline of their own.
const longest = 5 * time.Second

func (o Options) check() error {
	if len(o.Addrs) == 0 {
		return errors.New("redis: no address: give host:port of the server, of sentinels or of cluster nodes")
	}
	for _, addr := range o.Addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("redis: address %q: %w: it is host:port", addr, err)
		}
	}
	switch {
	case o.Cluster && o.Master != "":
		return errors.New("redis: a cluster and the name of a master that sentinels watch: it is one or the other")
	case o.Cluster && o.DB != 0:
		return fmt.Errorf("redis: database %d: a cluster has only 0", o.DB)
	case !o.Cluster && o.Master == "" && len(o.Addrs) > 1:
		return errors.New("redis: several addresses: say that they are a cluster, or the name of the master that they are sentinels of")
	case o.DB < 0:
		return fmt.Errorf("redis: database %d: it is 0 or more", o.DB)
	}
	return nil
}

// client makes the client; it connects when it is first used.
func (o Options) client() goredis.UniversalClient {
	return goredis.NewUniversalClient(&goredis.UniversalOptions{
		Addrs: o.Addrs, MasterName: o.Master, IsClusterMode: o.Cluster, DB: o.DB,
		Username: o.Username, Password: o.Password, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		TLSConfig: o.TLS, ClientName: "turnbuckle", DisableIdentity: true, Protocol: 2,
		DialTimeout: o.Timeout, ReadTimeout: longest, WriteTimeout: longest, PoolTimeout: o.Timeout, ContextTimeoutEnabled: true,
		PoolSize: o.PoolSize, ConnMaxIdleTime: 5 * time.Minute,
		MaxRetries: -1, DialerRetries: 1, // a call is made once: an increment that is repeated may count twice
		FailingTimeoutSeconds:    1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}
