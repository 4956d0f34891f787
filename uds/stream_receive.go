package uds

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// streamReceiver is the incoming half of the stream path. Its buffer, from
// left to right:
//
//	0        ...          parsed                     end          len
//	┌─────────────────────┬──────────────────────────┬─────────────┐
//	│ polled, outstanding │ received, not yet polled │ free        │
//	└─────────────────────┴──────────────────────────┴─────────────┘
//
// While a polled payload is outstanding nothing moves. When all are released
// the rest moves to the front, as soon as the next frame would not fit.
type streamReceiver struct {
	life *life
	max  int
	buf  []byte

	parsed, end int

	outstanding int
	stats       link.Stats
}

func (r *streamReceiver) poll(in []wire.Vesicle) (int, error) {
	if c := r.life.cause.Load(); c != nil {
		return 0, c.err
	}
	n, err := r.parse(in)
	if n == 0 && err == nil && len(in) > 0 {
		if err = r.fill(); err == nil {
			n, err = r.parse(in)
		}
	}
	if n > 0 {
		return n, nil // an error comes back with the next call
	}
	return 0, r.life.why(err)
}

// parse hands out complete frames.
func (r *streamReceiver) parse(in []wire.Vesicle) (n int, err error) {
	for n < len(in) && r.end-r.parsed >= frameSize {
		v := &in[n]
		if v.Header, err = r.header(); err != nil {
			break
		}
		at := r.parsed + frameSize
		size := int(v.Header.Length)
		if r.end-at < size {
			break
		}
		v.Payload = r.buf[at : at+size : at+size]
		r.parsed = at + size
		r.outstanding++
		r.stats.Bytes += uint64(size)
		n++
	}
	r.stats.Vesicles += uint64(n)
	return n, err
}

// header checks the header of the next frame. After an error the connection is
// over.
func (r *streamReceiver) header() (wire.Header, error) {
	b := r.buf[r.parsed : r.parsed+frameSize]
	h, err := wire.Decode(b)
	if err == nil && int(h.Length) > r.max {
		err = fmt.Errorf("payload of %d bytes, at most %d were agreed", h.Length, r.max)
	}
	if err == nil {
		return h, nil
	}
	if reason := parseFarewell(b); reason != 0 {
		return h, r.life.left(reason)
	}
	if r.stats.Vesicles == 0 && isRefusal(b) {
		return h, r.life.takenBack(r.buf[r.parsed:r.end])
	}
	r.stats.Corrupt++
	return h, r.life.breached(fmt.Sprintf("sent bytes that are no vesicle (%v)", err))
}

// fill reads from the socket once, if there is room.
func (r *streamReceiver) fill() error {
	r.compact()
	if r.end == len(r.buf) {
		return nil // all of it is outstanding: Release first
	}
	n, e := recv(r.life.fd, r.buf[r.end:], 0)
	switch {
	case e == unix.EAGAIN || e == unix.EINTR:
		return nil
	case e == 0 && n > 0:
		r.end += n
		return nil
	case r.end > r.parsed:
		return r.life.end(fmt.Errorf("%w: process %d ended in the middle of a vesicle", link.ErrPeerGone, r.life.pid))
	}
	return r.life.died()
}

// compact makes room for at least the rest of the next frame.
func (r *streamReceiver) compact() {
	if r.outstanding != 0 || r.parsed == 0 {
		return
	}
	if r.parsed == r.end || len(r.buf)-r.parsed < frameSize+r.max {
		r.end = copy(r.buf, r.buf[r.parsed:r.end])
		r.parsed = 0
	}
}

func (r *streamReceiver) release(n int) error {
	if uint(n) > uint(r.outstanding) {
		return link.ErrOrder
	}
	if n > 0 {
		r.outstanding -= n
		r.stats.Flushes++
	}
	return nil
}

// ready says whether Poll would return something, or an error, without asking
// the kernel.
func (r *streamReceiver) ready() bool {
	if r.end-r.parsed < frameSize {
		return false
	}
	h, err := r.header()
	return err != nil || r.end-r.parsed-frameSize >= int(h.Length)
}
