package rpc

import (
	"context"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// drainPace is how often a drain looks whether calls are still under way.
const drainPace = time.Millisecond

// emptyTable serves nothing: what a server that drains looks requests up in.
var emptyTable = newDispatchTable[served](nil)

var errDraining = &Error{Status: wire.StatusDraining, Message: "the server is stopping"}

// Drain stops the server in an orderly way: from now on new calls end with
// wire.StatusDraining, which says that they were not executed; subscriptions
// end with it; calls under way are finished, and one-way requests are served,
// whose senders then go elsewhere by themselves. It returns when none is left
// and their answers are on their way, or with the cause of ctx. Links stay
// open, so that clients learn of it; Close ends them.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	for sl := range s.links {
		post(sl.port.Engine(), sl.endSubscriptions)
	}
	s.mu.Unlock()
	t := time.NewTicker(drainPace)
	defer t.Stop()
	for s.flying.Load() > 0 {
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Retire has the server leave without a call that fails for it: it drains, and
// waits until the clients, each of which learns of it by its next call, have
// gone to another server, or ctx ends. Clients that may dial do so by
// themselves ([Connect]); those that make no call stay, so give it a second
// or a few. Afterwards call Close.
func (s *Server) Retire(ctx context.Context) {
	_ = s.Drain(ctx) // how far it came is seen by whoever is cut off
	t := time.NewTicker(drainPace)
	defer t.Stop()
	for {
		s.mu.Lock()
		links := len(s.links)
		s.mu.Unlock()
		if links == 0 {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Draining reports whether Drain was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// Close ends all links; what is under way ends for callers with
// wire.StatusPeerGone. Later calls of Serve fail. It returns when every link
// has left its engine.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	links := make([]*serverLink, 0, len(s.links))
	for sl := range s.links {
		links = append(links, sl)
	}
	s.mu.Unlock()
	for _, sl := range links {
		_ = sl.port.Engine().Remove(sl.port)
	}
	return nil
}

// endSubscriptions tells subscribers that nothing more comes from here.
func (s *serverLink) endSubscriptions() {
	for correlation, sub := range s.subs {
		delete(s.subs, correlation)
		sub.topic.remove(sub)
		s.fail(&sub.header, errDraining)
	}
	s.out.end()
}
