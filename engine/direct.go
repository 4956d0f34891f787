package engine

import (
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// ringed is a link over rings that lets its halves be used directly. Its own
// methods would look after the peer's life during silence, which housekeeping
// does here; in return each poll, claim, commit, flush and release saves the
// way through an interface and a connection, some 10 ns of a round trip.
//
// A half that says an error is asked no further: the link's own method is
// called in its place and explains what happened, as it does for everybody.
type ringed interface {
	Rings() (*ring.Producer, *ring.Consumer)
}

// direct finds the rings of a link, if it has any.
func (p *Port) direct() {
	if r, ok := p.link.(ringed); ok {
		if tx, rx := r.Rings(); tx != nil && rx != nil {
			p.tx, p.rx, p.want = tx, rx, 1
		}
	}
}

func (p *Port) claimLink(out []wire.Vesicle, size int) (int, error) {
	if p.tx != nil {
		if n, err := p.tx.Claim(out, size); err == nil {
			return n, nil
		}
	}
	return p.link.Claim(out, size)
}

func (p *Port) commitLink(vs []wire.Vesicle) error {
	if p.tx != nil {
		return p.tx.Commit(vs) // ErrOrder at most
	}
	return p.link.Commit(vs)
}

func (p *Port) releaseLink(n int) error {
	if p.rx != nil {
		return p.rx.Release(n) // ErrOrder at most
	}
	return p.link.Release(n)
}

func (p *Port) flushLink() error {
	if p.tx != nil && p.tx.Flush() == nil {
		return nil
	}
	return p.link.Flush()
}

// LinePayload is the most payload bytes of a vesicle that fits a cache line of
// a ring.
const LinePayload = 40

// FreeLines returns how many vesicles of up to LinePayload bytes WriteLines
// takes now, up to want of them, and 0 where the link isn't over rings, or a
// place is claimed.
func (p *Port) FreeLines(want int) int {
	if p.tx == nil || p.gone || p.claimed != 0 {
		return 0
	}
	return p.tx.FreeLines(want)
}

// FetchLine, called when a vesicle is about to be made for WriteLines, has the
// cache line that it will be written to come while it is being made:
// [ring.Producer.Fetch]. Without a ring it does nothing.
func (p *Port) FetchLine() {
	if p.tx != nil {
		p.tx.Fetch()
	}
}

// WriteLines copies vesicles into the link's ring and publishes them at once:
// [ring.Producer.Write], which is the fastest way for small ones. n is how many
// were written; fewer than len(vs) with a nil error means that the ring is
// full. Errors: link.ErrClosed, or that the link is gone.
func (p *Port) WriteLines(vs []wire.Vesicle) (n int, err error) {
	if p.tx == nil || p.gone {
		return 0, link.ErrClosed
	}
	if n, err = p.tx.Write(vs); err != nil {
		p.sendFailed(err, LinePayload)
	}
	return n, err
}
