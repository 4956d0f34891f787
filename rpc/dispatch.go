package rpc

// dispatchTable finds what belongs to a fingerprint: open addressing with
// linear probing, at most half full, never changed once it is in use.
// Fingerprints are hashes already, so their low bits serve as they are; a peer
// can send any fingerprint, but which ones are in the table is not its choice.
type dispatchTable[T any] struct {
	mask    uint64
	entries []dispatchEntry[T]
}

type dispatchEntry[T any] struct {
	fingerprint uint64 // 0: free
	value       *T
}

// newDispatchTable makes a table of pairs; fingerprints must differ and not
// be 0.
func newDispatchTable[T any](pairs map[uint64]*T) *dispatchTable[T] {
	size := uint64(2)
	for size < 2*uint64(len(pairs)) {
		size *= 2
	}
	t := &dispatchTable[T]{mask: size - 1, entries: make([]dispatchEntry[T], size)}
	for fingerprint, value := range pairs {
		i := fingerprint & t.mask
		for t.entries[i].fingerprint != 0 {
			i = (i + 1) & t.mask
		}
		t.entries[i] = dispatchEntry[T]{fingerprint, value}
	}
	return t
}

// find returns what belongs to a fingerprint, or nil.
func (t *dispatchTable[T]) find(fingerprint uint64) *T {
	for i := fingerprint & t.mask; ; i = (i + 1) & t.mask {
		e := &t.entries[i]
		if e.fingerprint == fingerprint {
			return e.value
		}
		if e.fingerprint == 0 {
			return nil
		}
	}
}
