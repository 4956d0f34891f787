package afxdp

import (
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// packer puts vesicles into frames, as many as fit and wait. A claim is a place
// within a frame, so that the payload is written where it is sent from:
//
//	0      head     done                      claimed          len
//	┌──────┬────────┬──────────────┬──────────┬────────────────┐
//	│ head │ committed             │ claimed  │ free           │
//	└──────┴────────┴──────────────┴──────────┴────────────────┘
//
// A payload that was shortened leaves a gap; what is committed behind it moves
// down, since by then nobody else looks at it.
type packer struct {
	medium  medium
	most    int         // bytes of a datagram
	filling []*outFrame // oldest first, from front on
	front   int
	claims  []claim // outstanding, oldest first, from first on
	first   int
}

type claim struct {
	frame *outFrame
	at    int // of its payload in the frame
	size  int
}

// maxClaims bounds how many vesicles may be claimed and not committed.
const maxClaims = 4096

func newPacker(m medium, most, window int) packer {
	return packer{
		medium: m, most: most,
		filling: make([]*outFrame, 0, window+1), claims: make([]claim, 0, maxClaims),
	}
}

func (p *packer) outstanding() int { return len(p.claims) - p.first }

// frames is how many are being filled.
func (p *packer) frames() int { return len(p.filling) - p.front }

// add begins to fill f.
func (p *packer) add(f *outFrame) {
	if len(p.filling) == cap(p.filling) { // of all that there may be some are gone
		n := copy(p.filling, p.filling[p.front:])
		clear(p.filling[n:])
		p.filling, p.front = p.filling[:n], 0
	}
	p.filling = append(p.filling, f)
}

// oldest removes the frame that has been filled for longest.
func (p *packer) oldest() *outFrame {
	f := p.filling[p.front]
	p.filling[p.front] = nil
	if p.front++; p.front == len(p.filling) {
		p.filling, p.front = p.filling[:0], 0
	}
	return f
}

// fits says whether the frame that is being filled has room for size bytes.
func (p *packer) fits(size int) bool {
	last := len(p.filling) - 1
	return last >= p.front && p.filling[last].claimed+recordSize(size) <= p.most
}

// take returns a place of size bytes in the last frame, where it fits.
func (p *packer) take(size int) []byte {
	f := p.filling[len(p.filling)-1]
	at := f.claimed + wire.HeaderSize
	f.claimed += recordSize(size)
	f.open++
	p.claims = append(p.claims, claim{f, at, size})
	return f.buf[at : at+size : at+size]
}

// commit takes the oldest claim back. It returns link.ErrOrder if v's payload
// is not its place.
func (p *packer) commit(v *wire.Vesicle) error {
	c := p.claims[p.first]
	f, n := c.frame, len(v.Payload)
	if n > c.size || n > 0 && &v.Payload[0] != &f.buf[c.at] {
		return link.ErrOrder
	}
	v.Header.Length = uint32(n)
	body := f.done + wire.HeaderSize
	if body != c.at {
		copy(f.buf[body:], f.buf[c.at:c.at+n])
	}
	v.Header.Put((*[wire.HeaderSize]byte)(f.buf[f.done:]))
	end := f.done + recordSize(n)
	clear(f.buf[body+n : end])
	f.done = end
	f.open--
	if f.open == 0 {
		f.claimed = f.done
	}
	p.first++
	p.tidy()
	return nil
}

// tidy starts the list of claims anew when it is empty, or moves it down when
// it has reached its end.
func (p *packer) tidy() {
	switch {
	case p.first == len(p.claims):
		p.claims, p.first = p.claims[:0], 0
	case len(p.claims) == cap(p.claims):
		n := copy(p.claims, p.claims[p.first:])
		p.claims, p.first = p.claims[:n], 0
	}
}

// abort gives up all claims.
func (p *packer) abort() {
	for _, f := range p.filling[p.front:] {
		f.open, f.claimed = 0, f.done
	}
	p.claims, p.first = p.claims[:0], 0
	for last := len(p.filling) - 1; last >= p.front && p.filling[last].done == headSize; last-- {
		p.medium.put(p.filling[last])
		p.filling = p.filling[:last]
	}
}

// ready says whether anything is committed.
func (p *packer) ready() bool { return p.frames() > 0 && p.filling[p.front].done > headSize }

// sealed removes and returns the oldest frame in which something is committed,
// or nil. If places in it are claimed still, what is committed is moved to a
// frame of its own; without one to be had, nil comes with link.ErrFull.
func (p *packer) sealed() (*outFrame, error) {
	if !p.ready() {
		return nil, nil
	}
	f := p.filling[p.front]
	if f.open == 0 {
		f.n = f.done
		return p.oldest(), nil
	}
	g := p.medium.grab()
	if g == nil {
		return nil, link.ErrFull
	}
	g.n = f.done
	copy(g.buf[headSize:g.n], f.buf[headSize:f.done])
	f.done = headSize
	return g, nil
}
