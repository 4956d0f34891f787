package node_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/versions/v1"
	"github.com/cell-runtime/cell/examples/versions/v2"
	"github.com/cell-runtime/cell/examples/versions/v3"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/node"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// patience bounds everything that a test waits for on a busy machine.
const patience = 30 * time.Second

// The test's own program is the cells, and a node that can be killed: the first
// argument says which.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "cell" {
		name := "postage"
		if len(os.Args) > 3 {
			name = os.Args[3]
		}
		os.Exit(cellMain(os.Args[2], name))
	}
	if len(os.Args) > 2 && os.Args[1] == "node" {
		os.Exit(nodeMain(os.Args[2]))
	}
	os.Exit(m.Run())
}

type office1 struct{}
type office2 struct{}
type office3 struct{}

func (office1) Quote(_ context.Context, p v1.Parcel) (v1.Price, error) {
	return v1.Price{Amount: int64(p.Weight)}, nil
}

func (office2) Quote(_ context.Context, p v2.Parcel) (v2.Price, error) {
	return v2.Price{Amount: int64(p.Weight), Days: 2}, nil
}

func (office3) Quote(_ context.Context, p v3.Parcel) (v3.Price, error) {
	return v3.Price{Amount: int64(p.Weight), Days: 3}, nil
}

// grace is how long a cell that stops waits for its callers: one that has calls
// which end when the test says so, for those.
func grace(kind string) time.Duration {
	if kind == "patient" {
		return patience
	}
	return time.Second
}

// cellMain is a cell: a version of Postage under a name, or one with a fault.
func cellMain(kind, name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	o := rpc.ServerOptions{Name: kind, Grace: grace(kind)}
	if kind == "shows" {
		var err error
		if o.Metrics, err = uds.Metrics(metrics.Options{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	server, err := rpc.NewServer(&o)
	if err != nil {
		return 1
	}
	switch kind {
	case "fork bomb":
		forkBomb()
	case "memory bomb":
		memoryBomb()
	case "patient":
		err = v1.RegisterPostage(server, patient{os.Args[4]})
	case "v1", "dies", "slow", "shows":
		err = v1.RegisterPostage(server, office1{})
	case "v2", "dies later":
		err = v2.RegisterPostage(server, office2{})
	case "v3":
		err = v3.RegisterPostage(server, office3{})
	case "telltale":
		err = v1.RegisterPostage(server, telltale{})
	case "passes on":
		err = v1.RegisterPostage(server, &passesOn{})
	case "crowd":
		crowd(ctx)
		return 0
	case "dies when asked":
		if l, err := uds.Listen(name, nil); err == nil {
			_, _ = l.AcceptLink(ctx)
		}
		return 5
	case "mute":
		<-ctx.Done()
		return 0
	}
	if kind == "dies" {
		fmt.Fprintln(os.Stderr, "something is very wrong")
		return 3
	}
	if kind == "slow" {
		time.Sleep(300 * time.Millisecond)
	}
	if kind == "dies later" {
		time.AfterFunc(300*time.Millisecond, func() { os.Exit(4) })
	}
	l, listenErr := uds.Listen(name, nil)
	if err != nil || listenErr != nil {
		fmt.Fprintln(os.Stderr, err, listenErr)
		return 1
	}
	fmt.Println("hello from", kind)
	_ = server.Run(ctx, l.AcceptLink)
	_ = server.Close()
	_ = l.Close()
	return 0
}

// crowd calls its own name, which it never serves, and says how often it was
// told that too many do.
func crowd(ctx context.Context) {
	var refused atomic.Int32
	for range 40 { // three at a time, so that few are under way at the broker
		for range 3 {
			go func() {
				if _, err := uds.Dial(ctx, "postage", nil); err != nil && strings.Contains(err.Error(), "being led") {
					refused.Add(1)
				}
			}()
		}
		time.Sleep(time.Millisecond)
	}
	for refused.Load() < 120-64 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("refused", refused.Load())
	<-ctx.Done()
}

// nodeMain is a node in a runtime directory, with the cells of TestKills.
func nodeMain(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	n, err := node.New(node.Options{Config: killed(dir), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err == nil {
		err = n.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// command is the command of a cell.
func command(kind string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{self, "cell", kind}
}

// postage is a configuration with the cell postage.
func postage(dir, kind string, change func(*config.Cell)) config.Config {
	c := config.Default()
	c.RuntimeDir = dir
	c.Network.Mode = "off" // whoever runs this may belong to a cluster
	cell := config.DefaultCell()
	cell.Capsid, cell.Command, cell.Version = "none", command(kind), kind
	cell.BackoffMin, cell.BackoffMax = config.Duration(10*time.Millisecond), config.Duration(200*time.Millisecond)
	cell.MaxRestarts = 0
	cell.HealthEvery, cell.HealthTimeout = config.Duration(100*time.Millisecond), config.Duration(patience)
	cell.ReadyTimeout = config.Duration(patience)
	if change != nil {
		change(&cell)
	}
	c.Cells["postage"] = cell
	return c
}

// privateDir returns a runtime directory with a short path.
func privateDir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "node")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

// rig is a node that runs, with a client of its operators' service.
type rig struct {
	t    *testing.T
	dir  string
	node *node.Node
	ops  *ops.NodeClient
}

// run runs a node until the test ends, when nothing may be left of it.
func run(t *testing.T, c config.Config, load func() (config.Config, error)) rig {
	t.Helper()
	n, err := node.New(node.Options{Config: c, Load: load})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	r := rig{t: t, dir: c.RuntimeDir, node: n}
	conn, err := rpc.Connect(soon(t), r.dialer(config.OpsName), &rpc.ConnOptions{Wait: rpc.WaitPark})
	if err != nil {
		t.Fatal(err)
	}
	r.ops = ops.NewNodeClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(r.dir, "*")); len(left) > 0 {
			t.Errorf("left in the runtime directory: %v", left)
		}
		if left, _ := filepath.Glob(filepath.Join(r.dir, ".inst*")); len(left) > 0 {
			t.Errorf("left in the runtime directory: %v", left)
		}
		for _, s := range n.State().Cells {
			if len(s.Instances) > 0 {
				t.Errorf("left of %s: %+v", s.Name, s.Instances)
			}
		}
	})
	return r
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (r rig) dialer(name string) rpc.DialFunc {
	return func(ctx context.Context) (link.Link, error) {
		return uds.Dial(ctx, name, r.options())
	}
}

// options are those of who dials into the runtime directory of a busy machine.
func (r rig) options() *uds.Options {
	return &uds.Options{Dir: r.dir, HandshakeTimeout: patience}
}

// caller returns a connection to the cell.
func (r rig) caller() *rpc.Conn {
	r.t.Helper()
	conn, err := rpc.Connect(soon(r.t), r.dialer("postage"), &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// state returns the cell's state.
func (r rig) state() ops.CellState {
	r.t.Helper()
	list, err := r.ops.Cells(soon(r.t))
	if err != nil || len(list.Cells) != 1 {
		r.t.Fatalf("%+v, %v", list, err)
	}
	return list.Cells[0]
}

// eventually waits until f returns true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not as expected", what)
		}
	}
}

// load is callers of v1 that call without a pause.
type load struct {
	calls, failed atomic.Int64
	stop          context.CancelFunc
	work          sync.WaitGroup
}

func (r rig) load(callers int, onError func(error)) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	for range callers {
		conn := r.caller()
		client := v1.NewPostageClient(conn)
		l.work.Go(func() {
			defer conn.Close()
			for ctx.Err() == nil {
				weight := rand.Int32()
				p, err := client.Quote(context.Background(), v1.Parcel{Weight: weight})
				if err == nil && p.Amount != int64(weight) {
					err = fmt.Errorf("asked for %d, answered %d", weight, p.Amount)
				}
				l.calls.Add(1)
				if err != nil {
					l.failed.Add(1)
					onError(err)
				}
			}
		})
	}
	return l
}

// more waits until n more calls have ended.
func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	from := l.calls.Load()
	eventually(t, "calls go on", func() bool { return l.calls.Load() >= from+n })
}

func (l *load) end() { l.stop(); l.work.Wait() }

// listening reports whether somebody answers at a path.
func listening(path string) bool {
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}
