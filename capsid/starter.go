package capsid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// starter is the shim as a process that stays and starts programs for one thread of
// this one, as children of that thread: see serve in shim/shim.c. It ends with its
// thread.
type starter struct {
	pid    int // 0 where there is none yet
	socket int
}

// run starts a program. Where the node may not make namespaces it has none, and says
// what it lacks, unless they are required.
func (s *starter) run(r startRequest, fds []int) started {
	message, err := r.encode()
	if err != nil {
		return started{err: err}
	}
	pid, err := s.start(message, fds)
	if r.namespaces != 0 && !r.required && errors.Is(err, unix.EPERM) {
		r.namespaces = 0
		return s.run(r, fds)
	}
	if err != nil {
		return started{err: err}
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _, _ = (&child{pid: pid}).reap()
		err = fmt.Errorf("%w: no pidfd: %w", ErrUnavailable, err)
	}
	return started{pid, pidfd, err}
}

// start starts a program and returns when it has been executed. The message is of a
// startRequest; the descriptors are the output, what is inherited, and the files of
// the control groups to join.
func (s *starter) start(message []byte, fds []int) (pid int, err error) {
	for tries := 0; ; tries++ {
		if s.pid == 0 {
			if err := s.begin(); err != nil {
				return 0, fmt.Errorf("%w: the process that starts cells can't be run: %w", ErrUnavailable, err)
			}
		}
		err := unix.Sendmsg(s.socket, message, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		if err == nil {
			return s.reply()
		}
		// One that somebody has killed before is replaced.
		if s.end(); tries > 0 || !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
			return 0, fmt.Errorf("%w: the process that starts cells can't be told of one: %w", ErrUnavailable, err)
		}
	}
}

// reply reads what became of a start.
func (s *starter) reply() (pid int, err error) {
	var b [12]byte // struct reply
	n, err := unix.Read(s.socket, b[:])
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(s.socket, b[:])
	}
	if n != len(b) {
		// What it had begun, if anything, finds its socket to the node closed.
		s.end()
		return 0, fmt.Errorf("%w: the process that starts cells was ended (%v); start the cell again", ErrStart, err)
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
	pid = int(word(0))
	if word(1) == 0 {
		return pid, nil
	}
	if pid != 0 { // it has ended
		_, _, _ = (&child{pid: pid}).reap()
	}
	return 0, shimFailed(word(1), unix.Errno(word(2)))
}

// begin runs the process.
func (s *starter) begin() error {
	shim, err := shimFile()
	if err != nil {
		return err
	}
	null, err := devNull()
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[1])
	in := null.Fd()
	pid, err := syscall.ForkExec(executable(shim), []string{"starter"}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{in, in, in, uintptr(fds[1])},
		// A session of its own, so that a terminal's signals don't reach it.
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return errors.Join(err, unix.Close(fds[0]))
	}
	s.pid, s.socket = pid, fds[0]
	return nil
}

// end makes an end of the process.
func (s *starter) end() {
	unix.Close(s.socket)
	_ = unix.Kill(s.pid, unix.SIGKILL) // not reaped, so the number is its own
	_, _, _ = (&child{pid: s.pid}).reap()
	s.pid = 0
}

// startRequest is what a starter is told of a program.
type startRequest struct {
	dir        string
	argv, env  []string
	inherited  int  // descriptors
	namespaces int  // flags of clone(2)
	required   bool // it does harm without the namespaces
	walls      shimConfig
}

// encode returns the message: struct request of shim/shim.c, and behind it the
// configuration of the walls.
func (r *startRequest) encode() ([]byte, error) {
	walls, err := r.walls.encode()
	if err != nil {
		return nil, err
	}
	const header = 24
	b := make([]byte, header, 512+len(walls))
	b = append(append(b, r.dir...), 0)
	for _, text := range slices.Concat(r.argv, r.env) {
		b = append(append(b, text...), 0)
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	for i, n := range []int{os.Getpid(), len(r.argv), len(r.env), len(b) - header, r.inherited, r.namespaces} {
		binary.NativeEndian.PutUint32(b[4*i:], uint32(n))
	}
	return append(b, walls...), nil
}
