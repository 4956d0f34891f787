package linktest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// A suite that can't fail proves nothing. Each of these links has one fault,
// and a certain case must find it.

type reorders struct{ link.Link }

func (l reorders) Commit(vs []wire.Vesicle) error {
	if len(vs) > 1 { // the contents change places
		last := len(vs) - 1
		if len(vs[0].Payload) == len(vs[last].Payload) {
			a, b := vs[0].Payload, vs[last].Payload
			for i := range a {
				a[i], b[i] = b[i], a[i]
			}
			vs[0].Header, vs[last].Header = vs[last].Header, vs[0].Header
		}
	}
	return l.Link.Commit(vs)
}

type losesZeroLength struct{ link.Link }

func (l losesZeroLength) Poll(in []wire.Vesicle) (int, error) {
	n, err := l.Link.Poll(in[:min(1, len(in))])
	if n == 1 && len(in[0].Payload) == 0 {
		return 0, l.Link.Release(1)
	}
	return n, err
}

type ignoresClaimSize struct{ link.Link }

func (l ignoresClaimSize) Claim(out []wire.Vesicle, size int) (int, error) {
	if size > l.Info().MaxPayload {
		return l.Link.Claim(out, size)
	}
	return l.Link.Claim(out, l.Info().MaxPayload)
}

type cutsTooLarge struct{ link.Link }

func (l cutsTooLarge) Claim(out []wire.Vesicle, size int) (int, error) {
	return l.Link.Claim(out, min(size, l.Info().MaxPayload))
}

type neverWakes struct{ link.Link }

func (l neverWakes) Arm() bool { return true }

type armsTooLate struct{ link.Link } // tells the peer, then does not look again

func (l armsTooLate) Arm() bool {
	if l.Link.Arm() {
		return true
	}
	return l.CheckPeer() == nil
}

type neverWakesForSpace struct{ link.Link }

func (l neverWakesForSpace) ArmSpace(int) bool { return true }

type staysReadable struct{ link.Link }

func (l staysReadable) Disarm() {}

type disarmsBoth struct{ link.Link } // one half consumes the other's wake-up

func (l disarmsBoth) Disarm()      { l.Link.Disarm(); l.Link.DisarmSpace() }
func (l disarmsBoth) DisarmSpace() { l.Link.Disarm(); l.Link.DisarmSpace() }

type forgetsHops struct{ link.Link }

func (l forgetsHops) Commit(vs []wire.Vesicle) error {
	for i := range vs {
		vs[i].Header.Hops = 0
	}
	return l.Link.Commit(vs)
}

type masksFlags struct{ link.Link }

func (l masksFlags) Poll(in []wire.Vesicle) (int, error) {
	n, err := l.Link.Poll(in)
	for i := range in[:n] {
		in[i].Header.Flags &^= wire.FlagFragment
	}
	return n, err
}

type keepsRestOfPayload struct{ link.Link } // commits the place, not the payload

func (l keepsRestOfPayload) Commit(vs []wire.Vesicle) error {
	for i := range vs {
		vs[i].Payload = vs[i].Payload[:cap(vs[i].Payload)]
	}
	return l.Link.Commit(vs)
}

type commitsAnything struct{ link.Link }

func (l commitsAnything) Commit(vs []wire.Vesicle) error {
	if err := l.Link.Commit(vs); !errors.Is(err, link.ErrOrder) {
		return err
	}
	return nil
}

type releasesAnything struct{ link.Link }

func (l releasesAnything) Release(n int) error {
	if err := l.Link.Release(n); !errors.Is(err, link.ErrOrder) {
		return err
	}
	return nil
}

type releasesEarly struct{ link.Link } // Release does nothing, Poll did it

func (l releasesEarly) Poll(in []wire.Vesicle) (int, error) {
	n, err := l.Link.Poll(in)
	if n > 0 {
		_ = l.Link.Release(n)
	}
	return n, err
}
func (l releasesEarly) Release(n int) error { return nil }

type abortsNothing struct{ link.Link }

func (l abortsNothing) Abort() {}

type flushesClaims struct{ link.Link } // publishes what is only claimed

func (l flushesClaims) Abort() {
	for l.Link.Commit([]wire.Vesicle{{Header: wire.Header{Kind: wire.KindEvent}}}) == nil {
	}
}

type dropsWhenFull struct{ link.Link }

func (l dropsWhenFull) Claim(out []wire.Vesicle, size int) (int, error) {
	n, err := l.Link.Claim(out, size)
	if errors.Is(err, link.ErrFull) {
		out[0].Payload = make([]byte, size)
		return 1, nil
	}
	return n, err
}

func (l dropsWhenFull) Commit(vs []wire.Vesicle) error {
	_ = l.Link.Commit(vs)
	return nil
}

type forgetsTheEnd struct{ link.Link } // the peer's last words are lost

func (l forgetsTheEnd) Poll(in []wire.Vesicle) (int, error) {
	if err := l.CheckPeer(); err != nil {
		return 0, err
	}
	return l.Link.Poll(in)
}

type neverGone struct{ link.Link }

func (l neverGone) Poll(in []wire.Vesicle) (int, error) {
	n, err := l.Link.Poll(in)
	if errors.Is(err, link.ErrPeerGone) {
		return 0, nil
	}
	return n, err
}

type neverClosed struct{ link.Link }

func (l neverClosed) Flush() error {
	if err := l.Link.Flush(); !errors.Is(err, link.ErrClosed) {
		return err
	}
	return nil
}

type sleepsThroughShutdown struct{ link.Link }

func (l sleepsThroughShutdown) WaitFDs(fds []int) []int { return fds }

type allocates struct{ link.Link }

var sink []byte

func (l allocates) Flush() error {
	sink = make([]byte, 100)
	return l.Link.Flush()
}

type leaks struct{ link.Link }

func (l leaks) Close() error {
	_ = l.Link.Close()
	f, err := os.Open("/dev/null")
	if err == nil {
		leaked.Lock()
		leaked.files = append(leaked.files, f)
		leaked.Unlock()
	}
	return err
}

var leaked struct {
	sync.Mutex
	files []*os.File
}

type countsNothing struct{ link.Link }

func (l countsNothing) SendStats() link.Stats { return link.Stats{} }

type restless struct{ link.Link }

func (l restless) Info() link.Info {
	i := l.Link.Info()
	i.Why = append(i.Why, fmt.Sprint(time.Now().UnixNano()))
	return i
}

type believesGarbage struct{ link.Link }

func (l believesGarbage) Poll(in []wire.Vesicle) (int, error) {
	n, err := l.Link.Poll(in)
	if errors.Is(err, link.ErrCorrupt) && len(in) > 0 {
		in[0] = wire.Vesicle{}
		return 1, nil
	}
	return n, err
}

func TestSuiteFindsFaults(t *testing.T) {
	t.Cleanup(func() {
		for _, f := range leaked.files {
			f.Close()
		}
	})
	for _, v := range []struct {
		fault   string
		wrap    func(l link.Link) link.Link
		foundBy string
	}{
		{"reorders", func(l link.Link) link.Link { return reorders{l} }, "order"},
		{"loses the zero-length", func(l link.Link) link.Link { return losesZeroLength{l} }, "length zero"},
		{"ignores the size of a claim", func(l link.Link) link.Link { return ignoresClaimSize{l} }, "every length from 1 to 130"},
		{"cuts what is too large", func(l link.Link) link.Link { return cutsTooLarge{l} }, "one above the maximum"},
		{"never wakes", func(l link.Link) link.Link { return neverWakes{l} }, "no wake-up is lost, one at a time"},
		{"never wakes", func(l link.Link) link.Link { return neverWakes{l} }, "arm and disarm"},
		{"arms without looking again", func(l link.Link) link.Link { return armsTooLate{l} }, "no wake-up is lost, one at a time"},
		{"never wakes for space", func(l link.Link) link.Link { return neverWakesForSpace{l} }, "arm for space"},
		{"never wakes for space", func(l link.Link) link.Link { return neverWakesForSpace{l} }, "no wake-up is lost, streams"},
		{"stays readable after Disarm", func(l link.Link) link.Link { return staysReadable{l} }, "arm and disarm"},
		{"one half consumes the other's wake-up", func(l link.Link) link.Link { return disarmsBoth{l} }, "no wake-up is lost, streams"},
		{"forgets the hops", func(l link.Link) link.Link { return forgetsHops{l} }, "headers arrive bit-identical"},
		{"masks a flag", func(l link.Link) link.Link { return masksFlags{l} }, "headers arrive bit-identical"},
		{"masks a flag", func(l link.Link) link.Link { return masksFlags{l} }, "fragments"},
		{"commits the whole place", func(l link.Link) link.Link { return keepsRestOfPayload{l} }, "shortened payloads"},
		{"commits anything", func(l link.Link) link.Link { return commitsAnything{l} }, "commit of more than was claimed"},
		{"releases anything", func(l link.Link) link.Link { return releasesAnything{l} }, "release of more than was polled"},
		{"releases what is still read", func(l link.Link) link.Link { return releasesEarly{l} }, "several polls before one release"},
		{"aborts nothing", func(l link.Link) link.Link { return abortsNothing{l} }, "abort at every position"},
		{"sends what was aborted", func(l link.Link) link.Link { return flushesClaims{l} }, "abort at every position"},
		{"drops when it is full", func(l link.Link) link.Link { return dropsWhenFull{l} }, "full, then progress without loss"},
		{"loses the peer's last vesicles", func(l link.Link) link.Link { return forgetsTheEnd{l} }, "peer closes"},
		{"does not notice the peer's end", func(l link.Link) link.Link { return neverGone{l} }, "peer dies"},
		{"goes on after its own end", func(l link.Link) link.Link { return neverClosed{l} }, "own shutdown"},
		{"sleeps through shutdown", func(l link.Link) link.Link { return sleepsThroughShutdown{l} }, "shutdown wakes sleepers"},
		{"allocates", func(l link.Link) link.Link { return allocates{l} }, "no allocations"},
		{"leaks a descriptor", func(l link.Link) link.Link { return leaks{l} }, "nothing is left behind"},
		{"counts nothing", func(l link.Link) link.Link { return countsNothing{l} }, "counters"},
		{"changes its info", func(l link.Link) link.Link { return restless{l} }, "info is sane and stable"},
		{"believes garbage", func(l link.Link) link.Link { return believesGarbage{l} }, "garbage"},
	} {
		t.Run(v.fault+" is found by "+v.foundBy, func(t *testing.T) {
			if raceEnabled && v.foundBy == "no allocations" {
				t.Skip("what allocates is not counted with the race detector")
			}
			h := pipeHarness(PipeConfig{Slots: 16, MaxPayload: 256})
			open := h.Open
			h.Open = func(t testing.TB) (link.Link, link.Link) {
				a, b := open(t)
				return v.wrap(a), v.wrap(b)
			}
			h.Garbage = nil
			if v.foundBy == "garbage" {
				// Garbage is injected through the pipe itself.
				h.Garbage = pipeHarness(PipeConfig{}).Garbage
				wrapped := h.Open
				h.Open = func(t testing.TB) (link.Link, link.Link) {
					a, b := wrapped(t)
					return a, b.(believesGarbage).Link
				}
			}
			h.Timeout, h.MaxTotal = 300*time.Millisecond, 1<<20
			failures := record(t, h, v.foundBy)
			if len(failures) == 0 {
				t.Fatal("the case passes")
			}
			t.Logf("found: %s", strings.SplitN(failures[0], "\n", 2)[0])
		})
	}
}

// recorder is a testing.TB whose failures are the result of a test.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// record runs one case and returns how it failed.
func record(t *testing.T, h Harness, name string) []string {
	t.Helper()
	i := slices.IndexFunc(cases, func(c conformance) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("there is no case %q", name)
	}
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(r.cleanups) {
				f()
			}
		}()
		runCase(r, h, cases[i])
	}()
	<-done
	return r.failures
}

func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *recorder) Helper()                      {}
func (r *recorder) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(args ...any)            { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.note(fmt.Sprintf(f, args...)) }
func (r *recorder) Fatal(args ...any)            { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) { r.Errorf(f, args...); runtime.Goexit() }
func (r *recorder) Skip(args ...any)             { runtime.Goexit() }

// A case that the pipe passes must pass through the recorder too; else the
// test above would find faults everywhere.
func TestRecorderSeesNoFaultWhereNoneIs(t *testing.T) {
	h := pipeHarness(PipeConfig{Slots: 16, MaxPayload: 256})
	h.MaxTotal = 1 << 20
	for _, c := range cases {
		if failures := record(t, h, c.name); len(failures) > 0 {
			t.Errorf("%s: %s", c.name, failures[0])
		}
	}
}
