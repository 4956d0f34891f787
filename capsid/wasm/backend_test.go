package wasm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/capsidtest"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// start runs a module as a cell of a node of one.
func start(t *testing.T, b capsid.Backend, g guest, s capsid.Spec) (capsid.Process, *uds.Broker) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "wasm") // a cell's /tmp is its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "cell.wasm")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, g.module(), 0o644)); err != nil {
		t.Fatal(err)
	}
	s.Name, s.Command = "guest", []string{path}
	s.Files.System = true // where cgo is on, the test binary needs a loader
	if b.(*Backend).inner.Name() == "none" {
		s.Files.System = false
	}
	p, err := b.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	broker := uds.NewBroker(uds.BrokerOptions{Serve: func(p link.Peer, name string) error {
		if name != p.ID {
			return errors.New("not its name")
		}
		return nil
	}})
	go func() {
		_ = broker.Attach(context.Background(), p.Socket(), link.Peer{PID: p.PID(), UID: p.UID(), ID: p.Name()})
	}()
	t.Cleanup(func() {
		broker.Close()
		p.Kill(capsid.Killed, "the test is over")
		<-p.Done()
	})
	return p, broker
}

func TestAModuleIsACellLikeAnyOther(t *testing.T) {
	for _, inner := range []string{"none", "bwrap"} {
		t.Run(inner, func(t *testing.T) {
			if _, err := exec.LookPath("bwrap"); err != nil && inner == "bwrap" {
				t.Skip("bubblewrap is not installed")
			}
			in, err := capsid.Open(inner)
			if err != nil {
				t.Fatal(err)
			}
			b, err := NewBackend(in)
			if err != nil {
				t.Fatal(err)
			}
			p, broker := start(t, b, guest{}, capsid.Spec{})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := broker.Await(ctx, "guest"); err != nil {
				t.Fatalf("%v: %q", err, p.Tail())
			}
			s, err := broker.Dial(ctx, link.Peer{ID: "caller"}, "guest")
			if err != nil {
				t.Fatal(err)
			}
			c, err := uds.Client(ctx, s, &uds.Options{Policy: uds.AnyUser})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for id, word := range []string{"one", "another"} {
				var v [1]wire.Vesicle
				if _, err := c.ClaimWait(ctx, v[:], len(word), uds.WaitAdaptive); err != nil {
					t.Fatal(err)
				}
				copy(v[0].Payload, word)
				v[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: uint32(id), Fingerprint: 7}
				if err := errors.Join(c.Commit(v[:]), c.Flush()); err != nil {
					t.Fatal(err)
				}
				if _, err := c.PollWait(ctx, v[:], uds.WaitAdaptive); err != nil {
					t.Fatalf("%v: %q", err, p.Tail())
				}
				if h := v[0].Header; h.Kind != wire.KindReply || h.Correlation != uint32(id) || string(v[0].Payload) != word {
					t.Errorf("%+v %q", h, v[0].Payload)
				}
				if err := c.Release(1); err != nil {
					t.Fatal(err)
				}
			}
			broker.Close() // the cell ends with its node
			if e := capsidtest.End(t, p); !e.Success() {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestAModuleThatIsNoneEndsAndSaysWhy(t *testing.T) {
	in, err := capsid.Open("none")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBackend(in)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := start(t, b, guest{noExport: true}, capsid.Spec{})
	if e := capsidtest.End(t, p); e.Cause != capsid.Exited || e.Code != 1 || len(e.Tail) == 0 {
		t.Errorf("%+v", e)
	}
	for name, s := range map[string]capsid.Spec{
		"arguments": {Name: "x", Command: []string{"/x.wasm", "y"}},
		"missing":   {Name: "x", Command: []string{"/does/not/exist.wasm"}},
	} {
		if _, err := b.Start(t.Context(), s); !errors.Is(err, capsid.ErrSpec) && !errors.Is(err, capsid.ErrStart) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAModuleThatLoopsIsEnded(t *testing.T) {
	in, err := capsid.Open("none")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBackend(in)
	if err != nil {
		t.Fatal(err)
	}
	loop := []byte{opLoop, void, opBr, 0, opEnd}
	p, broker := start(t, b, guest{call: join(loop, echoCall)}, capsid.Spec{Limits: capsid.Limits{CPUTime: time.Second}})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := broker.Await(ctx, "guest"); err != nil {
		t.Fatal(err)
	}
	s, err := broker.Dial(ctx, link.Peer{}, "guest")
	if err != nil {
		t.Fatal(err)
	}
	c, err := uds.Client(ctx, s, &uds.Options{Policy: uds.AnyUser})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var v [1]wire.Vesicle
	if _, err := c.ClaimWait(ctx, v[:], 1, uds.WaitAdaptive); err != nil {
		t.Fatal(err)
	}
	v[0].Header = wire.Header{Kind: wire.KindRequest}
	if err := errors.Join(c.Commit(v[:]), c.Flush()); err != nil {
		t.Fatal(err)
	}
	if e := capsidtest.End(t, p); e.Cause != capsid.LimitReached || e.Limit != "cpu time" {
		t.Errorf("%+v", e)
	}
}
