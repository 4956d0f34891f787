package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/capsid/wasm"
	"github.com/cell-runtime/cell/cmd/cellnode/internal/live"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/internal/leash"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
)

// The test's own program is cellnode, and the cells.
const (
	envProgram = "CELL_CLI_TEST_PROGRAM"
	envHost    = "CELL_CLI_TEST_HOST"
)

func TestMain(m *testing.M) {
	wasm.Main() // nodes run this program again for modules
	switch program := os.Getenv(envProgram); program {
	case "":
		os.Exit(m.Run())
	case "cellnode":
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	default:
		if err := where(program); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// whereText is a service that says on which host it runs.
const whereText = `cell 1

struct Host {
	Number int64
}

service Where {
	idempotent call Who() Host
}
`

func whereDesc() (*rpc.ServiceDesc, error) {
	parsed, err := schema.Parse(whereText)
	if err != nil {
		return nil, err
	}
	return live.Describe(parsed.Service("Where"), whereText)
}

// where is a cell that serves Where under a name.
func where(name string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	desc, err := whereDesc()
	if err != nil {
		return err
	}
	host, err := strconv.ParseInt(os.Getenv(envHost), 10, 64)
	if err != nil {
		return err
	}
	s, err := rpc.NewServer(&rpc.ServerOptions{Name: name, Grace: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	if err := s.Register(desc, rpc.Blocking(func(_ context.Context, x *rpc.Exchange) error { return x.Reply(number(host)) })); err != nil {
		return err
	}
	l, err := uds.Listen(name, nil)
	if err != nil {
		return err
	}
	_ = s.Run(ctx, l.AcceptLink)
	return nil
}

// street is nodes, each on a host of its own, on one bridge.
type street struct {
	t     *testing.T
	lab   *netlab.Bridge
	token string
	nodes map[string]*house
}

// house is one node.
type house struct {
	host
	street *street
	name   string
	number int
	home   string
	cmd    *exec.Cmd
	ended  chan struct{}
	log    lockedBuffer
}

func newStreet(t *testing.T, hosts int) *street {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	lab, err := netlab.NewBridge(hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lab.Close() })
	return &street{t: t, lab: lab, token: tokenFile(t), nodes: map[string]*house{}}
}

// tokenFile makes a cluster and returns a file with a token of it.
func tokenFile(t *testing.T) string {
	t.Helper()
	cluster, err := identity.NewCluster()
	if err != nil {
		t.Fatal(err)
	}
	token, err := cluster.NewToken(time.Now(), time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// add makes a node that has cells.
func (s *street) add(name string, cells ...string) *house {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "street")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &house{host: host{dir: dir}, street: s, name: name, number: len(s.nodes), home: filepath.Join(s.t.TempDir(), "identity")}
	s.nodes[name] = h
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	text := ""
	for _, c := range cells {
		text += fmt.Sprintf("[cells.%s]\ncommand = [%q]\ncapsid = \"none\"\nenv = { %s = %q, %s = \"%d\" }\n", c, self, envProgram, c, envHost, h.number)
	}
	if err := os.WriteFile(h.home+".toml", []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return h
}

// start starts the node by its command line, with no configuration but its cells
// and a token.
func (h *house) start(token string, more ...string) {
	t := h.street.t
	t.Helper()
	h.cmd = exec.Command("/proc/self/exe", append([]string{"--runtime-dir", h.dir, "run", "-c", h.home + ".toml", "--join", token}, more...)...)
	h.cmd.Env = append(os.Environ(), envProgram+"=cellnode", identity.EnvDir+"="+h.home)
	h.cmd.Stderr = &h.log
	var held *leash.Leash
	if err := h.street.lab.Hosts[h.number].Do(func() (err error) { held, err = leash.Start(h.cmd); return err }); err != nil {
		t.Fatal(err)
	}
	cmd, ended := h.cmd, make(chan struct{})
	h.ended = ended
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		for _, other := range h.street.nodes { // all at once
			_ = other.cmd.Process.Signal(syscall.SIGTERM)
		}
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Errorf("%s does not end", h.name)
			_ = cmd.Process.Kill()
			<-ended
		}
		held.Release()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", h.name, h.log.String())
		}
	})
}

// eventually waits until f returns true, and returns how long that took.
func (s *street) eventually(what string, f func() bool) time.Duration {
	s.t.Helper()
	begun := time.Now()
	for !f() {
		if time.Since(begun) > 40*time.Second {
			s.t.Fatalf("%s: not so", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begun)
}

// peers returns the names of the nodes that a node knows.
func (h *house) peers() (n int, out string) {
	_, out, _ = h.run(h.street.t, "peers", "-o", "json")
	var x neighbourhood
	if json.Unmarshal([]byte(out), &x) != nil {
		return -1, out
	}
	return len(x.Peers), out
}

// knows waits until the node knows so many others, and returns how long it took.
func (h *house) knows(want int) time.Duration {
	h.street.t.Helper()
	begun := time.Now()
	for n, out := h.peers(); n != want; n, out = h.peers() {
		if time.Since(begun) > 40*time.Second {
			h.street.t.Fatalf("%s knows %d others, not %d: %s", h.name, n, want, out)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begun)
}

// who asks a name by the command line, and returns on which host it was answered.
func (h *house) who(name string) (number int, complaints string) {
	h.street.t.Helper()
	code, out, complaints := h.run(h.street.t, "call", name+".Who")
	var x struct{ Number int }
	if code != 0 || json.Unmarshal([]byte(out), &x) != nil {
		return -1, fmt.Sprintf("code %d, %s%s", code, out, complaints)
	}
	return x.Number, ""
}

// caller calls a name through its node without a pause.
type caller struct {
	calls  [4]atomic.Int64 // by the host that answered
	failed atomic.Int64
	last   atomic.Pointer[string]
	stop   func()
}

func (h *house) caller(name string) *caller {
	t := h.street.t
	t.Helper()
	desc, err := whereDesc()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := rpc.Connect(ctx, uds.Dialer(name, &uds.Options{Dir: h.dir}), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c, over := &caller{}, make(chan struct{})
	c.stop = func() { cancel(); <-over; _ = conn.Close() }
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			var reply live.Bytes
			if err := conn.Call(context.Background(), desc.Method("Who"), rpc.Empty{}, &reply); err != nil {
				text := err.Error()
				c.failed.Add(1)
				c.last.Store(&text)
				time.Sleep(time.Millisecond)
				continue
			}
			c.calls[value(reply)].Add(1)
		}
	}()
	t.Cleanup(c.stop)
	return c
}

// TestNodesCallEachOther has three nodes with nothing but a token, which call
// each other's cells by name; one is killed, one cut off; one has another token.
func TestNodesCallEachOther(t *testing.T) {
	if testing.Short() {
		t.Skip("processes and namespaces take some seconds")
	}
	s := newStreet(t, 4)
	a, b, c := s.add("a", "alpha"), s.add("b", "beta", "shared"), s.add("c", "gamma", "shared")
	x := s.add("x", "xi")
	for _, h := range []*house{a, b, c} {
		h.start(s.token)
	}
	begun := time.Now()
	for _, call := range []struct {
		from, to *house
		name     string
	}{{a, b, "beta"}, {a, c, "gamma"}, {b, a, "alpha"}, {b, c, "gamma"}, {c, a, "alpha"}, {c, b, "beta"}} {
		var why string
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s called %s at last: %s", call.from.name, call.name, why)
			}
		})
		s.eventually(call.from.name+" calls "+call.name, func() bool {
			var n int
			n, why = call.from.who(call.name)
			return n == call.to.number
		})
	}
	t.Logf("all have called all %v after the last start", time.Since(begun))

	// One that has another token, and knows where a node is.
	if err := os.WriteFile(x.home+".toml", []byte("[network]\npeers = [\"10.78.0.1:12356\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.start(tokenFile(t))

	for args, want := range map[string]string{
		"peers --all":           "member     until",
		"discover":              "shared",
		"discover beta -o json": `"service": "beta"`,
		"path beta":             "by quic to",
		"path beta -o json":     `"in_use": true`,
		"path alpha":            "nothing better exists",
		"ls":                    "beta      remote",
		"describe beta":         "idempotent call Who() Host",
		"health beta":           "serving",
	} {
		if code, out, complaints := a.run(t, strings.Fields(args)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: %d, %s%s\nwanted %q", args, code, out, complaints, want)
		}
	}

	// The node that serves a's calls is killed, with its cells.
	load := a.caller("shared")
	served := func(n int) func() bool {
		before := load.calls[n].Load()
		return func() bool { return load.calls[n].Load() > before+20 }
	}
	s.eventually("calls of shared are answered", func() bool { return load.calls[1].Load()+load.calls[2].Load() > 100 })
	victim, other := b, c
	if load.calls[2].Load() > 0 {
		victim, other = c, b
	}
	printed, unwatch := a.watch(t)
	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-victim.ended
	killed := time.Now()
	over := s.eventually("another node answers", served(other.number))
	gone := a.knows(1)
	t.Logf("killed; another answers after %v, gone from the table after %v; %d calls failed", over, max(gone, time.Since(killed)), load.failed.Load())
	if load.failed.Load() > 0 {
		t.Errorf("idempotent calls failed: %s", *load.last.Load())
	}
	victim.start(s.token)
	back := a.knows(2)
	t.Logf("started again; back after %v", back)
	s.eventually("discover --watch has printed that one died and came back", func() bool {
		lines := printed()
		return strings.Contains(lines, "died") && strings.Count(lines, "found") >= 3
	})
	unwatch()

	// A cable is pulled, and put back.
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.eventually("a calls victim's own again", func() bool {
		n, _ := a.who(map[*house]string{b: "beta", c: "gamma"}[victim])
		return n == victim.number
	})
	must(s.lab.Plug(victim.number, false))
	cut := a.knows(1)
	s.eventually("calls go on", served(other.number))
	must(s.lab.Plug(victim.number, true))
	healed := a.knows(2)
	again := s.eventually("it is called again", func() bool {
		n, _ := a.who(map[*house]string{b: "beta", c: "gamma"}[victim])
		return n == victim.number
	})
	t.Logf("cut off; gone after %v; healed, back after %v, called after %v more", cut, healed, again)

	// The stranger: nobody has seen it, and it was told why.
	var out string
	s.eventually("it is refused", func() bool {
		_, out, _ = x.run(t, "peers", "--all")
		return strings.Contains(out, "refused")
	})
	if !strings.Contains(out, "nobody of this cluster was heard") || !strings.Contains(out, "cluster") {
		t.Errorf("the stranger's peers: %s", out)
	}
	if code, out, complaints := x.run(t, "call", "beta.Who"); code == 0 {
		t.Errorf("the stranger calls beta: %s%s", out, complaints)
	}
	for _, h := range []*house{a, b, c} {
		h.knows(2) // the others may hear of who was cut off later than a
		if _, out := h.peers(); strings.Contains(out, `"xi"`) {
			t.Errorf("%s knows the stranger: %s", h.name, out)
		}
	}
	load.stop()
	t.Logf("of %d calls by then %d failed", load.calls[1].Load()+load.calls[2].Load(), load.failed.Load())
}

// watch runs discover --watch until it is stopped. It returns what was printed so
// far, and what stops it.
func (h *house) watch(t *testing.T) (printed func() string, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	out, over := &lockedBuffer{}, make(chan struct{})
	go func() {
		defer close(over)
		Run(ctx, []string{"--runtime-dir", h.dir, "discover", "--watch"}, &Env{Out: out, Err: out})
	}()
	h.street.eventually("discover --watch begins", func() bool { return strings.Count(out.String(), "found") >= 2 })
	stop = func() { cancel(); <-over }
	t.Cleanup(stop)
	return out.String, stop
}
