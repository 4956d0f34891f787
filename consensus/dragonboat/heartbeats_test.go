//go:build !nodragonboat && !s390x

package dragonboat

import (
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
)

// Heartbeats of many groups travel together, in order; what may not wait takes
// along those before it.
func TestHeartbeatsTravelTogether(t *testing.T) {
	n := &nodes{t: t, dir: t.TempDir(), addrs: map[consensus.NodeID]string{}}
	from, to := n.add(), n.add()
	got := make(chan raftpb.MessageBatch, 1<<10)
	sender, receiver := newTransport(t, n, from, nil), newTransport(t, n, to, got)
	sender.o.Tick = time.Second // heartbeats wait for an eighth of two of these
	for _, tr := range []*transport{sender, receiver} {
		if err := tr.Start(); err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
	}
	conn, err := sender.GetConnection(t.Context(), string(n.keys[to].id))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const beats = 300
	for life := range uint64(2) { // after the first time, what is kept is used again
		for i := range uint64(beats) + 1 {
			m := raftpb.Message{Type: raftpb.Heartbeat, To: 2, From: 1, LogIndex: i}
			if i == beats {
				m.Type, m.Entries = raftpb.Replicate, []raftpb.Entry{{Index: life}}
			}
			if err := conn.SendMessageBatch(raftpb.MessageBatch{SourceAddress: string(n.keys[from].id), Requests: []raftpb.Message{m}}); err != nil {
				t.Fatal(err)
			}
			if life == 1 && i == 1 { // the timer's
				next(t, got, 0, 2)
			}
		}
		begin := 2 * life
		if batches := next(t, got, begin, beats+1-begin); batches > 10 {
			t.Errorf("%d heartbeats came in %d pieces", beats, batches)
		}
	}
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
		case <-time.After(30 * time.Second):
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
