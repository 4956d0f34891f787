package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// What the founder said before it asked for the promise may arrive after it.
func TestOldNewsDoesNotEndAPromise(t *testing.T) {
	founder := info{Node: "other", Phase: phaseNew, Serial: 10}
	asked := info{Node: "other", Phase: phasePromised, Cluster: "a", Serial: 11}
	gaveUp := info{Node: "other", Phase: phaseNew, Serial: 12}
	m := &Member{o: Options{Dir: t.TempDir(), Nodes: 2}, host: fixed("me"), state: state{Format: stateFormat, Phase: phaseNew}, known: addresses{}, peers: map[consensus.NodeID]peer{}}
	q := question{Me: asked, Cluster: "a", First: map[consensus.ReplicaID]consensus.NodeID{1: "other", 2: "me"}}
	if err := m.promise("other", &q); err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]info{{founder}, {asked, founder}, {founder, asked, founder}} {
		clear(m.peers)
		for _, i := range order {
			m.met(i)
			if err := m.advance(); !errors.Is(err, errWaiting) || m.state.Phase != phasePromised {
				t.Fatalf("after %+v: %v, %v", order, err, m.state.Phase)
			}
		}
	}
	m.met(gaveUp)
	_ = m.advance() // it waits for others, now
	if m.state.Phase != phaseNew {
		t.Error("the founder gave up, and the promise stays")
	}
	if err := m.change(func(*state) error { return nil }); err != nil {
		t.Fatal(err)
	}
	before := m.state.Serial
	if kept, err := readState(m.o.Dir); err != nil || kept.Serial != before || before == 0 {
		t.Errorf("the serial %d is kept as %d, %v", before, kept.Serial, err)
	}
	if fresh, err := readState(t.TempDir()); err != nil || fresh.Serial <= before {
		t.Errorf("a node that has lost its state begins with serial %d, not beyond %d", fresh.Serial, before)
	}
}

func TestAddressesAge(t *testing.T) {
	a, start := addresses{}, time.Unix(1000, 0)
	a.add("configured", true, start)
	a.add("answers", false, start)
	a.add("silent", false, start)
	for s := range 40 {
		now := start.Add(time.Duration(s) * 20 * time.Second)
		for _, addr := range a.due(now) {
			a.asked(addr, addr == "answers", now)
		}
	}
	if got := a.due(start.Add(time.Hour)); !slices.Equal(got, []string{"configured"}) && !slices.Equal(got, []string{"answers", "configured"}) {
		t.Errorf("after 13 minutes, %v are asked", got)
	}
	if a["silent"] != nil {
		t.Error("an address where nobody answered for ten minutes is still asked")
	}
	if got := a.answering(); !slices.Equal(got, []string{"answers"}) && got != nil {
		t.Errorf("%v are passed on", got)
	}
}

func TestAddressesWhereNobodyAnswersAreAskedLess(t *testing.T) {
	a, now := addresses{}, time.Unix(1000, 0)
	a.add("x", true, now)
	asked := 0
	for end := now.Add(time.Minute); now.Before(end); now = now.Add(meetEvery) {
		for range a.due(now) {
			asked++
			a.asked("x", false, now)
		}
	}
	if asked < 10 || asked > 40 {
		t.Errorf("asked %d times in a minute", asked)
	}
}

// New addresses have room even where many that are dead were told before.
func TestDeadAddressesMakeRoom(t *testing.T) {
	a, now := addresses{}, time.Unix(1000, 0)
	for i := range maxKnown {
		addr := fmt.Sprint("dead-", i)
		a.add(addr, i == 0, now)
		a.asked(addr, false, now)
	}
	a.add("new", false, now)
	if a["new"] == nil || len(a) != maxKnown || a["dead-0"] == nil {
		t.Errorf("%d addresses, the new one %v, the configured one %v", len(a), a["new"], a["dead-0"])
	}
	full := addresses{}
	for i := range maxKnown + 10 {
		full.add(fmt.Sprint(i), false, now)
	}
	if len(full) != maxKnown {
		t.Errorf("%d addresses are kept", len(full))
	}
}

// failing is a host whose groups can be started once, and whose service can't
// be made the first time.
type failing struct {
	fixed
	starts int
	group  consensus.Group
}

func (f *failing) Group(string) (consensus.Group, error) {
	if f.group == nil {
		return nil, consensus.ErrNoGroup
	}
	return f.group, nil
}

func (f *failing) Start(context.Context, consensus.GroupConfig) (consensus.Group, error) {
	f.starts++
	if f.starts > 1 {
		return nil, consensus.ErrGroupExists
	}
	a, err := consensus.NewApplier(1, consensustest.Memory(0))
	f.group = registers{a: a}
	return f.group, err
}

// registers is a group that refuses to be served as a store of keys.
type registers struct {
	consensus.Group
	a *consensus.Applier
}

func (registers) Name() string                  { return SystemGroup }
func (r registers) Applier() *consensus.Applier { return r.a }

// Where serving the system group fails, the next attempt serves what runs, and
// does not start it again, which would fail for ever.
func TestServingTheSystemGroupIsTriedAgain(t *testing.T) {
	h := &failing{fixed: "me"}
	m := &Member{o: Options{Logger: slog.New(slog.DiscardHandler)}, host: h, state: state{Phase: phaseFormed}, ctx: t.Context()}
	for i := range 3 {
		if err := m.begin(); err == nil || errors.Is(err, consensus.ErrGroupExists) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	if h.starts != 1 {
		t.Errorf("started %d times", h.starts)
	}
}
