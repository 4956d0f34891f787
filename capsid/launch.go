package capsid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// launch is one start of a cell's process by way of the shim.
type launch struct {
	spec   Spec
	path   string // what is executed: the shim, or what leads to it
	argv   []string
	dir    string
	extra  []*os.File // descriptors behind those of the control groups, for what leads to the shim
	config shimConfig
	uid    uint32 // as which the kernel must know the cell
	group  *group // nil where no limit needs one
	// inner: the program started is not the cell's own process, and waits for it.
	inner bool
	// unprivileged: the node may not make namespaces, only what it executes may.
	unprivileged bool
	degraded     []string
	release      func() // frees what was taken for this cell; may be nil
}

// start runs it and returns when the cell's program has been executed. It owns
// l.group and l.release.
func (l *launch) start(ctx context.Context) (_ Process, err error) {
	p := &process{
		spec: l.spec, uid: l.uid, degraded: l.degraded, group: l.group, inner: l.inner, release: l.release,
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
	l.config.groups = len(l.group.files())
	message, err := l.config.encode()
	if err != nil {
		return nil, err
	}
	status, err := l.execute(p)
	if err != nil {
		return nil, err
	}
	defer status.Close()
	deadline := time.Now().Add(l.spec.StartTimeout)
	if t, ok := ctx.Deadline(); ok && t.Before(deadline) {
		deadline = t
	}
	_ = status.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = status.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if l.inner {
		// What makes the walls may be killed in a moment in which the rest of
		// it goes on waiting, and holds the socket open.
		ended, err := whenEnded(p.os.Pid, func() { _ = status.SetDeadline(time.Now().Add(outputGrace)) })
		if err != nil {
			return nil, fmt.Errorf("%w: no pidfd: %w", ErrUnavailable, err)
		}
		defer ended()
	}
	if err := l.converse(p, status, message); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return nil, p.explain(err)
	}
	go p.wait()
	if l.inner && l.spec.Limits.CPUTime > 0 {
		go p.sample()
	}
	return p, nil
}

// execute starts the process with its sockets and its output.
func (l *launch) execute(p *process) (status *net.UnixConn, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	p.reading = r
	node, cell, err := socketPair(l.spec.Name)
	if err != nil {
		return nil, err
	}
	defer cell.Close()
	p.socket = node
	status, shim, err := socketPair("status")
	if err != nil {
		return nil, err
	}
	defer shim.Close()
	if err := passCredentials(status); err != nil {
		return nil, errors.Join(err, status.Close())
	}
	env := append(append(make([]string, 0, len(l.spec.Env)+1), l.spec.Env...), EnvNode+"="+strconv.Itoa(nodeFD))
	attr := &os.ProcAttr{
		Dir: l.dir, Env: env,
		Files: slices.Concat([]*os.File{null, w, w, cell, shim}, l.group.files(), l.extra),
		Sys:   l.attributes(),
	}
	p.os, err = spawn(l.path, l.argv, attr)
	if errors.Is(err, unix.EPERM) && attr.Sys.Cloneflags != 0 {
		attr.Sys.Cloneflags = 0 // what is executed says what it lacks
		p.os, err = spawn(l.path, l.argv, attr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrUnavailable, err), status.Close())
	}
	l.group.started()
	p.copied = make(chan struct{})
	go func() {
		p.out.copyFrom(r)
		close(p.copied)
	}()
	return status, nil
}

// attributes are of the process that is started. What leads to the shim is the
// first process of a pid namespace: the kernel ends all of that with it, also
// where it is killed, with the node, in a moment in which the rest of it waits for
// its word.
func (l *launch) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if l.inner && !l.unprivileged {
		a.Cloneflags = syscall.CLONE_NEWPID
	}
	return a
}

// converse leads the shim to the cell's program.
func (l *launch) converse(p *process, status *net.UnixConn, message []byte) error {
	cred, err := hear(status, 'R')
	if err != nil {
		return err
	}
	p.pid = int(cred.Pid)
	// The shim waits for its configuration, so the number is still its own.
	if p.pidfd, err = unix.PidfdOpen(p.pid, 0); err != nil {
		return fmt.Errorf("%w: no pidfd: %w", ErrUnavailable, err)
	}
	if l.spec.Limits.Background {
		if err := unix.SchedSetAttr(p.pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
			return fmt.Errorf("%w: the kernel does not put the cell behind others (SCHED_IDLE): %w", ErrUnavailable, err)
		}
	}
	if l.inner {
		if p.initfd, err = parentOf(p.pidfd, p.pid); err != nil {
			return err
		}
	}
	if _, err := status.Write(message); err != nil {
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
		return nil, shimFailed(b[:])
	case n != 1 || b[0] != want:
		return nil, fmt.Errorf("%w: the shim said %q", ErrStart, b[:n])
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil && len(messages) == 1 {
		return unix.ParseUnixCredentials(&messages[0])
	}
	return nil, fmt.Errorf("%w: the kernel did not say who the shim is (%v)", ErrStart, err)
}

// socketPair returns the node's end of a pair of SOCK_SEQPACKET sockets, and
// the other as a file to be inherited.
func socketPair(name string) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: no socket pair: %w; raise RLIMIT_NOFILE", ErrUnavailable, err)
	}
	near, far := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer near.Close() // the connection has a descriptor of its own
	c, err := net.FileConn(near)
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return c.(*net.UnixConn), far, nil
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
