package asavie

import (
	"fmt"
	"time"

	"github.com/asavie/xdp"

	"github.com/cell-runtime/cell/afxdp/xsk"
)

// queue implements [afxdp.Queue] over the library's socket.
type queue struct {
	socket *xdp.Socket
	id     uint32
	frames uint64
	size   uint64 // of a frame
	tx     int    // entries of the tx ring
	fills  []xdp.Desc
	sends  []xdp.Desc
	// underWay are the frames that were sent, oldest first: a ring from first
	// on. A copying kernel is done with them in that order, and has read them
	// when it says so of any later one.
	underWay    []uint64
	first, many int
}

// batch is how many descriptors are handed over at once.
const batch = 128

func newQueue(s *xdp.Socket, id uint32, u *xsk.UmemOptions, c *xsk.Config) *queue {
	return &queue{socket: s, id: id, frames: uint64(u.Frames), size: uint64(u.FrameSize), tx: int(c.Tx),
		fills: make([]xdp.Desc, 0, batch), sends: make([]xdp.Desc, 0, batch), underWay: make([]uint64, c.Completion+c.Tx)}
}

// Packet checks what the library does not.
func (q *queue) Packet(d xsk.Desc) []byte {
	if d.Address >= q.frames*q.size || d.Address%q.size+uint64(d.Length) > q.size {
		return nil
	}
	b := q.socket.GetFrame(xdp.Desc{Addr: d.Address, Len: d.Length})
	return b[:d.Length:d.Length]
}

func (q *queue) ID() uint32 { return q.id }
func (q *queue) FD() int    { return q.socket.FD() }

func (q *queue) Fill(addresses []uint64) (n int) {
	for n < len(addresses) {
		q.fills = q.fills[:0]
		for _, a := range addresses[n:min(n+batch, len(addresses))] {
			q.fills = append(q.fills, xdp.Desc{Addr: a})
		}
		took := q.socket.Fill(q.fills)
		n += took
		if took < len(q.fills) {
			break
		}
	}
	return n
}

func (q *queue) Receive(ds []xsk.Desc) int {
	if q.socket.NumReceived() == 0 {
		return 0
	}
	got := q.socket.Receive(len(ds))
	for i, d := range got {
		ds[i] = xsk.Desc{Address: d.Addr, Length: d.Len, Options: d.Options}
	}
	return len(got)
}

// Attend has nothing to do: without need-wakeup the driver never sleeps.
func (q *queue) Attend(bool) {}

// Transmit only notes what is to be sent: the library's own sends at once, and
// leaves what goes beyond 32 packets.
func (q *queue) Transmit(ds []xsk.Desc) (n int) {
	room := min(q.socket.NumFreeTxSlots()-len(q.sends), cap(q.sends)-len(q.sends), len(q.underWay)-q.many)
	for n < min(len(ds), room) {
		q.sends = append(q.sends, xdp.Desc{Addr: ds[n].Address, Len: ds[n].Length})
		q.underWay[(q.first+q.many)%len(q.underWay)] = ds[n].Address
		q.many++
		n++
	}
	return n
}

// Kick calls until the ring is empty or nothing moves.
func (q *queue) Kick() (sent bool, err error) {
	waits := q.tx - q.socket.NumFreeTxSlots() + len(q.sends)
	for waits > 0 {
		err = q.transmit()
		left := q.tx - q.socket.NumFreeTxSlots()
		if err != nil || left >= waits {
			return false, err
		}
		waits = left
	}
	return true, nil
}

// transmit hands over what was noted. The library panics where the kernel
// refuses, after it has queued everything.
func (q *queue) transmit() (err error) {
	defer func() {
		q.sends = q.sends[:0]
		if what := recover(); what != nil {
			err = fmt.Errorf("%w: asavie/xdp: %v", xsk.ErrDown, what)
		}
	}()
	q.socket.Transmit(q.sends)
	return nil
}

func (q *queue) Complete(addresses []uint64) int {
	n := min(q.socket.NumCompleted(), len(addresses), q.many)
	if n == 0 {
		return 0
	}
	for i := range n {
		addresses[i] = q.underWay[q.first]
		q.first = (q.first + 1) % len(q.underWay)
	}
	q.many -= n
	q.socket.Complete(n)
	return n
}

func (q *queue) BusyPoll(time.Duration, int) error {
	return fmt.Errorf("%w by asavie/xdp: busy polling; leave out Options.BusyPoll, or take the default backend", xsk.ErrNotSupported)
}

// Stats implements [afxdp.Sockets].
func (q *queue) Stats() (xsk.Stats, error) {
	k, err := q.socket.Stats()
	if err != nil {
		return xsk.Stats{}, fmt.Errorf("asavie/xdp: %w", err)
	}
	s := k.KernelStats
	return xsk.Stats{Dropped: s.Rx_dropped, InvalidRx: s.Rx_invalid_descs, InvalidTx: s.Tx_invalid_descs,
		RxFull: s.Rx_ring_full, FillEmpty: s.Rx_fill_ring_empty_descs, TxRingsEmpty: s.Tx_ring_empty_descs}, nil
}
