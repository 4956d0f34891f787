package sched

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Cgroup is what control groups, version 1, 2 or both at once, leave of the
// machine to this process: the tightest limit of its own group and of every
// group above it that can be seen.
type Cgroup struct {
	// Cpuset is the set of CPUs that threads may be put on; empty where there
	// is no cpuset, which limits nothing.
	Cpuset CPUSet
	// CpusetDir is the group that says so, "/sys/fs/cgroup/…"; "" for none.
	CpusetDir string
	// Quota is the CPU time that the group may burn, in CPUs: 2.5 is 250 ms
	// in each 100 ms. 0 means no limit.
	Quota float64
	// QuotaDir is the group that sets the quota; "" for none.
	QuotaDir string
	// QuotaPeriod is the period in microseconds over which the quota counts:
	// a thread that spent it sleeps for the rest.
	QuotaPeriod int64
	// Isolated are CPUs that an isolated cpuset partition (v2) took out of
	// the scheduler's balancing.
	Isolated CPUSet
}

// cgroupMount is one mounted hierarchy.
type cgroupMount struct {
	root    string // the group that is mounted, "/" unless bind-mounted
	point   string // where, without the leading slash
	v2      bool
	options []string // v1: the controllers among others
}

// Cgroup reads the limits of this process's control groups.
//
// Sources: cgroups(7); Documentation/admin-guide/cgroup-v2.rst and
// cgroup-v1/cpusets.rst; proc_pid_mountinfo(5).
func (h *Host) Cgroup() (Cgroup, error) {
	var g Cgroup
	mounts := cgroupMounts(h.str("proc/self/mountinfo"))
	membership := h.str("proc/self/cgroup")
	if err := h.cpuset(&g, groupDirs(mounts, membership, "cpuset")); err != nil {
		return Cgroup{}, err
	}
	for _, dir := range groupDirs(mounts, membership, "cpu") {
		quota, period, ok := h.quota(dir)
		if ok && (g.Quota == 0 || quota < g.Quota) {
			g.Quota, g.QuotaPeriod, g.QuotaDir = quota, period, "/"+dir
		}
	}
	for _, m := range mounts {
		if !m.v2 {
			continue
		}
		isolated, err := h.cpus(m.point + "/cpuset.cpus.isolated") // Linux 6.8, root group
		if err != nil {
			return Cgroup{}, err
		}
		g.Isolated = g.Isolated.Or(isolated)
	}
	return g, nil
}

// cpuset takes the effective set of the innermost group that has one: the
// kernel has already intersected it with the groups above.
func (h *Host) cpuset(g *Cgroup, dirs []string) error {
	for _, dir := range dirs {
		for _, name := range []string{"cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"} {
			s, err := h.cpus(dir + "/" + name)
			if err != nil {
				return err
			}
			if !s.Empty() {
				g.Cpuset, g.CpusetDir = s, "/"+dir
				return nil
			}
		}
	}
	return nil
}

// quota reads the bandwidth limit of one group, in CPUs and microseconds.
func (h *Host) quota(dir string) (cpus float64, period int64, ok bool) {
	var quota int64
	if f := strings.Fields(h.str(dir + "/cpu.max")); len(f) == 2 { // v2
		var errQ, errP error
		quota, errQ = strconv.ParseInt(f[0], 10, 64) // "max" is no number: no limit
		period, errP = strconv.ParseInt(f[1], 10, 64)
		ok = errQ == nil && errP == nil
	} else { // v1, where -1 is no limit
		var okP bool
		quota, ok = h.integer(dir + "/cpu.cfs_quota_us")
		period, okP = h.integer(dir + "/cpu.cfs_period_us")
		ok = ok && okP
	}
	if !ok || quota <= 0 || period <= 0 {
		return 0, 0, false
	}
	return float64(quota) / float64(period), period, true
}

// cgroupMounts finds the hierarchies in a mountinfo text.
func cgroupMounts(mountinfo string) []cgroupMount {
	var mounts []cgroupMount
	for line := range strings.SplitSeq(mountinfo, "\n") {
		head, tail, ok := strings.Cut(line, " - ")
		mount, kind := strings.Fields(head), strings.Fields(tail)
		if !ok || len(mount) < 5 || len(kind) < 3 || (kind[0] != "cgroup" && kind[0] != "cgroup2") {
			continue
		}
		mounts = append(mounts, cgroupMount{
			root:    unescapeMount(mount[3]),
			point:   strings.Trim(unescapeMount(mount[4]), "/"),
			v2:      kind[0] == "cgroup2",
			options: strings.Split(kind[2], ","),
		})
	}
	return mounts
}

// unescapeMount undoes the octal escapes that mountinfo uses in paths.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// groupDirs returns the directories of this process's group for a controller,
// innermost first, up to the mount point. A controller is attached to one
// version-1 hierarchy or, if to none, to version 2.
func groupDirs(mounts []cgroupMount, membership, controller string) []string {
	v2Group, inV2 := "", false
	for line := range strings.SplitSeq(membership, "\n") {
		f := strings.SplitN(line, ":", 3) // number:controllers:group
		if len(f) != 3 {
			continue
		}
		if f[1] == "" {
			v2Group, inV2 = f[2], true
		}
		if !slices.Contains(strings.Split(f[1], ","), controller) {
			continue
		}
		for _, m := range mounts {
			if !m.v2 && slices.Contains(m.options, controller) {
				return m.dirs(f[2])
			}
		}
		return nil
	}
	if inV2 {
		for _, m := range mounts {
			if m.v2 {
				return m.dirs(v2Group)
			}
		}
	}
	return nil
}

// dirs returns the directories from group up to the mount point.
func (m cgroupMount) dirs(group string) []string {
	// In a container the mount may show a group as its root. A group outside
	// of what is mounted ("/../…" seen from a cgroup namespace) is reached by
	// its lowest visible ancestor, the mount point.
	rel := strings.Trim(group, "/")
	if root := strings.Trim(m.root, "/"); root != "" {
		inside := rel == root || strings.HasPrefix(rel, root+"/")
		rel = strings.Trim(strings.TrimPrefix(rel, root), "/")
		if !inside {
			rel = ""
		}
	}
	if strings.HasPrefix(rel, "..") {
		rel = ""
	}
	var dirs []string
	for ; rel != "" && rel != "."; rel = path.Dir(rel) {
		dirs = append(dirs, m.point+"/"+rel)
	}
	return append(dirs, m.point)
}

// throttling tells how often the group with a quota was stopped, in words; ""
// where the kernel doesn't say.
func (h *Host) throttling(dir string) string {
	stat := strings.Fields(h.str(strings.Trim(dir, "/") + "/cpu.stat"))
	for i := 0; i+1 < len(stat); i += 2 {
		if stat[i] == "nr_throttled" {
			return fmt.Sprintf("throttled %s times so far", stat[i+1])
		}
	}
	return ""
}
