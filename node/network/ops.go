package network

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/wire"
)

// Operations answers operators: netops.Network.
func (n *Network) Operations() netops.Network { return operator{n} }

type operator struct{ *Network }

// errAlone is what operators are told of a node that is in no network.
func (n *Network) errAlone() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return rpc.Errorf(wire.StatusFailedPrecondition, "this node is in no network: %s", n.alone)
}

// Status implements netops.Network.
func (o operator) Status(context.Context) (s netops.Status, err error) {
	o.mu.Lock()
	s.Alone = o.alone
	s.Omitted = o.tooMany
	for _, r := range o.refusals.last {
		s.Refused = append(s.Refused, netops.Refusal{At: r.At.UnixNano(), Who: r.Who, What: r.What, Why: r.words()})
	}
	o.mu.Unlock()
	m := o.self.Load()
	if m == nil {
		return s, nil
	}
	s.ID, s.Listens = m.credentials.ID().String(), m.endpoint.Addr().String()
	s.Name, _ = os.Hostname()
	if c := m.trust.Cluster(); !c.IsZero() {
		s.Cluster = c.String()
	}
	if member := m.credentials.Membership(); member != nil {
		s.Until = member.Until().UnixNano()
	}
	for _, a := range m.filters.attached {
		s.Filters = append(s.Filters, a.iface)
	}
	s.Why = m.filters.why
	stats := m.agent.Stats()
	s.Rests = stats.Rests
	for _, k := range stats.Sent {
		s.Sent += k
	}
	for _, k := range stats.Received {
		s.Received += k
	}
	s.Drops = drops(m, &stats)
	return s, nil
}

// drops are the counters of what was dropped, by reason, the kernel's last.
func drops(m *member, stats *discovery.AgentStats) (all []netops.Count) {
	v := reflect.ValueOf(stats.Drops)
	for i := range v.NumField() {
		if number := v.Field(i).Uint(); number > 0 {
			all = append(all, netops.Count{Reason: strings.ToLower(v.Type().Field(i).Name), Number: number})
		}
	}
	for _, a := range m.filters.attached {
		if s, err := a.program.Stats(); err == nil && s.Dropped() > 0 {
			all = append(all, netops.Count{Reason: "by the kernel on " + a.iface, Number: s.Dropped()})
		}
	}
	return all
}

// Peers implements netops.Network.
func (o operator) Peers(context.Context) (list netops.PeerList, err error) {
	m := o.self.Load()
	if m == nil {
		return list, o.errAlone()
	}
	for _, p := range m.agent.Peers() {
		list.Peers = append(list.Peers, o.peer(m, &p))
	}
	return list, nil
}

// peer is a peer as operators see it.
func (o operator) peer(m *member, p *discovery.Peer) netops.Peer {
	x := netops.Peer{ID: p.ID.String(), Hops: p.Hops, Suspect: p.Suspect, Heard: int64(m.agent.Heard(p)), Connected: m.endpoint.Known(p.ID)}
	if p.Addr.IsValid() {
		x.Addr = p.Addr.String()
	}
	if p.Beacon == nil {
		return x
	}
	x.Name, x.Since, x.SameHost = p.Beacon.Name, int64(p.Beacon.Incarnation), m.agent.SameHost(p)
	for _, medium := range []string{MediumQUIC, MediumRaft} {
		for _, a := range p.Reach(medium) {
			x.Links = append(x.Links, medium+" "+a.String())
		}
	}
	for _, s := range o.servicesOf(m, p) {
		service := netops.Service{Name: s.Name, Load: s.Load, Draining: s.Draining}
		for _, f := range s.Fingerprints {
			service.Fingerprints = append(service.Fingerprints, schema.FormatFingerprint(f))
		}
		for _, f := range s.Ancestors {
			service.Ancestors = append(service.Ancestors, schema.FormatFingerprint(f))
		}
		x.Services = append(x.Services, service)
	}
	return x
}

// Watch implements netops.Network.
func (o operator) Watch(ctx context.Context, out rpc.Sender[netops.Event]) (done netops.Done, err error) {
	m := o.self.Load()
	if m == nil {
		return done, o.errAlone()
	}
	w := m.agent.Watch()
	defer w.Close()
	for {
		e, err := w.Next(ctx)
		if err != nil {
			return done, context.Cause(ctx)
		}
		if err := out.Send(netops.Event{At: time.Now().UnixNano(), What: e.Kind.String(), Peer: o.peer(m, &e.Peer)}); err != nil {
			return done, err
		}
	}
}

// Path implements netops.Network.
func (o operator) Path(ctx context.Context, req netops.Name) (list netops.PathList, err error) {
	m := o.self.Load()
	if m == nil {
		list.Why = []string{o.errAlone().Error()}
		return list, nil
	}
	t, err := discovery.ParseTarget(discovery.Scheme + req.Cell)
	if err != nil {
		return list, rpc.Errorf(wire.StatusInvalidArgument, "%w", err)
	}
	names := map[discovery.ID]string{}
	for _, p := range m.agent.Peers() {
		if p.Beacon != nil {
			names[p.ID] = p.Beacon.Name
		}
	}
	paths, why := m.resolver.Resolve(ctx, t)
	used := o.inUse(t.Service)
	for _, p := range paths {
		list.Paths = append(list.Paths, netops.Path{Medium: p.Medium, Node: p.Node.String(), NodeName: names[p.Node], Addr: p.Addr.String(),
			Load: p.Load, Draining: p.Draining, InUse: used[p.Node] != nil && used[p.Node].relayed == (p.Medium == MediumRelay)})
	}
	list.Why = why
	for id, w := range used {
		told := slices.ContainsFunc(list.Paths, func(p netops.Path) bool { return p.InUse && p.Node == id.String() })
		if !told && !w.relayed {
			list.Why = append(list.Why, fmt.Sprintf("node %s is reached over the connection that it has made, at none of these addresses", id.Short()))
		}
	}
	if len(paths)+len(why) == 0 {
		list.Why = []string{fmt.Sprintf("none of the %d nodes that are known serves it", len(names))}
	}
	return list, nil
}

// inUse returns the nodes to which callers of a name are led now, and how.
func (n *Network) inUse(name string) map[discovery.ID]*way {
	used := map[discovery.ID]*way{}
	n.mu.Lock()
	p := n.proxies[name]
	n.mu.Unlock()
	if p == nil {
		return used
	}
	if routes := p.routes.Load(); routes != nil {
		for _, t := range *routes {
			if w := t.way.Load(); w != nil {
				used[t.id] = w
			}
		}
	}
	return used
}

// Clean removes the directory of others' names, with what a node that was killed
// has left there.
func Clean(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}
