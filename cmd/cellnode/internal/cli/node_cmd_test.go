package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockedBuffer is a buffer that a node logs into while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startNode runs a node by its command until end is called, which returns its exit
// code, and waits until it is ready.
func startNode(t *testing.T, dir, file string) (log *lockedBuffer, end func() int) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	log = &lockedBuffer{}
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"--runtime-dir", dir, "run", "-c", file, "--log-format", "json"}, &Env{Out: log, Err: log})
	}()
	end = sync.OnceValue(func() int { stop(); return <-ended })
	t.Cleanup(func() { end() })
	for until := time.Now().Add(40 * time.Second); !strings.Contains(log.String(), `"msg":"ready"`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("the node does not become ready: %s", log)
		}
	}
	return log, end
}

// TestCommandsOnANode runs a node by its command and talks to it by the others.
func TestCommandsOnANode(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "c.toml")
	// sleep serves nothing, so it needs no program of ours.
	text := "[network]\nmode = \"off\"\n[cells.sleeper]\ncommand = [\"/bin/sleep\", \"1000\"]\ncapsid = \"none\"\nserves = false\nversion = \"one\"\n" +
		"[cells.idle]\ncommand = [\"/bin/false\"]\ncapsid = \"none\"\nstart = \"connect\"\nmax_restarts = 1\nbackoff_min = \"1ms\"\nbackoff_max = \"2ms\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, end := startNode(t, dir, file)
	h := host{dir: dir}
	for _, tc := range []struct {
		args string
		code int
		out  string
		err  string
	}{
		{"ps", 0, "sleeper", ""},
		{"ps -o json", 0, `"name": "sleeper"`, ""},
		{"ls", 0, "idle      asleep", ""},
		{"versions sleeper", 0, "one", ""},
		{"versions idle -o json", 0, `"state": "asleep"`, ""},
		{"spawn sleeper", 0, "runs already", ""},
		{"spawn other", 64 + 5, "", "no such cell"},
		{"spawn idle", 64 + 14, "", "ended before it was ready"},
		{"restart sleeper", 0, "has drained and ended", ""},
		{"deploy sleeper --watch 10ms --version two -- /bin/sleep 2000", 0, "two is ready", ""},
		{"deploy sleeper --watch 1s -- /bin/false", 64 + 14, "", "exited: with status 1"},
		{"deploy sleeper -- false", 2, "", "absolute path"},
		{"deploy sleeper /bin/true", 2, "", "write -- before"},
		{"stop sleeper", 0, "was stopped", ""},
		{"stop sleeper", 0, "did not run", ""},
		{"logs sleeper -n 5", 0, "is ready after", ""},
		{"logs sleeper -n 5 -o json", 0, `"source":"node"`, ""},
		{"logs other", 64 + 5, "", "no such cell"},
		{"reload", 0, "nothing has changed", ""},
		{"audit", 0, "deployed", ""},
		{"peers", 0, "this node is alone: network.mode is off", ""},
		{"peers -o json", 0, `"peers": []`, ""},
		{"discover", 64 + 9, "", "network.mode is off"},
		{"audit -o json", 0, `"did": "started"`, ""},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code, out, complaints := h.run(t, strings.Fields(tc.args)...)
			if code != tc.code || !strings.Contains(out, tc.out) || !strings.Contains(complaints, tc.err) {
				t.Errorf("code %d, wanted %d\nprinted: %s\nwanted: %q\ncomplaints: %s\nwanted: %q", code, tc.code, out, tc.out, complaints, tc.err)
			}
			if strings.Contains(tc.args, "-o json") && !strings.HasPrefix(tc.args, "logs") {
				fitForPrograms(t, out)
			}
		})
	}
	if code := end(); code != 0 {
		t.Errorf("run ended with %d: %s", code, log)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if code, _, complaints := h.run(t, "ps"); code != 1 || !strings.Contains(complaints, "cellnode run") {
		t.Errorf("without a node: %d, %s", code, complaints)
	}
}

func TestDemoSaysWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"demo --capsid paper":              "there is no backend \"paper\"",
		"demo --gateway nowhere":           "no address",
		"demo --web nowhere --capsid none": "no address",
	} {
		if code, _, complaints := run(t, strings.Fields(args)...); code != ExitUsage || !strings.Contains(complaints, want) {
			t.Errorf("%s: %d, %s", args, code, complaints)
		}
	}
}
