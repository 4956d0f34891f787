package capsid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// outputGrace is how long the end of a cell's output is waited for after
	// the cell's own end: another process may hold the pipe.
	outputGrace = 500 * time.Millisecond
	// endGrace is how long what stands between node and cell may take to end
	// after the cell, before it is killed.
	endGrace = 2 * time.Second
)

// process is a cell that runs as a process, in whatever walls.
type process struct {
	spec     Spec
	uid      uint32
	degraded []string
	group    *group
	inner    bool
	release  func()
	began    time.Time
	out      *output
	reading  *os.File
	copied   chan struct{}
	socket   *net.UnixConn

	child  *child       // what was started: the cell, or what waits for it
	late   chan started // of a start that nobody waits for any more; see abandon
	pid    int          // the cell's
	pidfd  int          // the cell's, where that is not the child, or -1
	initfd int          // of the first process of the cell's pid namespace, or -1

	mu     sync.Mutex
	ended  bool  // pidfd must not be used any more
	reaped bool  // and of the child's number the same is true
	seen   Usage // at the last look, of a cell whose usage nobody tells at its end
	fate   fate
	done   chan struct{}
	exit   Exit
}

// fate is what the node has decided about a cell.
type fate struct {
	set    bool
	cause  Cause
	limit  string
	why    string
	forced bool
}

var _ Process = (*process)(nil)

func (p *process) Name() string          { return p.spec.Name }
func (p *process) PID() int              { return p.pid }
func (p *process) UID() uint32           { return p.uid }
func (p *process) Socket() *net.UnixConn { return p.socket }
func (p *process) Degraded() []string    { return p.degraded }
func (p *process) Done() <-chan struct{} { return p.done }
func (p *process) Tail() []string        { return p.out.tail() }

// Stop implements Process.
func (p *process) Stop(grace time.Duration) {
	p.decide(fate{cause: Stopped, why: "stopped by its node"})
	p.signal(unix.SIGTERM)
	if grace <= 0 {
		p.force()
		return
	}
	timer := time.AfterFunc(grace, p.force)
	go func() {
		<-p.done
		timer.Stop()
	}()
}

func (p *process) force() {
	p.mu.Lock()
	if !p.ended {
		p.fate.forced = true
	}
	p.mu.Unlock()
	p.slay()
}

// Kill implements Process.
func (p *process) Kill(cause Cause, why string) { p.kill(cause, "", why) }

func (p *process) kill(cause Cause, limit, why string) {
	switch cause {
	case Killed, Hung, LimitReached:
	default:
		cause = Killed
	}
	if cause == LimitReached && limit == "" {
		limit = why
	}
	p.decide(fate{cause: cause, limit: limit, why: why})
	p.slay()
}

// decide records the node's first decision about a living cell.
func (p *process) decide(f fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended && !p.fate.set {
		f.set = true
		p.fate = f
	}
}

// signal sends to the cell itself, if it still lives.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended:
	case p.pidfd >= 0:
		_ = unix.PidfdSendSignal(p.pidfd, s, nil, 0)
	case p.child != nil && !p.inner && !p.reaped:
		_ = unix.Kill(p.child.pid, s)
	}
}

// slay kills the cell and what it started.
func (p *process) slay() {
	p.signal(unix.SIGKILL)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if p.child != nil && !p.inner && !p.reaped {
		_ = unix.Kill(-p.child.pid, unix.SIGKILL) // its session's group
	}
	p.group.kill()
}

// wait sees the cell to its end and cleans up after it.
func (p *process) wait() {
	_ = p.child.awaitEnd()
	p.mu.Lock()
	if p.reaped = true; !p.inner {
		_ = unix.Kill(-p.child.pid, unix.SIGKILL) // the rest of its group
	}
	p.mu.Unlock()
	status, used, _ := p.child.reap()
	if p.inner {
		p.waitInside()
		status = p.innerStatus(status)
	}
	p.group.kill()
	select {
	case <-p.copied:
	case <-time.After(outputGrace):
	}
	_ = p.reading.Close()
	<-p.copied
	u := usageOf(used)
	if p.inner {
		p.mu.Lock()
		u.User, u.System = u.User+p.seen.User, u.System+p.seen.System
		p.mu.Unlock()
	}
	p.group.read(&u)
	u.Output = p.out.bytes()
	left := p.group.remove()
	p.mu.Lock()
	p.ended = true
	p.exit = classify(status, p.fate, u, p.spec.Limits)
	p.mu.Unlock()
	p.exit.Tail, p.exit.Usage, p.exit.Began, p.exit.Ended = p.out.tail(), u, p.began, time.Now()
	if left != nil {
		p.exit.Why += "; " + left.Error()
	}
	p.free()
	close(p.done)
}

// samplePace is how often a cell with a limit of CPU time is looked at.
const samplePace = 200 * time.Millisecond

// sample looks at a cell in a pid namespace now and then: bubblewrap does not
// wait for the cell, so the kernel adds its usage to nobody's.
func (p *process) sample() {
	tick := time.NewTicker(samplePace)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
		var u Usage
		if usageOfProcess(p.pid, &u) == nil {
			p.mu.Lock()
			p.seen = u
			p.mu.Unlock()
		}
	}
}

// waitInside waits until the cell's pid namespace is empty, which its first
// process's end means: the kernel holds that back until all others are gone.
func (p *process) waitInside() {
	if awaitEnd(p.initfd, endGrace) {
		return
	}
	_ = unix.PidfdSendSignal(p.initfd, unix.SIGKILL, nil, 0)
	awaitEnd(p.initfd, endGrace)
}

// awaitEnd waits for a process that is not a child. It reports whether it has
// ended.
func awaitEnd(pidfd int, patience time.Duration) bool {
	until := time.Now().Add(patience)
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(time.Until(until), 0)/time.Millisecond))
		if n > 0 {
			return true
		}
		if !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// innerStatus is the cell's own wait status, of which what waited for it may
// have told only a part: 128 and the signal.
func (p *process) innerStatus(outer syscall.WaitStatus) syscall.WaitStatus {
	if own, ok := exitOf(p.pidfd); ok {
		return own
	}
	if code := outer.ExitStatus(); outer.Exited() && code > 128 && code <= 128+64 {
		return syscall.WaitStatus(code - 128) // before Linux 6.15
	}
	return outer
}

// free closes what belonged to the process.
func (p *process) free() {
	p.mu.Lock()
	p.ended = true
	for _, fd := range []int{p.pidfd, p.initfd} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	p.pidfd, p.initfd = -1, -1
	p.mu.Unlock()
	if p.release != nil {
		p.release()
	}
}

// undo ends what a start has brought about so far. It reaches the whole group:
// bubblewrap's child asks to end with its parent only some time after it has
// begun, and would wait for ever for one that was killed before.
func (p *process) undo() {
	p.slay()
	_ = unix.Kill(-p.child.pid, unix.SIGKILL) // not reaped, so the number is its own
	_ = unix.Kill(p.child.pid, unix.SIGKILL)
}

// abandon undoes a start that failed.
func (p *process) abandon() {
	if late := p.late; late != nil {
		p.late = nil
		go func() { // which may take as long as what holds the start up
			p.adopt(<-late)
			p.abandon()
		}()
		return
	}
	if p.child != nil {
		p.undo()
		_, _, _ = p.child.reap()
		if p.initfd >= 0 {
			p.waitInside()
		}
	}
	if p.copied != nil {
		<-p.copied
	}
	if p.reading != nil {
		p.reading.Close()
	}
	if p.socket != nil {
		p.socket.Close()
	}
	_ = p.group.remove()
	p.free()
}

// explain adds what the program that failed has written.
func (p *process) explain(err error) error {
	if p.child != nil {
		p.undo()
		select {
		case <-p.copied:
		case <-time.After(outputGrace):
			_ = p.reading.Close()
		}
	}
	text := strings.Join(p.out.tail(), "; ")
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: the sandbox could not be made", ErrUnavailable)
	}
	if text != "" {
		err = fmt.Errorf("%w: it said: %s", err, text)
	}
	return fmt.Errorf("starting %s: %w", p.spec.Name, err)
}

// Wait implements Process.
func (p *process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		select {
		case <-p.done:
			return p.exit, nil
		default:
		}
		return Exit{}, context.Cause(ctx)
	}
}

// Usage implements Process.
func (p *process) Usage() (Usage, error) {
	select {
	case <-p.done:
		return p.exit.Usage, nil
	default:
	}
	u := Usage{Output: p.out.bytes()}
	if !p.group.read(&u) {
		if err := usageOfProcess(p.pid, &u); err != nil {
			return u, err
		}
	}
	return u, nil
}
