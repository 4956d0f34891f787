package policy

import (
	"context"
	"sync"
	"time"
)

// watch ends the contexts of calls whose time is up. All of them share one
// timer, which is set for the least deadline and fires when that has passed,
// although the call is long over in most cases: at 10,000 calls a second with a
// deadline of a second it fires once a second.
type watch struct {
	mu    sync.Mutex
	live  limited // head of the ring of contexts under watch
	timer *time.Timer
	set   time.Time // when the timer fires; zero: it is not set
}

func newWatch() *watch {
	w := &watch{}
	w.live.prev, w.live.next = &w.live, &w.live
	return w
}

// release ends a context made by within.
type release struct {
	own    *limited
	cancel context.CancelFunc
}

func (r release) end() {
	switch {
	case r.own != nil:
		r.own.end(context.Canceled)
	case r.cancel != nil:
		r.cancel()
	}
}

// within returns a context that ends after d at the latest. There are three
// ways, the cheapest that will do: the parent itself if it ends earlier, one
// under watch if the parent never ends, and the standard library's for the
// rest, which must hear of the parent's end.
func (w *watch) within(parent context.Context, d time.Duration) (context.Context, release) {
	due := time.Now().Add(d)
	if earlier, ok := parent.Deadline(); ok && earlier.Before(due) {
		return parent, release{}
	}
	if parent.Done() != nil {
		ctx, cancel := context.WithDeadline(parent, due)
		return ctx, release{cancel: cancel}
	}
	c := &limited{Context: parent, watch: w, due: due, done: make(chan struct{})}
	w.mu.Lock()
	c.prev, c.next = w.live.prev, &w.live
	c.prev.next, c.next.prev = c, c
	if w.set.IsZero() || due.Before(w.set) {
		w.arm(due, d)
	}
	w.mu.Unlock()
	return c, release{own: c}
}

// arm sets the timer, holding the lock.
func (w *watch) arm(due time.Time, d time.Duration) {
	w.set = due
	if w.timer == nil {
		w.timer = time.AfterFunc(d, w.fire)
		return
	}
	w.timer.Reset(d)
}

// fire ends what is due and sets the timer for the rest.
func (w *watch) fire() {
	now := time.Now()
	var over []*limited
	w.mu.Lock()
	w.set = time.Time{}
	var least *limited
	for c := w.live.next; c != &w.live; c = c.next {
		switch {
		case !c.due.After(now):
			over = append(over, c)
		case least == nil || c.due.Before(least.due):
			least = c
		}
	}
	if least != nil {
		w.arm(least.due, least.due.Sub(now))
	}
	w.mu.Unlock()
	for _, c := range over {
		c.end(context.DeadlineExceeded)
	}
}

// limited is a context with a deadline, whose parent never ends.
type limited struct {
	context.Context
	watch *watch
	due   time.Time
	done  chan struct{}

	// Guarded by the watch's lock.
	prev, next *limited // nil once it has ended
	err        error
	after      map[*func()]struct{}
}

// Deadline implements [context.Context].
func (c *limited) Deadline() (time.Time, bool) { return c.due, true }

// Done implements [context.Context].
func (c *limited) Done() <-chan struct{} { return c.done }

// Err implements [context.Context].
func (c *limited) Err() error {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	return c.err
}

// AfterFunc lets the standard library derive contexts from this one without a
// goroutine for each; see [context.AfterFunc].
func (c *limited) AfterFunc(f func()) (stop func() bool) {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	c.after[&f] = struct{}{}
	return func() bool {
		c.watch.mu.Lock()
		defer c.watch.mu.Unlock()
		_, waits := c.after[&f]
		delete(c.after, &f)
		return waits
	}
}

// end ends the context, once.
func (c *limited) end(why error) {
	c.watch.mu.Lock()
	if c.err != nil {
		c.watch.mu.Unlock()
		return
	}
	c.err = why
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
	after := c.after
	c.after = nil
	close(c.done)
	c.watch.mu.Unlock()
	for f := range after {
		go (*f)()
	}
}
