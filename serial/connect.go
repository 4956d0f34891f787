package serial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// Errors of Connect, beside the context's and those of package link.
var (
	// ErrVersion: the other side speaks another version of the line's format.
	ErrVersion = errors.New("serial: the other side speaks another version")
	// ErrPayload: the other side takes less payload than fragments need.
	ErrPayload = errors.New("serial: the other side takes too little payload")
	// ErrEcho: the line returns what is sent, and nobody else is there.
	ErrEcho = errors.New("serial: the line returns what is sent")
)

// helloEvery is how often a side that hears nothing says hello.
const helloEvery = 100 * time.Millisecond

// Connect shakes hands with the other side of stream and returns the
// connection. It says hello until ctx ends, so either side may come first; nil
// o means defaults.
//
// After success the connection owns stream and closes it. After an error stream
// is the caller's, who may try again.
func Connect(ctx context.Context, stream Stream, o *Options) (*Conn, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	fd, err := descriptor(stream)
	if err != nil {
		return nil, err
	}
	l := &line{fd: fd, zero: true, session: newSession()}
	l.greeting = hello{version: lineVersion, window: byte(s.Window), maxPayload: uint32(s.MaxPayload)}
	if p, ok := stream.(*Port); ok {
		l.let = p.let
	}
	c := &Conn{line: l, stream: stream}
	if err := c.sleep.open(fd); err != nil {
		return nil, err
	}
	r := newReader(l, s.MaxPayload, s.Buffer)
	h, err := greet(ctx, l, r, &c.sleep)
	if err != nil {
		return nil, errors.Join(err, c.sleep.close())
	}
	if err := c.settle(s, h, r); err != nil {
		return nil, errors.Join(err, c.sleep.close())
	}
	return c, nil
}

// descriptor returns the stream's descriptor, made non-blocking.
func descriptor(stream Stream) (fd int, err error) {
	raw, err := stream.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("serial: the stream has no descriptor: %w", err)
	}
	e := raw.Control(func(p uintptr) {
		fd = int(p)
		err = unix.SetNonblock(fd, true)
	})
	if err = errors.Join(e, err); err != nil {
		return -1, fmt.Errorf("serial: the stream's descriptor: %w", err)
	}
	return fd, nil
}

func newSession() uint32 {
	for {
		if s := rand.Uint32(); s != 0 {
			return s
		}
	}
}

// greet says hello until the other side has answered, and returns what it said.
func greet(ctx context.Context, l *line, r *reader, s *sleeper) (hello, error) {
	rung := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.ring()
		close(rung)
	})
	h, err := converse(ctx, l, r, s)
	if !stop() {
		<-rung
		if err == nil {
			err = context.Cause(ctx) // the bell would ring for ever
		}
	}
	return h, err
}

func converse(ctx context.Context, l *line, r *reader, s *sleeper) (hello, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	said := time.Time{}
	for {
		if ctx.Err() != nil {
			return hello{}, unanswered(ctx, l)
		}
		if time.Since(said) >= helloEvery {
			said = time.Now()
			l.due |= dueHello | dueAsk
		}
		l.push()
		if l.gone != nil {
			return hello{}, l.gone
		}
		switch r.next() {
		case foundHello:
			done, err := l.greeted(r.hello)
			if done || err != nil {
				return r.hello, err
			}
		case foundVesicle:
			l.stats.Early++
		case foundNothing:
			if !r.fill(false) {
				s.await(l, helloEvery)
			}
		}
		if c := l.cause.Load(); c != nil {
			return hello{}, c.err
		}
	}
}

// greeted handles a hello while no connection is established. It is done when
// the other side knows this one.
func (l *line) greeted(h hello) (done bool, err error) {
	switch {
	case h.session == l.session:
		l.stats.Echoes++
		return false, nil
	case h.version != lineVersion:
		return false, fmt.Errorf("%w: %d, and this side %d; update the older one", ErrVersion, h.version, lineVersion)
	case h.maxPayload < link.MinFragmentPayload:
		return false, fmt.Errorf("%w: %d bytes; at least %d are needed (a device: the limit of cell_node_init)", ErrPayload, h.maxPayload, link.MinFragmentPayload)
	}
	l.peer = h.session
	if done = h.peer == l.session; !done {
		l.due |= dueHello | dueAsk // with its number in it
	} else if h.ask {
		l.due |= dueHello
	}
	l.push()
	return done, nil
}

func unanswered(ctx context.Context, l *line) error {
	err := context.Cause(ctx)
	switch {
	case l.peer != 0:
		return fmt.Errorf("serial: the other side says hello but does not answer ours; is the line cut in one direction? %w", err)
	case l.stats.Echoes > 0:
		return fmt.Errorf("%w, and nobody else is there: is it a loop, or an RS-485 adapter that hears itself (RS485.Echo)? %w", ErrEcho, err)
	case l.stats.BytesIn > 0:
		return fmt.Errorf("serial: %d bytes came, and no hello among them; do both sides have the same baud rate and frame? %w", l.stats.BytesIn, err)
	}
	return fmt.Errorf("serial: nobody answers; is the other side on, and are RX and TX crossed? %w", err)
}

// await sleeps until the line brings something, takes what waits, or the bell
// rings. The caller holds l.mu, which nobody else wants yet.
func (s *sleeper) await(l *line, d time.Duration) {
	events := int16(unix.POLLIN)
	if l.waiting() {
		events |= unix.POLLOUT
	}
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}, {Fd: int32(s.bell), Events: unix.POLLIN}}
	_, _ = unix.Poll(fds, int(d.Milliseconds())) // an error is no more than a short sleep
}

// hungUp looks whether the stream has ended, whatever lies before its end. It
// belongs to the receiver.
func (c *Conn) hungUp() error {
	c.poll[0] = unix.PollFd{Fd: int32(c.line.fd), Events: unix.POLLRDHUP}
	if n, err := unix.Poll(c.poll[:], 0); n > 0 && err == nil {
		return fmt.Errorf("%w: the line was unplugged or closed", link.ErrPeerGone)
	}
	return nil
}

// settle makes the halves, by what both sides said.
func (c *Conn) settle(s Options, h hello, r *reader) error {
	l := c.line
	stats := l.stats
	l.stats = LineStats{BytesIn: stats.BytesIn, BytesOut: stats.BytesOut, Hellos: stats.Hellos, Early: stats.Early, Echoes: stats.Echoes}
	most := min(s.MaxPayload, int(min(h.maxPayload, MaxPayload)))
	size := min(s.Window, int(h.window))
	clean := !s.Noisy && lossless(l.fd)
	c.info = link.Info{
		Kind: "serial", Peer: link.Peer{Addr: address(c.stream)},
		MaxPayload: most, Ordered: true, Reliable: clean || size > 0,
	}
	if s.Window > 0 && size == 0 {
		c.info.Why = []string{"the other side has no window, so what the line loses is lost"}
	}
	if size > 0 {
		c.window = newWindow(l, r, most, s.Buffer, size, s.KeepAlive)
		c.out, c.in = windowOut{c.window}, windowIn{c.window}
		return c.window.employ(&c.sleep)
	}
	c.out = newSender(l, most, s.Buffer, &c.sleep)
	c.in = &receiver{reader: r, sleep: &c.sleep, alive: keepAlive{every: s.KeepAlive}}
	return nil
}

// Major numbers of PTYs (Documentation/admin-guide/devices.txt).
const (
	majorPtmx     = 5 // minor 2
	minorPtmx     = 2
	majorPtyFirst = 136 // slaves
	majorPtyLast  = 143
)

// lossless reports whether what is behind a descriptor loses nothing by itself.
func lossless(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return true
	case unix.S_IFCHR:
		major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
		return major >= majorPtyFirst && major <= majorPtyLast || major == majorPtmx && minor == minorPtmx
	}
	return false
}

// address names the stream for people.
func address(s Stream) string {
	switch s := s.(type) {
	case interface{ Name() string }:
		return s.Name()
	case net.Conn:
		return s.RemoteAddr().String()
	}
	return "a byte stream"
}
