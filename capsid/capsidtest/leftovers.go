package capsidtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// leftovers is what a backend may leave behind: descriptors of this process,
// processes of the suite, control groups.
type leftovers struct {
	fds, groups int
	cells       []int
}

func snapshot() leftovers {
	return leftovers{fds: openDescriptors(), groups: len(Groups()), cells: Cells()}
}

// compare fails the test if there is more than before, after some patience:
// the kernel reaps and frees in its own time.
func (l leftovers) compare(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { // after the cells of the test have been ended
		var now leftovers
		for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
			if now = snapshot(); now.fds <= l.fds && now.groups <= l.groups && len(now.cells) <= len(l.cells) {
				return
			}
		}
		t.Errorf("left behind: before %+v, now %+v", l, now)
	})
}

func openDescriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// Cells returns the processes of this host that are cells of the suite, or
// bubblewrap that started one.
func Cells() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(line, []byte("\x00"+roleArg+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Groups returns the control groups on this host that capsids of this process
// have made.
func Groups() []string {
	var found []string
	mine := fmt.Sprintf("cell-node.%d.", os.Getpid())
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, mine) && strings.Count(path[strings.Index(path, mine):], "/") == 1 {
			found = append(found, path)
		}
		return nil
	})
	return found
}
