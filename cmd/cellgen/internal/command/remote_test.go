package command

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/quotes/newer"
	"github.com/cell-runtime/cell/cmd/cellgen/internal/quotes/older"
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// olderQuotes and newerQuotes serve two versions.
type olderQuotes struct{ older.Quotes }

type newerQuotes struct{ newer.Quotes }

func serveOlder(s *rpc.Server) error { return older.RegisterQuotes(s, olderQuotes{}) }
func serveNewer(s *rpc.Server) error { return newer.RegisterQuotes(s, newerQuotes{}) }

// serve runs a cell under the name until the test ends.
func serve(t *testing.T, dir, name string, registers ...func(*rpc.Server) error) {
	t.Helper()
	s, err := rpc.NewServer(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, register := range registers {
		if err := register(s); err != nil {
			t.Fatal(err)
		}
	}
	l, err := uds.Listen(name, &uds.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{CPU: engine.Unpinned})
	if err == nil {
		err = e.Start(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Accept(ctx, e, func(ctx context.Context) (link.Link, error) {
			c, err := l.Accept(ctx)
			if err != nil {
				return nil, err // a nil *uds.Conn would be a link
			}
			return c, nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = l.Close()
		_ = e.Stop()
	})
}

// sockets returns a folder with a name short enough for sockets.
func sockets(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestAClientForARunningCellIsPinnedAndChecked(t *testing.T) {
	run, module := sockets(t), t.TempDir()
	write(t, filepath.Join(module, "go.mod"), "module example.org/m\n")
	dir, lock := filepath.Join(module, "prices"), filepath.Join(module, "cell.lock")
	serve(t, run, "prices", serveOlder)

	check := func(name string, code int, want string, args ...string) {
		t.Helper()
		r := runIn(t, "", append([]string{"check", "-runtime-dir", run, "-lock", lock, "-timeout", "10s"}, args...)...)
		if r.code != code || !strings.Contains(r.stdout+r.stderr, want) {
			t.Errorf("%s: %+v, want code %d and %q", name, r, code, want)
		}
	}
	check("nothing pinned yet", 1, "pins nothing")
	r := runIn(t, "", "remote", "-runtime-dir", run, "-dir", dir, "prices")
	if r.code != 0 || !strings.Contains(r.stdout, "prices: Quotes, 3 methods") {
		t.Fatalf("remote: %+v", r)
	}
	if text := read0(t, lock); !strings.Contains(text, `"description": "prices/prices.cell"`) || !strings.Contains(text, "9efd13794152a198") {
		t.Errorf("cell.lock is\n%s", text)
	}
	code := read0(t, filepath.Join(dir, "prices_cell.go"))
	if !strings.Contains(code, "package prices") || !strings.Contains(code, "func NewQuotesClient(") {
		t.Error("there is no client")
	}
	check("the same", 0, "")
	check("by name", 0, "", "prices")
	check("another name", 1, "does not pin other", "other")
	check("a file of the same form", 0, "", "-against", "../../../../testdata/schema/quotes1.cell", "prices")
	check("a file that appends", 1, "calls would be refused: Quotes.Get: additive", "-against", "../../../../testdata/schema/quotes2.cell", "prices")

	// Somebody else serves under the name: first another version without
	// ancestors, then both versions beside each other.
	run = sockets(t)
	serve(t, run, "prices", serveNewer)
	check("another version", 1, "calls would be refused: Quotes.Get: additive")
	run = sockets(t)
	serve(t, run, "prices", serveOlder, serveNewer)
	check("both versions", 0, "still accepted: Quotes.Get: additive")

	check("offline", 0, "", "-offline")
	run = sockets(t)
	check("nobody listens", 1, "prices:")

	generated := filepath.Join(dir, "prices_cell.go")
	write(t, generated, code+"\n// edited\n")
	check("edited code", 1, "is not what cellgen writes", "-offline")
	write(t, generated, code)
	description := filepath.Join(dir, "prices.cell")
	write(t, description, strings.Replace(read0(t, description), "Bid int64", "Bid uint64", 1))
	check("an edited description", 1, "is not what", "-offline")
}

func TestRemoteRefuses(t *testing.T) {
	run, dir := sockets(t), t.TempDir()
	serve(t, run, "prices", serveOlder)
	bad := filepath.Join(t.TempDir(), "cell.lock")
	write(t, bad, `{"version":2}`)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no name":               {nil, 2, "takes the NAME"},
		"two names":             {[]string{"a", "b"}, 2, "takes the NAME"},
		"a name with slashes":   {[]string{"../prices"}, 2, "name"},
		"nobody there":          {[]string{"-timeout", "1s", "nobody"}, 1, "nobody:"},
		"no such service":       {[]string{"-service", "Other", "prices"}, 1, "no service Other, but Quotes"},
		"a lock elsewhere":      {[]string{"-package", "p", "-lock", filepath.Join(t.TempDir(), "cell.lock"), "prices"}, 2, "not within the folder"},
		"a lock of the future":  {[]string{"-lock", bad, "prices"}, 1, "version 2"},
		"an unknown flag":       {[]string{"-x", "prices"}, 2, "-x"},
		"a folder without name": {[]string{"-dir", filepath.Join(dir, "1-2"), "prices"}, 2, "-package"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"remote", "-runtime-dir", run, "-dir", dir, "-package", ""}, c.args...)
			began := time.Now()
			r := runIn(t, "", args...)
			if r.code != c.code || !strings.Contains(r.stderr, c.want) {
				t.Errorf("%+v, want code %d and %q", r, c.code, c.want)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 0 {
				t.Errorf("it left %v after %v", entries, time.Since(began))
			}
		})
	}
}
