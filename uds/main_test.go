package uds

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// Tests that need a second process run this binary again with childEnv set.
const childEnv = "CELL_UDS_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		child(strings.Fields(role))
		os.Exit(0)
	}
	warmUp()
	os.Exit(m.Run())
}

// warmUp makes the runtime open the descriptors that it opens once, so that
// they are no leaks of the first test: its poller's, and what os/exec tries.
func warmUp() {
	l := must(net.Listen("unix", ""))
	c := must(net.Dial("unix", l.Addr().String()))
	c.Close()
	l.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=nothing")
	_ = cmd.Run()
}

// patience bounds everything that a test waits for on a busy machine.
const patience = time.Minute

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// privateDir returns a runtime directory as Listen would make it. The path is
// short: socket paths end at 107 bytes.
func privateDir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "uds")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

func listen(t testing.TB, o Options) *Listener {
	t.Helper()
	if o.Dir == "" {
		o.Dir = privateDir(t)
	}
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, patience)
	l, err := Listen("test", &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing the listener: %v", err)
		}
	})
	return l
}

// pair connects two ends in this process; the first is the dialer's.
func pair(t testing.TB, lo, do Options) (dialer, listener *Conn) {
	t.Helper()
	return connected(t, listen(t, lo), do)
}

// connected connects two ends by way of l.
func connected(t testing.TB, l *Listener, do Options) (dialer, listener *Conn) {
	t.Helper()
	do.Dir = filepath.Dir(l.Path())
	do.HandshakeTimeout = cmp.Or(do.HandshakeTimeout, patience)
	type result struct {
		c   *Conn
		err error
	}
	got := make(chan result, 1)
	ctx := soon(t)
	go func() {
		c, err := l.Accept(ctx)
		got <- result{c, err}
	}()
	d, err := Dial(ctx, "test", &do)
	if err != nil {
		t.Fatal(err)
	}
	r := <-got
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { d.Close(); r.c.Close() })
	return d, r.c
}

// paths are the two ways of a connection, for tests that hold for both.
var paths = []struct {
	name string
	opts Options
}{
	{"ring", Options{Path: PathRing, RingSize: 64 << 10}},
	{"stream", Options{Path: PathStream, MaxPayload: 30 << 10}},
}

func vesicle(payload string) wire.Vesicle {
	return wire.Vesicle{Header: wire.Header{Kind: wire.KindEvent, Fingerprint: 7}, Payload: []byte(payload)}
}

// sendOne sends one vesicle, waiting for room.
func sendOne(t testing.TB, l *Conn, v wire.Vesicle) {
	t.Helper()
	var out [1]wire.Vesicle
	if _, err := l.ClaimWait(soon(t), out[:], len(v.Payload), WaitYield); err != nil {
		t.Fatal(err)
	}
	copy(out[0].Payload, v.Payload)
	out[0].Header = v.Header
	if err := l.Commit(out[:]); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
}

// expect polls one vesicle and compares its payload.
func expect(t testing.TB, l *Conn, payload string) {
	t.Helper()
	var in [1]wire.Vesicle
	if _, err := l.PollWait(soon(t), in[:], WaitYield); err != nil {
		t.Fatal(err)
	}
	if got := string(in[0].Payload); got != payload {
		t.Fatalf("got %q, want %q", got, payload)
	}
	if err := l.Release(1); err != nil {
		t.Fatal(err)
	}
}

// awaitError polls until an error comes.
func awaitError(t testing.TB, c *Conn, mode WaitMode) error {
	t.Helper()
	var in [16]wire.Vesicle
	for {
		n, err := c.PollWait(soon(t), in[:], mode)
		if err != nil {
			return err
		}
		if err := c.Release(n); err != nil {
			t.Fatal(err)
		}
	}
}

// openFDs lists what /proc/self/fd points to.
func openFDs(t testing.TB) []string {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			open = append(open, n.Name()+" -> "+to)
		}
	}
	return open
}

// memfdMaps lists the mappings of ring memory.
func memfdMaps(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	var maps []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "memfd:cell") {
			maps = append(maps, strings.TrimSpace(line))
		}
	}
	return maps
}

// leakCheck compares descriptors, maps and goroutines with those at its call.
// Descriptors of connections that others closed may take a moment to go.
func leakCheck(t testing.TB) (check func()) {
	t.Helper()
	fds, maps, gos := openFDs(t), memfdMaps(t), runtime.NumGoroutine()
	return func() {
		t.Helper()
		deadline := time.Now().Add(patience)
		for {
			f, m, g := openFDs(t), memfdMaps(t), runtime.NumGoroutine()
			if len(f) <= len(fds) && len(m) <= len(maps) && g <= gos {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("leak: descriptors %d -> %d, maps %d -> %d, goroutines %d -> %d\n%s\n%s", len(fds), len(f), len(maps), len(m), gos, g,
					strings.Join(slices.DeleteFunc(f, func(s string) bool { return slices.Contains(fds, s) }), "\n"), strings.Join(m, "\n"))
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// raw connects to a listener without shaking hands.
func raw(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.UnixConn)
}

// socketPair returns two connected sockets.
func socketPair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		out[i] = c.(*net.UnixConn)
	}
	return out[0], out[1]
}

// kid is this binary, run again in another role.
type kid struct {
	cmd *exec.Cmd
	out *os.File // its stdout
}

// spawn starts a child. Its stdout is a pipe: the child says there what it has
// reached. It is killed at the test's end at the latest.
func spawn(t testing.TB, role ...any) *kid {
	t.Helper()
	return spawnAs(t, nil, role...)
}

// spawnAs starts a child as another user; nil means the same.
func spawnAs(t testing.TB, who *syscall.Credential, role ...any) *kid {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k := &kid{cmd: exec.Command("/proc/self/exe"), out: r}
	k.cmd.Env = append(os.Environ(), childEnv+"="+strings.TrimSuffix(fmt.Sprintln(role...), "\n"))
	k.cmd.Stdout, k.cmd.Stderr = w, os.Stderr
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	err = k.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	t.Cleanup(k.kill)
	return k
}

// spawnInheriting starts a child that inherits f as the socket to its node.
func spawnInheriting(t testing.TB, f *os.File, role ...any) *kid {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k := &kid{cmd: exec.Command("/proc/self/exe"), out: r}
	k.cmd.Env = append(os.Environ(), childEnv+"="+strings.TrimSuffix(fmt.Sprintln(role...), "\n"), EnvNode+"=3")
	k.cmd.Stdout, k.cmd.Stderr, k.cmd.ExtraFiles = w, os.Stderr, []*os.File{f}
	err = k.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.kill)
	return k
}

// said reads one line of the child.
func (k *kid) said(t testing.TB) string {
	t.Helper()
	_ = k.out.SetReadDeadline(time.Now().Add(patience))
	var line []byte
	for b := make([]byte, 1); ; {
		if n, err := k.out.Read(b); n == 0 || err != nil {
			t.Fatalf("the child said %q and then nothing: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// kill ends the child as kill -9 does and reaps it.
func (k *kid) kill() {
	if k.cmd.ProcessState == nil {
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
		k.out.Close()
	}
}
