//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// fixedRoster is of a node "me", with replica 1 of group 7, whose members are known
// as given.
func fixedRoster(applied map[uint64]string, voters ...consensus.Member) *roster {
	r := newRoster(&Options{Node: "me", Logger: slog.New(slog.DiscardHandler)})
	r.where = func(_, replica uint64) string { return applied[replica] }
	r.voters = func(uint64) []consensus.Member { return voters }
	r.beside = func(f func(context.Context)) bool { f(context.Background()); return true }
	r.add(7, 1, false)
	return r
}

func TestWhoMaySpeakInAGroup(t *testing.T) {
	applied := map[uint64]string{1: "me", 2: "b", 3: "c"}
	voters := []consensus.Member{{Replica: 1, Node: "me"}, {Replica: 2, Node: "b"}}
	yes := func(context.Context, consensus.GroupID, consensus.ReplicaID, consensus.NodeID) bool { return true }
	for name, c := range map[string]struct {
		c       claim
		to      uint64
		voters  []consensus.Member
		joins   bool
		tune    func(*roster)
		now     bool // it is heard at once
		later   bool // and after the inquiry
		forgery bool
	}{
		"a member":                            {c: claim{7, 2, "b"}, to: 1, voters: voters, now: true, later: true},
		"a member without a vote":             {c: claim{7, 3, "c"}, to: 1, voters: voters, now: true, later: true},
		"for a member that is elsewhere":      {c: claim{7, 2, "e"}, to: 1, voters: voters, forgery: true},
		"for this node's replica":             {c: claim{7, 1, "e"}, to: 1, voters: voters, forgery: true},
		"for nobody":                          {c: claim{7, 0, "b"}, to: 1, voters: voters, forgery: true},
		"to a group that isn't here":          {c: claim{8, 2, "b"}, to: 1, voters: voters},
		"to a replica that isn't here":        {c: claim{7, 2, "b"}, to: 4, voters: voters},
		"for a new replica of a voter's node": {c: claim{7, 9, "b"}, to: 1, voters: voters, now: true, later: true},
		"for a replica nobody knows":          {c: claim{7, 9, "e"}, to: 1, voters: voters},
		"for a replica nobody knows yet":      {c: claim{7, 9, "e"}, to: 1},
		"to one that joins":                   {c: claim{7, 9, "e"}, to: 1, joins: true, now: true, later: true},
		"to one that has joined":              {c: claim{7, 9, "e"}, to: 1, joins: true, voters: voters},
		"for one that a member knows": {c: claim{7, 9, "e"}, to: 1, voters: voters, later: true,
			tune: func(r *roster) { r.ask = func(_ context.Context, node string, _ claim) bool { return node == "b" } }},
		"for one that only itself knows": {c: claim{7, 9, "e"}, to: 1, voters: voters,
			tune: func(r *roster) { r.ask = func(_ context.Context, node string, _ claim) bool { return node == "e" } }},
		"for one that the tables have":   {c: claim{7, 9, "e"}, to: 1, voters: voters, later: true, tune: func(r *roster) { r.vouch = yes }},
		"to one that joins, with tables": {c: claim{7, 9, "e"}, to: 1, joins: true, later: true, tune: func(r *roster) { r.vouch = yes }},
		"to one that joins, not in the tables": {c: claim{7, 9, "e"}, to: 1, joins: true, tune: func(r *roster) {
			r.vouch = func(context.Context, consensus.GroupID, consensus.ReplicaID, consensus.NodeID) bool { return false }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := fixedRoster(applied, c.voters...)
			r.add(7, 1, c.joins)
			if c.tune != nil {
				c.tune(r)
			}
			for i, want := range []bool{c.now, c.later, c.later} {
				got, err := r.admits(c.c, c.to)
				if got != want || errors.Is(err, errFrame) != c.forgery {
					t.Errorf("message %d is heard: %v (%v), want %v", i, got, err, want)
				}
			}
		})
	}
}

// What a batch may not say is left out of it, and the rest arrives.
func TestABatchIsHeardInPart(t *testing.T) {
	r := fixedRoster(map[uint64]string{2: "b"}, consensus.Member{Replica: 2, Node: "b"})
	r.add(8, 5, false)
	b := raftpb.MessageBatch{SourceAddress: "b"}
	for _, m := range []claim{{7, 2, ""}, {9, 2, ""}, {7, 2, ""}, {8, 2, ""}} {
		b.Requests = append(b.Requests, raftpb.Message{ShardID: m.shard, From: m.replica, To: 1, LogIndex: uint64(len(b.Requests))})
	}
	if err := r.admit(&b); err != nil || len(b.Requests) != 2 || b.Requests[0].LogIndex != 0 || b.Requests[1].LogIndex != 2 {
		t.Errorf("%+v, %v", b.Requests, err)
	}
}

// One node's inquiries are few, however much it says.
func TestInquiriesAreBounded(t *testing.T) {
	r := fixedRoster(nil, consensus.Member{Replica: 2, Node: "b"})
	var begun []func(context.Context)
	r.beside = func(f func(context.Context)) bool { begun = append(begun, f); return true }
	say := func(from uint64, node string, count uint64) {
		for i := range count {
			if ok, err := r.admits(claim{7, from + i, node}, 1); ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	}
	say(100, "e", 1000)
	if len(begun) != maxInquiries {
		t.Errorf("%d inquiries at once, want %d", len(begun), maxInquiries)
	}
	say(100, "f", 1) // another node has its own
	if len(begun) != maxInquiries+1 {
		t.Error("nobody inquires about another node")
	}
	for len(begun) > 0 {
		f := begun[0]
		begun = begun[1:]
		f(t.Context())
		say(100, "e", 1000)
	}
	s := r.group(7)
	if len(s.doubts) != maxDoubts+1 {
		t.Errorf("%d claims are remembered, want %d", len(s.doubts), maxDoubts+1)
	}
	for _, d := range s.doubts {
		d.next = time.Now().Add(-2 * doubtsFor)
	}
	r.forget()
	if len(s.doubts) != 0 || len(r.inquiries) != 0 {
		t.Errorf("%d claims, %d nodes are left", len(s.doubts), len(r.inquiries))
	}
}

// heard counts what is logged.
type heard struct{ warnings atomic.Int64 }

func (h *heard) Enabled(context.Context, slog.Level) bool { return true }
func (h *heard) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *heard) WithGroup(string) slog.Handler            { return h }

func (h *heard) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn && strings.HasPrefix(r.Message, "raft: a node speaks for a replica of which nobody knows") {
		h.warnings.Add(1)
	}
	return nil
}

// A node that Security lets in, and that has no replica of a group, can't lead it:
// an unknown replica's word of a later term would end the leader's, and a snapshot
// of its own would be the group's state.
func TestAnUnknownReplicaIsNotHeard(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 2)
	n.close(0)
	o, log := n.options(0), &heard{}
	o.Logger = slog.New(log)
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	n.hosts[0] = h
	groups := n.start("theirs", nil)
	stranger := n.add()
	sender := newTransport(t, n, stranger, nil)
	if err := sender.Start(); err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	me, to, shard := string(n.keys[stranger].id), string(n.keys[0].id), uint64(groups[0].Status().ID)
	conn, err := sender.GetConnection(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const term = 1 << 40
	for deadline := time.Now().Add(time.Minute); log.warnings.Load() == 0 && groups[0].Status().Term < term; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was said about it")
		}
		forged := raftpb.Message{Type: raftpb.Replicate, ShardID: shard, From: 77, To: 1, Term: term, Commit: 1 << 40}
		err := conn.SendMessageBatch(raftpb.MessageBatch{SourceAddress: me,
			BinVer: raftio.TransportBinVersion, DeploymentId: sender.deployment, Requests: []raftpb.Message{forged}})
		if err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := sender.GetSnapshotConnection(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		err := snapshot.SendChunk(raftpb.Chunk{ShardID: shard, ReplicaID: 1, From: 77, Index: 1 << 40, Term: term, ChunkCount: 2,
			DeploymentId: sender.deployment, BinVer: raftio.TransportBinVersion, Data: []byte("x"), Filepath: "x"})
		if err != nil { // the other end has gone
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a snapshot of an unknown replica is received")
		}
	}
	consensustest.Ready(t, groups[0])
	if got := groups[0].Status().Term; got >= term {
		t.Errorf("the term is %d: the stranger was heard", got)
	}
	if node := h.roster.where(shard, 77); node != "" {
		t.Errorf("replica 77 is said to be on %s", node)
	}
}

// A member that was away while others came does not know its new leader, which has to
// tell it of itself: one of those that it knows vouches.
func TestAMemberThatWasAwayHearsANewLeader(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 3)
	tune := func(c *consensus.GroupConfig) { c.SnapshotEntries, c.KeepEntries = 50, 5 }
	groups := n.start("away", tune)
	n.close(2)
	added := n.add()
	n.open(added)
	member := consensus.Member{Replica: 4, Node: n.keys[added].id, Role: consensus.NonVoter}
	eventually(t, "adding a non-voter", func(ctx context.Context) error { return ignoreConflict(groups[0].Add(ctx, member, 0)) })
	fourth := n.startOn(added, "away", nil, func(c *consensus.GroupConfig) { tune(c); c.Join, c.Role = true, consensus.NonVoter })
	consensustest.Ready(t, fourth)
	member.Role = consensus.Voter
	eventually(t, "promoting it", func(ctx context.Context) error { return ignoreConflict(groups[0].Add(ctx, member, 0)) })
	eventually(t, "handing over", func(ctx context.Context) error { return groups[0].Transfer(ctx, 4) })
	for i := range uint64(100) { // beyond what the log keeps: it gets a snapshot
		eventually(t, "writing", func(ctx context.Context) error {
			_, err := consensus.Propose(ctx, fourth, consensustest.Command('=', 'k', i))
			return err
		})
	}
	n.open(2)
	back := n.startOn(2, "away", nil, tune)
	if got := count(t, back, 'k'); got != 99 {
		t.Errorf("%d after it came back, want 99", got)
	}
	eventually(t, "following the new leader", func(ctx context.Context) error {
		if s := back.Status(); s.Leader != 4 {
			return errors.Join(fmt.Errorf("the leader is %d", s.Leader), fourth.Transfer(ctx, 4))
		}
		return nil
	})
}
