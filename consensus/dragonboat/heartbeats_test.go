//go:build !nodragonboat && !s390x

package dragonboat

import (
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
)

// Heartbeats of many groups travel together, in order; what may not wait takes
// along those before it.
func TestHeartbeatsTravelTogether(t *testing.T) {
	// Heartbeats wait for an eighth of two ticks: far longer than the test takes.
	conn, source, got := heartbeatsTo(t, time.Minute)
	const beats = 300
	for life := range uint64(2) { // after the first time, what is kept is used again
		for i := range uint64(beats) + 1 {
			m := raftpb.Message{Type: raftpb.Heartbeat, To: 2, From: 1, LogIndex: i}
			if i == beats {
				m.Type, m.Entries = raftpb.Replicate, []raftpb.Entry{{Index: life}}
			}
			if err := conn.SendMessageBatch(raftpb.MessageBatch{SourceAddress: source, Requests: []raftpb.Message{m}}); err != nil {
				t.Fatal(err)
			}
		}
		if batches := next(t, got, 0, beats+1); batches != 1 {
			t.Errorf("%d heartbeats and an entry came in %d pieces", beats, batches)
		}
	}
}

// With nothing else to travel with, they wait for a little while only.
func TestHeartbeatsTravelByThemselves(t *testing.T) {
	conn, source, got := heartbeatsTo(t, 8*time.Millisecond)
	for i := range uint64(3) {
		m := raftpb.Message{Type: raftpb.Heartbeat, To: 2, From: 1, LogIndex: i}
		if err := conn.SendMessageBatch(raftpb.MessageBatch{SourceAddress: source, Requests: []raftpb.Message{m}}); err != nil {
			t.Fatal(err)
		}
		next(t, got, i, 1)
	}
}

// heartbeatsTo connects two nodes, of which one sends with some tick, and says as
// whom, and the other receives.
func heartbeatsTo(t *testing.T, tick time.Duration) (conn raftio.IConnection, source string, got <-chan raftpb.MessageBatch) {
	t.Helper()
	n := &nodes{t: t, dir: t.TempDir(), addrs: map[consensus.NodeID]string{}}
	from, to := n.add(), n.add()
	received := make(chan raftpb.MessageBatch, 1<<10)
	sender, receiver := newTransport(t, n, from, nil), newTransport(t, n, to, received)
	sender.o.Tick = tick
	for _, tr := range []*transport{receiver, sender} {
		if err := tr.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tr.Close() })
	}
	conn, err := sender.GetConnection(t.Context(), string(n.keys[to].id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	source = string(n.keys[from].id)
	// What is sent before there is a connection is lost.
	for connected := false; !connected; time.Sleep(time.Millisecond) {
		m := raftpb.Message{Type: raftpb.Replicate, To: 2, From: 1}
		if err := conn.SendMessageBatch(raftpb.MessageBatch{SourceAddress: source, Requests: []raftpb.Message{m}}); err != nil {
			t.Fatal(err)
		}
		r := conn.(*redialed)
		r.mu.Lock()
		connected = r.w != nil
		r.mu.Unlock()
	}
	<-received // the one that was sent when there was one: the first that is not lost
	return conn, source, received
}

// next receives count messages, which must be numbered from begin on, and returns
// in how many batches they came.
func next(t *testing.T, got <-chan raftpb.MessageBatch, begin, count uint64) (batches int) {
	t.Helper()
	for n := uint64(0); n < count; batches++ {
		select {
		case b := <-got:
			for _, m := range b.Requests {
				if m.LogIndex != begin+n {
					t.Fatalf("message %d came as the %d-th", m.LogIndex, begin+n)
				}
				n++
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%d messages came of %d", n, count)
		}
	}
	return batches
}

func TestWhatMayWait(t *testing.T) {
	for name, c := range map[string]struct {
		m    raftpb.Message
		want bool
	}{
		"a heartbeat":               {raftpb.Message{Type: raftpb.Heartbeat, Commit: 7}, true},
		"its answer":                {raftpb.Message{Type: raftpb.HeartbeatResp}, true},
		"a heartbeat of a read":     {raftpb.Message{Type: raftpb.Heartbeat, Hint: 1}, false},
		"the answer for a read":     {raftpb.Message{Type: raftpb.HeartbeatResp, HintHigh: 1}, false},
		"entries of the log":        {raftpb.Message{Type: raftpb.Replicate}, false},
		"the answer to entries":     {raftpb.Message{Type: raftpb.ReplicateResp}, false},
		"a candidate's question":    {raftpb.Message{Type: raftpb.RequestVote}, false},
		"the order to lead at once": {raftpb.Message{Type: raftpb.TimeoutNow}, false},
	} {
		if got := patient(&c.m); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
