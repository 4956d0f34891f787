package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// patience is for what should take a moment, on a machine that does much else.
const patience = 30 * time.Second

// town is a cluster on loopback, whose nodes find each other by gossip: there is
// no multicast there.
type town struct {
	t            *testing.T
	token        *identity.Token
	introduction time.Duration // of its nodes, where that is not as usual
}

func newTown(t *testing.T) *town {
	t.Helper()
	c, err := identity.NewCluster()
	must(t, err)
	token, err := c.NewToken(time.Now(), time.Hour, 0)
	must(t, err)
	return &town{t: t, token: token}
}

// inhabitant is a node of it. It is its own Local: its cells are what it serves.
type inhabitant struct {
	t      *testing.T
	net    *Network
	dir    string
	addr   string
	engine *engine.Engine
	server *rpc.Server
	stop   func()

	mu      sync.Mutex
	names   []string
	refused []string

	asked  atomic.Int64  // calls that have begun
	answer chan struct{} // each lets one call of Path end
}

// given are the addresses that free has returned.
var given sync.Map

// free returns an address of loopback that nobody has, and no other test gets.
func free(t *testing.T) string {
	t.Helper()
	for {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		must(t, err)
		addr := c.LocalAddr().String()
		must(t, c.Close())
		if _, taken := given.LoadOrStore(addr, true); !taken {
			return addr
		}
	}
}

// settle starts a node that serves names and gossips with others.
func (w *town) settle(names []string, others ...string) *inhabitant {
	w.t.Helper()
	return w.settleAt(free(w.t), names, others...)
}

func (w *town) settleAt(addr string, names []string, others ...string) *inhabitant {
	w.t.Helper()
	home := filepath.Join(w.t.TempDir(), "id")
	_, err := identity.Join(home, w.token, time.Now())
	must(w.t, err)
	return w.start(addr, home, names, func(c *config.Network) { c.Peers = others })
}

// keeps starts a node that holds the cluster's key and enrols.
func (w *town) keeps(home string) *inhabitant {
	w.t.Helper()
	return w.start(free(w.t), home, nil, func(c *config.Network) { c.Enrol = true })
}

func (w *town) start(addr, home string, names []string, change func(*config.Network)) *inhabitant {
	t := w.t
	t.Helper()
	// Not t.TempDir, whose paths can be longer than those of sockets.
	dir, err := os.MkdirTemp("", "net")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	x := &inhabitant{t: t, dir: dir, addr: addr, names: names, answer: make(chan struct{})}
	x.engine, err = engine.New(engine.Config{Name: "test", CPU: -1, Idle: engine.IdlePark})
	must(t, err)
	must(t, x.engine.Start(context.Background()))
	x.server, err = rpc.NewServer(&rpc.ServerOptions{Name: "test"})
	must(t, err)
	must(t, netops.RegisterNetwork(x.server, x))
	c := config.Default().Network
	c.Listen, c.Addresses, c.Identity = addr, []string{addr}, home
	c.Interfaces, c.Multicast, c.Filter, c.Mode = []string{"none"}, false, "off", "on"
	change(&c)
	told := &diary{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the node at %s told:\n%s", addr, told)
		}
	})
	logger := slog.New(slog.NewTextHandler(told, nil))
	x.net = New(Options{Config: c, Dir: x.dir, Engine: x.engine, Local: x, Logger: logger, Refused: func(_, who, what string, why error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.refused = append(x.refused, fmt.Sprintf("%s, %s: %v", who, what, why))
	}})
	if w.introduction > 0 {
		x.net.introduction = w.introduction
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- x.net.Run(ctx) }()
	x.stop = sync.OnceFunc(func() {
		close(x.answer)
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		if err := x.net.Close(); err != nil {
			t.Error(err)
		}
		x.engine.Stop()
	})
	t.Cleanup(x.stop)
	eventually(t, "the node is open", func() bool { return x.net.self.Load() != nil })
	return x
}

// diary is what a node told, for a test that fails.
type diary struct {
	mu   sync.Mutex
	text strings.Builder
}

func (d *diary) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(b)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// leave has the node say farewell, and finish what it has.
func (x *inhabitant) leave() (ended <-chan struct{}) {
	over := make(chan struct{})
	go func() { defer close(over); _ = x.net.self.Load().agent.Close() }()
	return over
}

func (x *inhabitant) id() identity.ID { return x.net.self.Load().credentials.ID() }

// Services implements Local.
func (x *inhabitant) Services() (all []discovery.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, name := range x.names {
		all = append(all, discovery.Service{Name: name})
	}
	return all
}

// Lead implements Local.
func (x *inhabitant) Lead(_ context.Context, name string, _ identity.ID) (func(link.Link) error, error) {
	if name == "slow" {
		return nil, rpc.Errorf(wire.StatusUnavailable, "%s does not start", name)
	}
	return func(l link.Link) error { return x.server.Serve(x.engine, l) }, nil
}

// Fails implements Local.
func (x *inhabitant) Fails(string) bool { return false }

// Status implements netops.Network: it answers at once.
func (x *inhabitant) Status(context.Context) (netops.Status, error) {
	return netops.Status{Name: x.addr}, nil
}

// Path implements netops.Network: it answers when the test lets it.
func (x *inhabitant) Path(ctx context.Context, _ netops.Name) (netops.PathList, error) {
	x.asked.Add(1)
	select {
	case <-x.answer:
		return netops.PathList{Why: []string{x.addr}}, nil
	case <-ctx.Done():
		return netops.PathList{}, context.Cause(ctx)
	}
}

// Peers implements netops.Network.
func (x *inhabitant) Peers(context.Context) (netops.PeerList, error) {
	return netops.PeerList{}, errors.New("not here")
}

// Watch implements netops.Network.
func (x *inhabitant) Watch(context.Context, rpc.Sender[netops.Event]) (netops.Done, error) {
	return netops.Done{}, errors.New("not here")
}

// calls returns a client of a name, as programs of this host have it.
func (x *inhabitant) calls(name string) *netops.NetworkClient {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := rpc.Connect(ctx, func(ctx context.Context) (link.Link, error) {
		for {
			l, err := uds.Dial(ctx, name, &uds.Options{Dir: x.dir, HandshakeTimeout: patience})
			if errors.Is(err, uds.ErrNoListener) {
				l, err = uds.Dial(ctx, name, &uds.Options{Dir: filepath.Join(x.dir, RemoteDir), HandshakeTimeout: patience})
			}
			// A starved node takes longer to shake hands than another waits for it.
			if !errors.Is(err, wire.StatusUnavailable) || !rest(ctx) {
				return l, err
			}
		}
	}, &rpc.ConnOptions{Wait: rpc.WaitPark, Timeout: patience})
	must(x.t, err)
	x.t.Cleanup(func() { _ = conn.Close() })
	return netops.NewNetworkClient(conn)
}

// opens waits until a name of others has a socket here.
func (x *inhabitant) opens(name string) {
	x.t.Helper()
	eventually(x.t, name+" is there", func() bool {
		c, err := net.Dial("unix", filepath.Join(x.dir, RemoteDir, name+".sock"))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (x *inhabitant) has(name string) bool {
	return x.net.Serves(name)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so", what)
		}
	}
}
