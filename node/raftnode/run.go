//go:build !nodragonboat && !s390x

package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/cluster"
	"github.com/cell-runtime/cell/consensus/cluster/admin"
	"github.com/cell-runtime/cell/consensus/dragonboat"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// trustInterval is how often the files that say who is trusted are looked at.
const trustInterval = 2 * time.Second

// Run runs a member until ctx ends.
func Run(ctx context.Context, s Settings, log *slog.Logger) error {
	keys, err := identity.LoadCredentials(s.Identity)
	if err != nil {
		return err
	}
	trust, err := identity.LoadTrust(s.Identity)
	if err != nil {
		return err
	}
	go trust.Follow(ctx, s.Identity, trustInterval, func(err error) {
		if err != nil {
			log.Error("raft: who is trusted can't be read; it stays as it was", "err", err)
		}
	})
	listener, err := uds.Listen(AdminName, &uds.Options{Dir: s.RuntimeDir})
	if err != nil {
		return fmt.Errorf("is another member running here? %w", err)
	}
	defer listener.Close()
	m, err := cluster.Open(cluster.Options{
		Dir: s.Dir, Advertise: s.Advertise, Peers: s.Peers, Nodes: s.Nodes, Logger: log,
		Open: func(answer cluster.AnswerFunc, resolve cluster.ResolveFunc, vouch cluster.VouchFunc) (cluster.Host, error) {
			return dragonboat.Open(dragonboat.Options{
				Node: consensus.NodeID(keys.ID().String()), Dir: filepath.Join(s.Dir, "log"), Listen: s.Listen,
				Security: dragonboat.NodeKeys(keys, trust), Resolve: resolve, Answer: answer, Vouch: vouch, Logger: log,
			})
		},
		Serve: func(ctx context.Context, group string, server *rpc.Server) {
			if err := serveStore(ctx, s.RuntimeDir, group, server); err != nil && ctx.Err() == nil {
				log.Error("raft: a store can't be reached", "group", group, "err", err)
			}
		},
	})
	if err != nil {
		return err
	}
	defer m.Close()
	server, err := rpc.NewServer(&rpc.ServerOptions{Name: AdminName, Logger: log})
	if err != nil {
		return err
	}
	defer server.Close()
	if err := admin.Serve(server, m); err != nil {
		return err
	}
	shown, err := newGauges(s.RuntimeDir)
	if err != nil {
		return err
	}
	watched := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer close(watched)
		shown.keep(ctx, m, log)
	}()
	go keepRevoked(ctx, m, s.Identity, trust, log)
	defer func() {
		stop()
		<-watched
		_ = shown.close()
	}()
	log.Info("raft: a member is running", "node", keys.ID(), "addr", s.Advertise, "dir", s.Dir)
	return server.Run(ctx, listener.AcceptLink)
}

// serveStore serves a store at a socket of its name until ctx ends.
func serveStore(ctx context.Context, dir, group string, server *rpc.Server) error {
	defer server.Close()
	l, err := uds.Listen(StorePrefix+group, &uds.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer l.Close()
	return server.Run(ctx, l.AcceptLink)
}

// CheckBackup reads a backup to its end and says what it is of.
func CheckBackup(r io.Reader) (consensus.BackupInfo, error) { return dragonboat.CheckBackup(r) }

// Restore writes a backup of the system group into the data directory of a
// member that does not run, as a replica among the given members.
func Restore(s Settings, backup io.ReadSeeker, members map[consensus.ReplicaID]consensus.NodeID, replica consensus.ReplicaID) (consensus.BackupInfo, error) {
	node, ok := members[replica]
	if !ok {
		return consensus.BackupInfo{}, fmt.Errorf("%w: replica %d is not among the members", consensus.ErrConfig, replica)
	}
	info, err := dragonboat.CheckBackup(backup)
	if err != nil {
		return info, err
	}
	if info.Group != cluster.SystemGroup {
		return info, fmt.Errorf("%w: a backup of group %q: only the group %q, which has the tables, can be restored so", consensus.ErrUnsupported, info.Group, cluster.SystemGroup)
	}
	if _, err := backup.Seek(0, io.SeekStart); err != nil {
		return info, err
	}
	info, err = dragonboat.Restore(dragonboat.Options{
		Node: node, Dir: filepath.Join(s.Dir, "log"), Listen: s.Listen, Insecure: true, // nothing is sent
		Resolve: func(context.Context, consensus.NodeID) (string, error) { return "", errors.ErrUnsupported },
	}, backup, members, replica)
	if err != nil {
		return info, err
	}
	return info, cluster.Restored(s.Dir, fmt.Sprintf("restored-%s-%d", info.Time.Format("20060102T150405"), info.Index), replica)
}

// CheckDir says what is wrong with a data directory that nobody uses.
func CheckDir(dir string) ([]string, error) {
	did, err := cluster.CheckState(dir)
	if err != nil {
		return did, err
	}
	more, err := dragonboat.CheckDirectory(filepath.Join(dir, "log"))
	for i := range more {
		more[i] = strings.TrimSpace(more[i])
	}
	return append(did, more...), err
}
