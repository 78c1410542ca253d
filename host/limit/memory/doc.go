// Package memory has the parts that limiters counting in memory are made of: a Table from keys to buckets whose reads take no
// lock, and Cell, a GCRA bucket in one atomic word.
//
// A value in a Table is final but for its atomics. To change more, seal the old one and put a new one in its place: a
// sealed Cell answers Gone, and whoever gets that looks the key up again. So nobody counts in a bucket that has left.
package memory
