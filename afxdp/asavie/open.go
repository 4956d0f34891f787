package asavie

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/afxdp/xsk"
)

// Name is what XDPOptions.Backend calls it.
const Name = "asavie"

func init() { afxdp.Register(Name, open) }

// spent are the queues that this process has had: the library never lets go of
// one.
var spent struct {
	sync.Mutex
	all map[place]bool
}

type place struct {
	namespace string
	index     int
	queue     uint32
}

// refuse says what of a wish the library can't fulfil.
func refuse(u *xsk.UmemOptions, c *xsk.Config, queues []uint32) error {
	what := ""
	switch {
	case runtime.GOARCH != "amd64":
		what = "it has no memory barriers, which " + runtime.GOARCH + " needs"
	case len(queues) != 1:
		what = fmt.Sprintf("it has no memory that several queues share, and there are %d; name one in Options.XDP.Queues, or leave one (ethtool -L … combined 1)", len(queues))
	case c.Copying == xsk.CopyNever:
		what = "zero-copy was asked for, and frames could not be told apart then"
	case c.FD != 0 || len(c.FDs) > 0:
		what = "it takes no socket that was handed over"
	case u.Metadata != 0:
		what = "it has no metadata"
	case c.MultiBuffer:
		what = "it takes no packets over several frames"
	}
	if what == "" {
		return nil
	}
	return fmt.Errorf("%w by asavie/xdp: %s; or take the default backend", xsk.ErrNotSupported, what)
}

// open implements [afxdp.Backend].
func open(u xsk.UmemOptions, c xsk.Config, queues []uint32) (afxdp.Sockets, error) {
	if err := refuse(&u, &c, queues); err != nil {
		return nil, err
	}
	ns, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("asavie: which network namespace is this: %w", err)
	}
	at := place{ns, c.Interface, queues[0]}
	spent.Lock()
	defer spent.Unlock()
	if spent.all[at] {
		return nil, fmt.Errorf("%w: this process has had queue %d of interface %d by asavie/xdp, which never lets go of one; start the process anew, or take the default backend", xsk.ErrBusy, at.queue, at.index)
	}
	s, err := socket(&u, &c, int(at.queue))
	if err != nil {
		return nil, err
	}
	if spent.all == nil {
		spent.all = map[place]bool{}
	}
	spent.all[at] = true
	q := newQueue(s, at.queue, &u, &c)
	set := &sockets{queue: q, queues: []afxdp.Queue{q}, notes: []string{
		"AF_XDP by asavie/xdp v0.3.3, which was asked for: one queue, copying, a system call for each packet or batch that is sent, no second time for an interface in this process, no need-wakeup, no headroom."}}
	if u.HugePages {
		set.notes = append(set.notes, "No huge pages: asavie/xdp has none.")
	}
	return set, nil
}

// flags guards the library's package-wide binding flags.
var flags sync.Mutex

func socket(u *xsk.UmemOptions, c *xsk.Config, queue int) (s *xdp.Socket, err error) {
	flags.Lock()
	defer flags.Unlock()
	before := xdp.DefaultSocketFlags
	xdp.DefaultSocketFlags = unix.XDP_COPY
	defer func() { xdp.DefaultSocketFlags = before }()
	// The library makes a descriptor that children would inherit.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	s, err = xdp.NewSocket(c.Interface, queue, &xdp.SocketOptions{NumFrames: u.Frames, FrameSize: u.FrameSize,
		FillRingNumDescs: int(c.Fill), CompletionRingNumDescs: int(c.Completion), RxRingNumDescs: int(c.Rx), TxRingNumDescs: int(c.Tx)})
	if err != nil {
		return nil, sentinel(err)
	}
	unix.CloseOnExec(s.FD())
	return s, nil
}

// sentinel finds an error that can be compared with in what the library says,
// which wraps none.
func sentinel(err error) error {
	for _, k := range []struct {
		errno unix.Errno
		means error
	}{{unix.EBUSY, xsk.ErrBusy}, {unix.EPERM, xsk.ErrPermission}, {unix.ENETDOWN, xsk.ErrDown}, {unix.ENODEV, xsk.ErrDown}, {unix.ENOBUFS, xsk.ErrMemlock},
		{unix.EOPNOTSUPP, xsk.ErrNotSupported}, {unix.EAFNOSUPPORT, xsk.ErrNotSupported}, {unix.EINVAL, xsk.ErrNotSupported}} {
		if strings.HasSuffix(err.Error(), k.errno.Error()) {
			return fmt.Errorf("%w: asavie/xdp: %w", k.means, errors.Join(err, k.errno))
		}
	}
	return fmt.Errorf("asavie/xdp: %w", err)
}

// sockets implements [afxdp.Sockets].
type sockets struct {
	*queue
	queues []afxdp.Queue
	notes  []string
}

func (s *sockets) Queues() []afxdp.Queue           { return s.queues }
func (s *sockets) Notes() []string                 { return s.notes }
func (s *sockets) ZeroCopy() (yes bool, why error) { return false, nil }

// Close gives back the memory; the kernel keeps the queue until the process
// ends, because the library leaves its rings mapped.
func (s *sockets) Close() error {
	if s.queue.socket == nil {
		return nil
	}
	err := s.queue.socket.Close()
	s.queue.socket = nil
	return err
}
