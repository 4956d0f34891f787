//go:build !nodragonboat && !s390x

package dragonboat

import (
	"net"
	"sync/atomic"
	"time"

	raft "github.com/lni/dragonboat/v4"
)

// Nodes that have groups in common tell each other that they live, by one byte
// now and then on a connection of its own: as often as one group's heartbeats
// would, and for all groups together, which rest meanwhile (rest.go). dragonboat's
// own connections end when nothing is said for a minute.

// beatPause is between two attempts to reach a node.
const beatPause = 500 * time.Millisecond

// beatTo begins to tell a node that this one lives, if that isn't done yet.
func (t *transport) beatTo(target string) {
	if t.o.rest == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil || t.beating[target] {
		return
	}
	t.beating[target] = true
	t.serving.Go(func() { t.beat(target) })
}

// beat goes on until the transport is closed, or the node has no group in common
// with this one.
func (t *transport) beat(target string) {
	defer func() {
		t.mu.Lock()
		delete(t.beating, target)
		t.mu.Unlock()
	}()
	for {
		if c, err := t.dial(t.ctx, target, kindBeats); err == nil {
			t.o.rest.stir()
			t.beatOn(c, target)
			t.o.rest.stir()
		}
		select {
		case <-t.ctx.Done():
			return
		case <-time.After(beatPause):
		}
		if !t.o.rest.shares(target) {
			return
		}
	}
}

// beatOn goes on until the connection ends.
func (t *transport) beatOn(c net.Conn, target string) {
	defer c.Close()
	ended := new(atomic.Bool)
	t.watch(c, target, ended)
	tick := time.NewTicker(t.o.beat())
	defer tick.Stop()
	for !ended.Load() {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		if c.SetWriteDeadline(time.Now().Add(silence)) != nil {
			return
		}
		if _, err := c.Write([]byte{0}); err != nil {
			return
		}
	}
}

// hearBeats goes on until the connection ends.
func (t *transport) hearBeats(c net.Conn, from string) error {
	var b [64]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return err
		}
		t.o.rest.beats(from)
	}
}

// shares reports whether a group has a voter on a node, and a replica here. To one
// that has no voters, beats begin again when a message has reached it.
func (r *rest) shares(node string) bool {
	info := r.h.nh.GetNodeHostInfo(raft.NodeHostInfoOption{SkipLogInfo: true})
	if info == nil {
		return false
	}
	for i := range info.ShardInfoList {
		for _, other := range info.ShardInfoList[i].Replicas {
			if other == node {
				return true
			}
		}
	}
	return false
}
