package can

import (
	"errors"
	"fmt"
	"time"
)

// Errors of a node, besides those of package link. Compare with errors.Is.
var (
	// ErrDuplicate: another node with the same number is on the bus. Frames
	// of the two can't be told apart, so the node stops.
	ErrDuplicate = errors.New("can: another node has the same number")
	// ErrBusy: there is a link with that peer already.
	ErrBusy = errors.New("can: already linked with that node")
	// ErrRefused: the peer wants no link with this node.
	ErrRefused = errors.New("can: the other node refused the link")
	// ErrVersion: the peer speaks another version of the protocol.
	ErrVersion = errors.New("can: the other node speaks another version")
	// ErrNoAnswer: nobody with that number answered.
	ErrNoAnswer = errors.New("can: no answer")
)

// Config tunes a [Node]. Only Node must be set; zero fields get the default.
type Config struct {
	// Node is this node's number, 0 to MaxNode, unique on the bus. Where
	// identifiers don't differ in priority and class, lower destinations and
	// then lower senders win arbitration.
	Node NodeID
	// Classic keeps to classic frames even if bus and peer can do FD.
	Classic bool
	// Routes are the fingerprints of what this node serves and calls, in the
	// order of importance: those two nodes agree on at hello, at most
	// MaxRoutes together. All others need 8 bytes more a vesicle.
	Routes []uint64
	// Window is how many data frames each peer may send ahead of this node's
	// flow control, 4 to 250; default 64. A link keeps that many of its own
	// frames until they are acknowledged.
	Window int
	// MaxPayload is the most payload bytes of one vesicle, 20 to
	// can.MaxPayload; the smaller of both nodes' counts. Default 4096. Each
	// link takes about four times as much memory.
	MaxPayload int
	// Backlog is how many links of peers may wait for Accept; default 16,
	// negative: peers are refused.
	Backlog int
	// Heartbeat is how often a link says that it is there, when it has
	// nothing else to say; default 250 ms. A tail of frames that was lost
	// unnoticed is sent again after at most two of them.
	Heartbeat time.Duration
	// Dead is how long a peer may be silent before it counts as gone, without
	// time in which this node itself could not act (its process was stopped); default
	// four heartbeats. It also bounds a handshake, and how long a closed link
	// waits for the peer to take what was flushed.
	Dead time.Duration
	// RestartAfter is how long a controller that went bus-off is left alone
	// before it is restarted; default 100 ms, negative: it is left to whoever
	// configured the interface (restart-ms), and asked for its state.
	RestartAfter time.Duration
	// BusError, if set, is told of every error frame, by the node's goroutine;
	// it must not call the node.
	BusError func(BusError)

	// Set by tests: the clock in nanoseconds, and no goroutine of its own.
	clock  func() int64
	manual bool
}

const (
	defaultWindow     = 64
	defaultMaxPayload = 4096
	defaultBacklog    = 16
	defaultHeartbeat  = 250 * time.Millisecond
	defaultRestart    = 100 * time.Millisecond
	retriesPerDead    = 20 // hellos
)

func (c Config) settle() (Config, error) {
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = defaultMaxPayload
	}
	if c.Backlog == 0 {
		c.Backlog = defaultBacklog
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = defaultHeartbeat
	}
	if c.Dead == 0 {
		c.Dead = 4 * c.Heartbeat
	}
	if c.RestartAfter == 0 {
		c.RestartAfter = defaultRestart
	}
	if c.clock == nil {
		begin := time.Now()
		c.clock = func() int64 { return int64(time.Since(begin)) }
	}
	switch {
	case c.Node > MaxNode:
		return c, fmt.Errorf("can: Config.Node is %d; nodes have the numbers 0 to %d", c.Node, MaxNode)
	case c.Window < minWindow || c.Window > maxWindow:
		return c, fmt.Errorf("can: Config.Window is %d; it must be %d to %d frames", c.Window, minWindow, maxWindow)
	case c.MaxPayload < minMaxPayload || c.MaxPayload > MaxPayload:
		return c, fmt.Errorf("can: Config.MaxPayload is %d; it must be %d to %d bytes", c.MaxPayload, minMaxPayload, MaxPayload)
	case c.Heartbeat < time.Millisecond || c.Dead < 2*c.Heartbeat:
		return c, fmt.Errorf("can: Config.Heartbeat %v and Dead %v: a heartbeat is at least 1 ms, and Dead two of them", c.Heartbeat, c.Dead)
	}
	return c, checkRoutes(c.Routes)
}
