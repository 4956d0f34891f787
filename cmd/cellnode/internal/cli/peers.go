package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// askNetwork connects to the node of the runtime directory, to ask it about
// others.
func (e *Env) askNetwork(ctx context.Context) (*netops.NetworkClient, func() error, error) {
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, config.OpsName, &uds.Options{Dir: e.Dir})
	}, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "cellnode"})
	if errors.Is(err, uds.ErrNoListener) {
		return nil, nil, errNoNode
	}
	if err != nil {
		return nil, nil, err
	}
	return netops.NewNetworkClient(conn), conn.Close, nil
}

// standing is a netops.Status for programs: without the JSON of its schema, which
// messages have and which has the names of Go.
type standing netops.Status

// neighbourhood is what peers prints.
type neighbourhood struct {
	Self  standing      `json:"self"`
	Peers []netops.Peer `json:"peers"`
}

// newPeers lists the other nodes.
func newPeers(env *Env) *cobra.Command {
	var timeout time.Duration
	var all bool
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "List the other nodes that this one knows, and what they serve",
		Long: `Asks the node of this host which others it knows: from where they were heard and
how long ago, whether there is a connection, and what they serve. With --all it also
says who this node is to them, what it has dropped, and who was refused and why.

States: alive; suspect (it owes an answer and is given up if none comes); told (it is
known through others only).`,
		Example: "  cellnode peers\n  cellnode peers --all\n  cellnode peers -o json | jq -r '.peers[].name'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := deadline(cmd, timeout)
			defer cancel()
			n, closeNode, err := env.askNetwork(ctx)
			if err != nil {
				return err
			}
			defer closeNode()
			x := neighbourhood{Peers: []netops.Peer{}}
			self, err := n.Status(ctx)
			if err != nil {
				return &CallError{err}
			}
			x.Self = standing(self)
			if x.Self.Alone == "" {
				list, err := n.Peers(ctx)
				if err != nil {
					return &CallError{err}
				}
				x.Peers = append(x.Peers, list.Peers...)
			}
			return env.Show(x, func(w io.Writer) error { return x.print(w, all) })
		},
	}
	timeoutFlag(cmd, &timeout)
	cmd.Flags().BoolVar(&all, "all", false, "print more about this node, and about refusals (json always has it)")
	return cmd
}

func (x neighbourhood) print(w io.Writer, all bool) error {
	if x.Self.Alone != "" {
		_, err := fmt.Fprintf(w, "this node is alone: %s\n", x.Self.Alone)
		return err
	}
	rows := [][]string{}
	for _, p := range x.Peers {
		rows = append(rows, []string{p.Name, shortID(p.ID), stateOf(&p), addrOf(&p), age(p.Heard), yesNo(p.Connected), strings.Join(serviceNames(&p), " ")})
	}
	if len(rows) == 0 {
		fmt.Fprintln(w, "nobody of this cluster was heard")
	} else if err := table(w, []string{"NAME", "NODE", "STATE", "ADDRESS", "HEARD", "LINKED", "SERVES"}, rows); err != nil {
		return err
	}
	if all {
		x.printMore(w)
	}
	return nil
}

func (x neighbourhood) printMore(w io.Writer) {
	fmt.Fprintf(w, "\nthis node  %s (%s)\nlistens    %s\n", x.Self.ID, x.Self.Name, x.Self.Listens)
	if x.Self.Cluster != "" {
		fmt.Fprintf(w, "cluster    %s\n", x.Self.Cluster)
	}
	if x.Self.Until != 0 {
		fmt.Fprintf(w, "member     until %s\n", time.Unix(0, x.Self.Until).Format(time.RFC3339))
	}
	fmt.Fprintf(w, "pheromones %d sent, %d accepted\n", x.Self.Sent, x.Self.Received)
	for _, d := range x.Self.Drops {
		fmt.Fprintf(w, "dropped    %d %s\n", d.Number, d.Reason)
	}
	for _, f := range x.Self.Filters {
		fmt.Fprintf(w, "filter     in the kernel on %s\n", f)
	}
	for _, why := range x.Self.Why {
		fmt.Fprintf(w, "no filter  %s\n", why)
	}
	if x.Self.Omitted {
		fmt.Fprintln(w, "more names are served by others than there are sockets for")
	}
	for _, r := range x.Self.Refused {
		fmt.Fprintf(w, "refused    %s %s, %s: %s\n", time.Unix(0, r.At).Format(time.TimeOnly), r.Who, r.What, r.Why)
	}
}

func shortID(id string) string { return id[:min(len(id), 14)] }

func stateOf(p *netops.Peer) string {
	switch {
	case p.Suspect:
		return "suspect"
	case p.Addr == "":
		return fmt.Sprintf("told (%d)", p.Hops)
	}
	return "alive"
}

func addrOf(p *netops.Peer) string {
	if p.Addr == "" && len(p.Links) > 0 {
		return p.Links[0]
	}
	return p.Addr
}

func serviceNames(p *netops.Peer) (all []string) {
	for _, s := range p.Services {
		all = append(all, s.Name)
	}
	return all
}
