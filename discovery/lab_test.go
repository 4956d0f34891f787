package discovery

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/internal/leash"
)

// lab is hosts on a bridge.
type lab struct {
	t *testing.T
	*netlab.Bridge
}

func newLab(t *testing.T, hosts int) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	b, err := netlab.NewBridge(hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return &lab{t, b}
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

const (
	envChild = "CELL_DISCOVERY_TEST_CHILD"
	envDir   = "CELL_DISCOVERY_TEST_DIR"
	envSeeds = "CELL_DISCOVERY_TEST_SEEDS"
	envMode  = "CELL_DISCOVERY_TEST_MODE"
	envPort  = "CELL_DISCOVERY_TEST_PORT"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(envChild); name != "" {
		if err := child(name, os.Getenv(envDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// report is a line of a child.
type report struct {
	At    int64 // ns since 1970
	Event string
	Node  string // its name
	Stats *AgentStats
}

// child is a node in a process of its own: it reports what it sees, and its
// counters for each line of input.
func child(name, dir string) error {
	begun := time.Now().UnixNano()
	mine, err := identity.LoadCredentials(dir)
	if err != nil {
		return err
	}
	trust, err := identity.LoadTrust(dir)
	if err != nil {
		return err
	}
	o := Options{Services: []Service{{Name: "service-of-" + name, Fingerprints: []uint64{1, 2}}}}
	o.Name = name
	if os.Getenv("CELL_DISCOVERY_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	FromIdentity(&o.Config, mine, trust, "")
	switch mode := os.Getenv(envMode); mode {
	case "broadcast":
		o.NoMulticast, o.Broadcast = true, true
	case "seeds":
		o.NoMulticast = true
	case "client":
		o.Client = true
	}
	if s := os.Getenv(envSeeds); s != "" {
		o.Seeds = strings.Split(s, ",")
	}
	o.UnicastPort, _ = strconv.Atoi(os.Getenv(envPort)) // 0: any free one
	a, err := Start(o)
	if err != nil {
		return err
	}
	out, mu := json.NewEncoder(os.Stdout), sync.Mutex{}
	say := func(r report) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(r)
	}
	say(report{At: begun, Event: "start"})
	say(report{At: time.Now().UnixNano(), Event: "ready"})
	w := a.Watch()
	go func() {
		for {
			e, err := w.Next(context_())
			if err != nil {
				return
			}
			say(report{At: time.Now().UnixNano(), Event: e.Kind.String(), Node: nameOf(&e.Peer)})
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		s := a.Stats()
		say(report{At: time.Now().UnixNano(), Event: "stats", Stats: &s})
	}
	return a.Close()
}

// process is a child as its parent sees it.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin *os.File

	mu      sync.Mutex
	cond    *sync.Cond
	reports []report
	dead    bool
}

func (l *lab) start(host int, name, dir string, env ...string) *process {
	l.t.Helper()
	p := &process{t: l.t, name: name}
	p.cond = sync.NewCond(&p.mu)
	p.cmd = exec.Command("/proc/self/exe")
	p.cmd.Env = append(os.Environ(), append(env, envChild+"="+name, envDir+"="+dir)...)
	p.cmd.Stderr = os.Stderr
	r, w, err := os.Pipe()
	l.must(err)
	p.cmd.Stdin, p.stdin = r, w
	out, err := p.cmd.StdoutPipe()
	l.must(err)
	var held *leash.Leash
	l.must(l.Hosts[host].Do(func() (err error) { held, err = leash.Start(p.cmd); return err }))
	r.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for d := json.NewDecoder(out); ; {
			var x report
			err := d.Decode(&x)
			p.mu.Lock()
			if err != nil {
				p.dead = true
			} else {
				p.reports = append(p.reports, x)
			}
			p.cond.Broadcast()
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	l.t.Cleanup(func() {
		w.Close() // it leaves
		<-ended
		_ = p.cmd.Wait()
		held.Release()
	})
	return p
}

// await waits until the child has reported something n times, and returns when
// it did last.
func (p *process) await(event, node string, n int) time.Time {
	p.t.Helper()
	deadline := time.AfterFunc(30*time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dead = true
		p.cond.Broadcast()
	})
	defer deadline.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		seen := 0
		for _, r := range p.reports {
			if r.Event == event && r.Node == node {
				if seen++; seen == n {
					return time.Unix(0, r.At)
				}
			}
		}
		if p.dead {
			p.t.Fatalf("%s did not report %s of %q %d times; it reported %+v", p.name, event, node, n, p.reports)
		}
		p.cond.Wait()
	}
}

func (p *process) count(event, node string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.reports {
		if r.Event == event && r.Node == node {
			n++
		}
	}
	return n
}

// stats asks for the counters.
func (p *process) stats() *AgentStats {
	p.t.Helper()
	n := p.count("stats", "")
	if _, err := p.stdin.WriteString("\n"); err != nil {
		p.t.Fatal(err)
	}
	p.await("stats", "", n+1)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.reports) - 1; ; i-- {
		if s := p.reports[i].Stats; s != nil {
			return s
		}
	}
}

func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// homes makes the identities of nodes that join a cluster by a token.
func homes(t *testing.T, names ...string) map[string]string {
	t.Helper()
	cluster, err := identity.NewCluster()
	if err != nil {
		t.Fatal(err)
	}
	token, err := cluster.NewToken(time.Now(), time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, n := range names {
		all[n] = filepath.Join(t.TempDir(), n)
		if _, err := identity.Join(all[n], token, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
