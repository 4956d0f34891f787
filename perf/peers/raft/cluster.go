package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// place is where the three replicas run.
type place string

const (
	oneProcess     place = "one-process"
	threeProcesses place = "three-processes"
)

const replicaCount = 3

// cluster is three replicas of one system.
type cluster struct {
	system system
	groups int
	all    []*process
}

// startCluster starts it on fresh directories below dir.
func startCluster(s system, groups int, p place, dir string, o *options) (*cluster, error) {
	addrs, err := freeAddrs(replicaCount)
	if err != nil {
		return nil, err
	}
	var setups []setup
	for i := range replicaCount {
		d := filepath.Join(dir, s.name, fmt.Sprint(i+1))
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
		setups = append(setups, setup{System: s.name, Replica: i + 1, Groups: groups, Dir: filepath.Join(d, "data"), Addrs: addrs, Tick: o.tick})
	}
	each := [][]setup{setups}
	if p == threeProcesses {
		each = [][]setup{setups[:1], setups[1:2], setups[2:]}
	}
	c := &cluster{system: s, groups: groups}
	for _, mine := range each {
		child, err := startProcess(mine, o.procs)
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.all = append(c.all, child)
	}
	if _, err := c.leaders(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// freeAddrs returns addresses of loopback at which nobody listens. Each is of another
// host of 127.0.0.0/8, so that nobody who connects meanwhile is given one.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, l.Addr().String())
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

// leaders waits until all groups have one, and returns how many each process has.
func (c *cluster) leaders() ([]answer, error) {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		answers, err := c.each(func(int) order { return order{Do: "leaders"} })
		if err != nil {
			return nil, err
		}
		led := 0
		for _, a := range answers {
			led += a.Led
		}
		if led >= c.groups {
			return answers, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s: %d of %d groups have a leader after two minutes", c.system.name, led, c.groups)
		}
	}
}

// each asks all processes at once.
func (c *cluster) each(o func(i int) order) ([]answer, error) {
	answers, errs := make([]answer, len(c.all)), make([]error, len(c.all))
	var all sync.WaitGroup
	for i, p := range c.all {
		all.Go(func() { answers[i], errs[i] = p.ask(o(i)) })
	}
	all.Wait()
	return answers, errors.Join(errs...)
}

// load measures one work, each process at the groups that it leads. Where leaders are
// lost just then, so that nobody is asked anything, it is measured again.
func (c *cluster) load(w work, o *options) (tallies, error) {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		t, err := c.loadOnce(w, o)
		if err != nil || t.Count > 0 || t.Failed > 0 || time.Now().After(deadline) {
			return t, err
		}
	}
}

func (c *cluster) loadOnce(w work, o *options) (tallies, error) {
	now, err := c.leaders()
	if err != nil {
		return tallies{}, err
	}
	callers := share(callersOf(w), now)
	answers, err := c.each(func(i int) order {
		return order{Do: "load", Work: w, Callers: callers[i], Size: o.size, Warmup: o.warmup, Length: o.duration}
	})
	sum := tallies{Elapsed: o.duration}
	for _, a := range answers {
		t := a.Load
		if n := sum.Count + t.Count; n > 0 { // exact where one process has all callers
			sum.P50 = (sum.P50*time.Duration(sum.Count) + t.P50*time.Duration(t.Count)) / time.Duration(n)
			sum.P99 = max(sum.P99, t.P99)
		}
		sum.Count, sum.Failed = sum.Count+t.Count, sum.Failed+t.Failed
		if sum.Error == "" {
			sum.Error = t.Error
		}
	}
	return sum, err
}

// share divides callers by how many groups a process leads.
func share(callers int, led []answer) []int {
	total, most := 0, 0
	for i, a := range led {
		total += a.Led
		if a.Led > led[most].Led {
			most = i
		}
	}
	n := make([]int, len(led))
	left := callers
	for i, a := range led {
		if total > 0 && i != most {
			n[i] = callers * a.Led / total
			left -= n[i]
		}
	}
	n[most] = left
	return n
}

func (c *cluster) close() error {
	errs := make([]error, len(c.all))
	var all sync.WaitGroup
	for i, p := range c.all {
		all.Go(func() { errs[i] = p.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}
