//go:build nodragonboat || s390x

package raftnode

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/cell-runtime/cell/consensus"
)

var errWithout = fmt.Errorf("%w: this program was built without Raft (-tags nodragonboat, or s390x, for which dragonboat does not compile)", consensus.ErrConfig)

// Run fails: Raft is not in this program.
func Run(context.Context, Settings, *slog.Logger) error { return errWithout }

// CheckBackup fails: Raft is not in this program.
func CheckBackup(io.Reader) (consensus.BackupInfo, error) { return consensus.BackupInfo{}, errWithout }

// Restore fails: Raft is not in this program.
func Restore(Settings, io.ReadSeeker, map[consensus.ReplicaID]consensus.NodeID, consensus.ReplicaID) (consensus.BackupInfo, error) {
	return consensus.BackupInfo{}, errWithout
}

// CheckDir fails: Raft is not in this program.
func CheckDir(string) ([]string, error) { return nil, errWithout }

// Load fails: Raft is not in this program.
func Load(context.Context, string, string, string, io.ReadSeeker) (Loaded, error) {
	return Loaded{}, errWithout
}
