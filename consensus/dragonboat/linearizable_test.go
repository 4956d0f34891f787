//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cell-runtime/cell/consensus/consensustest"
)

// processes are three members in processes of their own, and the wires between
// each two of them, in each direction.
type processes struct {
	members []*member
	wires   map[[2]int]*wire
}

// setup says what is unusual about members.
type setup struct {
	tune   func(i int, c *memberConfig)
	listen func(i int) string   // default: a free address of loopback, reached by wires
	prefix func(i int) []string // of their command lines
}

func startProcesses(t *testing.T, ctx context.Context, s setup) *processes {
	p := &processes{wires: make(map[[2]int]*wire)}
	dir := t.TempDir()
	var listen []string
	for i := range 3 {
		if s.listen != nil {
			listen = append(listen, s.listen(i))
		} else {
			listen = append(listen, consensustest.FreeAddr(t))
		}
	}
	for i := range 3 {
		c := memberConfig{Replica: i + 1, Dir: filepath.Join(dir, fmt.Sprint(i)), Listen: listen[i]}
		if s.tune != nil {
			s.tune(i, &c)
		}
		for j := range 3 {
			if c.Direct {
				c.Peers = append(c.Peers, listen[j])
				continue
			}
			w := newWire(t, ctx, listen[j])
			p.wires[[2]int{i, j}] = w
			c.Peers = append(c.Peers, w.listener.Addr().String())
			t.Cleanup(func() { w.listener.Close() })
		}
		m := &member{t: t, config: c}
		if s.prefix != nil {
			m.prefix = s.prefix(i)
		}
		m.start()
		p.members = append(p.members, m)
		t.Cleanup(m.kill)
	}
	return p
}

// round is how long one history is: there are fresh keys for so long, of which
// there are 256, and porcupine judges it within a second or two.
const round = 20 * time.Second

const (
	// enough answers say something about a history. However slow the host is, callers
	// go on until they have them, for the last keys.
	enough = 100
	// overtime is for how long they go on at most.
	overtime = 3 * time.Minute
	// judging is how long a verdict may take, which is there within a second or two
	// on a host that has nothing else to do.
	judging = 5 * time.Minute
)

// torture lets callers read and write while things go wrong, and returns what
// they saw, and the longest time without an acknowledged write. Its length, and its
// patience, are of the time that this process runs. It lasts longer where there are
// not enough answers by then, or seen, if it isn't nil, is not true yet.
func torture(t *testing.T, length time.Duration, s setup, faults []fault, seed uint64, seen func() bool) (h *history, gap time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := startProcesses(t, ctx, s)
	defer func() {
		for _, m := range p.members {
			m.kill()
		}
	}()
	h = &history{}
	clock := startPulse(ctx)
	for i, m := range p.members { // until all of them answer
		for {
			if _, a := m.do(call{}, 252); a == answered {
				break
			}
			if clock.elapsed() > 3*time.Minute {
				t.Fatalf("member %d does not answer", i+1)
			}
		}
	}
	begun, began := clock.elapsed(), time.Now()
	left := func() time.Duration { return length - (clock.elapsed() - begun) }
	goesOn := func() bool {
		return left() > 0 || left() > -overtime && (h.answers() < enough || seen != nil && !seen())
	}
	var all sync.WaitGroup
	var lastWrite, longest atomic.Int64
	lastWrite.Store(time.Now().UnixNano())
	for c := range 6 {
		r := rand.New(rand.NewPCG(seed, uint64(c)))
		all.Go(func() {
			for goesOn() {
				time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
				// A key lives for half a second, so that histories stay short.
				key := byte(int(max(0, left())/(500*time.Millisecond))*6 + r.IntN(6))
				op := call{write: r.IntN(3) == 0, key: fmt.Sprint(key), value: h.value.Add(1)}
				h.do(c, op, func() (uint64, answer) {
					got, a := p.members[r.IntN(3)].do(op, key)
					if now := time.Now().UnixNano(); op.write && a == answered {
						longest.Store(max(longest.Load(), now-lastWrite.Swap(now)))
					}
					return got, a
				})
			}
		})
	}
	happened := make(map[string]int)
	for r := rand.New(rand.NewPCG(seed, 99)); goesOn(); time.Sleep(300 * time.Millisecond) {
		f := faults[r.IntN(len(faults))]
		f.do(p, r.IntN(3), r.IntN(3), time.Duration(200+r.IntN(1800))*time.Millisecond)
		happened[f.name]++
	}
	all.Wait()
	t.Logf("%v, %d operations, %d answered, in %v, of which this process ran %v",
		happened, len(h.ops), h.known, time.Since(began).Round(time.Millisecond), clock.elapsed()-begun)
	return h, time.Duration(longest.Load())
}

// TestHistoriesAreLinearizable: three processes, killed, stopped and cut off,
// with clocks that jump and disks that take nothing: for a minute, or ten with
// CELL_SOAK. Every write that was acknowledged is there, since a read that
// misses it makes the history illegal.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	rounds, length := 3, round
	if testing.Short() {
		rounds, length = 1, 5*time.Second
	}
	if os.Getenv("CELL_SOAK") != "" {
		rounds = 30
	}
	first := uint64(1)
	if text := os.Getenv("CELL_RAFT_SEED"); text != "" { // one round, again
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, rounds = n, 1
	}
	for seed := first; seed < first+uint64(rounds); seed++ {
		h, gap := torture(t, length, setup{}, usualFaults, seed, nil)
		t.Logf("seed %d: longest time between two acknowledged writes: %v", seed, gap.Round(time.Millisecond))
		if h.known < enough {
			t.Errorf("only %d answers", h.known)
		}
		if verdict := h.judge(judging); verdict != porcupine.Ok {
			t.Fatalf("seed %d: the history is %v", seed, verdict)
		}
	}
}

// TestStaleReadsAreFound is the control: with reads that ask nobody, the same
// test must fail.
func TestStaleReadsAreFound(t *testing.T) {
	t.Parallel()
	broken := setup{tune: func(_ int, c *memberConfig) { c.Broken = true }}
	for seed := range uint64(20) { // the first one finds them nearly always
		h, _ := torture(t, 4*time.Second, broken, usualFaults, seed, nil)
		if h.judge(judging) == porcupine.Illegal {
			return
		}
	}
	t.Error("stale reads were taken for linearizable ones")
}
