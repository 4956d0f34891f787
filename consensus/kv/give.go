package kv

import (
	"context"
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/wire"
)

// ErrCantSplit: nothing was done; the text says what is in the way.
var ErrCantSplit = errors.New("kv: the store can't be split")

// What one transaction fills in at most, besides one key of any size.
const (
	giveKeys  = 128
	giveBytes = 256 << 10
)

// Give gives the keys of a store, from a key on up to the end of what it has, to an
// unused one, whose group is called group; both have a replica here. Meanwhile those
// keys are in neither, for as long as it takes to write them anew; callers wait. An
// attempt that was broken off goes on with the next one, on whichever node that is
// made. Error: [ErrCantSplit] where it can't begin, because the other store was used or
// a key has a lease; any other may be of the moment.
func Give(ctx context.Context, from, to *Service, at, group string) error {
	p, err := to.Part(ctx)
	if err != nil {
		return err
	}
	if p.From != at { // not begun
		all, err := from.Part(ctx)
		if err != nil {
			return err
		}
		if err := to.one(ctx, Op{Kind: OpBound, Key: []byte(at), End: []byte(all.To), Value: []byte(all.Next)}); err != nil {
			return refused(err)
		}
		p.Filling = true
	}
	if p.Filling {
		if err := from.one(ctx, Op{Kind: OpSplit, Key: []byte(at), Value: []byte(group)}); err != nil {
			return refused(err)
		}
		start := at
		if p.Last != "" {
			start = p.Last + "\x00"
		}
		if err := from.fill(ctx, to, start); err != nil {
			return err
		}
		if err := to.one(ctx, Op{Kind: OpOpen}); err != nil {
			return err
		}
	}
	for {
		r, err := from.txn(ctx, &TxnRequest{Then: []Op{{Kind: OpDrop}}})
		if err != nil || r.Results[0].Deleted == 0 {
			return err
		}
	}
}

// refused is err as [ErrCantSplit] where the machine has refused.
func refused(err error) error {
	if errors.Is(err, wire.StatusFailedPrecondition) && !errors.Is(err, consensus.ErrSessionExpired) {
		return fmt.Errorf("%w: %w", ErrCantSplit, err)
	}
	return err
}

// one executes one operation.
func (s *Service) one(ctx context.Context, o Op) error {
	_, err := s.txn(ctx, &TxnRequest{Then: []Op{o}})
	return err
}

// fill writes keys that were given away into the store that has them now.
func (s *Service) fill(ctx context.Context, to *Service, start string) error {
	for {
		items, err := s.Moved(ctx, start)
		if err != nil || len(items) == 0 {
			return err
		}
		start = string(items[len(items)-1].Key) + "\x00"
		for len(items) > 0 {
			var t TxnRequest
			n, size := 0, 0
			for ; n < len(items) && n < giveKeys && (n == 0 || size+len(items[n].Value) <= giveBytes); n++ {
				size += len(items[n].Key) + len(items[n].Value)
				t.Then = append(t.Then, Op{Kind: OpFill, Key: items[n].Key, Value: items[n].Value})
			}
			items = items[n:]
			if _, err := to.txn(ctx, &t); err != nil {
				return err
			}
		}
	}
}
