package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/sched"
	"github.com/cell-runtime/cell/uds"
)

// limitShare is the part of a round's length that its limit gets.
const limitShare = 0.5

// Measure makes one measurement. progress, if not nil, is told of every round.
// It returns the rounds as well, for whoever wants the whole distribution.
func (b *Bench) Measure(ctx context.Context, s Spec, progress func(round, of int)) (report.Result, []report.Round, error) {
	if err := s.Check(); err != nil {
		return report.Result{}, nil, err
	}
	started := time.Now()
	if s.Input != "" {
		return b.measureInput(ctx, &s, started)
	}
	length := s.Duration / time.Duration(s.Rounds)
	limit, limitSetting := b.limitOf(&s)
	var rounds []report.Round
	var info connInfo
	for i := range s.Rounds {
		if progress != nil {
			progress(i, s.Rounds)
		}
		if err := ctx.Err(); err != nil {
			return report.Result{}, nil, err
		}
		var r report.Round
		if limit != nil {
			l, err := limit(ctx, time.Duration(float64(length)*limitShare))
			if err != nil {
				return report.Result{}, nil, fmt.Errorf("measuring the limit: %w", err)
			}
			r.Limit = &l
		}
		var err error
		if r.Got, err = b.round(ctx, &s, length, &info); err != nil {
			return report.Result{}, nil, err
		}
		rounds = append(rounds, r)
	}
	res, err := report.Combine(s.setting(), limitSetting, rounds)
	if err != nil {
		return res, rounds, err
	}
	res.Started, res.Path, res.Why = started, info.path, info.why
	b.describe(&res, &s)
	if info.lost > 0 {
		res.Notes = append(res.Notes, fmt.Sprintf("%.3g %% of the events were overwritten before the subscriber read them", 100*float64(info.lost)/float64(info.events)))
	}
	return res, rounds, nil
}

type limiter func(ctx context.Context, length time.Duration) (report.Sample, error)

// limitOf chooses what a measurement is held against.
func (b *Bench) limitOf(s *Spec) (limiter, report.Setting) {
	switch {
	case s.NoLimit:
	case s.Kind == report.KindRTT, s.Kind == report.KindRPC && s.RPC.Window == 1:
		set := report.Setting{Kind: report.KindLimit, Link: "cacheline", Size: 64, Payload: 8, Batch: 1, Wait: "spin", Loop: report.Closed}
		return func(_ context.Context, length time.Duration) (report.Sample, error) {
			return b.lineLimit(s.CPUs, s.Warmup, length)
		}, set
	case (s.Kind == report.KindStream || s.Kind == report.KindTopic) && b.native != nil && s.Rate == report.MaxRate:
		return func(ctx context.Context, length time.Duration) (report.Sample, error) {
			return b.native.stream(ctx, s, length)
		}, b.native.setting(s)
	case s.Kind == report.KindStream && s.Payload() >= bulk && s.Payload() <= sharedSize/4 && s.Rate == report.MaxRate:
		set := s.setting()
		set.Kind, set.Link, set.Batch = report.KindLimit, "copy", 1
		return func(_ context.Context, length time.Duration) (report.Sample, error) {
			return b.copyLimit(s.Payload(), s.CPUs, length)
		}, set
	case s.Kind == report.KindFanIn && s.Busy < s.Peers:
		alone := *s
		alone.Peers = s.Busy
		set := alone.setting()
		return func(ctx context.Context, length time.Duration) (report.Sample, error) {
			return b.fanIn(ctx, &alone, length)
		}, set
	}
	return nil, report.Setting{}
}

func (b *Bench) lineLimit(cpus [2]int, warmup, length time.Duration) (out report.Sample, err error) {
	b.shared.clear()
	if err := b.ask(job{Op: opLine, CPU: cpus[1]}); err != nil {
		return out, err
	}
	err = onCPU(cpus[0], func() (err error) { out, err = callLine(b.shared, &b.gone, warmup, length); return err })
	if err != nil {
		storeWord(b.shared.word(sharedPing), lineEnd)
	}
	_, perr := b.await()
	return out, blame(err, perr)
}

// connInfo is what the last connection said of itself.
type connInfo struct {
	path string
	why  []string
	// events and lost count a topic's over all rounds.
	events, lost uint64
}

// round makes one round over a new connection.
func (b *Bench) round(ctx context.Context, s *Spec, length time.Duration, info *connInfo) (report.Sample, error) {
	switch s.Kind {
	case report.KindFanIn:
		info.path = pathOf(s.Link, s.Ring) + ", into one engine"
		return b.fanIn(ctx, s, length)
	case report.KindRPC:
		return b.rpc(ctx, s, length, info)
	case report.KindTopic:
		return b.topic(ctx, s, length, info)
	}
	j := job{Op: opEcho, CPU: s.CPUs[1]}
	if s.Kind == report.KindStream {
		j.Op, j.Warmup, j.Stamped = opSink, s.Warmup, s.Rate != report.MaxRate
	}
	var out report.Sample
	a, err := b.over(ctx, s, j, info, func(e *end) (err error) {
		switch {
		case s.Kind == report.KindRTT:
			out, err = e.call(s, length)
		case s.Rate == report.MaxRate:
			err = e.pump(s, s.Warmup+length)
		default:
			err = e.pace(s, s.Warmup+length)
		}
		return err
	})
	if s.Kind == report.KindStream {
		out = report.Sample{Times: report.Distribution{Values: a.Values, Counts: a.Counts},
			Count: a.Count, Bytes: a.Bytes, Elapsed: a.Elapsed}
	}
	return out, err
}

// over connects the peer, runs f on this side's end, and returns the peer's
// answer.
func (b *Bench) over(ctx context.Context, s *Spec, j job, info *connInfo, f func(*end) error) (answer, error) {
	return b.meet(ctx, s, j, info, func(_ context.Context, c *uds.Conn) error {
		e, err := newEnd(c, s.Wait)
		if err != nil {
			return err
		}
		return onCPU(s.CPUs[0], func() error { return f(e) })
	})
}

// meet connects the peer and runs f on this side's end, in a context that ends
// with the peer. It returns the peer's answer.
func (b *Bench) meet(ctx context.Context, s *Spec, j job, info *connInfo, f func(context.Context, *uds.Conn) error) (answer, error) {
	alive, stop := b.whilePeerLives(ctx)
	defer stop()
	timed, cancel := context.WithTimeout(alive, 10*time.Second)
	defer cancel()
	accept, giveUp := context.WithCancelCause(timed)
	defer giveUp(nil)
	l, err := b.listen(s, &j, giveUp)
	if err != nil {
		return answer{}, err
	}
	defer l.Close()
	if err := b.ask(j); err != nil {
		return answer{}, err
	}
	c, err := l.Accept(accept)
	if err != nil {
		_ = l.Close() // or a peer that connects only now would wait for ever
		a, perr := b.await()
		return a, blame(err, perr)
	}
	defer c.Close()
	*info = connInfo{path: pathOf(c.Info().Kind, s.Ring), why: c.Info().Why}
	if s.Garbage > 0 {
		stop := make(chan struct{})
		defer close(stop)
		go litter(s.Garbage, stop)
	}
	err = f(alive, c)
	if err != nil {
		c.Shutdown() // the peer sees the end and answers
	}
	a, perr := b.await()
	return a, blame(err, perr)
}

// pathOf says in words what a connection of that kind goes through.
func pathOf(kind string, ring int) string {
	if kind == LinkRing {
		return fmt.Sprintf("sealed shared memory (memfd), %s each way", report.FormatSize(ring))
	}
	return "unix stream socket"
}

// onCPU runs f on a thread of its own, pinned to cpu, which ends with f.
func onCPU(cpu int, f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, err = sched.Pin(cpu); err == nil {
			err = f()
		}
	}()
	<-done
	return err
}

// describe adds what belongs to every result.
func (b *Bench) describe(res *report.Result, s *Spec) {
	h := report.CollectHost()
	h.CPUs = s.CPUs[:]
	h.Pinning = fmt.Sprintf("one thread of each process pinned: CPU %d and CPU %d", s.CPUs[0], s.CPUs[1])
	res.Host = &h
	if s.Garbage > 0 {
		res.Notes = append(res.Notes, fmt.Sprintf("a goroutine in the caller's process made %d MB of garbage a second", s.Garbage/1e6))
	}
	if (s.Kind == report.KindStream || s.Kind == report.KindTopic) && s.Input == "" && s.Rate == report.MaxRate && res.Limit == nil && !s.NoLimit {
		res.Notes = append(res.Notes, "no limit beside it: "+b.whyNo)
	}
}

// measureInput sends a file once and compares the digests of both sides.
func (b *Bench) measureInput(ctx context.Context, s *Spec, started time.Time) (report.Result, []report.Round, error) {
	f, err := os.Open(s.Input)
	if err != nil {
		return report.Result{}, nil, fmt.Errorf("--input: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return report.Result{}, nil, fmt.Errorf("%w: --input %s: a directory; name a file", ErrSpec, s.Input)
	}
	return b.send(ctx, s, f, started)
}

// send makes the measurement of measureInput with the bytes of r.
func (b *Bench) send(ctx context.Context, s *Spec, r io.Reader, started time.Time) (report.Result, []report.Round, error) {
	var sent, mine = uint64(0), ""
	var info connInfo
	a, err := b.over(ctx, s, job{Op: opSink, CPU: s.CPUs[1], Digest: true}, &info, func(e *end) (err error) {
		sent, mine, err = e.pour(s, r)
		return err
	})
	if err != nil {
		return report.Result{}, nil, err
	}
	if a.SHA256 != mine || a.Bytes != sent {
		return report.Result{}, nil, fmt.Errorf("%w: sent %d bytes with SHA-256 %s, received %d with %s", ErrDigest, sent, mine, a.Bytes, a.SHA256)
	}
	round := report.Round{Got: report.Sample{Count: a.Count, Bytes: a.Bytes, Elapsed: a.Elapsed}}
	res, err := report.Combine(s.setting(), report.Setting{}, []report.Round{round})
	if err != nil {
		return res, nil, err
	}
	res.Started, res.Path, res.Why = started, info.path, info.why
	res.Input, res.SHA256 = s.Input, mine
	res.Notes = append(res.Notes, "the time includes reading the file and SHA-256 on both sides")
	b.describe(&res, s)
	return res, []report.Round{round}, nil
}

// ErrDigest: the bytes that arrived are not the bytes that were sent.
var ErrDigest = errors.New("digests differ")
