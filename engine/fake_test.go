package engine_test

import (
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

// lifeline is a pipe whose Poll never notices by itself that the peer died, as
// a ring's doesn't until long after: only CheckPeer reads the socket that stays
// open beside it.
type lifeline struct {
	*linktest.End
	fd     int
	peer   int // close it to kill the peer
	gone   bool
	checks atomic.Int64
}

func newLifeline(t testing.TB) (*lifeline, *linktest.End) {
	t.Helper()
	near, far := pipe(t, linktest.PipeConfig{})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lifeline{End: near, fd: fds[0], peer: fds[1]}
	t.Cleanup(func() {
		_ = unix.Close(l.fd)
		l.kill()
	})
	return l, far
}

func (l *lifeline) kill() {
	if l.peer >= 0 {
		_ = unix.Close(l.peer)
		l.peer = -1
	}
}

func (l *lifeline) WaitFDs(fds []int) []int { return append(l.End.WaitFDs(fds), l.fd) }

func (l *lifeline) CheckPeer() error {
	l.checks.Add(1)
	var b [1]byte
	if n, err := unix.Read(l.fd, b[:]); n == 0 && err == nil {
		l.gone = true
		return link.ErrPeerGone
	}
	return nil
}

func (l *lifeline) Poll(in []wire.Vesicle) (int, error) {
	n, err := l.End.Poll(in)
	if n == 0 && err == nil && l.gone {
		return 0, link.ErrPeerGone
	}
	return n, err
}

// quiet is a link without descriptors or memory, so that there can be many.
// What it receives are events whose number was set.
type quiet struct {
	pending atomic.Int64
	polls   atomic.Int64
	arms    atomic.Int64
	out     int
}

func (q *quiet) Poll(in []wire.Vesicle) (int, error) {
	q.polls.Add(1)
	n := int(min(q.pending.Load(), int64(len(in))))
	for i := range n {
		in[i] = wire.Vesicle{Header: event(uint32(i))}
	}
	q.pending.Add(-int64(n))
	q.out += n
	return n, nil
}

func (q *quiet) Release(n int) error {
	if q.out -= n; q.out < 0 {
		return link.ErrOrder
	}
	return nil
}

func (q *quiet) Arm() bool {
	q.arms.Add(1)
	return q.pending.Load() == 0
}

func (*quiet) Disarm()                                {}
func (*quiet) ReceiveStats() link.Stats               { return link.Stats{} }
func (*quiet) SendStats() link.Stats                  { return link.Stats{} }
func (*quiet) Claim([]wire.Vesicle, int) (int, error) { return 0, link.ErrFull }
func (*quiet) Commit([]wire.Vesicle) error            { return link.ErrOrder }
func (*quiet) Abort()                                 {}
func (*quiet) Flush() error                           { return nil }
func (*quiet) ArmSpace(int) bool                      { return true }
func (*quiet) DisarmSpace()                           {}
func (*quiet) Info() link.Info                        { return link.Info{Kind: "quiet"} }
func (*quiet) WaitFDs(fds []int) []int                { return fds }
func (*quiet) CheckPeer() error                       { return nil }
func (*quiet) Shutdown()                              {}
func (*quiet) Close() error                           { return nil }

var _ link.Link = (*quiet)(nil)
