//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// damageEnv makes this process open a directory, read the register 'd', and
// print it: what is damaged may end the process.
const damageEnv = "CELL_RAFT_DAMAGED"

// damagedPatience is far beyond what it takes to open a directory and write into it.
const damagedPatience = 2 * time.Minute

type damagedDir struct {
	Dir   string
	Store Store
	Write int // how many additions are made first
}

func loneOptions(dir string, store Store) Options {
	return Options{
		Node: "lone", Dir: dir, Listen: "127.0.0.1:0", Insecure: true, Store: store, Tick: 5 * time.Millisecond, ElectionTicks: 10,
		Resolve: func(context.Context, consensus.NodeID) (string, error) { return "", errors.ErrUnsupported },
	}
}

func damagedMain(text string) error {
	var d damagedDir
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	h, err := Open(loneOptions(d.Dir, d.Store))
	if err != nil {
		return err
	}
	g, err := h.Start(context.Background(), consensus.GroupConfig{
		Name: "lone", Replica: 1, Members: map[consensus.ReplicaID]consensus.NodeID{1: "lone"},
		Machines: consensustest.Memory(0), SnapshotEntries: 100, KeepEntries: 10,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), damagedPatience)
	defer cancel()
	var answer any
	for answer, err = consensus.Query(ctx, g, byte('d')); errors.Is(err, consensus.ErrNoLeader); answer, err = consensus.Query(ctx, g, byte('d')) {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return err
	}
	for range d.Write {
		if _, err := consensus.Propose(ctx, g, consensustest.Command('+', 'd', 1)); err != nil {
			return err
		}
	}
	fmt.Println(answer)
	return h.Close()
}

// openDamaged opens a directory in a process of its own, and returns what it
// read, or why not.
func openDamaged(t *testing.T, d damagedDir) (uint64, error) {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*damagedPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), damageEnv+"="+string(text))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%w: %.1000s", err, complaints.String())
	}
	return strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
}

// TestDamageIsNeverSilent: a flipped bit or a cut in any file of a store has it
// refused, or changes nothing that was acknowledged.
func TestDamageIsNeverSilent(t *testing.T) {
	t.Parallel()
	tries := 10
	if os.Getenv("CELL_SOAK") != "" {
		tries = 300
	}
	for _, store := range []Store{Pebble, Tan} {
		t.Run(string(store), func(t *testing.T) {
			good := filepath.Join(t.TempDir(), "good")
			const acknowledged = 250 // some of them in a snapshot, some in the log
			if _, err := openDamaged(t, damagedDir{good, store, acknowledged}); err != nil {
				t.Fatal(err)
			}
			var files []string
			err := filepath.WalkDir(good, func(name string, e fs.DirEntry, err error) error {
				if i, ierr := e.Info(); err == nil && ierr == nil && i.Mode().IsRegular() && i.Size() > 0 && e.Name() != lockFile {
					files = append(files, strings.TrimPrefix(name, good))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(files)
			outcomes := map[string]int{}
			r := rand.New(rand.NewPCG(8, uint64(len(store))))
			for try := range tries {
				bad := filepath.Join(t.TempDir(), "bad")
				if err := os.CopyFS(bad, os.DirFS(good)); err != nil {
					t.Fatal(err)
				}
				name := files[(try+r.IntN(len(files)))%len(files)]
				what := damage(t, bad+name, r)
				got, err := openDamaged(t, damagedDir{bad, store, 0})
				switch {
				case err != nil:
					outcomes["refused"]++
				case got == acknowledged:
					outcomes["harmless"]++
				default:
					t.Errorf("%s of %s: opened, and has %d of %d", what, name, got, acknowledged)
				}
			}
			t.Logf("%d files, %v", len(files), outcomes)
		})
	}
}

// damage flips a bit of a file, or cuts it off, and says which.
func damage(t *testing.T, name string, r *rand.Rand) string {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// Preallocated room behind the log is no data.
	n := len(b)
	for n > 1 && b[n-1] == 0 {
		n--
	}
	var what string
	if at := r.IntN(n); r.IntN(3) == 0 {
		what, b = fmt.Sprintf("a cut at %d of %d", at, n), b[:at]
	} else {
		what = fmt.Sprintf("a flipped bit at %d of %d", at, n)
		b[at] ^= 1 << r.IntN(8)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return what
}

func TestCheckDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if _, err := CheckDirectory(dir); !errors.Is(err, consensus.ErrDirectory) {
		t.Errorf("one that is not there: %v", err)
	}
	h, err := Open(loneOptions(dir, Pebble))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckDirectory(dir); !errors.Is(err, consensus.ErrDirectory) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("one in use: %v", err)
	}
	g, err := h.Start(t.Context(), consensus.GroupConfig{Name: "lone", Replica: 1, Members: map[consensus.ReplicaID]consensus.NodeID{1: "lone"}, Machines: consensustest.Memory(0)})
	if err != nil {
		t.Fatal(err)
	}
	consensustest.Ready(t, g)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	found, err := CheckDirectory(dir)
	if text := strings.Join(found, "\n"); err != nil || !strings.Contains(text, "node lone") || !strings.Contains(text, `group "lone": replica 1`) {
		t.Errorf("%v, %s", err, text)
	}

	// A log that ends before its mark has lost something.
	marks, err := readMarks(dir)
	if err != nil {
		t.Fatal(err)
	}
	marks["lone"] = mark{1, marks["lone"].Index + 1000}
	if err := writeMarks(dir, marks); err != nil {
		t.Fatal(err)
	}
	if h, err = Open(loneOptions(dir, Pebble)); err != nil {
		t.Fatal(err)
	}
	_, err = h.Start(t.Context(), consensus.GroupConfig{Name: "lone", Replica: 1, Members: map[consensus.ReplicaID]consensus.NodeID{1: "lone"}, Machines: consensustest.Memory(0)})
	if !errors.Is(err, consensus.ErrDamaged) || !strings.Contains(err.Error(), "its log ends at") {
		t.Errorf("behind its mark: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, marksFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckDirectory(dir); !errors.Is(err, consensus.ErrDamaged) {
		t.Errorf("damaged marks: %v", err)
	}
	if _, err := Open(loneOptions(dir, Pebble)); !errors.Is(err, consensus.ErrDamaged) {
		t.Errorf("opening with damaged marks: %v", err)
	}
}
