package capsid

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// launch is one start of a cell's process by way of the shim.
type launch struct {
	spec   Spec
	walls  []string // the command that makes walls and leads to the shim inside them; nil where a starter does all
	config shimConfig
	uid    uint32 // as which the kernel must know the cell
	group  *group // nil where no limit needs one
	// unprivileged: the node may not make namespaces, only what it executes may.
	unprivileged bool
	outside      *outside // nil for bubblewrap
	degraded     []string
	release      func() // frees what was taken for this cell; may be nil
}

// outside is what makes walls with an environment of its own, in namespaces that it
// can't do without, and may keep the descriptors that it hands on: so the shim gets
// by its configuration what nobody else is to have.
type outside struct {
	env        []string
	namespaces int // of clone(2), beside a pid namespace
	cell       int // the cell's end of its socket
}

// started is what became of a start.
type started struct {
	pid, pidfd int
	err        error
}

// start runs it and returns when the cell's program has been executed. It owns
// l.group and l.release.
func (l *launch) start(ctx context.Context) (_ Process, err error) {
	p := &process{
		spec: l.spec, uid: l.uid, degraded: l.degraded, group: l.group, inner: l.walls != nil, release: l.release,
		began: time.Now(), done: make(chan struct{}), pidfd: -1, initfd: -1,
	}
	p.out = &output{sink: l.spec.Output, limit: l.spec.Limits.Output, full: func() {
		p.kill(LimitReached, "output", fmt.Sprintf("it wrote more than %d bytes to stdout and stderr (Limits.Output)", l.spec.Limits.Output))
	}}
	defer func() {
		if err != nil {
			p.abandon()
		}
	}()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("starting %s: %w", l.spec.Name, context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.spec.StartTimeout, fmt.Errorf("no word from the shim in %v (StartTimeout)", l.spec.StartTimeout))
	defer cancel()
	l.config.groups = len(l.group.files())
	if p.inner {
		err = l.throughWalls(ctx, p)
	} else {
		request := startRequest{dir: l.spec.Dir, argv: l.spec.Command, env: l.environment(), inherited: 1, walls: l.config}
		err = l.execute(ctx, p, request, nil, nil)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return nil, p.explain(err)
	}
	go p.wait()
	if p.inner && l.spec.Limits.CPUTime > 0 {
		go p.sample()
	}
	return p, nil
}

// execute has a starter execute a program, with the cell's output and its socket, and
// with other descriptors that it closes: some before those of the control groups, some
// behind them.
func (l *launch) execute(ctx context.Context, p *process, request startRequest, before, behind []int) error {
	fds, own, err := l.ends(p, before, behind)
	if err != nil {
		return err
	}
	result := make(chan started, 1)
	do := func(s *starter) {
		r := s.run(request, fds)
		closeAll(own)
		result <- r
	}
	to := spawner()
	if request.walls.flags&shimBehind != 0 || !p.inner && l.spec.Limits.CPU > 0 {
		to = patientSpawner()
	}
	select {
	case to <- do:
	case <-ctx.Done():
		closeAll(own)
		return fmt.Errorf("%w: others are being started", ErrStart)
	}
	select {
	case r := <-result:
		if l.outside == nil { // else the shim gets its groups later
			p.group.started()
		}
		return p.adopt(r)
	case <-ctx.Done():
		p.late = result
		return fmt.Errorf("%w: executing %s takes too long", ErrStart, request.argv[0])
	}
}

// ends are the descriptors that a cell is started with, and those of them that are to
// be closed afterwards.
func (l *launch) ends(p *process, before, behind []int) (fds, toClose []int, err error) {
	own := slices.Concat(before, behind)
	defer func() {
		if err != nil {
			closeAll(own)
		}
	}()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("%w: no pipe: %w; raise RLIMIT_NOFILE", ErrUnavailable, err)
	}
	_, _ = unix.FcntlInt(uintptr(pipe[0]), unix.F_SETFL, unix.O_NONBLOCK) // a pipe is never refused this
	p.reading = os.NewFile(uintptr(pipe[0]), "output")
	own = append(own, pipe[1])
	node, cell, err := socketPair(l.spec.Name)
	if err != nil {
		return nil, nil, err
	}
	p.socket = node
	if l.outside != nil { // which has nothing for descriptor 3
		l.outside.cell = cell
		return slices.Concat([]int{pipe[1], before[0]}, before, behind), own, nil
	}
	own = append(own, cell)
	fds = append([]int{pipe[1], cell}, before...)
	for _, f := range l.group.files() {
		fds = append(fds, int(f.Fd()))
	}
	return append(fds, behind...), own, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func (l *launch) environment() []string {
	return append(append(make([]string, 0, len(l.spec.Env)+1), l.spec.Env...), EnvNode+"="+strconv.Itoa(nodeFD))
}

// adopt takes over a process that was started, and begins to read its output.
func (p *process) adopt(r started) error {
	if r.err != nil {
		return r.err
	}
	c, err := newChild(r.pid, r.pidfd)
	if err != nil {
		return err
	}
	p.child = c
	if !p.inner {
		p.pid = r.pid
	}
	p.copied = make(chan struct{})
	go func() {
		p.out.copyFrom(p.reading)
		close(p.copied)
	}()
	return nil
}

// throughWalls executes what leads to the shim, and leads the shim to the cell's
// program.
func (l *launch) throughWalls(ctx context.Context, p *process) error {
	message, err := l.config.encode()
	if err != nil {
		return err
	}
	status, shim, err := socketPair("status")
	if err != nil {
		return err
	}
	defer status.Close()
	if err := passCredentials(status); err != nil {
		return errors.Join(err, unix.Close(shim))
	}
	program, err := openShim()
	if err != nil {
		return errors.Join(err, unix.Close(shim))
	}
	err = l.execute(ctx, p, l.makeWalls(), []int{shim}, []int{program})
	if o := l.outside; o != nil {
		defer o.close()
	}
	if err != nil {
		return err
	}
	if t, ok := ctx.Deadline(); ok {
		_ = status.SetDeadline(t)
	}
	stop := context.AfterFunc(ctx, func() { _ = status.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// What makes the walls may be killed in a moment in which the rest of it goes on
	// waiting, and holds the socket open.
	ended, err := whenEnded(p.child.pid, func() { _ = status.SetDeadline(time.Now().Add(outputGrace)) })
	if err != nil {
		return fmt.Errorf("%w: no pidfd: %w", ErrUnavailable, err)
	}
	defer ended()
	return l.converse(ctx, p, status, message)
}

// makeWalls is how what makes the walls is executed. It is the first process of a
// pid namespace: the kernel ends all of that with it, also where it is killed, with the
// node, in a moment in which the rest of it waits for its word.
func (l *launch) makeWalls() startRequest {
	r := startRequest{
		dir: "/", argv: l.walls, env: l.environment(), inherited: 2 + l.config.groups + 1,
		walls: shimConfig{flags: l.config.flags&shimBehind | shimSession | shimPrivileged},
	}
	if !l.unprivileged {
		r.namespaces = unix.CLONE_NEWPID
	}
	if o := l.outside; o != nil {
		r.env, r.required, r.namespaces = o.env, true, unix.CLONE_NEWPID|o.namespaces
		r.inherited = 2 + 1           // in place of the cell's socket that to the shim, that, and the shim
		r.walls.flags |= shimDeathSig // which bubblewrap asks for by itself
	}
	return r
}

// converse leads the shim to the cell's program.
func (l *launch) converse(ctx context.Context, p *process, status *net.UnixConn, message []byte) error {
	cred, err := hear(status, 'R')
	if err != nil {
		return err
	}
	p.pid = int(cred.Pid)
	// The shim waits for its configuration, so the number is still its own.
	if p.pidfd, err = unix.PidfdOpen(p.pid, 0); err != nil {
		return fmt.Errorf("%w: no pidfd: %w", ErrUnavailable, err)
	}
	if p.initfd, err = parentOf(p.pidfd, p.pid); err != nil {
		return err
	}
	if o := l.outside; o != nil {
		if status, err = o.handOver(ctx, status, message, l.group.files()); err != nil {
			return err
		}
		l.group.started()
		defer status.Close()
		stop := context.AfterFunc(ctx, func() { _ = status.SetDeadline(time.Unix(1, 0)) })
		defer stop()
	} else if _, err := status.Write(message); err != nil {
		return fmt.Errorf("%w: the shim ended: %w", ErrUnavailable, err)
	}
	if cred, err = hear(status, 'S'); err != nil {
		return err
	}
	if cred.Uid != l.uid || int(cred.Pid) != p.pid {
		return fmt.Errorf("%w: the kernel knows the cell as uid %d, not as %d", ErrUnavailable, cred.Uid, l.uid)
	}
	if _, err := hear(status, 0); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// handOver gives the shim its configuration, and with it the cell's socket, the files of
// its control groups, and a socket to speak on from there on, whose other end it returns.
func (o *outside) handOver(ctx context.Context, status *net.UnixConn, message []byte, groups []*os.File) (*net.UnixConn, error) {
	next, shim, err := socketPair("status")
	if err != nil {
		return nil, err
	}
	defer unix.Close(shim)
	fds := []int{o.cell, shim}
	for _, f := range groups {
		fds = append(fds, int(f.Fd()))
	}
	err = passCredentials(next)
	if err == nil {
		_, _, err = status.WriteMsgUnix(message, unix.UnixRights(fds...), nil)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: the shim ended: %w", ErrUnavailable, err), next.Close())
	}
	if t, ok := ctx.Deadline(); ok {
		_ = next.SetDeadline(t)
	}
	return next, nil
}

// close gives up what was to be handed over.
func (o *outside) close() {
	if o.cell >= 0 {
		unix.Close(o.cell)
	}
	o.cell = -1
}

// hear reads one message of the shim and says who wrote it, by the kernel's
// word.
func hear(c *net.UnixConn, want byte) (*unix.Ucred, error) {
	var b [failureLen]byte
	var oob [64]byte
	n, oobn, _, _, err := c.ReadMsgUnix(b[:], oob[:])
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%w: no word from the shim in time: %w", ErrStart, err)
	case errors.Is(err, io.EOF) || err == nil && n == 0:
		return nil, io.EOF
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	case n == failureLen && b[0] == 'E':
		return nil, shimFailed(binary.NativeEndian.Uint32(b[4:]), unix.Errno(binary.NativeEndian.Uint32(b[8:])))
	case n != 1 || b[0] != want:
		return nil, fmt.Errorf("%w: the shim said %q", ErrStart, b[:n])
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil && len(messages) == 1 {
		return unix.ParseUnixCredentials(&messages[0])
	}
	return nil, fmt.Errorf("%w: the kernel did not say who the shim is (%v)", ErrStart, err)
}

// socketPair returns the node's end of a pair of SOCK_SEQPACKET sockets, and the
// descriptor of the other, to be inherited.
func socketPair(name string) (*net.UnixConn, int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("%w: no socket pair: %w; raise RLIMIT_NOFILE", ErrUnavailable, err)
	}
	near := os.NewFile(uintptr(fds[0]), name)
	defer near.Close() // the connection has a descriptor of its own
	c, err := net.FileConn(near)
	if err != nil {
		return nil, -1, errors.Join(err, unix.Close(fds[1]))
	}
	return c.(*net.UnixConn), fds[1], nil
}

func passCredentials(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	if err := raw.Control(func(fd uintptr) { e = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); err != nil {
		return err
	}
	return e
}

// parentOf returns a pidfd of the parent of a process that is known to live.
func parentOf(pidfd, pid int) (int, error) {
	ppid := 0
	if info, ok := infoOf(pidfd); ok {
		ppid = int(info.ppid)
	} else if st, err := readStat(pid); err == nil {
		ppid = st.ppid
	}
	if ppid <= 0 {
		return -1, fmt.Errorf("%w: the parent of process %d can't be found", ErrUnavailable, pid)
	}
	fd, err := unix.PidfdOpen(ppid, 0)
	if err != nil {
		return -1, fmt.Errorf("%w: no pidfd: %w", ErrUnavailable, err)
	}
	return fd, nil
}
