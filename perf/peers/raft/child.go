package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv tells a process which replicas it runs, as JSON: a list of setups.
const childEnv = "CELL_RAFT_PERF"

// answer is what a process says to an order.
type answer struct {
	Led  int     `json:"led"` // groups with their leader here
	Load tallies `json:"load"`
	Idle idle    `json:"idle"`
	Err  string  `json:"error,omitempty"`
}

// idle is what a process takes while nothing is asked of it.
type idle struct {
	CPU     float64 `json:"cpu"`      // cores
	Heap    uint64  `json:"heap"`     // bytes, after a collection
	RSS     uint64  `json:"rss"`      // bytes, after memory was given back
	Threads int     `json:"threads"`  // of the kernel
	Routine int     `json:"routines"` // goroutines
}

// serveChild opens the replicas, answers orders, a line each, and closes them
// when its input ends.
func serveChild(text string) (err error) {
	var setups []setup
	if err := json.Unmarshal([]byte(text), &setups); err != nil {
		return err
	}
	all := make([]replicas, len(setups))
	errs := make(chan error, len(setups))
	for i, s := range setups {
		go func() {
			x, err := systemByName(s.System)
			if err == nil {
				all[i], err = x.open(s)
			}
			errs <- err
		}()
	}
	for range setups {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		if err := out.Encode(obey(all, setups[0].Groups, o)); err != nil {
			return err
		}
	}
	for _, r := range all {
		err = errors.Join(err, r.close())
	}
	return err
}

func obey(all []replicas, groups int, o order) (a answer) {
	var targets []led
	for g := range groups {
		for _, r := range all {
			if r.leads(g) {
				targets = append(targets, led{r, g})
				break
			}
		}
	}
	a.Led = len(targets)
	switch o.Do {
	case "load":
		a.Load = measure(targets, o)
	case "idle":
		a.Idle = rest(o.Length)
	}
	return a
}

// rest measures doing nothing.
func rest(length time.Duration) idle {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := cpuTime()
	time.Sleep(length)
	i := idle{CPU: (cpuTime() - before).Seconds() / length.Seconds(), Heap: m.HeapAlloc, Routine: runtime.NumGoroutine()}
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseUint(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			i.RSS = n << 10
		case "Threads:":
			i.Threads = int(n)
		}
	}
	return i
}

func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// process is a child, as its parent has it.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

func startProcess(setups []setup, procs int) (*process, error) {
	text, err := json.Marshal(setups)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), fmt.Sprint("GOMAXPROCS=", procs))
	cmd.Dir = filepath.Dir(setups[0].Dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(out)}, nil
}

// ask gives an order and waits for the answer.
func (p *process) ask(o order) (a answer, err error) {
	if err := p.enc.Encode(o); err != nil {
		return a, err
	}
	if err := p.dec.Decode(&a); err != nil {
		return a, fmt.Errorf("the process ended: %w", err)
	}
	return a, nil
}

func (p *process) close() error {
	p.in.Close()
	end := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer end.Stop()
	return p.cmd.Wait()
}
