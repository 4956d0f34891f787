package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

// tree makes a file system of names and contents.
func tree(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return fsys
}

func TestMachine(t *testing.T) {
	bare := Host{
		Kernel: unknown, CPU: unknown, CPUs: []int{}, SMT: unknown, Governor: none, Isolated: none,
		NoHZFull: none, Clock: unknown, HugePages: none, Virtual: none, Container: none,
	}
	with := func(change func(*Host)) Host {
		h := bare
		change(&h)
		return h
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Host
	}{
		{"nothing can be read", nil, bare},
		{"a server", map[string]string{
			"proc/sys/kernel/osrelease": "6.12.9\n",
			"proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Intel(R) Xeon(R) 8480+\nstepping\t: 8\nflags\t\t: fpu sse\n\n" +
				"processor\t: 1\nmodel name\t: another\n",
			"proc/self/status":                                                "Name:\tx\nCpus_allowed_list:\t0-2,8\n",
			"sys/devices/system/cpu/online":                                   "0-111\n",
			"sys/devices/system/cpu/isolated":                                 "2-5\n",
			"sys/devices/system/cpu/nohz_full":                                "2-5\n",
			"sys/devices/system/cpu/smt/active":                               "1\n",
			"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor":            "performance\n",
			"sys/devices/system/cpu/cpu1/cpufreq/scaling_governor":            "powersave\n",
			"sys/devices/system/cpu/cpu2/cpufreq/scaling_governor":            "performance\n",
			"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
			"sys/kernel/mm/transparent_hugepage/enabled":                      "always [madvise] never\n",
		}, with(func(h *Host) {
			h.Kernel, h.CPU, h.CPUID = "6.12.9", "Intel(R) Xeon(R) 8480+", "GenuineIntel-6-143-8"
			h.CPUs, h.CPUsOnline, h.SMT = []int{0, 1, 2, 8}, 112, "on"
			h.Governor, h.Isolated, h.NoHZFull = "performance,powersave", "2-5", "2-5"
			h.Clock, h.HugePages = "tsc", "madvise"
		})},
		{"a container with a quota in a virtual machine", map[string]string{
			"proc/cpuinfo":                           "model name\t: AMD EPYC\nflags\t\t: fpu hypervisor sse\n",
			"proc/self/cgroup":                       "0::/kubepods/pod1/c1\n",
			"sys/fs/cgroup/cpu.max":                  "max 100000\n",
			"sys/fs/cgroup/kubepods/pod1/cpu.max":    "150000 100000\n",
			"sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "400000 100000\n",
			"sys/class/dmi/id/sys_vendor":            "QEMU\n",
			"sys/devices/system/cpu/smt/active":      "0\n",
			"sys/devices/system/cpu/nohz_full":       "  (null)\n",
			"run/.containerenv":                      "",
		}, with(func(h *Host) {
			h.CPU, h.CPUQuota, h.SMT = "AMD EPYC", new(1.5), "off"
			h.Virtual, h.Container = "vm (QEMU)", "podman"
		})},
		{"an arm64 board", map[string]string{
			"proc/cpuinfo":           "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd0b\nCPU revision\t: 1\n",
			"proc/device-tree/model": "Example Board Rev 1.1\x00",
		}, with(func(h *Host) { h.CPU, h.CPUID = "Example Board Rev 1.1", "0x41-8-0x1-0xd0b-1" })},
		{"an s390x machine", map[string]string{
			"proc/cpuinfo": "vendor_id       : IBM/S390\nprocessor 0: version = 00,  identification = 0123,  machine = 8561\n",
		}, with(func(h *Host) { h.CPU, h.CPUID = "IBM/S390-8561", "IBM/S390-8561" })},
		{"nonsense everywhere", map[string]string{
			"proc/cpuinfo":                  ":::\n\xff\xfe:\n",
			"proc/self/status":              "Cpus_allowed_list:\t9-3,x\n",
			"proc/self/cgroup":              "0::/../../..\n0:\n",
			"sys/fs/cgroup/cpu.max":         "1 0\n",
			"sys/devices/system/cpu/online": "0-99999999\n",
		}, bare},
	} {
		if got := machine(tree(c.files)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestCollectHostKnowsThisHost(t *testing.T) {
	h := CollectHost()
	if h.Kernel == unknown || h.CPU == unknown || len(h.CPUs) == 0 || h.CPUsOnline == 0 {
		t.Errorf("the kernel was not asked: %+v", h)
	}
	if h.Go != runtime.Version() || h.GOMAXPROCS != runtime.GOMAXPROCS(0) || h.Arch != runtime.GOARCH {
		t.Errorf("the runtime was not asked: %+v", h)
	}
}

func TestCollectorFollowsTheSettings(t *testing.T) {
	percent, limit := debug.SetGCPercent(250), debug.SetMemoryLimit(-1)
	defer debug.SetGCPercent(percent)
	defer debug.SetMemoryLimit(limit)
	debug.SetMemoryLimit(1 << 40)
	if gogc, memory := collector(); gogc != "250" || memory != "1099511627776" {
		t.Errorf("GOGC %s, GOMEMLIMIT %s", gogc, memory)
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1<<63 - 1)
	if gogc, memory := collector(); gogc != "off" || memory != "off" {
		t.Errorf("GOGC %s, GOMEMLIMIT %s, want off", gogc, memory)
	}
}

func TestStampedRevision(t *testing.T) {
	vcs := func(revision, modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
	}
	for _, c := range []struct {
		name  string
		info  debug.BuildInfo
		want  string
		dirty bool
	}{
		{"stamped by go build", debug.BuildInfo{Settings: vcs("abc", "false")}, "abc", false},
		{"stamped and changed", debug.BuildInfo{Settings: vcs("abc", "true")}, "abc", true},
		{"go run of a commit", debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-20260102150405-0123456789ab"}}, "0123456789ab", false},
		{"a commit after a tag, changed", debug.BuildInfo{Main: debug.Module{Version: "v1.2.4-0.20260102150405-0123456789ab+dirty"}}, "0123456789ab", true},
		{"go run of a tag", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3", false},
		{"go run in a tree", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "", false},
	} {
		if got, dirty := stamped(&c.info); got != c.want || dirty != c.dirty {
			t.Errorf("%s: got %q, %v", c.name, got, dirty)
		}
	}
}

func TestCheckedOutRevision(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		full := append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)
		if out, err := exec.Command("git", full...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := checkedOut(dir); got != "" {
		t.Errorf("outside of a repository: %q", got)
	}
	run("init", "-q")
	put("module " + modulePath + "\n")
	if got, _ := checkedOut(dir); got != "" {
		t.Errorf("without a commit: %q", got)
	}
	run("add", "go.mod")
	run("commit", "-q", "-m", "first")
	if got, dirty := checkedOut(dir); len(got) != 40 || dirty {
		t.Errorf("clean: %q, %v", got, dirty)
	}
	put("module " + modulePath + "\n\ngo 1.26\n")
	if got, dirty := checkedOut(dir); len(got) != 40 || !dirty {
		t.Errorf("changed: %q, %v", got, dirty)
	}
	put("module example.com/other\n")
	if got, _ := checkedOut(dir); got != "" {
		t.Errorf("in someone else's repository: %q", got)
	}
}
