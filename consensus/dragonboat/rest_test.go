//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// settle is longer than it takes a group to rest, with default times.
const settle = 16 * time.Second

// atRest is a group with default times, of which nothing was asked for a while.
type atRest struct {
	*world
	t        *testing.T
	leader   int
	sessions []*consensus.Session
}

// newAtRest starts members in virtual time and waits until nothing is sent any more.
func newAtRest(t *testing.T, tune func(o *Options)) *atRest {
	w := &atRest{t: t, world: &world{tune: func(o *Options) {
		o.Tick, o.ElectionTicks = 0, 0
		if os.Getenv("CELL_RAFT_LOG") != "" {
			o.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", o.Node)
		}
		if tune != nil {
			tune(o)
		}
	}}}
	if err := w.found(); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		s, err := consensus.NewSession(t.Context(), n.g)
		if err != nil {
			t.Fatal(err)
		}
		w.sessions = append(w.sessions, s)
	}
	w.leader = int(w.nodes[0].g.Status().Leader) - 1
	time.Sleep(settle + 7*time.Millisecond) // not as the clock ticks
	return w
}

// ask writes, or reads, through a member, and returns how long that took.
func (w *atRest) ask(i int, read bool) time.Duration {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	var err error
	if read {
		_, err = consensus.Query(ctx, w.nodes[i].g, byte(1))
	} else {
		_, err = w.sessions[i].Propose(ctx, consensustest.Command('=', 1, 1))
	}
	if err != nil {
		w.t.Error(err)
	}
	return time.Since(began)
}

// What is asked of a group at rest is answered as soon as of any other: at once
// where its leader is there, which stays the leader, and after an election where it
// is not.
func TestWhoIsAskedAtRestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		follower int // 0: it is the leader that is asked
		read     bool
		lost     bool // the leader, without a word
	}{
		{"a write through the leader", 0, false, false},
		{"a read through the leader", 0, true, false},
		{"a write through a follower", 1, false, false},
		{"a read through a follower", 2, true, false},
		{"a write when the leader is lost", 1, false, true},
		{"a read when the leader is lost", 2, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newAtRest(t, nil)
				defer w.close()
				if n := w.net.sends(10 * time.Second); n > 0 {
					t.Errorf("at rest, %d messages are sent in ten seconds", n)
				}
				most := 100 * time.Millisecond
				if c.lost { // no beats tell of that here
					w.net.setCut(w.nodes[w.leader].id, true)
					most = 1500 * time.Millisecond
				}
				before := w.nodes[w.leader].g.Status()
				asked := (w.leader + c.follower) % firstMembers
				if took := w.ask(asked, c.read); took > most {
					t.Errorf("it took %v, at most %v are right", took, most)
				}
				after := w.nodes[asked].g.Status()
				if !c.lost {
					if after.Leader != before.Leader || after.Term != before.Term {
						t.Errorf("replica %d led in term %d, and now %d in term %d", before.Leader, before.Term, after.Leader, after.Term)
					}
					return
				}
				w.net.setCut(w.nodes[w.leader].id, false)
				time.Sleep(time.Second)
				if s := w.nodes[w.leader].g.Status(); s.Leader != after.Leader || s.Applied != w.nodes[asked].g.Status().Applied {
					t.Errorf("who led before has %+v, the others %+v", s, after)
				}
			})
		})
	}
}

// The control for what counts messages.
func TestAlwaysAwake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newAtRest(t, func(o *Options) { o.AlwaysAwake = true })
		defer w.close()
		if n := w.net.sends(10 * time.Second); n < 300 {
			t.Errorf("%d messages are sent in ten seconds, which are no heartbeats", n)
		}
	})
}

// Where a node's beats stop, the groups that it led get another leader, of which
// nothing was asked.
func TestASilentNodeIsReplacedAtRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newAtRest(t, nil)
		defer w.close()
		old := w.nodes[w.leader]
		for range 20 { // as they come over TCP
			for i, n := range w.nodes {
				if i != w.leader {
					n.h.rest.beats(old.id)
				}
			}
			time.Sleep(w.nodes[0].h.o.beat())
		}
		w.net.setCut(old.id, true)
		time.Sleep(time.Second)
		for i, n := range w.nodes {
			if s := n.g.Status(); i != w.leader && (s.Leader == 0 || int(s.Leader) == w.leader+1) {
				t.Errorf("after a second member %d takes %d for the leader, which is cut off", i+1, s.Leader)
			}
		}
		if n := w.net.sends(settle); n == 0 {
			t.Error("the new leader rests, though a member doesn't answer")
		}
		w.net.setCut(old.id, false)
		time.Sleep(2 * settle)
		if n := w.net.sends(10 * time.Second); n > 0 {
			t.Errorf("all are there again, and %d messages are sent in ten seconds", n)
		}
		if s := old.g.Status(); int(s.Leader) == w.leader+1 {
			t.Error("who led before takes itself for the leader still")
		}
	})
}

// A member that was added, and starts when the group might long have come to rest,
// is told of the group: its leader has waited for it.
func TestWhoJoinsLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newAtRest(t, nil)
		defer w.close()
		w.add()
		late := w.nodes[firstMembers]
		m := consensus.Member{Replica: firstMembers + 1, Node: consensus.NodeID(late.id), Role: consensus.NonVoter}
		if err := w.nodes[0].g.Add(t.Context(), m, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * settle)
		if err := w.boot(firstMembers); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got, want := late.g.Status().Applied, w.nodes[0].g.Status().Applied; got != want {
			t.Errorf("it has %d of %d entries", got, want)
		}
		time.Sleep(2 * settle)
		if n := w.net.sends(10 * time.Second); n > 0 {
			t.Errorf("all are there, and %d messages are sent in ten seconds", n)
		}
	})
}
