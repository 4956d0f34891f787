package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/measure"
	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
)

// patience bounds how long a product may take to start, connect or end.
const patience = 20 * time.Second

var (
	errMore    = errors.New("rounds are left: run the same again with --resume")
	errFailing = errors.New("some measurements came to nothing")
)

// cells lists everything that a round measures. Without pinning, only round
// trips of the smallest size are measured: they are what it changes most.
func (o *options) cells() (all []measure.Cell) {
	for _, place := range o.placements {
		for _, w := range o.works {
			for i, size := range o.sizes {
				if place == report.Free && (w != peer.RTT || i > 0) {
					continue
				}
				for _, a := range o.peers {
					if a.Does(w, size) {
						all = append(all, measure.Cell{Peer: a, Work: w, Size: size, Placement: place})
					}
				}
			}
		}
	}
	return all
}

// order shuffles the cells for one round, the same way whenever it is resumed.
func order(cells []measure.Cell, round int) []measure.Cell {
	shuffled := make([]measure.Cell, len(cells))
	for i, from := range rand.New(rand.NewPCG(0xce11, uint64(round))).Perm(len(cells)) {
		shuffled[i] = cells[from]
	}
	return shuffled
}

// describe makes a report without samples.
func (o *options) describe() *report.Report {
	r := &report.Report{Format: report.Format, Host: report.CollectHost(), Samples: []report.Sample{},
		Settings: report.Settings{Duration: o.duration, Warmup: o.warmup, CPUs: o.cpus, Window: peer.Window,
			Sizes: o.sizes, Placements: o.placements}}
	for _, w := range o.works {
		r.Settings.Works = append(r.Settings.Works, string(w))
	}
	versions := report.Versions()
	for _, a := range o.peers {
		r.Settings.Peers = append(r.Settings.Peers, a.Name)
		r.Peers = append(r.Peers, report.Peer{Name: a.Name, Family: string(a.Family), About: a.About,
			Module: a.Module, Version: versions[a.Module]})
	}
	return r
}

// open returns the report to add to, and what of it is there already.
func (o *options) open() (*report.Report, error) {
	r := o.describe()
	if o.resume {
		old, err := report.Read(o.out)
		switch {
		case errors.Is(err, os.ErrNotExist): // the first of several runs
		case err != nil:
			return nil, err
		default:
			if err := r.Continues(old); err != nil {
				return nil, err
			}
			// What failed is tried again.
			r, old.Failures = old, nil
		}
	}
	commit, dirty := report.Commit()
	r.Runs = append(r.Runs, report.Run{Started: time.Now().UTC().Truncate(time.Second), Commit: commit, Dirty: dirty})
	return r, nil
}

// run measures what is missing and writes the report, also when it is
// interrupted.
func (o *options) run(ctx context.Context, stdout, stderr io.Writer) error {
	r, err := o.open()
	if err != nil {
		return err
	}
	before := len(r.Samples)
	err = o.fill(ctx, r, stderr)
	if len(r.Samples) == before {
		r.Runs = r.Runs[:len(r.Runs)-1] // it has measured nothing
	}
	if len(r.Samples) == 0 {
		return err
	}
	if o.out == "-" {
		page, werr := report.Markdown(r)
		if werr == nil {
			_, werr = stdout.Write(page)
		}
		return errors.Join(err, werr)
	}
	return errors.Join(err, report.Write(o.out, r))
}

// done says which cells of which rounds a report has.
func done(r *report.Report) map[string]bool {
	has := map[string]bool{}
	for _, s := range r.Samples {
		has[fmt.Sprint(s.Round, s.Peer, s.Work, s.Size, s.Placement)] = true
	}
	return has
}

// fill measures every cell of every round that the report lacks.
func (o *options) fill(ctx context.Context, r *report.Report, progress io.Writer) error {
	begun, has, cells := time.Now(), done(r), o.cells()
	config := measure.Config{CPUs: o.cpus, Warmup: o.warmup, Length: o.duration, Patience: patience}
	failed := false
	for round := 1; round <= o.rounds; round++ {
		for i, c := range order(cells, round) {
			if has[fmt.Sprint(round, c.Peer.Name, c.Work, c.Size, c.Placement)] {
				continue
			}
			if o.budget > 0 && time.Since(begun) > o.budget {
				return errMore
			}
			fmt.Fprintf(progress, "round %d of %d, %d of %d: %s\n", round, o.rounds, i+1, len(cells), c)
			s, err := measure.Measure(ctx, c, config)
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			if err != nil {
				fmt.Fprintf(progress, "  failed: %v\n", err)
				r.Failures = append(r.Failures, report.Failed{Round: round, Cell: c.String(), Error: err.Error()})
				failed = true
				continue
			}
			s.Round, s.Run = round, len(r.Runs)-1
			r.Samples = append(r.Samples, s)
		}
	}
	if failed {
		return errFailing
	}
	return nil
}
