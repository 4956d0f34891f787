package measure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
	"github.com/cell-runtime/cell/perf/peers/internal/report"
)

// Cell is one field of the table of all measurements.
type Cell struct {
	Peer      peer.Adapter
	Work      peer.Work
	Size      int
	Placement report.Placement
}

// String names the cell.
func (c Cell) String() string {
	return fmt.Sprintf("%s %s %s %s", c.Peer.Name, c.Work, report.FormatSize(c.Size), c.Placement)
}

// Config is how every cell is measured.
type Config struct {
	CPUs           [2]int // client, server
	Warmup, Length time.Duration
	// Patience bounds starting, connecting and ending.
	Patience time.Duration
}

// ErrPeer: a product failed at its work; the text says how.
var ErrPeer = errors.New("measured product failed")

// Measure measures one cell, and the bare line before and after it.
func Measure(ctx context.Context, c Cell, o Config) (s report.Sample, err error) {
	before, err := bareLine(o.CPUs)
	if err != nil {
		return s, err
	}
	if s, err = measureCell(ctx, c, o); err != nil {
		return s, err
	}
	after, err := bareLine(o.CPUs)
	s.Line = [2]float64{before, after}
	return s, err
}

// measureCell starts both processes, measures one cell, and ends both.
func measureCell(ctx context.Context, c Cell, o Config) (s report.Sample, err error) {
	// The server makes it: this process may be killed at any moment, and would
	// leave one behind that no server has heard of yet. Short, for sockets.
	dir := filepath.Join(socketRoot(), fmt.Sprintf("cp%016x", rand.Uint64()))
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	j := job{Peer: c.Peer.Name, Work: c.Work, Size: c.Size, Dir: dir, Warmup: o.Warmup, Length: o.Length}

	server, err := start(ctx, ServeArg, placed(c.Placement, o.CPUs[1]))
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, server.stop("server", c, err != nil)) }()
	a, err := server.ask(j, o.Patience)
	if err != nil {
		return s, failed("server", c, err, server)
	}
	client, err := start(ctx, CallArg, placed(c.Placement, o.CPUs[0]))
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, client.stop("client", c, err != nil)) }()
	j.Addr, j.Server = a.Addr, server.pid()
	if a, err = client.ask(j, o.Patience+o.Warmup+o.Length); err == nil && a.Sample == nil {
		err = errors.New("it answered without a result")
	}
	if err != nil {
		return s, failed("client", c, err, client)
	}
	s = *a.Sample
	s.Peer, s.Work, s.Size, s.Placement = c.Peer.Name, string(c.Work), c.Size, c.Placement
	return s, nil
}

func placed(p report.Placement, cpu int) int {
	if p == report.Free {
		return anywhere
	}
	return cpu
}

// longestRoot leaves room for names of sockets in the kernel's 107 bytes.
const longestRoot = 60

// socketRoot is where temporary files belong, or /tmp if that path is too long
// for sockets.
func socketRoot() string {
	if d := os.TempDir(); len(d) <= longestRoot {
		return d
	}
	return "/tmp"
}

func failed(role string, c Cell, err error, ch *child) error {
	if ctx := ch.ctx.Err(); ctx != nil {
		return ctx
	}
	said := ch.said()
	if said != "" {
		said = "\n" + said
	}
	return fmt.Errorf("%w: %s, %s: %w%s", ErrPeer, c, role, err, said)
}
