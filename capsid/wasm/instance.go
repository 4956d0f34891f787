package wasm

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/cell-runtime/cell/wire"
)

// Instance is one cell. It belongs to one goroutine at a time.
type Instance struct {
	m            api.Module
	buffer, call api.Function
	stack        [2]uint64
}

// Request returns where in the guest's memory a request of that size goes, to
// be built there. It is valid until the next method is called. Errors: ErrTrap,
// ErrGuest.
func (i *Instance) Request(ctx context.Context, size int) ([]byte, error) {
	if size < 0 || size > maxMemory-1 {
		return nil, fmt.Errorf("%w: a request of %d bytes", ErrGuest, size)
	}
	i.stack[0] = uint64(uint32(size))
	if err := i.buffer.CallWithStack(ctx, i.stack[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrap, err)
	}
	at := uint32(i.stack[0])
	b, ok := i.m.Memory().Read(at, uint32(size))
	if !ok || at == 0 {
		return nil, fmt.Errorf("%w: no room for a request of %d bytes (it says %#x)", ErrGuest, size, at)
	}
	return b[:size:size], nil
}

// Call has the guest answer the request of that size, built before, and returns
// the reply in the guest's memory, valid until the next method is called. A
// status that the guest answers with is returned as the error, a wire.Status.
// Errors beside: ErrTrap, ErrGuest.
func (i *Instance) Call(ctx context.Context, fingerprint uint64, size int) ([]byte, error) {
	i.stack[0], i.stack[1] = fingerprint, uint64(uint32(size))
	if err := i.call.CallWithStack(ctx, i.stack[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrap, err)
	}
	r := i.stack[0]
	if n := int64(r); n < 0 {
		if n < -255 {
			return nil, fmt.Errorf("%w: status %d", ErrGuest, -n)
		}
		return nil, wire.Status(-n)
	}
	b, ok := i.m.Memory().Read(uint32(r>>32), uint32(r))
	if !ok {
		return nil, fmt.Errorf("%w: a reply of %d bytes at %#x, beyond its memory", ErrGuest, uint32(r), uint32(r>>32))
	}
	return b[:len(b):len(b)], nil
}

// Memory is how many bytes the instance has.
func (i *Instance) Memory() int64 { return int64(i.m.Memory().Size()) }

// Close ends the instance and gives its memory back.
func (i *Instance) Close(ctx context.Context) error { return i.m.Close(ctx) }
