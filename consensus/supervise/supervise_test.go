package supervise_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus/supervise"
)

// TestMain is also the child, by what CELL_TEST_CHILD says.
func TestMain(m *testing.M) {
	switch os.Getenv("CELL_TEST_CHILD") {
	case "panics":
		go func() { panic("the disk is full") }() // where nobody can recover
		select {}
	case "refuses":
		fmt.Fprintln(os.Stderr, "starting")
		fmt.Fprintln(os.Stderr, "the directory belongs to another node")
		os.Exit(supervise.ExitRefused)
	case "ends":
		os.Exit(0)
	case "leaves a child":
		cmd := exec.Command("sleep", "3")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		os.Exit(0)
	case "sleeps":
		time.Sleep(time.Minute)
	case "third time lucky":
		f, err := os.OpenFile(os.Getenv("CELL_TEST_FILE"), os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			panic(err)
		}
		_, _ = f.Write([]byte("x"))
		if s, _ := f.Stat(); s.Size() < 3 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(kind string, env ...string) func() *exec.Cmd {
	return func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(append(os.Environ(), "CELL_TEST_CHILD="+kind), env...)
		return cmd
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestRun(t *testing.T) {
	if err := supervise.Run(t.Context(), supervise.Options{Command: child("ends")}); err != nil {
		t.Errorf("a child that ends: %v", err)
	}
	if err := supervise.Run(t.Context(), supervise.Options{Command: child("leaves a child")}); err != nil {
		t.Errorf("a child that ends before one of its own: %v", err)
	}
	err := supervise.Run(t.Context(), supervise.Options{Command: child("refuses")})
	if !errors.Is(err, supervise.ErrRefused) || !strings.Contains(err.Error(), "belongs to another node") {
		t.Errorf("a child that refuses: %v", err)
	}
	if err := supervise.Run(t.Context(), supervise.Options{}); !errors.Is(err, supervise.ErrOptions) {
		t.Errorf("no command: %v", err)
	}
	err = supervise.Run(t.Context(), supervise.Options{
		Command: child("third time lucky", "CELL_TEST_FILE="+filepath.Join(t.TempDir(), "starts")), MinBackoff: time.Millisecond,
	})
	if err != nil {
		t.Errorf("a child that dies twice: %v", err)
	}
}

func TestAPanicIsSurvivedAndQuoted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var log syncBuffer
	starts := 0
	err := supervise.Run(ctx, supervise.Options{
		Command: child("panics"), MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Started: func(int) {
			if starts++; starts == 3 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || starts != 3 {
		t.Errorf("%d starts, %v", starts, err)
	}
	if !strings.Contains(log.String(), "panic: the disk is full") {
		t.Errorf("the log does not say why: %s", log.String())
	}
}

func TestTheChildEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pid := 0
	err := supervise.Run(ctx, supervise.Options{Command: child("sleeps"), Started: func(p int) { pid = p; cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child %d is still there: %v", pid, err)
	}
}

// Who always has to run is started again even if somebody else has ended it in
// order.
func TestAChildThatMustAlwaysRunIsStartedAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	starts := 0
	err := supervise.Run(ctx, supervise.Options{
		Command: child("ends"), Always: true, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond,
		Started: func(int) {
			if starts++; starts == 3 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) || starts != 3 {
		t.Errorf("%d starts, %v", starts, err)
	}
}
