package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/ebpf"
)

const (
	magic       = 0x53584543 // "CEXS"
	requestSize = 8
	answerSize  = 20
	maxReason   = 1024

	statusGranted = 0
	statusRefused = 1

	answerFrags = 1
)

// Options say what a [Broker] may hand out.
type Options struct {
	Interface int      // its index
	Queues    []uint32 // of it; nil: queue 0
	Port      uint16   // UDP: what is redirected
	Mode      ebpf.Mode
	// Frags has the program take packets that lie in several buffers (Linux 6.6),
	// for programs whose datagrams are longer than a frame of memory
	// (afxdp.Options.Datagram), and for the driver's mode where the MTU goes beyond
	// a page.
	Frags bool
	// Allow decides who may have a queue, by the kernel's word about the
	// process at the other end; nil: who has the broker's own user id.
	Allow func(unix.Ucred) error
}

// Broker hands out the queues of one interface. Its methods may be called from
// any goroutine.
type Broker struct {
	options  Options
	redirect *ebpf.Redirect
	mode     ebpf.Mode // in which it is attached

	mu     sync.Mutex
	taken  map[uint32]bool
	closed bool // the program and its map are no longer ours to touch
}

// New attaches the program to the interface. Sockets belong to the network
// namespace of the threads that call [Broker.Serve].
//
// Errors: those of [ebpf.LoadRedirect], with Frags [ebpf.LoadRedirectFrags], and
// [ebpf.Redirect.Attach].
func New(o Options) (*Broker, error) {
	if o.Queues == nil {
		o.Queues = []uint32{0}
	}
	if o.Allow == nil {
		o.Allow = sameUser
	}
	load := ebpf.LoadRedirect
	if o.Frags {
		load = ebpf.LoadRedirectFrags
	}
	r, err := load(o.Port)
	if err != nil {
		return nil, err
	}
	if err := r.Attach(o.Interface, o.Mode); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	b := &Broker{options: o, redirect: r, mode: o.Mode, taken: map[uint32]bool{}}
	if there, err := ebpf.Attached(o.Interface); err == nil && len(there) == 1 {
		b.mode = there[0].Mode
	}
	return b, nil
}

// Mode is where the program runs.
func (b *Broker) Mode() ebpf.Mode { return b.mode }

func sameUser(c unix.Ucred) error {
	if int(c.Uid) != unix.Geteuid() {
		return fmt.Errorf("user %d may not have a queue of user %d's broker", c.Uid, unix.Geteuid())
	}
	return nil
}

// Close detaches the program. Sockets that were handed out get nothing more.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.redirect.Close()
}

// Serve answers one request on c, of any kind of unix socket, and returns when
// the other end has gone, or at once if it was refused. It has two seconds to
// ask, and nothing to say afterwards. c stays the caller's.
func (b *Broker) Serve(c *net.UnixConn) error {
	return b.serve(c, func(f func() error) error { return f() })
}

// serve is Serve that makes sockets by way of in, which calls its argument.
func (b *Broker) serve(c *net.UnixConn, in func(func() error) error) error {
	queue, err := b.asked(c)
	if err == nil {
		err = b.await(queue)
	}
	if err != nil {
		return errors.Join(err, refuse(c, queue, err.Error()))
	}
	defer b.free(queue)
	if err := in(func() error { return b.grant(c, queue) }); err != nil {
		return errors.Join(err, refuse(c, queue, err.Error()))
	}
	var one [1]byte
	if n, _ := c.Read(one[:]); n > 0 {
		return fmt.Errorf("broker: the owner of queue %d says more than there is to say; it loses the queue", queue)
	}
	return nil // it has gone, or the caller closed c
}

// asked reads a request, of somebody who may make it.
func (b *Broker) asked(c *net.UnixConn) (queue uint32, err error) {
	who, err := credentials(c)
	if err != nil {
		return 0, err
	}
	if err := b.options.Allow(who); err != nil {
		return 0, fmt.Errorf("broker: process %d: %w", who.Pid, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return 0, fmt.Errorf("broker: reading a request: %w", err)
	}
	var r [requestSize]byte
	if _, err := io.ReadFull(c, r[:]); err != nil {
		return 0, fmt.Errorf("broker: reading a request of process %d: %w", who.Pid, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return 0, fmt.Errorf("broker: reading a request: %w", err)
	}
	if binary.LittleEndian.Uint32(r[:]) != magic {
		return 0, errors.New("broker: this is no request for a queue")
	}
	return binary.LittleEndian.Uint32(r[4:]), nil
}

func credentials(c *net.UnixConn) (unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return unix.Ucred{}, fmt.Errorf("broker: who asks: %w", err)
	}
	var who *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(controlErr, err); err != nil {
		return unix.Ucred{}, fmt.Errorf("broker: who asks: %w", err)
	}
	return *who, nil
}

// goingTime is how long a queue may take to be given back.
const goingTime = 500 * time.Millisecond

// await takes a queue. Who closes a connection and asks again may be heard before
// its going is: a queue that is taken is asked for a little longer.
func (b *Broker) await(queue uint32) error {
	for end := time.Now().Add(goingTime); ; time.Sleep(goingTime / 50) {
		err := b.take(queue)
		if !errors.Is(err, errTaken) || time.Now().After(end) {
			return err
		}
	}
}

// errTaken: the queue has an owner.
var errTaken = errors.New("is somebody else's")

func (b *Broker) take(queue uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !slices.Contains(b.options.Queues, queue):
		return fmt.Errorf("broker: queue %d is not handed out here; %v are", queue, b.options.Queues)
	case b.taken[queue]:
		return fmt.Errorf("broker: queue %d %w; it is free when that process ends", queue, errTaken)
	}
	b.taken[queue] = true
	return nil
}

func (b *Broker) free(queue uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		_ = b.redirect.ClearSocket(queue) // the socket, if it is closed, has left the map already
	}
	delete(b.taken, queue)
}

// grant makes a socket and hands it over.
func (b *Broker) grant(c *net.UnixConn, queue uint32) error {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("broker: making an AF_XDP socket: %w (it takes CAP_NET_RAW and CONFIG_XDP_SOCKETS)", err)
	}
	defer unix.Close(fd) // the other end has its own
	if err := b.enter(queue, fd); err != nil {
		return err
	}
	front := answerTo(statusGranted, uint32(b.options.Interface), queue, b.options.Port)
	front[18] = byte(b.mode)
	if b.options.Frags {
		front[19] = answerFrags
	}
	return write(c, front, unix.UnixRights(fd))
}

// answerTo is the front of an answer.
func answerTo(status, ifindex, queue uint32, port uint16) []byte {
	a := binary.LittleEndian.AppendUint32(nil, magic)
	a = binary.LittleEndian.AppendUint32(a, status)
	a = binary.LittleEndian.AppendUint32(a, ifindex)
	a = binary.LittleEndian.AppendUint32(a, queue)
	return append(binary.LittleEndian.AppendUint16(a, port), 0, 0)
}

func refuse(c *net.UnixConn, queue uint32, why string) error {
	return write(c, append(answerTo(statusRefused, 0, queue, 0), why[:min(len(why), maxReason)]...), nil)
}

func write(c *net.UnixConn, b, rights []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(requestTime)); err != nil {
		return fmt.Errorf("broker: answering: %w", err)
	}
	if _, _, err := c.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("broker: answering: %w", err)
	}
	return nil
}

// enter has the queue's packets go to the socket.
func (b *Broker) enter(queue uint32, fd int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("broker: %w", net.ErrClosed)
	}
	return b.redirect.SetSocket(queue, fd)
}
