// Package node runs the cells of a host: it starts them in capsids, leads
// callers to them, watches, restarts and replaces them, and lets several
// versions of one be called beside each other.
//
//	caller ── connects ──► node ── hands the connection on ──► cell
//	caller ◄═════════════════════ rings ════════════════════► cell
//
// Cells of which several versions can be called are the exception: their callers'
// calls are forwarded by fingerprint. docs/CELLNODE.md has the whole picture.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/network"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// Names of who acts, where it is no user.
const (
	whoBoot   = "boot"
	whoIdle   = "idle policy"
	whoNode   = "node"
	whoPolicy = "restart policy"
)

// Options are what a node is made of.
type Options struct {
	Config config.Config
	// Load reads the configuration again, for Reload; nil: that does nothing.
	Load   func() (config.Config, error)
	Logger *slog.Logger // nil is silent
}

// Node is the cells of a host. Make it with New, and run it with Run.
type Node struct {
	load   func() (config.Config, error)
	log    *slog.Logger
	dir    string // the runtime directory
	since  time.Time
	audit  *audit
	engine *engine.Engine
	file   *metrics.File
	web    *web

	network *network.Network

	ctx      context.Context // ends when the node's cells have been stopped
	cancel   context.CancelFunc
	halt     context.Context // ends when the node begins to stop
	halting  context.CancelFunc
	work     sync.WaitGroup
	slots    slots
	cores    *cores
	sequence counter
	ready    chan struct{} // closed when boot is over

	reloading sync.Mutex // held by whoever reloads or stops all
	keeping   sync.Mutex // held by whoever writes what the next node is to take up

	mu     sync.Mutex // guards what follows
	config config.Config
	cells  map[string]*cell

	devices map[string]*device

	buses buses
}

// New makes a node. It starts nothing yet. Errors: config.ErrConfig, which is also that
// cores are asked for that the host does not have, or those of the runtime directory.
func New(o Options) (*Node, error) {
	if err := o.Config.Check(); err != nil {
		return nil, err
	}
	n := &Node{config: o.Config, load: o.Load, log: o.Logger, dir: o.Config.RuntimeDir, cells: map[string]*cell{}, ready: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.dir == "" {
		dir, err := uds.RuntimeDir()
		if err != nil {
			return nil, err
		}
		n.dir = dir
	}
	plan, err := planCores(o.Config)
	if err != nil {
		return nil, err
	}
	n.cores = plan
	n.slots.most = o.Config.MaxCells
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.halt, n.halting = context.WithCancel(n.ctx)
	return n, nil
}

// Dir returns the runtime directory.
func (n *Node) Dir() string { return n.dir }

// Ready is closed when all cells that start at boot have been started, well or
// not.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Run runs the node until ctx ends, and then stops its cells. It returns when
// nothing is left of them. Errors: uds.ErrInUse where another node runs here,
// network.ErrAlone and what else keeps a node in network.mode "on" from the
// others, or what broke.
func (n *Node) Run(ctx context.Context) (err error) {
	n.since = time.Now()
	var insists error // by what the configuration insists on and can't be had
	defer n.cancel()
	if n.audit, err = openAudit(n.config.Log.Audit, n.log); err != nil {
		return err
	}
	defer n.audit.close()
	if err := n.startEngine(); err != nil {
		return err
	}
	defer n.engine.Stop()
	n.network = n.meet()
	server, listener, err := n.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	n.work.Go(n.sweepGroups)
	n.sweepMetrics()
	defer capsid.Sweep()
	if err := n.removeRemote(); err != nil {
		return err
	}
	if n.file, err = metrics.Create(filepath.Join(n.dir, "node.metrics"), metrics.Options{}); err != nil {
		return err
	}
	defer os.Remove(n.file.Path())
	defer n.file.Close()
	if n.web, err = n.serveHTTP(); err != nil {
		return err
	}
	defer n.web.close()
	if err := n.openAll(); err != nil {
		n.stopAll()
		return err
	}
	if err := n.runRaft(n.halt); err != nil {
		n.stopAll()
		return err
	}
	serving := make(chan error, 1)
	go func() { serving <- server.Accept(n.ctx, n.engine, listener.AcceptLink) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave := n.runNetwork(n.ctx, func(err error) { insists = err; cancel(err) })
	n.boot()
	close(n.ready)
	notify("READY=1\nSTATUS=" + fmt.Sprintf("%d cells", len(n.cells)))
	for _, text := range n.cores.warnings {
		n.log.Warn("cores", "what", text)
	}
	n.log.Info("ready", "dir", n.dir, "cells", len(n.cells))
	n.housekeep(ctx)
	notify("STOPPING=1")
	n.log.Info("stopping", "why", context.Cause(ctx))
	leave()
	n.stopAll()
	if err := n.network.Close(); err != nil {
		n.log.Error("network", "err", err)
	}
	_ = server.Close()
	_ = listener.Close()
	<-serving
	return insists
}

// startEngine starts the thread that forwards and answers operators.
func (n *Node) startEngine() error {
	idle, err := engine.ParseIdle(n.config.Engine.Idle)
	if err != nil {
		return err
	}
	n.engine, err = engine.New(engine.Config{Name: "node", CPU: n.config.Engine.CPU, Idle: idle, Logger: n.log})
	if err != nil {
		return err
	}
	return n.engine.Start(context.Background())
}

// sweepTries and sweepPace: the kernel ends the cells of a node that was killed
// in its own time, and their control groups are busy until then.
const (
	sweepTries = 100
	sweepPace  = 100 * time.Millisecond
)

// sweepGroups removes the control groups that a node which was killed has left.
func (n *Node) sweepGroups() {
	for range sweepTries {
		if capsid.Sweep() == 0 {
			return
		}
		select {
		case <-time.After(sweepPace):
		case <-n.halt.Done():
			return
		}
	}
}

// openAll listens for the callers of all cells.
func (n *Node) openAll() error {
	kept := n.takeUp()
	for name, c := range n.config.Cells {
		if err := n.add(name, c, kept[name]); err != nil {
			return err
		}
	}
	n.keep()
	return n.openDevices()
}

// add listens for the callers of a cell, of which a node before may have kept
// something.
func (n *Node) add(name string, settings config.Cell, kept keptCell) (err error) {
	c := &cell{node: n, name: name, config: settings, versions: []*version{newVersion(settings)}}
	c.ctx, c.cancel = context.WithCancel(n.halt)
	c.versions[0].expect()
	if c.gauges, err = newGauges(n.file, name); err != nil {
		return err
	}
	if took, err := c.takeUp(kept); err != nil {
		c.say("what the node before has deployed is forgotten: %v", err)
	} else if took {
		n.audit.add(whoNode, "took up", name, "the node before was killed; now "+c.current().name)
	}
	if settings.Serves {
		if err := c.open(); err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.cells[name] = c
	n.mu.Unlock()
	return nil
}

// boot starts all cells that start at boot, at once, and waits for them. One
// that does not start is started again by its policy.
func (n *Node) boot() {
	var all sync.WaitGroup
	for _, c := range n.list() {
		v := c.current()
		v.mu.Lock() // callers come already
		stopped := v.stopped
		v.mu.Unlock()
		if stopped { // by an operator, before the node before was killed
			continue
		}
		if v.config.Start == "boot" || v.config.Warm > 0 {
			all.Go(func() { _, _ = c.ensure(n.ctx, v, whoBoot, "it is configured") })
		}
	}
	all.Wait()
}

// list returns the cells by name.
func (n *Node) list() []*cell {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*cell, 0, len(n.cells))
	for _, c := range n.cells {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *cell) int { return strings.Compare(a.name, b.name) })
	return all
}

// find returns a cell by its name. Error: ErrUnknown.
func (n *Node) find(name string) (*cell, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.cells[name]; c != nil {
		return c, nil
	}
	var known []string
	for k := range n.cells {
		known = append(known, k)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("%w: %q; there are %s", ErrUnknown, name, strings.Join(known, ", "))
}

// housekeeping is how often the node looks at all its cells; tests have it more
// often.
var housekeeping = time.Second

// housekeep looks at all cells once a second until ctx ends.
func (n *Node) housekeep(ctx context.Context) {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	var dog <-chan time.Time
	if every := watchdog(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		dog = t.C
	}
	for {
		n.touch(time.Now())
		for _, c := range n.list() {
			c.housekeep(time.Now())
			c.gauges.update(c)
		}
		select {
		case <-tick.C:
		case <-dog:
			// The thread that forwards answers, or the node is not well.
			alive, cancel := context.WithTimeout(ctx, housekeeping)
			if n.engine.Do(alive, func() {}) == nil {
				notify("WATCHDOG=1")
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// touch notes which versions have calls under way by a front.
func (n *Node) touch(now time.Time) {
	for _, c := range n.list() {
		if f := c.known(); f != nil {
			f.touch(now)
		}
	}
	for _, d := range n.listDevices() {
		if d.cells != nil {
			d.cells.touch(now)
		}
	}
}

// stopAll stops all cells at once, and what waits for them. What deploys or
// reloads is given up first.
func (n *Node) stopAll() {
	n.halting()
	n.reloading.Lock()
	defer n.reloading.Unlock()
	n.keeping.Lock() // whoever writes it, looks at halt first
	_ = os.Remove(filepath.Join(n.dir, keepFile))
	n.keeping.Unlock()
	var all sync.WaitGroup
	for _, c := range n.list() {
		all.Go(func() { c.stop(whoNode, "the node is stopping") })
	}
	all.Wait()
	n.cancel()
	n.work.Wait()
}

// counter counts from 1.
type counter struct {
	mu sync.Mutex
	n  uint64
}

// Add adds to the counter and returns what it has then.
func (c *counter) Add(d uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	return c.n
}

// slots bounds how many processes run.
type slots struct {
	mu   sync.Mutex
	used int
	most int
}

func (s *slots) take() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.most {
		return fmt.Errorf("%w: %d processes run, which is max_cells; stop one or raise it", ErrCeiling, s.used)
	}
	s.used++
	return nil
}

func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
}

func (s *slots) setMost(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = n
}

var _ rpc.Relay = (*front)(nil)
