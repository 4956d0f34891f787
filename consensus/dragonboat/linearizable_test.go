//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// processes are three members in processes of their own, and the wires between
// each two of them, in each direction.
type processes struct {
	members []*member
	wires   map[[2]int]*wire
}

func startProcesses(t *testing.T, ctx context.Context, broken bool) *processes {
	return startProcessesWith(t, ctx, func(c *memberConfig) { c.Broken = broken })
}

func startProcessesWith(t *testing.T, ctx context.Context, tune func(*memberConfig)) *processes {
	p := &processes{wires: make(map[[2]int]*wire)}
	dir := t.TempDir()
	var listen []string
	for range 3 {
		listen = append(listen, freeAddr(t))
	}
	for i := range 3 {
		c := memberConfig{Replica: i + 1, Dir: filepath.Join(dir, fmt.Sprint(i)), Listen: listen[i]}
		tune(&c)
		for j := range 3 {
			w := newWire(t, ctx, listen[j])
			p.wires[[2]int{i, j}] = w
			c.Peers = append(c.Peers, w.listener.Addr().String())
			t.Cleanup(func() { w.listener.Close() })
		}
		m := &member{t: t, config: c}
		m.start()
		p.members = append(p.members, m)
		t.Cleanup(m.kill)
	}
	return p
}

// fault does something bad for a while, and mends it.
func (p *processes) fault(r *rand.Rand) string {
	i, j := r.IntN(3), r.IntN(3)
	while := time.Duration(200+r.IntN(1800)) * time.Millisecond
	switch r.IntN(5) {
	case 0:
		p.members[i].kill()
		time.Sleep(while / 2)
		p.members[i].start()
		return "kill -9 of one"
	case 1:
		p.members[i].kill()
		p.members[(i+1)%3].kill()
		p.members[i].start()
		time.Sleep(while / 2)
		p.members[(i+1)%3].start()
		return "kill -9 of two"
	case 2:
		p.members[i].signal(syscall.SIGSTOP)
		time.Sleep(while)
		p.members[i].signal(syscall.SIGCONT)
		return "SIGSTOP"
	case 3: // one direction of one pair
		w := p.wires[[2]int{i, j}]
		w.blocked.Store(true)
		time.Sleep(while)
		w.blocked.Store(false)
		return "one-way partition"
	}
	for k := range 3 {
		p.wires[[2]int{i, k}].blocked.Store(true)
		p.wires[[2]int{k, i}].blocked.Store(true)
	}
	time.Sleep(while)
	for k := range 3 {
		p.wires[[2]int{i, k}].blocked.Store(false)
		p.wires[[2]int{k, i}].blocked.Store(false)
	}
	return "partition"
}

const (
	// maxTorture is for how long there are fresh keys, of which there are 256.
	maxTorture = 20 * time.Second
	// usualTorture is what every run of the tests takes.
	usualTorture = 8 * time.Second
)

// torture lets callers read and write while things go wrong, and returns what
// they saw, and the longest time without an acknowledged write.
func torture(t *testing.T, length time.Duration, broken bool, seed uint64) (h *history, gap time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := startProcesses(t, ctx, broken)
	h = &history{}
	for _, m := range p.members { // until all of them answer
		for deadline := time.Now().Add(time.Minute); ; {
			if _, a := m.do(call{}, 255); a == answered {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("a member does not answer")
			}
		}
	}
	until := time.Now().Add(length)
	var all sync.WaitGroup
	var lastWrite, longest atomic.Int64
	lastWrite.Store(time.Now().UnixNano())
	for c := range 6 {
		r := rand.New(rand.NewPCG(seed, uint64(c)))
		all.Go(func() {
			for time.Now().Before(until) {
				time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
				// A key lives for half a second, so that histories stay short.
				key := byte(int(time.Until(until)/(500*time.Millisecond))*6 + r.IntN(6))
				op := call{write: r.IntN(3) == 0, key: fmt.Sprint(key), value: h.value.Add(1)}
				h.do(c, op, func() (uint64, answer) { return p.members[r.IntN(3)].do(op, key) })
				if now := time.Now().UnixNano(); op.write {
					longest.Store(max(longest.Load(), now-lastWrite.Swap(now)))
				}
			}
		})
	}
	faults := make(map[string]int)
	for r := rand.New(rand.NewPCG(seed, 99)); time.Now().Before(until); time.Sleep(300 * time.Millisecond) {
		faults[p.fault(r)]++
	}
	all.Wait()
	t.Logf("%v, %d operations, %d answered", faults, len(h.ops), h.known)
	return h, time.Duration(longest.Load())
}

// TestHistoriesAreLinearizable: three processes, killed, stopped and cut off.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	length := usualTorture
	if testing.Short() {
		length = 5 * time.Second
	}
	if os.Getenv("CELL_SOAK") != "" {
		length = maxTorture
		for seed := range uint64(29) { // ten minutes
			h, _ := torture(t, length, false, seed+100)
			if verdict := h.judge(5 * time.Minute); verdict != porcupine.Ok {
				t.Fatalf("seed %d: %v", seed, verdict)
			}
		}
	}
	h, gap := torture(t, length, false, 1)
	t.Logf("longest time between two ends of writes: %v", gap.Round(time.Millisecond))
	if h.known < 100 {
		t.Errorf("only %d answers", h.known)
	}
	if verdict := h.judge(time.Minute); verdict != porcupine.Ok {
		t.Errorf("the history is %v", verdict)
	}
}

// TestStaleReadsAreFound is the control: with reads that ask nobody, the same
// test must fail.
func TestStaleReadsAreFound(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		h, _ := torture(t, 4*time.Second, true, seed)
		if h.judge(time.Minute) == porcupine.Illegal {
			return
		}
	}
	t.Error("stale reads were taken for linearizable ones")
}
