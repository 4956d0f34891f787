//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	raft "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// A group of which nothing is asked for a while rests: its replicas send no
// heartbeats, and wait for none (dragonboat's Quiesce). That is what makes
// hundreds of groups cheap, but alone it would have three faults. Nobody would
// notice that a leader has died; who waits for it again would find that its time
// is long over, and so would a leader that looks whether it is still followed;
// and who was away would not be told what it has missed. So
//
//   - a replica is roused before anything is asked of it ([group.rouse]), as if the
//     last heartbeat had come just now: a follower then waits an election's time
//     for the next one, and a leader takes its followers for there as long;
//   - nodes whose groups rest still tell each other that they live (beats.go), so
//     replicas are roused when the node of their leader falls silent, or is back;
//   - a leader does not rest while a member doesn't answer, and is roused when a node
//     is not reached any more ([rest.keepAwake]);
//   - members rest together, or those that don't would take the leader for dead: a
//     leader keeps them awake until each has been there for long enough to agree.
//
// None of that is needed for safety: Raft is as safe with elections and heartbeats
// at the wrong time as at the right one.

const (
	// restTicks is after how many times ElectionTicks a group rests of which
	// nothing is asked (dragonboat, quiesce.go).
	restTicks = 20
	// unanswered is for how long a member that is there may leave heartbeats
	// unanswered, and how often that is looked for.
	unanswered = time.Second
	// forgotten is after how long without a heartbeat nothing is kept of a member.
	forgotten = time.Minute
)

// rest is what a host does for groups that rest. A nil one lets none rest.
type rest struct {
	h          *Host
	deliver    raftio.MessageHandler // to this host's replicas
	deployment uint64
	drowsy     time.Duration // after how long without an answer a replica may be at rest
	calm       time.Duration // for how long members must have been there before they rest
	silence    time.Duration // after how long a node that says nothing is taken for dead
	ended      chan struct{}

	began time.Time
	now   atomic.Int64 // ns since began, as of the last beat: cheaper than a clock

	mu      sync.Mutex
	asked   map[asked]*asking
	awake   map[uint64]bool      // groups that are led from here and must not rest
	alive   map[string]time.Time // nodes whose beats come, and when the last one did
	stirred bool                 // leaders are to be roused
}

// asked is a member whom a replica here, leading, sends heartbeats.
type asked struct{ shard, leader, member uint64 }

// asking is when that was done last, when it was answered, and since when it always
// was; as rest.now.
type asking struct{ last, answered, since time.Duration }

func newRest(h *Host) *rest {
	election := time.Duration(h.o.ElectionTicks) * h.o.Tick
	return &rest{h: h, drowsy: restTicks * election / 2, calm: restTicks*election + unanswered, silence: election, ended: make(chan struct{}),
		began: time.Now(), asked: make(map[asked]*asking), alive: make(map[string]time.Time)}
}

// beat is the time between two signs of life of a node.
func (o *Options) beat() time.Duration { return o.Tick * heartbeatTicks }

// rested makes transports that a [rest] looks into.
type rested struct {
	config.TransportFactory
	r *rest
}

func (f rested) Create(c config.NodeHostConfig, message raftio.MessageHandler, chunk raftio.ChunkHandler) raftio.ITransport {
	f.r.deliver, f.r.deployment = message, c.GetDeploymentID()
	received := func(b raftpb.MessageBatch) {
		f.r.receives(&b)
		if slices.ContainsFunc(b.Requests, f.r.early) {
			b.Requests = slices.DeleteFunc(slices.Clone(b.Requests), f.r.early)
		}
		message(b)
	}
	return restedTransport{f.TransportFactory.Create(c, received, chunk), f.r}
}

type restedTransport struct {
	raftio.ITransport
	r *rest
}

func (t restedTransport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	c, err := t.ITransport.GetConnection(ctx, target)
	if err != nil {
		return nil, err
	}
	return restedConn{c, t.r}, nil
}

type restedConn struct {
	raftio.IConnection
	r *rest
}

func (c restedConn) SendMessageBatch(b raftpb.MessageBatch) error {
	if slices.ContainsFunc(b.Requests, idle) {
		b.Requests = slices.DeleteFunc(slices.Clone(b.Requests), idle)
		if len(b.Requests) == 0 {
			return nil
		}
	}
	c.r.sends(&b)
	return c.IConnection.SendMessageBatch(b)
}

// idle is a message that says nothing, and would keep a leader from resting: a
// follower has nothing that waits to be applied. What it had is forgotten without.
func idle(m raftpb.Message) bool { return m.Type == raftpb.RateLimit && m.Hint == 0 }

// run goes on until the host is closed.
func (r *rest) run() {
	defer close(r.ended)
	t := time.NewTicker(r.h.o.beat())
	defer t.Stop()
	for looked := time.Duration(0); ; {
		select {
		case <-r.h.closing:
			return
		case <-t.C:
		}
		now := time.Since(r.began)
		r.now.Store(int64(now))
		r.notice()
		if now-looked >= unanswered {
			looked = now
			r.keepAwake(now)
		}
	}
}

// rouse wakes this replica if it may be at rest: before something is asked of it.
func (g *group) rouse() {
	r := g.h.rest
	if r == nil {
		return
	}
	now := r.now.Load()
	if now-g.answered.Load() < int64(r.drowsy) {
		return
	}
	last := g.roused.Load()
	if last != 0 && now-last < int64(r.drowsy) || !g.roused.CompareAndSwap(last, max(now, 1)) {
		return
	}
	r.wake(uint64(g.id), uint64(g.config.Replica))
}

// served notes that this replica has answered: it is awake.
func (g *group) served() {
	if r := g.h.rest; r != nil {
		if now := r.now.Load(); g.answered.Load() != now {
			g.answered.Store(now)
		}
	}
}

// wake wakes a replica, as if its leader, or its followers, had just said that
// they are there. The messages are of the term in which that leader leads, and
// mean nothing in another.
func (r *rest) wake(shard, replica uint64) {
	leader, term, known, err := r.h.nh.GetLeaderID(shard)
	if err != nil {
		return
	}
	var all []raftpb.Message
	switch {
	case known && leader == replica:
		for _, m := range r.h.voters.of(r.h.nh, shard) {
			if uint64(m.Replica) != replica {
				all = append(all, raftpb.Message{Type: raftpb.HeartbeatResp, From: uint64(m.Replica), Term: term})
			}
		}
	case known:
		all = append(all, raftpb.Message{Type: raftpb.Heartbeat, From: leader, Term: term})
	}
	r.tell(shard, replica, append(all, raftpb.Message{Type: raftpb.NoOP, From: replica})...)
}

// tell gives messages to a replica. Any but a heartbeat, or its answer, wakes one
// that has gone to rest just now, and NoOP does nothing else.
func (r *rest) tell(shard, replica uint64, all ...raftpb.Message) {
	for i := range all {
		all[i].ShardID, all[i].To = shard, replica
	}
	r.deliver(raftpb.MessageBatch{BinVer: raftio.TransportBinVersion, DeploymentId: r.deployment, Requests: all})
}

// sends notes what this node's replicas send.
func (r *rest) sends(b *raftpb.MessageBatch) {
	now := time.Duration(r.now.Load())
	for i := range b.Requests {
		if m := &b.Requests[i]; m.Type == raftpb.Heartbeat && patient(m) {
			r.mu.Lock()
			k := asked{m.ShardID, m.From, m.To}
			if a := r.asked[k]; a != nil {
				a.last = now
			} else {
				r.asked[k] = &asking{now, now, now}
			}
			r.mu.Unlock()
		}
	}
}

// receives notes what other nodes' replicas answer.
func (r *rest) receives(b *raftpb.MessageBatch) {
	now := time.Duration(r.now.Load())
	for i := range b.Requests {
		if m := &b.Requests[i]; m.Type == raftpb.HeartbeatResp && patient(m) {
			r.mu.Lock()
			if a := r.asked[asked{m.ShardID, m.To, m.From}]; a != nil {
				if now-a.answered > unanswered {
					a.since = now
				}
				a.answered = now
			}
			r.mu.Unlock()
		}
	}
}

// keepAwake asks something of groups that are led from here, so that none of their
// voters rests, where a member doesn't answer: it is not there yet, or away, and has
// to be told of it all when it is. And where one has answered for a short time only:
// dragonboat refuses to rest again so soon.
func (r *rest) keepAwake(now time.Duration) {
	awake := make(map[uint64]bool)
	r.mu.Lock()
	for k, a := range r.asked {
		switch {
		case now-a.last > forgotten:
			delete(r.asked, k)
		case now-a.last < 2*unanswered && (a.last-a.answered > unanswered || now-a.since < r.calm):
			awake[k.shard] = true
		}
	}
	r.awake = awake
	r.mu.Unlock()
	for shard := range awake {
		_, _ = r.h.nh.ReadIndex(shard, unanswered) // nobody waits for the answer
	}
}

// early is another replica's wish to rest, where this one leads and knows better.
func (r *rest) early(m raftpb.Message) bool {
	if m.Type != raftpb.Quiesce {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.awake[m.ShardID]
}

// beats notes a sign of life of a node.
func (r *rest) beats(node string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alive[node] = time.Now()
}

// stir has leaders look whether everybody is there: a node is not reached any more,
// or again, and its replicas may have missed something, or not know their leader.
func (r *rest) stir() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stirred = true
}

// notice wakes replicas whose leader's node has fallen silent, and leaders where
// a node is back.
func (r *rest) notice() {
	r.mu.Lock()
	stirred := r.stirred
	r.stirred = false
	silent := make(map[string]bool)
	for node, last := range r.alive {
		if time.Since(last) > r.silence {
			silent[node] = true
			delete(r.alive, node) // once, until it is heard again
		}
	}
	r.mu.Unlock()
	if len(silent) == 0 && !stirred {
		return
	}
	info := r.h.nh.GetNodeHostInfo(raft.NodeHostInfoOption{SkipLogInfo: true})
	if info == nil {
		return
	}
	for i := range info.ShardInfoList {
		s := &info.ShardInfoList[i]
		if silent[s.Replicas[s.LeaderID]] || stirred && s.LeaderID == s.ReplicaID {
			r.wake(s.ShardID, s.ReplicaID)
		}
	}
}
