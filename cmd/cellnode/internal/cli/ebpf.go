package cli

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/ebpf"
)

// newEbpf attaches, lists and detaches the programs of package ebpf by hand.
func newEbpf(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ebpf",
		Short: "Attach, list and detach Cell's programs in the kernel",
		Long: `Attaches programs of Cell to network interfaces by hand: pheromone, the filter
for the port of discovery. What is for other ports passes untouched. A program
that somebody else has attached is never replaced.

It needs CAP_BPF and CAP_NET_ADMIN. docs/EBPF.md says what the programs do.`,
		Example: "  sudo cellnode ebpf attach --iface eth0 --port 47100 --pin\n  sudo cellnode ebpf stats --iface eth0\n  sudo cellnode ebpf detach --iface eth0",
	}
	cmd.AddCommand(newEbpfAttach(env), newEbpfList(env), newEbpfStats(env), newEbpfDetach(env))
	return cmd
}

// attachment is which program on which interface, as flags give it.
type attachment struct{ iface, program, root string }

func (a *attachment) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.iface, "iface", "", "the network interface")
	f.StringVar(&a.root, "pin-root", ebpf.PinRoot, "where attachments are pinned")
	_ = cmd.RegisterFlagCompletionFunc("iface", func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
		all, _ := net.Interfaces()
		for _, i := range all {
			names = append(names, i.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

func (a *attachment) programFlag(cmd *cobra.Command, programs ...string) {
	cmd.Flags().StringVar(&a.program, "program", programs[0], strings.Join(programs, " or "))
	_ = cmd.RegisterFlagCompletionFunc("program", cobra.FixedCompletions(programs, cobra.ShellCompDirectiveNoFileComp))
}

// index returns the interface's index; 0 if none was named and none need be.
func (a *attachment) index(needed bool) (int, error) {
	if a.iface == "" {
		if needed {
			return 0, usagef("--iface is missing: which network interface?")
		}
		return 0, nil
	}
	i, err := net.InterfaceByName(a.iface)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w (ip link shows those that there are)", a.iface, err)
	}
	return i.Index, nil
}

// known refuses a program that isn't among programs.
func (a *attachment) known(programs ...string) error {
	if slices.Contains(programs, a.program) {
		return nil
	}
	return usagef("--program is %q; %s can be given here", a.program, strings.Join(programs, " or "))
}

// attached is what attach has done.
type attached struct {
	Program   string   `json:"program"`
	Interface string   `json:"interface"`
	Mode      string   `json:"mode"`
	Why       []string `json:"why"` // not in a cheaper mode
	Pin       bool     `json:"pinned"`
}

func newEbpfAttach(env *Env) *cobra.Command {
	var a attachment
	var rules ebpf.Rules
	var mode, cluster string
	var pin bool
	cmd := &cobra.Command{
		Use:   "attach",
		Short: "Attach the filter of discovery to an interface",
		Long: `Attaches pheromone to an interface: from then on a UDP port gets only what may
be beacons of one cluster, at a bounded rate. Without --pin the attachment ends
with this command, which then waits to be interrupted; with it, by detach.

redirect is not attached by hand: it belongs to the process whose sockets it
feeds.`,
		Example: "  sudo cellnode ebpf attach --iface eth0 --port 47100 --cluster 00112233aabbccdd --pin\n  sudo cellnode ebpf attach --iface eth0 --port 47100 --mode tcx",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.known("pheromone"); err != nil {
				return err
			}
			m, err := ebpf.ParseMode(mode)
			if err != nil {
				return &UsageError{err}
			}
			if rules.Cluster, err = parseCluster(cluster); err != nil {
				return err
			}
			if rules.Port == 0 {
				return usagef("--port is missing: the UDP port of discovery")
			}
			index, err := a.index(true)
			if err != nil {
				return err
			}
			return attachPheromone(cmd, env, a, index, rules, m, pin)
		},
	}
	a.flags(cmd)
	a.programFlag(cmd, "pheromone")
	f := cmd.Flags()
	f.Uint16Var(&rules.Port, "port", 0, "the UDP port of discovery")
	f.StringVar(&cluster, "cluster", "", "16 hex digits of the only cluster whose beacons pass (default: any)")
	f.Uint8Var(&rules.MinHops, "min-hops", 0, "hops that the IP header must have left; 255 keeps out what has come through a router")
	f.Uint8Var(&rules.MaxHops, "max-hops", 255, "hops that a beacon may say at most")
	f.DurationVar(&rules.Every, "every", 50*time.Millisecond, "between beacons of one source in the long run; negative: no limit")
	f.IntVar(&rules.Burst, "burst", 64, "beacons of one source at once")
	f.StringVar(&mode, "mode", "auto", "auto, driver, generic or tcx")
	f.BoolVar(&pin, "pin", false, "have it outlive this command")
	return cmd
}

func parseCluster(s string) (c [8]byte, err error) {
	if s == "" {
		return c, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(c) {
		return c, usagef("--cluster is %q; it must be 16 hex digits", s)
	}
	return [8]byte(b), nil
}

func attachPheromone(cmd *cobra.Command, env *Env, a attachment, index int, rules ebpf.Rules, m ebpf.Mode, pin bool) error {
	p, err := ebpf.LoadPheromone(rules)
	if err != nil {
		return err
	}
	err = p.Attach(index, m)
	if err == nil && pin {
		err = p.Pin(a.root)
	}
	if err != nil {
		return errors.Join(err, p.Close())
	}
	got, why := p.Mode()
	if why == nil {
		why = []string{}
	}
	err = env.Line(attached{a.program, a.iface, got.String(), why, pin}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s is attached to %s, mode %v.\n%s", a.program, a.iface, got, lines(why))
		if err == nil && !pin {
			_, err = fmt.Fprintln(w, "It ends with this command: interrupt it.")
		}
		return err
	})
	if err == nil && !pin {
		<-cmd.Context().Done()
	}
	return errors.Join(err, p.Close())
}

func lines(all []string) (text string) {
	for _, l := range all {
		text += l + "\n"
	}
	return text
}

func newEbpfList(env *Env) *cobra.Command {
	var a attachment
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the programs attached to interfaces by XDP and tcx, whoever's they are",
		Long: `Lists what is attached to one interface or to all. The names of programs that
are not pinned are known to root alone.`,
		Example: "  sudo cellnode ebpf list\n  sudo cellnode ebpf list --iface eth0 -o json",
		RunE: func(*cobra.Command, []string) error {
			index, err := a.index(false)
			if err != nil {
				return err
			}
			all, err := ebpf.List(a.root, index)
			if err != nil {
				return err
			}
			return env.Show(all, func(w io.Writer) error {
				var rows [][]string
				for _, l := range all {
					rows = append(rows, []string{l.Interface, nameOrDash(l.Program), l.Mode.String(), orDash(int(l.ID)), orDash(int(l.Link)), l.Pin})
				}
				return table(w, []string{"INTERFACE", "PROGRAM", "MODE", "ID", "LINK", "PIN"}, rows)
			})
		},
	}
	a.flags(cmd)
	return cmd
}

func nameOrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// counted is what stats prints.
type counted struct {
	Program   string         `json:"program"`
	Interface string         `json:"interface"`
	Counters  []ebpf.Counter `json:"counters"`
}

func newEbpfStats(env *Env) *cobra.Command {
	var a attachment
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Say what a program has let pass and dropped, by reason",
		Long: `Reads the counters of a program on an interface, since it was loaded. What is
not pinned is open to root alone.`,
		Example: "  sudo cellnode ebpf stats --iface eth0\n  sudo cellnode ebpf stats --iface eth0 --program redirect -o json",
		RunE: func(*cobra.Command, []string) error {
			if err := a.known("pheromone", "redirect"); err != nil {
				return err
			}
			index, err := a.index(true)
			if err != nil {
				return err
			}
			all, err := ebpf.Counters(a.root, index, a.program)
			if err != nil {
				return err
			}
			return env.Show(counted{a.program, a.iface, all}, func(w io.Writer) error {
				var rows [][]string
				for _, c := range all {
					verdict := "passed"
					if c.Dropped {
						verdict = "dropped"
					}
					rows = append(rows, []string{c.Name, verdict, strconv.FormatUint(c.Packets, 10)})
				}
				return table(w, []string{"REASON", "VERDICT", "PACKETS"}, rows)
			})
		},
	}
	a.flags(cmd)
	a.programFlag(cmd, "pheromone", "redirect")
	return cmd
}

// detached is what detach has done.
type detached struct {
	Program   string `json:"program"`
	Interface string `json:"interface"`
}

func newEbpfDetach(env *Env) *cobra.Command {
	var a attachment
	cmd := &cobra.Command{
		Use:   "detach",
		Short: "Detach a program that was attached with --pin",
		Long: `Ends a pinned attachment and removes its pins. What a process holds, or what is
somebody else's, stays.`,
		Example: "  sudo cellnode ebpf detach --iface eth0",
		RunE: func(*cobra.Command, []string) error {
			if err := a.known("pheromone", "redirect"); err != nil {
				return err
			}
			index, err := a.index(true)
			if err != nil {
				return err
			}
			if err := ebpf.Detach(a.root, index, a.program); err != nil {
				return err
			}
			return env.Show(detached{a.program, a.iface}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s is detached from %s.\n", a.program, a.iface)
				return err
			})
		},
	}
	a.flags(cmd)
	a.programFlag(cmd, "pheromone", "redirect")
	return cmd
}
