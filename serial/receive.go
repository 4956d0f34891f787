package serial

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// reader finds frames in what the line brings. Its buffer, from left to right:
//
//	0        …         parsed       scanned          end          len
//	┌──────────────────┬────────────┬────────────────┬─────────────┐
//	│ polled, or spent │ no zero    │ received       │ free        │
//	└──────────────────┴────────────┴────────────────┴─────────────┘
//
// Frames are decoded where they lie. While one is held by the receiver's user
// nothing moves.
type reader struct {
	line *line
	max  int // payload bytes
	most int // bytes between two delimiters

	buf                  []byte
	parsed, scanned, end int
	skipping             bool // too long for a frame: to the next delimiter

	header  wire.Header // of the frame that next found
	payload []byte
	seq     int // -1: without a sequence number
	acked   ack
	hello   hello
	session uint32
}

func newReader(l *line, max, buffer int) *reader {
	return &reader{line: l, max: max, most: FrameBound(max) - 2, buf: make([]byte, buffer)}
}

// found says what next came upon.
type found uint8

const (
	foundNothing found = iota // more bytes are needed
	foundVesicle              // header, payload and seq are set
	foundAck                  // acked is set
	foundHello                // hello is set
	foundBye                  // session is set
	foundOther                // what is none, and was counted
)

// next goes on to the end of the next frame, or of what is none.
func (r *reader) next() found {
	for {
		i := bytes.IndexByte(r.buf[r.scanned:r.end], delimiter)
		if i < 0 {
			r.scanned = r.end
			if r.end-r.parsed > r.most {
				r.skip()
			}
			return foundNothing
		}
		frame := r.buf[r.parsed : r.scanned+i]
		r.parsed = r.scanned + i + 1
		r.scanned = r.parsed
		switch {
		case r.skipping:
			r.skipping = false
		case len(frame) == 0: // between two delimiters
		case len(frame) > r.most:
			r.line.stats.TooLong++
			return foundOther
		default:
			return r.decode(frame)
		}
	}
}

// skip gives up what is too long for a frame and all that follows up to the
// next delimiter.
func (r *reader) skip() {
	if !r.skipping {
		r.line.stats.TooLong++
		r.skipping = true
	}
	r.parsed = r.end
}

func (r *reader) decode(frame []byte) found {
	stats := &r.line.stats
	body, err := decodeBody(frame)
	if err == nil {
		if body[0]&formKind >= formOwn {
			return r.takeOwn(body)
		}
		if r.payload, r.seq, err = getHeader(body, &r.header); err == nil && len(r.payload) > r.max {
			stats.TooLong++
			return foundOther
		}
	}
	switch {
	case err == nil:
		stats.Frames++
		return foundVesicle
	case errors.Is(err, ErrCOBS):
		stats.BadCOBS++
	case errors.Is(err, ErrSize):
		stats.BadSize++
	case errors.Is(err, ErrCRC):
		stats.BadCRC++
	default:
		stats.BadForm++
	}
	return foundOther
}

// takeOwn reads a frame of the link's own.
func (r *reader) takeOwn(body []byte) (f found) {
	ok := false
	switch body[0] {
	case formHello:
		f = foundHello
		r.hello, ok = getHello(body)
	case formAck:
		f = foundAck
		r.acked, ok = getAck(body)
	case formBye:
		f = foundBye
		_, r.session, ok = getBye(body)
	}
	if !ok {
		r.line.stats.BadForm++
		return foundOther
	}
	r.line.stats.Frames++
	return f
}

// fill reads once, if there is room, and reports whether something came. held
// says that somebody still reads in the buffer.
func (r *reader) fill(held bool) (came bool) {
	r.compact(held)
	if r.end == len(r.buf) {
		return false // all of it is held: Release first
	}
	n, err := unix.Read(r.line.fd, r.buf[r.end:])
	switch {
	case n > 0:
		r.end += n
		r.line.stats.BytesIn += uint64(n)
		return true
	case err == unix.EAGAIN || err == unix.EINTR:
		return false
	}
	r.line.died(err)
	return false
}

// compact makes room for at least the rest of a frame.
func (r *reader) compact(held bool) {
	if held || r.parsed == 0 {
		return
	}
	if r.parsed == r.end || len(r.buf)-r.end < r.most {
		n := copy(r.buf, r.buf[r.parsed:r.end])
		r.scanned -= r.parsed
		r.parsed, r.end = 0, n
	}
}

// receiver is the incoming half without a window.
type receiver struct {
	*reader
	sleep *sleeper
	alive keepAlive

	ahead       bool // header and payload are a vesicle that was found on the way to sleep
	outstanding int
	count       link.Stats
}

func (r *receiver) poll(in []wire.Vesicle) (n int, err error) {
	if r.line.state.Load() != stateOpen {
		return 0, link.ErrClosed
	}
	if len(in) == 0 {
		return 0, r.line.failed()
	}
	n = r.parse(in)
	if n == 0 && r.line.cause.Load() == nil {
		if r.fill(r.outstanding > 0) {
			n = r.parse(in)
		}
		if r.alive.due() {
			r.tick()
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.line.failed()
}

// parse hands out whole vesicles until in is full or there are no more.
func (r *receiver) parse(in []wire.Vesicle) (n int) {
	for n < len(in) && (r.ahead || r.find()) {
		r.ahead = false
		in[n] = wire.Vesicle{Header: r.header, Payload: r.payload}
		r.count.Bytes += uint64(len(r.payload))
		n++
	}
	r.outstanding += n
	r.count.Vesicles += uint64(n)
	return n
}

// find goes on to the next vesicle and handles what else it comes upon. What
// stands behind the end of a connection is nobody's.
func (r *receiver) find() bool {
	for r.line.cause.Load() == nil {
		switch r.next() {
		case foundNothing:
			return false
		case foundVesicle:
			if r.seq < 0 {
				return true
			}
			r.line.stats.Stray++ // of a window that there is not
		case foundHello:
			r.line.mu.Lock()
			r.line.heard(r.hello)
			r.line.mu.Unlock()
		case foundBye:
			r.line.parted(r.session)
		case foundAck:
			r.line.stats.Stray++
		}
	}
	return false
}

// tick does what must be done at certain times.
func (r *receiver) tick() {
	ask, err := r.alive.look(r.line.stats.Frames)
	if err != nil {
		r.line.end(err)
	}
	r.line.mu.Lock()
	if ask {
		r.line.due |= dueHello | dueAsk
	}
	r.line.push()
	r.line.mu.Unlock()
}

func (r *receiver) release(n int) error {
	if uint(n) > uint(r.outstanding) {
		return link.ErrOrder
	}
	if n > 0 {
		r.outstanding -= n
		r.count.Flushes++
	}
	return nil
}

// arm lets the receiver sleep if nothing is there for it.
func (r *receiver) arm() bool {
	if r.ahead {
		return false
	}
	if r.ahead = r.find() || r.fill(r.outstanding > 0) && r.find(); r.ahead || r.line.failed() != nil {
		return false
	}
	events := uint32(0) // nothing can come before a Release
	if r.end < len(r.buf) {
		events = unix.EPOLLIN
	}
	r.line.mu.Lock()
	if r.line.waiting() {
		events |= unix.EPOLLOUT
	}
	r.line.mu.Unlock()
	r.sleep.arm(halfIn, events, r.alive.next())
	return true
}

func (r *receiver) disarm()           { r.sleep.disarm(halfIn) }
func (r *receiver) stats() link.Stats { return r.count }
