// Package raftnode runs a node's member of a cluster ([cluster.Member]) and
// serves it: the member's own service at the unix socket "raft", and each store
// of keys that has a replica here at "kv.NAME". It is meant for a process of its
// own, which consensus/supervise starts again when Raft gives up.
package raftnode
