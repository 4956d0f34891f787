package wasm

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/sched"
)

func init() {
	capsid.Register("wasm", func() (capsid.Backend, error) {
		inner, err := capsid.Open("bwrap")
		if err != nil {
			return nil, err
		}
		return NewBackend(inner)
	})
}

// Backend runs modules in processes of their own inside another backend's
// walls: two walls, and one that can be killed at any time. The Command of a
// Spec is the module's path and, if its callers are to be told what it serves, the
// path of a description (.cell): a node's cells need one.
//
// The process is this program, run again: its main calls Main first.
type Backend struct {
	inner capsid.Backend
	host  string
}

// NewBackend returns the backend that runs modules inside inner.
func NewBackend(inner capsid.Backend) (*Backend, error) {
	host, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("%w: this program can't be found to be run again: %w", capsid.ErrUnavailable, err)
	}
	return &Backend{inner: inner, host: host}, nil
}

// Name implements capsid.Backend.
func (*Backend) Name() string { return "wasm" }

// Probe implements capsid.Backend.
func (b *Backend) Probe(ctx context.Context) []sched.Finding {
	f := sched.Finding{ID: "capsid.wasm", What: "WebAssembly cells run in processes of their own, inside " + b.inner.Name(), Evidence: "the program that runs them is " + b.host}
	if !hosting {
		f.Severity, f.What = sched.Problem, "this program can't run WebAssembly cells"
		f.Fix = "call wasm.Main first in its main function"
	}
	return append([]sched.Finding{f}, b.inner.Probe(ctx)...)
}

// Start implements capsid.Backend.
func (b *Backend) Start(ctx context.Context, s capsid.Spec) (capsid.Process, error) {
	s, err := s.Settle()
	if err != nil {
		return nil, err
	}
	if len(s.Command) > 2 {
		return nil, fmt.Errorf("%w: Command of %s: a module gets no arguments; its path, and that of its description, alone", capsid.ErrSpec, s.Name)
	}
	if !hosting {
		return nil, fmt.Errorf("%w: this program does not call wasm.Main, so it can't run modules", capsid.ErrUnavailable)
	}
	// Looked at before a process is made for it.
	if st, err := os.Stat(s.Command[0]); err != nil {
		return nil, fmt.Errorf("%w: the module of %s: %w", capsid.ErrStart, s.Name, err)
	} else if st.Size() > maxModule {
		return nil, fmt.Errorf("%w: the module of %s has %d bytes, at most %d are allowed", capsid.ErrSpec, s.Name, st.Size(), maxModule)
	}
	if len(s.Command) == 2 {
		if _, err := describe(s.Command[1]); err != nil {
			return nil, fmt.Errorf("%w: the description of %s: %w", capsid.ErrStart, s.Name, err)
		}
	}
	if b.inner.Name() != "none" {
		s.Files.ReadOnly = slices.Concat(s.Files.ReadOnly, s.Command)
	}
	s.Command = slices.Concat([]string{b.host, hostArg, s.Name}, s.Command)
	return b.inner.Start(ctx, s)
}
