//go:build !nodragonboat && !s390x

package dragonboat

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
	"github.com/cell-runtime/cell/internal/leash"
)

const idleEnv = "CELL_RAFT_IDLE" // JSON of idleConfig: this process has idle groups

// idleConfig is one of three processes with default settings.
type idleConfig struct {
	Replica, Groups int
	Dir             string
	Addrs           []string
}

// idleUse is what a process takes that does nothing, over ten seconds.
type idleUse struct {
	CPU       float64 // of a core
	Resident  int64   // bytes
	Heap      uint64
	Switches  int64 // of threads, a second
	Led       int   // groups
	Goroutine int
}

// TestIdleGroups measures what 256 groups take of which nothing is asked, in
// three processes with default settings, less what one takes. It needs the
// machine to itself, so it runs with CELL_SOAK alone. CELL_RAFT_PROFILE names a
// file for the profile of the first process.
func TestIdleGroups(t *testing.T) {
	if os.Getenv("CELL_SOAK") == "" {
		t.Skip("it needs the machine to itself: CELL_SOAK=1")
	}
	const groups, mostCPU, mostMemory = 256, 0.10, 1 << 20
	few, many := restOf(t, 1), restOf(t, groups)
	for i := range many {
		each := (many[i].Resident - few[i].Resident) / (groups - 1)
		t.Logf("process %d: %.1f %% of a core, %d KiB a group resident, heap %d KiB a group, %d switches a second, leads %d, %d goroutines; with one group %.1f %%, %d MiB",
			i+1, 100*many[i].CPU, each>>10, many[i].Heap/groups>>10, many[i].Switches, many[i].Led, many[i].Goroutine, 100*few[i].CPU, few[i].Resident>>20)
		if many[i].CPU > mostCPU || each > mostMemory {
			t.Errorf("process %d: at most %.0f %% and %d KiB are right", i+1, 100*mostCPU, mostMemory>>10)
		}
	}
}

// restOf returns what three processes take with so many groups.
func restOf(t *testing.T, groups int) (all []idleUse) {
	t.Helper()
	c := idleConfig{Groups: groups}
	for range 3 {
		c.Addrs = append(c.Addrs, consensustest.FreeAddr(t))
	}
	var outs []*bufio.Scanner
	var ins []io.Writer
	for i := range 3 {
		c.Replica, c.Dir = i+1, t.TempDir()
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.Stderr = append(os.Environ(), idleEnv+"="+string(text)), os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		l, err := leash.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			l.Release()
		}()
		outs, ins = append(outs, bufio.NewScanner(out)), append(ins, in)
	}
	line := func(i int) string {
		if !outs[i].Scan() {
			t.Fatalf("process %d ended", i+1)
		}
		return outs[i].Text()
	}
	for i := range outs {
		if got := line(i); got != "ready" {
			t.Fatal(got)
		}
	}
	for _, in := range ins {
		fmt.Fprintln(in, "measure")
	}
	for i := range outs {
		var u idleUse
		if err := json.Unmarshal([]byte(line(i)), &u); err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// idleMain starts groups, says "ready" when all have leaders, and measures when
// it is asked to.
func idleMain(text string) error {
	var c idleConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	members, addrs := map[consensus.ReplicaID]consensus.NodeID{}, map[consensus.NodeID]string{}
	for i, a := range c.Addrs {
		members[consensus.ReplicaID(i+1)] = nodeName(i + 1)
		addrs[nodeName(i+1)] = a
	}
	h, err := Open(Options{Node: nodeName(c.Replica), Dir: c.Dir, Listen: addrs[nodeName(c.Replica)], Insecure: true,
		Resolve: func(_ context.Context, n consensus.NodeID) (string, error) { return addrs[n], nil }})
	if err != nil {
		return err
	}
	var all []consensus.Group
	for i := range c.Groups {
		g, err := h.Start(context.Background(), consensus.GroupConfig{Name: fmt.Sprint(i), Replica: consensus.ReplicaID(c.Replica), Members: members, Machines: consensustest.Memory(0)})
		if err != nil {
			return err
		}
		all = append(all, g)
	}
	for _, g := range all {
		for g.ReadIndex(context.Background()) != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	fmt.Println("ready")
	if in := bufio.NewScanner(os.Stdin); !in.Scan() {
		return in.Err()
	}
	time.Sleep(20 * time.Second) // the groups rest
	u := measureRest(c)
	for _, g := range all {
		if g.Status().Leads() {
			u.Led++
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(u); err != nil {
		return err
	}
	time.Sleep(time.Minute) // until the test kills it
	return nil
}

// measureRest measures doing nothing.
func measureRest(c idleConfig) (u idleUse) {
	debug.FreeOSMemory()
	if name := os.Getenv("CELL_RAFT_PROFILE"); name != "" && c.Replica == 1 && c.Groups > 1 {
		if f, err := os.Create(name); err == nil {
			defer f.Close()
			if pprof.StartCPUProfile(f) == nil {
				defer pprof.StopCPUProfile()
			}
		}
	}
	const length = 10 * time.Second
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	time.Sleep(length)
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	u.CPU = float64(spent) / float64(length)
	u.Switches = (after.Nvcsw + after.Nivcsw - before.Nvcsw - before.Nivcsw) / int64(length/time.Second)
	u.Goroutine = runtime.NumGoroutine()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap = m.HeapAlloc
	b, _ := os.ReadFile("/proc/self/status")
	for l := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(l, "VmRSS: %d kB", &u.Resident); err == nil {
			u.Resident <<= 10
			break
		}
	}
	return u
}
