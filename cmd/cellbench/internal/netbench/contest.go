package netbench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/ebpf"
	"github.com/cell-runtime/cell/sched"
)

// Names of contestants: report.Setting.Link.
const (
	LinkXDP    = "afxdp"
	LinkAsavie = "asavie" // afxdp over another library's sockets
	LinkUDP    = "udp"
	KernelUDP  = "kernel-udp" // bare non-blocking sockets
	BareXDP    = "xdp-tx"     // rtt: the peer's kernel sends each frame back
	BareFrames = "xdp-frames" // stream: frames through bare AF_XDP sockets

	// What else bare AF_XDP sockets do, for comparison.
	BareEcho   = "xdp-echo"      // rtt: such a socket at the far end sends each frame back
	CSender    = "c-xdpsock"     // stream: the sender is a program in C, the receiver ours
	Generated  = "xdp-generated" // stream: the far kernel makes the frames, in the driver's mode
	PolledNAPI = "xdp-napi-poll" // stream: a thread of the kernel receives, the receiver sleeps in poll
)

// Bare are the contestants without a link for a kind of measurement.
func Bare(kind string) []string {
	if kind == report.KindRTT {
		return []string{BareEcho}
	}
	all := []string{Generated, PolledNAPI}
	if _, err := exec.LookPath("gcc"); err == nil {
		all = append([]string{CSender}, all...)
	}
	return all
}

// Spec says what to measure.
type Spec struct {
	Kind     string // report.KindRTT or KindStream
	Links    []string
	Size     int // of a vesicle, as bench.Spec counts it
	Payload  int
	Batch    int
	Mode     ebpf.Mode
	Reliable bool
	CPUs     [2]int
	Duration time.Duration // of all rounds of one contestant
	Rounds   int
	Warmup   time.Duration // of each round
}

// contestant is one way between two hosts. near runs on the first CPU and far
// on the second, till stop is set; near sets it.
type contestant interface {
	near(s *Spec, length time.Duration, stop *atomic.Bool) (report.Sample, error)
	far(s *Spec, stop *atomic.Bool) (report.Sample, error)
	about() (path string, why []string)
	close() error
}

// entry is a contestant with what belongs to it.
type entry struct {
	name string
	contestant
	lab    *netlab.Lab
	rounds []report.Sample
}

func (e *entry) end() error {
	var errs []error
	if e.contestant != nil {
		errs = append(errs, e.contestant.close())
	}
	if e.lab != nil {
		errs = append(errs, e.lab.Close())
	}
	return errors.Join(errs...)
}

// Run measures every link of s, kernel UDP and the bare limit, interleaved, and
// returns a result for each link and for kernel UDP, held against the limit.
func Run(ctx context.Context, s Spec, progress func(i, of int, name string)) (results []report.Result, err error) {
	started := time.Now()
	limit := BareXDP
	if s.Kind == report.KindStream {
		limit = BareFrames
	}
	var all []*entry
	defer func() {
		for _, e := range all {
			err = errors.Join(err, e.end())
		}
	}()
	for _, name := range append([]string{limit, KernelUDP}, s.Links...) {
		e, err := open(ctx, name, &s)
		all = append(all, e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for r := range s.Rounds {
		for i, e := range all {
			progress(r*len(all)+i, s.Rounds*len(all), e.name)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			sample, err := e.round(&s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", e.name, err)
			}
			e.rounds = append(e.rounds, sample)
		}
	}
	for _, e := range all[1:] {
		res, err := e.result(&s, all[0], all[1])
		if err != nil {
			return nil, err
		}
		res.Started = started
		results = append(results, res)
	}
	return results, nil
}

// round runs both sides.
func (e *entry) round(s *Spec) (report.Sample, error) {
	var stop atomic.Bool
	type outcome struct {
		sample report.Sample
		err    error
	}
	far := make(chan outcome, 1)
	go func() {
		var o outcome
		o.err = onCPU(s.CPUs[1], func() (err error) {
			o.sample, err = e.far(s, &stop)
			stop.Store(true)
			return err
		})
		far <- o
	}()
	var mine report.Sample
	err := onCPU(s.CPUs[0], func() (err error) {
		mine, err = e.near(s, s.Duration/time.Duration(s.Rounds), &stop)
		stop.Store(true)
		return err
	})
	o := <-far
	if err := errors.Join(err, o.err); err != nil {
		return mine, err
	}
	if s.Kind == report.KindStream {
		return o.sample, nil
	}
	return mine, nil
}

// setting is what the report calls a contestant.
func (e *entry) setting(s *Spec, kind string) report.Setting {
	return report.Setting{Kind: kind, Link: e.name, Size: s.Size, Payload: s.Payload, Batch: max(s.Batch, 1), Wait: "spin", Loop: report.Closed}
}

func (e *entry) result(s *Spec, limit, kernel *entry) (report.Result, error) {
	beside := func(other *entry) []report.Round {
		rounds := make([]report.Round, len(e.rounds))
		for i := range rounds {
			rounds[i] = report.Round{Got: e.rounds[i], Limit: &other.rounds[i]}
		}
		return rounds
	}
	res, err := report.Combine(e.setting(s, s.Kind), limit.setting(s, report.KindLimit), beside(limit))
	if err != nil {
		return res, err
	}
	res.Path, res.Why = e.about()
	h := report.CollectHost()
	h.CPUs = s.CPUs[:]
	h.Pinning = fmt.Sprintf("one thread for each host pinned: CPU %d and CPU %d", s.CPUs[0], s.CPUs[1])
	res.Host = &h
	if e == kernel {
		return res, nil
	}
	k, err := report.Combine(e.setting(s, s.Kind), kernel.setting(s, report.KindLimit), beside(kernel))
	if err != nil {
		return res, err
	}
	if k.RatioP50 != nil && k.RatioP99 != nil {
		res.Notes = append(res.Notes, fmt.Sprintf("%s against spinning kernel UDP in the same rounds: p50 × %.2f, p99 × %.2f", e.name, *k.RatioP50, *k.RatioP99))
	}
	if s.Kind == report.KindStream && k.RatioMsgs != nil {
		res.Notes = append(res.Notes, fmt.Sprintf("%s against spinning kernel UDP (sendmmsg, recvmmsg) in the same rounds: × %.2f", e.name, *k.RatioMsgs))
	}
	return res, nil
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

// MaxSize is the largest vesicle: one that fits a datagram, as the MTU of 1,500
// bytes allows, with its header and the datagram's.
const MaxSize = 1420

// looks is how many empty polls pass between two looks at the stop flag.
const looks = 256

// after returns the tick count d from now.
func after(d time.Duration) uint64 { return sched.Ticks() + sched.NanosToTicks(int64(d)) }

// past reports whether the time is over.
func past(until uint64) bool { return int64(sched.Ticks()-until) >= 0 }

// errSilent: the other side did not answer.
var errSilent = errors.New("nothing came for a second")
