package capsid

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// EnvGroup names the environment variable that overrides below which control
// group of version 2 cells get theirs: an absolute path that is delegated to
// this process (systemd: Delegate=yes).
const EnvGroup = "CELL_CGROUP"

// hierarchies is where this process makes control groups: below its own in
// each hierarchy, in a folder "cell-node.PID.START.NAMESPACE" of its own, so that
// what a killed node has left can be told from what a living one uses. NAMESPACE
// is the pid namespace that the number counts in: of a node in another one nobody
// here knows whether it lives.
type hierarchies struct {
	mine   string
	serial atomic.Uint64
	making sync.RWMutex // held by who makes groups, and all of it by who removes their folder

	mu   sync.Mutex
	root string // where control groups are mounted
	self string // /proc/self/cgroup
	at   map[string]hierarchy
}

type hierarchy struct {
	dir string
	v2  bool
}

// places is found out once.
var places = sync.OnceValues(func() (*hierarchies, error) {
	st, err := readStat(os.Getpid())
	if err != nil {
		return nil, err
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	namespace, err := pidNamespace()
	if err != nil {
		return nil, err
	}
	return &hierarchies{
		mine: fmt.Sprintf("%s%d.%d.%d", nodePrefix, os.Getpid(), st.start, namespace),
		root: "/sys/fs/cgroup", self: string(self), at: map[string]hierarchy{},
	}, nil
})

const nodePrefix = "cell-node."

// pidNamespace returns the number of this process's pid namespace.
func pidNamespace() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0, fmt.Errorf("capsid: this process's pid namespace: %w", err)
	}
	return st.Ino, nil
}

// behind is the end of the name of the folder for cells in the background. They
// have one beside that of the others since whole folders take turns first: within one
// that is like others they would be behind nobody but each other.
const behind = ".background"

// of returns where groups with a controller are made, and makes that place.
func (p *hierarchies) of(controller string, background bool) (hierarchy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, name := controller, p.mine
	if background {
		key, name = key+behind, name+behind
	}
	if h, ok := p.at[key]; ok {
		return h, nil
	}
	parent, v2, err := p.find(controller)
	if err != nil {
		return hierarchy{}, err
	}
	_ = sweep(parent)
	h := hierarchy{dir: filepath.Join(parent, name), v2: v2}
	if err := p.prepare(parent, h, controller); err != nil {
		return hierarchy{}, err
	}
	p.at[key] = h
	return h, nil
}

// find returns the group of this process in the hierarchy that has the
// controller.
func (p *hierarchies) find(controller string) (dir string, v2 bool, err error) {
	for line := range strings.Lines(p.self) {
		// "4:memory:/a/b" in version 1, "0::/a/b" in version 2 (cgroups(7)).
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if slices.Contains(strings.Split(f[1], ","), controller) {
			// The path is seen from the root of the hierarchy, of which a
			// container may have only a part mounted.
			for _, dir := range []string{filepath.Join(p.root, controller, f[2]), filepath.Join(p.root, f[1], f[2]), filepath.Join(p.root, controller)} {
				if isDir(dir) {
					return dir, false, nil
				}
			}
			return "", false, mend("mount the control groups of version 1 there, or of version 2 (mount -t cgroup2 none "+p.root+"); in a container have its engine do so",
				"the hierarchy of it is not mounted below %s", p.root)
		}
		if f[0] == "0" && f[1] == "" {
			dir = f[2]
		}
	}
	if dir == "" {
		return "", false, mend("a kernel with control groups, and no cgroup_disable= at boot", "the kernel has no control groups for %s", controller)
	}
	return p.findV2(controller, dir)
}

func (p *hierarchies) findV2(controller, path string) (string, bool, error) {
	root := p.root
	if !exists(filepath.Join(root, "cgroup.controllers")) {
		root = filepath.Join(p.root, "unified")
	}
	dir := filepath.Join(root, path)
	if !isDir(dir) {
		dir = root
	}
	if env := os.Getenv(EnvGroup); env != "" {
		dir = env
	} else if filepath.Base(dir) == leaf && exists(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control")) {
		dir = filepath.Dir(dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return "", false, mend("mount -t cgroup2 none "+p.root+"; in a container have its engine do so", "no control groups of version 2 at %s: %w", dir, err)
	}
	if !slices.Contains(strings.Fields(string(text)), controller) {
		return "", false, mend(delegate, "not delegated to %s, which has %q", dir, strings.TrimSpace(string(text)))
	}
	return dir, true, nil
}

// leaf is where a node's own process goes in a group that it was given: a group
// with controllers for its children may have no process itself.
const leaf = "node"

// delegate is how a node that is not root comes by control groups.
const delegate = "under systemd set Delegate=yes for the unit (for a user's manager Delegate=cpu cpuset memory pids in /etc/systemd/system/user@.service.d/delegate.conf)"

// prepare makes the folder of this node's groups.
func (p *hierarchies) prepare(parent string, h hierarchy, controller string) error {
	if err := os.Mkdir(h.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		fix := "run the node as root, or " + delegate
		if errors.Is(err, unix.EROFS) {
			fix = "mount " + p.root + " writable: in a container podman run --systemd=always or docker run --privileged does, elsewhere mount -o remount,rw"
		}
		return mend(fix, "can't make a control group: %w", err)
	}
	if !h.v2 {
		if controller == "cpuset" {
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				text, err := os.ReadFile(filepath.Join(parent, file))
				if err == nil {
					err = writeGroup(filepath.Join(h.dir, file), strings.TrimSpace(string(text)))
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	}
	enable := func(dir string) error {
		return writeGroup(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
	}
	err := enable(parent)
	if errors.Is(err, unix.EBUSY) { // this process is in it
		own := filepath.Join(parent, leaf)
		if err = os.Mkdir(own, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			if err = moveOwn(parent, own); err == nil {
				err = enable(parent)
			}
		}
	}
	if err == nil {
		err = enable(h.dir)
	}
	if err != nil {
		return mend("have "+parent+" delegated to this process alone (systemd: Delegate=yes, DelegateSubgroup="+leaf+")", "can't be switched on: %w", err)
	}
	return nil
}

// moveOwn moves this process from one group of version 2 to another, and with it
// those below it that it has started there.
func moveOwn(from, to string) error {
	procs := filepath.Join(to, "cgroup.procs")
	if err := writeGroup(procs, strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	for _, pid := range strings.Fields(string(text)) {
		if n, e := strconv.Atoi(pid); e == nil && descends(n) {
			_ = writeGroup(procs, pid) // one that has ended is gone from there
		}
	}
	return err
}

// descends reports whether a process was started by this one, or by one that was.
func descends(pid int) bool {
	for pid > 1 && pid != os.Getpid() {
		st, err := readStat(pid)
		if err != nil {
			return false
		}
		pid = st.ppid
	}
	return pid > 1
}

// sweep removes the groups of nodes that are no more, and counts those that
// can't be removed yet: the kernel is not done with their processes. Those of
// living nodes aren't touched, for pid and start time name a process for ever, nor
// those of nodes in other pid namespaces.
func sweep(parent string) (busy int) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return 0
	}
	here, err := pidNamespace()
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, start, namespace, ok := parseNodeDir(e.Name())
		if !ok || namespace != here {
			continue
		}
		if st, err := readStat(pid); err == nil && st.start == start {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		cells, _ := os.ReadDir(dir)
		for _, c := range cells {
			if c.IsDir() {
				g := group{parts: []part{{dir: filepath.Join(dir, c.Name()), v2: exists(filepath.Join(dir, "cgroup.kill"))}}}
				g.kill()
				_ = unix.Rmdir(g.parts[0].dir)
			}
		}
		if err := unix.Rmdir(dir); errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) {
			busy++
		}
	}
	return busy
}

func parseNodeDir(name string) (pid int, start, namespace uint64, ok bool) {
	rest, found := strings.CutPrefix(name, nodePrefix)
	f := strings.Split(strings.TrimSuffix(rest, behind), ".")
	if !found || len(f) != 3 {
		return 0, 0, 0, false
	}
	pid, e1 := strconv.Atoi(f[0])
	start, e2 := strconv.ParseUint(f[1], 10, 64)
	namespace, e3 := strconv.ParseUint(f[2], 10, 64)
	return pid, start, namespace, errors.Join(e1, e2, e3) == nil && pid > 0
}

// Sweep removes what nodes have left which were killed: their control groups,
// and what bubblewrap had begun for them. It also removes the groups of this
// process that are empty. It returns how much could not be removed yet, since the
// kernel is still ending processes; call it again a little later. A node calls it
// at its start and at its end; the next one that starts cells removes groups by
// itself.
func Sweep() (busy int) {
	busy = sweepOrphans()
	p, err := places()
	if err != nil {
		return busy
	}
	p.making.Lock()
	defer p.making.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, controller := range []string{"memory", "pids", "cpu", "cpuset"} {
		if parent, _, err := p.find(controller); err == nil {
			busy += sweep(parent)
			// In version 2 the first controller's folder is that of all.
			for _, end := range []string{"", behind} {
				if err := unix.Rmdir(filepath.Join(parent, p.mine+end)); err == nil || errors.Is(err, unix.ENOENT) {
					delete(p.at, controller+end)
				}
			}
		}
	}
	return busy
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
