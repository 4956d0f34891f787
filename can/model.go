package can

import (
	"fmt"
	"sync"
	"time"
)

// ModelConfig describes a [Model]. Zero fields get the default.
type ModelConfig struct {
	// Rates are the bit rates; default 500 kbit/s, and with FD 5 Mbit/s data.
	Rates Rates
	// FD: the bus carries FD frames.
	FD bool
	// Mailbox is how many frames a port's controller holds before Send says
	// link.ErrFull; default 3. They leave in the order of Send.
	Mailbox int
	// Queue is how many received frames a port holds before it drops the next
	// ones; default 1024.
	Queue int
	// Stepped: frames travel when Step or Run is called, and only then.
	// Without it every frame travels at once, with no time passing but on the
	// model's own clock.
	Stepped bool
	// Corrupt, if set, says whether a transmission is destroyed, as by noise.
	// The controller then sends again, as controllers do.
	Corrupt func(f *Frame) bool
	// Drop, if set, says whether a port's receiver misses a frame without
	// knowing it, as when software loses it behind the controller.
	Drop func(to *Port, f *Frame) bool
}

// Model is a CAN bus in memory: arbitration by identifier, the time of every
// bit at the worst case of stuffing, acknowledgement, error counters and
// bus-off after ISO 11898-1. It knows no propagation delay and no clock
// tolerance. All methods may be called from any goroutine.
type Model struct {
	config ModelConfig

	mu    sync.Mutex
	now   time.Duration
	ports []*Port
	load  Load
	busy  time.Duration // of all, with what errors took
}

const (
	defaultMailbox = 3
	defaultQueue   = 1024

	// After a destroyed frame: an error flag of up to 12 bits, its delimiter
	// of 8, and the intermission of 3.
	errorBits = 12 + 8 + 3
	// A controller that was bus-off waits for 128 times 11 recessive bits.
	recoveryBits = 128 * 11

	passiveCount = 128
	busOffCount  = 256
	warningCount = 96
)

// NewModel returns a bus without nodes.
func NewModel(c ModelConfig) *Model {
	if c.Rates.Nominal == 0 {
		c.Rates.Nominal = 500_000
	}
	if c.Rates.Data == 0 && c.FD {
		c.Rates.Data = 5_000_000
	}
	if c.Mailbox == 0 {
		c.Mailbox = defaultMailbox
	}
	if c.Queue == 0 {
		c.Queue = defaultQueue
	}
	return &Model{config: c}
}

// Open connects one more controller to the bus. Close disconnects it. With
// nodes its acceptance filter passes what is to them, to everyone, or from them;
// without any it passes everything.
func (m *Model) Open(nodes ...NodeID) *Port {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &Port{
		model: m, name: fmt.Sprintf("model port %d", len(m.ports)),
		mailbox: make([]Frame, 0, m.config.Mailbox), queue: make([]Frame, m.config.Queue),
		signal: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), nodes: nodes,
	}
	m.ports = append(m.ports, p)
	m.carry() // whoever was alone on the bus has somebody now who acknowledges
	return p
}

// carry carries all that waits, unless frames travel by Step alone.
func (m *Model) carry() {
	for !m.config.Stepped {
		if _, _, any := m.step(); !any {
			break
		}
	}
}

// Now returns the time on the bus since the model was made.
func (m *Model) Now() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Load returns what the bus carried, and how long it was not idle, errors
// included.
func (m *Model) Load() (Load, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load, m.busy
}

// Idle lets time pass in which nobody sends, if nobody wants to; it returns
// false if somebody does.
func (m *Model) Idle(d time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, _ := m.arbitrate(); p != nil {
		return false
	}
	m.now += d
	m.recover()
	return true
}

// Step carries the next frame and returns it; ok is false if there is none
// that can be carried. A frame that was destroyed counts as no frame.
func (m *Model) Step() (f Frame, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		f, done, any := m.step()
		if done || !any {
			return f, done
		}
	}
}

// step carries or destroys one frame: done says which; any is false if there
// was none.
func (m *Model) step() (f Frame, done, any bool) {
	m.recover()
	p, rival := m.arbitrate()
	if p == nil {
		return Frame{}, false, false
	}
	if !m.acknowledged(p) {
		return Frame{}, false, false
	}
	head := &p.mailbox[0]
	took := FrameBits(head).Most(m.config.Rates)
	if rival != nil && rival.mailbox[0] != *head || m.config.Corrupt != nil && m.config.Corrupt(head) {
		took += m.config.Rates.time(errorBits, 0)
		m.pass(took)
		m.blame(p, rival)
		return Frame{}, false, true
	}
	m.pass(took)
	m.load.Add(head, m.config.Rates)
	head.Time = int64(m.now)
	for _, x := range m.ports {
		if x != p && x != rival && !x.off {
			x.count(&x.rec, -1)
			x.deliver(head)
		}
	}
	f = *head
	p.sent()
	if rival != nil {
		rival.sent()
	}
	return f, true, true
}

func (m *Model) pass(d time.Duration) {
	m.now += d
	m.busy += d
}

// arbitrate returns the port whose frame wins, and one with the same
// identifier, which is a fault of whoever gave out the numbers.
func (m *Model) arbitrate() (winner, rival *Port) {
	best := uint64(1) << 40
	for _, p := range m.ports {
		if p.off || len(p.mailbox) == 0 {
			continue
		}
		switch key := arbitration(&p.mailbox[0]); {
		case key < best:
			best, winner, rival = key, p, nil
		case key == best:
			rival = p
		}
	}
	return winner, rival
}

// arbitration returns the bits that decide who may send, first bit first.
func arbitration(f *Frame) uint64 {
	remote := uint64(f.Flags&FlagRemote) / uint64(FlagRemote)
	if f.Flags&FlagStandard != 0 {
		return uint64(f.ID&0x7ff)<<21 | remote<<20
	}
	return uint64(f.ID>>18&0x7ff)<<21 | 3<<19 | uint64(f.ID&(1<<18-1))<<1 | remote
}

// acknowledged reports whether anybody else takes part. If not, the sender
// becomes error passive, stays on the bus and tries for ever.
func (m *Model) acknowledged(p *Port) bool {
	for _, x := range m.ports {
		if x != p && !x.off {
			return true
		}
	}
	if p.tec < passiveCount {
		p.tec = passiveCount
		p.report(BusError{Errors: ErrorNoAck})
	}
	return false
}

// blame counts a destroyed frame: a sender's error counts 8, a receiver's 1.
func (m *Model) blame(senders ...*Port) {
	for _, x := range m.ports {
		if x.off {
			continue
		}
		sender := false
		for _, s := range senders {
			sender = sender || s == x
		}
		if sender {
			x.count(&x.tec, 8)
		} else {
			x.count(&x.rec, 1)
		}
	}
}

// recover brings controllers back that were restarted long enough ago.
func (m *Model) recover() {
	for _, p := range m.ports {
		if p.off && p.back != 0 && m.now >= p.back {
			p.off, p.back, p.tec, p.rec = false, 0, 0, 0
			p.report(BusError{Errors: ErrorRestarted})
		}
	}
}
