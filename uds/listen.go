package uds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Listener accepts connections under one name. Its methods may be called from
// any goroutine.
type Listener struct {
	name string
	path string
	opts *Options
	dir  *runtimeDir
	lock *lockFile
	file *socketFile
	net  *net.UnixListener

	ctx    context.Context // ends with the listener
	cancel context.CancelFunc
	work   sync.WaitGroup
	slots  chan struct{} // one for each handshake or connection that waits for Accept
	ready  chan *Conn
	memory budget
	spare  int // a descriptor to give up when there are no others

	leave func() error                                               // of a name that a node has given
	take  func(ctx context.Context, c *net.UnixConn, peer link.Peer) // of a gate

	open     atomic.Int64 // connections, and handshakes that may become some
	accepted atomic.Uint64
	refused  atomic.Uint64
	closing  sync.Once
	closeErr error
}

// ListenerStats are the counters of a listener since it began.
type ListenerStats struct {
	Accepted uint64 // connections that Accept returned
	Refused  uint64 // connections that came to nothing
	Open     int    // connections now, handshakes included
	Memory   int64  // bytes of rings now
}

// Listen listens under name in the runtime directory, or, in a cell in a capsid,
// at its node (EnvNode). A nil o means defaults.
// The socket of a dead process under the same name is replaced. Errors:
// ErrName, ErrDir, ErrInUse (with the pid), or the kernel's.
func Listen(name string, o *Options) (*Listener, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	if n, err := viaNode(o); n != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return listenNode(n, s.brokered(o), name)
	}
	d, path, err := locate(s, name)
	if err != nil {
		return nil, err
	}
	l := newListener(name, path, s)
	if err := l.begin(d); err != nil {
		return nil, err
	}
	return l, nil
}

func newListener(name, path string, s *Options) *Listener {
	l := &Listener{
		name: name, path: path, opts: s, spare: -1,
		slots: make(chan struct{}, s.MaxPending), ready: make(chan *Conn),
		memory: budget{limit: s.MaxMemory},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// begin takes the name in directory d and listens.
func (l *Listener) begin(d string) error {
	if err := l.occupy(d); err != nil {
		return errors.Join(err, l.free())
	}
	l.work.Add(1)
	go l.run()
	return nil
}

// occupy takes the directory, the name and the socket, in this order.
func (l *Listener) occupy(dir string) (err error) {
	if l.dir, err = openDir(dir, true); err != nil {
		return err
	}
	if l.lock, err = lock(l.dir, l.name); err != nil {
		return err
	}
	if err = clearStale(l.dir, l.name, l.path); err != nil {
		return err
	}
	if l.net, l.file, err = bind(l.dir, l.name, l.path, l.opts.Mode); err != nil {
		return err
	}
	l.spare = openSpare()
	return nil
}

// free gives back what occupy took, in the opposite order.
func (l *Listener) free() (err error) {
	l.cancel()
	if l.net != nil {
		err = l.net.Close()
	}
	if l.leave != nil {
		err = l.leave()
	}
	l.work.Wait()
	if l.spare >= 0 {
		unix.Close(l.spare)
	}
	if l.file != nil {
		err = errors.Join(err, l.file.remove())
	}
	if l.lock != nil {
		err = errors.Join(err, l.lock.release())
	}
	if l.dir != nil {
		l.dir.close()
	}
	return err
}

// Name returns the name that was listened under.
func (l *Listener) Name() string { return l.name }

// Path returns where the socket lies.
func (l *Listener) Path() string { return l.path }

// Stats returns the counters.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{
		Accepted: l.accepted.Load(), Refused: l.refused.Load(),
		Open: int(l.open.Load()), Memory: l.memory.used.Load(),
	}
}

// Accept returns the next connection whose handshake has succeeded. Those that
// fail are counted and told to Options.Refused. Errors: ErrListenerClosed, or
// the context's.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.ready:
		l.accepted.Add(1)
		return c, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("uds: accepting as %q: %w", l.name, context.Cause(ctx))
	case <-l.ctx.Done():
		return nil, ErrListenerClosed
	}
}

// Close stops listening, ends handshakes in progress and removes the socket
// file if it is still this listener's. Connections that Accept returned live
// on. A second Close returns what the first did.
func (l *Listener) Close() error {
	l.closing.Do(func() { l.closeErr = l.free() })
	return l.closeErr
}

// run takes connections from the kernel's queue, as many at a time as there
// are slots; the others wait there.
func (l *Listener) run() {
	defer l.work.Done()
	pace := acceptPace
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		c, err := l.net.AcceptUnix()
		if err != nil {
			<-l.slots
			if l.ctx.Err() != nil {
				return
			}
			pace = l.acceptFailed(err, pace)
			continue
		}
		pace = acceptPace
		x, err := l.admit(c)
		if err != nil {
			<-l.slots
			continue
		}
		l.work.Add(1)
		if l.take != nil {
			go l.handOn(x)
		} else {
			go l.shake(x)
		}
	}
}

// admit looks at who the peer is before it may take up time, so that nobody
// whom the policy refuses can hold a slot.
func (l *Listener) admit(c *net.UnixConn) (*exchange, error) {
	peer, err := peerOf(c, l.path)
	if err != nil {
		c.Close()
		l.reject(peer, err)
		return nil, err
	}
	return l.admitAs(c, peer)
}

// admitAs is admit where it is known who the peer is.
func (l *Listener) admitAs(c *net.UnixConn, peer link.Peer) (*exchange, error) {
	x := newExchange(c, peer, 0)
	err := admit(l.opts, peer)
	if n := l.open.Add(1); err == nil && n > int64(l.opts.MaxConns) {
		err = refuse(wire.StatusResourceExhausted, "the listener has %d connections, its limit (Options.MaxConns); close some or raise it", n-1)
	}
	if err != nil {
		l.open.Add(-1)
		x.tell(err)
		x.close()
		l.reject(peer, err)
		return nil, err
	}
	return x, nil
}

func (l *Listener) reject(peer link.Peer, err error) {
	l.refused.Add(1)
	if l.opts.Refused != nil {
		l.opts.Refused(peer, err)
	}
}

// shake runs one handshake and waits until Accept takes the connection.
func (l *Listener) shake(x *exchange) {
	defer l.work.Done()
	defer func() { <-l.slots }()
	stop := x.bound(l.ctx, l.opts.HandshakeTimeout)
	conn, err := shakeHands(l.ctx, x, l.opts, func(x *exchange, o *Options) (*Conn, error) {
		c, err := serve(x, o, &l.memory)
		if err != nil && l.ctx.Err() != nil {
			err = refuse(wire.StatusDraining, "the listener is closing: %w", err)
		}
		return c, err
	})
	stop()
	if err != nil {
		l.open.Add(-1)
		l.reject(x.peer, err)
		return
	}
	conn.onClose = append(conn.onClose, func() { l.open.Add(-1) })
	select {
	case l.ready <- conn:
	case <-l.ctx.Done():
		conn.Close()
	}
}

const (
	acceptPace    = 5 * time.Millisecond
	acceptPaceMax = 250 * time.Millisecond
	spareWait     = 10 * time.Millisecond
)

// acceptFailed deals with an error of accept(2), which is a shortage: nothing
// else can happen to a listening socket. It tells one dialer that waits, if it
// can, sleeps, and returns how long to sleep at the next failure in a row.
func (l *Listener) acceptFailed(err error, pace time.Duration) time.Duration {
	next := min(2*pace, acceptPaceMax)
	if l.spare >= 0 && (errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)) && l.turnAway(err) {
		next = acceptPace // it went forward
	}
	select {
	case <-time.After(pace):
	case <-l.ctx.Done():
	}
	return next
}

// turnAway gives up the spare descriptor to take one connection and tell it
// why it can't have one. Without it the dialer would wait until its time is up.
func (l *Listener) turnAway(cause error) bool {
	unix.Close(l.spare)
	defer func() { l.spare = openSpare() }()
	_ = l.net.SetDeadline(time.Now().Add(spareWait))
	c, err := l.net.AcceptUnix()
	_ = l.net.SetDeadline(time.Time{})
	if err != nil {
		return false
	}
	peer, _ := peerOf(c, l.path)
	x := newExchange(c, peer, 0)
	why := refuse(wire.StatusResourceExhausted, "the listener has no descriptors left: %w; raise its RLIMIT_NOFILE or close connections", cause)
	x.tell(why)
	x.close()
	l.reject(peer, why)
	return true
}

func openSpare() int {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}
