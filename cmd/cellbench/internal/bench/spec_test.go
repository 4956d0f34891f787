package bench

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
)

func TestSpecsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, says string
		change     func(*Spec)
	}{
		{"unknown link", "--link", func(s *Spec) { s.Link = "carrier-pigeon" }},
		{"no link", "--link", func(s *Spec) { s.Link = "" }},
		{"smaller than its header", "--size", func(s *Spec) { s.Size = Prefix - 1 }},
		{"larger than any ring", "--size", func(s *Spec) { s.Size = MaxSize + 1 }},
		{"no batch", "--batch", func(s *Spec) { s.Batch = 0 }},
		{"negative batch", "--batch", func(s *Spec) { s.Batch = -1 }},
		{"huge batch", "--batch", func(s *Spec) { s.Batch = MaxBatch + 1 }},
		{"calls in batches", "--batch", func(s *Spec) { s.Kind, s.Batch = report.KindRTT, 2 }},
		{"no rounds", "--rounds", func(s *Spec) { s.Rounds = 0 }},
		{"rounds without end", "--rounds", func(s *Spec) { s.Rounds = MaxRounds + 1 }},
		{"no time", "--duration", func(s *Spec) { s.Duration = 0 }},
		{"no time for each round", "--rounds", func(s *Spec) { s.Duration, s.Rounds = time.Millisecond, 1000 }},
		{"a day", "--duration", func(s *Spec) { s.Duration = 24 * time.Hour }},
		{"negative warm-up", "--warmup", func(s *Spec) { s.Warmup = -1 }},
		{"ring not a power of two", "--ring", func(s *Spec) { s.Ring = 5000 }},
		{"ring too small to be one", "--ring", func(s *Spec) { s.Ring = 64 }},
		{"ring too large to be one", "--ring", func(s *Spec) { s.Ring = 1 << 40 }},
		{"vesicle larger than half a ring", "--ring", func(s *Spec) { s.Size, s.Ring = 4096, 4096 }},
		{"unknown wait", "--wait", func(s *Spec) { s.Wait = "pray" }},
		{"open loop without room for the schedule", "--size", func(s *Spec) { s.Size, s.Rate = Prefix, 1000 }},
		{"input of round trips", "--input", func(s *Spec) { s.Kind, s.Input = report.KindRTT, "x" }},
		{"input by a schedule", "--input", func(s *Spec) { s.Rate, s.Input = 1000, "x" }},
		{"nobody in a fan-in", "--peers", func(s *Spec) { s.Kind = report.KindFanIn }},
		{"more busy than there are", "--busy", func(s *Spec) { s.Kind, s.Peers, s.Busy = report.KindFanIn, 2, 3 }},
		{"fan-in by a schedule", "--rate", func(s *Spec) { s.Kind, s.Peers, s.Rate = report.KindFanIn, 2, 1000 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := short(report.KindStream, LinkRing)
			c.change(&s)
			if err := s.Check(); !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, which should name %s", err, c.says)
			}
		})
	}
}

func TestDefaultRingHoldsTwoVesicles(t *testing.T) {
	for _, kind := range []string{report.KindRTT, report.KindStream} {
		for size := Prefix; size <= MaxSize; size = size*3 + 1 {
			s := short(kind, LinkRing)
			s.Size = size
			if err := s.Check(); err != nil {
				t.Errorf("%s of %d bytes: %v", kind, size, err)
			}
		}
		s := short(kind, LinkRing)
		s.Size = MaxSize
		if err := s.Check(); err != nil {
			t.Errorf("%s of %d bytes: %v", kind, MaxSize, err)
		}
	}
}
