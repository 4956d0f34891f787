package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cell-runtime/cell/consensus/supervise"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/raftnode"
)

// RaftSettings are what the node's member of a cluster is told.
func RaftSettings(runtimeDir string, c config.Raft) (raftnode.Settings, error) {
	s := raftnode.Settings{RuntimeDir: runtimeDir, Dir: c.Dir, Identity: c.Identity, Listen: c.Listen, Advertise: c.Reached(), Peers: c.PeerList(), Nodes: c.Nodes}
	if s.Identity == "" {
		dir, err := identity.DefaultDir()
		if err != nil {
			return s, err
		}
		s.Identity = dir
	}
	if s.Dir == "" {
		s.Dir = filepath.Join(filepath.Dir(s.Identity), "raft")
	}
	return s, nil
}

// runRaft runs the node's member of a cluster, if the configuration has one, in
// a process of its own, until the node begins to stop. That it can't is logged:
// the cells go on.
func (n *Node) runRaft(ctx context.Context) error {
	if n.config.Raft.Listen == "" {
		return nil
	}
	c := n.config.Raft
	if c.Identity == "" { // the same node to everybody
		c.Identity = n.config.Network.Identity
	}
	s, err := RaftSettings(n.dir, c)
	if err != nil {
		return err
	}
	env, err := s.Env()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l := n.config.Log
	n.work.Go(func() {
		err := supervise.Run(ctx, supervise.Options{
			Always: true, // a member ends by itself where somebody else has told it to
			Command: func() *exec.Cmd {
				cmd := exec.Command(self, "raft", "member", "--log-format", l.Format, "--log-level", l.Level)
				cmd.Env, cmd.Stderr = append(os.Environ(), env), os.Stderr
				return cmd
			},
			Logger: n.log,
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			n.log.Error("raft: the member ended and is not started again", "err", err)
		}
	})
	return nil
}
