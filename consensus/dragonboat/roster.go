//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
)

// Security says which node is at the other end, and not in whose name it may
// speak. dragonboat believes whoever says to be a replica that it hasn't heard of,
// and notes that this one is there: any node could be a leader of any group. So
// messages are only passed on that come from
//
//   - the node on which the group's members say that the replica is, as far as this
//     node's replica has applied that;
//   - a node that has another voter of the group: it is trusted with it, and has
//     come back under a new number, perhaps;
//   - a node for which a member vouches, or [Options.Vouch]: this node's replica was
//     away when that one was added, say, and can't learn of it but from it;
//   - anybody, where nobody could vouch: this node's replica joins, knows no members
//     yet, and Vouch isn't there.
//
// What is left out meanwhile is lost, and sent again, as Raft is made for.
const (
	// doubtPause is between two inquiries about one claim, at first; it doubles.
	doubtPause    = 100 * time.Millisecond
	maxDoubtPause = 2 * time.Second
	// maxDoubts bounds the claims of one node about one group that are inquired
	// about, and maxInquiries the inquiries about one node that are under way.
	maxDoubts    = 8
	maxInquiries = 4
	// inquiryTime bounds one, and doubtsFor is how long one is remembered.
	inquiryTime = 5 * time.Second
	doubtsFor   = time.Minute
)

// claim is what a node says: that a replica of a group is on it.
type claim struct {
	shard, replica uint64
	node           string
}

// roster says who may speak in which group. A nil one lets everybody.
type roster struct {
	self  string
	log   *slog.Logger
	vouch func(ctx context.Context, group consensus.GroupID, replica consensus.ReplicaID, node consensus.NodeID) bool

	// where is the node of a replica, by what its group has applied here; "" is
	// not known. Set before the first group is added, as voters is.
	where  func(shard, replica uint64) string
	voters func(shard uint64) []consensus.Member
	// ask asks a node whether a claim is right; beside runs something beside the
	// caller. Both are the transport's; nil where there is none to ask by.
	ask    func(ctx context.Context, node string, c claim) bool
	beside func(func(ctx context.Context)) bool

	mu        sync.RWMutex
	groups    map[uint64]*seats
	inquiries map[string]int // under way, by node
}

// seats is what is known of the replicas of a group that has one here.
type seats struct {
	replica uint64                            // the one here
	joins   bool                              // and has no members until it is told of them
	known   atomic.Pointer[map[uint64]string] // by replica: its node, as was found lately; never changed

	mu      sync.Mutex
	vouched map[uint64]string // by replica: its node, on others' word; dragonboat notes it with the next message
	doubts  map[claim]*doubt
}

// doubt is an inquiry about a claim.
type doubt struct {
	busy bool
	next time.Time // not before
	wait time.Duration
	said bool
}

func newRoster(o *Options) *roster {
	return &roster{self: string(o.Node), log: o.Logger, vouch: o.Vouch, groups: make(map[uint64]*seats), inquiries: make(map[string]int)}
}

// watch has a roster look into a host, in which no group was started yet.
func (r *roster) watch(h *Host) error {
	registry, err := registryOf(h.nh)
	if err != nil {
		return err
	}
	r.where = func(shard, replica uint64) string {
		node, _, err := registry.Resolve(shard, replica)
		if err != nil { // it is not known
			return ""
		}
		return node
	}
	r.voters = func(shard uint64) []consensus.Member { return h.voters.of(h.nh, shard) }
	return nil
}

// add begins to let others speak to a replica here, which may join its group.
func (r *roster) add(shard, replica uint64, joins bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[shard] = &seats{replica: replica, joins: joins}
}

// remove ends that.
func (r *roster) remove(shard uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.groups, shard)
}

func (r *roster) group(shard uint64) *seats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.groups[shard]
}

// forget forgets what may have changed: it is called every second.
func (r *roster) forget() {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.groups {
		s.known.Store(nil)
		s.mu.Lock()
		clear(s.vouched)
		for c, d := range s.doubts {
			if !d.busy && time.Since(d.next) > doubtsFor {
				delete(s.doubts, c)
			}
		}
		s.mu.Unlock()
	}
}

// admit leaves out of a batch what its node may not say. An error is for what no
// honest node says.
func (r *roster) admit(b *raftpb.MessageBatch) error {
	if r == nil {
		return nil
	}
	var all []raftpb.Message
	for i := range b.Requests {
		m := &b.Requests[i]
		ok, err := r.admits(claim{m.ShardID, m.From, b.SourceAddress}, m.To)
		if err != nil {
			return err
		}
		switch {
		case ok && all != nil:
			all = append(all, *m)
		case !ok && all == nil:
			all = append(make([]raftpb.Message, 0, len(b.Requests)), b.Requests[:i]...)
		}
	}
	if all != nil {
		b.Requests = all
	}
	return nil
}

// admits reports whether a replica may speak to another one, which should be here.
func (r *roster) admits(c claim, to uint64) (bool, error) {
	s := r.group(c.shard)
	if s == nil || s.replica != to { // nobody hears it
		return false, nil
	}
	if known := s.known.Load(); known != nil && (*known)[c.replica] == c.node {
		return true, nil
	}
	node := r.where(c.shard, c.replica)
	switch {
	case c.replica == 0 || c.replica == s.replica:
		return false, fmt.Errorf("%w: node %s sends messages of replica %d of group %016x, to replica %d", errFrame, c.node, c.replica, c.shard, to)
	case node == c.node:
		s.note(c)
		return true, nil
	case node != "":
		return false, fmt.Errorf("%w: node %s sends messages of replica %d of group %016x, which is on node %s", errFrame, c.node, c.replica, c.shard, node)
	case s.believes(c):
		return true, nil
	}
	voters := r.voters(c.shard)
	if slices.ContainsFunc(voters, func(m consensus.Member) bool { return string(m.Node) == c.node }) {
		return true, nil
	}
	if s.joins && len(voters) == 0 && r.vouch == nil { // somebody has to begin
		return true, nil
	}
	r.inquire(s, c, voters)
	return false, nil
}

// note notes that a claim is right, for the next message.
func (s *seats) note(c claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[uint64]string{c.replica: c.node}
	if old := s.known.Load(); old != nil {
		for replica, node := range *old {
			known[replica] = node
		}
	}
	s.known.Store(&known)
}

func (s *seats) believes(c claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vouched[c.replica] == c.node
}

// begins reports whether it is time to inquire about a claim.
func (s *seats) begins(c claim) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doubts[c]
	if d == nil {
		others := 0
		for other := range s.doubts {
			if other.node == c.node {
				others++
			}
		}
		if others >= maxDoubts {
			return false
		}
		d = &doubt{wait: doubtPause}
		if s.doubts == nil {
			s.doubts = make(map[claim]*doubt)
		}
		s.doubts[c] = d
	}
	if d.busy || time.Now().Before(d.next) {
		return false
	}
	d.busy = true
	return true
}

// ends notes what an inquiry has found out, and reports whether that is news.
func (s *seats) ends(c claim, good bool) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if good {
		if s.vouched == nil {
			s.vouched = make(map[uint64]string)
		}
		s.vouched[c.replica] = c.node
		delete(s.doubts, c)
		return true
	}
	d := s.doubts[c]
	d.busy, d.next, d.wait = false, time.Now().Add(d.wait), min(2*d.wait, maxDoubtPause)
	news = !d.said && d.wait == maxDoubtPause // at first, who vouches may not have heard of it either
	d.said = d.said || news
	return news
}

// inquire finds out, beside the caller, whether a claim is right.
func (r *roster) inquire(s *seats, c claim, voters []consensus.Member) {
	if r.beside == nil || !r.turn(c.node, 1) {
		return
	}
	if !s.begins(c) {
		r.turn(c.node, -1)
		return
	}
	begun := r.beside(func(ctx context.Context) {
		defer r.turn(c.node, -1)
		ctx, cancel := context.WithTimeout(ctx, inquiryTime)
		defer cancel()
		good := r.confirmed(ctx, c, voters)
		if !s.ends(c, good) {
			return
		}
		of := []any{"node", c.node, "group", fmt.Sprintf("%016x", c.shard), "replica", c.replica}
		if good {
			r.log.Info("raft: others vouch for a replica that this node's has not heard of", of...)
		} else {
			r.log.Warn("raft: a node speaks for a replica of which nobody knows here, and is not heard; if it is a member, and those whom this node's replica knows are none any more, remove this node's replica and add a new one", of...)
		}
	})
	if !begun { // it closes
		r.turn(c.node, -1)
	}
}

// turn counts the inquiries about a node; false where there are enough.
func (r *roster) turn(node string, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch now := r.inquiries[node] + n; {
	case now > maxInquiries:
		return false
	case now == 0:
		delete(r.inquiries, node)
	default:
		r.inquiries[node] = now
	}
	return true
}

// confirmed reports whether anybody who is known vouches for a claim.
func (r *roster) confirmed(ctx context.Context, c claim, voters []consensus.Member) bool {
	if r.vouch != nil && r.vouch(ctx, consensus.GroupID(c.shard), consensus.ReplicaID(c.replica), consensus.NodeID(c.node)) {
		return true
	}
	if r.ask == nil {
		return false
	}
	answers := make(chan bool, len(voters))
	asked := 0
	for _, m := range voters {
		if node := string(m.Node); node != r.self && node != c.node {
			asked++
			go func() { answers <- r.ask(ctx, node, c) }()
		}
	}
	for range asked {
		if <-answers {
			return true
		}
	}
	return false
}

// vouches reports whether a claim is right, by what this node's replica has applied:
// the answer to [roster.ask].
func (r *roster) vouches(c claim) bool {
	if r == nil || r.group(c.shard) == nil {
		return false
	}
	return slices.ContainsFunc(r.voters(c.shard), func(m consensus.Member) bool {
		return uint64(m.Replica) == c.replica && string(m.Node) == c.node
	})
}
