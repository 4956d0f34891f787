package main

import (
	"context"
	"fmt"
	"time"
)

// pending is a command that was begun.
type pending interface {
	// wait waits until the command was committed and applied here.
	wait() error
}

// replicas are what a process runs of one system: one replica of every group.
// Group numbers count from 0. All methods may be called by many goroutines.
type replicas interface {
	// leads reports whether this process has the leader of a group.
	leads(group int) bool
	// propose appends a command and waits until it was committed and applied.
	propose(ctx context.Context, group int, command []byte) error
	// begin is propose without waiting.
	begin(group int, command []byte) (pending, error)
	// read is a linearizable read of the machine.
	read(ctx context.Context, group int) error
	close() error
}

// setup is what a replica is opened with.
type setup struct {
	System  string        `json:"system"`
	Replica int           `json:"replica"` // from 1
	Groups  int           `json:"groups"`
	Dir     string        `json:"dir"`   // of this replica
	Addrs   []string      `json:"addrs"` // of all replicas, the first one's first
	Tick    time.Duration `json:"tick_ns"`
}

// electionTicks and heartbeatTicks are the same for all systems.
const (
	electionTicks  = 17
	heartbeatTicks = 2
	// snapshotEntries is after how many entries a system compacts its log.
	snapshotEntries = 1_000_000
	keepEntries     = 100_000
	// requestTimeout is far beyond what a request takes.
	requestTimeout = 10 * time.Second
)

// system is one of those that are compared.
type system struct {
	name   string
	about  string
	module string // of which the version is shown; "" for Cell
	base   string // the system that it stands on, for the ratio; "" for none
	many   bool   // has groups that share a log store
	open   func(setup) (replicas, error)
}

// systems are all that are compared.
var systems = []system{
	{"cell", "Cell's consensus on dragonboat, logs in pebble; requests without sessions", "", "dragonboat", true, openCell},
	{"cell-session", "the same, every command in a session: executed once", "", "dragonboat", true, openCellSession},
	{"cell-tls", "the same as cell, with mutual TLS between the replicas", "", "dragonboat", true, openCellTLS},
	{"cell-tan", "Cell's consensus on dragonboat, logs in tan", "", "dragonboat-tan", true, openCellTan},
	{"cell-typed", "a replicated service (the ledger of examples/raft): requests and replies by their schema, every write in a session", "", "dragonboat", true, openCellTyped},
	{"dragonboat", "bare dragonboat, logs in pebble, with the settings that Cell gives it", "github.com/lni/dragonboat/v4", "", true, openDragonboat},
	{"dragonboat-tan", "bare dragonboat, logs in tan", "github.com/lni/dragonboat/v4", "", true, openDragonboatTan},
	{"etcd-raft", "etcd's Raft; the log, written and synced once for each Ready, and the TCP transport are this harness's own", "go.etcd.io/raft/v3", "", false, openEtcd},
	{"hashicorp-raft", "hashicorp/raft with raft-wal and its own TCP transport", "github.com/hashicorp/raft", "", false, openHashicorp},
}

func systemByName(name string) (system, error) {
	for _, s := range systems {
		if s.name == name {
			return s, nil
		}
	}
	return system{}, fmt.Errorf("no system %q; --list shows them", name)
}
