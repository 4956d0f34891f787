package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/wire"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestPanicCostsOneVesicle(t *testing.T) {
	var log lockedBuffer
	near, far := pipe(t, linktest.PipeConfig{})
	kinds := []string{"ok", "panic", "ok", "panic claimed", "ok", "panic event", "ok"}
	for i, k := range kinds {
		h := request(uint32(i))
		if k == "panic event" {
			h = event(uint32(i))
		}
		send(t, far, h, k)
	}
	e := running(t, engine.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
		switch string(v.Payload) {
		case "panic claimed":
			if _, err := p.Claim(100); err != nil {
				t.Error(err)
			}
			fallthrough
		case "panic", "panic event":
			panic("secret of the server")
		}
		echo(p, v)
	}))
	for i, k := range kinds {
		if k == "panic event" {
			continue
		}
		g := receive(t, far)
		if g.Correlation != uint32(i) {
			t.Fatalf("answer %d: %+v", i, g)
		}
		if k == "ok" {
			if g.Kind != wire.KindReply {
				t.Errorf("%d: %+v", i, g)
			}
			continue
		}
		p, err := wire.DecodeError([]byte(g.payload))
		if err != nil || g.Kind != wire.KindError || p.Status != wire.StatusInternal {
			t.Errorf("%d: %+v %+v %v", i, g, p, err)
		}
		if strings.Contains(p.Message, "secret") {
			t.Errorf("the peer was told %q", p.Message)
		}
	}
	eventually(t, "three panics counted", func() bool { return e.Stats().Panics == 3 })
	if s := log.String(); !strings.Contains(s, "secret of the server") || !strings.Contains(s, "panic_test.go") {
		t.Errorf("log without reason or stack: %s", s)
	}
}

func TestPanicAnswerWaitsForRoom(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{Slots: 2})
	e := running(t, engine.Config{})
	add(t, e, near, engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
		if v.Header.Correlation >= 2 {
			panic("always")
		}
		echo(p, v)
	}))
	sent := uint32(0)
	eventually(t, "the peer's link is full", func() bool {
		if send(t, far, request(sent), "") {
			sent++
			return false
		}
		return true
	})
	for i := range sent {
		g := receive(t, far)
		want := wire.KindError
		if i < 2 {
			want = wire.KindReply
		}
		if g.Correlation != i || g.Kind != want {
			t.Fatalf("answer %d: %+v", i, g)
		}
	}
}

func TestPanicElsewhereIsContained(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	e := running(t, engine.Config{})
	if err := e.Do(context.Background(), func() { panic("in Do") }); !errors.Is(err, engine.ErrPanic) {
		t.Errorf("Do: %v", err)
	}
	timer := engine.Timer{Func: func(*engine.Timer) { panic("in timer") }}
	do(t, e, func() { e.StartTimer(&timer, 0) })
	p := add(t, e, near, engine.HandlerFunc(echo), engine.OnGone(func(*engine.Port, error) { panic("in OnGone") }))
	if err := e.Remove(p); err != nil {
		t.Error(err)
	}
	eventually(t, "three panics counted", func() bool { return e.Stats().Panics == 3 })
	add(t, e, near, engine.HandlerFunc(echo))
	send(t, far, request(1), "alive")
	if g := receive(t, far); g.payload != "alive" {
		t.Errorf("%+v", g)
	}
}

func TestGoexitEndsTheEngineCleanly(t *testing.T) {
	near, far := pipe(t, linktest.PipeConfig{})
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	add(t, e, near, engine.HandlerFunc(func(*engine.Port, *wire.Vesicle) { runtime.Goexit() }),
		engine.OnGone(func(_ *engine.Port, err error) { gone <- err }))
	send(t, far, request(1), "")
	select {
	case <-e.Done():
	case <-time.After(patience):
		t.Fatal("the engine did not end")
	}
	if err := e.Stop(); !errors.Is(err, engine.ErrGoexit) {
		t.Errorf("Stop: %v", err)
	}
	if err := <-gone; !errors.Is(err, engine.ErrStopped) {
		t.Errorf("OnGone: %v", err)
	}
	if err := e.Do(context.Background(), func() {}); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("Do: %v", err)
	}
}
