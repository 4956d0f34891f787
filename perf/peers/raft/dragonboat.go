package main

import (
	"context"
	"fmt"
	"io"
	"time"

	raft "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/statemachine"
)

// bareTally is the same machine as tally, as dragonboat has it.
type bareTally struct{ commands, bytes uint64 }

func (t *bareTally) Update(e statemachine.Entry) (r statemachine.Result, err error) {
	t.commands++
	t.bytes += uint64(len(e.Cmd))
	r.Value = t.commands
	return r, nil
}
func (t *bareTally) Lookup(any) (any, error) { return t.commands, nil }
func (t *bareTally) Close() error            { return nil }
func (t *bareTally) SaveSnapshot(w io.Writer, _ statemachine.ISnapshotFileCollection, _ <-chan struct{}) error {
	_, err := fmt.Fprintln(w, t.commands, t.bytes)
	return err
}
func (t *bareTally) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, _ <-chan struct{}) error {
	_, err := fmt.Fscan(r, &t.commands, &t.bytes)
	return err
}

// bareReplicas are dragonboat's, used as its documentation says.
type bareReplicas struct {
	replica  uint64
	host     *raft.NodeHost
	sessions []*client.Session
}

// shardOf is a group's number for dragonboat.
func shardOf(g int) uint64 { return uint64(1000 + g) }

func openDragonboat(s setup) (replicas, error)    { return newBare(s, false) }
func openDragonboatTan(s setup) (replicas, error) { return newBare(s, true) }

func newBare(s setup, inTan bool) (replicas, error) {
	for _, pkg := range []string{"raft", "rsm", "transport", "grpc", "dragonboat", "logdb", "raftpb", "config", "settings", "order", "tan", "registry", "utils"} {
		logger.GetLogger(pkg).SetLevel(logger.CRITICAL)
	}
	store := config.GetTinyMemLogDBConfig()
	store.Shards = 1
	c := config.NodeHostConfig{
		NodeHostDir: s.Dir, RTTMillisecond: uint64(s.Tick / time.Millisecond), RaftAddress: s.Addrs[s.Replica-1], MaxSendQueueSize: 64 << 20,
		Expert: config.ExpertConfig{LogDB: store, Engine: config.EngineConfig{ExecShards: 1, CommitShards: 1, ApplyShards: 1, SnapshotShards: 4, CloseShards: 4}},
	}
	if inTan {
		c.Expert.LogDBFactory = tan.Factory
	}
	host, err := raft.NewNodeHost(c)
	if err != nil {
		return nil, err
	}
	b := &bareReplicas{replica: uint64(s.Replica), host: host}
	members := map[uint64]raft.Target{}
	for i, a := range s.Addrs {
		members[uint64(i+1)] = a
	}
	for g := range s.Groups {
		err := host.StartReplica(members, false, func(uint64, uint64) statemachine.IStateMachine { return &bareTally{} }, config.Config{
			ReplicaID: b.replica, ShardID: shardOf(g), CheckQuorum: true, PreVote: true, ElectionRTT: electionTicks, HeartbeatRTT: heartbeatTicks,
			SnapshotEntries: snapshotEntries, CompactionOverhead: keepEntries, OrderedConfigChange: true, MaxInMemLogSize: 256 << 20,
			SnapshotCompressionType: config.Snappy, WaitReady: true,
		})
		if err != nil {
			return nil, err
		}
		b.sessions = append(b.sessions, host.GetNoOPSession(shardOf(g)))
	}
	return b, nil
}

func (b *bareReplicas) leads(g int) bool {
	id, _, known, err := b.host.GetLeaderID(shardOf(g))
	return err == nil && known && id == b.replica
}

func (b *bareReplicas) propose(ctx context.Context, g int, command []byte) error {
	_, err := b.host.SyncPropose(ctx, b.sessions[g], command)
	return err
}

type barePending struct{ rs *raft.RequestState }

func (p barePending) wait() error {
	r := <-p.rs.AppliedC()
	p.rs.Release()
	if !r.Completed() {
		return fmt.Errorf("not completed: %+v", r)
	}
	return nil
}

func (b *bareReplicas) begin(g int, command []byte) (pending, error) {
	rs, err := b.host.Propose(b.sessions[g], command, requestTimeout)
	return barePending{rs}, err
}

func (b *bareReplicas) read(ctx context.Context, g int) error {
	_, err := b.host.SyncRead(ctx, shardOf(g), nil)
	return err
}

func (b *bareReplicas) close() error {
	b.host.Close()
	return nil
}
