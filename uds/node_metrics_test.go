package uds

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/wire"
)

func TestACellShowsItsMetricsInMemoryOfItsNode(t *testing.T) {
	lent, err := metrics.Lend(os.Getpid(), metrics.Options{Size: metrics.MinSize, Instruments: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer lent.Close()
	o := open
	o.Show = func(link.Peer) (*os.File, error) { return lent, nil }
	cell := cellOf(t, broker(t, o), "counts").node
	f, err := cell.metrics()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := f.Counter("calls", "", "")
	if err != nil {
		t.Fatal(err)
	}
	c.Add(3)
	r, err := metrics.Open(fmt.Sprintf("/proc/self/fd/%d", lent.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if s, err := r.Snapshot(); err != nil || len(s.Samples) != 1 || s.Samples[0].Counter != 3 || !r.WriterAlive() {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := cell.metrics(); !errors.Is(err, metrics.ErrBusy) {
		t.Errorf("a second time: %v", err)
	}
}

func TestANodeThatLendsNoMemory(t *testing.T) {
	none := cellOf(t, broker(t, open), "none").node
	if f, err := none.metrics(); f != nil || err != nil {
		t.Errorf("a node that shows none: %v, %v", f, err)
	}
	o := open
	o.Show = func(link.Peer) (*os.File, error) { return nil, errors.New("there is none left") }
	if f, err := cellOf(t, broker(t, o), "refused").node.metrics(); f != nil || !errors.Is(err, wire.StatusResourceExhausted) {
		t.Errorf("a node that has none: %v, %v", f, err)
	}
	if f, err := Metrics(metrics.Options{}); f != nil || err != nil {
		t.Errorf("no node: %v, %v", f, err)
	}
}
