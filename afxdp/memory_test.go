package afxdp

import (
	"context"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// memory is a medium within one process that loses, repeats and reorders.
type memory struct {
	peer   *memory
	faults faults
	bell   int // eventfd: readable while something is there

	mu    sync.Mutex
	rng   *rand.Rand
	queue [][]byte
	held  []byte // waits to be overtaken
	free  []*outFrame
}

// faults are probabilities for each datagram.
type faults struct{ lose, repeat, reorder float64 }

// memoryDepth is how many datagrams it holds before it loses them all.
const memoryDepth = 1024

func newMemories(t testing.TB, f faults, o *Options) (a, b *memory) {
	t.Helper()
	build := func(seed uint64) *memory {
		bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		m := &memory{faults: f, bell: bell, rng: rand.New(rand.NewPCG(seed, rand.Uint64()))}
		for range o.Window + sendBatch {
			m.free = append(m.free, &outFrame{buf: make([]byte, o.Datagram)})
		}
		return m
	}
	a, b = build(1), build(2)
	a.peer, b.peer = b, a
	return a, b
}

func (m *memory) grab() *outFrame {
	last := len(m.free) - 1
	if last < 0 {
		return nil
	}
	f := m.free[last]
	m.free = m.free[:last]
	f.reset()
	return f
}

func (m *memory) put(f *outFrame)       { m.free = append(m.free, f) }
func (m *memory) putAll(fs []*outFrame) { m.free = append(m.free, fs...) }
func (m *memory) reclaim()              {}
func (m *memory) starved() bool         { return false }
func (m *memory) fds() []int            { return []int{m.bell} }
func (m *memory) rouse()                {}
func (m *memory) tend(bool)             {}
func (m *memory) recycle(inFrame)       {}

func (m *memory) send(fs []*outFrame) (int, error) {
	for _, f := range fs {
		m.peer.arrive(f.buf[:f.n])
	}
	return len(fs), nil
}

func (m *memory) control(b []byte) error {
	m.peer.arrive(b)
	return nil
}

// arrive may lose b, hold it back until the next has come, or repeat it.
func (m *memory) arrive(b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rng.Float64() < m.faults.lose || len(m.queue) >= memoryDepth || m.bell < 0 {
		return
	}
	b = append([]byte(nil), b...)
	if m.held == nil && m.rng.Float64() < m.faults.reorder {
		m.held = b
		return
	}
	m.queue = append(m.queue, b)
	if m.rng.Float64() < m.faults.repeat {
		m.queue = append(m.queue, b)
	}
	if m.held != nil {
		m.queue = append(m.queue, m.held)
		m.held = nil
	}
	one := [8]byte{1}
	_, _ = unix.Write(m.bell, one[:])
}

func (m *memory) receive(fs []inFrame) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n < len(fs) && len(m.queue) > 0 {
		fs[n] = inFrame{buf: m.queue[0]}
		m.queue = m.queue[1:]
		n++
	}
	if len(m.queue) == 0 {
		var count [8]byte
		_, _ = unix.Read(m.bell, count[:])
	}
	return n, nil
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bell < 0 {
		return nil
	}
	err := unix.Close(m.bell)
	m.bell = -1
	return err
}

func overMemory(t testing.TB, f faults, o Options) (a, b *Conn) {
	t.Helper()
	p, q := newMemories(t, f, &o)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { a, errs[0] = connect(ctx, p, o, link.Info{Kind: "memory"}) })
	wg.Go(func() { b, errs[1] = connect(ctx, q, o, link.Info{Kind: "memory"}) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// The farewells may be lost too; a silent peer is given up after a second.
var memoryOptions = Options{Reliable: true, Datagram: 1432, Window: 64, KeepAlive: 200 * time.Millisecond, Patience: 5}

func TestReliableOverABadNetwork(t *testing.T) {
	for name, f := range map[string]faults{
		"clean":                       {},
		"loses, repeats and reorders": {lose: 0.01, repeat: 0.05, reorder: 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			if f != (faults{}) && os.Geteuid() == 0 && os.Getenv("CELL_SOAK") == "" {
				t.Skip("TestXDPConformance has such a network between sockets; --soak runs this, too")
			}
			linktest.Run(t, linktest.Harness{
				Open: func(t testing.TB) (a, b link.Link) {
					if strings.HasSuffix(t.Name(), "/arm_and_disarm") {
						// It takes every wake-up for the vesicle's; here others
						// come of repetitions, and vesicles come late.
						return overMemory(t, faults{}, memoryOptions)
					}
					return overMemory(t, f, memoryOptions)
				},
				CanPark: true, Allocates: true, MaxTotal: 256 << 10,
			})
		})
	}
}
