//go:build !nodragonboat && !s390x

package dragonboat

import (
	"slices"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

// With hundreds of groups, a node sends each other one hundreds of heartbeats,
// and as many answers, at every second tick, and nothing else while the groups
// are idle. dragonboat's queue before the connection is emptied as fast as it is
// filled, so most of them would travel alone, each at the price of a system call
// on both sides. So heartbeats wait a little for each other, and go along with
// whatever doesn't wait.

// heldMost bounds the heartbeats that wait.
const heldMost = 1024

// holdTime is how long a heartbeat may wait: a small part of the time between two
// of them, and of an election's.
func (o *Options) holdTime() time.Duration { return o.Tick * heartbeatTicks / 8 }

// patient reports whether a message may wait: a heartbeat, or its answer, by
// which nobody reads. (A linearizable read's has a number in it.)
func patient(m *raftpb.Message) bool {
	return (m.Type == raftpb.Heartbeat || m.Type == raftpb.HeartbeatResp) && m.Hint == 0 && m.HintHigh == 0
}

// hold keeps a batch of messages back if all of them may wait, and reports
// whether it did. The caller has r.mu.
func (r *redialed) hold(b *raftpb.MessageBatch) bool {
	if len(r.held.Requests)+len(b.Requests) > heldMost {
		return false
	}
	for i := range b.Requests {
		if !patient(&b.Requests[i]) {
			return false
		}
	}
	all := append(r.held.Requests, b.Requests...)
	first := len(r.held.Requests) == 0
	r.held = *b
	r.held.Requests = all
	switch {
	case !first:
	case r.timer == nil:
		r.timer = time.AfterFunc(r.t.o.holdTime(), r.flush)
	default:
		r.timer.Reset(r.t.o.holdTime())
	}
	return true
}

// flush sends what was held back.
func (r *redialed) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.held.Requests) > 0 && r.ctx.Err() == nil {
		r.send(raftpb.MessageBatch{})
	}
}

// taken are the messages of a batch, after those that were held back, which are
// not any more.
func (r *redialed) taken(b raftpb.MessageBatch) raftpb.MessageBatch {
	held := r.held
	r.held.Requests = held.Requests[:0] // sent before there are others
	switch {
	case len(held.Requests) == 0:
		return b
	case len(b.Requests) > 0: // in memory of its own: entries of the log must not stay alive in held
		b.Requests = slices.Concat(held.Requests, b.Requests)
		return b
	}
	return held
}
