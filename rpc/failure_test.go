package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/internal/arith"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// late is how much later than documented a busy machine may be: less than for ever.
const late = patience

// remote is a server in another process, with a connection to it.
type remote struct {
	*kid
	conn   *rpc.Conn
	client *arith.ArithClient
}

// serverProcess starts a server and connects to it.
func serverProcess(t *testing.T, path uds.Path, o *rpc.ConnOptions) *remote {
	t.Helper()
	dir := privateDir(t)
	k := spawn(t, "serve", dir, "blocking", -1)
	k.said(t)
	conn, err := rpc.Connect(soon(t), func(ctx context.Context) (link.Link, error) {
		c, err := uds.Dial(ctx, "test", &uds.Options{Dir: dir, Path: path})
		if err != nil {
			return nil, err
		}
		return c, nil
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &remote{kid: k, conn: conn, client: arith.NewArithClient(conn)}
	r.works(t)
	return r
}

// works makes calls that must succeed, each with its own answer. Where the
// connection's timeout is short, a busy host may need several attempts.
func (r *remote) works(t *testing.T) {
	t.Helper()
	end := time.Now().Add(patience)
	for i := range int64(20) {
		reply, err := r.client.Add(soon(t), arith.AddRequest{A: i, B: 100})
		for errors.Is(err, wire.StatusDeadlineExceeded) && time.Now().Before(end) {
			reply, err = r.client.Add(soon(t), arith.AddRequest{A: i, B: 100})
		}
		if err != nil || reply.Sum != i+100 {
			t.Fatalf("%d + 100: %d, %v", i, reply.Sum, err)
		}
	}
}

func (r *remote) signal(t *testing.T, s unix.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	if s != unix.SIGSTOP {
		return
	}
	// It may take a while until all threads stand still.
	var status unix.WaitStatus
	if _, err := unix.Wait4(r.cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the server has not stopped: %v, status %#x", err, status)
	}
}

// everyWay runs f over both paths of a unix socket and every wait mode.
func everyWay(t *testing.T, f func(t *testing.T, path uds.Path, mode rpc.WaitMode)) {
	for _, path := range []uds.Path{uds.PathRing, uds.PathStream} {
		for _, mode := range []rpc.WaitMode{rpc.WaitAdaptive, rpc.WaitSpin, rpc.WaitPark} {
			t.Run(fmt.Sprintf("%v/%v", path, mode), func(t *testing.T) { f(t, path, mode) })
		}
	}
}

func TestDeadlineWhileServerHangs(t *testing.T) {
	everyWay(t, func(t *testing.T, path uds.Path, mode rpc.WaitMode) {
		r := serverProcess(t, path, &rpc.ConnOptions{Wait: mode})
		r.failsAt(t, 50*time.Millisecond, "hang", wire.StatusDeadlineExceeded)
		r.works(t)
	})
}

// failsAt makes a call that must end with a status at its deadline, neither
// before nor much later.
func (r *remote) failsAt(t *testing.T, budget time.Duration, text string, status wire.Status) {
	t.Helper()
	began := time.Now() // first: a busy host may take the CPU away before the next line
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	_, err := r.client.Echo(ctx, arith.Text{Bytes: []byte(text)})
	took := time.Since(began)
	if !errors.Is(err, status) {
		t.Errorf("%q: %v, want %v", text, err, status)
	}
	// A server's answer to its own deadline may come first, by the little
	// that its clock is ahead.
	if took < budget-5*time.Millisecond || took > budget+late {
		t.Errorf("%q: ended after %v, with a deadline of %v", text, took, budget)
	}
}

func TestTheTimeoutOfAConnectionBoundsEveryCall(t *testing.T) {
	r := serverProcess(t, uds.PathRing, &rpc.ConnOptions{Timeout: 30 * time.Millisecond})
	for name, ctx := range map[string]context.Context{"without a deadline": context.Background(), "with a later one": soon(t)} {
		if _, err := r.client.Echo(ctx, arith.Text{Bytes: []byte("hang")}); !errors.Is(err, wire.StatusDeadlineExceeded) {
			t.Errorf("a call %s: %v", name, err)
		}
	}
}

func TestServerStopped(t *testing.T) {
	everyWay(t, func(t *testing.T, path uds.Path, mode rpc.WaitMode) {
		r := serverProcess(t, path, &rpc.ConnOptions{Wait: mode})
		r.signal(t, unix.SIGSTOP)
		for range 3 {
			r.failsAt(t, 30*time.Millisecond, "unheard", wire.StatusDeadlineExceeded)
		}
		// What it was asked meanwhile it answers now. Nobody may get that.
		r.signal(t, unix.SIGCONT)
		r.works(t)
		if n := r.conn.Stats().Late; n == 0 {
			t.Error("no late answer was counted")
		}
	})
}

// Requests pile up until the ring is full: then calls end at their deadlines
// without having been sent.
func TestServerStoppedUntilFull(t *testing.T) {
	everyWay(t, func(t *testing.T, path uds.Path, mode rpc.WaitMode) {
		r := serverProcess(t, path, &rpc.ConnOptions{Wait: mode})
		r.signal(t, unix.SIGSTOP)
		big := arith.Text{Bytes: make([]byte, 200_000)}
		for range 20 {
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			_, err := r.client.Echo(ctx, big)
			cancel()
			if !errors.Is(err, wire.StatusDeadlineExceeded) {
				t.Fatalf("%v", err)
			}
			if took := time.Since(began); took > late {
				t.Fatalf("ended after %v", took)
			}
		}
		r.signal(t, unix.SIGCONT)
		// In its own time: what has piled up goes first, on a host that may be busy.
		if _, err := r.client.Echo(soon(t), big); err != nil {
			t.Fatalf("it never went on: %v", err)
		}
		r.works(t)
	})
}

func TestServerKilled(t *testing.T) {
	everyWay(t, func(t *testing.T, path uds.Path, mode rpc.WaitMode) {
		r := serverProcess(t, path, &rpc.ConnOptions{Wait: mode})
		ended := make(chan error, 3)
		for range cap(ended) {
			go func() {
				_, err := r.client.Echo(context.Background(), arith.Text{Bytes: []byte("hang")})
				ended <- err
			}()
		}
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		r.kill()
		for range cap(ended) {
			if err := <-ended; !errors.Is(err, wire.StatusPeerGone) {
				t.Errorf("a call under way: %v", err)
			}
		}
		if took := time.Since(began); took > late {
			t.Errorf("noticed after %v", took)
		}
		// The next call can't have been executed, and says so.
		if _, err := r.client.Echo(soon(t), arith.Text{}); !errors.Is(err, wire.StatusUnavailable) {
			t.Errorf("a call afterwards: %v", err)
		}
	})
}

func TestQueueFullOfProcess(t *testing.T) {
	r := serverProcess(t, uds.PathRing, nil)
	ctx, cancel := context.WithCancel(context.Background())
	const calls = childWorkers + childQueue
	ended := make(chan error, calls)
	call := func() {
		_, err := r.client.Echo(ctx, arith.Text{Bytes: []byte("hang")})
		ended <- err
	}
	load := func(workers, queued int) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			s, err := r.conn.ServerStats(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			if s.Workers == workers && s.Queued == queued {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the server is at %d workers and %d in the queue; want %d and %d", s.Workers, s.Queued, workers, queued)
			}
		}
	}
	for i := range childWorkers {
		go call()
		load(i+1, 0)
	}
	for i := range childQueue {
		go call()
		load(childWorkers, i+1)
	}
	began := time.Now()
	_, err := r.client.Add(soon(t), arith.AddRequest{})
	if !errors.Is(err, wire.StatusResourceExhausted) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > late {
		t.Errorf("refused after %v", took)
	}
	cancel()
	for range calls {
		if err := <-ended; !errors.Is(err, wire.StatusCanceled) {
			t.Errorf("a call in the queue: %v", err)
		}
	}
	load(0, 0)
	r.works(t)
}

func TestRequestAboveLimitOfProcess(t *testing.T) {
	for _, path := range []uds.Path{uds.PathRing, uds.PathStream} {
		r := serverProcess(t, path, nil)
		for _, size := range []int{childMaxRequest + 1, 3 * childMaxRequest} {
			if _, err := r.client.Echo(soon(t), arith.Text{Bytes: make([]byte, size)}); !errors.Is(err, wire.StatusTooLarge) {
				t.Errorf("%v, %d bytes: %v", path, size, err)
			}
			r.works(t)
		}
	}
}

// An idempotent call is sent again after a reconnect, one that is not ends
// with a status that says it may have been executed.
func TestReconnectToNextProcess(t *testing.T) {
	dir := privateDir(t)
	k := spawn(t, "serve", dir, "blocking", -1)
	k.said(t)
	conn, err := rpc.Connect(soon(t), func(ctx context.Context) (link.Link, error) {
		c, err := uds.Dial(ctx, "test", &uds.Options{Dir: dir})
		if err != nil {
			return nil, err
		}
		return c, nil
	}, &rpc.ConnOptions{BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := &remote{kid: k, conn: conn, client: arith.NewArithClient(conn)}
	r.works(t)
	for range 3 {
		r.kill()
		r.kid = spawn(t, "serve", dir, "blocking", -1)
		r.said(t)
		for end := time.Now().Add(patience); ; {
			if _, err := r.client.Add(soon(t), arith.AddRequest{}); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		r.works(t)
	}
	if n := conn.Stats().Reconnects; n < 3 {
		t.Errorf("%d reconnects", n)
	}
}
