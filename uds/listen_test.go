package uds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

func TestNobodyListens(t *testing.T) {
	dir := privateDir(t)
	for _, c := range []struct{ name, dir, says string }{
		{"no directory", dir + "/none", "no directory"},
		{"no socket", dir, "start the service"},
	} {
		if _, err := Dial(soon(t), "test", &Options{Dir: c.dir}); !errors.Is(err, ErrNoListener) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	stale(t, dir+"/test.sock")
	if _, err := Dial(soon(t), "test", &Options{Dir: dir}); !errors.Is(err, ErrNoListener) || !strings.Contains(err.Error(), "left behind") {
		t.Errorf("stale socket: %v", err)
	}
}

// stale leaves a socket at path that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	dir := privateDir(t)
	stale(t, dir+"/test.sock")
	l := listen(t, Options{Dir: dir})
	go func() {
		if c, err := l.Accept(soon(t)); err == nil {
			c.Close()
		}
	}()
	c, err := Dial(soon(t), "test", &Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestLiveSocketIsNeverReplaced(t *testing.T) {
	t.Run("of this package", func(t *testing.T) {
		l := listen(t, Options{})
		_, err := Listen("test", &Options{Dir: filepath.Dir(l.Path())})
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d ", os.Getpid())) {
			t.Error(err)
		}
	})
	t.Run("of this package whose lock file was removed", func(t *testing.T) {
		l := listen(t, Options{})
		dir := filepath.Dir(l.Path())
		if err := os.Remove(dir + "/test.lock"); err != nil {
			t.Fatal(err)
		}
		_, err := Listen("test", &Options{Dir: dir})
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d ", os.Getpid())) {
			t.Error(err)
		}
	})
	t.Run("of another program", func(t *testing.T) {
		dir := privateDir(t)
		l, err := net.Listen("unix", dir+"/test.sock")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, err := Listen("test", &Options{Dir: dir}); !errors.Is(err, ErrInUse) {
			t.Error(err)
		}
	})
	t.Run("something that is no socket", func(t *testing.T) {
		dir := privateDir(t)
		if err := os.WriteFile(dir+"/test.sock", []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen("test", &Options{Dir: dir}); !errors.Is(err, ErrDir) {
			t.Error(err)
		}
		if b, _ := os.ReadFile(dir + "/test.sock"); string(b) != "precious" {
			t.Error("the file is gone")
		}
	})
	t.Run("a link to a file elsewhere", func(t *testing.T) {
		dir := privateDir(t)
		for _, name := range []string{"/test.sock", "/test.lock"} {
			victim := dir + "/victim"
			if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, dir+name)); err != nil {
				t.Fatal(err)
			}
			if _, err := Listen("test", &Options{Dir: dir}); err == nil {
				t.Errorf("listens through a link at %s", name)
			}
			if b, _ := os.ReadFile(victim); string(b) != "precious" {
				t.Error("the link's target was changed")
			}
			os.Remove(dir + name)
		}
	})
}

func TestSocketIsRemovedOnlyIfStillOurs(t *testing.T) {
	dir := privateDir(t)
	l := listen(t, Options{Dir: dir})
	if err := os.Remove(l.Path()); err != nil {
		t.Fatal(err)
	}
	stale(t, l.Path()) // someone else's by now
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(l.Path()); err != nil {
		t.Errorf("another's socket was removed: %v", err)
	}
}

func TestOfRacingProcessesExactlyOneListens(t *testing.T) {
	const rounds, racers = 10, 4
	dir := privateDir(t)
	for range rounds {
		var kids []*kid
		for range racers {
			kids = append(kids, spawn(t, "race", dir))
		}
		won, losers := "", []string{}
		for _, k := range kids {
			if s := k.said(t); strings.HasPrefix(s, "won ") {
				if won != "" {
					t.Fatalf("both %q and %q", won, s)
				}
				won = strings.TrimPrefix(s, "won ")
			} else {
				losers = append(losers, s)
			}
		}
		for _, s := range losers {
			if won == "" || !strings.Contains(s, "name in use") || !strings.Contains(s, "process "+won+" ") {
				t.Errorf("%s won, and a loser said %q", won, s)
			}
		}
		for _, k := range kids {
			k.kill() // the winner's socket stays behind, for the next round
		}
	}
	listen(t, Options{Dir: dir})
}

func TestConnectionsAreBounded(t *testing.T) {
	l := listen(t, Options{MaxConns: 2})
	o := &Options{Dir: filepath.Dir(l.Path())}
	var open []*Conn
	dialed := make(chan *Conn, 3)
	dial := func() {
		c, _ := Dial(soon(t), "test", o)
		dialed <- c
	}
	for range 2 {
		go dial()
		c, err := l.Accept(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	_, err := Dial(soon(t), "test", o)
	if !errors.Is(err, wire.StatusResourceExhausted) || !strings.Contains(err.Error(), "Options.MaxConns") {
		t.Errorf("the third: %v", err)
	}
	open[0].Close()
	go dial()
	c, err := l.Accept(soon(t))
	if err != nil {
		t.Fatalf("after one was closed: %v", err)
	}
	c.Close()
	open[1].Close()
	for range 3 {
		if c := <-dialed; c != nil {
			c.Close()
		}
	}
	if s := l.Stats(); s.Open != 0 || s.Memory != 0 || s.Accepted != 3 || s.Refused != 1 {
		t.Errorf("counters: %+v", s)
	}
}

func TestManyDialersAtOnceAllGetThrough(t *testing.T) {
	l := listen(t, Options{MaxPending: 4, RingSize: 4096})
	o := &Options{Dir: filepath.Dir(l.Path())}
	const many = 200
	errs := make(chan error, many)
	for range many {
		go func() {
			c, err := Dial(soon(t), "test", o)
			if err == nil {
				c.Close()
			}
			errs <- err
		}()
	}
	for range many {
		c, err := l.Accept(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for range many {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestCloseEndsEverythingOfAListenerButItsConnections(t *testing.T) {
	check := leakCheck(t)
	dir := privateDir(t)
	l, err := Listen("test", &Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	o := &Options{Dir: dir}
	dialed := make(chan *Conn, 1)
	go func() {
		c, err := Dial(soon(t), "test", o)
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	c, err := l.Accept(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	d := <-dialed
	waiting, err := Dial(soon(t), "test", o) // and nobody calls Accept
	if err != nil {
		t.Fatal(err)
	}
	half := raw(t, l.Path())
	time.Sleep(5 * time.Millisecond) // let its handshake begin; the test holds either way
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(context.Background()); !errors.Is(err, ErrListenerClosed) {
		t.Errorf("Accept: %v", err)
	}
	x := newExchange(half, link.Peer{}, 0)
	if _, err := x.receive(kindOffer); !errors.Is(err, wire.StatusDraining) && !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("a handshake in progress: %v", err)
	}
	if err := awaitError(t, waiting, WaitPark); !errors.Is(err, link.ErrPeerGone) {
		t.Errorf("a connection that was never accepted: %v", err)
	}
	sendOne(t, d, vesicle("still here"))
	expect(t, c, "still here")
	half.Close()
	for _, c := range []*Conn{c, d, waiting} {
		c.Close()
	}
	check()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("Close left %v", left)
	}
}

func TestAcceptEndsWithItsContext(t *testing.T) {
	l := listen(t, Options{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// Without descriptors the listener tells dialers so, does not spin, and goes
// on when there are some again.
func TestListenerSurvivesDescriptorExhaustion(t *testing.T) {
	l := listen(t, Options{})
	o := &Options{Dir: filepath.Dir(l.Path())}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// A raw dialer from before the shortage: its connect(2) needs no more.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	low := unix.Rlimit{Cur: uint64(lowestFree(t)), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restore := func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }
	defer restore()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: l.Path()}); err != nil {
		t.Fatal(err)
	}
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b := make([]byte, prefixSize+maxBody)
	tv := unix.NsecToTimeval(patience.Nanoseconds())
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	n, err := unix.Read(fd, b)
	if err != nil || n < prefixSize || messageKind(b[4]) != kindRefuse {
		t.Errorf("without descriptors the dialer got %q, %v", b[:max(n, 0)], err)
	} else if s, why, _ := parseRefusal(b[prefixSize:n]); s != wire.StatusResourceExhausted || !strings.Contains(why, "RLIMIT_NOFILE") {
		t.Errorf("it was told %v, %q", s, why)
	}
	time.Sleep(200 * time.Millisecond)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	if used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()); used > 100*time.Millisecond {
		t.Errorf("200 ms of shortage cost %v of processor time", used)
	}
	restore()
	go func() {
		if c, err := l.Accept(soon(t)); err == nil {
			c.Close()
		}
	}()
	c, err := Dial(soon(t), "test", o)
	if err != nil {
		t.Fatalf("after the shortage: %v", err)
	}
	c.Close()
}

// lowestFree returns the lowest limit under which no descriptor can be opened.
func lowestFree(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	return fd
}

// Names of other hosts lie in a folder of their own, so that whoever listens on
// this one is never in their way, and comes first.
func TestNamesOfOtherHostsComeLast(t *testing.T) {
	dir := privateDir(t)
	if err := os.Mkdir(dir+"/"+remoteDir, 0o700); err != nil {
		t.Fatal(err)
	}
	far, err := Listen("test", &Options{Dir: dir + "/" + remoteDir})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	reached := func() string {
		t.Helper()
		c, err := Dial(soon(t), "test", &Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := DialSocket(soon(t), "test", &Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		if c.Info().Peer.Addr != raw.RemoteAddr().String() {
			t.Errorf("Dial leads to %s, DialSocket to %s", c.Info().Peer.Addr, raw.RemoteAddr())
		}
		return c.Info().Peer.Addr
	}
	if got := reached(); got != far.Path() {
		t.Errorf("with nobody near: %s", got)
	}
	near, err := Listen("test", &Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := reached(); got != near.Path() {
		t.Errorf("with somebody near: %s", got)
	}
	near.Close()
	stale(t, near.Path())
	if got := reached(); got != far.Path() {
		t.Errorf("with a dead one near: %s", got)
	}
}

// What went wrong on the way to another host is not hidden behind that nobody
// listens on this one.
func TestWhyAnotherHostIsNotReachedIsSaid(t *testing.T) {
	dir := privateDir(t)
	remote := dir + "/" + remoteDir
	if err := os.Mkdir(remote, 0o700); err != nil {
		t.Fatal(err)
	}
	stale(t, remote+"/died"+socketSuffix)
	if err := os.Symlink("loop"+socketSuffix, remote+"/loop"+socketSuffix); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		is   error
		says string
	}{
		"died": {ErrNoListener, "start the node again"},
		"loop": {unix.ELOOP, "loop"},
		"none": {ErrNoListener, dir + "/none"},
	} {
		_, err := Dial(soon(t), name, &Options{Dir: dir})
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
