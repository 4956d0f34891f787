package uds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// open is a policy under which every cell may do everything.
var open = BrokerOptions{
	Serve: func(link.Peer, string) error { return nil },
	Reach: func(context.Context, link.Peer, string) error { return nil },
}

func broker(t testing.TB, o BrokerOptions) *Broker {
	t.Helper()
	b := NewBroker(o)
	t.Cleanup(func() { b.Close() })
	return b
}

// inheritedPair returns the two ends of a cell's socket.
func inheritedPair(t testing.TB) (nodes, cells *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		if ends[i], err = unixConn(fd); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { ends[0].Close(); ends[1].Close() })
	return ends[0], ends[1]
}

// patronOf attaches a cell of that name, which lives in this process, and
// returns its end and how its attachment ended.
func patronOf(t testing.TB, b *Broker, name string) (*net.UnixConn, <-chan error) {
	t.Helper()
	nodes, cells := inheritedPair(t)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Attach(context.Background(), nodes, link.Peer{PID: 4711, UID: 1234, GID: 5678, ID: name})
	}()
	return cells, ended
}

// cellOf is patronOf with options for the cell's Listen and Dial.
func cellOf(t testing.TB, b *Broker, name string) *Options {
	t.Helper()
	cells, _ := patronOf(t, b, name)
	n, err := newNode(cells)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cells.Close() })
	return &Options{node: n, HandshakeTimeout: patience}
}

// serveEcho answers every vesicle of every connection until the test ends.
func serveEcho(t testing.TB, o *Options, name string) *Listener {
	t.Helper()
	l, err := Listen(name, o)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Add(1)
	go func() {
		defer work.Done()
		for {
			c, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			work.Add(1)
			go func() { defer work.Done(); echoUntilGone(c) }()
		}
	}()
	t.Cleanup(func() { l.Close(); work.Wait() })
	return l
}

func echoUntilGone(c *Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var in, out [1]wire.Vesicle
	for {
		if _, err := c.PollWait(ctx, in[:], WaitPark); err != nil {
			return
		}
		if _, err := c.ClaimWait(ctx, out[:], len(in[0].Payload), WaitPark); err != nil {
			return
		}
		copy(out[0].Payload, in[0].Payload)
		out[0].Header = wire.Header{Kind: wire.KindEvent}
		if errors.Join(c.Commit(out[:]), c.Flush(), c.Release(1)) != nil {
			return
		}
	}
}

func talk(t testing.TB, c *Conn, word string) {
	t.Helper()
	sendOne(t, c, vesicle(word))
	expect(t, c, word)
}

func TestCellsReachEachOtherThroughTheirNode(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			b := broker(t, open)
			server, client := cellOf(t, b, "server"), cellOf(t, b, "client")
			server.Path, server.RingSize = p.opts.Path, p.opts.RingSize
			l, err := Listen("echo", server)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan *Conn, 1)
			go func() {
				c, err := l.Accept(soon(t))
				if err != nil {
					t.Error(err)
				}
				got <- c
			}()
			c, err := Dial(soon(t), "echo", client)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s := <-got
			defer s.Close()
			if peer := c.Info().Peer; peer.ID != "server" || peer.PID != 4711 || peer.UID != 1234 || peer.GID != 5678 {
				t.Errorf("the client sees %+v", peer)
			}
			if peer := s.Info().Peer; peer.ID != "client" || peer.Addr != "node:echo" {
				t.Errorf("the server sees %+v", peer)
			}
			// The node is not in the data path: without it nothing changes.
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			sendOne(t, c, vesicle("there"))
			expect(t, s, "there")
			sendOne(t, s, vesicle("back"))
			expect(t, c, "back")
		})
	}
}

func TestBrokerRefuses(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	no := errors.New("not on Mondays")
	b := broker(t, BrokerOptions{
		Serve: func(p link.Peer, name string) error {
			if name == "secret" {
				return no
			}
			return nil
		},
		Reach: func(_ context.Context, p link.Peer, name string) error {
			if name == "private" {
				return no
			}
			return nil
		},
		MaxNames: 2,
	})
	a := cellOf(t, b, "a")
	for _, name := range []string{"one", "private"} {
		l, err := Listen(name, a)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	for name, c := range map[string]struct {
		do   func() error
		is   error
		says string
	}{
		"a name that may not be served":  {func() error { _, err := Listen("secret", cellOf(t, b, "b")); return err }, wire.StatusPermissionDenied, "Mondays"},
		"a name that is taken":           {func() error { _, err := Listen("one", cellOf(t, b, "b")); return err }, ErrRefused, "a, process 4711,"},
		"more names than allowed":        {func() error { _, err := Listen("three", a); return err }, wire.StatusResourceExhausted, "2 names"},
		"a name that may not be reached": {func() error { _, err := Dial(soon(t), "private", a); return err }, wire.StatusPermissionDenied, "Mondays"},
		"a name that nobody serves":      {func() error { _, err := Dial(soon(t), "nobody", a); return err }, ErrNoListener, "nobody"},
		"a name that is none":            {func() error { _, err := Dial(soon(t), "../x", a); return err }, ErrName, ""},
	} {
		if err := c.do(); !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	strict := cellOf(t, broker(t, BrokerOptions{}), "c")
	if _, err := Listen("x", strict); !errors.Is(err, wire.StatusPermissionDenied) {
		t.Errorf("a broker without a policy: %v", err)
	}
	if _, err := Dial(soon(t), "x", strict); !errors.Is(err, wire.StatusPermissionDenied) {
		t.Errorf("a broker without a policy: %v", err)
	}
}

func TestReachMayStartWhomItLets(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	var b *Broker
	var started atomic.Int32
	o := open
	o.Reach = func(ctx context.Context, p link.Peer, name string) error {
		if name == "cold" && started.Add(1) == 1 {
			serveEcho(t, cellOf(t, b, "cold"), name)
		}
		return b.Await(ctx, name)
	}
	b = broker(t, o)
	client := cellOf(t, b, "client")
	c, err := Dial(soon(t), "cold", client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c, "warm now")
	impatient := open
	impatient.Reach = func(ctx context.Context, _ link.Peer, name string) error { return b.Await(ctx, name) }
	impatient.DialTimeout = 20 * time.Millisecond
	if _, err := Dial(soon(t), "never", cellOf(t, broker(t, impatient), "client")); !errors.Is(err, ErrNoListener) {
		t.Errorf("one that never comes: %v", err)
	}
}

func TestListenerEndsAndLeavesItsName(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	b := broker(t, open)
	o := cellOf(t, b, "a")
	for range 3 {
		l, err := Listen("again", o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// The node takes messages of one cell in order, so this comes after.
		if _, err := Dial(soon(t), "again", o); !errors.Is(err, ErrNoListener) {
			t.Fatalf("after Close: %v", err)
		}
	}
}

func TestTheEndOfANodeEndsWhatWaitsForIt(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	o := open
	o.Reach = func(ctx context.Context, _ link.Peer, _ string) error { <-ctx.Done(); return ctx.Err() }
	b := broker(t, o)
	opts := cellOf(t, b, "a")
	l, err := Listen("x", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted, dialed := make(chan error, 1), make(chan error, 1)
	go func() { _, err := l.Accept(soon(t)); accepted <- err }()
	go func() { _, err := Dial(soon(t), "x", opts); dialed <- err }()
	time.Sleep(10 * time.Millisecond)
	b.Close()
	if err := <-accepted; !errors.Is(err, ErrListenerClosed) {
		t.Errorf("Accept: %v", err)
	}
	if err := <-dialed; !errors.Is(err, link.ErrPeerGone) && !errors.Is(err, ErrRefused) {
		t.Errorf("Dial: %v", err)
	}
	// The socket's end may be noticed a moment later.
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		_, err := Dial(soon(t), "x", opts)
		if errors.Is(err, link.ErrPeerGone) {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("afterwards: %v", err)
		}
	}
}

func TestHostileBytesOnTheInheritedSocket(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	honest := func(k nodeKind, id uint32, name string) []byte {
		return (&nodeMessage{kind: k, id: id, name: name}).append(nil)
	}
	cut := func(b []byte, n int) []byte { return b[:n] }
	change := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	for name, sent := range map[string][][]byte{
		"garbage":                     {[]byte("GET / HTTP/1.1\r\n\r\n")},
		"one byte":                    {{0}},
		"a message cut off":           {cut(honest(nodeDial, 1, "x"), 20)},
		"a name cut off":              {cut(honest(nodeDial, 1, "long-name"), nodePrefix+3)},
		"a name longer than any":      {change(honest(nodeDial, 1, "x"), nodePrefix, 255)},
		"no name":                     {honest(nodeDial, 1, "")},
		"a name that is a path":       {honest(nodeListen, 1, "../../etc")},
		"a kind that doesn't exist":   {change(honest(nodeDial, 1, "x"), 4, 0)},
		"a reserved byte":             {change(honest(nodeDial, 1, "x"), 5, 1)},
		"an impossible status":        {change(honest(nodeDial, 1, "x"), 7, 1)},
		"bytes too many":              {append(honest(nodeDial, 1, "x"), 0)},
		"as long as fits":             {make([]byte, 60000)},
		"what only a node may say":    {honest(nodeArrived, 1, "x")},
		"an id twice":                 {honest(nodeListen, 1, "x"), honest(nodeListen, 1, "y")},
		"an empty message is the end": {{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := broker(t, open)
			serveEcho(t, cellOf(t, b, "bystander"), "echo")
			cells, ended := patronOf(t, b, "hostile")
			for _, m := range sent {
				if _, err := cells.Write(m); err != nil {
					t.Fatal(err)
				}
			}
			want := link.ErrCorrupt
			if len(sent[0]) == 0 {
				want = nil
			}
			if err := <-ended; !errors.Is(err, want) {
				t.Errorf("the attachment ended with %v", err)
			}
			c, err := Dial(soon(t), "echo", cellOf(t, b, "other"))
			if err != nil {
				t.Fatalf("another cell suffers: %v", err)
			}
			defer c.Close()
			talk(t, c, "unharmed")
		})
	}
}

func TestDescriptorsOfACellNeverReachItsNode(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	b := broker(t, open)
	for range 20 {
		cells, ended := patronOf(t, b, "hostile")
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		rights := unix.UnixRights(int(null.Fd()), int(null.Fd()), int(null.Fd()))
		if _, _, err := cells.WriteMsgUnix((&nodeMessage{kind: nodeDial, id: 1, name: "x"}).append(nil), rights, nil); err != nil {
			t.Fatal(err)
		}
		null.Close()
		if err := <-ended; !errors.Is(err, link.ErrCorrupt) {
			t.Errorf("the attachment ended with %v", err)
		}
	}
}

func TestWhatACellSaysOfItselfDoesNotCount(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	b := broker(t, open)
	l, err := Listen("x", cellOf(t, b, "server"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cells, _ := patronOf(t, b, "liar")
	forged := nodeMessage{kind: nodeDial, id: 1, name: "x", text: "root's own", peer: link.Peer{PID: 1, UID: 0, GID: 0}}
	if _, err := cells.Write(forged.append(nil)); err != nil {
		t.Fatal(err)
	}
	s, err := newNodeSocket(cells)
	if err != nil {
		t.Fatal(err)
	}
	_ = cells.SetDeadline(time.Now().Add(patience))
	var buffer [maxNodeBody]byte
	_, fd, err := s.receive(buffer[:], true)
	if err != nil || fd < 0 {
		t.Fatal(fd, err)
	}
	go func() {
		if c, err := unixConn(fd); err == nil {
			if conn, err := Client(context.Background(), c, &Options{Policy: AnyUser}); err == nil {
				conn.Close()
			}
		}
	}()
	c, err := l.Accept(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p := c.Info().Peer; p.ID != "liar" || p.UID != 1234 || p.PID != 4711 {
		t.Errorf("the server sees %+v", p)
	}
}

func TestACellThatTakesNothingHoldsUpNobody(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	b := broker(t, open)
	deaf, _ := patronOf(t, b, "deaf")
	if _, err := deaf.Write((&nodeMessage{kind: nodeListen, id: 1, name: "deaf"}).append(nil)); err != nil {
		t.Fatal(err)
	}
	if err := b.Await(soon(t), "deaf"); err != nil {
		t.Fatal(err)
	}
	var err error
	var open []*net.UnixConn
	for range 10000 {
		var c *net.UnixConn
		if c, err = b.Dial(soon(t), link.Peer{ID: "caller"}, "deaf"); err != nil {
			break
		}
		open = append(open, c)
	}
	for _, c := range open {
		c.Close()
	}
	if !errors.Is(err, wire.StatusResourceExhausted) {
		t.Errorf("after %d connections: %v", len(open), err)
	}
	serveEcho(t, cellOf(t, b, "server"), "echo")
	c, err := Dial(soon(t), "echo", cellOf(t, b, "client"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c, "unharmed")
	deaf.Close()
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	o := open
	o.MaxPending = 4
	o.Reach = func(ctx context.Context, _ link.Peer, _ string) error { <-ctx.Done(); return context.Cause(ctx) }
	b := broker(t, o)
	cells, _ := patronOf(t, b, "greedy")
	for id := range uint32(20) {
		if _, err := cells.Write((&nodeMessage{kind: nodeDial, id: id + 1, name: "x"}).append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	_ = cells.SetDeadline(time.Now().Add(patience))
	var buffer [maxNodeBody]byte
	for range 16 {
		n, err := cells.Read(buffer[:])
		if err != nil {
			t.Fatal(err)
		}
		if m, err := parseNodeMessage(buffer[:n]); err != nil || m.kind != nodeRefused || m.status != wire.StatusResourceExhausted {
			t.Fatalf("%+v, %v", m, err)
		}
	}
}

func TestManyConnectionsThroughOneNode(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	o := open
	var made atomic.Int64
	o.Event = func(e BrokerEvent) {
		if e.Err == nil && e.To.ID == "server" {
			made.Add(1)
		}
	}
	b := broker(t, o)
	server := cellOf(t, b, "server")
	server.Path, server.MaxPayload, server.MaxPending = PathStream, 1024, 1000
	serveEcho(t, server, "echo")
	client := cellOf(t, b, "client")
	client.HandshakeTimeout = patience
	n := 300
	if testing.Short() {
		n = 40
	}
	var work sync.WaitGroup
	gate := make(chan struct{}, 32)
	for i := range n {
		work.Add(1)
		go func() {
			defer work.Done()
			gate <- struct{}{}
			defer func() { <-gate }()
			c, err := Dial(soon(t), "echo", client)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			talk(t, c, fmt.Sprint(i))
		}()
	}
	work.Wait()
	if made.Load() != int64(n) {
		t.Errorf("%d of %d connections were told of", made.Load(), n)
	}
}

func TestAGateLetsProcessesOutsideReachCells(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	o := open
	o.Reach = func(_ context.Context, p link.Peer, name string) error {
		if p.ID == "" && p.PID != os.Getpid() {
			return errors.New("a stranger")
		}
		return nil
	}
	b := broker(t, o)
	serveEcho(t, cellOf(t, b, "server"), "echo")
	dir := privateDir(t)
	for name, served := range map[string]bool{"echo": true, "nobody": false} {
		g, err := Open(name, &Options{Dir: dir}, func(ctx context.Context, c *net.UnixConn, p link.Peer) {
			_ = b.Forward(ctx, c, p, name)
		})
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(g.Path()) != dir {
			t.Errorf("the gate is at %s", g.Path())
		}
		c, err := Dial(soon(t), name, &Options{Dir: dir})
		switch {
		case served && err != nil:
			t.Error(err)
		case served:
			talk(t, c, "from outside")
			c.Close()
		case !errors.Is(err, wire.StatusNotFound):
			t.Errorf("a name that nobody serves: %v", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCellsReachServicesOutsideWhereTheNodeSaysSo(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	dir := privateDir(t)
	serveEcho(t, &Options{Dir: dir}, "host")
	o := open
	o.Outside = func(ctx context.Context, name string) (*net.UnixConn, error) {
		return DialSocket(ctx, name, &Options{Dir: dir})
	}
	b := broker(t, o)
	client := cellOf(t, b, "client")
	c, err := Dial(soon(t), "host", client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c, "out and back")
	if _, err := Dial(soon(t), "missing", client); !errors.Is(err, ErrNoListener) {
		t.Errorf("%v", err)
	}
}

func TestTheNodeItselfMayServeAndDial(t *testing.T) {
	t.Cleanup(leakCheck(t)) // runs last
	b := broker(t, open)
	got := make(chan link.Peer, 1)
	end, err := b.Provide("node", func(c *net.UnixConn, from link.Peer) error {
		got <- from
		return c.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Provide("node", nil); !errors.Is(err, ErrInUse) {
		t.Errorf("twice: %v", err)
	}
	if _, err := Dial(soon(t), "node", cellOf(t, b, "client")); !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("%v", err)
	}
	if p := <-got; p.ID != "client" {
		t.Errorf("from %+v", p)
	}
	end()
	serveEcho(t, cellOf(t, b, "server"), "echo")
	s, err := b.Dial(soon(t), link.Peer{ID: "the node"}, "echo")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Client(soon(t), s, &Options{Policy: AnyUser})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c, "from the node")
	if served := b.Serving(); len(served) != 1 || served["echo"].ID != "server" {
		t.Errorf("serving %+v", served)
	}
}

// A process that inherits the socket uses it without a word about it.
func TestAProcessUsesTheSocketItInherited(t *testing.T) {
	var ready atomic.Int64
	o := open
	o.Ready = func(p link.Peer) { ready.Add(int64(p.PID)) }
	b := broker(t, o)
	serveEcho(t, cellOf(t, b, "server"), "echo")
	nodes, cells := inheritedPair(t)
	f, err := cells.File()
	if err != nil {
		t.Fatal(err)
	}
	k := spawnInheriting(t, f, "inherits")
	f.Close()
	cells.Close()
	ended := make(chan error, 1)
	go func() { ended <- b.Attach(context.Background(), nodes, link.Peer{PID: 7, ID: "kid"}) }()
	if said := k.said(t); said != "echoed hello" {
		t.Errorf("the child said %q", said)
	}
	c, err := Dial(soon(t), "kid", cellOf(t, b, "client"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c, "to the child")
	k.kill()
	if err := <-ended; err != nil {
		t.Errorf("the attachment of the killed ended with %v", err)
	}
	if ready.Load() != 7 {
		t.Error("the child's word of being ready did not come")
	}
	if err := awaitError(t, c, WaitPark); !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("its connection: %v", err)
	}
}

func FuzzNodeMessage(f *testing.F) {
	for _, m := range []nodeMessage{
		{kind: nodeListen, id: 1, name: "prices"}, {kind: nodeDial, id: 2, name: "a-b_c.d"}, {kind: nodeReady},
		{kind: nodeArrived, id: 1, name: "prices", text: "gateway", peer: link.Peer{PID: 1, UID: 2, GID: 3}},
		{kind: nodeRefused, id: 9, status: wire.StatusNotFound, text: "nobody"},
	} {
		f.Add(m.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseNodeMessage(b)
		if err != nil {
			if !errors.Is(err, errNodeMessage) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := parseNodeMessage(m.append(nil))
		if err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
