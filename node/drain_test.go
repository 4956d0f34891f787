package node

import (
	"log/slog"
	"testing"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/network"
)

// over is a process that has ended.
type over struct{ capsid.Process }

func (over) PID() int           { return 1 }
func (over) Stop(time.Duration) {}

// An operator who has a cell stopped sees nothing of its processes afterwards, even
// where who attends to them has not come to note their end.
func TestWhatWasStoppedIsGoneWhenThatIsSaid(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	n := &Node{log: log, network: network.New(network.Options{})}
	var err error
	if n.audit, err = openAudit("", log); err != nil {
		t.Fatal(err)
	}
	c := &cell{node: n, name: "ledger", config: config.DefaultCell()}
	v := newVersion(config.Cell{Command: []string{"/bin/true"}})
	c.versions = []*version{v}
	i := &instance{version: v, process: over{}, output: &output{source: "ledger#1"}, gone: make(chan struct{}), leaving: make(chan struct{})}
	close(i.gone)
	v.instances = []*instance{i}
	c.sleep(v, "somebody", "stopped")
	if left := v.running(); len(left) > 0 {
		t.Errorf("%d are left", len(left))
	}
	if state, _ := v.state(); state != stateAsleep {
		t.Error(state)
	}
	c.ended(i) // who attends to it comes later
	ends := 0
	for _, e := range n.audit.all() {
		if e.Did == "ended" {
			ends++
		}
	}
	if ends != 1 {
		t.Errorf("its end is told of %d times", ends)
	}
}
