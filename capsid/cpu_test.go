package capsid_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/capsidtest"
)

// What a limit of CPU time is to the kernel, read from the group of a cell that runs.
func TestCPULimits(t *testing.T) {
	needRoot(t)
	if err := capsid.CanLimit(capsid.Limits{CPU: 1}); err != nil {
		t.Skip(err)
	}
	for name, tc := range map[string]struct {
		limits    capsid.Limits
		max       string // quota and period
		v1, v2    string // share
		idle      string
		scheduled uint32
	}{
		"two CPUs":         {capsid.Limits{CPU: 2}, "20000 10000", "1024", "100", "0", unix.SCHED_NORMAL},
		"half a CPU":       {capsid.Limits{CPU: 0.5}, "5000 10000", "512", "50", "0", unix.SCHED_NORMAL},
		"a short quota":    {capsid.Limits{CPU: 0.1}, "1000 10000", "102", "10", "0", unix.SCHED_NORMAL},
		"a longer period":  {capsid.Limits{CPU: 0.03}, "1000 33333", "30", "3", "0", unix.SCHED_NORMAL},
		"the least":        {capsid.Limits{CPU: 0.01}, "1000 100000", "10", "2", "0", unix.SCHED_NORMAL},
		"behind others":    {capsid.Limits{CPU: 0.5, Background: true}, "5000 10000", "512", "50", "1", unix.SCHED_IDLE},
		"only behind them": {capsid.Limits{Background: true}, "", "", "", "", unix.SCHED_IDLE},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := open(t, "none").Start(t.Context(), capsid.Spec{Name: "measured", Command: capsidtest.Command("echo"), Limits: tc.limits})
			if err != nil {
				t.Fatal(err)
			}
			defer capsidtest.End(t, p)
			defer p.Kill(capsid.Killed, "it was looked at")
			attr, err := unix.SchedGetAttr(p.PID(), 0)
			if err != nil || attr.Policy != tc.scheduled {
				t.Errorf("policy %+v, %v; want %d", attr, err, tc.scheduled)
			}
			got := groupFiles("measured")
			share := got["cpu.shares"]
			if _, v2 := got["cpu.max"]; v2 {
				tc.v1, share = tc.v2, got["cpu.weight"]
			} else if got["cpu.cfs_quota_us"] != "" {
				got["cpu.max"] = got["cpu.cfs_quota_us"] + " " + got["cpu.cfs_period_us"]
			}
			if got["cpu.max"] != tc.max || got["cpu.idle"] != tc.idle || tc.v1 != "" && share != tc.v1 {
				t.Errorf("%v; want %+v", got, tc)
			}
		})
	}
}

// groupFiles are the files of the CPU group of a cell, by their name.
func groupFiles(cell string) map[string]string {
	files := map[string]string{}
	for _, dir := range capsidtest.Groups() {
		if !strings.HasPrefix(filepath.Base(dir), cell+".") {
			continue
		}
		for _, name := range []string{"cpu.max", "cpu.weight", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"} {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				files[name] = strings.TrimSpace(string(text))
			}
		}
		if text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "cpu.idle")); err == nil {
			files["cpu.idle"] = strings.TrimSpace(string(text)) // of the folder of all such cells
		}
	}
	return files
}
