package adapter

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

// pattern is a message that no other size or offset resembles.
func pattern(n, salt int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((i + salt) % 251)
	}
	return b
}

// connect starts both sides in this process.
func connect(t *testing.T, a peer.Adapter, w peer.Work, size int) peer.Client {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs: spinning sides would wait for each other's turn")
	}
	dir, err := os.MkdirTemp("", "pp") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		os.RemoveAll(dir)
	})
	set := peer.Setting{Dir: dir, Work: w, Size: size}
	s, err := a.Serve(set)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Dial(set, s.Addr())
	if err != nil {
		s.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := c.Close(); err != nil {
				t.Errorf("closing the client: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("closing the server: %v", err)
			}
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			stacks := make([]byte, 64<<10)
			t.Fatalf("closing hangs\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	})
	return c
}

var sizes = []int{16, 64, 1000, 64 << 10, 1 << 20}

// each runs f for every adapter that does the work.
func each(t *testing.T, w peer.Work, f func(t *testing.T, c peer.Client, size int)) {
	for _, a := range All() {
		for _, size := range sizes {
			if !a.Does(w, size) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", a.Name, size), func(t *testing.T) { f(t, connect(t, a, w, size), size) })
		}
	}
}

func TestCallsAreAnsweredWithTheRequest(t *testing.T) {
	each(t, peer.RTT, func(t *testing.T, c peer.Client, size int) {
		for i := range 5 {
			request := pattern(size, i)
			reply, err := c.Call(request)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(reply, request) {
				t.Fatalf("call %d: %d bytes came back, not those %d that were sent", i, len(reply), len(request))
			}
		}
	})
}

// upTo says no after n messages.
func upTo(n uint64) peer.More { return func(sent uint64) bool { return sent < n } }

func TestPipelinesAnswerEveryCall(t *testing.T) {
	each(t, peer.Pipelined, func(t *testing.T, c peer.Client, size int) {
		const least = 500
		if n, err := c.Pipeline(pattern(size, 1), upTo(least)); err != nil || n < least || n > 100*least {
			t.Errorf("%d answered, want %d and a few more: %v", n, least, err)
		}
	})
}

func TestStreamsArriveWhole(t *testing.T) {
	each(t, peer.Stream, func(t *testing.T, c peer.Client, size int) {
		least := uint64(max(20, min(3000, 16<<20/size)))
		message, sent := pattern(size, 1), uint64(0)
		tally, err := c.Stream(message, func(n uint64) bool {
			if n < sent {
				t.Errorf("%d sent after %d", n, sent)
			}
			sent = n
			return n < least
		})
		if err != nil {
			t.Fatal(err)
		}
		if tally.Count < least || tally.Count < sent {
			t.Errorf("%d arrived, at least %d were sent", tally.Count, max(least, sent))
		}
		if err := tally.Check(tally.Count, message); err != nil {
			t.Error(err)
		}
	})
}

// A stream of nothing ends as well.
func TestEmptyStreams(t *testing.T) {
	for _, a := range All() {
		if !a.Does(peer.Stream, 64) {
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			c := connect(t, a, peer.Stream, 64)
			if _, err := c.Stream(pattern(64, 1), upTo(0)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWorkThatIsNotListedIsRefused(t *testing.T) {
	a, err := ByName(All(), "cache-line")
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, a, peer.RTT, 64)
	if _, err := c.Pipeline(nil, upTo(1)); err == nil {
		t.Error("a pipeline over a bare line")
	}
	if _, err := c.Stream(nil, upTo(1)); err == nil {
		t.Error("a stream over a bare line")
	}
}

func TestAdaptersAreDescribed(t *testing.T) {
	all := All()
	names := Names(all)
	if slices.Sort(names); len(slices.Compact(names)) != len(all) {
		t.Errorf("names occur twice: %v", names)
	}
	for _, a := range all {
		if a.Name == "" || strings.ContainsAny(a.Name, ", \t|") || a.About == "" || a.Family == "" || len(a.Works) == 0 {
			t.Errorf("%q lacks something: %+v", a.Name, a)
		}
	}
	if _, err := ByName(all, "pigeon"); err == nil || !strings.Contains(err.Error(), "grpc-go") {
		t.Errorf("an unknown name: %v", err)
	}
}
