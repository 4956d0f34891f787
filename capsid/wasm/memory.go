package wasm

import (
	"sync"

	"github.com/tetratelabs/wazero/experimental"
)

// memoryPool gives instances their memory and takes it back, so that a short
// life doesn't end in the garbage collector. Memory is zeroed before anybody
// gets it again: nothing goes from one cell to the next.
type memoryPool struct {
	free sync.Pool // of *linear
}

// pooledMax is the largest memory that is kept: a guest that has grown a lot is
// not the rule.
const pooledMax = 4 * pageSize

// linear is the memory of one instance.
type linear struct {
	pool  *memoryPool
	bytes []byte
	max   uint64
}

// Allocate implements experimental.MemoryAllocator.
func (p *memoryPool) Allocate(size, limit uint64) experimental.LinearMemory {
	l, ok := p.free.Get().(*linear)
	if !ok {
		l = &linear{pool: p}
	}
	if uint64(cap(l.bytes)) < size {
		l.bytes = make([]byte, 0, size)
	}
	l.max = limit
	return l
}

// Reallocate implements experimental.LinearMemory. What it uncovers is zero.
func (l *linear) Reallocate(size uint64) []byte {
	if size > l.max {
		return nil
	}
	if size <= uint64(cap(l.bytes)) {
		l.bytes = l.bytes[:size]
		return l.bytes
	}
	grown := make([]byte, size)
	copy(grown, l.bytes)
	l.bytes = grown
	return grown
}

// Free implements experimental.LinearMemory.
func (l *linear) Free() {
	if l.pool == nil || cap(l.bytes) > pooledMax {
		l.bytes = nil
		return
	}
	clear(l.bytes)
	l.bytes = l.bytes[:0]
	l.pool.free.Put(l)
}
