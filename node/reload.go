package node

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/node/config"
)

// Reload takes what can be changed of a new configuration: cells that are new
// or gone, and of others all that holds for processes started from now on. It
// returns what it did and what needs a restart, a sentence each, and beside it
// what went wrong: that is tried again by the next one. Before the node is ready,
// and once it stops, nothing is done.
func (n *Node) Reload(ctx context.Context, who string) (did []string, err error) {
	if n.load == nil {
		return nil, errors.New("node: there is no configuration to read again")
	}
	n.reloading.Lock()
	defer n.reloading.Unlock()
	select {
	case <-n.ready:
	default:
		return nil, errors.New("node: it is still starting its cells; reload when it is ready")
	}
	if n.halt.Err() != nil {
		return nil, ErrStopping
	}
	notify("RELOADING=1")
	defer notify("READY=1")
	next, err := n.load()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	before := n.config
	n.config.Cells = next.Cells
	n.mu.Unlock()
	for _, text := range unchangeable(before, next) {
		did = append(did, text+" can't be changed without a restart of the node")
	}
	n.slots.setMost(next.MaxCells)
	var failures []error
	for name, c := range next.Cells {
		text, err := n.reloadCell(name, c, who)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
		}
		if text != "" {
			did = append(did, text)
		}
	}
	for _, c := range n.list() {
		if _, stays := next.Cells[c.name]; !stays {
			c.stop(who, "it is gone from the configuration")
			n.mu.Lock()
			delete(n.cells, c.name)
			n.mu.Unlock()
			did = append(did, c.name+" is gone from the configuration and was stopped")
		}
	}
	if len(did) == 0 && len(failures) == 0 {
		did = append(did, "nothing has changed")
	}
	slices.Sort(did)
	err = errors.Join(failures...)
	why := strings.Join(did, "; ")
	if err != nil {
		why += fmt.Sprintf("; went wrong: %v", err)
	}
	n.audit.add(who, "reloaded", "", why)
	n.keep()
	return did, err
}

func unchangeable(before, next config.Config) (keys []string) {
	if before.RuntimeDir != next.RuntimeDir {
		keys = append(keys, "runtime_dir")
	}
	if before.Log != next.Log {
		keys = append(keys, "log")
	}
	if before.Engine != next.Engine {
		keys = append(keys, "engine")
	}
	if before.Operations != next.Operations {
		keys = append(keys, "operations")
	}
	if !sameNetwork(before.Network, next.Network) {
		keys = append(keys, "network")
	}
	if before.Raft != next.Raft {
		keys = append(keys, "raft")
	}
	if !reflect.DeepEqual(before.Devices, next.Devices) {
		keys = append(keys, "devices")
	}
	for name, c := range next.Cells {
		// Whom the socket lets in was settled when it was made.
		if old, ok := before.Cells[name]; ok && (len(old.Users) == 0) != (len(c.Users) == 0) {
			keys = append(keys, fmt.Sprintf("cells.%s.users, from or to nobody,", name))
		}
	}
	return keys
}

// reloadCell takes new settings of one cell. After an error those before hold.
func (n *Node) reloadCell(name string, settings config.Cell, who string) (did string, err error) {
	c, err := n.find(name)
	if err != nil {
		if err := n.add(name, settings, keptCell{}); err != nil {
			return "", err
		}
		if c, err = n.find(name); err == nil && settings.Start == "boot" {
			_, err = c.ensure(n.halt, c.current(), who, "it is new in the configuration")
		}
		return name + " is new", err
	}
	c.mu.Lock()
	before := c.config
	c.config = settings
	c.mu.Unlock()
	if reflect.DeepEqual(before, settings) {
		return "", nil
	}
	if did, err = c.renew(before, settings, who); err != nil {
		c.mu.Lock()
		c.config = before
		c.mu.Unlock()
	}
	return did, err
}

// renew has the cell run with new settings. Another command is a deployment like
// any other; a cell that does not run is not started for it, unless it has a
// front, which must know what can be called.
func (c *cell) renew(before, settings config.Cell, who string) (did string, err error) {
	next := newVersion(settings)
	if before.Start == settings.Start && c.exchange(next, who) {
		return c.name + " has new settings, for when it is started", nil
	}
	steps, err := c.deploy(c.ctx, deployment{version: next, who: who})
	if err != nil && len(steps) == 0 {
		return "", err
	}
	return fmt.Sprintf("%s has new settings: %v", c.name, steps), err
}

// exchange puts a version in the place of the only one, if no process of that
// is ready. A start under way comes to its end, and to nothing.
func (c *cell) exchange(next *version, who string) bool {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	old := c.versions[len(c.versions)-1]
	if c.front != nil || len(c.versions) > 1 || len(old.running()) > 0 {
		c.mu.Unlock()
		return false
	}
	c.versions = []*version{next}
	c.mu.Unlock()
	c.retire(old, who, "its settings have changed")
	return true
}
