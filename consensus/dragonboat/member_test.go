//go:build !nodragonboat && !s390x

package dragonboat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// load proposes through sessions until stop is called, which returns how many
// additions were acknowledged.
func load(t *testing.T, n *nodes, name string, callers int) (stop func() uint64) {
	ctx, cancel := context.WithCancel(t.Context())
	var acknowledged atomic.Uint64
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for ctx.Err() == nil {
				g := n.any(name, i)
				if g == nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				s, err := consensus.NewSession(ctx, g)
				if err != nil {
					continue
				}
				for {
					// Not canceled under way: then nobody knew whether it counts.
					each, done := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
					_, err := s.Propose(each, consensustest.Command('+', 'm', 1))
					done()
					if err != nil { // the host was closed: through another one
						break
					}
					acknowledged.Add(1)
					if ctx.Err() != nil {
						return
					}
				}
			}
		})
	}
	return func() uint64 {
		cancel()
		all.Wait()
		return acknowledged.Load()
	}
}

// any returns one of the group's replicas that run.
func (n *nodes) any(name string, from int) consensus.Group {
	n.mu.Lock()
	hosts := append([]*Host(nil), n.hosts...)
	n.mu.Unlock()
	for i := range hosts {
		if h := hosts[(i+from)%len(hosts)]; h != nil {
			if g, err := h.Group(name); err == nil {
				return g
			}
		}
	}
	return nil
}

func count(t *testing.T, g consensus.Group, key byte) uint64 {
	t.Helper()
	consensustest.Ready(t, g)
	var v any
	eventually(t, "reading", func(ctx context.Context) (err error) {
		v, err = consensus.Query(ctx, g, key)
		return err
	})
	return v.(uint64)
}

// eventually retries what a leader's change may interrupt.
func eventually(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAllMembersAreReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 3)
	n.start("moving", func(c *consensus.GroupConfig) { c.SnapshotEntries, c.KeepEntries = 200, 20 })
	stop := load(t, n, "moving", 4)
	for old := range 3 {
		added := n.add() // a new node, whose number is a new one
		n.open(added)
		member := consensus.Member{Replica: consensus.ReplicaID(added + 1), Node: n.keys[added].id, Role: consensus.NonVoter}
		via := n.any("moving", 1+old)
		eventually(t, "adding a non-voter", func(ctx context.Context) error { return ignoreConflict(via.Add(ctx, member, 0)) })
		g := n.startOn(added, "moving", nil, func(c *consensus.GroupConfig) { c.Join, c.Role = true, consensus.NonVoter })
		consensustest.Ready(t, g) // it has caught up
		member.Role = consensus.Voter
		eventually(t, "promoting it", func(ctx context.Context) error { return ignoreConflict(via.Add(ctx, member, 0)) })
		eventually(t, "removing the old one", func(ctx context.Context) error {
			return ignoreConflict(g.RemoveMember(ctx, consensus.ReplicaID(old+1), 0))
		})
		n.mu.Lock()
		h := n.hosts[old]
		n.hosts[old] = nil
		n.mu.Unlock()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	acknowledged := stop()
	g := n.any("moving", 0)
	got := count(t, g, 'm')
	t.Logf("%d acknowledged while all members were replaced", acknowledged)
	if got < acknowledged {
		t.Errorf("%d additions were acknowledged, %d are there", acknowledged, got)
	}
	if acknowledged == 0 {
		t.Error("nothing was written meanwhile")
	}
	eventually(t, "asking for the members", func(ctx context.Context) error {
		all, _, err := g.Members(ctx)
		if err == nil && (len(all) != 3 || all[0].Replica != 4) {
			t.Errorf("members %+v", all)
		}
		return err
	})
}

// ignoreConflict: a change that was made by an attempt without answer.
func ignoreConflict(err error) error {
	if errors.Is(err, consensus.ErrConflict) {
		return nil
	}
	return err
}

func TestWitnessAndTransfer(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 2)
	groups := n.start("pair", nil)
	w := n.add()
	n.open(w)
	eventually(t, "adding a witness", func(ctx context.Context) error {
		return ignoreConflict(groups[0].Add(ctx, consensus.Member{Replica: 3, Node: n.keys[w].id, Role: consensus.Witness}, 0))
	})
	witness := n.startOn(w, "pair", nil, func(c *consensus.GroupConfig) { c.Join, c.Role = true, consensus.Witness })
	for _, to := range []consensus.ReplicaID{1, 2, 1} {
		eventually(t, "transfer", func(ctx context.Context) error {
			if err := groups[0].Transfer(ctx, to); err != nil {
				return err
			}
			if got := groups[0].Status().Leader; got != to { // another one was elected just then
				return fmt.Errorf("leader %d after a transfer to %d", got, to)
			}
			return nil
		})
	}
	eventually(t, "refusing a transfer to a witness", func(ctx context.Context) error {
		if err := groups[0].Transfer(ctx, 3); !errors.Is(err, consensus.ErrNotMember) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if _, err := consensus.Query(t.Context(), witness, byte('a')); !errors.Is(err, consensus.ErrUnsupported) {
		t.Errorf("reading from a witness: %v", err)
	}
	n.close(1) // one voter and the witness are a majority
	eventually(t, "writing without the other voter", func(ctx context.Context) error {
		_, err := consensus.Propose(ctx, groups[0], consensustest.Command('+', 'w', 1))
		return err
	})
	var backup bytes.Buffer
	if _, err := witness.Backup(t.Context(), &backup); !errors.Is(err, consensus.ErrUnsupported) {
		t.Errorf("backup of a witness: %v", err)
	}
}

func TestAMemberThatWasAwayGetsASnapshot(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 3)
	tune := func(c *consensus.GroupConfig) { c.SnapshotEntries, c.KeepEntries = 100, 10 }
	groups := n.start("away", tune)
	n.close(2)
	writing, lasts := context.WithTimeout(t.Context(), 2*time.Minute)
	defer lasts()
	var all sync.WaitGroup
	for range 10 { // far beyond what the log keeps
		all.Go(func() {
			for left := 50; left > 0 && writing.Err() == nil; {
				// What was lost with a leader is never answered.
				once, over := context.WithTimeout(writing, 5*time.Second)
				if _, err := consensus.Propose(once, groups[0], consensustest.Command('+', 'a', 1)); err == nil {
					left--
				}
				over()
			}
		})
	}
	all.Wait()
	if writing.Err() != nil {
		t.Fatal("it can't be written")
	}
	eventually(t, "snapshot", func(ctx context.Context) error { _, err := groups[0].Snapshot(ctx); return err })
	want := count(t, groups[0], 'a')
	n.open(2)
	back := n.startOn(2, "away", nil, tune)
	if got := count(t, back, 'a'); got < want {
		t.Errorf("%d after it came back, want %d", got, want)
	}
}

// Entries that have no effect on a machine with storage of its own are counted
// by the log, so they count for the machine, too.
func TestADiskMachineStartsAgainBehindEntriesWithoutEffect(t *testing.T) {
	t.Parallel()
	n, dir := newNodes(t, 1), t.TempDir()
	tune := func(c *consensus.GroupConfig) {
		c.Machines = consensus.Machines{Disk: func() consensus.DiskMachine { return consensustest.NewDisk(dir) }}
	}
	g := n.start("disk", tune)[0]
	for i, last := range [][]byte{consensus.EncodeDigest(time.Now()), {77}, append([]byte{3}, make([]byte, 32)...)} {
		eventually(t, "writing", func(ctx context.Context) error {
			_, err := consensus.Propose(ctx, g, consensustest.Command('+', 'a', 1))
			return err
		})
		eventually(t, "an entry without effect", func(ctx context.Context) error { _, err := g.ProposeEntry(ctx, last); return err })
		eventually(t, "snapshot", func(ctx context.Context) error { _, err := g.Snapshot(ctx); return err })
		n.close(0)
		n.open(0)
		g = n.startOn(0, "disk", nil, tune)
		if got := count(t, g, 'a'); got < uint64(i+1) {
			t.Errorf("round %d: %d after the restart", i, got)
		}
	}
}

func TestRestoreIntoANewCluster(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 3)
	groups := n.start("precious", nil)
	for i := range 50 {
		eventually(t, "writing", func(ctx context.Context) error {
			_, err := consensus.Propose(ctx, groups[0], consensustest.Command('=', byte(i), uint64(i)*7))
			return err
		})
	}
	var backup bytes.Buffer
	var info consensus.BackupInfo
	eventually(t, "backup", func(ctx context.Context) (err error) {
		backup.Reset()
		info, err = groups[1].Backup(ctx, &backup)
		return err
	})
	if checked, err := CheckBackup(bytes.NewReader(backup.Bytes())); err != nil || checked.Group != "precious" || checked.Index != info.Index {
		t.Fatalf("%+v, %v", checked, err)
	}
	for i := range n.hosts {
		n.close(i) // the old cluster is gone for good
	}
	members := make(map[consensus.ReplicaID]consensus.NodeID)
	var fresh []int
	for i := range 3 {
		k := n.add()
		fresh, members[consensus.ReplicaID(11+i)] = append(fresh, k), n.keys[k].id
	}
	for i, k := range fresh {
		if _, err := Restore(n.options(k), bytes.NewReader(backup.Bytes()), members, consensus.ReplicaID(11+i)); err != nil {
			t.Fatal(err)
		}
	}
	var restored []consensus.Group
	for i, k := range fresh {
		n.open(k)
		restored = append(restored, n.startOn(k, "precious", nil, func(c *consensus.GroupConfig) { c.Replica = consensus.ReplicaID(11 + i) }))
	}
	for i := range 50 {
		if got := count(t, restored[i%3], byte(i)); got != uint64(i)*7 {
			t.Errorf("key %d: %d", i, got)
		}
	}
	eventually(t, "writing after the restore", func(ctx context.Context) error {
		_, err := consensus.Propose(ctx, restored[2], consensustest.Command('+', 'n', 1))
		return err
	})
}

func TestDamagedBackupsAreRefused(t *testing.T) {
	n := newNodes(t, 1)
	groups := n.start("one", nil)
	var backup bytes.Buffer
	eventually(t, "backup", func(ctx context.Context) error {
		backup.Reset()
		_, err := groups[0].Backup(ctx, &backup)
		return err
	})
	whole := backup.Bytes()
	for name, b := range map[string][]byte{
		"empty": nil, "cut off": whole[:len(whole)-1], "half": whole[:len(whole)/2], "without checksum": whole[:len(whole)-32],
		"another file": []byte(strings.Repeat("x", 4096)), "more at the end": append(bytes.Clone(whole), 0),
	} {
		if _, err := CheckBackup(bytes.NewReader(b)); !errors.Is(err, consensus.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for at := 0; at < len(whole); at += max(1, len(whole)/200) {
		b := bytes.Clone(whole)
		b[at] ^= 1 << (at % 8)
		if _, err := CheckBackup(bytes.NewReader(b)); !errors.Is(err, consensus.ErrDamaged) {
			t.Errorf("bit %d of byte %d flipped: %v", at%8, at, err)
		}
	}
	k := n.add()
	members := map[consensus.ReplicaID]consensus.NodeID{1: n.keys[k].id}
	if _, err := Restore(n.options(k), bytes.NewReader(whole), members, 1); !errors.Is(err, consensus.ErrConfig) {
		t.Errorf("an old number for a new node: %v", err)
	}
}

func TestDirectories(t *testing.T) {
	n := newNodes(t, 1)
	n.start("kept", nil)
	o := n.options(0)
	if _, err := Open(o); !errors.Is(err, consensus.ErrDirectory) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a directory in use: %v", err)
	}
	n.close(0)
	identity := filepath.Join(o.Dir, identityFile)
	good, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(o *Options)
		file   func() []byte // instead of the identity
		want   error
		says   string
	}{
		"of another node":       {change: func(o *Options) { o.Node = "another" }, want: consensus.ErrDirectory, says: "belongs to node"},
		"of another store":      {change: func(o *Options) { o.Store = Tan }, want: consensus.ErrDirectory, says: "Store"},
		"for other workers":     {change: func(o *Options) { o.Workers = 3 }, want: consensus.ErrDirectory, says: "workers"},
		"of a newer version":    {file: func() []byte { return sealed(`{"format": 2, "node": "x"}`) }, want: consensus.ErrDirectory, says: "newer version"},
		"with a flipped bit":    {file: func() []byte { b := bytes.Clone(good); b[20] ^= 4; return b }, want: consensus.ErrDamaged, says: "checksum"},
		"with a truncated file": {file: func() []byte { return good[:len(good)/2] }, want: consensus.ErrDamaged, says: "new replica"},
		"with an empty file":    {file: func() []byte { return []byte{} }, want: consensus.ErrDamaged, says: "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			o := n.options(0)
			if c.change != nil {
				c.change(&o)
			}
			if c.file != nil {
				if err := os.WriteFile(identity, c.file(), 0o600); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.WriteFile(identity, good, 0o600) }()
			}
			if _, err := Open(o); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
	t.Run("of another program", func(t *testing.T) {
		o := n.options(0)
		o.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(o.Dir, "precious.txt"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(o); !errors.Is(err, consensus.ErrDirectory) || !strings.Contains(err.Error(), "precious.txt") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with an address that can't be one", func(t *testing.T) {
		o := n.options(0)
		o.Dir, o.Listen = filepath.Join(t.TempDir(), "new"), "127.0.0.1:99999"
		if _, err := Open(o); !errors.Is(err, consensus.ErrConfig) || errors.Is(err, consensus.ErrDamaged) || !strings.Contains(err.Error(), "99999") {
			t.Errorf("got %v, which must not have anybody remove the replica", err)
		}
	})
	t.Run("as it was", func(t *testing.T) { n.open(0) })
	t.Run("with what a killed backup has left", func(t *testing.T) {
		n.close(0)
		left := filepath.Join(o.Dir, exportPrefix+"1", "snapshot")
		if err := os.MkdirAll(left, 0o700); err != nil {
			t.Fatal(err)
		}
		n.open(0)
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	})
}

// sealed is an identity file with a right checksum.
func sealed(text string) []byte {
	dir, err := os.MkdirTemp("", "sealed")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	var id dirIdentity
	id.Format, id.Node = 2, text
	if err := writeIdentity(dir, id); err != nil {
		panic(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		panic(err)
	}
	return b
}
