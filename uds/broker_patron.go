package uds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// patron is one cell at a broker. What it sends is read by one goroutine; each
// request to reach somebody has another, of which there are few.
type patron struct {
	b       *Broker
	sock    *nodeSocket
	peer    link.Peer
	ctx     context.Context
	cancel  context.CancelFunc
	pending atomic.Int64
	dials   sync.WaitGroup

	names map[uint32]*service // the reader's own
}

// run reads until the end.
func (p *patron) run() error {
	defer p.leave()
	stop := context.AfterFunc(p.ctx, func() { _ = p.sock.c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var buffer [maxNodeBody + 1]byte
	for {
		n, _, err := p.sock.receive(buffer[:], false)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case p.ctx.Err() != nil:
			return context.Cause(p.ctx)
		case errors.Is(err, errNodeMessage):
			return p.breach(err)
		case err != nil:
			return fmt.Errorf("uds: the socket of %s: %w", p.peer.ID, err)
		}
		m, err := parseNodeMessage(buffer[:n])
		if err == nil && !m.kind.fromCell() && !m.kind.later() {
			err = fmt.Errorf("%w: %v is the node's to say", errNodeMessage, m.kind)
		}
		if err != nil {
			return p.breach(err)
		}
		if err := p.obey(&m); err != nil {
			return err
		}
	}
}

func (p *patron) breach(err error) error {
	return fmt.Errorf("%w: cell %s, process %d: %w", link.ErrCorrupt, p.peer.ID, p.peer.PID, err)
}

// leave takes back all names and waits for requests under way.
func (p *patron) leave() {
	p.cancel()
	p.b.mu.Lock()
	delete(p.b.patrons, p)
	p.b.mu.Unlock()
	for _, s := range p.names {
		p.b.unregister(s)
	}
	p.dials.Wait()
	p.sock.c.Close()
}

// obey does what one message asks. An error ends the cell's connection.
func (p *patron) obey(m *nodeMessage) error {
	if m.kind.later() {
		return p.answer(m.id, refuse(wire.StatusUnimplemented, "the node is older than the cell and does not know its %v", m.kind), -1, link.Peer{})
	}
	switch m.kind {
	case nodeListen:
		return p.listen(m)
	case nodeUnlisten:
		if s := p.names[m.id]; s != nil {
			p.b.unregister(s)
			delete(p.names, m.id)
		}
	case nodeReady:
		if p.b.o.Ready != nil {
			p.b.o.Ready(p.peer)
		}
	case nodeShow:
		return p.lend(m.id)
	case nodeDial:
		if n := p.pending.Add(1); n > int64(p.b.o.MaxPending) {
			p.pending.Add(-1)
			return p.answer(m.id, refuse(wire.StatusResourceExhausted, "%d requests are under way, the node's limit for one cell", n-1), -1, link.Peer{})
		}
		p.dials.Add(1)
		go p.dial(m.id, m.name)
	}
	return nil
}

func (p *patron) listen(m *nodeMessage) error {
	err := error(nil)
	switch {
	case p.names[m.id] != nil:
		return p.breach(fmt.Errorf("%w: id %d is taken", errNodeMessage, m.id))
	case len(p.names) >= p.b.o.MaxNames:
		err = refuse(wire.StatusResourceExhausted, "%d names are served, the node's limit for one cell", len(p.names))
	case p.b.o.Serve == nil:
		err = refuse(wire.StatusPermissionDenied, "the node lets nobody serve anything")
	default:
		if err = p.b.o.Serve(p.peer, m.name); err != nil {
			err = refuse(wire.StatusPermissionDenied, "the node does not let %s serve %q: %w", p.peer.ID, m.name, err)
			break
		}
		s := &service{name: m.name, owner: p, id: m.id}
		if err = p.b.register(s); err == nil {
			p.names[m.id] = s // arrivals may come before the answer
		} else {
			err = refuse(wire.StatusFailedPrecondition, "%w", err)
		}
	}
	return p.answer(m.id, err, -1, link.Peer{})
}

func (p *patron) dial(id uint32, name string) {
	defer p.dials.Done()
	defer p.pending.Add(-1)
	ctx, cancel := context.WithTimeout(p.ctx, p.b.o.DialTimeout)
	defer cancel()
	fd, to, err := -1, link.Peer{}, error(nil)
	if err = p.b.permit(ctx, p.peer, name); err == nil {
		fd, to, err = p.b.connect(ctx, p.peer, name)
	}
	if p.b.o.Event != nil {
		p.b.o.Event(BrokerEvent{From: p.peer, Name: name, To: to, Err: err})
	}
	if e := p.answer(id, err, fd, to); e != nil {
		p.cancel() // a cell that doesn't read its answers has no use for them
	}
	if fd >= 0 {
		unix.Close(fd)
	}
}

// lend gives the cell memory in which it shows its metrics. The error is that of a
// cell that can't be answered.
func (p *patron) lend(id uint32) (lost error) {
	if p.b.o.Show == nil {
		return p.answer(id, refuse(wire.StatusUnimplemented, "the node shows no metrics of its cells"), -1, link.Peer{})
	}
	f, err := p.b.o.Show(p.peer)
	if err != nil {
		return p.answer(id, refuse(wire.StatusResourceExhausted, "the node has no memory for metrics: %w", err), -1, link.Peer{})
	}
	raw, err := f.SyscallConn()
	if err == nil {
		// The node may close it meanwhile; within Control the number stays its own.
		err = raw.Control(func(fd uintptr) {
			if e := p.sock.send(&nodeMessage{kind: nodeLent, id: id}, int(fd), false); e != nil {
				lost = fmt.Errorf("uds: answering %s: %w", p.peer.ID, e)
			}
		})
	}
	if err != nil {
		return p.answer(id, refuse(wire.StatusResourceExhausted, "the node has closed the memory for metrics: %w", err), -1, link.Peer{})
	}
	return lost
}

// answer tells the cell how its request went. A cell that doesn't read is
// given up.
func (p *patron) answer(id uint32, err error, fd int, to link.Peer) error {
	m := nodeMessage{kind: nodeDone, id: id}
	switch {
	case err != nil:
		r := asRefusal(err)
		m.kind, m.status, m.text = nodeRefused, r.Status, r.Reason
	case fd >= 0:
		m.kind, m.peer, m.text = nodeConnected, to, to.ID
	}
	if err := p.sock.send(&m, fd, false); err != nil {
		return fmt.Errorf("uds: answering %s: %w", p.peer.ID, err)
	}
	return nil
}
