package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// ErrSpec: a measurement that can't be made as it was asked for. The text says
// which flag to change.
var ErrSpec = errors.New("can't measure that")

// Prefix is what a vesicle takes in a ring beside its payload: the commit word
// and the header. Spec.Size counts it.
const Prefix = 4 + wire.HeaderSize

// Links that can be measured.
const (
	LinkRing = "ring"
	LinkUDS  = "uds"
)

// Spec says what to measure. Duration, Rounds, Size and Batch must be set; Check fills
// in the rest where it is zero.
type Spec struct {
	Kind string // report.KindRTT, KindStream, KindFanIn, KindRPC or KindTopic
	Link string
	// Size is the whole vesicle in bytes as it lies in a ring: commit word,
	// header and payload. 64 is one cache line with 40 bytes of payload.
	Size  int
	Batch int
	Peers int // fan-in: connections
	Busy  int // fan-in: how many of them send
	Wait  string
	Rate  report.Rate
	CPUs  [2]int // caller or sender first
	// Duration is that of all rounds together, without warm-up and limit.
	Duration time.Duration
	Warmup   time.Duration // of each round
	Rounds   int
	Ring     int    // bytes of records of one direction; 0 chooses by size
	Input    string // stream: the file whose bytes travel
	NoLimit  bool
	// Garbage is how many bytes a second a goroutine beside the caller
	// allocates and drops.
	Garbage int
	// RPC is for KindRPC.
	RPC RPC
}

// Bounds of a Spec.
const (
	MaxSize   = 512 << 20
	MaxBatch  = 1024
	MaxPeers  = 4000
	MaxRounds = 1000

	minRound = 100 * time.Microsecond
)

// Payload is how many bytes of application data a vesicle of s carries.
func (s *Spec) Payload() int { return s.Size - Prefix }

// Check fills in what was left open and refuses what can't be measured. Its
// errors wrap ErrSpec.
func (s *Spec) Check() error {
	s.defaults()
	if err := s.checkTime(); err != nil {
		return err
	}
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{s.Link != LinkRing && s.Link != LinkUDS && s.Link != LinkBroadcast, fmt.Sprintf("--link %q: ring or uds", s.Link)},
		{s.Size < Prefix || s.Size > MaxSize, fmt.Sprintf("--size %d: from %d (an empty payload) to %d", s.Size, Prefix, MaxSize)},
		{s.Batch < 1 || s.Batch > MaxBatch, fmt.Sprintf("--batch %d: from 1 to %d", s.Batch, MaxBatch)},
		{s.Kind != report.KindStream && s.Kind != report.KindTopic && s.Batch > 1, fmt.Sprintf("--batch %d: streams and topics only; calls go one by one on a connection", s.Batch)},
		{s.Warmup < 0 || s.Warmup > time.Minute, fmt.Sprintf("--warmup %v: from 0 to 1m", s.Warmup)},
		{s.Ring < ring.MinSize || s.Ring > ring.MaxSize || s.Ring&(s.Ring-1) != 0,
			fmt.Sprintf("--ring %d: a power of two from %d to %d", s.Ring, ring.MinSize, ring.MaxSize)},
		{s.Link == LinkRing && s.Ring/2 < s.Size, fmt.Sprintf("--ring %d: at least twice --size %d, rounded up to a power of two", s.Ring, s.Size)},
		{s.Kind == report.KindStream && s.Rate != report.MaxRate && s.Payload() < stampSize,
			fmt.Sprintf("--size %d: an open-loop stream carries its schedule in the payload; at least %d", s.Size, Prefix+stampSize)},
		{s.Kind == report.KindFanIn && (s.Peers < 1 || s.Peers > MaxPeers || s.Busy < 1 || s.Busy > s.Peers),
			fmt.Sprintf("--peers %d --busy %d: 1 to %d peers, of which at least one and at most all are busy", s.Peers, s.Busy, MaxPeers)},
		{s.Kind == report.KindFanIn && s.Rate != report.MaxRate, "--rate: fan-in is measured in closed loop"},
		{s.Input != "" && s.Kind != report.KindStream, "--input: streams only"},
		{s.Input != "" && s.Rate != report.MaxRate, "--input: in closed loop only"},
	} {
		if c.bad {
			return fmt.Errorf("%w: %s", ErrSpec, c.text)
		}
	}
	if _, err := waitMode(s.Wait); err != nil {
		return err
	}
	return s.checkRPC()
}

// checkTime refuses durations and numbers of rounds that can't be measured.
func (s *Spec) checkTime() error {
	switch {
	case s.Rounds < 1 || s.Rounds > MaxRounds:
		return fmt.Errorf("%w: --rounds %d: from 1 to %d", ErrSpec, s.Rounds, MaxRounds)
	case s.Duration < time.Millisecond || s.Duration > time.Hour:
		return fmt.Errorf("%w: --duration %v: from 1ms to 1h", ErrSpec, s.Duration)
	case s.Duration/time.Duration(s.Rounds) < minRound:
		return fmt.Errorf("%w: --duration %v, --rounds %d: %v at least for each round", ErrSpec, s.Duration, s.Rounds, minRound)
	}
	return nil
}

func (s *Spec) defaults() {
	s.rpcDefaults()
	if s.Wait == "" {
		s.Wait = "spin"
	}
	if s.Ring == 0 {
		s.Ring = DefaultRing(s.Kind, s.Size)
	}
	if s.Kind == report.KindFanIn && s.Busy == 0 {
		s.Busy = s.Peers
	}
}

// DefaultRing is the ring that suits vesicles of size bytes. Small ones are
// fastest while the ring stays in the first-level cache; a stream of large ones
// wants more than both second-level caches hold and a small part of the third:
// at 64 KiB, 4 MiB moved more than four times as much as 512 KiB. Measured with
// perf/limit, where C has its best at the same sizes.
func DefaultRing(kind string, size int) int {
	n := 16 << 10
	switch {
	case kind == report.KindRTT, kind == report.KindRPC:
		n = 64 << 10
	case kind == report.KindTopic:
		n = 4 << 20
	case kind == report.KindStream && size > 256:
		n = 4 << 20
	}
	for n < 4*size && n < 8<<20 || n/2 < size {
		n *= 2
	}
	return min(n, ring.MaxSize)
}

// setting is what the report calls this.
func (s *Spec) setting() report.Setting {
	r := report.Setting{Kind: s.Kind, Link: s.Link, Size: s.Size, Payload: s.Payload(), Batch: s.Batch,
		Wait: s.Wait, Rate: s.Rate, Loop: report.Closed}
	if s.Rate != report.MaxRate {
		r.Loop = report.Open
	}
	switch s.Kind {
	case report.KindFanIn:
		r.Peers, r.Busy = s.Peers, s.Busy
	case report.KindRPC:
		r.Payload, r.Caller, r.Handler, r.Window = s.message(), s.RPC.Caller, s.RPC.Handler, s.RPC.Window
	}
	return r
}

func waitMode(name string) (uds.WaitMode, error) {
	for _, m := range []uds.WaitMode{uds.WaitSpin, uds.WaitYield, uds.WaitPark, uds.WaitAdaptive} {
		if m.String() == name {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%w: --wait %q: spin, yield, park or adaptive", ErrSpec, name)
}
