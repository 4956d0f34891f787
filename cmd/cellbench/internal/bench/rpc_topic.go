package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/echo"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/sched"
)

// lastEvent is the ID of the event that ends a round. Nothing follows it, so no
// subscriber is too slow for it.
const lastEvent = ^uint64(0)

// topic makes one round of events from this process to the peer.
func (b *Bench) topic(ctx context.Context, s *Spec, length time.Duration, info *connInfo) (out report.Sample, err error) {
	memory, err := ring.Create(ring.Options{Kind: ring.Broadcast, Size: s.Ring, Prefault: true, Name: "cellbench"})
	if err != nil {
		return out, err
	}
	defer memory.Close()
	through, err := ring.NewPublisher(memory)
	if err != nil {
		return out, err
	}
	events, err := echo.NewEchoEventsBroadcast(through)
	if err != nil {
		return out, err
	}
	info.path = fmt.Sprintf("broadcast ring in sealed shared memory (memfd), %s", report.FormatSize(s.Ring))
	j := job{Op: opListen, CPU: s.CPUs[1], PID: os.Getpid(), FD: memory.FD(), Warmup: s.Warmup}
	b.shared.clear()
	if err := b.ask(j); err != nil {
		return out, err
	}
	alive, stop := b.whilePeerLives(ctx)
	defer stop()
	err = onCPU(s.CPUs[0], func() error {
		if err := b.subscribed(alive); err != nil {
			return err
		}
		return publishEvents(alive, events, s.Batch, s.Warmup+length)
	})
	a, perr := b.await()
	info.lost, info.events = info.lost+a.Lost, info.events+a.Lost+a.Count
	return report.Sample{Count: a.Count, Bytes: a.Count * uint64(s.message()), Elapsed: a.Elapsed}, blame(err, perr)
}

// subscribed returns when the peer has said that it listens.
func (b *Bench) subscribed(alive context.Context) error {
	for atomic.LoadUint64(b.shared.word(sharedPong)) == 0 {
		if alive.Err() != nil {
			return errPeer
		}
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}

// publishEvents publishes batches until the time is over, or ctx.
func publishEvents(ctx context.Context, out *echo.EchoEventsBroadcast, batch int, length time.Duration) error {
	publish := func(id uint64) error {
		e, err := out.Begin()
		if err != nil {
			return err
		}
		e.SetID(id)
		e.SetA(id + 1)
		e.SetB(id + 2)
		e.SetC(id + 3)
		e.SetD(id + 4)
		return out.Send(e)
	}
	until := after(length)
	for id := uint64(0); ; {
		for range batch {
			if err := publish(id); err != nil {
				return err
			}
			id++
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if id/uint64(batch)%looksPerTime == 0 && (past(sched.TicksRelaxed(), until) || ctx.Err() != nil) {
			break
		}
	}
	return errors.Join(publish(lastEvent), out.Flush(), ctx.Err())
}

// listenEvents is the peer's side: it reads events in the publisher's memory
// until the last one.
func listenEvents(j job, s *shared) (a answer, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", j.PID, j.FD))
	if err != nil {
		return a, err
	}
	fd, err := syscall.Dup(int(file.Fd()))
	if err = errors.Join(err, file.Close()); err != nil {
		return a, err
	}
	memory, err := ring.Attach(fd, ring.Broadcast)
	if err != nil {
		return a, err
	}
	defer memory.Close()
	subscriber, err := ring.NewSubscriber(memory, ring.Newest, nil)
	if err != nil {
		return a, err
	}
	events, err := echo.NewEchoEventsListener(subscriber)
	if err != nil {
		return a, err
	}
	defer events.Close()
	storeWord(s.word(sharedPong), 1) // begin
	l := listener{next: after(j.Warmup)}
	take := l.take
	for !l.over {
		n, err := events.Poll(take)
		if err != nil {
			return a, err
		}
		if n == 0 {
			sched.Pause()
			continue
		}
		if !l.counting && past(sched.TicksRelaxed(), l.next) {
			l.counting, l.begin, l.count, l.lost = true, sched.Now(), 0, events.Lost()
		}
	}
	if l.wrong > 0 {
		return a, fmt.Errorf("%w: %d events were damaged", errAnswer, l.wrong)
	}
	if !l.counting {
		return a, fmt.Errorf("%w: no event came behind the warm-up; lengthen --duration", ErrSpec)
	}
	runtime.KeepAlive(memory)
	return answer{Count: l.count, Lost: events.Lost() - l.lost, Elapsed: time.Duration(max(sched.Now()-l.begin, 1))}, nil
}

// listener counts events and reads all their fields.
type listener struct {
	count, lost, wrong uint64
	next               uint64 // ticks: when the warm-up ends
	begin              int64
	counting, over     bool
}

func (l *listener) take(e echo.EventView) {
	l.count++
	id := e.ID()
	if id == lastEvent {
		l.over = true
		return
	}
	if e.A()+e.B()+e.C()+e.D() != 4*id+10 {
		l.wrong++
	}
}
