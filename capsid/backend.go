package capsid

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cell-runtime/cell/sched"
)

// Backend makes capsids of one kind. Its methods may be called from any
// goroutine.
type Backend interface {
	// Name is what configurations call it: "bwrap", "none".
	Name() string

	// Probe says what this host gives the backend and what is missing, with
	// evidence and how to mend it. A finding of sched.Problem means that
	// Start can't succeed. It starts nothing that lasts.
	Probe(ctx context.Context) []sched.Finding

	// Start starts one cell and returns when all walls stand and the cell's
	// program has been executed, which says nothing about its being ready. ctx
	// bounds the starting only. Errors: ErrSpec for what can't be meant,
	// ErrUnavailable for a wall that can't be had, ErrStart for a program that
	// can't be executed. After an error nothing runs; a program that is still
	// being executed when the time is over is ended as soon as it is.
	Start(ctx context.Context, s Spec) (Process, error)
}

// Process is one cell in its capsid. Its methods may be called from any
// goroutine. Whoever started it calls Wait, or Kill and then Wait, which also
// frees all that belonged to it.
type Process interface {
	// Name is the Spec's.
	Name() string

	// PID is the cell's process in this process's pid namespace.
	PID() int

	// UID is the user that the kernel knows the cell by.
	UID() uint32

	// Socket is the node's end of the one socket that the cell inherited, of
	// type SOCK_SEQPACKET: what uds.Broker attaches. It belongs to whoever
	// takes it; where nobody does, it is closed with the process.
	Socket() *net.UnixConn

	// Degraded says, one sentence each, which walls were left out because the
	// Spec allowed it (Limits.Missing) or the kernel has no such thing.
	Degraded() []string

	// Stop asks the cell to end (SIGTERM) and kills it after grace. It
	// returns at once; the Exit says Stopped, and Forced if it had to be
	// killed.
	Stop(grace time.Duration)

	// Kill ends the cell and all that it started at once. cause and why
	// appear in Exit: Killed for somebody's wish, Hung for a missed health
	// deadline, LimitReached for a limit that the node itself counts. The
	// first call counts; after the end it does nothing.
	Kill(cause Cause, why string)

	// Done is closed when the cell has ended and its Exit is known.
	Done() <-chan struct{}

	// Wait waits for the end. Its error is ctx's only.
	Wait(ctx context.Context) (Exit, error)

	// Usage is what the cell has used so far.
	Usage() (Usage, error)

	// Tail returns the last lines of output so far.
	Tail() []string
}

// Opener makes a backend. The error says what is wrong with its options, not
// with the host, which is Probe's to say.
type Opener func() (Backend, error)

var registry = struct {
	sync.Mutex
	by map[string]Opener
}{by: map[string]Opener{}}

// Register makes a backend known by name; a package that brings one calls it
// from init. It panics if the name is taken, which is a fault of the program.
func Register(name string, open Opener) {
	registry.Lock()
	defer registry.Unlock()
	if _, taken := registry.by[name]; taken {
		panic("capsid: two backends are called " + name)
	}
	registry.by[name] = open
}

// Backends returns the names that are known, in order.
func Backends() []string {
	registry.Lock()
	defer registry.Unlock()
	var names []string
	for name := range registry.by {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Open returns the backend of that name. There is no default: a sandbox is
// asked for by name, and so is its absence. Error: ErrSpec.
func Open(name string) (Backend, error) {
	registry.Lock()
	open, ok := registry.by[name]
	registry.Unlock()
	if !ok {
		return nil, fmt.Errorf("%w: there is no backend %q; choose one of %s", ErrSpec, name, strings.Join(Backends(), ", "))
	}
	return open()
}
