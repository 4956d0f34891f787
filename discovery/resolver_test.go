package discovery

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
)

func TestTargets(t *testing.T) {
	_, id := testKey(1)
	for text, want := range map[string]Target{
		"cell://ledger":                             {Service: "ledger"},
		"cell://ledger#00000000000000ff":            {Service: "ledger", Fingerprint: 255},
		"cell://#1122334455667788":                  {Fingerprint: 0x1122334455667788},
		"cell://ledger@" + identity.ID(id).String(): {Service: "ledger", Node: id},
	} {
		got, err := ParseTarget(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v; printed as %s", text, got, err, got)
		}
	}
	for name, text := range map[string]string{
		"no scheme": "ledger", "nothing": "cell://", "a short fingerprint": "cell://a#12", "fingerprint 0": "cell://a#0000000000000000",
		"no hex": "cell://a#zz22334455667788", "a path": "cell://a/b", "no node": "cell://a@b", "only a node": "cell://@" + identity.ID(id).String(),
	} {
		if got, err := ParseTarget(text); !errors.Is(err, ErrTarget) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// peers is a source that a test fills.
type peers struct {
	mu  sync.Mutex
	all []Peer
}

func (p *peers) Peers() []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all
}

func (p *peers) Services(_ context.Context, x *Peer) ([]Service, error) {
	return x.Beacon.Services, nil
}

// far is a medium whose addresses are ports, each a socket in a directory of
// its own: what a network is to a dialer.
type far struct {
	medium string
	dirs   map[uint16]string
	dialed atomic.Int64
}

func (f *far) Medium() string { return f.medium }

func (f *far) Dial(ctx context.Context, p Path) (link.Link, error) {
	f.dialed.Add(1)
	return uds.Dialer(p.Service, &uds.Options{Dir: f.dirs[p.Addr.Port()]})(ctx)
}

func somePeer(n byte, medium string, port uint16, services ...Service) Peer {
	_, id := testKey(n)
	return Peer{ID: id, Addr: netip.MustParseAddrPort("10.0.0.9:1"), Beacon: &Beacon{Name: "peer",
		Addresses: []Address{{medium, netip.AddrPortFrom(netip.IPv4Unspecified(), port)}, {MediumPheromone, netip.MustParseAddrPort("10.0.0.9:1")}},
		Services:  services}}
}

func TestPathsComeInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	l, err := uds.Listen("ledger", &uds.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	exact := Service{Name: "ledger", Fingerprints: []uint64{7}}
	old := Service{Name: "ledger", Fingerprints: []uint64{8}, Ancestors: []uint64{7}}
	busy, drains := exact, exact
	busy.Load, drains.Draining = 200, true
	r := NewResolver(ResolverOptions{Dir: dir, Dialers: []Dialer{RingDialer(&uds.Options{Dir: dir}), &far{medium: "afxdp"}, &far{medium: "quic"}},
		Peers: &peers{all: []Peer{somePeer(1, "quic", 1, exact), somePeer(2, "quic", 2, busy), somePeer(3, "quic", 3, old), somePeer(4, "quic", 4, drains),
			somePeer(5, "afxdp", 5, busy), somePeer(6, "carrier-pigeon", 6, exact), somePeer(7, "quic", 7, Service{Name: "other"})}}})
	paths, why := r.Resolve(t.Context(), Target{Service: "ledger", Fingerprint: 7})
	var got []string
	for _, p := range paths {
		got = append(got, p.Medium+" "+p.Addr.String())
	}
	want := "ring invalid AddrPort, afxdp 10.0.0.9:5, quic 10.0.0.9:1, quic 10.0.0.9:2, quic 10.0.0.9:3, quic 10.0.0.9:4"
	if strings.Join(got, ", ") != want {
		t.Errorf("%v\nwant %s", strings.Join(got, ", "), want)
	}
	if len(why) != 1 || !strings.Contains(why[0], "carrier-pigeon") {
		t.Errorf("why: %q", why)
	}
	if paths, _ := r.Resolve(t.Context(), Target{Fingerprint: 8}); len(paths) != 1 || paths[0].Ancestor {
		t.Errorf("by fingerprint: %v", paths)
	}
	if _, _, err := r.Dial(t.Context(), Target{Service: "nobody"}); !errors.Is(err, ErrNoPath) || !strings.Contains(err.Error(), "no cell of that name") {
		t.Errorf("%v", err)
	}
}

var pingDesc = rpc.Describe(rpc.ServiceDesc{Name: "Ping", Methods: []rpc.Method{{Name: "Ping", Fingerprint: 0x1234567890abcdef, Mode: schema.Unary, Idempotent: true}}})

// serve serves Ping in a directory until stop is called.
func serve(t *testing.T, dir string, calls *atomic.Int64) (stop func()) {
	t.Helper()
	s, err := rpc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Register(pingDesc, rpc.Inline(func(_ *rpc.Call, _, _ []byte) (int, error) {
		calls.Add(1)
		return 0, nil
	})); err != nil {
		t.Fatal(err)
	}
	l, err := uds.Listen("ping", &uds.Options{Dir: dir, RingSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx, l.AcceptLink)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		l.Close()
		_ = s.Close()
		<-ended
	})
	t.Cleanup(stop)
	return stop
}

// TestABetterPathIsTakenAndNoCallFails calls a service that is found on another
// host, then also on this one, then there no more.
func TestABetterPathIsTakenAndNoCallFails(t *testing.T) {
	near, away := privateDir(t), privateDir(t)
	var onNear, onAway atomic.Int64
	serve(t, away, &onAway)
	quic := &far{medium: "quic", dirs: map[uint16]string{9: away}}
	r := NewResolver(ResolverOptions{Dir: near, Upgrade: 10 * time.Millisecond, Dialers: []Dialer{RingDialer(&uds.Options{Dir: near}), quic},
		Peers: &peers{all: []Peer{somePeer(1, "quic", 9, Service{Name: "ping", Fingerprints: []uint64{pingDesc.Methods[0].Fingerprint}})}}})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	c, err := r.Connect(ctx, Target{Service: "ping"}, &rpc.ConnOptions{BackoffMin: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p, why := c.Path(); p.Medium != "quic" {
		t.Fatalf("%v, %q", p, why)
	}
	var failed atomic.Int64
	var wg sync.WaitGroup
	end := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if err := c.Call(ctx, &pingDesc.Methods[0], rpc.Empty{}, &rpc.Empty{}); err != nil {
					failed.Add(1)
					t.Errorf("a call failed: %v", err)
					return
				}
			}
		})
	}
	await := func(what string, f func() bool) {
		t.Helper()
		for !f() && failed.Load() == 0 {
			if ctx.Err() != nil {
				t.Fatalf("%s has not come about", what)
			}
			time.Sleep(time.Millisecond)
		}
	}
	await("a call to the other host", func() bool { return onAway.Load() > 100 })
	stop := serve(t, near, &onNear)
	await("a call on this host", func() bool { return onNear.Load() > 100 })
	if p, _ := c.Path(); p.Medium != MediumRing || c.Upgrades() == 0 {
		t.Errorf("%v after %d upgrades", p, c.Upgrades())
	}
	before := onAway.Load()
	stop()
	await("a call to the other host again", func() bool { return onAway.Load() > before+100 })
	if p, _ := c.Path(); p.Medium != "quic" {
		t.Errorf("%v", p)
	}
	close(end)
	wg.Wait()
}

// privateDir returns a directory with a short name, for sockets.
func privateDir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "disc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}
