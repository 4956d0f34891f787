package node_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/node/config"
)

// bombLife ends a bomb that nobody ends.
const bombLife = time.Minute

// forkBomb starts processes that start processes, as many as it may.
func forkBomb() {
	time.AfterFunc(bombLife, func() { os.Exit(9) })
	self, err := os.Executable()
	if err != nil {
		return
	}
	for {
		_, err := syscall.ForkExec(self, []string{self, "cell", "fork bomb"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// memoryBomb takes memory until it is killed.
func memoryBomb() {
	var all [][]byte
	for len(all) < 1<<14 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Println(len(all))
}

// bombs adds cells that are hostile to the host, within limits, and behind all
// others if so configured.
func bombs(c *config.Config, background bool) {
	for name, kind := range map[string]string{"forks": "fork bomb", "eats": "memory bomb"} {
		cell := config.DefaultCell()
		cell.Command, cell.Capsid, cell.Serves, cell.Restart = command(kind), "bwrap", false, "always"
		cell.BackoffMin, cell.BackoffMax, cell.MaxRestarts = config.Duration(20*time.Millisecond), config.Duration(100*time.Millisecond), 0
		cell.StopGrace = config.Duration(100 * time.Millisecond)
		cell.Files.System, cell.Files.Proc = true, true
		cell.Limits = config.Limits{Memory: 64 << 20, Processes: 100, CPU: 0.2, Background: background, Missing: "refuse"}
		c.Cells[name] = cell
	}
}

// Bombs go off in their capsids, and the others are served meanwhile: with what
// latency is logged, and asserted nowhere. With CELL_SOAK=1 long enough for
// figures.
func TestBombsInCapsids(t *testing.T) {
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip("bubblewrap is not installed")
	}
	backend, err := capsid.Open("none")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range backend.Probe(t.Context()) {
		if f.ID == "capsid.cgroup" && f.Severity != 0 {
			t.Skip("no control groups: " + f.Evidence)
		}
	}
	rounds, rate, each := 1, 500, 300*time.Millisecond
	allWalls, neighbours := []string{"bwrap"}, []string{"bombs"}
	if os.Getenv("CELL_SOAK") != "" {
		rounds, rate, each = 3, 2000, 4*time.Second
		allWalls, neighbours = []string{"none", "bwrap"}, []string{"nobody", "bombs", "bombs in the background"}
	}
	for range rounds {
		for _, walls := range allWalls {
			for _, beside := range neighbours {
				c := postage(privateDir(t), "v1", func(c *config.Cell) {
					c.Capsid, c.Files.System = walls, walls != "none"
				})
				hostile := beside != "nobody"
				if hostile {
					bombs(&c, beside != "bombs")
				}
				what := fmt.Sprintf("calls of a cell in %s beside %s", walls, beside)
				t.Run(what, func(t *testing.T) {
					r := run(t, c, nil)
					if hostile {
						r.bombed() // they go on going off
					}
					p := r.paceBy(0, 1, rate, quoteV1)
					time.Sleep(each)
					p.end(t, what)
					if hostile {
						r.bombed()
					}
				})
			}
		}
	}
}

// bombed waits until the bombs have gone off and checks what held them.
func (r rig) bombed() {
	r.t.Helper()
	eventually(r.t, "the memory bomb is killed for its memory", func() bool {
		audit, err := r.ops.Audit(soon(r.t))
		if err != nil {
			return false
		}
		found := false
		for _, e := range audit.Entries {
			found = found || e.Cell == "eats" && strings.Contains(e.Why, "out of memory")
		}
		return found
	})
	list, err := r.ops.Cells(soon(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	names := make([]string, 0, len(list.Cells))
	for _, c := range list.Cells {
		names = append(names, c.Name)
		if c.Name == "postage" && c.Restarts > 0 {
			r.t.Errorf("the cell beside was restarted: %+v", c)
		}
	}
	if !slices.Equal(names, []string{"eats", "forks", "postage"}) {
		r.t.Errorf("%v", names)
	}
}
