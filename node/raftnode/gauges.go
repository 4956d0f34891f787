//go:build !nodragonboat && !s390x

package raftnode

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/cluster"
	"github.com/cell-runtime/cell/metrics"
)

const (
	// gaugesPace is how often the metrics file is written.
	gaugesPace = time.Second
	// maxGauged is how many groups it has room for; of more, the first ones by
	// name that were seen are shown.
	maxGauged = 1024
	perGroup  = 6
)

// gauges are what the member's metrics file says of its groups.
type gauges struct {
	file                  *metrics.File
	formed, running, leds *metrics.Gauge
	groups                map[string]*groupGauges
}

// groupGauges are those of one group's replica here.
type groupGauges struct {
	replica, leads, leader, term, applied, members *metrics.Gauge
}

func newGauges(dir string) (*gauges, error) {
	f, err := metrics.Create(filepath.Join(dir, AdminName+".metrics"), metrics.Options{Size: 4 << 20, Instruments: perGroup*maxGauged + 8})
	if err != nil {
		return nil, err
	}
	g := &gauges{file: f, groups: map[string]*groupGauges{}}
	for _, m := range []struct {
		to         **metrics.Gauge
		name, help string
	}{
		{&g.formed, "cell_raft_formed", "1 where this node is in a cluster."},
		{&g.running, "cell_raft_groups", "Groups of which a replica runs here."},
		{&g.leds, "cell_raft_led", "Groups that are led from here."},
	} {
		if *m.to, err = f.Gauge(m.name, m.help, ""); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	return g, nil
}

func (g *gauges) close() error {
	return errors.Join(g.file.Close(), os.Remove(g.file.Path()))
}

// of returns the gauges of a group, or nil where there is no more room: a
// metrics file gives no place back, so those of a group that went stay, at 0.
func (g *gauges) of(group string) (*groupGauges, error) {
	if x := g.groups[group]; x != nil || len(g.groups) >= maxGauged {
		return x, nil
	}
	x, label := &groupGauges{}, metrics.L("group", group)
	for _, m := range []struct {
		to         **metrics.Gauge
		name, help string
	}{
		{&x.replica, "cell_raft_replica", "The number of this node's replica; 0: it has none."},
		{&x.leads, "cell_raft_leads", "1 where this node's replica leads the group."},
		{&x.leader, "cell_raft_leader", "The number of the replica that leads; 0: none is known."},
		{&x.term, "cell_raft_term", "The term, which grows with each election."},
		{&x.applied, "cell_raft_applied", "How far the log was applied here; its growth is what the group does."},
		{&x.members, "cell_raft_voters", "Voters of the group, as this node knows them."},
	} {
		var err error
		if *m.to, err = g.file.Gauge(m.name, m.help, "", label); err != nil {
			return nil, err
		}
	}
	g.groups[group] = x
	return x, nil
}

func (x *groupGauges) set(s *consensus.Status) {
	leads := int64(0)
	if s.Leads() {
		leads = 1
	}
	x.replica.Set(int64(s.Replica))
	x.leads.Set(leads)
	x.leader.Set(int64(s.Leader))
	x.term.Set(int64(s.Term))
	x.applied.Set(int64(s.Applied))
	x.members.Set(int64(len(s.Members)))
}

// update shows what the member's groups are now.
func (g *gauges) update(m *cluster.Member) error {
	formed, led := int64(0), int64(0)
	if m.State().Formed {
		formed = 1
	}
	here := map[string]bool{}
	for _, r := range m.Host().Groups() {
		s := r.Status()
		here[s.Group] = true
		if s.Leads() {
			led++
		}
		x, err := g.of(s.Group)
		if err != nil {
			return err
		}
		if x != nil {
			x.set(&s)
		}
	}
	for name, x := range g.groups {
		if !here[name] {
			x.set(&consensus.Status{})
		}
	}
	g.formed.Set(formed)
	g.running.Set(int64(len(here)))
	g.leds.Set(led)
	return nil
}

// keep updates until ctx ends.
func (g *gauges) keep(ctx context.Context, m *cluster.Member, log *slog.Logger) {
	t := time.NewTicker(gaugesPace)
	defer t.Stop()
	for {
		if err := g.update(m); err != nil {
			log.Warn("raft: the metrics of the groups can't be written any more", "err", err)
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
