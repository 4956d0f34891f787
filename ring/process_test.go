package ring

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

func TestStartTimeOfStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654321 20 21"
	for _, v := range []struct {
		name, stat string
		want       uint32
		err        error
	}{
		{"plain", "42 (sh)" + tail, 987654321, nil},
		{"spaces and brackets in the name", "42 (a) b (c) 1 2)" + tail, 987654321, nil},
		{"above 32 bits", "42 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4294967301 20", 5, nil},
		{"empty", "", 0, errStat},
		{"no name", "42 sh S 1 2 3", 0, errStat},
		{"too short", "42 (sh) S 1 2 3", 0, errStat},
		{"no number", "42 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20", 0, errStat},
	} {
		t.Run(v.name, func(t *testing.T) {
			got, err := parseStart([]byte(v.stat))
			if got != v.want || !errors.Is(err, v.err) {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
}

func TestProcessGone(t *testing.T) {
	skipEmulated(t, "starts processes")
	cmd := exec.Command("/bin/cat")
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	start, err := processStart(pid)
	if err != nil || start == 0 {
		t.Fatal(start, err)
	}
	child := processID(pid, start)
	for name, v := range map[string]struct {
		id   uint64
		want bool
	}{
		"this process":                       {self(), false},
		"a living child":                     {child, false},
		"a child of unknown start":           {processID(pid, 0), false},
		"one that had the child's pid":       {processID(pid, start-1), true},
		"one that had the pid of init":       {processID(1, 1<<31), true},
		"one that had this pid":              {processID(os.Getpid(), startOf(self())-1), true},
		"a pid that the kernel never gives":  {processID(1<<30, 1), true},
		"a word that is no process, but bad": {processID(-1, 1), false},
	} {
		if got := processGone(v.id); got != v.want {
			t.Errorf("%s: gone = %v", name, got)
		}
	}
	closed(t, hold.Close())
	awaitZombie(t, pid)
	if !processGone(child) {
		t.Error("a zombie counts as alive")
	}
	_ = cmd.Wait()
	if !processGone(child) {
		t.Error("what nothing is left of counts as alive")
	}
}
