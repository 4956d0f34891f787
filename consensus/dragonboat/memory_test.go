//go:build !nodragonboat && !s390x

package dragonboat

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lni/vfs"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// A group's queues are allocated when it starts. Not beside other tests, whose
// memory would count.
func TestAGroupTakesLittleMemory(t *testing.T) {
	const groups, most = 16, 640 << 10 // the collector lets it grow to twice that
	h, err := Open(Options{Node: "a", Dir: "/data", fs: vfs.NewStrictMem(), transport: newSimNet(), Tick: time.Millisecond, ElectionTicks: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	before := inUse()
	var all []consensus.Group
	for i := range groups {
		c := consensus.GroupConfig{Name: fmt.Sprint(i), Replica: 1, Members: map[consensus.ReplicaID]consensus.NodeID{1: "a"}, Machines: consensustest.Memory(0)}
		g, err := h.Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	for _, g := range all {
		consensustest.Ready(t, g)
	}
	each := (inUse() - before) / groups
	t.Logf("%d KiB each", each>>10)
	if each > most {
		t.Errorf("a group takes %d KiB, at most %d are right: have dragonboat's variables other names?", each>>10, most>>10)
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
