package uds

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func TestBothPathsCarryVesiclesBothWays(t *testing.T) {
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			a, b := pair(t, p.opts, p.opts)
			for i := range 1000 {
				text := fmt.Sprintf("%d %s", i, strings.Repeat("x", i%200))
				sendOne(t, a, vesicle(text))
				expect(t, b, text)
				sendOne(t, b, vesicle(text))
				expect(t, a, text)
			}
			if s := a.SendStats(); s.Vesicles != 1000 {
				t.Errorf("dialer's counters say %+v", s)
			}
			if s := a.ReceiveStats(); s.Vesicles != 1000 {
				t.Errorf("dialer's counters say %+v", s)
			}
		})
	}
}

func TestInfoNamesPeerAndPath(t *testing.T) {
	a, b := pair(t, Options{}, Options{})
	for _, c := range []*Conn{a, b} {
		i := c.Info()
		if i.Kind != "ring" || len(i.Why) != 0 || !i.ZeroCopy || !i.Hostile || i.Peer.PID == 0 {
			t.Errorf("info of a connection over rings: %+v", i)
		}
		if tx, rx := c.Rings(); tx == nil || rx == nil {
			t.Error("no rings")
		}
	}
	a, b = pair(t, Options{}, Options{Path: PathStream, MaxPayload: 5000})
	for _, c := range []*Conn{a, b} {
		i := c.Info()
		if i.Kind != "uds" || len(i.Why) != 1 || i.ZeroCopy || i.Hostile || i.MaxPayload != 5000 {
			t.Errorf("info of a connection over the socket: %+v", i)
		}
		if tx, rx := c.Rings(); tx != nil || rx != nil {
			t.Error("rings on the stream path")
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			a, b := pair(t, p.opts, p.opts)
			ctx := soon(t)
			var out, in [4]wire.Vesicle
			round := func(from, to *Conn, mode WaitMode) {
				n, err := from.ClaimWait(ctx, out[:], 64, mode)
				if err != nil {
					t.Fatal(err)
				}
				for i := range out[:n] {
					out[i].Header = wire.Header{Kind: wire.KindEvent}
					out[i].Payload = out[i].Payload[:60-i]
				}
				if err := errors.Join(from.Commit(out[:n]), from.Flush()); err != nil {
					t.Fatal(err)
				}
				for got := 0; got < n; {
					m, err := to.PollWait(ctx, in[:], mode)
					if err != nil {
						t.Fatal(err)
					}
					got += m
					if err := to.Release(m); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, mode := range []WaitMode{WaitSpin, WaitYield, WaitAdaptive, WaitPark} {
				if n := testing.AllocsPerRun(500, func() { round(a, b, mode); round(b, a, mode) }); n != 0 {
					t.Errorf("%v: %v allocations a round", mode, n)
				}
			}
			if n := testing.AllocsPerRun(500, func() {
				if _, err := b.Poll(in[:]); err != nil || b.CheckPeer() != nil {
					t.Fatal(err)
				}
				if b.Arm() {
					b.Disarm()
				}
			}); n != 0 {
				t.Errorf("silence: %v allocations a poll", n)
			}
		})
	}
}

func TestWaitModesPassVesiclesBetweenGoroutines(t *testing.T) {
	for _, p := range paths {
		for _, mode := range []WaitMode{WaitAdaptive, WaitSpin, WaitYield, WaitPark} {
			t.Run(p.name+"/"+mode.String(), func(t *testing.T) {
				a, b := pair(t, p.opts, p.opts)
				const rounds = 300
				errs := make(chan error, 2)
				go func() { errs <- ping(soon(t), a, mode, rounds, true) }()
				go func() { errs <- ping(soon(t), b, mode, rounds, false) }()
				for range 2 {
					if err := <-errs; err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

func ping(ctx context.Context, c *Conn, mode WaitMode, rounds int, first bool) error {
	var vs [1]wire.Vesicle
	for i := range 2 * rounds {
		if (i%2 == 0) == first {
			if _, err := c.ClaimWait(ctx, vs[:], 100, mode); err != nil {
				return err
			}
			vs[0].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(i)}
			if err := errors.Join(c.Commit(vs[:]), c.Flush()); err != nil {
				return err
			}
			continue
		}
		if _, err := c.PollWait(ctx, vs[:], mode); err != nil {
			return err
		}
		if vs[0].Header.Correlation != uint32(i) {
			return fmt.Errorf("vesicle %d where %d is due", vs[0].Header.Correlation, i)
		}
		if err := c.Release(1); err != nil {
			return err
		}
	}
	return nil
}

// Two goroutines sleep on one connection, one for room and one for vesicles:
// neither may swallow the wake-up of the other.
func TestFourSleepersOnOneConnectionWakeEachOther(t *testing.T) {
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			a, b := pair(t, p.opts, p.opts)
			const total = 20000
			var wg sync.WaitGroup
			ctx := soon(t)
			send := func(c *Conn) {
				defer wg.Done()
				var vs [3]wire.Vesicle
				for sent := 0; sent < total; {
					n, err := c.ClaimWait(ctx, vs[:min(3, total-sent)], 1500, WaitPark)
					if err != nil {
						t.Error("send:", err)
						return
					}
					for i := range vs[:n] {
						vs[i].Header = wire.Header{Kind: wire.KindEvent, Correlation: uint32(sent + i)}
						vs[i].Payload = vs[i].Payload[:(sent+i)%1500]
					}
					if err := c.Commit(vs[:n]); err != nil {
						t.Error("commit:", err)
						return
					}
					sent += n
					for {
						err := c.Flush()
						if err == nil {
							break
						}
						if !errors.Is(err, link.ErrFull) {
							t.Error("flush:", err)
							return
						}
						if c.ArmSpace(1500) {
							c.claims.wait(c, 1000)
							c.DisarmSpace()
						}
					}
				}
			}
			receive := func(c *Conn) {
				defer wg.Done()
				var vs [7]wire.Vesicle
				for got := 0; got < total; {
					n, err := c.PollWait(ctx, vs[:], WaitPark)
					if err != nil {
						t.Errorf("receive after %d: %v", got, err)
						return
					}
					for i := range vs[:n] {
						if v := &vs[i]; v.Header.Correlation != uint32(got) || len(v.Payload) != got%1500 {
							t.Errorf("vesicle %d: %+v with %d bytes", got, v.Header, len(v.Payload))
							return
						}
						got++
					}
					if err := c.Release(n); err != nil {
						t.Error(err)
						return
					}
				}
			}
			wg.Add(4)
			go send(a)
			go send(b)
			go receive(a)
			go receive(b)
			wg.Wait()
		})
	}
}

func TestCloseIsToldFromDeathAndPublishedVesiclesComeFirst(t *testing.T) {
	for _, p := range paths {
		for _, mode := range []WaitMode{WaitAdaptive, WaitSpin, WaitYield, WaitPark} {
			t.Run(p.name+"/"+mode.String(), func(t *testing.T) {
				a, b := pair(t, p.opts, p.opts)
				sendOne(t, a, vesicle("last words"))
				if err := a.Close(); err != nil {
					t.Fatal(err)
				}
				if err := b.CheckPeer(); !errors.Is(err, link.ErrPeerGone) {
					t.Errorf("CheckPeer says %v", err)
				}
				expect(t, b, "last words")
				err := awaitError(t, b, mode)
				if !errors.Is(err, link.ErrPeerGone) || !strings.Contains(err.Error(), "closed the connection") {
					t.Errorf("Poll says %v", err)
				}
				var out [1]wire.Vesicle
				if _, err := b.Claim(out[:], 1); !errors.Is(err, link.ErrPeerGone) {
					t.Errorf("Claim says %v", err)
				}
				if err := b.Flush(); !errors.Is(err, link.ErrPeerGone) {
					t.Errorf("Flush says %v", err)
				}
				if b.Arm() || b.ArmSpace(1) {
					t.Error("arms on a dead connection")
				}
			})
		}
	}
}

func TestShutdownEndsAllCallsAndWakesSleepers(t *testing.T) {
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			a, b := pair(t, p.opts, p.opts)
			own, peer := make(chan error, 1), make(chan error, 1)
			go func() { own <- awaitError(t, a, WaitPark) }()
			go func() { peer <- awaitError(t, b, WaitPark) }()
			time.Sleep(20 * time.Millisecond) // both sleep, most likely; the test holds either way
			a.Shutdown()
			a.Shutdown()
			if err := <-own; !errors.Is(err, link.ErrClosed) {
				t.Errorf("the sleeper of this side got %v", err)
			}
			if err := <-peer; !errors.Is(err, link.ErrPeerGone) {
				t.Errorf("the sleeper of the other side got %v", err)
			}
			allClosed(t, a)
			if err := errors.Join(a.Close(), a.Close()); err != nil {
				t.Error(err)
			}
			allClosed(t, a)
			a.Shutdown()
		})
	}
}

func allClosed(t *testing.T, c *Conn) {
	t.Helper()
	var vs [1]wire.Vesicle
	if _, err := c.Claim(vs[:], 1); !errors.Is(err, link.ErrClosed) {
		t.Errorf("Claim says %v", err)
	}
	if _, err := c.Poll(vs[:]); !errors.Is(err, link.ErrClosed) {
		t.Errorf("Poll says %v", err)
	}
	if err := c.Flush(); !errors.Is(err, link.ErrClosed) {
		t.Errorf("Flush says %v", err)
	}
	if err := c.CheckPeer(); !errors.Is(err, link.ErrClosed) {
		t.Errorf("CheckPeer says %v", err)
	}
	if c.Arm() || c.ArmSpace(0) {
		t.Error("arms")
	}
	c.Disarm()
	c.DisarmSpace()
	_ = c.Commit(vs[:])
	_ = c.Release(1)
	c.Abort()
	c.SendStats()
	c.ReceiveStats()
	c.WaitFDs(nil)
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	for _, p := range paths {
		for _, mode := range []WaitMode{WaitAdaptive, WaitSpin, WaitYield, WaitPark} {
			t.Run(p.name+"/"+mode.String(), func(t *testing.T) {
				a, _ := pair(t, p.opts, p.opts)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
				defer cancel()
				var vs [1]wire.Vesicle
				if _, err := a.PollWait(ctx, vs[:], mode); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("PollWait says %v", err)
				}
				for { // fill it
					if _, err := a.Claim(vs[:], 10000); err != nil {
						break
					}
				}
				if _, err := a.ClaimWait(ctx, vs[:], 10000, mode); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("ClaimWait says %v", err)
				}
			})
		}
	}
}

func TestBytesBesideRingsAreABreach(t *testing.T) {
	a, b := pair(t, Options{}, Options{})
	if _, e := send(a.fd, []byte("hello?")); e != 0 {
		t.Fatal(e)
	}
	if err := awaitError(t, b, WaitSpin); !errors.Is(err, link.ErrCorrupt) {
		t.Errorf("the victim says %v", err)
	}
	if err := awaitError(t, a, WaitSpin); !errors.Is(err, link.ErrPeerGone) || !strings.Contains(err.Error(), "breach") {
		t.Errorf("the culprit says %v", err)
	}
	if s := b.ReceiveStats(); s.Corrupt != 1 {
		t.Errorf("the victim's counters: %+v", s)
	}
}

func TestDisarmLeavesTheDoorbellSilent(t *testing.T) {
	a, b := pair(t, paths[0].opts, paths[0].opts)
	for range 100 {
		if !b.Arm() {
			t.Fatal("nothing there, but Arm says no")
		}
		sendOne(t, a, vesicle("ding"))
		b.Disarm()
		expect(t, b, "ding")
		if err := a.rings.bell.Ring(); err != nil { // one that comes late
			t.Fatal(err)
		}
		if b.Arm() {
			b.Disarm()
		}
		if !b.Arm() {
			t.Fatal("nothing there, but Arm says no")
		}
		if wakes(b) {
			t.Fatal("the doorbell rings with nothing there")
		}
		b.Disarm()
	}
}
