package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/echo"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
)

// errAnswer: an answer that belongs to another call, or is none.
var errAnswer = errors.New("another answer than expected")

// engineCaller makes typed calls on the thread of an engine, in place. All but
// done belongs to that thread.
type engineCaller struct {
	spec   *Spec
	engine *engine.Engine
	client *echo.EchoAsync
	done   chan error
	onLine func(tag uint64, reply echo.AnswerView, err error)
	onData func(tag uint64, reply echo.SizedView, err error)
	body   []byte // of calls of variable length; nil: fields of fixed size
	window int

	id     uint64
	flying int
	over   bool
	timer  engine.Timer // open loop: until a call is due

	start   uint64  // ticks: when the call under way began, or was due
	perCall float64 // ticks: open loop, the time between calls; 0: closed loop
	from    uint64  // ticks: the warm-up's end, the schedule's beginning
	until   uint64
	length  uint64
	warm    bool
	begin   int64 // ns: when counting began
	elapsed int64
	count   uint64
	rec     *recorder
}

// callFromEngine measures calls over c, which the engine takes over.
func callFromEngine(ctx context.Context, s *Spec, c *uds.Conn, length time.Duration) (report.Sample, error) {
	idle, err := engine.ParseIdle(s.Wait)
	if err != nil {
		return report.Sample{}, err
	}
	file, err := rpcMetrics()
	if err != nil {
		return report.Sample{}, err
	}
	defer file.Close()
	eng, err := engine.New(engine.Config{Name: "caller", CPU: s.CPUs[0], Idle: idle, Metrics: file, Batch: 64})
	if err != nil {
		return report.Sample{}, err
	}
	if err := eng.Start(ctx); err != nil {
		return report.Sample{}, err
	}
	defer eng.Stop()
	k := &engineCaller{spec: s, engine: eng, done: make(chan error, 2), rec: newRecorder(), length: sched.NanosToTicks(int64(length))}
	conn, err := rpc.Attach(eng, c, &rpc.ConnOptions{Name: "calls", Timeout: callTimeout, MaxInFlight: MaxWindow, Metrics: file}, func(err error) { k.end(err) })
	if err != nil {
		return report.Sample{}, err
	}
	defer conn.Close()
	if err := eng.Do(ctx, func() { k.run(conn) }); err != nil {
		return report.Sample{}, err
	}
	select {
	case err = <-k.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return report.Sample{}, err
	}
	return report.Sample{Times: k.rec.times(), Count: k.count, Elapsed: time.Duration(k.elapsed)}, nil
}

// run makes the first calls.
func (k *engineCaller) run(conn *rpc.AsyncConn) {
	k.client = echo.NewEchoAsync(conn)
	k.onLine, k.onData = k.lineDone, k.dataDone // made once: no allocation for a call
	if n := k.spec.data(); n >= 0 {
		k.body = make([]byte, n)
	}
	k.window = k.spec.RPC.Window
	k.timer.Func = func(*engine.Timer) { k.more() }
	if k.spec.Rate != report.MaxRate {
		k.perCall = float64(sched.NanosToTicks(1e9)) / float64(k.spec.Rate)
	}
	k.warm = k.spec.Warmup <= 0
	k.from = after(k.spec.Warmup)
	if k.warm {
		k.beginCounting(k.from)
	}
	k.start = sched.Ticks()
	k.more()
}

// beginCounting ends the warm-up.
func (k *engineCaller) beginCounting(now uint64) {
	k.warm, k.count, k.begin = true, 0, sched.Now()
	k.from, k.until = now, now+k.length
}

// more begins as many calls as the window has room for.
func (k *engineCaller) more() {
	for k.flying < k.window && !k.over {
		if k.perCall > 0 && k.warm {
			k.start = k.from + uint64(float64(k.count)*k.perCall)
			if !past(sched.Ticks(), k.start) {
				k.engine.StartTimer(&k.timer, 0) // look again in the next cycle
				return
			}
		}
		if err := k.call(); err != nil {
			switch {
			case !errors.Is(err, link.ErrFull):
				k.end(err)
			case k.flying == 0:
				// All are answered, and the peer has yet to give their room back.
				k.engine.StartTimer(&k.timer, 0)
			}
			return // an answer will make room
		}
		k.flying++
	}
}

// call begins one call.
func (k *engineCaller) call() error {
	k.id++
	if k.body == nil {
		req, err := k.client.BeginLine()
		if err != nil {
			return err
		}
		req.SetID(k.id)
		req.SetA(1)
		req.SetB(2)
		req.SetC(3)
		return k.client.SendLine(req, k.id, k.onLine)
	}
	req, err := k.client.BeginSized(echo.SizedBlock + len(k.body))
	if err != nil {
		return err
	}
	req.SetID(k.id)
	req.SetData(k.body)
	return k.client.SendSized(req, k.id, k.onData)
}

func (k *engineCaller) lineDone(tag uint64, reply echo.AnswerView, err error) {
	if err == nil && (reply.ID() != tag || reply.A()+reply.B()+reply.C() != reply.D()) {
		err = errAnswer
	}
	k.ended(err)
}

func (k *engineCaller) dataDone(tag uint64, reply echo.SizedView, err error) {
	if data := reply.Data(); err == nil && (reply.ID() != tag || len(data) != len(k.body)) {
		err = errAnswer
	} else {
		touch(data)
	}
	k.ended(err)
}

// looksPerCall is after how many pipelined calls the clock is read.
const looksPerCall = 64

// ended accounts for a call and begins the next one. As the limit does, it
// reads the clock once a round trip, at the end of one and the start of the
// next; with a window it times none.
func (k *engineCaller) ended(err error) {
	k.flying--
	k.count++
	switch {
	case err != nil:
		k.end(err)
		return
	case k.over:
	case k.window == 1:
		now := sched.Ticks()
		k.rec.ticks(now - k.start)
		k.start = now
		k.look(now)
	case k.count%looksPerCall == 0:
		k.look(sched.TicksRelaxed())
	}
	if k.over && k.flying == 0 {
		k.end(nil)
		return
	}
	k.more()
}

// look sees whether the warm-up, or the round, is over.
func (k *engineCaller) look(now uint64) {
	switch {
	case !k.warm && past(now, k.from):
		k.rec = newRecorder()
		k.beginCounting(now)
	case k.warm && past(now, k.until):
		k.over, k.elapsed = true, sched.Now()-k.begin
	}
}

// end tells the outcome, of which the first counts.
func (k *engineCaller) end(err error) {
	k.over = true
	if err != nil {
		err = fmt.Errorf("after %d calls: %w", k.count, err)
	}
	select {
	case k.done <- err:
	default:
	}
}
