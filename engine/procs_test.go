package engine_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link/linktest"
)

const procsVariable = "CELL_ENGINE_TEST_PROCS"

// With few Ps an engine must neither hold up the rest of the process nor be
// held up by it. The runtime reads GOMAXPROCS at start, so the test starts
// itself anew.
func TestFewProcs(t *testing.T) {
	if os.Getenv(procsVariable) != "" {
		fewProcs(t)
		return
	}
	for _, n := range []int{1, 2, 4} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestFewProcs$", "-test.v")
			cmd.Env = append(os.Environ(), procsVariable+"=1", "GOMAXPROCS="+strconv.Itoa(n))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// fewProcs runs two engines in each mode beside goroutines that compute, and
// sees that everybody gets on. The bound is far above what is expected and far
// below what starvation would take. It is one of this process's processor time,
// which who starves another of its own goroutines burns, and a busy host doesn't.
func fewProcs(t *testing.T) {
	const rounds, bound = 20, 100 * time.Millisecond
	eachMode(t, func(t *testing.T, idle engine.Idle) {
		near, far := pipe(t, linktest.PipeConfig{})
		e, beside := running(t, engine.Config{Idle: idle}), running(t, engine.Config{Idle: idle})
		add(t, e, near, engine.HandlerFunc(echo))
		var worst time.Duration
		begun := processorTime(t)
		timed := func(what string, f func()) {
			start := time.Now()
			f()
			d := time.Since(start)
			worst = max(worst, d)
			if d > bound {
				t.Logf("%s took %v", what, d)
			}
		}
		for i := range uint32(rounds) {
			timed("Do", func() { do(t, e, func() {}) })
			timed("Do beside", func() { do(t, beside, func() {}) })
			timed("an echo", func() {
				send(t, far, request(i), "x")
				receive(t, far)
			})
			timed("Add and Remove", func() {
				p := add(t, e, &quiet{}, engine.HandlerFunc(echo))
				if err := e.Remove(p); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Millisecond) // time to fall asleep
		}
		timed("Stop", func() { _ = e.Stop() })
		mean := (processorTime(t) - begun) / (4*rounds + 1)
		if mean > bound {
			t.Errorf("each took %v of processor time, the worst %v", mean, worst)
		}
		t.Logf("GOMAXPROCS %d: %v of processor time each, the worst took %v", runtime.GOMAXPROCS(0), mean, worst)
		computes(t, e, beside)
	})
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// computes sees that a goroutine which only computes, and one that waits for a
// timer, go on beside the engines.
func computes(t *testing.T, engines ...*engine.Engine) {
	t.Helper()
	var n atomic.Int64
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				n.Add(1)
			}
		}
	}()
	start := time.Now()
	for range 10 {
		time.Sleep(time.Millisecond)
	}
	if d := time.Since(start); d > patience {
		t.Errorf("ten sleeps of 1 ms took %v", d)
	}
	close(stop)
	if n.Load() == 0 {
		t.Error("the other goroutine never ran")
	}
}
