// Package leash ends what a process has started when that process ends, even
// by SIGKILL: a test that is killed half-way leaves no emulator and no example
// behind that burns a core.
//
// PR_SET_PDEATHSIG does not do that for a Go program: it fires when the thread
// that called fork ends (prctl(2)), and the runtime ends threads; nor does it
// reach what the child itself has started.
package leash

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// guardian waits for a word or for the end of its input, which is the end of
// whoever holds the other end of the pipe. $0 is the group of processes. The
// signal is named, since dash does not know "kill -9 --".
const guardian = `read -r word; [ "$word" = done ] || kill -s KILL -- "-$0"`

// Leash is what holds a process that was started.
type Leash struct {
	guard *exec.Cmd
	hold  *os.File // of a pipe whose other end the guardian reads
}

// Start starts cmd in a process group of its own (or a session, if cmd asks for
// one) and sees to it that the group is killed when this process ends first.
// Call Release when cmd has been waited for.
func Start(cmd *exec.Cmd) (*Leash, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = !cmd.SysProcAttr.Setsid // a session has a group
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l, err := guard(cmd.Process.Pid)
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		return nil, fmt.Errorf("leash: no guardian for %s, so it was ended: %w", cmd.Path, err)
	}
	return l, nil
}

func guard(group int) (*Leash, error) {
	// Both ends are close-on-exec: no child keeps the pipe open beyond us.
	in, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	g := exec.Command("sh", "-c", guardian, strconv.Itoa(group))
	g.Stdin = in
	// Out of reach of what ends our own group.
	g.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := g.Start(); err != nil {
		hold.Close()
		return nil, err
	}
	return &Leash{g, hold}, nil
}

// Release lets go: nothing is killed from now on. The process must have been
// waited for already, and before it nobody can get its number.
func (l *Leash) Release() {
	_, _ = io.WriteString(l.hold, "done\n")
	l.hold.Close()
	_ = l.guard.Wait()
}
