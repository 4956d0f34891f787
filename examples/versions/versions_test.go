package versions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/examples/internal/readme"
	"github.com/cell-runtime/cell/internal/leash"
)

func TestReadme(t *testing.T) { readme.Run(t, "README.md", "../..") }

// What clients are told by servers of another form, word for word.
const (
	mismatch23 = "rpc: Postage.Quote: fingerprint mismatch: this client has fingerprint a1baca50cf772260, the server 7f654c5bec3ea16a; from this client to the server: Parcel.Weight: int32 became float64\n"
	mismatch32 = "rpc: Postage.Quote: fingerprint mismatch: this client has fingerprint 7f654c5bec3ea16a, the server a1baca50cf772260; from this client to the server: Parcel.Weight: float64 became int32\n"
	mismatch13 = "rpc: Postage.Quote: fingerprint mismatch: this client has fingerprint 734e6c87957e1953, the server 7f654c5bec3ea16a; from this client to the server: Parcel.Weight: int32 became float64\n"
)

// Every client against every server, and against those that serve two forms:
// all that they print.
func TestEveryClientAgainstEveryServer(t *testing.T) {
	p := build(t)
	for _, c := range []struct {
		name           string
		server, client []string
		code           int
		out, err       string
	}{
		{"v1 at v1", []string{"v1"}, []string{"v1"}, 0, "v1 asks postage: same\n500 cents\n", ""},
		{"v1 at v2", []string{"v2"}, []string{"v1"}, 0, "v1 asks postage: the server is newer\n500 cents\n", ""},
		{"v2 at v1", []string{"v1"}, []string{"v2"}, 0, "v2 asks postage: the server is older\n500 cents, 0 days\n", ""},
		{"v2 at v2", []string{"v2"}, []string{"v2"}, 0, "v2 asks postage: same\n1000 cents, 1 days\n", ""},
		{"v3 at v2", []string{"v2"}, []string{"v3"}, 1, "v3 asks postage: another schema\n", mismatch32},
		{"v2 at v3", []string{"v3"}, []string{"v2"}, 1, "v2 asks postage: another schema\n", mismatch23},
		{"v1 at v3", []string{"v3"}, []string{"v1"}, 1, "v1 asks postage: another schema\n", mismatch13},
		{"v1 at both", []string{"v2", "v3"}, []string{"v1"}, 0, "v1 asks postage: the server is newer\n500 cents\n", ""},
		{"v2 at both", []string{"v2", "v3"}, []string{"v2"}, 0, "v2 asks postage: same\n1000 cents, 1 days\n", ""},
		{"v3 at both", []string{"v2", "v3"}, []string{"v3"}, 0, "v3 asks postage: same\n1503 cents, 1 days\n", ""},
		{"v2 at both, the other way round", []string{"v3", "v2"}, []string{"v2"}, 0, "v2 asks postage: same\n1000 cents, 1 days\n", ""},
		{"v3 at both, the other way round", []string{"v3", "v2"}, []string{"v3"}, 0, "v3 asks postage: same\n1503 cents, 1 days\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := p.serve(t, c.server...)
			p.ask(t, c.client...).ends(t, c.code, "^"+regexp.QuoteMeta(c.out)+"$", c.err)
			stop(syscall.SIGTERM)
		})
	}
}

func TestAnAncestorIsNotServedBesideItsHeir(t *testing.T) {
	p := build(t)
	p.start(t, "serve", "v1", "v2").ends(t, 1, "^$",
		"v2: rpc: registered before: fingerprint 734e6c87957e1953 of Postage.Quote belongs to Postage.Quote, of which one is a newer form: register that alone, it serves callers of both\n")
}

// Clients ask without a pause while their server is replaced: every call gets
// an answer, by whichever form is there, and a broken change is told as one.
func TestAServerIsReplacedWhileItsClientsAsk(t *testing.T) {
	p := build(t)
	for _, c := range []struct {
		name          string
		first, second string
		client        string
		how           syscall.Signal
		code          int
		out, err      string
	}{
		{"v1 by v2, for v1, ended", "v1", "v2", "v1", syscall.SIGTERM, 0, "v1 asks postage: same\n500 cents\n", ""},
		{"v1 by v2, for v1, killed", "v1", "v2", "v1", syscall.SIGKILL, 0, "v1 asks postage: same\n500 cents\n", ""},
		{"v1 by v2, for v2", "v1", "v2", "v2", syscall.SIGKILL, 0, "v2 asks postage: the server is older\n500 cents, 0 days\n1000 cents, 1 days\n", ""},
		{"v2 by v1, for v2, ended", "v2", "v1", "v2", syscall.SIGTERM, 0, "v2 asks postage: same\n1000 cents, 1 days\n500 cents, 0 days\n", ""},
		{"v2 by v1, for v2, killed", "v2", "v1", "v2", syscall.SIGKILL, 0, "v2 asks postage: same\n1000 cents, 1 days\n500 cents, 0 days\n", ""},
		{"v1 by v1, for v2", "v1", "v1", "v2", syscall.SIGKILL, 0, "v2 asks postage: the server is older\n500 cents, 0 days\n", ""},
		{"v2 by v3, for v2", "v2", "v3", "v2", syscall.SIGKILL, 1, "v2 asks postage: same\n1000 cents, 1 days\n", mismatch23},
	} {
		t.Run(c.name, func(t *testing.T) {
			lose := p.serve(t, c.first)
			client := p.ask(t, "-count", "400", "-every", "1ms", c.client)
			client.says(t, "(cents|days)\n") // it asks
			lose(c.how)
			stop := p.serve(t, c.second)
			// A server that ends takes links until its last call is answered, so a
			// client may come to it once more before it finds the next.
			links := "2"
			if c.how == syscall.SIGTERM {
				links = "[2-9]"
			}
			summary := `400 answers over ` + links + ` links, the slowest took \S+` + "\n"
			if c.code != 0 {
				summary = ""
			}
			client.ends(t, c.code, "^"+regexp.QuoteMeta(c.out)+summary+"$", c.err)
			stop(syscall.SIGTERM)
		})
	}
}

// patience bounds every process.
const patience = 30 * time.Second

// programs starts the example's program in a runtime directory of its own.
type programs struct{ binary, runtime string }

// built is where the program is, which all tests share.
var built = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(shared, "postage")
	text, err := exec.Command("go", "build", "-o", binary, "./postage").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, text)
	}
	return binary, err
})

// shared is a folder that is there for as long as the tests run.
var shared string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if shared, err = os.MkdirTemp("", "ex"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(shared)
		return m.Run()
	}())
}

func build(t *testing.T) programs {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ex") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	p := programs{binary, filepath.Join(dir, "run")}
	t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(p.runtime, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		os.RemoveAll(dir)
	})
	if err := os.Mkdir(p.runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

// process is one that runs, with what it has printed so far.
type process struct {
	cmd      *exec.Cmd
	out, err *os.File
}

func (p programs) start(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	c := &process{cmd: exec.CommandContext(ctx, p.binary, args...)}
	for _, f := range []**os.File{&c.out, &c.err} {
		var err error
		if *f, err = os.CreateTemp(t.TempDir(), ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*f).Close() })
	}
	c.cmd.Env = append(os.Environ(), "CELL_RUNTIME_DIR="+p.runtime)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.err
	held, err := leash.Start(c.cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil { // the test gave up
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
		held.Release()
	})
	return c
}

// serve starts a server of some versions. The result ends it by a signal.
func (p programs) serve(t *testing.T, versions ...string) (stop func(syscall.Signal)) {
	t.Helper()
	c := p.start(t, append([]string{"serve"}, versions...)...)
	return func(how syscall.Signal) {
		t.Helper()
		_ = c.cmd.Process.Signal(how)
		if how != syscall.SIGKILL {
			c.ends(t, 0, "^$", "")
			return
		}
		_ = c.cmd.Wait() // reports the signal, as it should
	}
}

func (p programs) ask(t *testing.T, args ...string) *process {
	t.Helper()
	return p.start(t, append([]string{"ask"}, args...)...)
}

// says waits until a process has printed something.
func (c *process) says(t *testing.T, pattern string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		text, _ := os.ReadFile(c.out.Name())
		if regexp.MustCompile(pattern).Match(text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v printed no %q but:\n%s", c.cmd.Args, pattern, text)
		}
	}
}

// ends waits for the end of a process and compares its exit status and all
// that it has printed.
func (c *process) ends(t *testing.T, code int, out, errs string) {
	t.Helper()
	var exit *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	gotOut, _ := os.ReadFile(c.out.Name())
	gotErr, _ := os.ReadFile(c.err.Name())
	if got := c.cmd.ProcessState.ExitCode(); got != code || !regexp.MustCompile(out).Match(gotOut) || !bytes.Equal(gotErr, []byte(errs)) {
		t.Errorf("%v: exit status %d, want %d\nprinted:\n%s\nwant:\n%s\nerrors:\n%s\nwant:\n%s", c.cmd.Args[1:], got, code, gotOut, out, gotErr, errs)
	}
}
