package forward

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
)

// How long Keep waits before it dials again: doubled after each failure, and
// each time anything from half to all of it.
const (
	keepPace     = 20 * time.Millisecond
	keepPaceMost = time.Second
)

// Keep keeps a link attached to the target until ctx ends, and returns the
// cause of that: it dials, waits until the link is lost, and dials again. up, if
// not nil, is called with each new link before that is attached, and may talk
// over it; if it fails, the link is closed and dialed again.
func (t *Target) Keep(ctx context.Context, dial rpc.DialFunc, up func(ctx context.Context, l link.Link) error) error {
	if dial == nil {
		return fmt.Errorf("%w: Keep needs a dial function", ErrArgument)
	}
	for pace := keepPace; ; {
		began := time.Now()
		err := t.keepOnce(ctx, dial, up)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, engine.ErrStopped), errors.Is(err, ErrClosed):
			return err
		}
		t.forwarder.opts.Logger.Info("forward: dialing again", "target", t.name, "why", err)
		if time.Since(began) > keepPaceMost {
			pace = keepPace // it was up for a while
		}
		select {
		case <-time.After(pace/2 + rand.N(pace/2)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pace = min(2*pace, keepPaceMost)
	}
}

// keepOnce attaches one link and returns when it is lost, and why.
func (t *Target) keepOnce(ctx context.Context, dial rpc.DialFunc, up func(context.Context, link.Link) error) error {
	l, err := dial(ctx)
	if err != nil {
		return err
	}
	if up != nil {
		err = up(ctx, l)
	}
	var gone <-chan error
	if err == nil {
		gone, err = t.Attach(l)
	}
	if err != nil {
		_ = l.Close()
		return err
	}
	select {
	case err = <-gone:
		return err
	case <-ctx.Done():
		_ = t.Detach()
		return <-gone
	}
}
