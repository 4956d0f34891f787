package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/schema"
)

// probeConfig looks for what a configuration names: programs, descriptions,
// paths, cores, limits, devices. Without a configuration it has nothing to say.
func probeConfig(_ context.Context, n needs) (all []sched.Finding, err error) {
	if !n.given {
		return nil, nil
	}
	c := n.config
	cpus := sched.CPUSet{}
	topology, topologyErr := sched.Local().Topology()
	if topologyErr == nil {
		cpus = topology.Online
	}
	if c.Engine.CPU >= 0 && topologyErr == nil && !cpus.Has(c.Engine.CPU) {
		all = append(all, wanting("engine.cpu", "the node's engine is to run on a core that this host does not have",
			fmt.Sprintf("engine.cpu is %d, online are %v", c.Engine.CPU, cpus), "name one of those, or -1 for none"))
	}
	all = append(all, probeCores(c)...)
	if topologyErr == nil {
		all = append(all, probePlan(c, topology)...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Cells)) {
		all = append(all, probeCell("cells."+name, c.Cells[name], cpus)...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Devices)) {
		all = append(all, probeDevice("devices."+name, c.Devices[name])...)
	}
	if len(all) == 0 {
		all = []sched.Finding{{ID: "config", What: "what the configuration names is there",
			Evidence: fmt.Sprintf("%d cells and %d devices were looked at", len(c.Cells), len(c.Devices))}}
	}
	return all, topologyErr
}

// probeCores looks whether a core that the node's engine was given is its own.
func probeCores(c config.Config) []sched.Finding {
	if c.Engine.CPU < 0 {
		return nil
	}
	var sharing []string
	planned := slices.ContainsFunc(slices.Collect(maps.Values(c.Cells)), func(c config.Cell) bool { return c.Cores > 0 })
	for _, name := range slices.Sorted(maps.Keys(c.Cells)) {
		set, err := sched.ParseCPUList(c.Cells[name].Limits.CPUSet)
		if err == nil && (set.Empty() && !planned || set.Has(c.Engine.CPU)) {
			sharing = append(sharing, name)
		}
	}
	if len(sharing) == 0 {
		return nil
	}
	return []sched.Finding{{ID: "config.cores", Severity: sched.Warning, What: "the core of the node's engine is not its own: cells may run there and hold it up",
		Evidence: fmt.Sprintf("engine.cpu is %d, which the limits of %s leave open", c.Engine.CPU, strings.Join(sharing, ", ")),
		Fix:      "give those cells a limits.cpuset without it, or one cell cores of its own (cores = 1), which keeps all others off both"}}
}

// probePlan looks whether cells get the cores that they are to have for themselves.
func probePlan(c config.Config, t *sched.Topology) (all []sched.Finding) {
	p, err := node.CorePlan(c, t)
	if err != nil {
		return []sched.Finding{wanting("cores", "cells are to have cores of their own that this host can't give", err.Error(), "lower the cores of cells, or their instances")}
	}
	for _, text := range p.Warnings {
		all = append(all, sched.Finding{ID: "config.cores", Severity: sched.Warning, What: "the cores of cells are their own, but not undisturbed", Evidence: text,
			Fix: "see docs/TUNING.md"})
	}
	if len(p.Engines) > 0 {
		if err := capsid.CanLimit(capsid.Limits{CPUSet: p.Control.String()}); err != nil {
			all = append(all, wanting("cores", "cells can't be kept off each other's cores, so none is started", err.Error(), "mend capsid.cgroup"))
		}
	}
	return all
}

// wanting is the finding that something needed is missing.
func wanting(key, what, evidence, fix string) sched.Finding {
	return sched.Finding{ID: "config." + key, Severity: sched.Problem, What: what, Evidence: evidence, Fix: fix}
}

func probeCell(key string, c config.Cell, cpus sched.CPUSet) (all []sched.Finding) {
	want := func(part, what, fix string, err error) {
		if err != nil {
			all = append(all, wanting(key+"."+part, what, err.Error(), fix))
		}
	}
	mode := uint32(unix.X_OK)
	if c.Capsid == "wasm" {
		mode = unix.R_OK
	}
	want("command", "the cell's program can't be started", "build or install it, or correct "+key+".command", usable(c.Command[0], mode))
	if c.Schema != "" {
		text, err := os.ReadFile(c.Schema)
		if err == nil {
			_, err = schema.Parse(string(text))
		}
		want("schema", "the description that the cell is held to can't be read", "correct the file, or "+key+".schema", err)
	}
	for _, path := range slices.Concat(c.Files.ReadOnly, c.Files.ReadWrite) {
		want("files", "a path that the cell is to see is not there", "make it, or take it out of "+key+".files", usable(path, unix.F_OK))
	}
	if set, err := sched.ParseCPUList(c.Limits.CPUSet); c.Limits.CPUSet != "" && !cpus.Empty() {
		if err == nil && !set.Without(cpus).Empty() {
			err = fmt.Errorf("limits.cpuset is %v, online are %v", set, cpus)
		}
		want("limits.cpuset", "the cell is to run on cores that this host does not have", "correct "+key+".limits.cpuset", err)
	}
	if err := capsid.CanLimit(c.Spec("x").Limits); err != nil {
		f := wanting(key+".limits", "the cell's limits can't be set, so it is not started", err.Error(), "mend capsid.cgroup, or allow weaker ones: missing = \"rlimits\" in "+key+".limits")
		if c.Limits.Missing == "rlimits" {
			f.Severity, f.What, f.Fix = sched.Warning, "the cell's limits can't be set; resource limits of single processes stand in for them", "mend capsid.cgroup"
		}
		all = append(all, f)
	}
	return all
}

// usable says why a path can't be used as access asks (access(2)).
func usable(path string, access uint32) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case access == unix.X_OK && !st.Mode().IsRegular():
		return fmt.Errorf("%s is no file", path)
	case access == unix.X_OK && st.Mode()&0o111 == 0:
		return fmt.Errorf("%s has mode %04o and is no program", path, st.Mode().Perm())
	}
	if err := unix.Access(path, access); err != nil {
		return fmt.Errorf("%s (mode %04o): %w", path, st.Mode().Perm(), err)
	}
	return nil
}

func probeDevice(key string, d config.Device) []sched.Finding {
	switch {
	case d.Disabled:
	case d.Link == "serial":
		err := usable(d.Path, unix.R_OK|unix.W_OK)
		if errors.Is(err, os.ErrNotExist) {
			return []sched.Finding{{ID: "config." + key + ".path", Severity: sched.Warning, What: "the device's line is not there yet; the node waits for it",
				Evidence: err.Error(), Fix: "plug it in, or correct " + key + ".path (ls /dev/serial/by-id)"}}
		}
		if err != nil {
			return []sched.Finding{wanting(key+".path", "the device's line can't be opened", err.Error(), "add the node's user to the file's group (usermod -aG dialout USER)")}
		}
	case d.Link == "can":
		if _, err := net.InterfaceByName(d.Bus); err != nil {
			return []sched.Finding{wanting(key+".bus", "the device's bus is not there", fmt.Sprintf("%s: %v", d.Bus, err), "ip link set "+d.Bus+" up type can bitrate 500000, or correct "+key+".bus")}
		}
	}
	return nil
}
