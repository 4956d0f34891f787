package forward_test

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/wire"
)

// method is what the rig's target serves, topic what it publishes.
const method, other = 0x1111_2222_3333_4444, 0x5555_6666_7777_8888

// rig is a forwarder with a target and some callers, whose far ends the test
// holds.
type rig struct {
	testing.TB
	engine  *engine.Engine
	f       *forward.Forwarder
	target  *forward.Target
	device  *linktest.End
	gone    <-chan error
	callers []*linktest.End
	last    uint32 // correlation of what the target got last; see act
}

func newRig(t testing.TB, callers int, o *forward.Options, c linktest.PipeConfig) *rig {
	r := &rig{TB: t, engine: startEngine(t)}
	r.f = newForwarder(t, r.engine, o)
	r.target = r.f.NewTarget("device")
	r.must(r.target.Route(method))
	r.plug(c)
	for range callers {
		r.addCaller(linktest.PipeConfig{})
	}
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// plug attaches a new link to the target.
func (r *rig) plug(c linktest.PipeConfig) {
	r.Helper()
	near, far := pipe(r, c)
	gone, err := r.target.Attach(near)
	r.must(err)
	r.device, r.gone = far, gone
}

func (r *rig) addCaller(c linktest.PipeConfig) *linktest.End {
	r.Helper()
	near, far := pipe(r, c)
	_, err := r.f.AddCaller(near)
	r.must(err)
	r.callers = append(r.callers, far)
	return far
}

// send sends one vesicle.
func (r *rig) send(l link.Link, h wire.Header, payload string) {
	r.Helper()
	var v [1]wire.Vesicle
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n, err := l.Claim(v[:], len(payload))
		if n == 1 {
			break
		}
		if !errors.Is(err, link.ErrFull) || time.Now().After(end) {
			r.Fatal(err)
		}
	}
	copy(v[0].Payload, payload)
	if h.Hops == 0 {
		h.Hops = 16
	}
	v[0].Header = h
	r.must(l.Commit(v[:]))
	r.must(l.Flush())
}

// receive returns the next vesicle of l.
func (r *rig) receive(l link.Link) (h wire.Header, payload string) {
	r.Helper()
	var v [1]wire.Vesicle
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		n, err := l.Poll(v[:])
		if err != nil {
			r.Fatal(err)
		}
		if n == 1 {
			payload = string(v[0].Payload)
			r.must(l.Release(1))
			return v[0].Header, payload
		}
		if time.Now().After(end) {
			r.Fatal("nothing came")
		}
	}
}

// status receives an error and returns its status.
func (r *rig) status(l link.Link, correlation uint32) wire.Status {
	r.Helper()
	h, payload := r.receive(l)
	p, err := wire.DecodeError([]byte(payload))
	if h.Kind != wire.KindError || err != nil || h.Correlation != correlation || h.Fingerprint != method {
		r.Fatalf("%+v %q: %v; want an error of call %d", h, payload, err, correlation)
	}
	return p.Status
}

// silent fails the test if l has something to say. What was sent before has
// been handled, since the engine has had a turn over all its links.
func (r *rig) silent(l link.Link) {
	r.Helper()
	for range 3 {
		if _, err := r.f.Stats(); err != nil {
			r.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	var v [1]wire.Vesicle
	if n, err := l.Poll(v[:]); n != 0 || err != nil {
		r.Fatalf("%+v %q, %v; want nothing", v[0].Header, v[0].Payload, err)
	}
}

func (r *rig) stats() forward.Stats {
	r.Helper()
	s, err := r.f.Stats()
	r.must(err)
	return s
}

// eventually waits until the forwarder's counters are as ok wants them.
func (r *rig) eventually(what string, ok func(forward.Stats) bool) {
	r.Helper()
	for end := time.Now().Add(patience); !ok(r.stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%s: %+v", what, r.stats())
		}
	}
}

func request(correlation uint32) wire.Header {
	return wire.Header{Fingerprint: method, Correlation: correlation, Kind: wire.KindRequest}
}

// answer is a header of kind for what arrived as h.
func answer(h wire.Header, kind wire.Kind) wire.Header {
	return wire.Header{Fingerprint: h.Fingerprint, Correlation: h.Correlation, Kind: kind}
}
