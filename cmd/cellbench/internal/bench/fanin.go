package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// fanIn measures calls from some of many connections into one engine.
func (b *Bench) fanIn(ctx context.Context, s *Spec, length time.Duration) (report.Sample, error) {
	idle, err := engine.ParseIdle(s.Wait)
	if err != nil {
		return report.Sample{}, err
	}
	eng, err := engine.New(engine.Config{Name: "fan-in", CPU: s.CPUs[0], Idle: idle, MaxLinks: s.Peers})
	if err != nil {
		return report.Sample{}, err
	}
	if err := eng.Start(ctx); err != nil {
		return report.Sample{}, err
	}
	defer eng.Stop()
	j := job{Op: opCall, CPU: s.CPUs[1], Peers: s.Peers, Busy: s.Busy, Warmup: s.Warmup, Length: length}
	l, err := b.listen(s, &j, nil)
	if err != nil {
		return report.Sample{}, err
	}
	defer l.Close()
	if err := b.ask(j); err != nil {
		return report.Sample{}, err
	}
	echo := engine.HandlerFunc(func(p *engine.Port, v *wire.Vesicle) {
		if err := p.Reply(v, v.Payload); errors.Is(err, link.ErrFull) {
			p.Retry()
		}
	})
	alive, stop := b.whilePeerLives(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() {
		err := serve(alive, l, eng, echo, s.Peers)
		if err != nil {
			eng.Stop() // the peer sees the end of its connections and answers
			_ = l.Close()
		}
		failed <- err
	}()
	a, err := b.await()
	if err != nil {
		_ = l.Close() // ends serve, if it is still at it
		return report.Sample{}, blame(onlyCause(<-failed), err)
	}
	if err := <-failed; err != nil {
		return report.Sample{}, err
	}
	return report.Sample{Times: report.Distribution{Values: a.Values, Counts: a.Counts},
		Count: a.Count, Bytes: a.Bytes, Elapsed: a.Elapsed}, nil
}

// onlyCause is nil for the error of a listener that was closed because
// something else had failed.
func onlyCause(err error) error {
	if errors.Is(err, uds.ErrListenerClosed) {
		return nil
	}
	return err
}

// serve accepts n connections and hands them to the engine.
func serve(ctx context.Context, l *uds.Listener, eng *engine.Engine, h engine.Handler, n int) error {
	for range n {
		c, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		if _, err := eng.Add(c, h, engine.CloseLink()); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return nil
}

// callMany is the peer's side: it opens all connections and keeps one call
// under way on each busy one.
func callMany(j job) (answer, error) {
	ends := make([]*end, 0, j.Peers)
	defer func() {
		for _, e := range ends {
			_ = e.conn.Close()
		}
	}()
	for range j.Peers {
		c, err := uds.Dial(context.Background(), j.Name, options(j.Dir, j.Link, j.Ring, j.Payload))
		if err != nil {
			return answer{}, fmt.Errorf("connection %d: %w", len(ends), err)
		}
		e, err := newEnd(c, j.Wait)
		if err != nil {
			return answer{}, errors.Join(err, c.Close())
		}
		ends = append(ends, e)
	}
	return callRound(ends[:j.Busy], j)
}

// callRound goes over the busy connections again and again, takes what was
// answered and calls anew.
func callRound(ends []*end, j job) (answer, error) {
	payload, sent := make([]byte, j.Payload), make([]uint64, len(ends))
	var v [1]wire.Vesicle
	send := func(i int) error {
		if _, err := ends[i].claim(v[:], len(payload)); err != nil {
			return err
		}
		v[0].Header = wire.Header{Fingerprint: fingerprint, Kind: wire.KindRequest, Hops: 1, Correlation: uint32(i)}
		place(v[0].Payload, payload)
		sent[i] = sched.Ticks()
		return ends[i].publish(v[:])
	}
	for i := range ends {
		if err := send(i); err != nil {
			return answer{}, err
		}
	}
	from := after(j.Warmup)
	until := from + sched.NanosToTicks(int64(j.Length))
	rec, begin, count := newRecorder(), int64(0), uint64(0)
	for look := 0; ; look++ {
		for i, e := range ends {
			n, err := e.conn.Poll(v[:])
			if err != nil {
				return answer{}, err
			}
			if n == 0 {
				continue
			}
			now := sched.Ticks()
			if begin != 0 {
				rec.ticks(now - sent[i])
				count++
			} else if past(now, from) {
				begin = sched.Now()
			}
			if err := e.conn.Release(1); err != nil {
				return answer{}, err
			}
			if err := send(i); err != nil {
				return answer{}, err
			}
		}
		// count: on a host that stalls for longer than this takes, one call at
		// least. A dead engine shows as an error above.
		if look%looksPerTime == 0 && count > 0 && past(sched.TicksRelaxed(), until) {
			break
		}
	}
	elapsed, d := time.Duration(sched.Now()-begin), rec.times()
	return answer{Count: count, Bytes: count * uint64(j.Payload), Elapsed: elapsed, Values: d.Values, Counts: d.Counts}, nil
}
