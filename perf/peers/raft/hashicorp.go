package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// hashiTally is the machine for hashicorp/raft.
type hashiTally struct{ commands, bytes uint64 }

func (t *hashiTally) Apply(l *raft.Log) any {
	t.commands++
	t.bytes += uint64(len(l.Data))
	return t.commands
}
func (t *hashiTally) Snapshot() (raft.FSMSnapshot, error) {
	return &hashiTally{t.commands, t.bytes}, nil
}
func (t *hashiTally) Restore(r io.ReadCloser) error {
	defer r.Close()
	_, err := fmt.Fscan(r, &t.commands, &t.bytes)
	return err
}
func (t *hashiTally) Persist(sink raft.SnapshotSink) error {
	if _, err := fmt.Fprintln(sink, t.commands, t.bytes); err != nil {
		return err
	}
	return sink.Close()
}
func (t *hashiTally) Release() {}

type hashiReplica struct {
	raft *raft.Raft
	log  *wal.WAL
	net  *raft.NetworkTransport
}

func openHashicorp(s setup) (replicas, error) {
	if s.Groups != 1 {
		return nil, errNotThere
	}
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard})
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(s.Addrs[s.Replica-1])
	c.Logger = logger
	c.HeartbeatTimeout, c.ElectionTimeout = electionTicks*s.Tick, electionTicks*s.Tick
	c.LeaderLeaseTimeout = c.HeartbeatTimeout
	c.BatchApplyCh, c.MaxAppendEntries = true, 1024 // its largest batches
	c.SnapshotThreshold, c.TrailingLogs = snapshotEntries, keepEntries
	dir := filepath.Join(s.Dir, "wal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	log, err := wal.Open(dir)
	if err != nil {
		return nil, err
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(s.Dir, 2, logger)
	if err != nil {
		return nil, err
	}
	addr, err := net.ResolveTCPAddr("tcp", s.Addrs[s.Replica-1])
	if err != nil {
		return nil, err
	}
	transport, err := raft.NewTCPTransportWithLogger(addr.String(), addr, 8, 10*time.Second, logger)
	if err != nil {
		return nil, err
	}
	var servers []raft.Server
	for _, a := range s.Addrs {
		servers = append(servers, raft.Server{ID: raft.ServerID(a), Address: raft.ServerAddress(a)})
	}
	if err := raft.BootstrapCluster(c, log, log, snaps, transport, raft.Configuration{Servers: servers}); err != nil {
		return nil, err
	}
	r, err := raft.NewRaft(c, &hashiTally{}, log, log, snaps, transport)
	if err != nil {
		return nil, err
	}
	return &hashiReplica{raft: r, log: log, net: transport}, nil
}

func (h *hashiReplica) leads(int) bool { return h.raft.State() == raft.Leader }

func (h *hashiReplica) propose(_ context.Context, _ int, command []byte) error {
	return h.raft.Apply(command, requestTimeout).Error()
}

type hashiPending struct{ f raft.ApplyFuture }

func (p hashiPending) wait() error { return p.f.Error() }

func (h *hashiReplica) begin(_ int, command []byte) (pending, error) {
	return hashiPending{h.raft.Apply(command, requestTimeout)}, nil
}

// read asks a majority whether this is the leader still, as its documentation
// has it for reads that must not be stale.
func (h *hashiReplica) read(context.Context, int) error { return h.raft.VerifyLeader().Error() }

func (h *hashiReplica) close() error {
	err := h.raft.Shutdown().Error()
	_ = h.net.Close()
	_ = h.log.Close()
	return err
}
