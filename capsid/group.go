package capsid

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// group is the control groups of one cell, one in each hierarchy that a limit
// needs; nil is none. Its methods belong to one goroutine at a time, except
// kill and read.
type group struct {
	parts []part
	joins []*os.File // what the shim writes to, to join
}

// part is the group in one hierarchy.
type part struct {
	dir         string
	v2          bool
	controllers []string // the controllers that it is there for
}

// newGroup makes the control groups that the limits of s need. It returns nil
// where none is needed, or none can be had and the Spec allows that: then the
// sentences say what is missing.
func newGroup(s Spec) (g *group, degraded []string, err error) {
	need := s.Limits.needsGroup()
	if len(need) == 0 {
		return nil, nil, nil
	}
	places, err := places()
	if err == nil {
		g, err = places.make(s, need)
	}
	if err == nil {
		return g, nil, nil
	}
	if s.Limits.Missing == Rlimits {
		return nil, []string{fmt.Sprintf("no control group for %s, resource limits of single processes in its place: %v", strings.Join(need, ", "), err)}, nil
	}
	return nil, nil, fmt.Errorf("%w: limits of %s need control groups: %w; or set Limits.Missing", ErrUnavailable, strings.Join(need, ", "), err)
}

// make makes the groups of one cell and sets its limits.
func (p *hierarchies) make(s Spec, need []string) (_ *group, err error) {
	g := &group{}
	defer func() {
		if err != nil {
			_ = g.remove()
		}
	}()
	p.making.RLock()
	defer p.making.RUnlock()
	name := fmt.Sprintf("%s.%d", s.Name, p.serial.Add(1))
	for _, controller := range need {
		h, err := p.of(controller, s.Limits.Background)
		if err == nil && s.Limits.Background {
			err = h.putBehind()
		}
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(h.dir, name)
		i := 0
		for i < len(g.parts) && g.parts[i].dir != dir {
			i++
		}
		if i == len(g.parts) {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return nil, err
			}
			g.parts = append(g.parts, part{dir: dir, v2: h.v2})
		}
		g.parts[i].controllers = append(g.parts[i].controllers, controller)
		if err := g.parts[i].limit(controller, s.Limits); err != nil {
			return nil, err
		}
	}
	for _, d := range g.parts {
		file := "tasks"
		if d.v2 {
			file = "cgroup.procs"
		}
		f, err := os.OpenFile(filepath.Join(d.dir, file), os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		g.joins = append(g.joins, f)
	}
	return g, nil
}

// limit sets the limits of one controller.
//
// Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
func (d part) limit(controller string, l Limits) error {
	set := func(file, value string) error { return writeGroup(filepath.Join(d.dir, file), value) }
	switch {
	case controller == "memory" && d.v2:
		// Without the second one a cell could go on in swap; it is missing
		// where the kernel has none.
		return errors.Join(set("memory.max", strconv.FormatInt(l.Memory, 10)), ifThere(set("memory.swap.max", "0")), set("memory.oom.group", "1"))
	case controller == "memory":
		n := strconv.FormatInt(l.Memory, 10)
		return errors.Join(set("memory.limit_in_bytes", n), ifThere(set("memory.memsw.limit_in_bytes", n)))
	case controller == "pids":
		return set("pids.max", strconv.Itoa(l.Processes))
	case controller == "cpu":
		return d.limitCPU(l)
	case controller == "cpuset":
		if !d.v2 { // version 1 begins empty, and admits nobody before both are set
			mems, err := os.ReadFile(filepath.Join(filepath.Dir(d.dir), "cpuset.mems"))
			if err == nil {
				err = set("cpuset.mems", strings.TrimSpace(string(mems)))
			}
			if err != nil {
				return err
			}
		}
		return set("cpuset.cpus", l.CPUSet)
	}
	return fmt.Errorf("%w: there is no controller %q", ErrSpec, controller)
}

// ifThere forgives a file that the kernel does not have.
func ifThere(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func writeGroup(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	err = errors.Join(err, f.Close())
	if err != nil {
		return fmt.Errorf("writing %q to %s: %w", value, file, err)
	}
	return nil
}

// files are what the shim joins by.
func (g *group) files() []*os.File {
	if g == nil {
		return nil
	}
	return g.joins
}

// started closes them: nobody else is to join.
func (g *group) started() {
	if g == nil {
		return
	}
	for _, f := range g.joins {
		f.Close()
	}
	g.joins = nil
}

// kill kills all processes of the group.
func (g *group) kill() {
	if g == nil {
		return
	}
	for _, d := range g.parts {
		if d.v2 && writeGroup(filepath.Join(d.dir, "cgroup.kill"), "1") == nil {
			return
		}
	}
	// Members may start others meanwhile: until none is left.
	for range 100 {
		text, err := os.ReadFile(filepath.Join(g.parts[0].dir, "cgroup.procs"))
		pids := strings.Fields(string(text))
		if err != nil || len(pids) == 0 {
			return
		}
		for _, text := range pids {
			if pid, err := strconv.Atoi(text); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// read adds what the group has counted, and reports whether there is one that
// counts memory.
func (g *group) read(u *Usage) (memory bool) {
	if g == nil {
		return false
	}
	for _, d := range g.parts {
		for _, controller := range d.controllers {
			d.count(controller, u)
			memory = memory || controller == "memory"
		}
	}
	return memory
}

func (d part) count(controller string, u *Usage) {
	number := func(file string) int64 {
		text, _ := os.ReadFile(filepath.Join(d.dir, file))
		n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return n
	}
	keyed := func(file, key string) int64 {
		text, _ := os.ReadFile(filepath.Join(d.dir, file))
		return keyedNumber(string(text), key)
	}
	switch {
	case controller == "memory" && d.v2:
		u.Memory, u.PeakMemory = number("memory.current"), max(u.PeakMemory, number("memory.peak"))
		u.OutOfMemory = keyed("memory.events", "oom_kill")
	case controller == "memory":
		u.Memory, u.PeakMemory = number("memory.usage_in_bytes"), number("memory.max_usage_in_bytes")
		u.OutOfMemory = keyed("memory.oom_control", "oom_kill")
	case controller == "pids":
		u.Processes, u.ProcessLimit = int(number("pids.current")), keyed("pids.events", "max")
	case controller == "cpu" && d.v2:
		u.Throttled = time.Duration(keyed("cpu.stat", "throttled_usec")) * time.Microsecond
	case controller == "cpu":
		u.Throttled = time.Duration(keyed("cpu.stat", "throttled_time"))
	}
}

// keyedNumber reads a file of lines "key number".
func keyedNumber(text, key string) int64 {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// removeTries and removePace: a group is busy until the kernel has done away
// with its last process, which is soon after that process's end.
const (
	removeTries = 200
	removePace  = 5 * time.Millisecond
)

// remove removes the groups.
func (g *group) remove() error {
	if g == nil {
		return nil
	}
	g.started()
	var failed error
	for _, d := range g.parts {
		var err error
		for range removeTries {
			if err = unix.Rmdir(d.dir); !errors.Is(err, unix.EBUSY) {
				break
			}
			g.kill()
			time.Sleep(removePace)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			failed = errors.Join(failed, fmt.Errorf("the control group %s can't be removed: %w", d.dir, err))
		}
	}
	return failed
}
