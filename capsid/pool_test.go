package capsid_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/capsidtest"
)

func TestAPoolIsReadyBeforeItIsAskedFor(t *testing.T) {
	p, err := capsid.NewPool(capsid.PoolOptions{Backend: open(t, "none"), Spec: capsid.Spec{Name: "warm", Command: capsidtest.Command("echo")}, Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for until := time.Now().Add(20 * time.Second); p.Len() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d are ready", p.Len())
		}
	}
	seen := map[int]bool{}
	for range 7 {
		c, err := p.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if seen[c.PID()] || !strings.HasPrefix(c.Name(), "warm-") {
			t.Errorf("%s is process %d", c.Name(), c.PID())
		}
		seen[c.PID()] = true
		b := make([]byte, 10)
		_ = c.Socket().SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Socket().Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Socket().Read(b); err != nil || string(b[:n]) != "hello" {
			t.Errorf("%q, %v", b[:n], err)
		}
		c.Kill(capsid.Killed, "enough")
		capsidtest.End(t, c)
	}
	p.Close()
	if _, err := p.Take(t.Context()); !errors.Is(err, capsid.ErrPoolClosed) {
		t.Errorf("closed: %v", err)
	}
	if left := capsidtest.Cells(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAPoolThatCantBeFilledSaysWhy(t *testing.T) {
	p, err := capsid.NewPool(capsid.PoolOptions{Backend: open(t, "none"), Spec: capsid.Spec{Name: "cold", Command: []string{"/does/not/exist"}}, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for until := time.Now().Add(20 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := p.Take(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && errors.Is(err, capsid.ErrStart) {
			break
		}
		// Where nothing was tried yet, there is nothing to say but that time is up.
		if !errors.Is(err, context.DeadlineExceeded) || time.Now().After(until) {
			t.Errorf("%v", err)
			break
		}
	}
	for _, o := range []capsid.PoolOptions{{}, {Backend: open(t, "none"), Size: 1}, {Backend: open(t, "none"), Size: 1 << 20}} {
		if _, err := capsid.NewPool(o); !errors.Is(err, capsid.ErrSpec) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
