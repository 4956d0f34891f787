package wasm

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/wire"
)

func newEngine(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	return e
}

func spawn(t testing.TB, e *Engine, g guest) *Instance {
	t.Helper()
	m, err := e.Compile(t.Context(), g.module())
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.Spawn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close(context.Background()) })
	return i
}

func TestAGuestAnswersInItsOwnMemory(t *testing.T) {
	i := spawn(t, newEngine(t, Options{}), guest{})
	for _, word := range []string{"", "x", strings.Repeat("long ", 1000)} {
		b, err := i.Request(t.Context(), len(word))
		if err != nil {
			t.Fatal(err)
		}
		copy(b, word)
		reply, err := i.Call(t.Context(), 7, len(word))
		if err != nil || string(reply) != word {
			t.Errorf("%.20q became %.20q, %v", word, reply, err)
		}
		if len(b) > 0 && &b[0] != &reply[0] {
			t.Error("it was copied")
		}
	}
}

func TestACallAllocatesNothing(t *testing.T) {
	i := spawn(t, newEngine(t, Options{}), guest{})
	ctx := t.Context()
	if n := testing.AllocsPerRun(200, func() {
		if _, err := i.Request(ctx, 64); err != nil {
			t.Fatal(err)
		}
		if _, err := i.Call(ctx, 1, 64); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func TestModulesThatCellsDoNotGet(t *testing.T) {
	e := newEngine(t, Options{MaxMemory: 4 * pageSize})
	for name, binary := range map[string][]byte{
		"nothing":              nil,
		"garbage":              []byte("#!/bin/sh"),
		"cut off":              guest{}.module()[:40],
		"without its call":     guest{noExport: true}.module(),
		"with files":           guest{imports: [][2]string{{"wasi_snapshot_preview1", "fd_write"}}}.module(),
		"with clocks":          guest{imports: [][2]string{{"wasi_snapshot_preview1", "clock_time_get"}}}.module(),
		"with what we lack":    guest{imports: [][2]string{{"cell", "open"}}}.module(),
		"with too much memory": guest{pages: 100}.module(),
	} {
		if _, err := e.Compile(t.Context(), binary); !errors.Is(err, ErrModule) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What escape means here: a guest reaches nothing but its memory and its answer.
func TestHostileGuestsAreContained(t *testing.T) {
	load := func(at int64) []byte { return join([]byte{opI32Const}, sleb(at), []byte{opI32Load, 2, 0, opDrop}) }
	for name, c := range map[string]struct {
		g    guest
		want error
	}{
		"reads beyond its memory":    {guest{call: join(load(1<<30), echoCall)}, ErrTrap},
		"reads before its memory":    {guest{call: join(load(-8), echoCall)}, ErrTrap},
		"traps":                      {guest{call: []byte{opUnreachable}}, ErrTrap},
		"calls itself for ever":      {guest{call: []byte{opLocalGet, 0, opLocalGet, 1, opCall, 1}}, ErrTrap},
		"a reply beyond its memory":  {guest{call: join([]byte{opI64Const}, sleb(60<<32|0x7fffffff))}, ErrGuest},
		"a reply that wraps":         {guest{call: join([]byte{opI64Const}, sleb(0x7fffffff<<32|0x7fffffff))}, ErrGuest},
		"a status that is none":      {guest{call: join([]byte{opI64Const}, sleb(-100000))}, ErrGuest},
		"a buffer beyond its memory": {guest{buffer: join([]byte{opI32Const}, sleb(0x7fffffff))}, ErrGuest},
		"no buffer":                  {guest{buffer: []byte{opI32Const, 0}}, ErrGuest},
		"a status":                   {guest{call: join([]byte{opI64Const}, sleb(-int64(wire.StatusNotFound)))}, wire.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, Options{})
			i := spawn(t, e, c.g)
			_, err := i.Request(t.Context(), 8)
			if err == nil {
				_, err = i.Call(t.Context(), 1, 8)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
			if _, err := spawn(t, e, guest{}).Request(t.Context(), 8); err != nil {
				t.Errorf("another cell suffers: %v", err)
			}
		})
	}
}

func TestAGuestThatLoopsIsInterrupted(t *testing.T) {
	i := spawn(t, newEngine(t, Options{Interruptible: true}), guest{call: join([]byte{opLoop, void, opBr, 0, opEnd}, echoCall)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := i.Call(ctx, 1, 0); !errors.Is(err, ErrTrap) {
		t.Errorf("%v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	// Grows by a page at every call and says by how many it had.
	grow := []byte{opI32Const, 1, opGrow, 0, opDrop}
	i := spawn(t, newEngine(t, Options{MaxMemory: 8 * pageSize}), guest{call: join(grow, echoCall)})
	for range 100 {
		if _, err := i.Call(t.Context(), 1, 0); err != nil {
			t.Fatal(err)
		}
	}
	if i.Memory() != 8*pageSize {
		t.Errorf("%d bytes", i.Memory())
	}
}

func TestNothingIsLeftForTheNextInstance(t *testing.T) {
	e := newEngine(t, Options{})
	m, err := e.Compile(t.Context(), guest{}.module())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		i, err := m.Spawn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := i.Request(t.Context(), 1000)
		if err != nil || !bytes.Equal(b, make([]byte, 1000)) {
			t.Fatalf("the memory of another: %q, %v", b[:20], err)
		}
		copy(b, "a secret of this cell")
		if err := i.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkSpawnCallDrop(b *testing.B) {
	e := newEngine(b, Options{})
	m, err := e.Compile(b.Context(), guest{}.module())
	if err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(p *testing.PB) {
		ctx := context.Background()
		for p.Next() {
			i, err := m.Spawn(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if _, err = i.Request(ctx, 64); err == nil {
				_, err = i.Call(ctx, 1, 64)
			}
			if err = errors.Join(err, i.Close(ctx)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "instances/s")
}
