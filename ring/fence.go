package ring

import "sync/atomic"

// fence is a full memory fence. Each user embeds its own, so that two threads
// that fence do not share a cache line.
type fence struct{ word atomic.Uint32 }

// full orders everything before it against everything after it: an atomic
// read-modify-write of any word does, on every architecture Go supports.
func (f *fence) full() { f.word.Add(0) }
