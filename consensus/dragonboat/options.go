//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/vfs"

	"github.com/cell-runtime/cell/consensus"
)

// Store is how logs lie on disk.
type Store string

// The stores.
const (
	// Pebble: one log for all groups, in a few files. The default.
	Pebble Store = "pebble"
	// Tan: a log for each group. Faster for a few busy groups, slower for many.
	Tan Store = "tan"
)

// Options open a host. What has no default must be set.
type Options struct {
	// Node is this node's id, and what its data directory belongs to.
	Node consensus.NodeID
	// Dir is the data directory; it is made if it is not there.
	Dir string
	// Listen is the TCP address for the other members, host:port.
	Listen string
	// Resolve returns the TCP address where a node is now. It is asked for each
	// connection, so nodes may move.
	Resolve func(ctx context.Context, node consensus.NodeID) (string, error)
	// Security proves who is at the other end, by mutual TLS. nil is refused
	// unless Insecure is set.
	Security Security
	// Insecure lets anybody who reaches Listen write into every group.
	Insecure bool

	// Answer answers what other nodes ask by [Host.Ask]; nil refuses all. It is
	// called beside itself, by connections that Security has let in.
	Answer func(ctx context.Context, from consensus.NodeID, question []byte) ([]byte, error)

	// Vouch reports whether a replica of a group is on a node, of which this node's
	// replica of the group doesn't know: it joins, or was away when that one was
	// added. If it says no, the members that are known are asked. nil: they alone;
	// and a replica that joins, and so knows no member, believes any node that
	// Security has let in. It is called beside itself.
	Vouch func(ctx context.Context, group consensus.GroupID, replica consensus.ReplicaID, node consensus.NodeID) bool

	// Tick is the unit of all of Raft's times: heartbeats are sent every
	// second tick, and a leader that is silent for ElectionTicks, to twice as
	// many, is replaced. (One whose process has ended is replaced at once.)
	// Default 30 ms; many busy groups want more, since each one's tick costs.
	Tick time.Duration
	// ElectionTicks is described at Tick; default 8 (240 ms), at least 5. A
	// disk that now and then takes as long as that to sync wants more.
	// docs/CONSENSUS.md has the arithmetic.
	ElectionTicks int
	// Store is how logs lie on disk; it can't be changed later. Default Pebble.
	Store Store
	// Workers is how many goroutines step groups and write logs, and how many
	// logs a Pebble store has; it can't be changed later. Default 1, which is
	// the fastest on a few cores; with a fast disk and many cores up to 16.
	Workers int
	// UnsafeNoSync leaves it to the kernel when what was written reaches the
	// disk. After a power loss, or a crash of the kernel, on a majority,
	// acknowledged entries are gone; on a minority, this node may have
	// forgotten its vote, and groups may split. A process that is killed loses
	// nothing.
	UnsafeNoSync bool
	// AlwaysAwake lets no group rest. Otherwise one of which nothing was asked
	// for 20 times ElectionTicks sends no heartbeats until something is, so that
	// hundreds of idle groups cost little. Set it alike on all nodes.
	AlwaysAwake bool
	// Logger hears of what goes on; nil is silent. dragonboat has one logger
	// for all hosts of a process: the last one set.
	Logger *slog.Logger

	// For simulations: a file system instead of the kernel's, whose directory
	// is not guarded, and messages by other means.
	fs        vfs.FS
	transport config.TransportFactory

	// gone is told of a node whose process has ended.
	gone func(t *transport, node consensus.NodeID)
	rest *rest // nil: AlwaysAwake

	roster *roster // who may speak; nil: everybody
}

// Security makes connections between nodes and says who is at the other end.
type Security interface {
	// Server is for accepted connections: it must ask for the client's
	// certificate and check it.
	Server() *tls.Config
	// Client is for a connection to peer, and must check that it is; "" is for
	// whoever answers, if it may.
	Client(peer consensus.NodeID) (*tls.Config, error)
	// Peer returns the id that the other end has proven; an error ends the
	// connection.
	Peer(tls.ConnectionState) (consensus.NodeID, error)
}

const (
	defaultTick          = 30 * time.Millisecond
	defaultElectionTicks = 8 // so that two elections in a row, the first of them split, end within 1 s
	heartbeatTicks       = 2
	maxWorkers           = 16
	maxNodeID            = 128
)

func (o *Options) setDefaults() error {
	if o.Tick == 0 {
		o.Tick = defaultTick
	}
	if o.ElectionTicks == 0 {
		o.ElectionTicks = defaultElectionTicks
	}
	if o.Store == "" {
		o.Store = Pebble
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{consensus.ErrConfig}, args...)...)
	}
	switch {
	case !validNode(string(o.Node)):
		return bad("Node %q: an id has 1 to %d printable ASCII characters and no space", o.Node, maxNodeID)
	case o.Dir == "":
		return bad("Dir is empty: say where the data goes")
	case o.Tick < time.Millisecond || o.Tick > time.Second || o.Tick%time.Millisecond != 0:
		return bad("Tick %v is not within 1 ms to 1 s, in whole ms", o.Tick)
	case o.ElectionTicks < 5 || o.ElectionTicks > 1000:
		return bad("ElectionTicks %d is not within 5 to 1000", o.ElectionTicks)
	case o.Store != Pebble && o.Store != Tan:
		return bad("Store %q: there are %q and %q", o.Store, Pebble, Tan)
	case o.Workers < 1 || o.Workers > maxWorkers:
		return bad("Workers %d is not within 1 to %d", o.Workers, maxWorkers)
	case o.transport != nil:
		return nil
	case o.Listen == "":
		return bad("Listen is empty: say at which TCP address the other members reach this node")
	case o.Resolve == nil:
		return bad("Resolve is nil: say where the other members are")
	case o.Security == nil && !o.Insecure:
		return bad("Security is nil: anybody could write into the groups; set it, or Insecure if the network is private")
	}
	return nil
}

// validNode bounds what is written into messages, logs and file names.
func validNode(id string) bool {
	if id == "" || len(id) > maxNodeID {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// hostConfig is what dragonboat is told.
func (o *Options) hostConfig(listener raftio.IRaftEventListener) config.NodeHostConfig {
	store := config.GetTinyMemLogDBConfig()
	store.Shards = uint64(o.Workers)
	c := config.NodeHostConfig{
		NodeHostDir:       o.Dir,
		RTTMillisecond:    uint64(o.Tick / time.Millisecond),
		RaftAddress:       string(o.Node),
		RaftEventListener: listener,
		MaxSendQueueSize:  64 << 20,
		Expert: config.ExpertConfig{
			LogDB: store,
			Engine: config.EngineConfig{
				ExecShards: uint64(o.Workers), CommitShards: uint64(o.Workers), ApplyShards: uint64(o.Workers),
				SnapshotShards: 4, CloseShards: 4,
			},
			TransportFactory: o.transport,
			FS:               o.fs,
		},
	}
	if o.Store == Tan {
		c.Expert.LogDBFactory = tan.Factory
	}
	if c.Expert.FS == nil {
		c.Expert.FS = vfs.Default
	}
	if o.UnsafeNoSync {
		c.Expert.FS = withoutSync(c.Expert.FS)
	}
	return c
}

// groupConfig is what dragonboat is told of a group.
func (o *Options) groupConfig(c *consensus.GroupConfig) config.Config {
	snapshots, keep := c.SnapshotEntries, c.KeepEntries
	if c.Role == consensus.Witness { // it has nothing to take a snapshot of
		snapshots, keep = 0, 0
	}
	return config.Config{
		ReplicaID:               uint64(c.Replica),
		ShardID:                 uint64(consensus.GroupIDOf(c.Name)),
		CheckQuorum:             true,
		PreVote:                 true,
		ElectionRTT:             uint64(o.ElectionTicks),
		HeartbeatRTT:            heartbeatTicks,
		SnapshotEntries:         snapshots,
		CompactionOverhead:      keep,
		OrderedConfigChange:     true,
		MaxInMemLogSize:         c.MaxPending,
		SnapshotCompressionType: config.Snappy,
		IsNonVoting:             c.Role == consensus.NonVoter,
		IsWitness:               c.Role == consensus.Witness,
		WaitReady:               true,
		Quiesce:                 !o.AlwaysAwake,
	}
}
