package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

func TestMeasureRoundTrips(t *testing.T) {
	for _, link := range []string{LinkRing, LinkUDS} {
		for _, wait := range []string{"spin", "yield", "park", "adaptive"} {
			for _, rate := range []report.Rate{report.MaxRate, 2000} {
				s := short(report.KindRTT, link)
				s.Wait, s.Rate = wait, rate
				t.Run(named(s), func(t *testing.T) {
					s.Rounds = 2
					res, rounds := measured(t, s)
					if res.NS == nil || res.Limit == nil || res.Limit.NS == nil || len(rounds) != 2 {
						t.Fatalf("incomplete: %+v", res)
					}
					if res.Limit.Link != "cacheline" {
						t.Errorf("held against %q", res.Limit.Link)
					}
				})
			}
		}
	}
}

func TestMeasureRoundTripsOfManySizes(t *testing.T) {
	for _, size := range []int{Prefix, Prefix + 1, 65, 4096, 1 << 20} {
		for _, link := range []string{LinkRing, LinkUDS} {
			s := short(report.KindRTT, link)
			s.Size, s.NoLimit = size, true
			t.Run(named(s), func(t *testing.T) {
				res, _ := measured(t, s)
				if res.Payload != size-Prefix || res.Limit != nil {
					t.Errorf("payload %d, limit %v", res.Payload, res.Limit)
				}
			})
		}
	}
}

func TestMeasureStreams(t *testing.T) {
	for _, link := range []string{LinkRing, LinkUDS} {
		for _, wait := range []string{"spin", "yield", "park", "adaptive"} {
			for _, of := range []Spec{
				{Size: 64, Batch: 1},
				{Size: 64, Batch: 32},
				{Size: 64, Batch: 4, Rate: 10_000},
				{Size: 64 << 10, Batch: 2},
				{Size: Prefix, Batch: 8}, // no payload at all
			} {
				s := short(report.KindStream, link)
				s.Size, s.Batch, s.Rate, s.Wait = of.Size, of.Batch, of.Rate, wait
				t.Run(named(s), func(t *testing.T) {
					res, _ := measured(t, s)
					if timed := res.NS != nil; timed != (s.Rate != report.MaxRate) {
						t.Errorf("single vesicles timed: %v, at rate %v", timed, s.Rate)
					}
					if s.Payload() >= bulk && (res.Limit == nil || res.Limit.Link != "copy") {
						t.Errorf("a bulk stream without a bare copy beside it: %+v", res.Limit)
					}
				})
			}
		}
	}
}

func TestMeasureFanIn(t *testing.T) {
	for _, link := range []string{LinkRing, LinkUDS} {
		for _, wait := range []string{"spin", "yield", "park", "adaptive"} {
			for _, busy := range []int{0, 2} {
				s := short(report.KindFanIn, link)
				s.Peers, s.Busy, s.Wait = 5, busy, wait
				t.Run(fmt.Sprintf("%s busy %d", named(s), busy), func(t *testing.T) {
					res, _ := measured(t, s)
					if res.NS == nil || res.Peers != 5 {
						t.Errorf("%+v", res)
					}
					if hasLimit := res.Limit != nil; hasLimit != (busy != 0) {
						t.Errorf("%d busy of 5, held against the busy ones alone: %v", busy, hasLimit)
					}
				})
			}
		}
	}
}

func TestLimits(t *testing.T) {
	b, ctx := begin(t)
	shown := 0
	results, err := b.Limits(ctx, short("", ""), func(int, int) { shown++ })
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 4 || shown != 4 {
		t.Errorf("%d results after %d steps", len(results), shown)
	}
	for _, r := range results {
		if r.Kind != report.KindLimit || r.MsgsPerS == nil {
			t.Errorf("%+v", r)
		}
	}
}

func TestJitter(t *testing.T) {
	res, _, err := Jitter(t.Context(), [2]int{0, 1}, 50*time.Millisecond, 200*time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	if res.Link == "" || res.Path == "" || res.Jitter == nil || res.Jitter.ObservedS < 0.05 {
		t.Errorf("%+v", res)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Jitter(ctx, [2]int{0, 1}, time.Hour, time.Microsecond); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, d := range []time.Duration{0, -time.Second, 2 * time.Hour} {
		if _, _, err := Jitter(t.Context(), [2]int{0, 1}, d, time.Microsecond); !errors.Is(err, ErrSpec) {
			t.Errorf("duration %v: %v", d, err)
		}
	}
}

func TestProgressIsTold(t *testing.T) {
	b, ctx := begin(t)
	var seen []string
	s := short(report.KindRTT, LinkRing)
	s.Rounds = 2
	if _, _, err := b.Measure(ctx, s, func(i, of int) { seen = append(seen, fmt.Sprint(i, of)) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, ","); got != "0 2,1 2" {
		t.Errorf("told %s", got)
	}
}
