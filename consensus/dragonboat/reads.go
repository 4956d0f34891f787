//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"sync"
	"time"

	"github.com/cell-runtime/cell/consensus"
)

// readers share questions to the leader: all that have come while one was on
// its way are answered by the next one, which begins after all of them. So a
// question costs as much with a hundred readers as with one.
type readers struct {
	mu   sync.Mutex
	busy bool       // a question is on its way
	next *readBatch // who waits for the one after it
}

// readBatch is who is answered by one question.
type readBatch struct {
	done chan struct{}
	err  error
}

// read asks, or waits for the question that another caller asks. It returns
// ctx's error as soon as ctx ends.
func (g *group) read(ctx context.Context, patience time.Duration) error {
	r := &g.readers
	r.mu.Lock()
	if !r.busy {
		r.busy = true
		r.mu.Unlock()
		asked := time.Now()
		err := g.askLeader(ctx, patience)
		if err == nil {
			g.applier.Confirm(asked)
		}
		g.nextReaders(patience)
		return err
	}
	if r.next == nil {
		r.next = &readBatch{done: make(chan struct{})}
	}
	b := r.next
	r.mu.Unlock()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return consensus.ContextError(ctx)
	}
}

// nextReaders goes on with those who have come meanwhile.
func (g *group) nextReaders(patience time.Duration) {
	r := &g.readers
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.busy = false
		return
	}
	go g.answerReaders(patience)
}

// answerReaders asks for others until nobody waits.
func (g *group) answerReaders(patience time.Duration) {
	r := &g.readers
	for {
		r.mu.Lock()
		b := r.next
		r.next = nil
		if b == nil {
			r.busy = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		asked := time.Now()
		if b.err = g.askLeader(context.Background(), patience); b.err == nil {
			g.applier.Confirm(asked)
		}
		close(b.done)
	}
}

// askLeader asks once: a ReadIndex.
func (g *group) askLeader(ctx context.Context, timeout time.Duration) error {
	g.rouse()
	rs, err := g.h.nh.ReadIndex(uint64(g.id), max(timeout, g.h.o.Tick))
	if err != nil {
		return g.refused(err)
	}
	_, err = g.wait(ctx, rs)
	return err
}
