package node

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/cluster"
	"github.com/cell-runtime/cell/consensus/cluster/admin"
	"github.com/cell-runtime/cell/consensus/kv"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/node/raftnode"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
)

// member is a cluster's member, as far as nodes tell it of versions: its table is a
// map. What it has no method for nobody asks.
type member struct {
	admin.Raft
	kv.KV

	mu     sync.Mutex
	formed bool
	table  map[string]string
	asked  int
}

// Status implements admin.Raft.
func (m *member) Status(context.Context) (admin.Cluster, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return admin.Cluster{Node: "cell1self", Formed: m.formed, Waits: "for others"}, nil
}

// Get implements kv.KV.
func (m *member) Get(_ context.Context, req kv.GetRequest) (kv.GetReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, found := m.table[string(req.Key)]
	return kv.GetReply{Found: found, Value: []byte(value)}, nil
}

// Put implements kv.KV.
func (m *member) Put(_ context.Context, req kv.PutRequest) (kv.PutReply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table[string(req.Key)] = string(req.Value)
	return kv.PutReply{}, nil
}

// serve serves it in a runtime directory until the test ends.
func (m *member) serve(t *testing.T, dir string) {
	t.Helper()
	for name, register := range map[string]func(*rpc.Server) error{
		raftnode.AdminName:                         func(s *rpc.Server) error { return admin.RegisterRaft(s, m) },
		raftnode.StorePrefix + cluster.SystemGroup: func(s *rpc.Server) error { return kv.RegisterKV(s, m) },
	} {
		s, err := rpc.NewServer(&rpc.ServerOptions{Name: name})
		if err == nil {
			err = register(s)
		}
		if err != nil {
			t.Fatal(err)
		}
		l, err := uds.Listen(name, &uds.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = s.Run(context.Background(), l.AcceptLink) }()
		t.Cleanup(func() { _ = l.Close(); _ = s.Close(); <-ended })
	}
}

func TestTheTableIsToldOfVersions(t *testing.T) {
	dir, err := os.MkdirTemp("", "node") // short: sockets lie there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	one := []raftnode.Version{{Cell: "ledger", Version: "v1", State: "ready", Current: true}}
	two := append(slices.Clone(one), raftnode.Version{Cell: "ledger", Version: "v2", State: "asleep"})
	now := time.Unix(1_700_000_000, 0)
	m, last := &member{table: map[string]string{}}, versionsTold{}
	if err := last.renew(ctx, dir, one, now); !errors.Is(err, uds.ErrNoListener) {
		t.Errorf("where no member runs: %v", err)
	}
	m.serve(t, dir)
	if err := last.renew(ctx, dir, one, now); !errors.Is(err, consensus.ErrNoGroup) || !strings.Contains(err.Error(), "for others") {
		t.Errorf("where there is no cluster yet: %v", err)
	}
	m.mu.Lock()
	m.formed = true
	m.mu.Unlock()
	key := cluster.VersionsPrefix + "cell1self"
	for _, c := range []struct {
		name  string
		after time.Duration // the step before
		all   []raftnode.Version
		lose  bool // the table, before
		asks  int  // the member
		has   string
	}{
		{"the first time", 0, one, false, 1, "v1"},
		{"nothing has changed", versionsPace, one, false, 0, "v1"},
		{"another table, not yet", versionsPace, one, true, 0, ""},
		{"it is looked at again", versionsAgain, one, false, 1, "v1"},
		{"another version", versionsPace, two, false, 1, "v2"},
		{"and nothing since", versionsPace, two, false, 0, "v2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now = now.Add(c.after)
			m.mu.Lock()
			if m.asked = 0; c.lose {
				clear(m.table)
			}
			m.mu.Unlock()
			if err := last.renew(ctx, dir, c.all, now); err != nil {
				t.Fatal(err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.asked != c.asks || !strings.Contains(m.table[key], c.has) || c.has == "" && len(m.table) > 0 {
				t.Errorf("asked %d times, want %d; the table: %v", m.asked, c.asks, m.table)
			}
		})
	}
}

func TestRaftAddrs(t *testing.T) {
	for name, c := range map[string]struct {
		peers []netops.Peer
		want  []string
	}{
		"nobody": {},
		"of its links and its address, once": {
			[]netops.Peer{{Links: []string{"quic 192.0.2.1:9000", "quic [2001:db8::1]:9000"}, Addr: "192.0.2.1:5555"}},
			[]string{"192.0.2.1:4747", "[2001:db8::1]:4747"},
		},
		"where it says, and nowhere else": {
			[]netops.Peer{
				{Links: []string{"quic 192.0.2.1:9000", "raft 192.0.2.1:47102"}, Addr: "192.0.2.1:5555"},
				{Links: []string{"raft [::ffff:192.0.2.1]:47103", "quic 192.0.2.1:9001"}},
			},
			[]string{"192.0.2.1:47102", "192.0.2.1:47103"},
		},
		"IPv4 within IPv6":     {[]netops.Peer{{Addr: "[::ffff:192.0.2.7]:1"}}, []string{"192.0.2.7:4747"}},
		"without an address":   {[]netops.Peer{{}, {Links: []string{"quic"}, Addr: "nonsense"}}, nil},
		"of several, in order": {[]netops.Peer{{Addr: "192.0.2.9:1"}, {Addr: "192.0.2.3:1"}}, []string{"192.0.2.3:4747", "192.0.2.9:4747"}},
	} {
		if got := raftAddrs(c.peers, "4747"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
