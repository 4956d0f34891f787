package engine_test

import (
	"errors"
	"testing"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/metrics"
)

func TestMetrics(t *testing.T) {
	file, err := metrics.Anonymous(metrics.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	counter, err := file.Counter("echoes", "Requests echoed.", "")
	if err != nil {
		t.Fatal(err)
	}
	near, far := pipe(t, linktest.PipeConfig{})
	e := running(t, engine.Config{Name: "one", Metrics: file})
	if _, err := engine.New(engine.Config{Name: "one", Metrics: file}); !errors.Is(err, metrics.ErrDuplicate) {
		t.Errorf("a second engine of the same name: %v", err)
	}
	add(t, e, near, engine.HandlerFunc(echo), engine.CountVesicles(counter))
	for i := range uint32(3) {
		send(t, far, request(i), "")
		receive(t, far)
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	if counter.Value() != 3 {
		t.Errorf("%d echoes", counter.Value())
	}
	snapshot, err := file.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	want := e.Stats()
	found := 0
	for _, m := range snapshot.Samples {
		switch m.Name {
		case "cell_engine_vesicles":
			found++
			if m.Writer != "one" || m.Counter != 3 {
				t.Errorf("%+v", m)
			}
		case "cell_engine_cycles":
			found++
			if m.Counter != want.Cycles {
				t.Errorf("%+v, want %d", m, want.Cycles)
			}
		case "cell_engine_longest_cycle":
			found++
			if m.Gauge != int64(want.LongestCycle) {
				t.Errorf("%+v, want %d", m, want.LongestCycle)
			}
		}
	}
	if found != 3 {
		t.Errorf("%d of 3 instruments found", found)
	}
}
