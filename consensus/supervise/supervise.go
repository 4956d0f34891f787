// Package supervise runs a program in a process of its own and starts it again
// when it dies, so that what ends that process, such as a Raft that finds its
// disk full, does not end the node. The child dies with its supervisor, even
// if that is killed.
package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/internal/leash"
)

// ExitRefused is the status with which a child says that starting it again
// won't help: a wrong configuration, or a data directory that it must not use.
// It is EX_CONFIG of sysexits.h.
const ExitRefused = 78

var (
	// ErrRefused: the child ended with [ExitRefused].
	ErrRefused = errors.New("supervise: the child can't run as it was told")
	// ErrOptions: options that can't be right.
	ErrOptions = errors.New("supervise: wrong options")
)

// Options say what to run. The zero value of every field but Command means its
// default.
type Options struct {
	// Command makes the child, anew for each start. Its standard error is
	// passed on where Command has set one, and its end is quoted in the log.
	Command func() *exec.Cmd
	// MinBackoff to MaxBackoff is waited before a start after a death, doubled
	// each time; default 100 ms to 10 s. A child that has lived for Healthy,
	// default a minute, begins anew.
	MinBackoff, MaxBackoff, Healthy time.Duration
	// Always starts the child again also where it ended by itself with status 0,
	// such as by a SIGTERM that was not the supervisor's.
	Always bool
	// Grace is how long a child may take to end by itself after SIGTERM;
	// default 10 s.
	Grace time.Duration
	// Logger hears of deaths and starts; nil is silent.
	Logger *slog.Logger
	// Started, if set, is told each child's process id.
	Started func(pid int)
}

func (o *Options) setDefaults() error {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&o.MinBackoff, 100 * time.Millisecond}, {&o.MaxBackoff, 10 * time.Second},
		{&o.Healthy, time.Minute}, {&o.Grace, 10 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Command == nil || o.MinBackoff < 0 || o.MaxBackoff < o.MinBackoff || o.Grace < 0 {
		return fmt.Errorf("%w: a Command is needed, and 0 <= MinBackoff <= MaxBackoff", ErrOptions)
	}
	return nil
}

// Run runs the child until it ends by itself with status 0, which returns nil
// unless Always is set, or refuses, or ctx ends, which stops it and returns ctx's
// error.
func Run(ctx context.Context, o Options) error {
	if err := o.setDefaults(); err != nil {
		return err
	}
	backoff := o.MinBackoff
	for {
		began := time.Now()
		last, err := o.once(ctx)
		var exit *exec.ExitError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && !o.Always:
			return nil
		case errors.As(err, &exit) && exit.ExitCode() == ExitRefused:
			return fmt.Errorf("%w: %s", ErrRefused, last)
		}
		if time.Since(began) >= o.Healthy {
			backoff = o.MinBackoff
		}
		o.Logger.Error("the child died and is started again", "why", err, "lived", time.Since(began).Round(time.Millisecond),
			"last words", last, "pause", backoff)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, o.MaxBackoff)
	}
}

// once runs one child to its end and returns what it wrote last.
func (o *Options) once(ctx context.Context) (last string, err error) {
	cmd := o.Command()
	words := &tail{}
	if cmd.Stderr == nil {
		cmd.Stderr = words
	} else {
		cmd.Stderr = &both{cmd.Stderr, words}
	}
	cmd.WaitDelay = time.Second // a grandchild may keep the pipe open
	l, err := leash.Start(cmd)
	if err != nil {
		return "", err
	}
	defer l.Release()
	if o.Started != nil {
		o.Started(cmd.Process.Pid)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) { // it ended well; a grandchild has the pipe yet
			err = nil
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return words.String(), err
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return words.String(), err
	case <-time.After(o.Grace):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its group: see leash
		return words.String(), <-ended
	}
}

// lastWords is how much of a child's standard error is kept. A panic's first
// lines say why, so the beginning of the end is kept too.
const lastWords = 2048

// tail keeps the line of a panic, or the last lines that were written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if extra := len(t.text) - 64*lastWords; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(b), nil
}

// String returns the panic, if there was one, else the last line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimSpace(t.text)
	for _, mark := range []string{"panic: ", "fatal error: "} {
		if i := bytes.LastIndex(text, []byte(mark)); i >= 0 {
			line, _, _ := bytes.Cut(text[i:], []byte("\n"))
			return string(line[:min(len(line), lastWords)])
		}
	}
	if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return string(text[:min(len(text), lastWords)])
}

// both writes to the child's own standard error and to the tail.
type both struct {
	first interface{ Write([]byte) (int, error) }
	words *tail
}

func (b *both) Write(p []byte) (int, error) {
	_, _ = b.words.Write(p)
	return b.first.Write(p)
}
