package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/uds"
)

// cell is a name under which callers reach one or more versions of a cell.
type cell struct {
	node     *Node
	name     string
	journal  journal
	gauges   *gauges
	gate     *uds.Gate
	restarts atomic.Uint32
	changing sync.Mutex      // held by whoever deploys, restarts or stops
	ctx      context.Context // ends when the cell is to stop for good
	cancel   context.CancelFunc

	mu       sync.Mutex // guards what follows
	config   config.Cell
	versions []*version // oldest first; the last is the current one
	front    *front     // nil before there was a second version
	stopped  bool       // for good: the node is stopping
}

// current returns the version that new callers reach.
func (c *cell) current() *version {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.versions[len(c.versions)-1]
}

// known returns the front, nil if there is none yet.
func (c *cell) known() *front {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.front
}

func (c *cell) all() []*version {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.versions)
}

// say notes something about the cell for those who read its output, and logs
// it.
func (c *cell) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.journal.add("node", text)
	c.node.log.Info(text, "cell", c.name)
}

// endingPace is how often it is looked whether a process that has lost its
// socket has ended.
const endingPace = time.Millisecond

// ensure returns a process of a version, and starts the version if it does not
// run. who and why are for the audit.
func (c *cell) ensure(ctx context.Context, v *version, who, why string) (*instance, error) {
	for {
		i, ending := v.pick()
		if i != nil {
			return i, nil
		}
		if ending {
			select {
			case <-time.After(endingPace):
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		s, err := c.begin(v, who, why)
		if err != nil {
			return nil, err
		}
		select {
		case <-s.done:
			if s.err != nil {
				return nil, s.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// begin begins to start a version, unless somebody has done so. While its
// restart policy has it wait, callers wait as well: for the end of the pause.
func (c *cell) begin(v *version, who, why string) (*start, error) {
	c.mu.Lock()
	stopped := c.stopped
	c.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case stopped:
		return nil, ErrStopping
	case v.starting != nil:
		if who == whoPolicy {
			v.endPause() // what is missing afterwards, housekeeping sees
		}
		return v.starting, nil
	case v.replaced:
		return nil, errReplaced
	case v.waiting && who != whoPolicy:
		return &start{done: v.pause}, nil
	case v.failed:
		return nil, fmt.Errorf("%w: %s: %s; cellnode spawn %s starts it all the same", ErrFailed, c.name, v.why, c.name)
	}
	woken := v.stopped
	v.asleep, v.stopped = false, false
	v.endPause()
	s := &start{done: make(chan struct{})}
	v.starting = s
	c.node.work.Go(func() {
		s.err = c.startAll(v, who, why)
		if woken {
			c.node.keep()
		}
		v.mu.Lock()
		if s.err != nil && !v.asleep {
			v.why = s.err.Error()
		}
		v.mu.Unlock()
		if s.err != nil {
			c.failedToStart(v, s.err) // before somebody else may begin
		}
		v.mu.Lock()
		v.starting = nil
		v.mu.Unlock()
		close(s.done)
	})
	return s, nil
}

// startAll starts as many processes as a version should have, at once.
func (c *cell) startAll(v *version, who, why string) error {
	missing := v.config.Instances - v.serving()
	if who == whoBoot && v.config.Start == "connect" {
		missing = v.config.Warm
	}
	errs := make([]error, max(missing, 0))
	var all sync.WaitGroup
	for n := range errs {
		all.Go(func() {
			i, err := c.launch(c.ctx, v)
			if err != nil {
				errs[n] = err
				return
			}
			c.node.audit.add(who, "started", c.name, fmt.Sprintf("%v: %s", i, why))
			c.adopt(v, i)
		})
	}
	all.Wait()
	if v.serving() > 0 {
		return nil // one is enough to serve
	}
	return errors.Join(errs...)
}

// adopt lets callers reach a process that is ready.
func (c *cell) adopt(v *version, i *instance) {
	v.mu.Lock()
	v.instances = append(v.instances, i)
	v.why = ""
	v.mu.Unlock()
	c.node.network.Changed()
	c.node.reroute()
	c.say("%v is ready after %v", i, time.Since(i.since).Round(time.Microsecond))
	for _, d := range i.process.Degraded() {
		c.say("%v: %s", i, d)
	}
	if f := c.known(); f != nil {
		f.spread(i)
	}
	select {
	case <-i.gone: // it has ended in between, when nobody knew it
		c.ended(i)
	default:
	}
}

// failedToStart starts a version again later, if its policy says so.
func (c *cell) failedToStart(v *version, err error) {
	c.say("%s does not start: %v", v.name, err)
	if errors.Is(err, ErrStopping) || errors.Is(err, ErrCeiling) || errors.Is(err, context.Canceled) {
		return
	}
	v.mu.Lock()
	asleep := v.asleep
	v.mu.Unlock()
	if asleep {
		return // it was stopped meanwhile
	}
	c.again(v, capsid.Exit{Cause: capsid.Exited, Code: 1}, err.Error(), 0)
}

// ended notes the end of a process, and has it started again by policy.
func (c *cell) ended(i *instance) {
	v := i.version
	v.mu.Lock()
	at := slices.Index(v.instances, i)
	if at >= 0 {
		v.instances = slices.Delete(v.instances, at, at+1)
	}
	asleep := v.asleep
	v.mu.Unlock()
	if at < 0 {
		return // it was never ready, which its launch tells
	}
	c.node.network.Changed()
	c.node.audit.add("kernel", "ended", c.name, fmt.Sprintf("%v: %v", i, i.exit))
	c.say("%v ended after %v: %v", i, time.Since(i.since).Round(time.Millisecond), i.exit)
	if i.draining.Load() || asleep {
		return
	}
	if !i.exit.Success() {
		for _, text := range i.exit.Tail {
			c.node.log.Warn("last output", "cell", c.name, "line", text)
		}
	}
	c.again(v, i.exit, i.exit.String(), time.Since(i.since))
}

// again starts a version after a pause, if its policy says so. what is how it
// ended, or why it did not start.
func (c *cell) again(v *version, exit capsid.Exit, what string, lasted time.Duration) {
	v.mu.Lock()
	wait, why, ok := v.retry.next(&v.config, exit, lasted)
	if !ok {
		v.endPause()
	} else if !v.waiting {
		v.waiting, v.pause = true, make(chan struct{})
	}
	v.why = what + "; " + why
	if ok {
		v.why = fmt.Sprintf("%s; it is started again in %v", what, wait.Round(time.Millisecond))
	}
	v.failed = !ok && !exit.Success() && v.config.Restart != "never"
	v.asleep = !ok && !v.failed
	text, pause := v.why, v.pause
	v.mu.Unlock()
	if !ok {
		c.say("%s is not started again: %s", v.name, text)
		return
	}
	c.node.work.Go(func() {
		select {
		case <-time.After(wait):
		case <-c.node.ctx.Done():
			return
		}
		v.mu.Lock()
		still := v.waiting && v.pause == pause
		ours := slices.Contains(c.all(), v)
		if still && !ours {
			v.endPause() // whoever deploys it decides
		}
		v.mu.Unlock()
		if still && ours {
			c.restarts.Add(1)
			_, _ = c.begin(v, whoPolicy, what)
		}
	})
}

// sleep stops all processes of a version until a call or an operator wakes it.
// It returns when they have ended.
func (c *cell) sleep(v *version, who, why string) {
	v.mu.Lock()
	v.asleep, v.why = true, why
	v.endPause()
	s := v.starting
	v.mu.Unlock()
	if s != nil {
		<-s.done
	}
	c.drain(v.running(), who, why)
}

// drain has processes finish what they have begun, and ends them.
func (c *cell) drain(all []*instance, who, why string) {
	for _, i := range all {
		if i.leave() {
			c.node.audit.add(who, "stopped", c.name, fmt.Sprintf("%v: %s", i, why))
		}
		i.process.Stop(time.Duration(i.version.config.StopGrace))
	}
	for _, i := range all {
		<-i.gone
		c.ended(i) // unless that is done: operators who asked for it see no trace of it
	}
}

// wake lets a version that failed or was stopped be started again.
func (v *version) wake() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failed, v.asleep, v.stopped, v.retry, v.why = false, false, false, backoff{}, ""
	v.endPause()
}

// housekeep puts to sleep what nobody uses.
func (c *cell) housekeep(now time.Time) {
	versions := c.all()
	if v := versions[len(versions)-1]; v.lacks() {
		// Several ended at once, of which one start replaced too few.
		c.restarts.Add(1)
		_, _ = c.begin(v, whoPolicy, "processes are missing")
	}
	for n, v := range versions {
		after := time.Duration(v.config.VersionIdle)
		why := "an older version that nobody called for "
		if n == len(versions)-1 {
			after, why = time.Duration(v.config.Idle), "nobody was connected for "
		}
		idle := now.Sub(time.Unix(0, v.used.Load()))
		if v.callers() > 0 {
			v.used.Store(now.UnixNano())
			continue
		}
		running := v.running()
		if n == len(versions)-1 && len(running) <= v.config.Warm {
			continue // those stay ready
		}
		if after == 0 || idle < after || len(running) == 0 {
			continue
		}
		why += idle.Round(time.Millisecond).String()
		if n == len(versions)-1 && v.config.Warm > 0 {
			c.node.work.Go(func() { c.drain(running[v.config.Warm:], whoIdle, why) })
			continue
		}
		c.node.work.Go(func() { c.sleep(v, whoIdle, why) })
	}
}

// stop ends the cell for good. A deployment under way is given up.
func (c *cell) stop(who, why string) {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.cancel()
	if c.gate != nil {
		_ = c.gate.Close()
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	for _, v := range c.all() {
		c.sleep(v, who, why)
	}
	if f := c.known(); f != nil {
		f.close()
	}
}
