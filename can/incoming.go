package can

import (
	"errors"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// incoming is the receiving half of a link, guarded by its node. Frames that
// have arrived in order wait in frames until there is room to put them
// together; vesicles lie in store, oldest first:
//
//	[ polled | whole | being put together ]
//
// A frame gives room in frames when it has been put together, so a user that
// does not poll stops the peer when both are full.
type incoming struct {
	frames      []Frame // a circle; the window that was announced
	first, held int
	store       arena
	polled      int
	whole       int
	decoder     decoder

	expected  uint16 // number of the next frame that is wanted
	told      uint16 // the limit that the peer knows
	toldTaken uint16 // … and the number
	check     uint16 // running, of all frames before expected
	round     byte   // of the peer's last resume
	gap       bool   // frames are missing; drop all until the peer resumes
	tell      bool   // flow is due
	urgency   uint8  // header priority of the latest data
	discard   bool   // nobody polls any more

	missed uint64 // gaps
	stats  link.Stats
}

var errWindow = errors.New("more frames than were allowed")

// arrived takes a data frame. The error is a breach.
func (n *incoming) arrived(f *Frame) error {
	if n.gap {
		return nil
	}
	low, mask := f.ID.Detail(), uint16(detailMask)
	if f.ID.Class() != ClassNext {
		if f.Len == 0 {
			return errEmpty
		}
		mask = distinct - 1
		low = low&sequenceMask | uint16(f.Data[0]&firstNumber)>>firstShift
	}
	if low != n.expected&mask {
		n.lost()
		return nil
	}
	if n.discard {
		n.expected++
		n.check = fold(n.check, f)
		return nil
	}
	if n.held == len(n.frames) {
		return errWindow
	}
	n.frames[(n.first+n.held)%len(n.frames)] = *f
	n.held++
	n.expected++
	n.check = fold(n.check, f)
	if p, ok := headerPriority(f.ID.Priority()); ok {
		n.urgency = p
	}
	return n.assemble()
}

// lost notes that frames are missing, or may be. All that follow are dropped
// until the peer says where it resumes, so that nothing is taken for another.
func (n *incoming) lost() {
	if !n.gap {
		n.gap = true
		n.missed++
	}
	n.tell = true
}

// resumed takes the peer's word that the next data frame will be the one that
// flow in answer to this asks for.
func (n *incoming) resumed(round byte) {
	n.round, n.gap, n.tell = round, false, true
}

// assemble puts frames together while there is room. The error is a breach.
func (n *incoming) assemble() error {
	for n.held > 0 {
		f := &n.frames[n.first]
		complete, err := false, error(nil)
		if n.decoder.busy {
			complete, err = n.decoder.next(f, n.store.at(n.polled+n.whole))
		} else {
			var size int
			if size, err = n.decoder.need(f); err == nil {
				p := n.store.take(size)
				if p == nil {
					return nil
				}
				complete, err = n.decoder.begin(f, p)
			}
		}
		if err != nil {
			return err
		}
		if complete {
			n.whole++
		}
		n.first = (n.first + 1) % len(n.frames)
		n.held--
	}
	return nil
}

// drop forgets what is here and whatever else arrives.
func (n *incoming) drop() { n.discard, n.held, n.decoder.busy = true, 0, false }

// limit is the number of the first frame for which there is no room.
func (n *incoming) limit() uint16 { return n.expected + uint16(len(n.frames)-n.held) }

// due reports whether the peer should be told of new room, of a gap, or of what
// has arrived because it may send no further vesicle without that.
func (n *incoming) due() bool {
	within := n.decoder.busy && n.held == 0 // a vesicle, whose parts need no such word
	return n.tell || int(n.limit()-n.told) >= len(n.frames)/2 || !within && n.expected-n.toldTaken >= distinct/2
}

// flow is what to tell the peer.
func (n *incoming) flow(to uint16) flow {
	n.told, n.toldTaken, n.tell = n.limit(), n.expected, false
	return flow{taken: n.expected, limit: n.told, gap: n.gap, round: n.round, check: checkByte(n.check), to: to}
}

// poll hands out whole vesicles.
func (n *incoming) poll(in []wire.Vesicle) int {
	k := min(len(in), n.whole)
	for i := range k {
		p := n.store.at(n.polled + i)
		in[i] = wire.Vesicle{Header: p.header, Payload: p.payload}
		n.stats.Vesicles++
		n.stats.Bytes += uint64(len(p.payload))
	}
	n.polled += k
	n.whole -= k
	return k
}

// release takes polled vesicles back; the error is a breach that the frames
// which now had room turned out to be.
func (n *incoming) release(k int) error {
	n.store.free(k)
	n.polled -= k
	n.stats.Flushes++
	return n.assemble()
}
