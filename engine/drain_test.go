package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		near, far := pipe(t, linktest.PipeConfig{})
		e := running(t, engine.Config{Idle: idle})
		accepted := make(chan struct{}, 1)
		var late wire.Header
		p := add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
			switch v.Header.Kind {
			case wire.KindRequest: // to be answered later
				late = v.Header
				p.Hold()
				accepted <- struct{}{}
			case wire.KindEvent: // ends it
				if err := p.Reply(&wire.Vesicle{Header: late}, []byte("late")); err != nil {
					t.Error(err)
				}
				p.Unhold()
			}
		}))
		send(t, far, request(1), "")
		<-accepted
		drained := make(chan error, 1)
		go func() { drained <- e.Drain(context.Background()) }()
		eventually(t, "new links are refused", func() bool {
			q, _ := pipe(t, linktest.PipeConfig{})
			extra, err := e.Add(q, engine.HandlerFunc(echo))
			if err == nil {
				_ = e.Remove(extra)
			}
			return errors.Is(err, engine.ErrDraining)
		})
		send(t, far, request(2), "too late")
		g := receive(t, far)
		payload, err := wire.DecodeError([]byte(g.payload))
		if err != nil || g.Correlation != 2 || payload.Status != wire.StatusDraining {
			t.Errorf("new request: %+v %+v %v", g, payload, err)
		}
		select {
		case err := <-drained:
			t.Fatalf("drained with a call under way: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		send(t, far, event(3), "")
		if g := receive(t, far); g.Correlation != 1 || g.payload != "late" {
			t.Errorf("call under way: %+v", g)
		}
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		if err := e.Err(); err != nil {
			t.Errorf("Err: %v", err)
		}
		_ = p
	})
}

func TestDrainOfAnIdleEngineIsImmediate(t *testing.T) {
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		near, _ := pipe(t, linktest.PipeConfig{})
		e := running(t, engine.Config{Idle: idle})
		add(t, e, near, engine.HandlerFunc(echo))
		time.Sleep(2 * time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestDrainIsCutShort(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	e := running(t, engine.Config{})
	accepted := make(chan struct{})
	add(t, e, near, engine.HandlerFunc(func(p *engine.Port, _ *wire.Vesicle) { p.Hold(); close(accepted) }))
	send(t, far, request(1), "")
	<-accepted
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if err := e.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
	<-e.Done()
}

func TestDrainPastAFloodingPeer(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	e := running(t, engine.Config{})
	add(t, e, near, engine.HandlerFunc(echo))
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var in [16]wire.Vesicle
		for {
			select {
			case <-stop:
				return
			default:
			}
			var out [1]wire.Vesicle
			if _, err := far.Claim(out[:], 0); err == nil {
				out[0].Header = request(1)
				_ = far.Commit(out[:])
				_ = far.Flush()
			}
			n, _ := far.Poll(in[:])
			_ = far.Release(n)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Drain(ctx); err != nil {
		t.Error(err)
	}
	close(stop)
	<-ended
}
