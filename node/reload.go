package node

import (
	"context"
	"fmt"
	"reflect"

	"github.com/cell-runtime/cell/node/config"
)

// reloadCell takes new settings of one cell. Another command is a deployment
// like any other.
func (n *Node) reloadCell(name string, settings config.Cell, who string) (did string, err error) {
	c, err := n.find(name)
	if err != nil {
		if err := n.add(name, settings); err != nil {
			return "", err
		}
		if c, err = n.find(name); err == nil && settings.Start == "boot" {
			_, err = c.ensure(n.ctx, c.current(), who, "it is new in the configuration")
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
	if before.Start == settings.Start && len(c.current().running()) == 0 {
		next := newVersion(settings)
		c.changing.Lock()
		defer c.changing.Unlock()
		c.mu.Lock()
		c.versions[len(c.versions)-1] = next
		c.mu.Unlock()
		return name + " has new settings, for when it is started", nil
	}
	steps, err := c.deploy(context.WithoutCancel(n.ctx), deployment{version: newVersion(settings), who: who})
	return fmt.Sprintf("%s has new settings: %v", name, steps), err
}
