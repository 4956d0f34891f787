package capsid

import (
	"context"
	"fmt"
	"os"

	"github.com/cell-runtime/cell/sched"
)

func init() { Register("none", func() (Backend, error) { return none{}, nil }) }

// none runs cells as plain processes of the node's user: no walls but the
// limits asked for. It is for cells that are trusted like the node itself, and
// has to be asked for by name.
type none struct{}

// Name implements Backend.
func (none) Name() string { return "none" }

// Probe implements Backend.
func (none) Probe(context.Context) []sched.Finding {
	return []sched.Finding{probeShim(), probeGroups(), {
		ID: "capsid.none", Severity: sched.Warning,
		What:     "backend none contains nothing: a cell may do all that its node may, and what it starts may outlive a node that is killed",
		Evidence: fmt.Sprintf("cells run as uid %d, in the node's namespaces", os.Geteuid()),
		Fix:      "use the backend bwrap for cells that are not trusted like the node",
	}}
}

// Start implements Backend.
func (none) Start(ctx context.Context, s Spec) (Process, error) {
	s, err := s.Settle()
	if err != nil {
		return nil, err
	}
	if n := len(s.Files.ReadOnly) + len(s.Files.ReadWrite); n > 0 || s.Files.System || s.Files.Proc {
		return nil, fmt.Errorf("%w: backend none can't narrow the file system, and Files of %s asks for it; leave Files empty, or use the backend bwrap", ErrUnavailable, s.Name)
	}
	if s.Seccomp == "strict" {
		return nil, fmt.Errorf("%w: backend none filters no system calls, and Seccomp of %s asks for it; use the backend bwrap", ErrUnavailable, s.Name)
	}
	g, degraded, err := newGroup(s)
	if err != nil {
		return nil, err
	}
	limits := s.Limits.rlimits()
	if len(degraded) > 0 {
		limits = append(limits, s.Limits.substitutes()...)
	}
	l := &launch{
		spec: s, group: g, degraded: degraded, uid: uint32(os.Geteuid()),
		config: shimConfig{flags: shimDeathSig | shimSession, limits: limits},
	}
	if s.Limits.Background {
		l.config.flags |= shimBehind
	}
	return l.start(ctx)
}

// probeShim says whether cells can be started at all.
func probeShim() sched.Finding {
	f := sched.Finding{ID: "capsid.shim", What: "the program that puts up a cell's inner walls can be run"}
	file, err := shimFile()
	if err != nil {
		f.Severity, f.What, f.Evidence = sched.Problem, "no process can be started in a capsid", err.Error()
		f.Fix = "use an amd64 or arm64 host with vm.memfd_noexec below 2"
		return f
	}
	f.Evidence = fmt.Sprintf("%d bytes in %s", len(shimProgram), file.Name())
	return f
}
