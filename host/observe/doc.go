// Package observe is how operators see the gateway at work: counters and histograms for Prometheus, the access log, and
// OpenTelemetry spans. Everything a request touches here is sharded, so that cores do not meet on one cache line, and
// nothing waits for whoever reads it. The stream of records and events to observers is host/observe/tap's.
package observe

// Shards is the number of shards of everything that requests write to. A flow keeps to one shard.
const Shards = 8
