package forward_test

import (
	"testing"
	"time"

	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/wire"
)

// FuzzForward has a caller, a second one and a target say anything at all, in
// any order, and go and come back in between. Whatever they say, the forwarder
// lives, sends only what is valid, and has no call left once all are gone.
func FuzzForward(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x02\x01\x02\x00"))
	f.Add([]byte{0, 1, 1, 4, 2, 2, 1, 0, 3, 0, 0, 0, 0, 1, 2, 36, 2, 5, 1, 0, 0, 7, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		r := newRig(t, 2, &forward.Options{MaxCalls: 4, Patience: time.Millisecond}, linktest.PipeConfig{MaxPayload: 64, Slots: 4})
		for ; len(script) >= 4; script = script[4:] {
			act(r, script[0], script[1], script[2], script[3])
		}
		for _, k := range r.callers {
			_ = k.Close()
		}
		_ = r.device.Close()
		r.eventually("no call is left", func(s forward.Stats) bool { return s.Calls == 0 })
	})
}

// act plays one step of a script.
func act(r *rig, who, kind, correlation, flags byte) {
	l := r.device
	if who%4 < 2 {
		l = r.callers[who%4]
	}
	if who%4 == 3 { // comes or goes
		if kind%2 == 0 {
			_ = r.device.Close()
			<-r.gone
			r.plug(linktest.PipeConfig{MaxPayload: 64, Slots: 4})
			return
		}
		_ = r.callers[0].Close()
		near, far := pipe(r, linktest.PipeConfig{})
		_, err := r.f.AddCaller(near)
		r.must(err)
		r.callers[0] = far
		return
	}
	drain(r, l)
	var v [1]wire.Vesicle
	size := int(flags>>2) + wire.FragmentSize
	if n, _ := l.Claim(v[:], size); n == 0 {
		return
	}
	for i := range v[0].Payload {
		v[0].Payload[i] = byte(i) * correlation
	}
	wire.PutFragment((*[wire.FragmentSize]byte)(v[0].Payload), wire.Fragment{Total: uint32(size-12) + uint32(kind), Offset: uint32(flags & 3), Sequence: 1})
	v[0].Header = wire.Header{
		Fingerprint: method + uint64(kind>>7), Correlation: uint32(correlation), Kind: wire.Kind(kind%8 + 1),
		Flags: wire.Flags(flags) & (wire.FlagMore | wire.FlagEnd | wire.FlagDeadline | wire.FlagFragment), Hops: correlation % 3,
	}
	if who%4 == 2 && r.last != 0 {
		v[0].Header.Correlation = r.last + uint32(correlation%2)
	}
	if v[0].Header.Flags&wire.FlagFragment == 0 {
		v[0].Header.Flags &^= wire.FlagMore
	}
	_ = l.Commit(v[:])
	_ = l.Flush()
}

// drain reads what has arrived at l.
func drain(r *rig, l *linktest.End) {
	var v [8]wire.Vesicle
	n, _ := l.Poll(v[:])
	for i := range v[:n] {
		h := v[i].Header
		if err := h.Validate(); err != nil {
			r.Fatalf("%+v: %v", h, err)
		}
		if l == r.device {
			r.last = h.Correlation
		}
	}
	_ = l.Release(n)
}
