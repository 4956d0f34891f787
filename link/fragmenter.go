package link

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cell-runtime/cell/wire"
)

const (
	// MinFragmentPayload is the least MaxPayload, in bytes, of a link over
	// which vesicles can be fragmented: the first piece must have room for a
	// whole deadline, because whoever forwards it may need to read that.
	MinFragmentPayload = wire.FragmentSize + wire.DeadlineSize

	// fragmentPayload bounds one piece with its prefix where the link would
	// take more: pieces of this size are copied at the speed of the cache,
	// and the peer reads one while the next is written.
	fragmentPayload = 64 << 10

	// A batch is claimed, filled, committed and flushed at once.
	fragmentBatch      = 16
	fragmentBatchBytes = 256 << 10
)

// Fragmenter sends vesicles of any length over one [Sender]: those that fit
// as they are, longer ones in pieces (see [wire.FlagFragment]) that a
// [Reassembler] on the other side puts together. It writes straight into
// claimed places, queues nothing and allocates nothing.
//
// It belongs to the sender's goroutine, and no claim of anybody else may be
// outstanding when Send is called. Between two calls of Send for one vesicle
// others may pass it on the same link, through the Sender or through another
// Fragmenter: that is how an urgent vesicle overtakes a long one. Only
// vesicles whose order among each other matters must wait.
type Fragmenter struct {
	sender     Sender
	maxPayload int
	piece      int    // bytes of payload proper in one piece
	atOnce     int    // pieces in one batch
	sequence   uint32 // of the next vesicle that is split
	batch      [fragmentBatch]wire.Vesicle

	// The vesicle under way, if busy.
	busy   bool
	header wire.Header
	length int           // of the payload given to Send
	prefix wire.Fragment // of the next piece
	skip   int           // length of the fragment prefix in front of payload
	sent   int           // bytes of payload[skip:] that are committed
}

// NewFragmenter returns a Fragmenter for s, whose link's Info states
// maxPayload (bytes).
func NewFragmenter(s Sender, maxPayload int) (*Fragmenter, error) {
	if maxPayload < MinFragmentPayload {
		return nil, fmt.Errorf("link: a maximal payload of %d bytes is too small to fragment vesicles; the link must carry at least %d",
			maxPayload, MinFragmentPayload)
	}
	piece := min(maxPayload, fragmentPayload) - wire.FragmentSize
	return &Fragmenter{
		sender: s, maxPayload: maxPayload, piece: piece,
		atOnce: min(fragmentBatch, max(1, fragmentBatchBytes/piece)),
		// At random, so that a process that starts again doesn't continue
		// the pieces of its former self on a medium without connections.
		sequence: rand.Uint32(),
	}, nil
}

// Send commits one vesicle; h.Length is filled in. After nil all of it is
// committed, payload is the caller's again, and a Flush is due.
//
// After [ErrFull] the link took a part or nothing, and what it took is
// flushed. Call Send again with the same header and an unchanged payload when
// there is room (see ArmSpace with [Fragmenter.Need]): it goes on where it
// stopped. Until that succeeds or [Fragmenter.Cancel] is called, Send refuses
// any other vesicle with [ErrOrder] if [Fragmenter.Busy].
//
// Other errors: [ErrTooLarge] above [wire.MaxLength]; wire.ErrFragment if h is
// itself a fragment (it is split further where it must be) and payload does
// not begin with its prefix; what the link returns when it has ended.
func (f *Fragmenter) Send(h wire.Header, payload []byte) error {
	if len(payload) > f.maxPayload || f.busy {
		return f.sendPieces(h, payload)
	}
	n, err := f.sender.Claim(f.batch[:1], len(payload))
	if n == 0 {
		return err
	}
	copy(f.batch[0].Payload, payload)
	f.batch[0].Header = h
	return f.sender.Commit(f.batch[:1])
}

// Busy reports whether a part of a vesicle has been sent and the rest has
// not.
func (f *Fragmenter) Busy() bool { return f.busy }

// Need returns the size to give to ArmSpace before a vesicle of length bytes
// of payload is sent, or sent further.
func (f *Fragmenter) Need(length int) int {
	if length <= f.maxPayload {
		return length
	}
	return f.piece + wire.FragmentSize
}

// Cancel gives up the rest of the vesicle under way, if any. The peer's
// Reassembler drops the pieces that it has.
func (f *Fragmenter) Cancel() { f.busy = false }

func (f *Fragmenter) sendPieces(h wire.Header, payload []byte) error {
	if f.busy {
		if h.Length = uint32(f.length); h != f.header || len(payload) != f.length {
			return fmt.Errorf("%w: another vesicle is under way; send it to its end or cancel it", ErrOrder)
		}
	} else if err := f.begin(h, payload); err != nil {
		return err
	}
	rest := payload[f.skip:]
	for f.sent < len(rest) {
		err := f.sendBatch(rest)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrFull) {
			f.busy = false
			return err
		}
		if f.busy = f.sent > 0; f.busy {
			// What is committed must travel, or there will never be room.
			if flushed := f.sender.Flush(); flushed != nil && !errors.Is(flushed, ErrFull) {
				f.busy = false
				return flushed
			}
		}
		return err
	}
	f.busy = false
	return nil
}

// begin notes what is common to all pieces of a vesicle.
func (f *Fragmenter) begin(h wire.Header, payload []byte) error {
	if len(payload) > wire.MaxLength {
		return fmt.Errorf("%w: %d bytes, a vesicle has at most %d", ErrTooLarge, len(payload), wire.MaxLength)
	}
	f.length, f.skip, f.sent = len(payload), 0, 0
	h.Length = uint32(len(payload))
	f.header = h
	if h.Flags&wire.FlagFragment == 0 {
		f.prefix = wire.Fragment{Total: h.Length, Sequence: f.sequence}
		f.sequence++
		return nil
	}
	// A forwarder between a wide and a narrow link splits a piece again; the
	// receiver can't tell.
	f.skip = wire.FragmentSize
	n := len(payload) - f.skip // above 0: payload exceeds MinFragmentPayload
	prefix, err := wire.GetFragment((*[wire.FragmentSize]byte)(payload), n)
	more := int(prefix.Offset)+n < int(prefix.Total)
	if err == nil && more != (h.Flags&wire.FlagMore != 0) {
		err = wire.ErrFragment
	}
	f.prefix = prefix
	return err
}

// sendBatch claims, fills and commits the next pieces, and flushes unless the
// caller's own Flush follows.
func (f *Fragmenter) sendBatch(rest []byte) error {
	left := len(rest) - f.sent
	want := min(f.atOnce, (left+f.piece-1)/f.piece)
	n, err := f.sender.Claim(f.batch[:want], wire.FragmentSize+min(f.piece, left))
	if n == 0 {
		return err
	}
	for i := range f.batch[:n] {
		v := &f.batch[i]
		size := copy(v.Payload[wire.FragmentSize:], rest[f.sent:])
		v.Payload = v.Payload[:wire.FragmentSize+size]
		wire.PutFragment((*[wire.FragmentSize]byte)(v.Payload), f.prefix)
		f.sent += size
		f.prefix.Offset += uint32(size)
		v.Header = f.header
		v.Header.Length = uint32(len(v.Payload))
		v.Header.Flags |= wire.FlagFragment
		if f.prefix.Offset < f.prefix.Total {
			v.Header.Flags |= wire.FlagMore
		}
	}
	if err := f.sender.Commit(f.batch[:n]); err != nil {
		return err
	}
	if f.sent == len(rest) {
		return nil
	}
	if err := f.sender.Flush(); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	return nil
}
