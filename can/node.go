package can

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cell-runtime/cell/link"
)

// Node is one node on a bus and holds the links to its peers. One goroutine
// takes what arrives, keeps time, and sends; the users of links send too.
type Node struct {
	bus    Bus
	config Config
	info   BusInfo

	accepted chan *Conn
	done     chan struct{} // closed when the node has ended
	stopped  chan struct{} // closed when the goroutine has ended

	mu         sync.Mutex // guards everything below, and all links
	now        int64      // nanoseconds; set when the mutex is taken to act
	due        int64      // when the goroutine has to act again at the latest; 0: it never has
	conns      [MaxNode + 1]*Conn
	waiting    int      // handshakes of peers, and links that wait for Accept
	turn       int      // whose frame was sent last
	answers    []answer // to frames that belong to no link
	tx         Frame
	txHeld     bool // tx waits for room
	closing    bool
	err        error // why the node ended
	off        bool  // the controller is bus-off
	offSince   int64
	restart    int64 // when to restart it; 0: not to
	restartErr error
	stats      NodeStats
	received   [64]Frame // the goroutine's
}

// NodeStats counts what a node saw since it was made.
type NodeStats struct {
	// Sent and Received are this node's own traffic in frames and bit times;
	// the times are 0 where the bus does not know its rates.
	Sent, Received Load
	Foreign        uint64 // frames that are not of this protocol, or not for this node
	Strays         uint64 // frames of a link that isn't there
	Malformed      uint64 // control frames that can't be
	Lost           uint64 // frames that the kernel dropped for lack of room
	Gaps           uint64 // times that a link saw frames missing
	Resent         uint64 // data frames sent again
	Full           uint64 // times that the controller had no room
	Refused        uint64 // hellos refused
	OtherVersion   uint64 // hellos of another version of the protocol
	Errors         uint64 // error frames
	BusOff         uint64 // times that the controller went bus-off
	Restarts       uint64 // times that it came back
	RestartFailed  uint64 // times that it could not be told to; see RestartError
}

// NewNode joins a bus, which from then on is the node's: Close closes it, and
// so does an error of NewNode.
func NewNode(bus Bus, config Config) (*Node, error) {
	config, err := config.settle()
	if err != nil {
		_ = bus.Close()
		return nil, err
	}
	n := &Node{
		bus: bus, config: config, info: bus.Info(),
		accepted: make(chan *Conn, max(config.Backlog, 1)), answers: make([]answer, 0, maxAnswers),
		done: make(chan struct{}), stopped: make(chan struct{}), now: config.clock(),
	}
	if config.manual {
		close(n.stopped)
	} else {
		go n.run()
	}
	return n, nil
}

// lock takes the mutex to act.
func (n *Node) lock() {
	n.mu.Lock()
	n.now = n.config.clock()
}

// fd reports whether the node may use FD frames.
func (n *Node) fd() bool { return n.info.FD && !n.config.Classic }

// Dial connects to a peer and returns when both sides have agreed, or when ctx
// is done: then with ErrNoAnswer and the reason of ctx. It says hello again and
// again until then, so a peer may come later. ErrVersion: the peer speaks another
// version of the protocol. ErrBusy: there is a link with that
// peer. While a link of before is still being closed, Dial waits.
func (n *Node) Dial(ctx context.Context, peer NodeID) (*Conn, error) {
	if peer > MaxNode || peer == n.config.Node {
		return nil, fmt.Errorf("can: node %d can't dial node %d; peers have the numbers 0 to %d, except one's own", n.config.Node, peer, MaxNode)
	}
	for {
		c, closing, err := n.begin(peer)
		if err != nil {
			return nil, err
		}
		wait := c.opened
		if closing {
			wait = c.detached
		}
		select {
		case <-wait:
			if closing {
				continue
			}
			return c.dialled()
		case <-ctx.Done():
			if !closing {
				c.giveUp()
			}
			return nil, fmt.Errorf("%w from node %d: %w", ErrNoAnswer, peer, ctx.Err())
		}
	}
}

// begin finds or makes the link for Dial; closing says that it is one of
// before, whose end must be awaited.
func (n *Node) begin(peer NodeID) (c *Conn, closing bool, err error) {
	n.lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return nil, false, n.err
	}
	c = n.conns[peer]
	switch {
	case c == nil:
		if c, err = n.newConn(peer, true); err != nil {
			return nil, false, err
		}
		c.hail()
		n.push()
		n.bus.Wake() // for the times that have changed
	case c.stage == stageHello && !c.handshake.dialled:
		c.handshake.dialled = true // the peer was first
		n.waiting--
	case c.stage == stageClosing:
		return c, true, nil
	default:
		return nil, false, fmt.Errorf("%w %d; take what Accept or the first Dial returned", ErrBusy, peer)
	}
	return c, false, nil
}

// dialled is the result of a Dial whose handshake is over.
func (c *Conn) dialled() (*Conn, error) {
	c.node.mu.Lock()
	stage, cause := c.stage, c.cause
	c.node.mu.Unlock()
	if stage == stageEnded && cause != nil {
		_ = c.Close()
		return nil, cause
	}
	return c, nil
}

func (c *Conn) giveUp() { _ = c.Close() }

// Accept returns a link that a peer dialed. Links that ended while they waited
// are left out.
func (n *Node) Accept(ctx context.Context) (*Conn, error) {
	for {
		select {
		case c := <-n.accepted:
			n.mu.Lock()
			n.waiting--
			gone := c.stage == stageEnded && c.in.whole == 0
			n.mu.Unlock()
			if !gone {
				return c, nil
			}
			_ = c.Close()
		case <-n.done:
			n.mu.Lock()
			defer n.mu.Unlock()
			return nil, n.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Stats returns the counters.
func (n *Node) Stats() NodeStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.stats
	for _, c := range n.conns {
		if c != nil {
			s.Gaps += c.in.missed
			s.Resent += c.out.resent
		}
	}
	return s
}

// Bus returns what Bus.Info said.
func (n *Node) Bus() BusInfo { return n.info }

// Close shuts all links down, waits until the peers have taken what was
// flushed, at most Config.Dead, and closes the bus. Links stay the caller's to
// close. Closing again does nothing.
func (n *Node) Close() error {
	n.lock()
	if n.closing {
		n.mu.Unlock()
		<-n.stopped
		return nil
	}
	n.closing = true
	var pending []*Conn
	for _, c := range n.conns {
		if c != nil {
			c.shutdown()
			pending = append(pending, c)
		}
	}
	manual := n.config.manual
	n.mu.Unlock()
	n.bus.Wake()
	limit := time.NewTimer(n.config.Dead)
	defer limit.Stop()
	for _, c := range pending {
		if manual {
			break
		}
		select {
		case <-c.detached:
		case <-n.done:
		case <-limit.C:
			limit.Reset(0)
		}
	}
	n.lock()
	n.fail(link.ErrClosed)
	n.mu.Unlock()
	n.bus.Wake()
	<-n.stopped
	n.dropUnaccepted()
	return n.bus.Close()
}

func (n *Node) dropUnaccepted() {
	for {
		select {
		case c := <-n.accepted:
			_ = c.Close()
		default:
			return
		}
	}
}

// fail ends the node and with it all links.
func (n *Node) fail(why error) {
	if n.err != nil {
		return
	}
	n.err = why
	for _, c := range n.conns {
		if c == nil {
			continue
		}
		if errors.Is(why, link.ErrClosed) {
			c.shut.Store(true)
			c.fail(why)
		} else {
			c.fail(fmt.Errorf("%w: the bus is lost: %w", link.ErrPeerGone, why))
		}
	}
	close(n.done)
}

// run is the node's goroutine.
func (n *Node) run() {
	defer close(n.stopped)
	for {
		wait, ended := n.step()
		if ended {
			return
		}
		if wait > 0 {
			n.bus.Wait(wait)
		}
	}
}

// excuse takes time off the peers' silence in which this node did not act though it
// had to, as while its process was stopped, or waited for a processor: then it has not
// said that it is there either, nor looked whether they have.
func (n *Node) excuse() {
	late := n.now - n.due
	if n.due == 0 || late <= int64(n.config.Heartbeat) {
		return
	}
	for _, c := range n.conns {
		if c != nil {
			c.heard += late
			c.progress += late
			c.handshake.deadline += late
		}
	}
}

// step takes what has arrived, does what is due, sends what can be sent, and
// returns how long there is nothing to do unless something arrives.
func (n *Node) step() (wait time.Duration, ended bool) {
	k, err := n.bus.Receive(n.received[:])
	n.lock()
	defer n.mu.Unlock()
	n.excuse()
	if err != nil {
		n.fail(err)
	}
	for i := range n.received[:k] {
		n.take(&n.received[i])
	}
	next := n.tick()
	n.pump()
	if n.err != nil {
		return 0, true
	}
	n.due = next
	if k == len(n.received) {
		n.due = n.now
		return 0, false
	}
	return time.Duration(max(next-n.now, 1)), false
}
