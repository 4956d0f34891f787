package quic

import (
	"context"
	"errors"
	"sync"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/link"
)

// errNoStream: the peer grants no further stream at the moment.
var errNoStream = errors.New("quic: no stream yet")

// grants are the streams of a link's lanes that the peer has yet to grant: it may
// not have given back those of links that have ended. They are waited for in the
// background, each by a goroutine.
type grants struct {
	mu      sync.Mutex
	awaited map[int]bool
	granted map[int]*quicgo.SendStream
	wait    context.Context // nil: nothing was waited for so far
	cancel  context.CancelFunc
	over    bool
}

// take returns a new stream for a lane, or errNoStream, and then ready is called
// when the next take will have one.
func (g *grants) take(c *quicgo.Conn, lane int, ready func()) (*quicgo.SendStream, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.granted[lane]; s != nil {
		delete(g.granted, lane)
		return s, nil
	}
	if g.awaited[lane] {
		return nil, errNoStream
	}
	s, err := c.OpenUniStream()
	var limit *quicgo.StreamLimitReachedError
	switch {
	case !errors.As(err, &limit):
		return s, err
	case g.over:
		return nil, link.ErrClosed
	}
	if g.wait == nil {
		g.wait, g.cancel = context.WithCancel(c.Context())
		g.awaited, g.granted = make(map[int]bool), make(map[int]*quicgo.SendStream)
	}
	g.awaited[lane] = true
	go g.await(c, lane, ready)
	return nil, errNoStream
}

// await waits for a stream. Its failure is the end of the connection, of which the
// link learns by itself, or of the link.
func (g *grants) await(c *quicgo.Conn, lane int, ready func()) {
	s, err := c.OpenUniStreamSync(g.wait)
	if err != nil {
		return
	}
	g.mu.Lock()
	over := g.over
	if !over {
		g.granted[lane] = s
		delete(g.awaited, lane)
	}
	g.mu.Unlock()
	if over {
		s.CancelWrite(streamCancel)
		return
	}
	ready()
}

// end gives up what was waited for, and gives back what nobody has taken.
func (g *grants) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.cancel != nil {
		g.cancel()
	}
	for lane, s := range g.granted {
		s.CancelWrite(streamCancel)
		delete(g.granted, lane)
	}
}
