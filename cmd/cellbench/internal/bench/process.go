package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
)

// PeerArg is the hidden first argument that makes the program a peer.
const PeerArg = "_peer"

// Bench holds what the measurements of one run share: the peer process, a
// directory for the sockets (the peer's), and memory for the limits. It is for one
// goroutine.
type Bench struct {
	dir    string
	peer   *exec.Cmd
	input  io.Closer
	output io.Closer
	forget func() bool // the context of New
	lines  *lines
	shared *shared
	native *native // the C programs, if they could be built
	whyNo  string  // why there are none
	seq    atomic.Uint64
	gone   atomic.Bool   // the peer ended
	ended  chan struct{} // closed then
}

// New starts the peer process. Close ends it. ctx bounds the life of both.
func New(ctx context.Context) (*Bench, error) {
	sched.Clock() // calibrates now, not within the first measurement
	b := &Bench{ended: make(chan struct{}), whyNo: "the equal ring in C was left out (--no-c)"}
	if err := b.start(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bench) start(ctx context.Context) error {
	s, f, err := newShared()
	if err != nil {
		return err
	}
	b.shared = s
	defer f.Close()
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("%w can't be started again from this program: %w; mount /proc", errPeer, err)
	}
	cmd := exec.Command(exe, PeerArg)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{f}
	// A group of its own: ctrl-C reaches this process, which ends the peer.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return startError(exe, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return startError(exe, err)
	}
	if err := cmd.Start(); err != nil {
		return startError(exe, err)
	}
	b.peer, b.input, b.output, b.lines = cmd, in, out, newLines(out, in)
	b.forget = func() bool { return true }
	go func() {
		// Not cmd.Wait, which would close the pipe under a reader.
		_, _ = cmd.Process.Wait()
		b.gone.Store(true)
		close(b.ended)
	}()
	var g greeting
	if err := b.lines.receive(&g); err != nil {
		return fmt.Errorf("%w ended early: %w", errPeer, err)
	}
	if g.Error != "" {
		return errors.New(g.Error)
	}
	b.dir = g.Dir
	// By hand, because a CommandContext needs a cmd.Wait to end with; and not
	// before the directory is known, which a peer that is killed leaves behind.
	b.forget = context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	return nil
}

func startError(exe string, err error) error {
	advice := ""
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		advice = "; raise RLIMIT_NOFILE (ulimit -n)"
	case errors.Is(err, syscall.EAGAIN):
		advice = "; raise RLIMIT_NPROC (ulimit -u) or the limit of the cgroup (pids.max)"
	}
	return fmt.Errorf("%w: starting %s: %w%s", errPeer, exe, err, advice)
}

// Close ends the peer process and removes the directory, if that did not.
func (b *Bench) Close() error {
	var err error
	if b.peer != nil {
		b.forget()
		b.input.Close()
		select {
		case <-b.ended:
		case <-time.After(2 * time.Second):
			_ = b.peer.Process.Kill()
			<-b.ended
		}
		b.output.Close()
	}
	if b.shared != nil {
		err = errors.Join(err, b.shared.close())
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// whilePeerLives returns a context that ends with ctx, with the peer, and with
// the call of stop.
func (b *Bench) whilePeerLives(ctx context.Context) (alive context.Context, stop func()) {
	alive, stop = context.WithCancel(ctx)
	go func() {
		select {
		case <-b.ended:
			stop()
		case <-alive.Done():
		}
	}()
	return alive, stop
}

// ask gives the peer a job; the answer comes later, by await.
func (b *Bench) ask(j job) error {
	if err := b.lines.send(j); err != nil {
		return fmt.Errorf("%w: %w", errPeer, err)
	}
	return nil
}

// blame chooses between this side's error and the peer's. An end of one side
// always is one for the other as well, and only the first tells the cause.
func blame(mine, peers error) error {
	switch {
	case mine == nil:
		return peers
	case peers == nil:
		return mine
	case errors.Is(mine, link.ErrPeerGone), errors.Is(mine, errPeer), errors.Is(mine, context.Canceled):
		return fmt.Errorf("%w (%w)", peers, mine)
	}
	return mine
}

// await returns the peer's answer to the last job.
func (b *Bench) await() (answer, error) {
	var a answer
	if err := b.lines.receive(&a); err != nil {
		return a, fmt.Errorf("%w ended early: %w", errPeer, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%w: %s", errPeer, a.Error)
	}
	return a, nil
}

// listen opens a socket of a new name for one round and tells j about it.
// refused, which may be nil, is told why a connection came to nothing.
func (b *Bench) listen(s *Spec, j *job, refused func(error)) (*uds.Listener, error) {
	o := options(b.dir, s.Link, s.Ring, s.Payload())
	if refused != nil {
		o.Refused = func(_ link.Peer, why error) { refused(why) }
	}
	if s.Kind == report.KindFanIn {
		o.MaxConns, o.MaxMemory = s.Peers, int64(s.Peers)*int64(2*s.Ring+64<<10)
	}
	name := fmt.Sprintf("r%d", b.seq.Add(1))
	l, err := uds.Listen(name, o)
	if err != nil {
		return nil, err
	}
	j.Dir, j.Name, j.Link, j.Ring = b.dir, name, s.Link, s.Ring
	j.Wait, j.Payload = s.Wait, s.Payload()
	return l, nil
}

func options(dir, link string, ringSize, payload int) *uds.Options {
	o := &uds.Options{Dir: filepath.Clean(dir), Path: uds.PathRing, RingSize: ringSize, MaxRingSize: ringSize,
		Prefault: true, MaxPayload: max(payload, 4096), MaxMemory: 4 << 30}
	if link == LinkUDS {
		o.Path = uds.PathStream
	}
	return o
}
