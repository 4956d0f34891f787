//go:build !nodragonboat && !s390x

package dragonboat

import (
	"errors"
	"fmt"
	"strings"

	raft "github.com/lni/dragonboat/v4"

	"github.com/cell-runtime/cell/consensus"
)

// requestErrors is what dragonboat's errors of requests mean.
var requestErrors = []struct{ theirs, ours error }{
	{raft.ErrShardNotReady, consensus.ErrNoLeader}, // dropped: not in any log
	{raft.ErrShardNotInitialized, consensus.ErrNoLeader},
	{raft.ErrSystemBusy, consensus.ErrBusy},
	{raft.ErrTimeout, consensus.ErrTimeout},
	{raft.ErrTimeoutTooSmall, consensus.ErrTimeout},
	{raft.ErrInvalidDeadline, consensus.ErrTimeout},
	{raft.ErrCanceled, consensus.ErrCanceled},
	{raft.ErrPayloadTooBig, consensus.ErrTooLarge},
	{raft.ErrRejected, consensus.ErrConflict},
	{raft.ErrShardNotFound, consensus.ErrNoGroup},
	{raft.ErrShardAlreadyExist, consensus.ErrGroupExists},
	{raft.ErrShardClosed, consensus.ErrClosed},
	{raft.ErrClosed, consensus.ErrClosed},
	{raft.ErrReplicaRemoved, consensus.ErrNotMember},
	{raft.ErrInvalidOperation, consensus.ErrUnsupported},
	{raft.ErrInvalidShardSettings, consensus.ErrConfig},
	{raft.ErrShardNotBootstrapped, consensus.ErrConfig},
	{raft.ErrInvalidTarget, consensus.ErrConfig},
	{raft.ErrInvalidAddress, consensus.ErrConfig},
}

// requestError is err as package consensus has it.
func requestError(group string, err error) error {
	if err == nil {
		return nil
	}
	for _, e := range requestErrors {
		if errors.Is(err, e.theirs) {
			return fmt.Errorf("%w (group %q)", e.ours, group)
		}
	}
	return fmt.Errorf("consensus: group %q: %w", group, err)
}

// openErrors are by what dragonboat says, since the values are internal to it.
var openErrors = []struct {
	text, remedy string
	kind         error
}{
	{"not the owner of the data directory", "it was written under another node id: give this node its own directory, or its old id", consensus.ErrDirectory},
	{"logdb type changed", "it was written with another Store: set Options.Store to that one", consensus.ErrDirectory},
	{"hostname changed", "it was written under another host name, which is part of its paths: set the host name back", consensus.ErrDirectory},
	{"hard setting", "it was written with another number of Workers, or by a program with other fixed settings: set Options.Workers back", consensus.ErrDirectory},
	{"deployment ID changed", "it belongs to another cluster", consensus.ErrDirectory},
	{"failed to lock data directory", "another process uses it", consensus.ErrDirectory},
	{"incompatible LogDB data format", "another version wrote it: run that one, or take a new directory and a new replica", consensus.ErrDirectory},
	{"address by NodeHostID", "it was written with another way of addressing", consensus.ErrDirectory},
	{"corrupt", damagedRemedy, consensus.ErrDamaged},
	{"checksum", damagedRemedy, consensus.ErrDamaged},
	{"crc", damagedRemedy, consensus.ErrDamaged},
	{"unexpected EOF", damagedRemedy, consensus.ErrDamaged},
	{"invalid", damagedRemedy, consensus.ErrDamaged},
}

const damagedRemedy = "remove this replica from its groups, move the directory away, and add a new replica under a new number; the group has the data"

// openError explains why a directory can't be opened.
func openError(dir string, err error) error {
	if errors.Is(err, consensus.ErrConfig) { // of this package, such as an address that can't be listened at
		return err
	}
	text := err.Error()
	for _, e := range openErrors {
		if strings.Contains(text, e.text) {
			return fmt.Errorf("%w: %s: %s: %w", e.kind, dir, e.remedy, err)
		}
	}
	return fmt.Errorf("consensus: opening %s: %w", dir, err)
}
