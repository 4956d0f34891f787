package uds

import (
	"fmt"
	"io/fs"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
)

// Path says which way a connection may take.
type Path uint8

// The paths.
const (
	PathAuto   Path = 0 // rings, or the socket itself where they can't be had
	PathRing   Path = 1 // rings or no connection
	PathStream Path = 2 // the socket itself

	pathLast = PathStream
)

func (p Path) String() string {
	switch p {
	case PathAuto:
		return "auto"
	case PathRing:
		return "ring"
	case PathStream:
		return "stream"
	}
	return fmt.Sprintf("path %d", uint8(p))
}

// Options tune a listener or a dialer. The zero value, or a nil pointer, is
// what nearly everybody wants.
type Options struct {
	// Dir is the runtime directory; empty means RuntimeDir().
	Dir string
	// Path says whether to use rings. Default: if possible.
	Path Path
	// Policy decides about the peer. Default: SameUser; for connections that a
	// node hands over, AnyUser, since the node has decided.
	Policy Policy
	// RingSize is the bytes of records of one direction's ring, a power of
	// two. The dialer's wish counts, within the listener's MaxRingSize;
	// default of a dialer: the listener's choice; of a listener:
	// ring.DefaultSize.
	RingSize int
	// MaxRingSize bounds RingSize of the other side. Default: 64 MiB.
	MaxRingSize int
	// MaxPayload is the most payload bytes of one vesicle on the stream path;
	// the smaller of both sides' counts. Four times as much memory is taken
	// for such a connection. Default: what a default ring carries.
	MaxPayload int
	// HandshakeTimeout bounds connecting and shaking hands; a context may
	// bound it further. Default: 5 s.
	HandshakeTimeout time.Duration
	// WaitForListener is how long Dial waits for somebody to listen under the
	// name, so that processes may be started in any order; a context may bound
	// it further. Default: not at all.
	WaitForListener time.Duration

	// What follows concerns listeners only.

	// HugePages and Prefault are those of ring.Options.
	HugePages, Prefault bool
	// Mode is the permission of the socket file. Default: 0600.
	Mode fs.FileMode
	// MaxConns bounds the connections of this listener that are open; more
	// are refused. Default: 4096.
	MaxConns int
	// MaxPending bounds the handshakes in progress and the connections that
	// wait for Accept, together; more wait in the kernel's queue. Default: 64.
	MaxPending int
	// MaxMemory bounds the bytes of all rings of this listener; connections
	// beyond it take the stream path. Default: 1 GiB.
	MaxMemory int64
	// Refused, if set, is told of every connection that came to nothing,
	// from several goroutines. The peer's PID is 0 if it is not known.
	Refused func(peer link.Peer, why error)

	// Set by tests only.
	node        *node
	low, high   uint8
	createRings func(ring.Options) (*ring.Memory, error)
	attachRing  func(fd int) (*ring.Memory, error)
}

const (
	defaultMaxRing = 64 << 20
	// A fallback must not make a vesicle too large that fits the default ring.
	defaultMaxPayload = ring.DefaultSize/2 - 64
	defaultTimeout    = 5 * time.Second
	defaultMode       = 0o600
	defaultConns      = 4096
	defaultPending    = 64
	defaultMemory     = 1 << 30

	minPayload = 64
	maxPayload = 256 << 20
)

// brokered is s, settled from o, for connections that a node hands over: it has
// decided who may reach whom, so SameUser is no default there.
func (s *Options) brokered(o *Options) *Options {
	b := *s
	if o == nil || o.Policy == nil {
		b.Policy = AnyUser
	}
	return &b
}

// settle returns a copy of o with defaults filled in, or what is wrong with it.
func (o *Options) settle() (*Options, error) {
	s := Options{}
	if o != nil {
		s = *o
	}
	orDefault(&s.MaxRingSize, defaultMaxRing)
	orDefault(&s.MaxPayload, defaultMaxPayload)
	orDefault(&s.HandshakeTimeout, defaultTimeout)
	orDefault(&s.Mode, defaultMode)
	orDefault(&s.MaxConns, defaultConns)
	orDefault(&s.MaxPending, defaultPending)
	orDefault(&s.MaxMemory, defaultMemory)
	orDefault(&s.low, versionLow)
	orDefault(&s.high, versionHigh)
	if s.Policy == nil {
		s.Policy = SameUser
	}
	if s.createRings == nil {
		s.createRings = ring.Create
	}
	if s.attachRing == nil {
		s.attachRing = func(fd int) (*ring.Memory, error) { return ring.Attach(fd, ring.SPSC) }
	}
	switch {
	case s.Path > pathLast:
		return nil, fmt.Errorf("uds: Options.Path: there is no %v", s.Path)
	case s.RingSize != 0 && !isRingSize(s.RingSize):
		return nil, fmt.Errorf("uds: Options.RingSize is %d: %w", s.RingSize, ring.ErrSize)
	case !isRingSize(s.MaxRingSize):
		return nil, fmt.Errorf("uds: Options.MaxRingSize is %d: %w", s.MaxRingSize, ring.ErrSize)
	case s.MaxPayload < minPayload || s.MaxPayload > maxPayload:
		return nil, fmt.Errorf("uds: Options.MaxPayload is %d and must be %d to %d", s.MaxPayload, minPayload, maxPayload)
	case s.HandshakeTimeout < 0 || s.MaxConns < 0 || s.MaxPending < 0 || s.MaxMemory < 0:
		return nil, fmt.Errorf("uds: Options: a limit is negative")
	case s.Mode&^fs.ModePerm != 0:
		return nil, fmt.Errorf("uds: Options.Mode %v: only permission bits count", s.Mode)
	}
	return &s, nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func isRingSize(n int) bool {
	return n >= ring.MinSize && n <= ring.MaxSize && n&(n-1) == 0
}
