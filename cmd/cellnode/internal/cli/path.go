package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/node/network"
	"github.com/cell-runtime/cell/node/ops"
)

// route is the path that a connection to a cell takes.
type route struct {
	Name       string   `json:"name"`
	Link       string   `json:"link"`
	ZeroCopy   bool     `json:"zero_copy"`
	Ordered    bool     `json:"ordered"`
	Reliable   bool     `json:"reliable"`
	Hostile    bool     `json:"hostile"`
	MaxPayload int      `json:"max_payload"`
	Peer       string   `json:"peer"`
	PIDs       []int    `json:"pids,omitempty"` // of several, the node has chosen one
	UID        uint32   `json:"uid"`
	Why        []string `json:"why_not_better"`
	RTTs       []int64  `json:"ping_ns"`
	// Remote are the ways to other nodes that have it; the node of this host
	// takes those in use.
	Remote []netops.Path `json:"remote"`
	// Not says why other ways to them are not taken.
	Not []string `json:"remote_not"`
	// Forwarded: the node passes each call on, since it has several versions.
	Forwarded bool `json:"forwarded"`
	// far: the link leads to the node of this host, which forwards.
	far bool

	Beyond *ops.DeviceState `json:"beyond,omitempty"` // a device, to which the peer passes calls on
}

// newPath says which link is used to a cell.
func newPath(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "path NAME",
		Short: "Say which link leads to a cell, and why no better one was taken",
		Long: `Connects as any caller would, says what came of it, and pings five times. The
pings wait as a person's tools do, asleep: cellbench measures what a link can do.

Links within a host, best first: ring (shared memory, no copy), uds (a unix
socket, one copy). For each better one that was not taken there is a reason.

What is not on this host is reached through its node: then it also says which
other nodes have it, over which links, which of them is in use, and why not others.`,
		Example:           "  cellnode path market-ledger",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: env.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			c, err := env.reach(ctx, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			r := newRoute(args[0], c.Link)
			node, err := managedBy(ctx, env.Dir)
			if err != nil {
				return err
			}
			r.PIDs, r.Forwarded = node.behind(args[0], r.PIDs), node.forwards(args[0])
			r.Beyond = deviceOf(ctx, env, args[0])
			for range 5 {
				begun := time.Now()
				if err := c.Conn.Ping(ctx); err != nil {
					return err
				}
				r.RTTs = append(r.RTTs, int64(time.Since(begun)))
			}
			env.addRemote(ctx, &r)
			return env.Show(r, r.print)
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

// addRemote asks the node of this host, if any runs, which others have the name.
func (e *Env) addRemote(ctx context.Context, r *route) {
	r.Remote, r.Not = []netops.Path{}, []string{}
	r.far = filepath.Base(filepath.Dir(r.Peer)) == network.RemoteDir
	n, closeNode, err := e.askNetwork(ctx)
	if err != nil {
		return
	}
	defer closeNode()
	if list, err := n.Path(ctx, netops.Name{Cell: r.Name}); err == nil {
		r.Remote, r.Not = append(r.Remote, list.Paths...), append(r.Not, list.Why...)
	}
}

func newRoute(name string, i link.Info) route {
	return route{Name: name, Link: i.Kind, ZeroCopy: i.ZeroCopy, Ordered: i.Ordered, Reliable: i.Reliable, Hostile: i.Hostile,
		MaxPayload: i.MaxPayload, Peer: i.Peer.Addr, PIDs: []int{i.Peer.PID}, UID: i.Peer.UID, Why: append([]string{}, i.Why...)}
}

func (r route) print(w io.Writer) error {
	copies := "payloads are copied once"
	if r.ZeroCopy {
		copies = "payloads are read where they were written"
	}
	to := "process " + processes(r.PIDs)
	if len(r.PIDs) > 1 {
		to = "one of the processes " + processes(r.PIDs)
	}
	fmt.Fprintf(w, "%s: %s to %s of user %d (%s)\n", r.Name, r.Link, to, r.UID, r.Peer)
	fmt.Fprintf(w, "  zero copy  %s: %s\n", yesNo(r.ZeroCopy), copies)
	fmt.Fprintf(w, "  ordered    %s\n  reliable   %s\n  vesicles   up to %d bytes, longer ones in pieces\n", yesNo(r.Ordered), yesNo(r.Reliable), r.MaxPayload)
	for _, why := range r.Why {
		fmt.Fprintf(w, "  why not better: %s\n", why)
	}
	switch {
	case r.far:
		fmt.Fprintln(w, "  nobody on this host serves it: the node forwards its calls by fingerprint, one copy each way")
	case r.Forwarded:
		fmt.Fprintln(w, "  it has several versions: the node forwards its calls by fingerprint, one copy each way")
	case len(r.Why) == 0:
		fmt.Fprintln(w, "  nothing better exists between two processes of a host")
	}
	r.printRemote(w)
	_, err := fmt.Fprint(w, "  pings     ")
	for _, ns := range r.RTTs {
		_, err = fmt.Fprintf(w, " %v", time.Duration(ns).Round(100*time.Nanosecond))
	}
	fmt.Fprintln(w)
	if d := r.Beyond; d != nil {
		state := "not connected: " + d.Why
		if d.Connected {
			state = fmt.Sprintf("reliable %s, vesicles up to %d bytes", yesNo(d.Reliable), d.MaxPayload)
		}
		_, err = fmt.Fprintf(w, "  beyond     the node passes calls on by %s, %s; %s\n", d.Link, d.Place, state)
		for _, why := range d.LinkWhy {
			fmt.Fprintf(w, "  why not better: %s\n", why)
		}
	}
	return err
}

// printRemote prints the ways to other nodes.
func (r route) printRemote(w io.Writer) {
	for _, p := range r.Remote {
		state := "not in use"
		switch {
		case p.InUse:
			state = "in use"
		case !r.far:
			state = "not in use, since this host has it"
		case p.Draining:
			state = "draining"
		}
		fmt.Fprintf(w, "  by %s to %s (%s) at %s, load %d %%: %s\n", p.Medium, p.NodeName, shortID(p.Node), p.Addr, int(p.Load)*100/255, state)
	}
	if r.far {
		for _, why := range r.Not {
			fmt.Fprintf(w, "  not: %s\n", why)
		}
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// checkup is what health found out about one cell.
type checkup struct {
	Name   string `json:"name"`
	Health string `json:"health"` // as State of ls
	PingNs int64  `json:"ping_ns,omitempty"`
	Why    string `json:"why,omitempty"`
}

// newHealth asks cells whether they serve.
func newHealth(env *Env) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health [NAME…]",
		Short: "Ask cells whether they serve; 1 if one does not",
		Long: `Asks the named cells, or all of the runtime directory, and prints what each
answered and how long it took. The exit code is 1 when any of them does not serve:
fit for scripts and probes.`,
		Example:           "  cellnode health\n  cellnode health market-ledger && echo well",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: env.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validNames(args); err != nil {
				return err
			}
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			all, err := checkups(ctx, env.Dir, args)
			if err != nil {
				return err
			}
			well := true
			rows := [][]string{}
			for _, c := range all {
				well = well && c.Health == "serving"
				rows = append(rows, []string{c.Name, c.Health, took(c.PingNs), c.Why})
			}
			err = env.Show(all, func(w io.Writer) error { return table(w, []string{"NAME", "HEALTH", "ANSWERED IN", ""}, rows) })
			if err == nil && !well {
				return ErrReported
			}
			return err
		},
	}
	timeoutFlag(cmd, &timeout)
	return cmd
}

func checkups(ctx context.Context, dir string, names []string) ([]checkup, error) {
	all := []checkup{}
	if len(names) == 0 {
		cells, err := list(ctx, dir)
		if err != nil {
			return nil, err
		}
		for _, c := range cells {
			names = append(names, c.Name)
		}
	}
	for _, name := range names {
		begun := time.Now()
		l := ask(ctx, dir, name)
		c := checkup{Name: name, Health: l.State, Why: l.Why}
		if l.State == "dead" {
			c.Why = "nobody listens by this name"
		}
		if l.State == "serving" || l.State == "draining" {
			c.PingNs = int64(time.Since(begun))
		}
		all = append(all, c)
	}
	return all, nil
}
