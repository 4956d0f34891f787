//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/lni/vfs"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// simNode is a member whose disk forgets at a power loss what was not synced.
type simNode struct {
	id   string
	disk *tornDisk
	mu   sync.Mutex
	life int // grows at each power loss
	g    consensus.Group
	h    *Host
}

// current returns the running replica, or nil, and which life it is of.
func (n *simNode) current() (consensus.Group, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.g, n.life
}

// world is three members in virtual time.
type world struct {
	net    *simNet
	nodes  []*simNode
	lying  bool // disks say that they have synced, and have not
	torn   bool // disks keep a part of what was not synced
	lulls  bool // callers are silent now and then for so long that the group rests
	losses int
	tune   func(o *Options)
}

// firstMembers are how many voters the group has; nodes beyond them join.
const firstMembers = 3

func (w *world) members() map[consensus.ReplicaID]consensus.NodeID {
	m := make(map[consensus.ReplicaID]consensus.NodeID)
	for i, n := range w.nodes[:firstMembers] {
		m[consensus.ReplicaID(i+1)] = consensus.NodeID(n.id)
	}
	return m
}

func (w *world) boot(i int) error {
	n := w.nodes[i]
	var disk vfs.FS = n.disk.MemFS
	switch {
	case w.lying:
		disk = withoutSync(disk)
	case w.torn:
		disk = vfs.Wrap(n.disk, noErrors{}) // dragonboat takes none but those of its own
	}
	o := Options{Node: consensus.NodeID(n.id), Dir: "/data", Tick: 100 * time.Millisecond, ElectionTicks: 10, fs: disk, transport: w.net}
	if w.tune != nil {
		w.tune(&o)
	}
	h, err := Open(o)
	if err != nil {
		return err
	}
	w.net.setCut(n.id, false)
	c := consensus.GroupConfig{Name: "power", Replica: consensus.ReplicaID(i + 1), Machines: consensustest.Memory(0), SnapshotEntries: 300, KeepEntries: 50}
	if i < firstMembers {
		c.Members = w.members()
	} else {
		c.Join, c.Role = true, consensus.NonVoter
	}
	g, err := h.Start(context.Background(), c)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.h, n.g = h, g
	return nil
}

// lose takes a node's power. From the first moment nothing leaves it and
// nothing reaches its disk: what it does until it is closed has not happened.
func (w *world) lose(i int, r *rand.Rand) error {
	n := w.nodes[i]
	if w.torn { // in the middle of a write, if there is one
		n.disk.light(1+r.IntN(8), func() {
			w.net.setCut(n.id, true)
			n.mu.Lock()
			n.life++
			n.mu.Unlock()
		})
		time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
	}
	n.mu.Lock()
	n.life++
	h := n.h
	n.h, n.g = nil, nil
	n.mu.Unlock()
	w.net.setCut(n.id, true)
	n.disk.lose()
	err := h.Close()
	w.losses++
	return errors.Join(err, n.disk.after(r))
}

// client reads and writes registers until the deadline, through any node.
func (w *world) client(h *history, id int, until time.Time, r *rand.Rand) {
	for time.Now().Before(until) {
		time.Sleep(time.Duration(r.IntN(600)) * time.Millisecond)
		if lull := time.Until(until) % time.Minute; w.lulls && lull > 15*time.Second {
			time.Sleep(lull - 15*time.Second)
		}
		n := w.nodes[r.IntN(len(w.nodes))]
		g, life := n.current()
		if g == nil {
			continue
		}
		// New keys from time to time, so that histories stay short.
		key := byte(time.Until(until)/(20*time.Second)*4) + byte(r.IntN(4))
		c := call{write: r.IntN(2) == 0, key: fmt.Sprint(int(time.Until(until)/(5120*time.Second)), key), value: h.value.Add(1)}
		h.do(id, c, func() (uint64, answer) {
			value, err := operate(g, c, key)
			if _, now := n.current(); now != life { // what a dead node said, nobody heard
				return 0, unknown
			}
			return value, answerOf(err)
		})
	}
}

func operate(g consensus.Group, c call, key byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	if c.write {
		_, err := consensus.Propose(ctx, g, consensustest.Command('=', key, c.value))
		return 0, err
	}
	answer, err := consensus.Query(ctx, g, key)
	if err != nil {
		return 0, err
	}
	return answer.(uint64), nil
}

// storm lets the power fail, of any subset of the nodes, until the deadline.
func (w *world) storm(until time.Time, r *rand.Rand) error {
	for time.Now().Before(until) {
		time.Sleep(time.Duration(2+r.IntN(18)) * time.Second)
		subset := 1 + r.IntN(1<<len(w.nodes)-1)
		if w.lulls {
			time.Sleep(time.Duration(r.IntN(30)) * time.Second)
			if r.IntN(2) == 0 { // a network that fails in silence
				w.cutOff(subset, time.Duration(r.IntN(15))*time.Second)
				continue
			}
		}
		for i := range w.nodes {
			if subset>>i&1 == 0 {
				continue
			}
			if err := w.lose(i, r); err != nil {
				return err
			}
		}
		time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		for i := range w.nodes {
			if subset>>i&1 == 1 {
				if err := w.boot(i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// add makes a node that was never started.
func (w *world) add() {
	w.nodes = append(w.nodes, &simNode{id: fmt.Sprintf("node-%d", len(w.nodes)), disk: newTornDisk(vfs.NewStrictMem())})
}

// found starts the first members.
func (w *world) found() error {
	w.net = newSimNet()
	for range firstMembers {
		w.add()
	}
	for i := range w.nodes {
		if err := w.boot(i); err != nil {
			return err
		}
	}
	return nil
}

// cutOff takes some nodes off the network for a while.
func (w *world) cutOff(subset int, while time.Duration) {
	for _, cut := range []bool{true, false} {
		for i, n := range w.nodes {
			if subset>>i&1 == 1 {
				w.net.setCut(n.id, cut)
			}
		}
		if cut {
			time.Sleep(while)
		}
	}
}

// simulate runs a world for some virtual time and returns what callers saw.
func simulate(w *world, length time.Duration, seed uint64) (*history, error) {
	if err := w.found(); err != nil {
		return nil, err
	}
	h := &history{}
	until := time.Now().Add(length)
	var all sync.WaitGroup
	for c := range 4 {
		all.Go(func() { w.client(h, c, until, rand.New(rand.NewPCG(seed, uint64(c)))) })
	}
	err := w.storm(until, rand.New(rand.NewPCG(seed, 99)))
	all.Wait()
	w.close()
	return h, err
}

func (w *world) close() {
	for _, n := range w.nodes {
		if n.h != nil {
			_ = n.h.Close()
		}
	}
}

const powerEnv = "CELL_RAFT_POWER" // "honest", "torn", "lulls" or "lying": this process is a simulation

// TestPowerLoss runs the whole stack on disks that forget, in virtual time. It
// runs as a process of its own, since Raft ends the process when it notices
// that it was lied to.
func TestPowerLoss(t *testing.T) {
	length := time.Hour
	if testing.Short() {
		length = 3 * time.Minute
	}
	if os.Getenv("CELL_SOAK") != "" {
		length = 10 * time.Hour
	}
	kind := os.Getenv(powerEnv)
	if kind == "torn" { // it takes longer: there is more to replay
		length /= 3
	}
	if kind == "" {
		t.Parallel()
		kinds := []string{"honest", "torn", "lying"}
		if os.Getenv("CELL_SOAK") != "" {
			kinds = append(kinds, "lulls")
		}
		for _, kind := range kinds {
			t.Run(kind, func(t *testing.T) { t.Parallel(); powerChild(t, kind) })
		}
		return
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		w := &world{lying: kind == "lying", torn: kind == "torn", lulls: kind == "lulls"}
		if w.lulls {
			w.tune = func(o *Options) { o.ElectionTicks = 5 } // it rests after 10 s
		}
		h, err := simulate(w, length, 7)
		if err != nil {
			t.Fatal("GAVE UP: ", err)
		}
		torn := 0
		for _, n := range w.nodes {
			torn += n.disk.torn
		}
		fmt.Printf("%v of virtual time, %d power losses, %d torn writes, %d operations, %d answered\n",
			time.Since(began).Round(time.Second), w.losses, torn, len(h.ops), h.known)
		if w.torn && torn == 0 {
			t.Fatal("no write was torn")
		}
		if h.known < len(h.ops)/4 {
			t.Fatal("hardly anything was answered")
		}
		if verdict := h.judge(0); verdict != porcupine.Ok {
			t.Fatal("VERDICT: ", verdict)
		}
	})
}

// powerChild runs a simulation and expects of it what its kind deserves.
func powerChild(t *testing.T, kind string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run", "^TestPowerLoss$", "-test.v", fmt.Sprintf("-test.short=%v", testing.Short()))
	cmd.Env = append(os.Environ(), powerEnv+"="+kind)
	out, err := cmd.CombinedOutput()
	text := string(out)
	if kind != "lying" {
		if err != nil {
			t.Errorf("disks that tell the truth, %s: %v\n%s", kind, err, text)
		}
		for line := range strings.Lines(text) {
			if strings.Contains(line, "virtual time") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	caught := strings.Contains(text, "VERDICT:  Illegal") || strings.Contains(text, "panic: ") || strings.Contains(text, "GAVE UP")
	for line := range strings.Lines(text) { // how
		if strings.Contains(line, "VERDICT") || strings.Contains(line, "panic: ") || strings.Contains(line, "GAVE UP") {
			t.Log(strings.TrimSpace(line))
			break
		}
	}
	if err == nil || !caught {
		t.Errorf("disks that lie were not noticed: %v\n%s", err, text)
	}
}
