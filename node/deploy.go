package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cell-runtime/cell/rpc"
)

// deployment is a version that is to take the place of others.
type deployment struct {
	version *version
	who     string
	watch   time.Duration // how long it must stay well before others go
}

// deploy starts a version beside the others, routes callers to it, watches it,
// and has those go whose callers it serves as well. When it isn't well, callers
// are led back and it goes itself. It returns what it did.
func (c *cell) deploy(ctx context.Context, d deployment) (did []string, err error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(errGoing) })()
	v, before := d.version, c.all()
	note := func(format string, args ...any) { did = append(did, fmt.Sprintf(format, args...)) }
	if _, err := c.ensure(ctx, v, d.who, "it was deployed"); err != nil {
		c.retire(v, d.who, "it did not become ready")
		c.node.audit.add(d.who, "refused", c.name, fmt.Sprintf("deploying %s: %v", v.name, err))
		return nil, fmt.Errorf("%s stays as it was: %w", c.name, err)
	}
	note("%s is ready", v.name)
	replaced, kept := sortOut(v, before, note)
	next := append(slices.Clone(kept), v)
	// All versions stay callable until the new one has proved itself.
	if err := c.lead(append(slices.Clone(before), v), len(kept) > 0); err != nil {
		c.retire(v, d.who, err.Error())
		return did, err
	}
	if err := c.watchOver(ctx, v, d.watch); err != nil {
		_ = c.lead(before, len(before) > 1)
		what := v.name + " was not well"
		if ctx.Err() != nil {
			what = fmt.Sprintf("the operator's time was up while %s was watched", v.name)
			if c.ctx.Err() != nil {
				what = "the deployment of " + v.name + " was given up"
			}
		}
		c.retire(v, d.who, what)
		c.node.audit.add(d.who, "returned", c.name, fmt.Sprintf("%s: %v", what, err))
		return did, fmt.Errorf("%s, so callers are back with %s: %w", what, before[len(before)-1].name, err)
	}
	for len(next) > v.config.VersionsKept {
		oldest := next[0]
		next = next[1:]
		replaced = append(replaced, oldest)
		note("%s goes: %d versions are kept (versions_kept)", oldest.name, v.config.VersionsKept)
	}
	if err := c.lead(next, len(next) > 1); err != nil {
		return did, err
	}
	c.node.keep()
	c.node.audit.add(d.who, "deployed", c.name, strings.Join(did, "; "))
	for _, old := range replaced {
		c.retire(old, d.who, "replaced by "+v.name)
		note("%s has drained and ended", old.name)
	}
	return did, nil
}

// sortOut says which of the versions before are served by a new one as well.
func sortOut(v *version, before []*version, note func(string, ...any)) (replaced, kept []*version) {
	for _, old := range before {
		missing := v.replaces(old)
		if len(missing) == 0 {
			replaced = append(replaced, old)
			note("it serves the callers of %s, which it replaces", old.name)
			continue
		}
		kept = append(kept, old)
		note("%s stays beside it: only that serves %s", old.name, strings.Join(missing, ", "))
	}
	return replaced, kept
}

// lead leads callers to the given versions, the last of which is the current
// one. by: by the front, since several versions have callers of their own.
func (c *cell) lead(versions []*version, by bool) error {
	if by || c.known() != nil {
		f, err := c.frontOf()
		if err != nil {
			return err
		}
		if err := f.route(placesOf(c, versions)); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.versions = versions
	c.mu.Unlock()
	c.node.network.Changed()
	c.node.reroute()
	return nil
}

// retire ends a version that nobody is led to, for good.
func (c *cell) retire(v *version, who, why string) {
	v.mu.Lock()
	v.replaced = true
	v.mu.Unlock()
	c.sleep(v, who, why)
}

// errGoing ends a deployment. It isn't ErrStopping, upon which clients try again.
var errGoing = errors.New("the cell is being stopped for good")

// watchPace is how often a new version is looked at.
const watchPace = 50 * time.Millisecond

// watchOver looks at a new version for a while, as a caller would.
func (c *cell) watchOver(ctx context.Context, v *version, d time.Duration) error {
	watched := v.running()
	if len(watched) == 0 {
		_, why := v.state()
		return fmt.Errorf("it ended: %s", why)
	}
	conns := make([]*rpc.Conn, len(watched))
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
		for n, i := range watched {
			if conns[n] != nil {
				i.links.Add(-1)
			}
		}
	}()
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-time.After(min(watchPace, time.Until(end))):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for n, i := range watched {
			select {
			case <-i.gone:
				return fmt.Errorf("%v ended: %v", i, i.exit)
			default:
			}
			if !v.config.Serves {
				continue
			}
			if err := i.ask(ctx, c.name, &conns[n], time.Duration(v.config.HealthTimeout)); err != nil {
				return fmt.Errorf("%v does not answer: %w", i, err)
			}
		}
	}
	return nil
}

// restart replaces the processes of the current version by new ones.
func (c *cell) restart(ctx context.Context, who string) ([]string, error) {
	v := c.current()
	next := newVersion(v.config)
	next.name = v.name
	return c.deploy(ctx, deployment{version: next, who: who})
}
