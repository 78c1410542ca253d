// Package redis keeps a store in Redis (6.2 or later) or Valkey, which several gateways share: one server, one behind
// sentinels, or a cluster; with TLS and an ACL user. The tests run against redis-server; Valkey speaks the same protocol
// and commands (GET, SET with PX, KEEPTTL and NX, DEL, PTTL, SCAN, EVALSHA, EVAL, PUBLISH, SUBSCRIBE, MULTI, PING), and
// nothing else is used.
//
// An entry is a plain string under Options.Prefix and its key, its end the key's own expiry, so that other programs can
// read and write them too; what they write, watchers learn of only if they publish it. Ends are given to the server as
// time to live: clocks of gateways and server need not agree. Reads go to masters.
//
// An ACL user needs: ~PREFIX* &PREFIX* +@read +@write +@scripting +@pubsub +@transaction +@connection, and in a cluster
// +cluster|slots +cluster|shards +command.
//
// Every call is bounded by Options.Timeout. Nothing is repeated that could count twice, so a call that a failover catches
// fails as store.ErrUnavailable; the next ones work as soon as there is a master again.
package redis
