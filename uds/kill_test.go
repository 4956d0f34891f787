package uds

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// inTime is how soon the survivor must know. What it takes on a quiet machine
// is logged; a busy one gets more patience than the promised 10 ms, since
// timings prove nothing there.
const inTime = patience / 2

// death is one way for a process to die.
type death struct {
	victim string // "dialer" or "listener"
	phase  string
	path   Path
	mode   WaitMode // of both sides
	delay  time.Duration
}

func (d death) String() string {
	return fmt.Sprintf("%s %s/%v/%v after %v", d.victim, d.phase, d.path, d.mode, d.delay)
}

var (
	phases = []string{"half", "hello", "idle", "claimed", "committed", "polled", "waiting", "traffic"}
	modes  = []WaitMode{WaitAdaptive, WaitSpin, WaitYield, WaitPark}
)

// die lets a child reach d's phase, kills it and returns how long the survivor
// in this process took to know. The survivor's calls are in full swing
// meanwhile, in d.mode.
func (d death) die(t *testing.T, dir string) time.Duration {
	t.Helper()
	o := Options{Dir: dir, Path: d.path, HandshakeTimeout: patience}
	if d.victim == "listener" {
		return d.listenerDies(t, o)
	}
	return d.dialerDies(t, o)
}

func (d death) dialerDies(t *testing.T, o Options) time.Duration {
	t.Helper()
	refused := make(chan error, 1)
	o.Refused = func(_ link.Peer, err error) { refused <- err }
	l, err := Listen("test", &o)
	if err != nil {
		t.Fatalf("%v: %v", d, err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Errorf("%v: closing the listener: %v", d, err)
		}
	}()
	k := d.spawn(t, o.Dir)
	if d.phase == "half" || d.phase == "hello" {
		start := d.kill(t, k)
		err := <-refused
		took := time.Since(start)
		if !errors.Is(err, link.ErrPeerGone) {
			t.Errorf("%v: the listener was told %v", d, err)
		}
		return took
	}
	c, err := l.Accept(soon(t))
	if err != nil {
		t.Fatalf("%v: %v", d, err)
	}
	defer c.Close()
	return d.survive(t, k, c)
}

func (d death) listenerDies(t *testing.T, o Options) time.Duration {
	t.Helper()
	k := d.spawn(t, o.Dir)
	if s := k.said(t); s != "listening" {
		t.Fatalf("%v: the child said %q", d, s)
	}
	if d.phase == "half" || d.phase == "hello" {
		done := make(chan error, 1)
		go func() {
			_, err := Dial(soon(t), "test", &o)
			done <- err
		}()
		start := d.kill(t, k)
		err := <-done
		took := time.Since(start)
		if !errors.Is(err, link.ErrPeerGone) {
			t.Errorf("%v: Dial says %v", d, err)
		}
		return took
	}
	c, err := Dial(soon(t), "test", &o)
	if err != nil {
		t.Fatalf("%v: %v", d, err)
	}
	defer c.Close()
	return d.survive(t, k, c)
}

func (d death) spawn(t *testing.T, dir string) *kid {
	return spawn(t, "victim", dir, d.victim, d.phase, int(d.path), int(d.mode))
}

// kill waits until k has reached the phase, and a little longer, and kills it.
func (d death) kill(t *testing.T, k *kid) time.Time {
	t.Helper()
	if s := k.said(t); s != "reached" {
		t.Fatalf("%v: the child said %q", d, s)
	}
	time.Sleep(d.delay)
	start := time.Now()
	if err := k.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	return start
}

// survive keeps c busy until it says that the peer is gone.
func (d death) survive(t *testing.T, k *kid, c *Conn) time.Duration {
	t.Helper()
	if d.phase == "polled" {
		sendOne(t, c, vesicle("hold this"))
	}
	if want := map[Path]string{PathRing: "ring", PathStream: "uds"}[d.path]; c.Info().Kind != want {
		t.Errorf("%v: connection over %q", d, c.Info().Kind)
	}
	killed := make(chan time.Time, 1)
	go func() { killed <- d.kill(t, k) }()
	var in [8]wire.Vesicle
	for polled := 0; ; {
		n, err := c.PollWait(soon(t), in[:], d.mode)
		now := time.Now()
		if polled += n; d.phase == "committed" && err != nil && polled != 2 {
			t.Errorf("%v: %d vesicles arrived, 2 were flushed", d, polled)
		}
		if err == nil {
			err = c.Release(n)
			if d.phase == "traffic" && err == nil {
				d.answer(t, c, n)
			}
		}
		if err != nil {
			took := now.Sub(<-killed)
			if !errors.Is(err, link.ErrPeerGone) {
				t.Errorf("%v: %v", d, err)
			}
			d.allGone(t, c)
			return took
		}
	}
}

// answer sends as many as came, as far as there is room.
func (d death) answer(t *testing.T, c *Conn, n int) {
	t.Helper()
	var out [8]wire.Vesicle
	n, err := c.Claim(out[:n], 300)
	for i := range out[:n] {
		out[i].Header = wire.Header{Kind: wire.KindEvent}
	}
	if err == nil {
		err = c.Commit(out[:n])
	}
	if err == nil {
		err = c.Flush()
	}
	if err != nil && !errors.Is(err, link.ErrFull) && !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("%v: answering: %v", d, err)
	}
}

// allGone: every call says the same by now.
func (d death) allGone(t *testing.T, c *Conn) {
	t.Helper()
	var vs [1]wire.Vesicle
	_, claim := c.Claim(vs[:], 1)
	_, poll := c.Poll(vs[:])
	for call, err := range map[string]error{"Claim": claim, "Poll": poll, "Flush": c.Flush(), "CheckPeer": c.CheckPeer()} {
		if !errors.Is(err, link.ErrPeerGone) {
			t.Errorf("%v: %s says %v", d, call, err)
		}
	}
}

func TestKillInEveryPhase(t *testing.T) {
	for _, victim := range []string{"dialer", "listener"} {
		for _, phase := range phases {
			for _, path := range []Path{PathRing, PathStream} {
				d := death{victim: victim, phase: phase, path: path, delay: time.Millisecond}
				t.Run(fmt.Sprintf("%s/%s/%v", victim, phase, path), func(t *testing.T) {
					dir := privateDir(t)
					check := leakCheck(t)
					t.Run("", func(t *testing.T) { // its end reaps the child
						if took := d.die(t, dir); took > inTime {
							t.Errorf("took %v", took)
						}
					})
					check()
					nextConnectionWorks(t, dir)
				})
			}
		}
	}
}

// nextConnectionWorks also checks that a socket left behind is replaced, and
// that nothing is left in the end.
func nextConnectionWorks(t *testing.T, dir string) {
	t.Helper()
	t.Run("", func(t *testing.T) {
		a, b := pair(t, Options{Dir: dir}, Options{})
		sendOne(t, a, vesicle("next"))
		expect(t, b, "next")
	})
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

// 200 deaths, of either side, in a random phase, path and wait mode, at a
// random moment.
func TestKillRandom(t *testing.T) {
	deaths := 200
	if testing.Short() {
		deaths = 20
	}
	dir := privateDir(t)
	check := leakCheck(t)
	var took []time.Duration
	t.Run("deaths", func(t *testing.T) {
		for range deaths {
			d := death{
				victim: []string{"dialer", "listener"}[rand.IntN(2)],
				phase:  phases[rand.IntN(len(phases))],
				path:   []Path{PathRing, PathStream}[rand.IntN(2)],
				mode:   modes[rand.IntN(len(modes))],
				delay:  time.Duration(rand.Int64N(int64(3 * time.Millisecond))),
			}
			t.Run("", func(t *testing.T) {
				ms := d.die(t, dir)
				if ms > inTime {
					t.Errorf("%v: took %v", d, ms)
				}
				took = append(took, ms)
			})
		}
	})
	check()
	nextConnectionWorks(t, dir)
	check()
	slices.Sort(took)
	late := 0
	for _, d := range took {
		if d > 10*time.Millisecond {
			late++
		}
	}
	if len(took) > 0 {
		t.Logf("%d deaths noticed after p50 %v, p90 %v, max %v; %d above 10 ms", len(took),
			took[len(took)/2], took[len(took)*9/10], took[len(took)-1], late)
	}
}
