package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/uds"
)

// Bounds of the configuration.
const (
	maxProcesses = 4096
	maxInstances = 256
	maxVersions  = 16
)

// OpsName is the name under which a node itself listens.
const OpsName = "node.ops"

// RaftName and RaftPrefix are the names under which the node's member of a Raft
// cluster and its stores listen (package raftnode).
const (
	RaftName   = "raft"
	RaftPrefix = "kv."
)

// Reserved reports whether a name belongs to the node itself. No cell or device
// has it, and no other node serves it: who dials it means this host's.
func Reserved(name string) bool {
	return name == OpsName || name == RaftName || strings.HasPrefix(name, RaftPrefix)
}

// Check says what of a configuration can't be used: ErrConfig, all of it.
func (c Config) Check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrConfig, key, fmt.Sprintf(format, args...)))
	}
	if c.RuntimeDir != "" && !filepath.IsAbs(c.RuntimeDir) {
		bad("runtime_dir", "%q is not an absolute path", c.RuntimeDir)
	}
	if c.MaxCells < 1 || c.MaxCells > maxProcesses {
		bad("max_cells", "%d is not 1 to %d", c.MaxCells, maxProcesses)
	}
	oneOf(bad, "log.format", c.Log.Format, "text", "json")
	oneOf(bad, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	if _, err := engine.ParseIdle(c.Engine.Idle); err != nil {
		bad("engine.idle", "%v", err)
	}
	if c.Engine.CPU < -1 {
		bad("engine.cpu", "%d is neither a core nor -1 for none", c.Engine.CPU)
	}
	for key, address := range map[string]string{"operations.prometheus": c.Operations.Prometheus, "operations.web": c.Operations.Web} {
		if address == "" {
			continue
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			bad(key, "%q is no address such as 127.0.0.1:9464", address)
		} else if ip := net.ParseIP(host); !c.Operations.Public && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			bad(key, "%q can be reached by others; name a loopback address, or set operations.public", address)
		}
	}
	c.Network.check(bad)
	c.Raft.check(bad)
	for _, name := range sortedKeys(c.Cells) {
		c.Cells[name].check("cells."+name, name, bad)
	}
	c.checkDevices(bad)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func oneOf(bad func(key, format string, args ...any), key, value string, known ...string) {
	if !slices.Contains(known, value) {
		bad(key, "%q is not one of %s", value, strings.Join(known, ", "))
	}
}

// check holds one cell to its bounds.
func (c Cell) check(key, name string, bad func(key, format string, args ...any)) {
	if err := uds.ValidateName(name); err != nil {
		bad(key, "%v", err)
	}
	if Reserved(name) {
		bad(key, "the name is the node's own, as are %s, %s and %s…; choose another", OpsName, RaftName, RaftPrefix)
	}
	if len(c.Command) == 0 || !filepath.IsAbs(c.Command[0]) {
		bad(key+".command", "it must begin with the absolute path of a program")
	}
	oneOf(bad, key+".start", c.Start, "boot", "connect")
	oneOf(bad, key+".restart", c.Restart, "always", "failure", "never")
	oneOf(bad, key+".limits.missing", c.Limits.Missing, "refuse", "rlimits")
	if !c.Serves && (c.Start != "boot" || c.Schema != "" || c.Idle != 0) {
		bad(key+".serves", "who serves nothing can't be started by a call, idle, or have a schema")
	}
	if c.Capsid == "" {
		bad(key+".capsid", "name a backend; none is the one without walls")
	}
	for sub, n := range map[string]int{"instances": c.Instances - 1, "warm": c.Warm, "max_restarts": c.MaxRestarts} {
		if n < 0 || n >= maxInstances {
			bad(key+"."+sub, "out of bounds")
		}
	}
	if c.VersionsKept < 1 || c.VersionsKept > maxVersions {
		bad(key+".versions_kept", "%d is not 1 to %d", c.VersionsKept, maxVersions)
	}
	for sub, d := range map[string]Duration{"ready_timeout": c.ReadyTimeout, "stop_grace": c.StopGrace, "health_timeout": c.HealthTimeout,
		"backoff_min": c.BackoffMin, "backoff_max": c.BackoffMax - c.BackoffMin + 1} {
		if d <= 0 {
			bad(key+"."+sub, "it must be above 0, and backoff_max not below backoff_min")
		}
	}
	for sub, d := range map[string]Duration{"idle": c.Idle, "health_every": c.HealthEvery, "version_idle": c.VersionIdle} {
		if d < 0 {
			bad(key+"."+sub, "it must not be below 0")
		}
	}
	switch {
	case c.Cores < 0 || c.Cores > maxProcesses:
		bad(key+".cores", "%d is not 0 to %d", c.Cores, maxProcesses)
	case c.Cores > 0 && c.Limits.CPUSet != "":
		bad(key+".cores", "the node chooses them, and limits.cpuset names some; leave one of the two out")
	case c.Cores > 0 && c.Limits.Background:
		bad(key+".cores", "limits.background has the cell run in what time others leave, and there are no others; leave one of the two out")
	}
	if _, err := c.Spec(name).Settle(); err != nil && len(c.Command) > 0 {
		bad(key, "%v", err)
	}
}
