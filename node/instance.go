package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/network"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// instance is one process of a cell, from its start to its end.
type instance struct {
	version  *version
	number   uint64
	metrics  string   // its metrics file, or a link to lent
	lent     *os.File // memory for its metrics, of one that sees no file
	process  capsid.Process
	broker   *uds.Broker // its one way out
	output   *output
	since    time.Time
	requests atomic.Uint64 // that it has had, as of the last look
	callers  atomic.Int32  // connections, as of the last look
	links    atomic.Int32  // of the node's own
	cores    []int         // that are its own
	led      atomic.Int32  // connections of its own that are being led to others
	draining atomic.Bool   // it takes no new callers, and its end is wanted
	leaving  chan struct{} // closed with that
	lost     atomic.Bool   // its socket to the node has ended: nobody is led to it
	gone     chan struct{}
	exit     capsid.Exit // when gone is closed
	cleaning sync.Once
}

// launch starts a process and waits until it is ready: it listens, says that it
// serves, and describes what. On an error nothing is left of it.
func (c *cell) launch(ctx context.Context, v *version) (*instance, error) {
	n := c.node
	if err := n.slots.take(); err != nil {
		return nil, err
	}
	i := &instance{version: v, number: n.sequence.Add(1), since: time.Now(), gone: make(chan struct{}), leaving: make(chan struct{})}
	i.metrics = filepath.Join(n.dir, fmt.Sprintf("%s.%d.metrics", c.name, i.number))
	i.output = &output{journal: &c.journal, source: fmt.Sprintf("%s#%d", v.name, i.number)}
	if err := i.start(ctx, c, v); err != nil {
		i.clean()
		n.cores.give(i.cores)
		n.slots.give()
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	go c.attend(i)
	ready, cancel := context.WithTimeout(ctx, time.Duration(v.config.ReadyTimeout))
	defer cancel()
	if err := i.awaitReady(ready, c); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotReady, c.name, i.giveUp(ready, err))
	}
	return i, nil
}

// giveUp ends a process that did not become ready, and says why it did not. ready
// ends when its time is up.
func (i *instance) giveUp(ready context.Context, why error) error {
	if i.lost.Load() || rpc.StatusOf(why) == wire.StatusPeerGone {
		// Its links end before the kernel tells of its own end.
		select {
		case <-i.process.Done():
		case <-ready.Done():
		}
	}
	select {
	case <-i.process.Done():
		<-i.gone
		return fmt.Errorf("it ended before it was ready: %v%s", i.exit, lastWords(i.exit.Tail))
	default:
	}
	i.leave()
	if ready.Err() != nil {
		i.process.Kill(capsid.Hung, "it was not ready within "+time.Duration(i.version.config.ReadyTimeout).String())
	} else {
		i.process.Kill(capsid.Killed, why.Error())
	}
	<-i.gone
	return why
}

// mostWords bounds what an error repeats of a process's output, in bytes.
const mostWords = 300

// lastWords is the end of a process's output, for an error.
func lastWords(tail []string) string {
	text := strings.Join(tail[max(len(tail)-3, 0):], "; ")
	if len(text) > mostWords {
		text = "…" + strings.ToValidUTF8(text[len(text)-mostWords:], "")
	}
	if text == "" {
		return ", and wrote nothing"
	}
	return "; its last words: " + text
}

func (i *instance) start(ctx context.Context, c *cell, v *version) error {
	backend, err := capsid.Open(v.config.Capsid)
	if err != nil {
		return err
	}
	spec := v.config.Spec(c.name)
	spec.Output = i.output
	if err := c.place(i, &spec); err != nil {
		return err
	}
	if v.config.Capsid == "none" { // others see nothing of the runtime directory
		spec.Env = append(spec.Env, metrics.EnvFile+"="+i.metrics)
	}
	if i.process, err = backend.Start(ctx, spec); err != nil {
		return err
	}
	i.broker = c.broker(i)
	go func() {
		who := link.Peer{PID: i.process.PID(), UID: i.process.UID(), ID: c.name}
		err := i.broker.Attach(context.Background(), i.process.Socket(), who)
		i.lost.Store(true)
		if errors.Is(err, link.ErrCorrupt) {
			i.process.Kill(capsid.Killed, fmt.Sprintf("it broke the protocol of its socket: %v", err))
			return
		}
		i.detached(err)
	}()
	return nil
}

// detachedFor is how long a process may live without its socket, which it closes
// by ending.
const detachedFor = time.Second

// detached ends a process that serves and has lost its socket to the node: no
// caller can be led to it any more.
func (i *instance) detached(why error) {
	if !i.version.config.Serves {
		return
	}
	select {
	case <-i.process.Done():
	case <-time.After(detachedFor):
		if !i.draining.Load() {
			i.process.Kill(capsid.Hung, fmt.Sprintf("its socket to the node has ended, and it has not (%v)", why))
		}
	}
}

// vanishes reports whether a process that does not take a connection has lost
// its socket, or does in a moment.
func (i *instance) vanishes(ctx context.Context) bool {
	for range vanishTries {
		if i.lost.Load() {
			return true
		}
		select {
		case <-time.After(endingPace):
		case <-ctx.Done():
			return false
		}
	}
	return i.lost.Load()
}

// vanishTries bounds how long the end of a process is waited for, in
// endingPaces.
const vanishTries = 100

// awaitReady waits until the process serves, and learns what.
func (i *instance) awaitReady(ctx context.Context, c *cell) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-i.gone:
			cancel(errors.New("it ended"))
		case <-ctx.Done():
		}
	}()
	if !i.version.config.Serves {
		return i.lasts(ctx)
	}
	if err := i.broker.Await(ctx, c.name); err != nil {
		return err
	}
	conn, err := i.connect(ctx, c.name)
	if err != nil {
		return err
	}
	i.links.Add(1)
	defer i.links.Add(-1)
	defer conn.Close()
	for {
		h, err := conn.Health(ctx)
		if err != nil {
			return err
		}
		if h.Serving {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return i.version.learn(ctx, conn)
}

// lastsFor is how long a process that serves nothing must have run to be ready.
const lastsFor = 100 * time.Millisecond

// lasts waits to see whether the process is there to stay.
func (i *instance) lasts(ctx context.Context) error {
	select {
	case <-time.After(lastsFor):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// connect opens a connection of the node's own.
func (i *instance) connect(ctx context.Context, name string) (*rpc.Conn, error) {
	l, err := i.dial(ctx, name)
	if err != nil {
		return nil, err
	}
	return rpc.NewConn(l, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "node"})
}

// dial opens a link of the node's own.
func (i *instance) dial(ctx context.Context, name string) (*uds.Conn, error) {
	me := link.Peer{PID: os.Getpid(), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), ID: config.OpsName}
	socket, err := i.broker.Dial(ctx, me, name)
	if err != nil {
		return nil, err
	}
	// Who is at the other end is sure: the node has started it.
	return uds.Client(ctx, socket, &uds.Options{Policy: uds.AnyUser})
}

// attend waits for the end of a process, and looks at its health until then.
func (c *cell) attend(i *instance) {
	ctx, cancel := context.WithCancel(context.Background())
	go c.watchHealth(ctx, i)
	exit, _ := i.process.Wait(context.Background())
	cancel()
	i.output.end()
	i.exit = exit
	i.clean()
	c.node.cores.give(i.cores)
	c.node.slots.give()
	close(i.gone)
	c.ended(i)
}

// leave says that the process takes no new callers and is to end. It reports
// whether nobody had said so before.
func (i *instance) leave() bool {
	first := !i.draining.Swap(true)
	if first {
		close(i.leaving)
	}
	return first
}

// clean removes what the process left in the file system.
func (i *instance) clean() {
	i.cleaning.Do(func() {
		if i.broker != nil {
			_ = i.broker.Close()
		}
		_ = os.Remove(i.metrics)
		if i.lent != nil { // the broker was the last to touch it
			_ = i.lent.Close()
		}
	})
}

// healthFailures is how often in a row a process must miss its deadline before
// it is taken for hung.
const healthFailures = 2

// watchHealth asks the process whether it serves, and kills it when it does not
// answer.
func (c *cell) watchHealth(ctx context.Context, i *instance) {
	every, timeout := time.Duration(i.version.config.HealthEvery), time.Duration(i.version.config.HealthTimeout)
	if !i.version.config.Serves {
		return // there is nobody to ask
	}
	kills := every > 0
	if !kills {
		every = housekeeping // who calls must be known all the same
	}
	var conn *rpc.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close()
			i.links.Add(-1)
		}
	}()
	for missed := 0; ; {
		select {
		case <-time.After(every):
		case <-i.leaving:
			return // a server that drains waits for those who are connected
		case <-ctx.Done():
			return
		}
		if !i.version.ready(i) {
			continue
		}
		begun := time.Now()
		err := i.ask(ctx, c.name, &conn, timeout)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			missed = 0
			c.gauges.health(time.Since(begun))
		default:
			missed++
			if !kills {
				continue
			}
			c.say("%s missed its health deadline (%d of %d): %v", i, missed, healthFailures, err)
		}
		if kills && missed >= healthFailures {
			i.process.Kill(capsid.Hung, fmt.Sprintf("it did not answer within %v, %d times in a row", timeout, missed))
			return
		}
	}
}

func (i *instance) ask(ctx context.Context, name string, conn **rpc.Conn, timeout time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if *conn == nil {
		if *conn, err = i.connect(ctx, name); err != nil {
			*conn = nil
			return err
		}
		i.links.Add(1)
	}
	s, err := (*conn).ServerStats(ctx)
	if err != nil {
		_ = (*conn).Close()
		i.links.Add(-1)
		*conn = nil
		return err
	}
	i.callers.Store(max(int32(s.Links)-i.links.Load(), 0))
	if i.requests.Swap(s.Requests) != s.Requests {
		i.version.used.Store(time.Now().UnixNano())
	}
	return nil
}

// String names the process for people.
func (i *instance) String() string {
	if i.process == nil {
		return i.output.source
	}
	return fmt.Sprintf("%s (process %d)", i.output.source, i.process.PID())
}

// learn asks a process what it serves.
func (v *version) learn(ctx context.Context, conn *rpc.Conn) error {
	services, descs, err := network.Describe(ctx, conn)
	if err != nil {
		return err
	}
	if err := v.checkSchema(descs); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.services, v.descs = services, descs
	return nil
}

// expect has a version that never ran serve what its schema says, for those who
// call by fingerprint alone. A schema that can't be read is told at the start.
func (v *version) expect() {
	if v.config.Schema == "" {
		return
	}
	text, err := os.ReadFile(v.config.Schema)
	if err != nil {
		return
	}
	if descs, err := rpc.ParseServices(string(text)); err == nil {
		v.mu.Lock()
		v.descs = descs
		v.mu.Unlock()
	}
}

// checkSchema holds what a process serves to the description that the
// configuration names.
func (v *version) checkSchema(descs []*rpc.ServiceDesc) error {
	if v.config.Schema == "" {
		return nil
	}
	text, err := os.ReadFile(v.config.Schema)
	if err != nil {
		return fmt.Errorf("its schema: %w", err)
	}
	parsed, err := schema.Parse(string(text))
	if err != nil {
		return fmt.Errorf("its schema %s: %w", v.config.Schema, err)
	}
	for _, want := range parsed.Services {
		digest := schema.Digest(want)
		found := false
		for _, d := range descs {
			found = found || d.Digest == digest
		}
		if !found {
			return fmt.Errorf("it does not serve %s as %s describes it; cellgen diff says what became of it", want.Name, v.config.Schema)
		}
	}
	return nil
}
