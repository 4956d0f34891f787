package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/examples/versions/v3"
	"github.com/cell-runtime/cell/internal/leash"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// passesOn is a cell that asks another one of its node.
type passesOn struct {
	mu   sync.Mutex
	conn *rpc.Conn
}

func (p *passesOn) Quote(ctx context.Context, req v1.Parcel) (v1.Price, error) {
	p.mu.Lock()
	if p.conn == nil {
		conn, err := rpc.Connect(ctx, uds.Dialer("walled", nil), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
		if err != nil {
			p.mu.Unlock()
			return v1.Price{}, err
		}
		p.conn = conn
	}
	conn := p.conn
	p.mu.Unlock()
	return v1.NewPostageClient(conn).Quote(ctx, req)
}

// killed is the node of TestKills: cells without walls, in a sandbox with
// control groups, and one that calls those. Their command lines have the
// directory, by which their processes are found.
func killed(dir string) config.Config {
	c := postage(dir, "v1", func(c *config.Cell) {
		c.Command, c.Instances = append(command("v1"), "postage", dir), 2
		c.VersionIdle = config.Duration(200 * time.Millisecond)
	})
	one := func(name, kind string, instances int) {
		cell := c.Cells["postage"]
		cell.Command, cell.Instances = append(command(kind), name, dir), instances
		if _, err := exec.LookPath("bwrap"); err == nil {
			cell.Capsid, cell.Files.System = "bwrap", true
			cell.Limits = config.Limits{Memory: 1 << 30, Processes: 100, Missing: "rlimits"}
		}
		c.Cells[name] = cell
	}
	one("walled", "shows", 2)
	one("chain", "passes on", 1)
	rests := c.Cells["postage"]
	rests.Command, rests.Instances = append(command("v1"), "rests", dir), 1
	c.Cells["rests"] = rests
	return c
}

// killRig is a node that is killed and started again.
type killRig struct {
	rig
	log  string
	cmd  *exec.Cmd
	held *leash.Leash
	pids []int // of all nodes so far

	errors errorCounts
}

// errorCounts are errors of calls without the numbers in them.
type errorCounts struct {
	mu sync.Mutex
	by map[string]int
}

var digits = regexp.MustCompile(`[0-9.]+`)

func (e *errorCounts) count(name string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by == nil {
		e.by = map[string]int{}
	}
	e.by[name+": "+digits.ReplaceAllString(fmt.Sprint(err), "N")]++
}

func (k *killRig) start() {
	k.t.Helper()
	log, err := os.OpenFile(k.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer log.Close()
	k.cmd = exec.Command(command("")[0], "node", k.dir)
	k.cmd.Stderr = log
	if k.held, err = leash.Start(k.cmd); err != nil {
		k.t.Fatal(err)
	}
	k.pids = append(k.pids, k.cmd.Process.Pid)
}

func (k *killRig) end(s syscall.Signal) error {
	_ = k.cmd.Process.Signal(s)
	err := k.cmd.Wait()
	k.held.Release()
	return err
}

// cells returns the node's cells as it tells; nothing while there is none.
func (k *killRig) cells() (all []ops.CellState) {
	ctx, cancel := context.WithTimeout(context.Background(), patience/3)
	defer cancel()
	list, err := k.ops.Cells(ctx)
	if err != nil || int(list.PID) != k.cmd.Process.Pid {
		return nil
	}
	return list.Cells
}

// whole waits until all processes are there.
func (k *killRig) whole() {
	k.t.Helper()
	eventually(k.t, "all cells are there", func() bool {
		all := k.cells()
		for _, c := range all {
			n := 0
			for _, i := range c.Instances {
				if i.Version == c.Version && i.State == "ready" {
					n++
				}
			}
			if want := map[string]int{"postage": 2, "walled": 2, "chain": 1}[c.Name]; n < want {
				return false
			}
		}
		return len(all) > 0
	})
}

// evolve has what the nodes that follow must take up: of postage a version that
// takes over its callers and one that doesn't, and a cell that was stopped.
func (k *killRig) evolve() {
	k.t.Helper()
	for _, kind := range []string{"v2", "v3"} {
		if _, err := k.ops.Deploy(soon(k.t), ops.Deployment{Cell: "postage", Command: append(command(kind), "postage", k.dir), Version: kind}); err != nil {
			k.t.Fatal(err)
		}
	}
	if _, err := k.ops.Stop(soon(k.t), ops.Name{Cell: "rests"}); err != nil {
		k.t.Fatal(err)
	}
}

// evolved checks that this is how it is.
func (k *killRig) evolved() {
	k.t.Helper()
	all, err := k.ops.Versions(soon(k.t), ops.Name{Cell: "postage"})
	if err != nil || len(all.Versions) != 2 || all.Versions[0].Name != "v2" || all.Versions[1].Name != "v3" || !all.Versions[1].Current {
		k.t.Errorf("the versions of postage are %+v, %v", all, err)
	}
	conn := k.caller()
	if p, err := v3.NewPostageClient(conn).Quote(soon(k.t), v3.Parcel{Weight: 3}); err != nil || p.Days != 3 {
		k.t.Errorf("v3: %+v, %v", p, err)
	}
	_ = conn.Close()
	for _, c := range k.cells() {
		if c.Name == "rests" && (c.State != "asleep" || !strings.Contains(c.Why, "stopped by user")) {
			k.t.Errorf("what was stopped: %+v", c)
		}
	}
}

// processes returns those whose command line has the rig's directory: cells,
// and what stands between them and the node.
func (k *killRig) processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if bytes.Contains(line, []byte("\x00"+k.dir+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill kills a random cell, or now and then what waits for one.
func (k *killRig) kill() bool {
	var all []int
	if rand.N(4) == 0 {
		for _, pid := range k.processes() {
			if pid != k.cmd.Process.Pid {
				all = append(all, pid)
			}
		}
	} else {
		for _, c := range k.cells() {
			for _, i := range c.Instances {
				all = append(all, int(i.PID))
			}
		}
	}
	return len(all) > 0 && syscall.Kill(all[rand.N(len(all))], syscall.SIGKILL) == nil
}

// callers call all cells until the context ends: each call must end, with the
// right answer or with an error that says how far it came.
func (k *killRig) callers(ctx context.Context, work *sync.WaitGroup) (calls, failed map[string]*atomic.Int64) {
	calls, failed = map[string]*atomic.Int64{}, map[string]*atomic.Int64{}
	for _, name := range []string{"postage", "walled", "chain"} {
		good, bad := new(atomic.Int64), new(atomic.Int64)
		calls[name], failed[name] = good, bad
		for range 2 {
			conn, err := rpc.Connect(soon(k.t), k.dialer(name), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
			if err != nil {
				k.t.Fatal(err)
			}
			client := v1.NewPostageClient(conn)
			work.Go(func() {
				defer conn.Close()
				for ctx.Err() == nil {
					weight := rand.Int32()
					p, err := client.Quote(context.Background(), v1.Parcel{Weight: weight})
					var e *rpc.Error
					switch {
					case err == nil && p.Amount == int64(weight):
						good.Add(1)
						time.Sleep(rand.N(200 * time.Microsecond)) // the kills need a core, too
						continue
					case err == nil:
						k.t.Errorf("%s: asked for %d, answered %d", name, weight, p.Amount)
					case !errors.As(err, &e), errors.Is(err, wire.StatusDeadlineExceeded), errors.Is(err, wire.StatusInternal):
						k.t.Errorf("%s: a call failed oddly: %v", name, err)
					}
					bad.Add(1)
					k.errors.count(name, err)
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
	return calls, failed
}

// groupsOf returns the control groups that nodes have made.
func groupsOf(pids []int) (found []string) {
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		for _, pid := range pids {
			if strings.HasPrefix(d.Name(), fmt.Sprintf("cell-node.%d.", pid)) {
				found = append(found, path)
			}
		}
		return nil
	})
	return found
}

// lines counts those of a file that contain a text.
func lines(path, text string) int {
	b, _ := os.ReadFile(path)
	n := 0
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func descriptorsOf(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}

// Whatever is killed, a call ends with its reply or with an error, what comes
// next takes up the work, and nothing is left: no process, control group, mount,
// socket, file or descriptor. With CELL_SOAK=1: 1,000 cells and 20 nodes.
func TestKills(t *testing.T) {
	cells, nodes := 12, 2
	if os.Getenv("CELL_SOAK") != "" {
		cells, nodes = 1000, 20
	}
	dir, temp := privateDir(t), t.TempDir()
	t.Setenv("TMPDIR", temp)
	k := &killRig{rig: rig{t: t, dir: dir}, log: filepath.Join(t.TempDir(), "log")}
	defer func() {
		if text, err := os.ReadFile(k.log); err == nil && t.Failed() {
			t.Logf("the nodes said at last:\n%s", text[max(0, len(text)-8000):])
		}
	}()
	mounts, fds := lines("/proc/self/mountinfo", ""), descriptorsOf(os.Getpid())
	k.start()
	eventually(t, "the node runs", func() bool { return listening(filepath.Join(dir, config.OpsName+".sock")) })
	conn, err := rpc.Connect(soon(t), k.dialer(config.OpsName), &rpc.ConnOptions{Wait: rpc.WaitPark})
	if err != nil {
		t.Fatal(err)
	}
	k.ops = ops.NewNodeClient(conn)
	k.whole()
	k.evolve()
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	calls, failed := k.callers(ctx, &work)
	k.rampage(cells, nodes)
	k.whole()
	k.evolved()
	for name, n := range calls {
		from := n.Load()
		eventually(t, name+" is called again", func() bool { return n.Load() > from+10 })
	}
	stop()
	work.Wait()
	for text, n := range k.errors.by {
		t.Logf("%d times: %s", n, text)
	}
	for name, n := range calls {
		t.Logf("%s: %d calls answered, %d ended with an error", name, n.Load(), failed[name].Load())
	}
	// A process costs its node 8 to 10, with the link by which it is looked after.
	eventually(t, "the node keeps no descriptors of what has ended", func() bool { return descriptorsOf(k.cmd.Process.Pid) <= 90 })
	if err := k.end(syscall.SIGTERM); err != nil {
		t.Errorf("the last node: %v", err)
	}
	_ = conn.Close()
	eventually(t, "no process is left", func() bool { return len(k.processes()) == 0 })
	eventually(t, "no descriptor is left", func() bool { return descriptorsOf(os.Getpid()) <= fds })
	for _, d := range []string{dir, temp} {
		if left, _ := os.ReadDir(d); len(left) > 0 {
			t.Errorf("files are left in %s: %v", d, left)
		}
	}
	if left := groupsOf(k.pids); len(left) > 0 {
		t.Errorf("control groups are left: %v", left)
	}
	if n := lines("/proc/self/mountinfo", ""); n > mounts {
		t.Errorf("%d mounts, before %d", n, mounts)
	}
	if n := lines("/proc/net/unix", dir); n > 0 {
		t.Errorf("%d sockets are left", n)
	}
}

// rampage kills cells one after the other, and the node in between.
func (k *killRig) rampage(cells, nodes int) {
	k.t.Helper()
	every := cells / (nodes + 1) // the last node has its share of kills
	for n := 1; n <= cells; n++ {
		eventually(k.t, "a cell to kill", k.kill)
		time.Sleep(rand.N(20 * time.Millisecond)) // another moment each time
		if n%every != 0 || n/every > nodes {
			continue
		}
		_ = k.end(syscall.SIGKILL)
		if n/every%2 == 0 {
			k.start() // at once: it meets what is still ending
			continue
		}
		eventually(k.t, "its cells end", func() bool { return len(k.processes()) == 0 })
		k.start()
		if rand.N(2) == 0 { // and once more, while it starts its cells
			time.Sleep(rand.N(60 * time.Millisecond))
			_ = k.end(syscall.SIGKILL)
			eventually(k.t, "the cells that it was starting end", func() bool { return len(k.processes()) == 0 })
			k.start()
		}
	}
}
