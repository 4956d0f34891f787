package uds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

var errNoSeals = errors.New("sealing is not to be had here")

func noRings(ring.Options) (*ring.Memory, error) { return nil, errNoSeals }

func noAttach(fd int) (*ring.Memory, error) {
	unix.Close(fd)
	return nil, errNoSeals
}

func noOne(link.Peer) error { return errors.New("nobody is welcome") }

func TestRefusalsSayWhoWhatAndWhy(t *testing.T) {
	for _, c := range []struct {
		name     string
		listener Options
		dialer   Options
		byPeer   bool // as the dialer sees it
		status   wire.Status
		says     string
	}{
		{"dialer too new", Options{}, Options{low: 7, high: 9}, true, wire.StatusUnimplemented, "7 to 9"},
		{"dialer too old", Options{low: 3, high: 4}, Options{low: 1, high: 2}, true, wire.StatusUnimplemented, "the listener 3 to 4"},
		{"listener's policy", Options{Policy: noOne}, Options{}, true, wire.StatusPermissionDenied, "nobody is welcome"},
		{"dialer's policy", Options{}, Options{Policy: noOne}, false, wire.StatusPermissionDenied, "nobody is welcome"},
		{"users without this one", Options{Policy: Users(4242)}, Options{}, true, wire.StatusPermissionDenied, "4242"},
		{"listener insists on rings", Options{Path: PathRing}, Options{Path: PathStream}, true, wire.StatusFailedPrecondition, "Options.Path"},
		{"dialer insists on rings", Options{Path: PathStream}, Options{Path: PathRing}, true, wire.StatusFailedPrecondition, "Options.Path"},
		{"rings required and not to be had", Options{createRings: noRings}, Options{Path: PathRing}, true, wire.StatusFailedPrecondition, "sealing"},
		{"rings required and not attachable", Options{}, Options{Path: PathRing, attachRing: noAttach}, false, wire.StatusFailedPrecondition, "sealing"},
		{"listener insists and the dialer can't attach", Options{Path: PathRing}, Options{attachRing: noAttach}, false, wire.StatusFailedPrecondition, "sealing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := leakCheck(t)
			reasons := make(chan error, 1)
			c.listener.Dir = privateDir(t)
			c.listener.Refused = func(p link.Peer, err error) {
				if p.PID != os.Getpid() {
					t.Errorf("refused peer is %+v", p)
				}
				reasons <- err
			}
			l, err := Listen("test", &c.listener)
			if err != nil {
				t.Fatal(err)
			}
			c.dialer.Dir = c.listener.Dir
			_, err = Dial(soon(t), "test", &c.dialer)
			checkRefusal(t, "dialer", err, c.status, c.says, c.byPeer)
			checkRefusal(t, "listener", <-reasons, c.status, c.says, !c.byPeer)
			if s := l.Stats(); s.Refused != 1 || s.Open != 0 || s.Memory != 0 {
				t.Errorf("listener's counters: %+v", s)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			check()
		})
	}
}

func checkRefusal(t *testing.T, who string, err error, s wire.Status, says string, byPeer bool) {
	t.Helper()
	var r *RefusedError
	if !errors.As(err, &r) || !errors.Is(err, ErrRefused) || !errors.Is(err, s) {
		t.Errorf("%s: %v, want a refusal with %v", who, err, s)
		return
	}
	if !strings.Contains(r.Reason, says) || r.ByPeer != byPeer || r.PID != os.Getpid() {
		t.Errorf("%s: %+v, want by peer %v, saying %q", who, r, byPeer, says)
	}
}

func TestWhyARingWasNotTakenIsSaidOnBothSides(t *testing.T) {
	for _, c := range []struct {
		name             string
		listener, dialer Options
		kind, says       string
	}{
		{"rings", Options{}, Options{}, "ring", ""},
		{"dialer wants the stream", Options{}, Options{Path: PathStream}, "uds", "the dialer's Options.Path"},
		{"listener wants the stream", Options{Path: PathStream}, Options{}, "uds", "the listener's Options.Path"},
		{"listener can't make rings", Options{createRings: noRings}, Options{}, "uds", "sealing"},
		{"dialer can't attach rings", Options{}, Options{attachRing: noAttach}, "uds", "the dialer could not attach them: sealing"},
		{"rings above the memory limit", Options{MaxMemory: 100000}, Options{}, "uds", "Options.MaxMemory"},
		{"one side without huge pages", Options{HugePages: true}, Options{}, "ring", "no huge pages: the dialer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := leakCheck(t)
			t.Run("", func(t *testing.T) { // its end closes the pair
				a, b := pair(t, c.listener, c.dialer)
				for who, conn := range map[string]*Conn{"dialer": a, "listener": b} {
					i := conn.Info()
					if why := strings.Join(i.Why, "; "); i.Kind != c.kind || !strings.Contains(why, c.says) || (c.says == "") != (why == "") {
						t.Errorf("%s: %s because of %q", who, i.Kind, why)
					}
				}
				sendOne(t, a, vesicle("there"))
				expect(t, b, "there")
				sendOne(t, b, vesicle("and back"))
				expect(t, a, "and back")
			})
			check()
		})
	}
}

func TestHugePagesAreUsedOrTheirLackIsSaid(t *testing.T) {
	a, b := pair(t, Options{HugePages: true}, Options{HugePages: true})
	for _, c := range []*Conn{a, b} {
		if why := strings.Join(c.Info().Why, ""); c.Info().Kind != "ring" || c.rings.in.HugePages() == strings.Contains(why, "no huge pages") {
			t.Errorf("huge %v, why %q", c.rings.in.HugePages(), why)
		}
	}
}

func TestRingSizeIsTheDialersWishWithinBothLimits(t *testing.T) {
	for _, c := range []struct {
		name             string
		listener, dialer Options
		want             int
	}{
		{"nothing said", Options{}, Options{}, ring.DefaultSize},
		{"listener's choice", Options{RingSize: 8192}, Options{}, 8192},
		{"dialer's wish", Options{RingSize: 8192}, Options{RingSize: 16384}, 16384},
		{"listener's limit", Options{MaxRingSize: 4096}, Options{RingSize: 16384}, 4096},
		{"dialer's limit", Options{RingSize: 1 << 20}, Options{MaxRingSize: 8192}, 8192},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t, c.listener, c.dialer)
			if a.rings.in.Size() != c.want || b.rings.in.Size() != c.want {
				t.Errorf("%d and %d bytes, want %d", a.rings.in.Size(), b.rings.in.Size(), c.want)
			}
		})
	}
}

func TestOptionsThatCantBeAreRefused(t *testing.T) {
	for _, o := range []Options{
		{Path: 9}, {RingSize: 5000}, {RingSize: 2048}, {MaxRingSize: 3}, {MaxPayload: 1},
		{MaxPayload: 1 << 30}, {HandshakeTimeout: -1}, {MaxConns: -1}, {MaxPending: -1}, {MaxMemory: -1}, {Mode: os.ModeDir},
	} {
		if _, err := Listen("test", &o); err == nil || !strings.Contains(err.Error(), "Options") {
			t.Errorf("Listen with %+v: %v", o, err)
		}
		if _, err := Dial(soon(t), "test", &o); err == nil || !strings.Contains(err.Error(), "Options") {
			t.Errorf("Dial with %+v: %v", o, err)
		}
	}
}

func TestPolicyMayAdmitOtherUsers(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, c := range []struct {
		name   string
		policy Policy
		uid    uint32
		ok     bool
	}{
		{"same user", SameUser, me, true},
		{"root", SameUser, 0, true},
		{"another user", SameUser, 4242, false},
		{"anybody", AnyUser, 4242, true},
		{"listed", Users(1, 4242), 4242, true},
		{"root unlisted", Users(1, 4242), 0, false},
	} {
		if err := c.policy(link.Peer{UID: c.uid}); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run a process as another user")
	}
	stranger := &syscall.Credential{Uid: 54321, Gid: 54321}
	for _, c := range []struct {
		name string
		mode os.FileMode
		dir  os.FileMode
		who  Policy
		says string
	}{
		{"by the directory", 0, 0o700, AnyUser, "permission denied"},
		{"by the socket file", 0, 0o711, AnyUser, "no permission to connect"},
		{"by the policy", 0o666, 0o711, nil, "uid 54321 is neither this process's (0) nor root"},
		{"not if the policy lists them", 0o666, 0o711, Users(54321), "<nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := privateDir(t)
			if err := os.Chmod(dir, c.dir); err != nil {
				t.Fatal(err)
			}
			l := listen(t, Options{Dir: dir, Mode: c.mode, Policy: c.who})
			go func() {
				if conn, err := l.Accept(soon(t)); err == nil {
					if p := conn.Info().Peer; p.UID != 54321 || p.GID != 54321 {
						t.Errorf("the kernel says %+v", p)
					}
					conn.Close()
				}
			}()
			if s := spawnAs(t, stranger, "dial", dir).said(t); !strings.Contains(s, c.says) {
				t.Errorf("the stranger was told %q", s)
			}
		})
	}
}

// A socket that came by other means: the dialing and the listening side over
// a socketpair.
func TestServerAndClientOverASocketPair(t *testing.T) {
	for _, p := range paths {
		a, b := socketPair(t)
		type result struct {
			c   *Conn
			err error
		}
		got := make(chan result)
		go func() {
			c, err := Server(soon(t), b, &p.opts)
			got <- result{c, err}
		}()
		c, err := Client(soon(t), a, nil)
		r := <-got
		if err != nil || r.err != nil {
			t.Fatal(err, r.err)
		}
		sendOne(t, c, vesicle("hello"))
		expect(t, r.c, "hello")
		c.Close()
		r.c.Close()
	}
}

func TestDescriptorsOfAnOfferAreChecked(t *testing.T) {
	file, err := os.Create(filepath.Join(privateDir(t), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	good := func(size int) int {
		m, err := ring.Create(ring.Options{Size: size})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m.FD()
	}
	f, same := int(file.Fd()), good(4096)
	for _, c := range []struct {
		name   string
		fds    []int
		answer string // what the handshake comes to: refused, ring, or stream
		says   string
	}{
		{"files instead of rings", []int{f, f}, "stream", "seals"},
		{"one ring", []int{good(4096), f}, "stream", "seals"},
		{"rings of another size", []int{good(8192), good(8192)}, "stream", "8192"},
		// Both roles in one process: a conversation with oneself.
		{"one ring twice", []int{same, same}, "ring", ""},
		{"none", nil, "stream", "0 descriptors"},
		{"too few", []int{good(4096)}, "stream", "1 descriptors"},
		{"too many", []int{good(4096), good(4096), f}, "refused", "more than 2 descriptors"},
		{"far too many", slices.Repeat([]int{f}, 100), "refused", "more than 2 descriptors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := leakCheck(t)
			a, b := socketPair(t)
			conn, dialErr, body, err := offerTo(t, a, b, c.fds)
			got, why := "refused", fmt.Sprint(err)
			if err == nil {
				accept, parseErr := parseAccept(body)
				got, why, err = accept.path.String(), accept.why, parseErr
			}
			if got != c.answer || !strings.Contains(why, c.says) || (dialErr == nil) != (err == nil) {
				t.Errorf("the dialer says %v, the listener hears %s: %s", dialErr, got, why)
			}
			if conn != nil {
				conn.Close()
			}
			a.Close()
			b.Close()
			check()
		})
	}
}

// offerTo dials over a and offers rings over b, with descriptors as given. It
// returns what the dialer comes to and what it answers.
func offerTo(t *testing.T, a, b *net.UnixConn, fds []int) (conn *Conn, dialErr error, answer []byte, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		conn, dialErr = Client(soon(t), a, nil)
		close(done)
	}()
	x := newExchange(b, link.Peer{}, 0)
	if _, err := x.receive(kindHello); err != nil {
		t.Fatal(err)
	}
	o := offer{version: versionHigh, path: PathRing, ringSize: 4096, maxPayload: 4096}
	if err := x.send(o.append(nil), fds...); err != nil {
		t.Fatal(err)
	}
	answer, err = x.receive(kindAccept)
	<-done
	return conn, dialErr, answer, err
}

func TestDescriptorsAreCloseOnExec(t *testing.T) {
	a, b := pair(t, Options{}, Options{})
	for _, c := range []*Conn{a, b} {
		for _, fd := range c.WaitFDs(nil) {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d: flags %#x, %v", fd, flags, err)
			}
		}
		if c.rings.in.FD() >= 0 || c.rings.out.FD() >= 0 {
			t.Error("descriptors of the memory are still open")
		}
	}
}

func TestListenerRefusesWhatIsNoHandshake(t *testing.T) {
	good := (&hello{low: versionLow, high: versionHigh, maxRing: 1 << 20, maxPayload: 64}).append(nil)
	stream := (&hello{low: versionLow, high: versionHigh, path: PathStream, maxRing: 1 << 20, maxPayload: 64}).append(nil)
	for _, c := range []struct {
		name  string
		bytes []byte
		fds   int
		says  string
	}{
		{"another protocol", []byte("GET / HTTP/1.1\r\n\r\n"), 0, "does not speak this protocol"},
		{"accept first", (&accept{path: PathRing}).append(nil), 0, "accept where the hello is due"},
		{"hello too long", append(append([]byte(magic), 1, 0, 1, 4), make([]byte, 1025)...), 0, "at most 1024"},
		{"hello twice", append(good, good...), 0, "hello where the accept is due"},
		{"accept of what was not offered", append(stream, (&accept{path: PathRing}).append(nil)...), 0, "not offered"},
		{"descriptors in a hello", good, 3, "more than 0 descriptors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listen(t, Options{})
			check := leakCheck(t)
			conn := raw(t, l.Path())
			x := newExchange(conn, link.Peer{}, ringFDs)
			var oob []byte
			for range c.fds {
				oob = append(oob, unix.UnixRights(0)...)
			}
			if _, _, err := conn.WriteMsgUnix(c.bytes, oob, nil); err != nil {
				t.Fatal(err)
			}
			_, err := x.receive(kindOffer)
			if err == nil { // the fault came after the offer
				_, err = x.receive(kindOffer)
			}
			var r *RefusedError
			if !errors.As(err, &r) || !r.ByPeer || r.Status != wire.StatusInvalidArgument || !strings.Contains(r.Reason, c.says) {
				t.Errorf("got %v", err)
			}
			x.close()
			check()
		})
	}
}

func TestSlowHandshakesEndInTime(t *testing.T) {
	const limit = 50 * time.Millisecond
	l := listen(t, Options{HandshakeTimeout: limit, MaxPending: 2})
	check := leakCheck(t)
	good := (&hello{low: versionLow, high: versionHigh, maxRing: 1 << 20, maxPayload: 64}).append(nil)
	start := time.Now()
	var conns []*net.UnixConn
	for i := range 6 { // three times what is served at once
		c := raw(t, l.Path())
		_, _ = c.Write(good[:i*5])
		conns = append(conns, c)
	}
	for _, c := range conns {
		x := newExchange(c, link.Peer{}, 0)
		if _, err := x.receive(kindOffer); !errors.Is(err, wire.StatusDeadlineExceeded) {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		c.Close()
	}
	check()
	// And the listener goes on, for who keeps within its limit.
	ctx := soon(t)
	go func() {
		if c, err := l.Accept(ctx); err == nil {
			c.Close()
		}
	}()
	for {
		c, err := Dial(ctx, "test", &Options{Dir: filepath.Dir(l.Path())})
		if err == nil {
			c.Close()
			return
		}
		if ctx.Err() != nil || !errors.Is(err, wire.StatusDeadlineExceeded) && !errors.Is(err, link.ErrPeerGone) {
			t.Fatal(err)
		}
	}
}

func TestDialerGivesUpOnAListenerThatDoesNotAnswer(t *testing.T) {
	dir := privateDir(t)
	l, err := net.Listen("unix", dir+"/test.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check := leakCheck(t)
	_, err = Dial(soon(t), "test", &Options{Dir: dir, HandshakeTimeout: 20 * time.Millisecond})
	if !errors.Is(err, wire.StatusDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("own limit: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("changed my mind")
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err = Dial(ctx, "test", &Options{Dir: dir}); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer stop()
	if _, err = Dial(ctx, "test", &Options{Dir: dir}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the context's deadline: %v", err)
	}
	check()
}

func TestRefusalIsReadEvenIfTheListenerIsGoneAlready(t *testing.T) {
	a, b := socketPair(t)
	if _, err := b.Write(appendRefusal(nil, wire.StatusDraining, "going home")); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, err := Client(soon(t), a, nil); !errors.Is(err, wire.StatusDraining) || !strings.Contains(fmt.Sprint(err), "going home") {
		t.Error(err)
	}
}

func TestEndDuringTheHandshakeIsPeerGone(t *testing.T) {
	good := (&offer{version: versionHigh, path: PathStream, maxPayload: 64}).append(nil)
	for n := range good {
		a, b := socketPair(t)
		_, _ = b.Write(good[:n])
		go func() {
			_, _ = io.ReadFull(b, make([]byte, 26))
			b.Close()
		}()
		if _, err := Client(soon(t), a, nil); !errors.Is(err, link.ErrPeerGone) {
			t.Errorf("after %d bytes of the offer: %v", n, err)
		}
	}
}
