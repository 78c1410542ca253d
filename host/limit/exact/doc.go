// Package exact judges requests in a Redis or Valkey that gateways share: one script, atomic, by the server's own clock, so
// that neither the number of gateways nor their clocks matter.
//
// # Round trips
//
// On one server, with or without Sentinel, a request costs one round trip, whatever the number of its buckets. In a cluster
// it costs one per slot that they are in, all at the same time, and buckets of one owner share a slot. The first request
// after a server has started costs one more, to tell it the script. A command is sent once: what may have run is not
// repeated, so a connection that breaks can cost a request that was not made, and never gives one away.
//
// # All or nothing
//
// Within a slot the script takes from all buckets or from none. Across slots of a cluster they are asked at once, and when
// one refuses or does not answer, what the others gave is given back with a second round trip before the verdict. Until then
// others see it as used; if that round trip fails it stays used, until the rate has regained it or the window ends.
// So it never lets too many pass, and may for a moment let too few.
//
// # When the server is away
//
// Errors wrap limit.ErrStore. After one, requests fail at once, without waiting, and one in a tenth of a second tries
// whether the server is back.
//
// # In Redis
//
// One hash per owner, PREFIXlimit:OWNER, with a field "r" + scope per rate ("USED AT") and "q" + scope per quota ("USED
// BEGUN"), times in microseconds. The hash expires when none of its fields says anything any more. Numbers are those of
// Lua: quotas are exact up to 2^53.
package exact
