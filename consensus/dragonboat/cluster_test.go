//go:build !nodragonboat && !s390x

package dragonboat

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// testKeys is a [Security] whose ids are Ed25519 keys, each trusting some.
type testKeys struct {
	cert    tls.Certificate
	id      consensus.NodeID
	trusted func(consensus.NodeID) bool
}

func newKeys(t testing.TB, trusted func(consensus.NodeID) bool) *testKeys {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return &testKeys{
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private},
		id:   consensus.NodeID(hex.EncodeToString(public)), trusted: trusted,
	}
}

func (k *testKeys) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{k.cert},
		ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true, // Peer verifies
	}
}

func (k *testKeys) Server() *tls.Config                          { return k.config() }
func (k *testKeys) Client(consensus.NodeID) (*tls.Config, error) { return k.config(), nil }

func (k *testKeys) Peer(cs tls.ConnectionState) (consensus.NodeID, error) {
	public, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", errors.New("no Ed25519 key")
	}
	id := consensus.NodeID(hex.EncodeToString(public))
	if !k.trusted(id) {
		return "", fmt.Errorf("node %s is not trusted", id)
	}
	return id, nil
}

// nodes is a cluster of this process, over TCP on loopback.
type nodes struct {
	t     testing.TB
	dir   string
	keys  []*testKeys
	hosts []*Host

	mu    sync.Mutex
	addrs map[consensus.NodeID]string
}

func (n *nodes) resolve(_ context.Context, id consensus.NodeID) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := n.addrs[id]
	if !ok {
		return "", fmt.Errorf("nobody knows node %s", id)
	}
	return addr, nil
}

func (n *nodes) trusted(id consensus.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addrs[id] != ""
}

// add makes a node's identity; open starts it.
func (n *nodes) add() int {
	k := newKeys(n.t, n.trusted)
	n.mu.Lock()
	n.addrs[k.id] = consensustest.FreeAddr(n.t)
	n.mu.Unlock()
	n.keys, n.hosts = append(n.keys, k), append(n.hosts, nil)
	return len(n.keys) - 1
}

func (n *nodes) options(i int) Options {
	addr, _ := n.resolve(n.t.Context(), n.keys[i].id)
	o := Options{
		Node: n.keys[i].id, Dir: filepath.Join(n.dir, strconv.Itoa(i)), Listen: addr,
		Resolve: n.resolve, Security: n.keys[i], Tick: 10 * time.Millisecond, ElectionTicks: 40,
	}
	if os.Getenv("CELL_RAFT_LOG") != "" {
		o.Logger = slog.Default().With("node", i)
	}
	return o
}

func (n *nodes) open(i int) *Host {
	n.t.Helper()
	h, err := Open(n.options(i))
	if err != nil {
		n.t.Fatal(err)
	}
	n.hosts[i] = h
	return h
}

func (n *nodes) close(i int) {
	n.t.Helper()
	if n.hosts[i] == nil {
		return
	}
	if err := n.hosts[i].Close(); err != nil {
		n.t.Error(err)
	}
	n.hosts[i] = nil
}

func newNodes(t testing.TB, count int) *nodes {
	n := &nodes{t: t, dir: t.TempDir(), addrs: make(map[consensus.NodeID]string)}
	t.Cleanup(func() {
		for i := range n.hosts {
			n.close(i)
		}
	})
	for range count {
		n.open(n.add())
	}
	return n
}

// first are the first members of a group on all nodes.
func (n *nodes) first() map[consensus.ReplicaID]consensus.NodeID {
	m := make(map[consensus.ReplicaID]consensus.NodeID)
	for i, k := range n.keys {
		m[consensus.ReplicaID(i+1)] = k.id
	}
	return m
}

// start starts a group of Registers on all nodes.
func (n *nodes) start(name string, tune func(*consensus.GroupConfig)) []consensus.Group {
	n.t.Helper()
	members := n.first()
	var groups []consensus.Group
	for i := range n.hosts {
		groups = append(groups, n.startOn(i, name, members, tune))
	}
	consensustest.Ready(n.t, groups[0])
	return groups
}

func (n *nodes) startOn(i int, name string, members map[consensus.ReplicaID]consensus.NodeID, tune func(*consensus.GroupConfig)) consensus.Group {
	n.t.Helper()
	c := consensus.GroupConfig{Name: name, Replica: consensus.ReplicaID(i + 1), Members: members, Machines: consensustest.Memory(0)}
	if tune != nil {
		tune(&c)
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Minute)
	defer cancel()
	g, err := n.hosts[i].Start(ctx, c)
	if err != nil {
		n.t.Fatal(err)
	}
	return g
}

func TestConformance(t *testing.T) {
	t.Parallel()
	consensustest.Run(t, func(t *testing.T) *consensustest.Cluster {
		n := newNodes(t, 3)
		c := &consensustest.Cluster{Restart: func(i int) consensus.Host {
			n.close(i)
			return n.open(i)
		}}
		for _, h := range n.hosts {
			c.Hosts = append(c.Hosts, h)
		}
		return c
	})
}
