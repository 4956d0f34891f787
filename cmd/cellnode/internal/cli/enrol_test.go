package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/identity"
)

// asProcess holds the arguments with which a process of this test binary is
// cellnode.
const asProcess = "CELL_TEST_CELLNODE"

// TestProcess is cellnode, in a process that process has started.
func TestProcess(t *testing.T) {
	var args []string
	if json.Unmarshal([]byte(os.Getenv(asProcess)), &args) != nil {
		t.Skip("only in processes that other tests start")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(int(Run(ctx, args, &Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})))
}

// process returns a process of cellnode, not started. It ends with the test.
func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcess$")
	c.Env = append(os.Environ(), asProcess+"="+string(text))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

func TestEnrolmentBetweenProcesses(t *testing.T) {
	home := t.TempDir()
	at := func(name string) string { return "--dir=" + filepath.Join(home, name) }
	// ends runs a process to its end.
	ends := func(in string, args ...string) (out, complaints string, failed bool) {
		t.Helper()
		c := process(t, args...)
		var o, e bytes.Buffer
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader(in), &o, &e
		failed = c.Run() != nil
		return o.String(), e.String(), failed
	}
	token := func(args ...string) string {
		t.Helper()
		out, complaints, failed := ends("", append([]string{"token", "create", at("keeper")}, args...)...)
		if failed {
			t.Fatal(complaints)
		}
		return strings.TrimSpace(out)
	}
	counted, any := token("--for", "1h", "--uses", "1"), token("--for", "1h")
	gone, short := token("--for", "1h"), token("--for", "1s")
	made := time.Now()

	server := process(t, "token", "serve", at("keeper"), "127.0.0.1:0")
	lines, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	first, err := bufio.NewReader(lines).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := "@" + strings.TrimPrefix(strings.TrimSpace(first), "enrolling at ")
	if out, complaints, failed := ends("", "token", "revoke", at("keeper"), serialOf(t, gone)); failed {
		t.Fatal(out, complaints)
	}
	if wait := time.Until(made.Add(1100 * time.Millisecond)); wait > 0 {
		time.Sleep(wait) // until the short-lived token has expired
	}
	elsewhere, _, _ := ends("", "token", "create", at("elsewhere"))
	for _, c := range []struct {
		name, node, in, what, words string
		fails                       bool
	}{
		{"a counted token by itself", "a", "", counted, "TOKEN@HOST:PORT", true},
		{"a counted token", "a", counted + addr + "\n", "-", "is a member of cellcluster1", false},
		{"the same node again", "a", "", counted + addr, "is a member of", false},
		{"renewed", "a", "", addr, "is a member of", false},
		{"another by the token for one", "b", "", counted + addr, "used up", true},
		{"a token for all", "c", "", any + addr, "is a member of", false},
		{"a revoked token", "d", "", gone + addr, "revoked", true},
		{"an expired token", "e", "", short + addr, "was valid until", true},
		{"a token of another cluster", "f", "", strings.TrimSpace(elsewhere) + addr, "unknown peer", true},
		{"nothing", "g", "", addr, "by a token", true},
		{"where nobody is", "h", "", any + "@127.0.0.1:none", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, complaints, failed := ends(c.in, "join", at(c.node), c.what)
			if failed != c.fails || !strings.Contains(out+complaints, c.words) {
				t.Errorf("%s%s", out, complaints)
			}
			kept, err := identity.LoadCredentials(filepath.Join(home, c.node))
			if joined := err == nil && kept.Membership() != nil; joined == c.fails && c.node != "a" {
				t.Errorf("a membership was kept: %t, %v", joined, err)
			}
		})
	}
	trust, err := identity.LoadTrust(filepath.Join(home, "keeper"))
	if err != nil {
		t.Fatal(err)
	}
	member, err := identity.LoadCredentials(filepath.Join(home, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Check(member.ID(), identity.Evidence{Membership: member.Membership()}); err != nil {
		t.Errorf("the cluster doesn't trust its new member: %v", err)
	}
	keeper, err := identity.LoadCredentials(filepath.Join(home, "keeper"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := identity.LoadTrust(filepath.Join(home, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Check(keeper.ID(), identity.Evidence{Membership: keeper.Membership()}); err != nil {
		t.Errorf("the new member doesn't trust the cluster: %v", err)
	}
}

func serialOf(t *testing.T, token string) string {
	t.Helper()
	parsed, err := identity.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(parsed.String())[1]
}
