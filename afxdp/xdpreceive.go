package afxdp

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/packet"
)

func (m *xdpMedium) receive(fs []inFrame) (n int, err error) {
	m.station.mu.Lock()
	n, err = m.receiveLocked(fs)
	m.station.mu.Unlock()
	return n, err
}

func (m *xdpMedium) receiveLocked(fs []inFrame) (n int, err error) {
	s := m.station
	if s.pending {
		_ = s.kick()
	}
	m.giveUp()
	if len(m.inbox) > 0 || m.rung {
		n = m.emptyInbox(fs)
	}
	n += s.collect(m, fs[n:])
	if n == len(fs) || n > 0 && !m.everywhere && !s.missing {
		return n, nil
	}
	if !m.everywhere && !s.missing && !m.late() {
		return n, nil
	}
	m.everywhere = false
	m.follow()
	k, err := m.receiveDetour(fs[n:])
	return n + k, err
}

// late says whether the kernel's own way was not looked at for long.
func (m *xdpMedium) late() bool {
	if m.barren++; m.barren < clockPace {
		return false
	}
	m.barren = 0
	now := time.Now()
	if now.Sub(m.looked) < detourPace {
		return false
	}
	m.looked = now
	return true
}

// deliver puts a datagram that another connection has found where its own will
// look, unless it has not looked for long.
func (m *xdpMedium) deliver(f inFrame) bool {
	if len(m.inbox) == cap(m.inbox) && m.inboxFirst > 0 {
		m.inbox = m.inbox[:copy(m.inbox, m.inbox[m.inboxFirst:])]
		m.inboxFirst = 0
	}
	if len(m.inbox) == cap(m.inbox) {
		m.counts.Crowded++
		return false
	}
	m.inbox = append(m.inbox, f)
	m.got(f.id)
	if !m.rung {
		m.rung = true
		one := [8]byte{1}
		_, _ = unix.Write(m.bell, one[:])
	}
	return true
}

func (m *xdpMedium) emptyInbox(fs []inFrame) (n int) {
	n = copy(fs, m.inbox[m.inboxFirst:])
	m.inboxFirst += n
	if m.inboxFirst == len(m.inbox) {
		m.inbox, m.inboxFirst = m.inbox[:0], 0
		var count [8]byte
		_, _ = unix.Read(m.bell, count[:])
		m.rung = false
	}
	return n
}

// got counts a datagram of m's.
func (m *xdpMedium) got(id uint64) {
	m.counts.Received++
	if id&joinedFrame != 0 {
		m.counts.Joined++
	}
}

func (m *xdpMedium) damaged(err error) {
	m.counts.Damaged++
	if errors.Is(err, packet.ErrChecksum) {
		m.counts.Checksums++
	}
}

// receiveDetour takes what came by the kernel's own way.
func (m *xdpMedium) receiveDetour(fs []inFrame) (n int, err error) {
	for n < len(fs) {
		b, at, err := m.detour.receive()
		if b == nil || err != nil {
			return n, err
		}
		m.counts.Arrived++
		fs[n] = inFrame{buf: b, id: detourFrame | uint64(at)}
		n++
	}
	return n, nil
}

func (m *xdpMedium) recycle(f inFrame) {
	if f.id&detourFrame != 0 {
		m.detour.recycle(int(f.id &^ detourFrame))
		return
	}
	if m.done = append(m.done, f.id); len(m.done) == doneBatch {
		m.station.mu.Lock()
		m.giveUp()
		m.station.mu.Unlock()
	}
}

// doneBatch is how much is kept that was received and is not needed any more,
// until the station is locked anyway.
const doneBatch = 32

// giveUp gives that back.
func (m *xdpMedium) giveUp() {
	for _, id := range m.done {
		m.station.free(id)
	}
	m.done = m.done[:0]
}
