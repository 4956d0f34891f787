package rpc

import (
	"io"
	"sync"
)

// inbox holds the items of one stream, or the events of one subscription, that
// have arrived and were not taken yet. Its bound is the credit that was
// granted: a peer that sends more breaks the protocol.
type inbox struct {
	mu      sync.Mutex
	items   []*buffer // a FIFO: items[at:]
	at      int
	bytes   int
	most    int // bytes
	window  int // credit that may be out
	granted int // credit that the peer has left
	taken   int // items taken since credit was granted last
	ended   bool
	err     error         // why it ended, if not by its proper end
	wake    chan struct{} // of capacity 1; nil where the taker polls
}

// put adds an item and reports whether it was within the credit. It copies.
func (b *inbox) put(item []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return true // nobody wants it
	}
	if b.granted == 0 || b.bytes+len(item) > b.most {
		return false
	}
	b.granted--
	c := newBuffer(len(item))
	copy(c.b, item)
	b.bytes += len(item)
	b.items = append(b.items, c)
	b.tell()
	return true
}

// end ends the inbox: err is nil after the last item. What arrived before is
// still taken, but not after an error.
func (b *inbox) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	b.ended, b.err = true, err
	if err != nil {
		b.drop()
	}
	b.tell()
}

func (b *inbox) drop() {
	for _, c := range b.items[b.at:] {
		c.free()
	}
	b.items, b.at, b.bytes = nil, 0, 0
}

func (b *inbox) tell() {
	if b.wake != nil {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// ready reports whether take has something to return.
func (b *inbox) ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at < len(b.items) || b.ended
}

// take returns the next item, which the caller frees, and how much credit to
// grant the peer now. It returns nil and nil if there is none yet, io.EOF
// behind the last.
func (b *inbox) take() (item *buffer, grant int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at == len(b.items) {
		if !b.ended {
			return nil, 0, nil
		}
		if b.err != nil {
			return nil, 0, b.err
		}
		return nil, 0, io.EOF
	}
	item = b.items[b.at]
	b.items[b.at] = nil
	b.at++
	b.bytes -= len(item.b)
	if b.at == len(b.items) {
		b.items, b.at = b.items[:0], 0
	}
	b.taken++
	return item, b.grant(), nil
}

// grant returns the credit that is due: half a window at a time, so that it is
// paid for rarely and the peer seldom waits for it.
func (b *inbox) grant() int {
	if b.ended || 2*b.taken < b.window {
		return 0
	}
	n := b.taken
	b.taken = 0
	b.granted += n
	return n
}

// open grants the first credit and returns it.
func (b *inbox) open(window, memory int) int {
	b.window, b.granted, b.most = window, window, memory
	return window
}

// outflow is the credit that the peer has granted for items this side sends.
type outflow struct {
	mu     sync.Mutex
	credit uint64
	err    error         // the call is over
	wake   chan struct{} // of capacity 1; nil where the sender polls
}

// add is credit that came from the peer, bounded so that it can't overflow.
func (f *outflow) add(n uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.credit = min(f.credit+uint64(n), 1<<32)
	f.tell()
}

func (f *outflow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.tell()
}

func (f *outflow) tell() {
	if f.wake != nil {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// ready reports whether acquire has something to say.
func (f *outflow) ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.credit > 0 || f.err != nil
}

// acquire takes credit for one item; false means none now.
func (f *outflow) acquire() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return false, f.err
	}
	if f.credit == 0 {
		return false, nil
	}
	f.credit--
	return true, nil
}
