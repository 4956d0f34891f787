package netbench

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/afxdp"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/wire"
)

// linked is a link of Cell between the hosts.
type linked struct {
	a, b *afxdp.Conn
	sent uint64

	asavie bool
}

func (c *linked) about() (string, []string) {
	i := c.a.Info()
	path := "ordinary UDP sockets"
	if r, ok, err := c.a.XDP(); ok && err == nil {
		path = "AF_XDP sockets, program in the driver"
		if r.Generic {
			path = "AF_XDP sockets, program in generic mode"
		}
		if c.asavie {
			path += ", by asavie/xdp"
		}
		if r.ZeroCopy {
			path += ", zero-copy"
		}
	}
	return path, i.Why
}

func (c *linked) close() error {
	var errs []error
	for _, x := range []*afxdp.Conn{c.a, c.b} {
		if x != nil {
			errs = append(errs, x.Close())
		}
	}
	return errors.Join(errs...)
}

func (c *linked) near(s *Spec, length time.Duration, stop *atomic.Bool) (report.Sample, error) {
	if s.Kind == report.KindStream {
		return report.Sample{}, c.pump(s, s.Warmup+length)
	}
	begin := after(s.Warmup)
	rec := bench.NewTimes()
	until := begin + sched.NanosToTicks(int64(length))
	var out, in [1]wire.Vesicle
	payload := make([]byte, s.Payload)
	started, t, id := sched.Now(), sched.Ticks(), uint32(0)
	for !past(until) {
		if err := exchange(c.a, &out, &in, payload, id); err != nil {
			return report.Sample{}, err
		}
		id++
		now := sched.Ticks()
		if int64(t-begin) >= 0 {
			rec.Ticks(now - t)
		} else {
			started = sched.Now()
		}
		t = now
	}
	d := rec.Distribution()
	return report.Sample{Times: d, Count: d.Count(), Bytes: d.Count() * uint64(s.Payload), Elapsed: time.Duration(sched.Now() - started)}, nil
}

// exchange makes one round trip. What a link without repetition has lost is
// sent once more, after a long while.
func exchange(a *afxdp.Conn, out, in *[1]wire.Vesicle, payload []byte, id uint32) error {
	for range 10 {
		if _, err := a.Claim(out[:], len(payload)); err != nil {
			return err
		}
		copy(out[0].Payload, payload)
		out[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: id, Hops: 1}
		if err := errors.Join(a.Commit(out[:]), a.Flush()); err != nil {
			return err
		}
		for i := 0; i < 1<<20; i++ {
			n, err := a.Poll(in[:])
			if err != nil {
				return err
			}
			if n == 0 {
				sched.Pause()
				continue
			}
			match := in[0].Header.Correlation == id
			if err := a.Release(1); err != nil || match {
				return err
			}
		}
	}
	return errSilent
}

func (c *linked) far(s *Spec, stop *atomic.Bool) (report.Sample, error) {
	if s.Kind == report.KindStream {
		return c.sink(s, stop)
	}
	var out, in [1]wire.Vesicle
	for i := 0; ; i++ {
		n, err := c.b.Poll(in[:])
		if err != nil {
			return report.Sample{}, err
		}
		if n == 0 {
			sched.Pause()
			if i%looks == 0 && stop.Load() {
				return report.Sample{}, nil
			}
			continue
		}
		if _, err := c.b.Claim(out[:], len(in[0].Payload)); err != nil {
			return report.Sample{}, err
		}
		copy(out[0].Payload, in[0].Payload)
		out[0].Header = wire.Header{Kind: wire.KindReply, Correlation: in[0].Header.Correlation, Hops: 1}
		if err := errors.Join(c.b.Commit(out[:]), c.b.Flush(), c.b.Release(1)); err != nil {
			return report.Sample{}, err
		}
	}
}

// pump sends as fast as the link takes.
func (c *linked) pump(s *Spec, length time.Duration) error {
	out := make([]wire.Vesicle, s.Batch)
	payload := make([]byte, s.Payload)
	for until := after(length); !past(until); {
		n, err := c.a.Claim(out, s.Payload)
		if errors.Is(err, link.ErrFull) {
			if _, err := c.a.Poll(nil); err != nil { // acknowledgements
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		for i := range out[:n] {
			copy(out[i].Payload, payload)
			out[i].Header = wire.Header{Kind: wire.KindEvent, Hops: 1}
		}
		if err := c.a.Commit(out[:n]); err != nil {
			return err
		}
		if err := c.a.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
			return err
		}
		c.sent += uint64(n)
	}
	return nil
}

// sink counts what arrives once the warm-up is over.
func (c *linked) sink(s *Spec, stop *atomic.Bool) (report.Sample, error) {
	in := make([]wire.Vesicle, 256)
	var count uint64
	from, begin := after(s.Warmup), int64(0)
	for i := 0; ; i++ {
		n, err := c.b.Poll(in)
		if err != nil {
			return report.Sample{}, err
		}
		if n == 0 {
			sched.Pause()
			if i%looks == 0 && stop.Load() {
				break
			}
			continue
		}
		if err := c.b.Release(n); err != nil {
			return report.Sample{}, err
		}
		if begin == 0 && past(from) {
			begin, count = sched.Now(), 0
		}
		count += uint64(n)
		if i%looks == 0 && stop.Load() {
			break
		}
	}
	if begin == 0 || count == 0 {
		return report.Sample{}, fmt.Errorf("%d vesicles came within the round; lengthen --duration", count)
	}
	return report.Sample{Count: count, Bytes: count * uint64(s.Payload), Elapsed: time.Duration(sched.Now() - begin)}, nil
}
