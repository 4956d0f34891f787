package node

import (
	"reflect"
	"slices"
	"testing"

	"github.com/cell-runtime/cell/node/config"
)

// Whoever reloads is told of every key that needs a restart; a key that is new
// in the configuration must be in this table.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	changes := map[string]struct {
		key    string // "": it can be changed
		change func(*config.Config)
	}{
		"RuntimeDir": {"runtime_dir", func(c *config.Config) { c.RuntimeDir = "/run/other" }},
		"MaxCells":   {"", func(c *config.Config) { c.MaxCells++ }},
		"Log":        {"log", func(c *config.Config) { c.Log.Level = "debug" }},
		"Engine":     {"engine", func(c *config.Config) { c.Engine.CPU = 1 }},
		"Operations": {"operations", func(c *config.Config) { c.Operations.Web = "127.0.0.1:1" }},
		"Network":    {"network", func(c *config.Config) { c.Network.Mode = "on" }},
		"Raft":       {"raft", func(c *config.Config) { c.Raft.Peers = "10.0.0.1:7000" }},
		"Cells":      {"", func(c *config.Config) { c.Cells = map[string]config.Cell{"a": config.DefaultCell()} }},
		"Devices":    {"devices", func(c *config.Config) { c.Devices = map[string]config.Device{"a": {Link: "serial"}} }},
	}
	for i := range reflect.TypeFor[config.Config]().NumField() {
		name := reflect.TypeFor[config.Config]().Field(i).Name
		t.Run(name, func(t *testing.T) {
			c, ok := changes[name]
			if !ok {
				t.Fatal("nothing says whether a reload can change it")
			}
			next := config.Default()
			c.change(&next)
			var want []string
			if c.key != "" {
				want = []string{c.key}
			}
			if got := unchangeable(config.Default(), next); !slices.Equal(got, want) {
				t.Errorf("needs a restart: %q, want %q", got, want)
			}
		})
	}
}
