package can

import (
	"fmt"
	"slices"
	"time"

	"github.com/cell-runtime/cell/link"
)

// Port is one controller on a [Model], and a [Bus]. Its state is guarded by the
// model's mutex.
type Port struct {
	model *Model
	name  string
	nodes []NodeID // of the acceptance filter

	mailbox     []Frame // to be sent, oldest first
	queue       []Frame // a circle of what was received
	first, held int
	lost        uint32 // since the last one that was queued
	tec, rec    int    // error counters
	off         bool   // bus-off
	back        time.Duration
	closed      bool

	signal chan struct{}
	timer  *time.Timer // of Wait
}

var _ Bus = (*Port)(nil)

// Send implements Bus.
func (p *Port) Send(f *Frame) error {
	m := p.model
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case p.closed:
		return link.ErrClosed
	case f.Flags&FlagError != 0 || f.ID > idMask || !f.valid(m.config.FD):
		return fmt.Errorf("%w: %v", ErrFrame, f)
	case p.off || len(p.mailbox) == cap(p.mailbox):
		return link.ErrFull
	}
	p.mailbox = append(p.mailbox, *f)
	p.mailbox[len(p.mailbox)-1].Time = 0
	m.carry()
	return nil
}

// Receive implements Bus.
func (p *Port) Receive(fs []Frame) (int, error) {
	p.model.mu.Lock()
	defer p.model.mu.Unlock()
	if p.closed {
		return 0, link.ErrClosed
	}
	n := min(len(fs), p.held)
	for i := range n {
		fs[i] = p.queue[p.first]
		p.first = (p.first + 1) % len(p.queue)
	}
	p.held -= n
	return n, nil
}

// Wait implements Bus.
func (p *Port) Wait(d time.Duration) {
	p.timer.Reset(d)
	select {
	case <-p.signal:
	case <-p.timer.C:
	}
}

// Wake implements Bus.
func (p *Port) Wake() {
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// Restart implements Bus: the controller comes back after 1408 bit times.
func (p *Port) Restart() error {
	m := p.model
	m.mu.Lock()
	defer m.mu.Unlock()
	if !p.off {
		return fmt.Errorf("%w: %s", ErrRunning, p.name)
	}
	if p.back == 0 {
		p.back = m.now + m.config.Rates.time(recoveryBits, 0)
		if !m.config.Stepped {
			m.now = p.back
			m.carry()
		}
	}
	return nil
}

var _ StateBus = (*Port)(nil)

// Off implements StateBus.
func (p *Port) Off() (bool, error) {
	p.model.mu.Lock()
	defer p.model.mu.Unlock()
	return p.off, nil
}

// Info implements Bus.
func (p *Port) Info() BusInfo {
	return BusInfo{Name: p.name, FD: p.model.config.FD, Rates: p.model.config.Rates, HardwareTime: true}
}

// Close implements Bus: it disconnects the controller.
func (p *Port) Close() error {
	m := p.model
	m.mu.Lock()
	defer m.mu.Unlock()
	if !p.closed {
		p.closed, p.off, p.mailbox = true, true, p.mailbox[:0]
		m.ports = slices.DeleteFunc(m.ports, func(x *Port) bool { return x == p })
		p.timer.Stop()
		p.Wake()
	}
	return nil
}

// Queued returns how many frames wait to be sent.
func (p *Port) Queued() int {
	p.model.mu.Lock()
	defer p.model.mu.Unlock()
	return len(p.mailbox)
}

// sent takes the oldest frame out of the mailbox.
func (p *Port) sent() {
	p.mailbox = p.mailbox[:copy(p.mailbox, p.mailbox[1:])]
	p.count(&p.tec, -1)
	p.Wake() // there is room
}

// deliver puts a frame into the queue, or drops it.
func (p *Port) deliver(f *Frame) {
	if !p.accepts(f) {
		return
	}
	if drop := p.model.config.Drop; drop != nil && f.Flags&FlagError == 0 && drop(p, f) {
		return
	}
	if p.held == len(p.queue) {
		p.lost++
		return
	}
	at := &p.queue[(p.first+p.held)%len(p.queue)]
	*at = *f
	at.Lost, p.lost = p.lost, 0
	p.held++
	p.Wake()
}

func (p *Port) accepts(f *Frame) bool {
	return len(p.nodes) == 0 || f.Flags&FlagError != 0 || f.Flags&(FlagStandard|FlagRemote) == 0 &&
		(f.ID.To() == Everyone || slices.Contains(p.nodes, f.ID.To()) || slices.Contains(p.nodes, f.ID.From()))
}

func (p *Port) report(e BusError) {
	e.TxErrors, e.RxErrors = uint8(min(p.tec, 255)), uint8(min(p.rec, 255))
	f := e.frame()
	f.Time = int64(p.model.now)
	p.deliver(&f)
}

// count changes an error counter and reports what becomes of the controller.
func (p *Port) count(counter *int, by int) {
	before := max(p.tec, p.rec)
	*counter = max(0, *counter+by)
	state := ControllerState(0)
	switch after := max(p.tec, p.rec); {
	case p.tec >= busOffCount:
		// What was to be sent is lost with the controller's state.
		p.off, p.mailbox = true, p.mailbox[:0]
		p.report(BusError{Errors: ErrorBusOff})
		return
	case before < passiveCount && after >= passiveCount:
		state = StateTxPassive
		if p.rec > p.tec {
			state = StateRxPassive
		}
	case before < warningCount && after >= warningCount:
		state = StateTxWarning
		if p.rec > p.tec {
			state = StateRxWarning
		}
	case before >= warningCount && after < warningCount:
		state = StateActive
	default:
		return
	}
	p.report(BusError{Errors: ErrorController, State: state})
}
