package rpc

import (
	"sync"
	"sync/atomic"
)

// buffer is memory for a message that can't be written in place: the copy of a
// request for a blocking handler, an answer that waits for the engine's thread.
type buffer struct {
	b []byte
	// more counts the holders beside the first: an event goes to many links
	// and is encoded once.
	more atomic.Int32
}

var bufferPool = sync.Pool{New: func() any { return new(buffer) }}

// keepBuffer is the largest buffer in bytes that is kept for later messages.
const keepBuffer = 1 << 20

// newBuffer returns a buffer of n bytes of arbitrary content.
func newBuffer(n int) *buffer {
	b := bufferPool.Get().(*buffer)
	if cap(b.b) < n {
		b.b = make([]byte, n)
	}
	b.b = b.b[:n]
	return b
}

// retain adds holders, each of which frees the buffer once.
func (b *buffer) retain(n int) { b.more.Add(int32(n)) }

// free gives the buffer back once all of its holders have; nil is fine.
func (b *buffer) free() {
	if b == nil || b.more.Load() != 0 && b.more.Add(-1) >= 0 {
		return
	}
	b.more.Store(0)
	if cap(b.b) <= keepBuffer {
		bufferPool.Put(b)
	}
}

// encode writes a message into a new buffer. Errors are the message's own.
func encode(m Encoder) (*buffer, error) {
	b := newBuffer(m.SizeCell())
	n, err := m.EncodeCell(b.b)
	if err != nil {
		b.free()
		return nil, err
	}
	b.b = b.b[:n]
	return b, nil
}
