package sim

import (
	"testing"
	"time"
)

func world(t *testing.T, c Config) (*World, *Watch) {
	t.Helper()
	if c.Skew == 0 {
		c.Skew = 5 * time.Millisecond
	}
	c.Services = 3
	w := New(c)
	x := NewWatch(w)
	d, ok, err := x.StartAll(100*time.Millisecond, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Fatalf("%d nodes do not all know each other after %v", c.Nodes, d)
	}
	return w, x
}

// The clock is simulated and the seeds are given, so times can be asserted.

func TestNodesFindEachOther(t *testing.T) {
	for _, n := range []int{2, 3, 10, 100} {
		w, x := world(t, Config{Nodes: n, Seed: uint64(n)})
		w.Run(5*time.Second, nil)
		known, knows, err := x.Join(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(known) != n || known.At(1) > 20*time.Millisecond {
			t.Errorf("%d nodes: %d of them knew a new one, the last after %v", n, len(known), known.At(1))
		}
		if knows == 0 || knows > 500*time.Millisecond {
			t.Errorf("%d nodes: a new one knew all of them after %v", n, knows)
		}
	}
}

func TestTheDeadAreForgottenWithinThreeSeconds(t *testing.T) {
	for _, n := range []int{2, 3, 10, 60} {
		for seed := range uint64(8) {
			w, x := world(t, Config{Nodes: n, Seed: seed, Loss: 0.01})
			w.Run(20*time.Second+time.Duration(w.Random().Int64N(int64(3*time.Second))), nil)
			gone := x.Kill(w.Any(), 20*time.Second)
			if len(gone) != n-1 || gone.At(1) > 2900*time.Millisecond { // 3 s, with something for hosts that are busy
				t.Errorf("%d nodes, seed %d: %d found a dead one gone, the last after %v", n, seed, len(gone), gone.At(1))
			}
		}
	}
}

func TestALeavingNodeIsForgottenAtOnce(t *testing.T) {
	w, x := world(t, Config{Nodes: 20, Seed: 4})
	n := w.Any()
	gone := x.observe(n, true)
	w.Leave(n)
	w.Run(100*time.Millisecond, nil)
	if len(*gone) != 19 {
		t.Errorf("%d of 19 know that it left", len(*gone))
	}
}

func TestPartitionsHeal(t *testing.T) {
	for _, n := range []int{2, 3, 20, 100} {
		w, x := world(t, Config{Nodes: n, Seed: 9, Loss: 0.01})
		w.Run(10*time.Second, nil)
		if d, ok := x.Partition(30*time.Second, 30*time.Second); !ok || d > 10*time.Second {
			t.Errorf("%d nodes: whole again after %v: %v", n, d, ok)
		}
	}
}

func TestNobodyIsTakenForDeadWhoLives(t *testing.T) {
	minutes := time.Duration(20)
	if testing.Short() {
		minutes = 2
	}
	for name, c := range map[string]Config{
		"loss of 1 %":                 {Nodes: 50, Seed: 1, Loss: 0.01},
		"loss of 10 %, three nodes":   {Nodes: 3, Seed: 2, Loss: 0.1},
		"loss of 10 %, ten nodes":     {Nodes: 10, Seed: 5, Loss: 0.1},
		"clocks apart by seconds":     {Nodes: 30, Seed: 3, Skew: 20 * time.Second},
		"a path of 60 ms, some of it": {Nodes: 10, Seed: 4, DelayMin: time.Millisecond, DelayMax: 60 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			if c.Loss >= 0.1 {
				c.Timing.QuietMin = 10 * time.Second
			}
			w, _ := world(t, c)
			w.Run(minutes*time.Minute, nil)
			if f := w.Counts().FalseDeaths; f > 0 {
				t.Errorf("%d false deaths", f)
			}
		})
	}
}

func TestLinksThatWorkInOneDirectionOnly(t *testing.T) {
	for seed := range uint64(8) {
		w, _ := world(t, Config{Nodes: 20, Seed: seed, Loss: float64(seed%2) / 100})
		for blocked := 0; blocked < 20; {
			a, b := w.Any(), w.Any()
			if a != b && !w.blocked[[2]int{b.Number, a.Number}] && !w.blocked[[2]int{a.Number, b.Number}] {
				w.Block(a, b)
				blocked++
			}
		}
		w.Run(5*time.Minute, nil)
		if f := w.Counts().FalseDeaths; f > 0 {
			t.Errorf("seed %d: %d false deaths", seed, f)
		}
	}
}

func TestChurn(t *testing.T) {
	w, _ := world(t, Config{Nodes: 40, Seed: 6, Loss: 0.01})
	for range 60 {
		w.Kill(w.Any())
		w.Run(time.Second, nil)
		for _, n := range w.Nodes {
			if !n.Up && w.Now()-time.Duration(n.Died) > 4*time.Second {
				if err := w.Start(n); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	w.Run(10*time.Second, nil)
	if up := w.up(); w.alive() != up*(up-1) {
		t.Errorf("after a minute of churn %d nodes know %d others, not %d", up, w.alive(), up*(up-1))
	}
	if f := w.Counts().FalseDeaths; f > 0 {
		t.Errorf("%d false deaths", f)
	}
}

func TestTrafficIsBounded(t *testing.T) {
	for _, n := range []int{2, 3, 10, 100} {
		w, _ := world(t, Config{Nodes: n, Seed: 7})
		w.Run(2*time.Minute, nil)
		if r := w.Steady(5 * time.Minute); r.PerPeer > 200 || r.Received > 2500 {
			t.Errorf("%d nodes: %+v", n, r)
		}
	}
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	run := func(seed uint64) Counts {
		w, x := world(t, Config{Nodes: 20, Seed: seed, Loss: 0.05})
		x.Kill(w.Any(), 5*time.Second)
		w.Run(time.Minute, nil)
		return w.Counts()
	}
	if a, b := run(1), run(1); a != b {
		t.Errorf("%+v, then %+v", a, b)
	}
	if a, b := run(1), run(2); a == b {
		t.Error("another seed changes nothing")
	}
}
