package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/consensus/supervise"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/node/network"
	"github.com/cell-runtime/cell/node/ops"
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
	n.work.Go(func() { n.introduce(ctx, s.Listen) })
	n.work.Go(func() { n.tellVersions(ctx) })
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

const (
	// introducePace is how often the member is told of nodes that were found.
	introducePace = 2 * time.Second
	// introduceAgain is how often it is told of those that it was told of: it
	// forgets where nobody has answered.
	introduceAgain = time.Minute
)

// introduce tells the node's member of a cluster where those of the nodes are that
// this one has found.
func (n *Node) introduce(ctx context.Context, listen string) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return
	}
	var told []string
	var at time.Time
	t := time.NewTicker(introducePace)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		list, err := n.network.Operations().Peers(ctx)
		if err != nil { // the node is alone
			continue
		}
		found := raftAddrs(list.Peers, port)
		if len(found) == 0 || slices.Equal(found, told) && time.Since(at) < introduceAgain {
			continue
		}
		short, cancel := context.WithTimeout(ctx, introducePace)
		err = raftnode.Introduce(short, n.dir, found...)
		cancel()
		if err != nil { // it is starting, or away: the next time
			n.log.Debug("raft: the member was not told of nodes", "err", err)
			continue
		}
		told, at = found, time.Now()
	}
}

// versionsPace is how often the cluster's table is told of this node's versions,
// where they have changed, and versionsAgain where they haven't: the table may be
// another one.
const (
	versionsPace  = 2 * time.Second
	versionsAgain = time.Minute
)

// tellVersions keeps in the cluster's table what versions of cells this node has.
func (n *Node) tellVersions(ctx context.Context) {
	var last versionsTold
	t := time.NewTicker(versionsPace)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		short, cancel := context.WithTimeout(ctx, versionsPace)
		err := last.renew(short, n.dir, n.versionsHere(), time.Now())
		cancel()
		if err != nil { // there is no cluster yet, say: the next time
			n.log.Debug("raft: the table was not told of versions", "err", err)
		}
	}
}

// versionsTold is what the cluster's table was told last, and when.
type versionsTold struct {
	all []raftnode.Version
	at  time.Time
}

// renew tells the table by the member of a runtime directory, where it is time to.
func (v *versionsTold) renew(ctx context.Context, dir string, all []raftnode.Version, now time.Time) error {
	if now.Sub(v.at) < versionsAgain && slices.Equal(all, v.all) {
		return nil
	}
	if err := raftnode.SetVersions(ctx, dir, all); err != nil {
		return err
	}
	v.all, v.at = all, now
	return nil
}

// versionsHere are the versions of all cells, by name, oldest first.
func (n *Node) versionsHere() []raftnode.Version {
	all := []raftnode.Version{}
	for _, c := range n.State().Cells {
		list, err := operator{n}.Versions(context.Background(), ops.Name{Cell: c.Name})
		if err != nil { // it has gone
			continue
		}
		for _, v := range list.Versions {
			all = append(all, raftnode.Version{Cell: c.Name, Version: v.Name, State: v.State, Current: v.Current})
		}
	}
	return all
}

// raftAddrs are where other nodes' members of a cluster are: where they say, or, of
// those that name a host or say nothing, at this one's port.
func raftAddrs(peers []netops.Peer, port string) (all []string) {
	for _, p := range peers {
		var said, guessed []string
		for _, text := range append(slices.Clone(p.Links), p.Addr) {
			medium, addr, ok := strings.Cut(text, " ")
			if !ok {
				addr = text
			}
			a, err := netip.ParseAddrPort(addr)
			switch {
			case err != nil:
			case medium == network.MediumRaft:
				said = append(said, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String())
			default:
				guessed = append(guessed, net.JoinHostPort(a.Addr().Unmap().String(), port))
			}
		}
		if len(said) == 0 {
			said = guessed
		}
		all = append(all, said...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
