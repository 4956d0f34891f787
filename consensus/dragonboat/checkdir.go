//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"

	"github.com/cell-runtime/cell/consensus"
)

// CheckDirectory looks at a data directory that no process uses: whose it is,
// that its marks can be read, and that its store opens, which reads its logs and
// compares their checksums. It says what it has found; the error wraps
// [consensus.ErrDirectory] or [consensus.ErrDamaged]. Whether a replica's log
// ends too early is found when that starts.
func CheckDirectory(dir string) (found []string, err error) {
	id, err := readIdentity(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no data of a member in %s: name the folder that raft.dir says (cellnode run --raft-dir), by default raft beside the folder of the node's identity", consensus.ErrDirectory, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", consensus.ErrDirectory, dir, err)
	}
	if id.Format > dirFormat {
		return nil, compatible(id, dirIdentity{Format: dirFormat})
	}
	found = append(found, fmt.Sprintf("of node %s, store %s, format %d", id.Node, id.Store, id.Format))
	held, err := lockDirectory(dir)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, held.close()) }()
	marks, err := readMarks(dir)
	if err != nil {
		return found, err
	}
	o := Options{Node: consensus.NodeID(id.Node), Dir: dir, Store: id.Store, Workers: id.Workers, transport: muteFactory{}, Logger: slog.New(slog.DiscardHandler)}
	if err := o.setDefaults(); err != nil {
		return found, err
	}
	nh, err := openNodeHost(&o, newLeaderWatch())
	if err != nil {
		return found, openError(dir, err)
	}
	defer nh.Close()
	found = append(found, replicaInfos(nh)...)
	for name, m := range marks {
		found = append(found, fmt.Sprintf("group %q: replica %d has applied its log up to entry %d at least", name, m.Replica, m.Index))
	}
	slices.Sort(found[1:])
	return found, nil
}

// muteFactory makes transports that carry nothing.
type muteFactory struct{}

func (muteFactory) Create(config.NodeHostConfig, raftio.MessageHandler, raftio.ChunkHandler) raftio.ITransport {
	return mute{}
}
func (muteFactory) Validate(string) bool { return true }

type mute struct{}

var errMute = errors.New("nothing is sent while a directory is checked")

func (mute) Name() string { return "mute" }
func (mute) Start() error { return nil }
func (mute) Close() error { return nil }
func (mute) GetConnection(context.Context, string) (raftio.IConnection, error) {
	time.Sleep(time.Millisecond)
	return nil, errMute
}
func (mute) GetSnapshotConnection(context.Context, string) (raftio.ISnapshotConnection, error) {
	return nil, errMute
}
