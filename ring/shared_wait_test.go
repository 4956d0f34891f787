package ring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// longSlices makes a producer's sleep last until it is woken, so that a lost
// wake-up shows.
func longSlices(t *testing.T) {
	t.Helper()
	old := spaceSlice
	t.Cleanup(func() { spaceSlice = old })
	spaceSlice = time.Hour
}

// full fills the ring of f with records of n bytes by p.
func full(t *testing.T, p *SharedProducer, n int) (records int) {
	t.Helper()
	var vs [1]wire.Vesicle
	for {
		if _, err := p.Claim(vs[:], n); errors.Is(err, ErrFull) {
			return records
		} else if err != nil {
			t.Fatal(err)
		}
		vs[0].Header = wire.Header{Kind: wire.KindEvent}
		if err := errors.Join(p.Commit(vs[:]), p.Flush()); err != nil {
			t.Fatal(err)
		}
		records++
	}
}

func TestAwaitSpaceThatNeedNotSleep(t *testing.T) {
	f := newFan(t, MinSize)
	p := f.producer(0)
	if err := p.AwaitSpace(t.Context(), p.MaxPayload()); err != nil {
		t.Errorf("of an empty ring: %v", err)
	}
	if err := p.AwaitSpace(t.Context(), p.MaxPayload()+1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("for more than a record may have: %v, want ErrTooLarge", err)
	}
	full(t, p, 900)
	over, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := p.AwaitSpace(over, 900); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("of a full ring when the context has ended: %v, want its cause", err)
	}
	p.Stop(true)
	if err := p.AwaitSpace(t.Context(), 900); !errors.Is(err, ErrPeerGone) {
		t.Errorf("after Stop: %v, want ErrPeerGone", err)
	}
	if w := f.c.Stats().Wakes; w != 0 {
		t.Errorf("%d wake-ups though nobody slept", w)
	}
}

func TestAwaitSpaceLooksAtItsContext(t *testing.T) {
	f := newFan(t, MinSize)
	p := f.producer(0)
	full(t, p, 900)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.AwaitSpace(ctx, 900); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AwaitSpace = %v, want DeadlineExceeded", err)
	}
}

// asleep starts AwaitSpace and returns once the flag says that it sleeps, or is
// about to.
func asleep(t *testing.T, f *fan, p *SharedProducer, size int) (result chan error) {
	t.Helper()
	result = make(chan error, 1)
	go func() { result <- p.AwaitSpace(context.Background(), size) }()
	for end := time.Now().Add(standstill); atomic.LoadUint32(f.m.control.word(offWriterSleep))&sleepArmed == 0; {
		if time.Now().After(end) {
			t.Fatal("the producer does not go to sleep")
		}
		time.Sleep(100 * time.Microsecond)
	}
	return result
}

func woken(t *testing.T, result chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(standstill):
		t.Fatal("the producer sleeps on")
		return nil
	}
}

func TestStopWakesAProducerThatWaitsForRoom(t *testing.T) {
	longSlices(t)
	f := newFan(t, MinSize)
	p := f.producer(0)
	full(t, p, 900)
	result := asleep(t, f, p, 900)
	time.Sleep(time.Millisecond)
	p.Stop(false)
	if err := woken(t, result); !errors.Is(err, ErrClosed) {
		t.Errorf("AwaitSpace = %v, want ErrClosed", err)
	}
}

// Several producers that sleep before each record, and a consumer that gives back
// one at a time: whoever is not woken sleeps for an hour.
func TestNoProducerThatWaitsForRoomIsForgotten(t *testing.T) {
	if !keepsOrder() {
		t.Skip("this emulator does not keep a load behind an earlier release store")
	}
	const producers = 3
	each := 2_000
	if testing.Short() || emulated() || quarantineCosts {
		each = 200
	}
	for _, mode := range barrierModes {
		t.Run(mode.name, func(t *testing.T) {
			force(t, mode.registered, mode.canBarrier)
			longSlices(t)
			f := newFan(t, MinSize)
			ctx, cancel := context.WithTimeout(t.Context(), standstill)
			defer cancel()
			var all sync.WaitGroup
			for range producers {
				p := f.producer(0)
				all.Go(func() {
					var vs [1]wire.Vesicle
					for range each {
						for {
							if err := p.AwaitSpace(ctx, 1500); err != nil {
								t.Error(err)
								return
							}
							if n, _ := p.Claim(vs[:], 1500); n == 1 {
								break
							}
						}
						vs[0].Header = wire.Header{Kind: wire.KindEvent}
						if err := errors.Join(p.Commit(vs[:]), p.Flush()); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			var in [1]wire.Vesicle
			for got := 0; got < producers*each && ctx.Err() == nil; {
				n, err := f.c.Poll(in[:])
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					pause()
					continue
				}
				for range got % 61 {
					pause()
				}
				got += n
				if err := f.c.Release(n); err != nil {
					t.Fatal(err)
				}
			}
			all.Wait()
			if ctx.Err() != nil {
				t.Errorf("not done in %v: a producer was not woken (%d wake-ups)", standstill, f.c.Stats().Wakes)
			}
		})
	}
}
