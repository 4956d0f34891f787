package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/echo"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
)

// goroutineCaller makes blocking typed calls, as most programs do.
type goroutineCaller struct {
	ctx    context.Context
	client *echo.EchoClient
	id     uint64
	body   []byte // nil: the call whose fields are fixed
}

func rpcWait(name string) (rpc.WaitMode, error) {
	for _, m := range []rpc.WaitMode{rpc.WaitSpin, rpc.WaitPark, rpc.WaitAdaptive} {
		if m.String() == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%w: --wait %q: spin, park or adaptive", ErrSpec, name)
}

// callFromGoroutine measures calls over c, which the connection takes over.
func callFromGoroutine(ctx context.Context, s *Spec, c *uds.Conn, length time.Duration) (report.Sample, error) {
	mode, err := rpcWait(s.Wait)
	if err != nil {
		return report.Sample{}, err
	}
	conn, err := rpc.NewConn(c, &rpc.ConnOptions{Wait: mode, Timeout: callTimeout})
	if err != nil {
		return report.Sample{}, err
	}
	defer conn.Close()
	k := goroutineCaller{ctx: ctx, client: echo.NewEchoClient(conn)}
	if n := s.data(); n >= 0 {
		k.body = make([]byte, n)
	}
	if s.Warmup > 0 {
		if err := k.closed(after(s.Warmup), newRecorder()); err != nil {
			return report.Sample{}, err
		}
	}
	rec, begin := newRecorder(), sched.Now()
	if s.Rate == report.MaxRate {
		err = k.closed(after(length), rec)
	} else {
		err = k.open(float64(s.Rate), after(length), rec)
	}
	elapsed, times := sched.Now()-begin, rec.times()
	return report.Sample{Times: times, Count: times.Count(), Elapsed: time.Duration(elapsed)}, err
}

// once makes one call.
func (k *goroutineCaller) once() error {
	k.id++
	if k.body == nil {
		reply, err := k.client.Line(k.ctx, echo.Ask{ID: k.id, A: 1, B: 2, C: 3})
		if err == nil && (reply.ID != k.id || reply.D != 6) {
			err = errAnswer
		}
		return err
	}
	reply, err := k.client.Sized(k.ctx, echo.Sized{ID: k.id, Data: k.body})
	if err == nil && (reply.ID != k.id || len(reply.Data) != len(k.body)) {
		err = errAnswer
	}
	return err
}

// closed calls back to back, with one reading of the clock for each call.
func (k *goroutineCaller) closed(until uint64, rec *recorder) error {
	t := sched.Ticks()
	for {
		if err := k.once(); err != nil {
			return err
		}
		now := sched.Ticks()
		rec.ticks(now - t)
		if past(now, until) {
			return nil
		}
		t = now
	}
}

// open calls by the schedule start + i/rate; times count from there.
func (k *goroutineCaller) open(rate float64, until uint64, rec *recorder) error {
	start := sched.Ticks()
	perCall := float64(sched.NanosToTicks(1e9)) / rate
	for i := 0; ; i++ {
		due := start + uint64(float64(i)*perCall)
		for !past(sched.Ticks(), due) {
			sched.Pause()
		}
		if err := k.once(); err != nil {
			return err
		}
		now := sched.Ticks()
		rec.ticks(now - due)
		if past(now, until) {
			return nil
		}
	}
}
