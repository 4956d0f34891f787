package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/network"
	"github.com/cell-runtime/cell/quic"
	"github.com/cell-runtime/cell/sched"
)

// probe looks at one side of the host.
type probe struct {
	name string
	what string // what it looks at, for help
	// look returns a finding for each check, also for what is in order. Its
	// error says that it could not look.
	look func(ctx context.Context, needs needs) ([]sched.Finding, error)
}

// needs is what a configuration asks of the host.
type needs struct {
	given    bool          // there is a configuration
	config   config.Config // or the default
	backends []string      // sandboxes of capsids that it names
}

// probes are what doctor looks at, in the order of its report.
var probes = []probe{
	{"config", "what the configuration given by -c names: programs, paths, cores, limits, devices", probeConfig},
	{"sched", "cores, clocks, interrupts, memory limits", probeSched},
	{"capsid", "what sandboxes need: programs, namespaces, filters, control groups", probeCapsid},
	{"quic", "buffers and congestion control between hosts", func(context.Context, needs) ([]sched.Finding, error) { return quic.Probe(), nil }},
	{"network", "whom the node belongs to, how others are found, the clock", func(_ context.Context, n needs) ([]sched.Finding, error) { return network.Probe(n.config.Network), nil }},
	{"xdp", "AF_XDP sockets, programs, and what interfaces do about busy polling", func(context.Context, needs) ([]sched.Finding, error) { return afxdp.Probe(), nil }},
}

// probeCapsid looks at the sandboxes that a configuration names. Without one it
// looks at all, and what is missing for any but the default is worth knowing and
// no more.
func probeCapsid(ctx context.Context, n needs) (all []sched.Finding, err error) {
	for _, name := range capsid.Backends() {
		used := slices.Contains(n.backends, name)
		if n.given && !used || !n.given && name == "none" {
			continue
		}
		b, openErr := capsid.Open(name)
		if openErr != nil {
			err = errors.Join(err, openErr)
			continue
		}
		for _, f := range b.Probe(ctx) {
			if !used && name != config.DefaultCell().Capsid && f.Severity > sched.Info {
				f.Severity = sched.Info
			}
			// One sandbox may stand within another, and look at the same things.
			if i := slices.IndexFunc(all, func(g sched.Finding) bool { return g.ID == f.ID }); i >= 0 {
				all[i].Severity = max(all[i].Severity, f.Severity)
				continue
			}
			all = append(all, f)
		}
	}
	for _, name := range n.backends {
		if !slices.Contains(capsid.Backends(), name) {
			all = append(all, sched.Finding{ID: "capsid." + name, Severity: sched.Problem, What: "the configuration asks for a sandbox that this program does not have",
				Evidence: "it has " + strings.Join(capsid.Backends(), ", "), Fix: "name one of those in the cell's capsid"})
		}
	}
	return all, err
}

func probeSched(context.Context, needs) ([]sched.Finding, error) {
	host := sched.Local()
	topology, err := host.Topology()
	if err != nil {
		return nil, err
	}
	return host.Probe(topology, sched.CPUSet{}), nil
}

// report is what doctor found out in one run.
type report struct {
	Worst    sched.Severity  `json:"worst"`
	Findings []sched.Finding `json:"findings"`
}

// newDoctor says what is wrong with the host, and how to mend it.
func newDoctor(env *Env) *cobra.Command {
	var all bool
	var from settings
	cmd := &cobra.Command{
		Use:   "doctor [PROBE…]",
		Short: "Say what is wrong with this host for cells, with evidence and fix",
		Long: `Looks at the host, changing nothing, and says of each thing that latency or
sandboxes depend on whether it is as it should be: what was read and where, and
the command or setting that mends it. Without arguments it looks at everything.

The exit code is 1 when something is a problem: it defeats the purpose. A
warning costs tail latency and nothing else. With -c it looks at what the
configuration names, at its sandboxes and at no others, and what is missing of that
is a problem.

Probes:` + listProbes(),
		Example:   "  cellnode doctor\n  cellnode doctor -c /etc/cell/cellnode.toml\n  cellnode doctor sched --all\n  cellnode doctor -o json | jq '.findings[] | select(.severity == \"problem\")'",
		ValidArgs: probeNames(),
		Args:      cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := needsOf(env, &from)
			if err != nil {
				return err
			}
			r, err := examine(cmd.Context(), args, n)
			if showErr := env.Show(r, func(w io.Writer) error { return r.print(w, all) }); showErr != nil {
				return showErr
			}
			if err == nil && r.Worst == sched.Problem {
				return ErrReported
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&from.file, "config", "c", "", "look at what this configuration needs")
	cmd.Flags().BoolVar(&all, "all", false, "print what is in order too (json always has it)")
	return cmd
}

func probeNames() (names []string) {
	for _, p := range probes {
		names = append(names, p.name)
	}
	return names
}

func listProbes() (text string) {
	for _, p := range probes {
		text += fmt.Sprintf("\n  %-8s %s", p.name, p.what)
	}
	return text
}

// examine runs the named probes, or all. What could not be looked at is in the
// error; the report has the rest.
func examine(ctx context.Context, only []string, n needs) (report, error) {
	r := report{Findings: []sched.Finding{}}
	var errs []error
	for _, p := range probes {
		if !chosen(only, p.name) {
			continue
		}
		found, err := p.look(ctx, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		r.Findings = append(r.Findings, found...)
	}
	r.Worst = sched.Worst(r.Findings)
	return r, errors.Join(errs...)
}

// needsOf reads what a configuration asks of the host.
func needsOf(env *Env, from *settings) (needs, error) {
	if from.file == "" {
		return needs{config: config.Default()}, nil
	}
	c, _, err := from.load(env)
	n := needs{given: true, config: c}
	for _, cell := range c.Cells {
		if !slices.Contains(n.backends, cell.Capsid) {
			n.backends = append(n.backends, cell.Capsid)
		}
	}
	slices.Sort(n.backends)
	return n, err
}

func chosen(only []string, name string) bool {
	for _, o := range only {
		if o == name {
			return true
		}
	}
	return len(only) == 0
}

func (r report) print(w io.Writer, all bool) error {
	var count [sched.Problem + 1]int
	for _, f := range r.Findings {
		count[min(f.Severity, sched.Problem)]++
		if f.Severity == sched.OK && !all {
			continue
		}
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d in order, %d to know, %d warnings, %d problems\n",
		count[sched.OK], count[sched.Info], count[sched.Warning], count[sched.Problem])
	return err
}
