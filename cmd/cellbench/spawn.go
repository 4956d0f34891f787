package main

import (
	"cmp"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/capsid"
	"github.com/cell-runtime/cell/capsid/wasm"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/scratch"
)

// spawnResult is one way of starting cells.
type spawnResult struct {
	Way string `json:"way"`
	// Rates are spawns a second of each round; PerSecond their median.
	Rates     []float64 `json:"rates"`
	PerSecond float64   `json:"per_second"`
	// CPU is what the whole host spent meanwhile, in microseconds a spawn.
	CPU float64 `json:"cpu_us"`
	// Ratio is PerSecond of a round over that of Beside, the median of rounds.
	Ratio  float64 `json:"ratio,omitempty"`
	Beside string  `json:"beside,omitempty"`
	Error  string  `json:"error,omitempty"`

	cpu  []float64
	once func(ctx context.Context) error
}

const spawnRounds = 5

func runSpawn(ctx context.Context, args []string) error {
	o := newFlagSet("spawn", "[flags]", "Measures how fast cells are started in each kind of sandbox; each answers one message and ends.")
	o.set.StringVar(&o.json, "json", "", "`FILE`: write the results as JSON; - is standard output, in place of the table")
	duration := o.set.Duration("duration", 10*time.Second, "of all rounds of all ways together")
	workers := o.set.Int("workers", runtime.GOMAXPROCS(0), "how many are started at once, `N`")
	if err := o.parseFlags(args); err != nil {
		return err
	}
	if *duration < time.Second || *duration > time.Hour || *workers < 1 || *workers > 256 {
		return fmt.Errorf("%w: --duration from 1s to 1h, --workers from 1 to 256", errUsage)
	}
	dir, err := scratch.New("/var/tmp", "cellbench-spawn-", 0o755) // a cell has a user of its own
	if err != nil {
		return err
	}
	defer dir.Close()
	ways, free, err := spawnWays(ctx, dir.Path)
	if err != nil {
		return err
	}
	defer free()
	each := *duration / time.Duration(spawnRounds*len(ways))
	for range spawnRounds {
		for _, w := range ways {
			if err := w.round(ctx, each, *workers); err != nil {
				return err
			}
		}
	}
	for _, w := range ways {
		w.settle(ways)
	}
	_ = capsid.Sweep()
	if o.json == "-" {
		return json.NewEncoder(os.Stdout).Encode(ways)
	}
	if o.json != "" {
		text, err := json.Marshal(ways)
		if err == nil {
			err = os.WriteFile(o.json, append(text, '\n'), 0o666)
		}
		if err != nil {
			return err
		}
	}
	return spawnTable(os.Stdout, ways)
}

// spawnWays prepares all ways that this host has.
func spawnWays(ctx context.Context, dir string) (ways []*spawnResult, free func(), err error) {
	e, err := wasm.New(ctx, wasm.Options{})
	if err != nil {
		return nil, nil, err
	}
	free = func() { _ = e.Close(context.Background()) }
	m, err := e.Compile(ctx, echoModule)
	if err != nil {
		return nil, free, err
	}
	ways = append(ways, &spawnResult{Way: "wasm instance, one typed call", once: func(ctx context.Context) error { return callModule(ctx, m) }})
	self, err := os.Executable()
	if err != nil {
		return nil, free, err
	}
	programs := []struct {
		name    string
		command []string
	}{{"Go", []string{self, spawnArg}}}
	if static, err := buildStatic(ctx, dir); err == nil {
		programs = append(programs, struct {
			name    string
			command []string
		}{"static C", []string{static}})
	} else {
		ways = append(ways, &spawnResult{Way: "static C cells", Error: "left out: " + err.Error()})
	}
	for _, p := range programs {
		bare := "bare exec, " + p.name
		ways = append(ways, &spawnResult{Way: bare, once: func(ctx context.Context) error { return bareExec(ctx, p.command) }})
		ways = append(ways, capsidWay("none", p.name, p.command, bare))
		if bwrap, err := exec.LookPath("bwrap"); err == nil {
			bare := "bare bwrap, " + p.name
			ways = append(ways, &spawnResult{Way: bare, once: func(ctx context.Context) error { return bareExec(ctx, bareBwrap(bwrap, p.command)) }},
				capsidWay("bwrap", p.name, p.command, bare))
		}
	}
	return ways, free, nil
}

func callModule(ctx context.Context, m *wasm.Module) error {
	i, err := m.Spawn(ctx)
	if err != nil {
		return err
	}
	b, err := i.Request(ctx, 8)
	if err == nil {
		copy(b, "question")
		b, err = i.Call(ctx, 1, 8)
	}
	if err == nil && string(b) != "question" {
		err = fmt.Errorf("the cell answered %q", b)
	}
	return errors.Join(err, i.Close(ctx))
}

// capsidWay starts cells by a backend.
func capsidWay(backend, name string, command []string, beside string) *spawnResult {
	w := &spawnResult{Way: "capsid " + backend + ", " + name, Beside: beside}
	b, err := capsid.Open(backend)
	if err != nil {
		w.Error = err.Error()
		return w
	}
	spec := capsid.Spec{Name: "bench", Command: command}
	spec.Files.System = backend != "none" && dynamic(command[0])
	w.once = func(ctx context.Context) error {
		p, err := b.Start(ctx, spec)
		if err != nil {
			return err
		}
		err = ask(p.Socket())
		if err != nil {
			p.Kill(capsid.Killed, "it did not answer")
		}
		e, waited := p.Wait(ctx)
		if waited == nil && err == nil && !e.Success() {
			err = errors.New(e.String())
		}
		return errors.Join(err, waited, p.Socket().Close())
	}
	return w
}

// ask exchanges one message with a cell.
func ask(c *net.UnixConn) error {
	b := []byte("question")
	if _, err := c.Write(b); err != nil {
		return err
	}
	n, err := c.Read(b)
	if err == nil && string(b[:n]) != "question" {
		err = fmt.Errorf("the cell answered %q", b[:n])
	}
	return err
}

// bareExec starts a program with a socket and asks it, with nothing around it.
func bareExec(ctx context.Context, command []string) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	near, far := os.NewFile(uintptr(fds[0]), "node"), os.NewFile(uintptr(fds[1]), "cell")
	c, err := net.FileConn(near)
	near.Close()
	if err != nil {
		return errors.Join(err, far.Close())
	}
	defer c.Close()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.ExtraFiles = []string{}, []*os.File{far}
	err = cmd.Start()
	far.Close()
	if err != nil {
		return err
	}
	return errors.Join(ask(c.(*net.UnixConn)), cmd.Wait())
}

// bareBwrap is bubblewrap with the namespaces and files that a capsid has, and
// nothing more.
func bareBwrap(path string, command []string) []string {
	a := []string{path, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
		"--new-session", "--die-with-parent", "--cap-drop", "ALL", "--size", "16777216", "--tmpfs", "/tmp"}
	if os.Geteuid() != 0 {
		a = append(a, "--unshare-user")
	}
	for _, d := range []string{"/dev/null", "/dev/zero", "/dev/urandom"} {
		a = append(a, "--dev-bind", d, d)
	}
	if dynamic(command[0]) {
		for _, d := range []string{"/usr", "/lib", "/lib64"} {
			a = append(a, "--ro-bind-try", d, d)
		}
	}
	a = append(a, "--ro-bind", command[0], command[0], "--remount-ro", "/", "--")
	return append(a, command...)
}

// dynamic reports whether a program needs a loader and libraries, as this one does
// where it was built with cgo.
func dynamic(program string) bool {
	f, err := elf.Open(program)
	if err != nil {
		return false
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// round starts as many as it can for as long as d.
func (w *spawnResult) round(ctx context.Context, d time.Duration, workers int) error {
	if w.once == nil || w.Error != "" {
		return ctx.Err()
	}
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var work sync.WaitGroup
	before, begun := hostBusy(), time.Now()
	for range workers {
		work.Add(1)
		go func() {
			defer work.Done()
			for time.Since(begun) < d && failed.Load() == nil && ctx.Err() == nil {
				if err := w.once(ctx); err != nil {
					failed.Store(&err)
					return
				}
				n.Add(1)
			}
		}()
	}
	work.Wait()
	took := time.Since(begun)
	if e := failed.Load(); e != nil {
		w.Error = (*e).Error()
		return ctx.Err()
	}
	w.Rates = append(w.Rates, float64(n.Load())/took.Seconds())
	w.cpu = append(w.cpu, float64((hostBusy()-before).Microseconds())/float64(max(n.Load(), 1)))
	return ctx.Err()
}

// hostBusy is the CPU time that the whole host has spent, to a hundredth of a
// second: what bubblewrap's first process uses is added to nobody's.
func hostBusy() time.Duration {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	var sum int64
	for i, f := range strings.Fields(line) {
		if n, err := strconv.ParseInt(f, 10, 64); err == nil && i != 4 && i != 5 && i < 8 { // idle, iowait
			sum += n
		}
	}
	return time.Duration(sum) * (time.Second / 100)
}

func (w *spawnResult) settle(all []*spawnResult) {
	w.PerSecond, w.CPU = middle(w.Rates), middle(w.cpu)
	for _, other := range all {
		if other.Way != w.Beside || len(other.Rates) != len(w.Rates) {
			continue
		}
		var ratios []float64
		for i := range w.Rates {
			ratios = append(ratios, w.Rates[i]/other.Rates[i])
		}
		w.Ratio = middle(ratios)
	}
}

// middle is the median; 0 of nothing.
func middle(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return slices.SortedFunc(slices.Values(v), cmp.Compare[float64])[len(v)/2]
}

func spawnTable(out io.Writer, ways []*spawnResult) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "way\tper second\tleast\tmost\tCPU µs each\tratio\t")
	for _, w := range ways {
		if w.Error != "" {
			fmt.Fprintf(t, "%s\t%s\t\t\t\t\t\n", w.Way, w.Error)
			continue
		}
		ratio := ""
		if w.Ratio > 0 {
			ratio = fmt.Sprintf("%.2f", w.Ratio)
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t\n", w.Way, w.PerSecond, slices.Min(w.Rates), slices.Max(w.Rates), w.CPU, ratio)
	}
	return t.Flush()
}
