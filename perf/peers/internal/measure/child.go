package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/sched"
)

// anywhere leaves a child on all CPUs of its parent.
const anywhere = -1

// child is a process that does one job.
type child struct {
	ctx     context.Context
	cmd     *exec.Cmd
	input   io.Closer
	answers *os.File
	lines   *lines
	printed *tail
	forget  func() bool
	ended   chan struct{} // closed when it is reaped
	err     error         // how it ended, then
}

// start begins a child on one CPU, with all threads that it will have: they
// inherit the mask of the thread that forks.
func start(ctx context.Context, arg string, cpu int) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	answers, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(exe, arg)
	printed := new(tail)
	cmd.Stdout, cmd.Stderr = printed, printed
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.WaitDelay = time.Second
	// A group of its own: ctrl-C reaches the parent, which ends the child.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := cmd.StdinPipe()
	if err == nil {
		err = onCPU(cpu, cmd.Start)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a process of %s: %w", exe, err), answers.Close())
	}
	c := &child{ctx: ctx, cmd: cmd, input: input, answers: answers, lines: newLines(answers, input),
		printed: printed, ended: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	c.forget = context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	return c, nil
}

// onCPU runs f on a thread of its own, pinned to cpu, which ends with f.
func onCPU(cpu int, f func() error) (err error) {
	if cpu == anywhere {
		return f()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, err = sched.Pin(cpu); err == nil {
			err = f()
		}
	}()
	<-done
	return err
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// ask gives the job and waits for the answer.
func (c *child) ask(j job, patience time.Duration) (a answer, err error) {
	if err := c.lines.send(j); err != nil {
		return a, err
	}
	if err := c.answers.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return a, err
	}
	switch err := c.lines.receive(&a); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return a, fmt.Errorf("no answer within %v", patience)
	case err != nil:
		c.kill()
		return a, fmt.Errorf("it ended without an answer (%w): %v", err, c.err)
	case a.Error != "":
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// stop ends the child and reaps it. quiet leaves out what it complains about:
// the reason is known.
func (c *child) stop(role string, of Cell, quiet bool) error {
	_ = c.input.Close()
	select {
	case <-c.ended:
	case <-time.After(closing + 3*time.Second): // time enough for its own
		c.kill()
	}
	c.forget()
	_ = c.answers.Close()
	// A client's process ends when nobody listens any more, too; a server's
	// end says whether the product freed everything.
	if quiet || c.err == nil || role == "client" {
		return nil
	}
	return failed(role, of, fmt.Errorf("it did not end well: %w", c.err), c)
}

// said returns the end of what the product printed.
func (c *child) said() string { return c.printed.String() }

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4096

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-tailSize):]
	return len(b), nil
}

// String returns the end, indented.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(bytes.TrimSpace(t.b))
	if text == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}
