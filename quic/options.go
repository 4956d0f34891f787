package quic

import (
	"fmt"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
)

// Options tune an [Endpoint]. The zero value, or a nil pointer, is what nearly
// everybody wants. Both ends may have different ones.
type Options struct {
	// HandshakeTimeout bounds a handshake, by whoever began it. Default: 5 s.
	HandshakeTimeout time.Duration
	// IdleTimeout is after how long without a sign of life the peer is gone.
	// Default: 10 s. Signs of life are sent every third of it.
	IdleTimeout time.Duration
	// Linger bounds how long a link that was shut down goes on sending what
	// was flushed. Default: 2 s.
	Linger time.Duration

	// MaxPayload is the most payload bytes of one vesicle; the smaller of both
	// sides' counts. Default: 64 KiB.
	MaxPayload int
	// Receive is the bytes of the ring in which a link's vesicles wait to be
	// polled, a power of two; about as much can be on its way to this side, so
	// it bounds a link's throughput to Receive per round trip. Default: 1 MiB,
	// or 4 × MaxPayload.
	Receive int
	// StreamWindow and ConnectionWindow bound the bytes in flight towards this
	// side, of a lane and of all. Defaults: 6 and 15 MiB.
	StreamWindow, ConnectionWindow int

	// MaxHandshakes bounds the handshakes in progress; of one address at most
	// an eighth of it. Beyond a quarter, addresses must prove to be reachable
	// first (QUIC's Retry), which costs this side no memory. Default: 256.
	MaxHandshakes int
	// MaxConnections bounds the peers that are connected. Default: 4096.
	MaxConnections int
	// MaxLinks bounds the links of one peer, over all its connections.
	// Default: 64.
	MaxLinks int
	// MaxPending bounds the links that wait for Accept. Default: 64.
	MaxPending int
	// MaxBacklog bounds the bytes that all links to one peer hold back when it
	// grants no more window, beyond 4 KiB for each of their lanes. Default: 16 MiB.
	MaxBacklog int
	// MaxMemory bounds the bytes of windows that grow beyond their first size,
	// over all connections. Default: 1 GiB.
	MaxMemory int64

	// Congestion names the TCP congestion control of links over TLS on TCP
	// ("bbr"); "" leaves the kernel's. One that the kernel lacks is an error.
	Congestion string
	// Enrol, if set, has the endpoint enrol nodes: the method of that name of an
	// identity.Issuer. Whoever comes for it is held to the bounds of a handshake,
	// and may do nothing else. It is called by several goroutines.
	Enrol func(id identity.ID, e identity.Evidence) (*identity.Enrolment, error)
	// Relay, if set, has the endpoint pass packets on between nodes that it lets
	// in; see [Endpoint.WaitAt] and [Endpoint.DialVia]. nil: it does not.
	Relay *RelayOptions
	// Refused, if set, is told of peers that were refused, from several
	// goroutines: of 64 at once and of 16 a second, the next error says how many
	// more there were.
	Refused func(addr string, why error)
}

const (
	defaultMaxPayload = 64 << 10
	defaultReceive    = 1 << 20
	minReceive        = 64 << 10
	maxReceive        = 1 << 30
	firstStream       = 256 << 10 // the first windows: what a peer may send at once
	firstConnection   = 512 << 10
)

func (o *Options) settle() (*Options, error) {
	s := Options{}
	if o != nil {
		s = *o
	}
	orDefault(&s.HandshakeTimeout, 5*time.Second)
	orDefault(&s.IdleTimeout, 10*time.Second)
	orDefault(&s.Linger, 2*time.Second)
	orDefault(&s.MaxPayload, defaultMaxPayload)
	if s.Receive == 0 {
		for s.Receive = defaultReceive; s.Receive < 4*s.MaxPayload; {
			s.Receive *= 2
		}
	}
	orDefault(&s.StreamWindow, 6<<20)
	orDefault(&s.ConnectionWindow, 15<<20)
	orDefault(&s.MaxHandshakes, 256)
	orDefault(&s.MaxConnections, 4096)
	orDefault(&s.MaxLinks, 64)
	orDefault(&s.MaxPending, 64)
	orDefault(&s.MaxBacklog, 16<<20)
	orDefault(&s.MaxMemory, 1<<30)
	if s.Relay != nil {
		r, err := s.Relay.settle()
		if err != nil {
			return nil, err
		}
		s.Relay = r
	}
	switch {
	case s.HandshakeTimeout < 0 || s.IdleTimeout < 0 || s.Linger < 0 || s.MaxHandshakes < 0 ||
		s.MaxConnections < 0 || s.MaxLinks < 0 || s.MaxPending < 0 || s.MaxBacklog < 0 || s.MaxMemory < 0:
		return nil, fmt.Errorf("quic: Options: a limit is negative")
	case s.MaxPayload < link.MinFragmentPayload || s.MaxPayload > maxReceive/4:
		return nil, fmt.Errorf("quic: Options.MaxPayload is %d and must be %d to %d", s.MaxPayload, link.MinFragmentPayload, maxReceive/4)
	case s.Receive < minReceive || s.Receive > maxReceive || s.Receive&(s.Receive-1) != 0 || s.Receive/2-64 < s.MaxPayload:
		return nil, fmt.Errorf("quic: Options.Receive is %d; it must be a power of two from %d to %d and above twice MaxPayload (%d)",
			s.Receive, minReceive, maxReceive, s.MaxPayload)
	case s.StreamWindow < firstStream || s.ConnectionWindow < firstConnection:
		return nil, fmt.Errorf("quic: Options.StreamWindow and ConnectionWindow must be at least %d and %d", firstStream, firstConnection)
	case s.MaxLinks > 1024:
		return nil, fmt.Errorf("quic: Options.MaxLinks is %d, at most 1024", s.MaxLinks)
	}
	return &s, nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// LinkOptions tune one link. The zero value, or a nil pointer, is what nearly
// everybody wants. The side that dials chooses for both.
type LinkOptions struct {
	// Lanes is among how many streams the application's calls are spread, 1 to
	// 32. With 1 all vesicles keep their order, consensus and operations too,
	// and nothing overtakes. Default: 8.
	Lanes int
	// LossyEvents sends events (wire.KindEvent) that fit one datagram as such
	// (RFC 9221): what is lost is not sent again, and nothing waits for it.
	LossyEvents bool
	// OwnConnection has the link dial a connection that no other link shares,
	// and that ends with it. QUIC's congestion control halves what a connection
	// may have on its way whenever a packet is lost, so over a long path that
	// loses some, several connections carry several times as much as one.
	OwnConnection bool
}

const (
	defaultLanes = 8
	maxLanes     = 32
)

func (o *LinkOptions) settle() (LinkOptions, error) {
	s := LinkOptions{}
	if o != nil {
		s = *o
	}
	orDefault(&s.Lanes, defaultLanes)
	if s.Lanes < 1 || s.Lanes > maxLanes {
		return s, fmt.Errorf("quic: LinkOptions.Lanes is %d and must be 1 to %d", s.Lanes, maxLanes)
	}
	return s, nil
}
