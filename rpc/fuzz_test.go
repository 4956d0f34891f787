package rpc_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/wire"
)

// spoken is what a peer without manners says: a script, of which each step is
// one vesicle of any kind, with the fingerprint of some method or operation or
// of none, any flags, and any payload.
func spoken(script []byte, say func(h wire.Header, payload []byte)) {
	known := []uint64{1, rpc.OpBind.Fingerprint(), rpc.OpDescribe.Fingerprint(), rpc.OpStats.Fingerprint()}
	for i := range arith.ArithDesc.Methods {
		known = append(known, arith.ArithDesc.Methods[i].Fingerprint)
	}
	for len(script) >= 5 {
		n := min(int(script[4]&0x3f), len(script)-5)
		h := wire.Header{
			Fingerprint: known[int(script[0])%len(known)], Kind: wire.Kind(script[1]%8 + 1), Channel: wire.Channel(script[1] >> 6 & 3),
			Flags: wire.Flags(script[2]) & (wire.FlagMore | wire.FlagEnd | wire.FlagDeadline | wire.FlagFragment), Correlation: uint32(script[3] % 4), Hops: 16,
		}
		payload := append([]byte(nil), script[5:5+n]...)
		if h.Flags&wire.FlagFragment != 0 && n > wire.FragmentSize {
			binary.LittleEndian.PutUint32(payload, uint32(n-wire.FragmentSize)+uint32(script[4]>>6))
			binary.LittleEndian.PutUint32(payload[4:], uint32(script[3]>>6))
		}
		h.Length = uint32(n)
		if h.Validate() == nil {
			say(h, payload)
		}
		script = script[5+n:]
	}
}

// talk sends one vesicle, if there is room, and reads what has come.
func talk(t *testing.T, l link.Link, h wire.Header, payload []byte) {
	var v [8]wire.Vesicle
	n, err := l.Poll(v[:])
	for i := range v[:n] {
		if err := v[i].Header.Validate(); err != nil {
			t.Fatalf("%+v: %v", v[i].Header, err)
		}
	}
	if err := errors.Join(err, l.Release(n)); err != nil {
		t.Fatal(err)
	}
	if n, _ := l.Claim(v[:1], len(payload)); n == 0 {
		return
	}
	copy(v[0].Payload, payload)
	v[0].Header = h
	if err := errors.Join(l.Commit(v[:1]), l.Flush()); err != nil {
		t.Fatal(err)
	}
}

func seed(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x01\x10aaaaaaaabbbbbbbb\x07\x04\x02\x01\x08aaaaaaaa"))
	f.Add([]byte("\x01\x80\x00\x01\x02{}\x05\x00\x24\x02\x1caaaaaaaaaaaaaaaaaaaaaaaaaaaa\x08\x05\x00\x01\x04\xff\xff\xff\xff\x08\x06\x00\x01\x00"))
}

// FuzzServer has a client say anything. The server lives, sends only what is
// valid, and still answers another client.
func FuzzServer(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		s := newServer(t, &rpc.ServerOptions{MaxInFlight: 4, MaxRequest: 4096, MaxQueued: 4096, StreamMemory: 4096})
		impl := blockingArith(t, s)
		e := startEngine(t, engine.IdleAdaptive)
		near, rude, err := linktest.Pipe(linktest.PipeConfig{MaxPayload: 128})
		if err != nil {
			t.Fatal(err)
		}
		defer rude.Close()
		if err := s.Serve(e, near); err != nil {
			t.Fatal(err)
		}
		spoken(script, func(h wire.Header, payload []byte) { talk(t, rude, h, payload) })
		close(impl.Hang)
		polite := connectOn(t, e, s)
		if r, err := arith.NewArithClient(polite).Add(soon(t), arith.AddRequest{A: 40, B: 2}); err != nil || r.Sum != 42 {
			t.Fatalf("another client: %+v, %v", r, err)
		}
	})
}

// connectOn serves s over a new pipe on an engine that runs already.
func connectOn(t *testing.T, e *engine.Engine, s *rpc.Server) *rpc.Conn {
	near, far, err := linktest.Pipe(linktest.PipeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(e, near); err != nil {
		t.Fatal(err)
	}
	c, err := rpc.NewConn(far, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
