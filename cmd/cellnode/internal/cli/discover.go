package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/node/network"
	"github.com/cell-runtime/cell/schema"
)

// sighting is a service that was found on a node.
type sighting struct {
	Service      string   `json:"service"`
	Node         string   `json:"node"`
	NodeName     string   `json:"node_name"`
	Links        []string `json:"links"`
	Load         uint8    `json:"load"`
	Draining     bool     `json:"draining"`
	Fingerprints []string `json:"fingerprints"`
	Ancestors    []string `json:"ancestors"`
}

// happening is a line of discover --watch.
type happening struct {
	At       time.Time  `json:"at"`
	What     string     `json:"what"` // found, changed, left, died, expired, evicted, revoked
	Node     string     `json:"node"`
	NodeName string     `json:"node_name"`
	Services []sighting `json:"services"`
}

// looking is how discover was asked.
type looking struct {
	dir, service string
	here         bool
	span         time.Duration
	port         int
	seeds        []string
}

// newDiscover finds services on the network.
func newDiscover(env *Env) *cobra.Command {
	var l looking
	var watch bool
	cmd := &cobra.Command{
		Use:   "discover [SERVICE]",
		Short: "Find the services of the cluster, wherever they are",
		Long: `Lists what other nodes of this node's cluster serve, or with SERVICE who serves
that. With --watch it goes on and prints a line for every node that comes, changes,
leaves or dies.

It asks the node of this host. Where none runs, or with --here, it looks by itself
for the time of --for: as a guest, which asks and isn't counted among the nodes.`,
		Example: "  cellnode discover\n  cellnode discover market-ledger -o json\n  cellnode discover --watch",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.span < 0 {
				return usagef("--for must not be below 0")
			}
			l.service = strings.Join(args, "")
			s, end, err := env.source(cmd.Context(), &l)
			if err != nil {
				return err
			}
			defer end()
			if watch {
				err := s.watch(cmd.Context(), func(e netops.Event) error { return env.happened(&l, e) })
				if cmd.Context().Err() != nil {
					return nil
				}
				return err
			}
			peers, err := s.peers(cmd.Context())
			if err != nil {
				return err
			}
			all := sightings(peers, l.service)
			return env.Show(all, func(w io.Writer) error { return printSightings(w, all, &l) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&watch, "watch", false, "go on, and print who comes, changes and goes")
	f.BoolVar(&l.here, "here", false, "look by itself, also where a node runs")
	f.DurationVar(&l.span, "for", time.Second, "how long to look, where it looks by itself")
	f.IntVar(&l.port, "port", discovery.DefaultPort, "UDP port of discovery, where it looks by itself")
	f.StringSliceVar(&l.seeds, "seed", nil, "host:port of a node's discovery that no multicast reaches, where it looks by itself")
	f.StringVar(&l.dir, "dir", "", "folder of the identity by which it looks (default as of cellnode id)")
	return cmd
}

// source is whom discover asks.
type source interface {
	peers(ctx context.Context) ([]netops.Peer, error)
	watch(ctx context.Context, each func(netops.Event) error) error
}

// source returns the node of this host, or, where none runs, a guest.
func (e *Env) source(ctx context.Context, l *looking) (source, func() error, error) {
	if !l.here {
		n, end, err := e.askNetwork(ctx)
		if err == nil {
			return byNode{n}, end, nil
		}
		if !errors.Is(err, errNoNode) {
			return nil, nil, err
		}
	}
	g, err := newGuest(l)
	if err != nil {
		return nil, nil, err
	}
	return g, g.agent.Close, nil
}

// byNode asks the node.
type byNode struct{ *netops.NetworkClient }

func (n byNode) peers(ctx context.Context) ([]netops.Peer, error) {
	list, err := n.Peers(ctx)
	if err != nil {
		return nil, &CallError{err}
	}
	return list.Peers, nil
}

func (n byNode) watch(ctx context.Context, each func(netops.Event) error) error {
	s, err := n.Watch(ctx)
	if err != nil {
		return &CallError{err}
	}
	defer s.Close()
	for e, err := range s.All() {
		if err != nil {
			return &CallError{err}
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if _, err := s.Reply(); err != nil {
		return &CallError{err}
	}
	return nil
}

// guest looks by itself.
type guest struct {
	agent *discovery.Agent
	span  time.Duration
}

func newGuest(l *looking) (*guest, error) {
	dir := l.dir
	if dir == "" {
		var err error
		if dir, err = identity.DefaultDir(); err != nil {
			return nil, err
		}
	}
	if err := network.Belongs(dir); err != nil {
		return nil, err
	}
	mine, err := identity.LoadCredentials(dir)
	if err != nil {
		return nil, err
	}
	trust, err := identity.LoadTrust(dir)
	if err != nil {
		return nil, err
	}
	o := discovery.Options{Port: l.port, Seeds: l.seeds}
	discovery.FromIdentity(&o.Config, mine, trust, "")
	o.Client = true
	agent, err := discovery.Start(o)
	if errors.Is(err, discovery.ErrConfig) {
		return nil, &UsageError{err}
	}
	return &guest{agent, l.span}, err
}

func (g *guest) peers(ctx context.Context) (all []netops.Peer, err error) {
	select {
	case <-time.After(g.span):
	case <-ctx.Done():
	}
	for _, p := range g.agent.Peers() {
		all = append(all, g.peer(&p))
	}
	return all, nil
}

func (g *guest) peer(p *discovery.Peer) netops.Peer {
	x := netops.Peer{ID: p.ID.String(), Heard: int64(g.agent.Heard(p))}
	if p.Beacon == nil {
		return x
	}
	x.Name = p.Beacon.Name
	for _, a := range p.Reach("quic") {
		x.Links = append(x.Links, "quic "+a.String())
	}
	for _, s := range p.Beacon.Services {
		one := netops.Service{Name: s.Name, Load: s.Load, Draining: s.Draining}
		for _, f := range s.Fingerprints {
			one.Fingerprints = append(one.Fingerprints, schema.FormatFingerprint(f))
		}
		for _, f := range s.Ancestors {
			one.Ancestors = append(one.Ancestors, schema.FormatFingerprint(f))
		}
		x.Services = append(x.Services, one)
	}
	return x
}

func (g *guest) watch(ctx context.Context, each func(netops.Event) error) error {
	w := g.agent.Watch()
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return err
		}
		if err := each(netops.Event{At: time.Now().UnixNano(), What: e.Kind.String(), Peer: g.peer(&e.Peer)}); err != nil {
			return err
		}
	}
}

// sightings lists services by name, then by node.
func sightings(peers []netops.Peer, service string) []sighting {
	all := []sighting{}
	for _, p := range peers {
		for _, s := range p.Services {
			if service != "" && s.Name != service {
				continue
			}
			all = append(all, sighting{Service: s.Name, Node: p.ID, NodeName: p.Name, Links: append([]string{}, p.Links...), Load: s.Load, Draining: s.Draining,
				Fingerprints: append([]string{}, s.Fingerprints...), Ancestors: append([]string{}, s.Ancestors...)})
		}
	}
	slices.SortFunc(all, func(a, b sighting) int { return strings.Compare(a.Service+" "+a.Node, b.Service+" "+b.Node) })
	return all
}

func printSightings(w io.Writer, all []sighting, l *looking) error {
	if len(all) == 0 {
		what := "services of other nodes"
		if l.service != "" {
			what = "nodes that serve " + l.service
		}
		_, err := fmt.Fprintf(w, "no %s were heard of; cellnode peers and cellnode doctor network say more\n", what)
		return err
	}
	rows := [][]string{}
	for _, s := range all {
		state := "takes calls"
		if s.Draining {
			state = "draining"
		}
		rows = append(rows, []string{s.Service, s.NodeName, shortID(s.Node), strings.Join(s.Links, ", "), fmt.Sprintf("%d %%", int(s.Load)*100/255), state, fmt.Sprint(len(s.Fingerprints))})
	}
	return table(w, []string{"SERVICE", "NAME", "NODE", "LINKS", "LOAD", "STATE", "METHODS"}, rows)
}

// happened prints what happened to a node, if it concerns the service that is
// looked for.
func (e *Env) happened(l *looking, x netops.Event) error {
	h := happening{At: time.Unix(0, x.At), What: x.What, Node: x.Peer.ID, NodeName: x.Peer.Name, Services: sightings([]netops.Peer{x.Peer}, l.service)}
	if l.service != "" && len(h.Services) == 0 {
		return nil
	}
	return e.Line(h, func(w io.Writer) error {
		var names []string
		for _, s := range h.Services {
			names = append(names, s.Service)
		}
		_, err := fmt.Fprintf(w, "%s %-8s %s %s: %s\n", h.At.Format("15:04:05.000"), h.What, h.NodeName, shortID(h.Node), strings.Join(names, " "))
		return err
	})
}
