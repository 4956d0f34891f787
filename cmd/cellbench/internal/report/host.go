package report

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	rtmetrics "runtime/metrics"
	"slices"
	"strconv"
	"strings"
)

// Host is what a result depends on beside Cell's code. A string that could not
// be learned is "unknown"; "none" means that the host has no such thing.
type Host struct {
	// Kernel is the release of the running kernel ("6.12.9").
	Kernel string `json:"kernel"`
	// Arch is GOARCH ("amd64").
	Arch string `json:"arch"`
	// CPU is the processor's own name for itself.
	CPU string `json:"cpu"`
	// CPUID tells models apart that a hypervisor gives the same name:
	// vendor, family, model, stepping; empty where there are none.
	CPUID string `json:"cpu_id"`
	// CPUs are the numbers of the CPUs that were used, in the order of the
	// roles (sender first); before a driver sets them, those allowed.
	CPUs []int `json:"cpus"`
	// Pinning says in words how threads were placed; empty if they were not.
	Pinning string `json:"pinning"`
	// CPUsOnline is how many CPUs the kernel runs on.
	CPUsOnline int `json:"cpus_online"`
	// CPUQuota is how many CPUs' worth of time the control group may use;
	// nil without a limit.
	CPUQuota *float64 `json:"cpu_quota"`
	// SMT: hardware threads share cores ("on", "off").
	SMT string `json:"smt"`
	// Governor is the frequency governor of the CPUs; several, where they
	// differ, are joined by commas.
	Governor string `json:"governor"`
	// Isolated and NoHZFull are the kernel's lists of CPUs that it keeps
	// itself off ("2-5").
	Isolated string `json:"isolated"`
	NoHZFull string `json:"nohz_full"`
	// Clock is the kernel's clock source ("tsc").
	Clock string `json:"clock"`
	// HugePages is the mode of transparent huge pages ("madvise").
	HugePages string `json:"huge_pages"`
	// Virtual and Container are hints: "none", or what was seen of them.
	Virtual   string `json:"virtual"`
	Container string `json:"container"`
	// Go is the toolchain ("go1.26.0").
	Go string `json:"go"`
	// GOMAXPROCS is how many threads ran Go code at once.
	GOMAXPROCS int `json:"gomaxprocs"`
	// GOGC is the garbage collector's percentage, or "off".
	GOGC string `json:"gogc"`
	// GOMEMLIMIT is the soft memory limit in bytes, or "off".
	GOMEMLIMIT string `json:"gomemlimit"`
	// GODEBUG is the environment variable, empty if unset.
	GODEBUG string `json:"godebug"`
	// Race: the race detector was compiled in; times mean nothing.
	Race bool `json:"race"`
	// PGO: compiled with a profile (-pgo).
	PGO bool `json:"pgo"`
	// Commit is the version control revision of cellbench.
	Commit string `json:"commit"`
	// Dirty: the working tree differed from Commit.
	Dirty bool `json:"dirty"`
}

const (
	unknown = "unknown"
	none    = "none"
)

// CollectHost looks at this host and process. It reads /proc and /sys, needs
// no privilege, and leaves "unknown" in place of what it can't read. Call it
// after GOMAXPROCS and the like are set. The caller sets CPUs and Pinning.
func CollectHost() Host {
	h := machine(os.DirFS("/"))
	h.Arch = runtime.GOARCH
	h.Go = runtime.Version()
	h.GOMAXPROCS = runtime.GOMAXPROCS(0)
	h.GOGC, h.GOMEMLIMIT = collector()
	h.GODEBUG = os.Getenv("GODEBUG")
	h.Race = raceEnabled
	h.PGO = profileGuided()
	h.Commit, h.Dirty = commit()
	return h
}

// collector reads the settings of the garbage collector without the side
// effects of runtime/debug's setters, which also miss the environment.
func collector() (gogc, limit string) {
	s := []rtmetrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	rtmetrics.Read(s)
	say := func(v rtmetrics.Value, off uint64) string {
		switch {
		case v.Kind() != rtmetrics.KindUint64:
			return unknown
		case v.Uint64() >= off:
			return "off"
		}
		return strconv.FormatUint(v.Uint64(), 10)
	}
	// A negative percentage, off, reads as a number near 2^64.
	return say(s[0].Value, math.MaxInt64), say(s[1].Value, math.MaxInt64)
}

// root is the file system from which a machine is described.
type root struct{ fs.FS }

// machine fills in what the kernel knows.
func machine(fsys fs.FS) Host {
	r := root{fsys}
	const cpuDir = "sys/devices/system/cpu"
	info := r.cpuInfo()
	h := Host{
		Kernel:    r.line("proc/sys/kernel/osrelease", unknown),
		CPU:       info.name,
		CPUID:     info.id,
		CPUs:      r.allowed(),
		CPUQuota:  r.quota(),
		Governor:  r.governor(cpuDir),
		Isolated:  r.line(cpuDir+"/isolated", none),
		NoHZFull:  r.line(cpuDir+"/nohz_full", none),
		Clock:     r.line("sys/devices/system/clocksource/clocksource0/current_clocksource", unknown),
		HugePages: chosen(r.line("sys/kernel/mm/transparent_hugepage/enabled", none)),
		Container: r.container(),
		Virtual:   r.virtual(info.hypervisor),
	}
	h.SMT = map[string]string{"0": "off", "1": "on"}[r.line(cpuDir+"/smt/active", "")]
	if h.SMT == "" {
		h.SMT = unknown
	}
	if h.NoHZFull == "(null)" { // what the kernel prints without the option
		h.NoHZFull = none
	}
	h.CPUsOnline = len(parseCPUs(r.line(cpuDir+"/online", "")))
	return h
}

// line returns the first line of a file without surrounding space, or absent
// if the file can't be read or is empty.
func (r root) line(name, absent string) string {
	b, err := fs.ReadFile(r, name)
	first, _, _ := strings.Cut(string(b), "\n")
	if first = strings.TrimSpace(first); err != nil || first == "" {
		return absent
	}
	return first
}

// chosen returns the word in brackets of "always [madvise] never".
func chosen(s string) string {
	if _, rest, ok := strings.Cut(s, "["); ok {
		if word, _, ok := strings.Cut(rest, "]"); ok {
			return word
		}
	}
	return s
}

type cpuInfo struct {
	name, id   string
	hypervisor bool
}

// cpuInfo reads the first processor of /proc/cpuinfo, whose keys depend on the
// architecture: "model name" on amd64, "CPU implementer" and "CPU part" on
// arm64, "vendor_id" and "machine" on s390x.
func (r root) cpuInfo() cpuInfo {
	b, _ := fs.ReadFile(r, "proc/cpuinfo")
	first := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if _, seen := first[key]; ok && !seen {
			first[key] = value
		}
		if i := strings.Index(value, "machine = "); i >= 0 && first["machine"] == "" {
			first["machine"] = value[i+len("machine = "):]
		}
	}
	var id []string
	for _, key := range []string{
		"vendor_id", "cpu family", "model", "stepping",
		"CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "machine",
	} {
		if v := first[key]; v != "" {
			id = append(id, v)
		}
	}
	info := cpuInfo{name: first["model name"], id: strings.Join(id, "-")}
	info.hypervisor = slices.Contains(strings.Fields(first["flags"]), "hypervisor")
	if info.name == "" {
		info.name = strings.TrimRight(r.line("proc/device-tree/model", ""), "\x00")
	}
	if info.name == "" {
		info.name = info.id
	}
	if info.name == "" {
		info.name = unknown
	}
	return info
}

// allowed returns the CPUs this process may run on.
func (r root) allowed() []int {
	b, _ := fs.ReadFile(r, "proc/self/status")
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return parseCPUs(strings.TrimSpace(list))
		}
	}
	return []int{}
}

// governor joins the different governors of all CPUs.
func (r root) governor(cpuDir string) string {
	names, _ := fs.Glob(r, cpuDir+"/cpu[0-9]*/cpufreq/scaling_governor")
	var found []string
	for _, n := range names {
		found = append(found, r.line(n, unknown))
	}
	if slices.Sort(found); len(found) == 0 {
		return none
	}
	return strings.Join(slices.Compact(found), ",")
}

// quota returns the tightest cpu.max (kernel: admin-guide/cgroup-v2) between
// this process's group and the root.
func (r root) quota() *float64 {
	group := "/"
	b, _ := fs.ReadFile(r, "proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		if g, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			group = path.Clean("/" + g)
		}
	}
	var least *float64
	for ; ; group = path.Dir(group) {
		var used, period float64
		n, err := fmt.Sscanf(r.line("sys/fs/cgroup"+strings.TrimSuffix(group, "/")+"/cpu.max", ""), "%g %g", &used, &period)
		if err == nil && n == 2 && period > 0 && (least == nil || used/period < *least) {
			least = new(used / period)
		}
		if group == "/" {
			return least
		}
	}
}

func (r root) virtual(flag bool) string {
	vendor := r.line("sys/class/dmi/id/sys_vendor", "")
	kind := r.line("sys/hypervisor/type", "")
	switch {
	case !flag && kind == "":
		return none
	case kind != "":
		return kind
	case vendor != "":
		return "vm (" + vendor + ")"
	}
	return "vm"
}

// container looks for what the usual runtimes leave in a file system.
func (r root) container() string {
	if s := r.line("run/systemd/container", ""); s != "" {
		return s
	}
	for _, hint := range []struct{ file, name string }{
		{".dockerenv", "docker"}, {"run/.containerenv", "podman"},
		{"var/run/secrets/kubernetes.io", "kubernetes"},
	} {
		if _, err := fs.Stat(r, hint.file); err == nil {
			return hint.name
		}
	}
	return none
}

// maxCPUs bounds what a list of CPUs may unfold to; the kernel's own bound
// (NR_CPUS) is 8192.
const maxCPUs = 8192

// parseCPUs unfolds the kernel's form of a set, "0-3,8"; nothing for nonsense.
func parseCPUs(list string) []int {
	cpus := []int{}
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		lo, err := strconv.Atoi(from)
		hi := lo
		if err == nil && isRange {
			hi, err = strconv.Atoi(to)
		}
		if err != nil || lo < 0 || hi >= maxCPUs {
			return []int{}
		}
		for c := lo; c <= hi; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus
}
