package config

import (
	"net"
	"path/filepath"
	"strings"
)

// Raft is this node's part in the state that a cluster agrees on.
type Raft struct {
	// Listen is the TCP address for the other members; "" leaves it off.
	Listen string `toml:"listen"`
	// Advertise is where others reach it; "" for Listen, which must then name an
	// address of this host.
	Advertise string `toml:"advertise"`
	// Peers are addresses of other members, between commas; one that lives is
	// enough.
	Peers string `toml:"peers"`
	// Nodes is how many nodes found the cluster, the same on all of them.
	Nodes int `toml:"nodes"`
	// Dir is where its data lies; "" for the folder "raft" beside the identity's.
	Dir string `toml:"dir"`
	// Identity is the folder of the node's identity; "" for the user's.
	Identity string `toml:"identity"`
}

const maxRaftNodes = 64

// DefaultRaft is off.
func DefaultRaft() Raft { return Raft{Nodes: 3} }

// PeerList are the peers, one by one.
func (r Raft) PeerList() (all []string) {
	for p := range strings.SplitSeq(r.Peers, ",") {
		if p = strings.TrimSpace(p); p != "" {
			all = append(all, p)
		}
	}
	return all
}

// Reached is the address at which others reach it.
func (r Raft) Reached() string {
	if r.Advertise != "" {
		return r.Advertise
	}
	return r.Listen
}

func (r Raft) check(bad func(key, format string, args ...any)) {
	if r.Nodes < 1 || r.Nodes > maxRaftNodes {
		bad("raft.nodes", "%d is not 1 to %d", r.Nodes, maxRaftNodes)
	}
	for key, dir := range map[string]string{"raft.dir": r.Dir, "raft.identity": r.Identity} {
		if dir != "" && !filepath.IsAbs(dir) {
			bad(key, "%q is not an absolute path", dir)
		}
	}
	if r.Listen == "" {
		return
	}
	address := func(key, a string) {
		if _, _, err := net.SplitHostPort(a); err != nil {
			bad(key, "%q is no address such as 192.0.2.7:4747", a)
		}
	}
	address("raft.listen", r.Listen)
	if r.Advertise != "" {
		address("raft.advertise", r.Advertise)
	}
	for _, a := range r.PeerList() {
		address("raft.peers", a)
	}
	if host, _, err := net.SplitHostPort(r.Reached()); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		bad("raft.advertise", "%q is where it listens, and nowhere that others can reach: name an address of this host", r.Reached())
	}
}
