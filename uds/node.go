package uds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// EnvNode names the environment variable by which a cell in a capsid knows the
// number of the socket to its node. Where it is set, Listen and Dial without
// Options.Dir go through the node, and the program is the same with and without
// a capsid.
const EnvNode = "CELL_NODE_FD"

// ErrNode: the socket to the node can't be used.
var ErrNode = errors.New("uds: no node")

// node is a cell's end of the socket to its node.
type node struct {
	sock *nodeSocket

	mu      sync.Mutex
	last    uint32
	calls   map[uint32]chan nodeAnswer // of one place each
	listens map[uint32]*served
	gone    error
}

// nodeAnswer is an answer with the descriptor that came with it, or -1.
type nodeAnswer struct {
	m  nodeMessage
	fd int
}

// served is one name that this cell serves.
type served struct {
	id   uint32
	come chan arrival
	end  chan struct{} // closed with the node
}

type arrival struct {
	c    *net.UnixConn
	peer link.Peer
}

// inherited is the socket that this process inherited, or nil. It takes the
// descriptor and the variable out of reach of the processes that it starts.
var inherited = sync.OnceValues(func() (*node, error) {
	text := os.Getenv(EnvNode)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%w: %s is %.20q and should be the number of a descriptor", ErrNode, EnvNode, text)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, fmt.Errorf("%w: descriptor %d of %s is no SOCK_SEQPACKET socket (%v); unset the variable outside a capsid", ErrNode, fd, EnvNode, err)
	}
	c, err := unixConn(fd)
	if err != nil {
		return nil, fmt.Errorf("%w: descriptor %d of %s: %w", ErrNode, fd, EnvNode, err)
	}
	if err := os.Unsetenv(EnvNode); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return newNode(c)
})

// newNode owns c.
func newNode(c *net.UnixConn) (*node, error) {
	s, err := newNodeSocket(c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	n := &node{sock: s, calls: map[uint32]chan nodeAnswer{}, listens: map[uint32]*served{}}
	go n.run()
	return n, nil
}

// Ready tells the node of a cell in a capsid that the cell serves what it is
// there for. Without a node it does nothing.
func Ready() error {
	n, err := inherited()
	if n == nil || err != nil {
		return err
	}
	return n.send(&nodeMessage{kind: nodeReady})
}

// viaNode is the node through which o goes, or nil.
func viaNode(o *Options) (*node, error) {
	if o != nil && o.node != nil {
		return o.node, nil
	}
	if o != nil && o.Dir != "" {
		return nil, nil
	}
	return inherited()
}

// run takes what the node sends until it is gone.
func (n *node) run() {
	var buffer [maxNodeBody + 1]byte
	for {
		size, fd, err := n.sock.receive(buffer[:], true)
		var m nodeMessage
		lost := errors.Is(err, errNoDescriptors)
		if err == nil || lost {
			m, err = parseNodeMessage(buffer[:size])
		}
		if err == nil && lost && m.kind.carries() {
			n.lost(&m)
			continue
		}
		if err == nil && m.kind.later() {
			if fd >= 0 {
				unix.Close(fd)
			}
			continue
		}
		if err == nil && (m.kind.fromCell() || m.kind.carries() != (fd >= 0) || fd >= 0 && !m.kind.fits(fd)) {
			err = fmt.Errorf("%w: %v", errNodeMessage, m.kind)
		}
		if err != nil {
			if fd >= 0 {
				unix.Close(fd)
			}
			n.fail(fmt.Errorf("%w: the node's socket has ended: %w", link.ErrPeerGone, err))
			return
		}
		n.dispatch(&m, fd)
	}
}

// lost treats a message without the descriptor that it was about. A connection that
// arrived is closed by that; whoever asked is answered.
func (n *node) lost(m *nodeMessage) {
	if m.kind != nodeArrived {
		m.kind, m.status, m.text = nodeRefused, wire.StatusResourceExhausted, errNoDescriptors.Error()
		n.dispatch(m, -1)
	}
}

func (n *node) dispatch(m *nodeMessage, fd int) {
	m.peer.ID = m.text
	if m.kind == nodeArrived {
		n.arrived(m, fd)
		return
	}
	n.mu.Lock()
	answer := n.calls[m.id]
	delete(n.calls, m.id)
	n.mu.Unlock()
	if answer != nil {
		answer <- nodeAnswer{*m, fd}
	} else if fd >= 0 { // whoever asked has given up
		unix.Close(fd)
	}
}

// arrived queues a connection, or turns it away if nobody takes them.
func (n *node) arrived(m *nodeMessage, fd int) {
	c, err := unixConn(fd)
	if err != nil {
		return
	}
	why := refuse(wire.StatusDraining, "the listener is closing")
	n.mu.Lock() // so that nothing is queued behind drop
	if l := n.listens[m.id]; l != nil {
		select {
		case l.come <- arrival{c, m.peer}:
			c = nil
		default:
			why = refuse(wire.StatusResourceExhausted, "%d connections wait for the cell (Options.MaxPending)", cap(l.come))
		}
	}
	n.mu.Unlock()
	if c != nil {
		x := newExchange(c, m.peer, 0)
		x.tell(why)
		x.close()
	}
}

// fail ends everything that waits for the node.
func (n *node) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = err
	for id, answer := range n.calls {
		close(answer)
		delete(n.calls, id)
	}
	for id, l := range n.listens {
		close(l.end)
		delete(n.listens, id)
	}
	n.sock.c.Close()
}

func (n *node) send(m *nodeMessage) error {
	if err := n.sock.send(m, -1, true); err != nil {
		return fmt.Errorf("%w: telling the node: %w", link.ErrPeerGone, err)
	}
	return nil
}

// call asks the node and waits for its answer, with the descriptor, which is
// the caller's.
func (n *node) call(ctx context.Context, m *nodeMessage, l *served) (nodeAnswer, error) {
	answer := make(chan nodeAnswer, 1)
	n.mu.Lock()
	if n.gone != nil {
		n.mu.Unlock()
		return nodeAnswer{}, n.gone
	}
	n.last++
	m.id = n.last
	n.calls[m.id] = answer
	if l != nil { // before the node knows, since arrivals may follow at once
		l.id = m.id
		n.listens[m.id] = l
	}
	n.mu.Unlock()
	if err := n.send(m); err != nil {
		n.forget(m.id, answer)
		return nodeAnswer{}, err
	}
	select {
	case a, ok := <-answer:
		if !ok {
			return nodeAnswer{}, n.why()
		}
		if a.m.kind == nodeRefused {
			err := error(&RefusedError{Status: a.m.status, Reason: a.m.text, ByPeer: true})
			if a.m.status == wire.StatusNotFound {
				err = fmt.Errorf("%w as %q: %w", ErrNoListener, m.name, err)
			}
			return nodeAnswer{}, err
		}
		return a, nil
	case <-ctx.Done():
		n.forget(m.id, answer)
		return nodeAnswer{}, fmt.Errorf("uds: asking the node to %v %q: %w", m.kind, m.name, context.Cause(ctx))
	}
}

func (n *node) why() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gone
}

// forget gives up a call, with the descriptor that may have come just now.
func (n *node) forget(id uint32, answer chan nodeAnswer) {
	n.mu.Lock()
	delete(n.calls, id)
	delete(n.listens, id)
	n.mu.Unlock()
	select {
	case a, ok := <-answer:
		if ok && a.fd >= 0 {
			unix.Close(a.fd)
		}
	default:
	}
}
