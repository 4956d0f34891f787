package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"time"
)

// Network is how a node meets others. Nothing of it has any effect before the
// node belongs to a cluster, or trusts somebody.
type Network struct {
	// Mode is auto (with others, as soon as the node's identity has a cluster or
	// an allow list), on (as auto, and an error without), or off.
	Mode string `toml:"mode"`
	// Listen is the UDP address of QUIC; "" for port 12356, or any if that is
	// taken.
	Listen string `toml:"listen"`
	// Port is the UDP port of discovery; 0 for the default, 12355.
	Port int `toml:"port"`
	// Interfaces on which others are looked for; empty: all but loopback.
	Interfaces []string `toml:"interfaces"`
	Multicast  bool     `toml:"multicast"`
	Broadcast  bool     `toml:"broadcast"`
	// Seeds are host:port of nodes' discovery that no multicast reaches.
	Seeds []string `toml:"seeds"`
	// Peers are host:port of nodes' QUIC with which tables are exchanged.
	Peers []string `toml:"peers"`
	// Addresses are ip:port at which this node's QUIC is reached besides where
	// its beacons come from.
	Addresses []string `toml:"addresses"`
	// Filter is auto, off, tcx, generic or driver: where the kernel drops what
	// is no beacon of the cluster.
	Filter string `toml:"filter"`
	// Identity is the folder of the node's identity; "" for the user's.
	Identity string `toml:"identity"`
	// Enrol has the node admit others that come with a token, and renew the
	// memberships of those that came before. The cluster's key must lie here.
	Enrol bool `toml:"enrol"`
	// MembersFor is for how long they are admitted.
	MembersFor Duration `toml:"members_for"`
	// EnrolAt are host:port of nodes that enrol, for renewing this node's
	// membership, besides those whose beacons say that they do.
	EnrolAt []string `toml:"enrol_at"`
	// Relay has the node pass packets on between nodes that it lets in.
	Relay bool `toml:"relay"`
	// WaitAt are host:port of the QUIC of relays at which this node waits to be
	// reached by nodes that have no other way to it.
	WaitAt []string `toml:"wait_at"`
	// Punch has the two nodes on both sides of a relay look for a direct way
	// through their address translators, if both want it.
	Punch bool `toml:"punch"`
	// Share is which names others may call: cells (the node's, but for those
	// with remote = false), or none.
	Share string `toml:"share"`
}

// defaultNetwork is the network of who has said nothing.
func defaultNetwork() Network {
	return Network{Mode: "auto", Multicast: true, Filter: "auto", Share: "cells", MembersFor: Duration(90 * 24 * time.Hour)}
}

// mostSeeds bounds lists of addresses, and mostRelays those of relays, which a
// node's beacons tell.
const mostSeeds, mostRelays = 64, 4

// check holds the network to its bounds.
func (n Network) check(bad func(key, format string, args ...any)) {
	oneOf(bad, "network.mode", n.Mode, "auto", "on", "off")
	oneOf(bad, "network.filter", n.Filter, "auto", "off", "tcx", "generic", "driver")
	oneOf(bad, "network.share", n.Share, "cells", "none")
	if n.Port < 0 || n.Port > 65535 {
		bad("network.port", "%d is not 1 to 65535, or 0 for the default", n.Port)
	}
	if n.Identity != "" && !filepath.IsAbs(n.Identity) {
		bad("network.identity", "%q is not an absolute path", n.Identity)
	}
	if n.MembersFor < Duration(time.Minute) {
		bad("network.members_for", "%v is too short for members to renew it; at least 1m", time.Duration(n.MembersFor))
	}
	if _, _, err := net.SplitHostPort(n.Listen); n.Listen != "" && err != nil {
		bad("network.listen", "%q is no address such as :12356 or 192.0.2.1:12356", n.Listen)
	}
	for key, list := range map[string][]string{"network.seeds": n.Seeds, "network.peers": n.Peers, "network.enrol_at": n.EnrolAt, "network.wait_at": n.WaitAt} {
		most := mostSeeds
		if key == "network.wait_at" {
			most = mostRelays
		}
		if len(list) > most {
			bad(key, "%d of them; at most %d", len(list), most)
		}
		for _, s := range list {
			if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
				bad(key, "%q is not host:port", s)
			}
		}
	}
	const mostAddresses = 8
	if len(n.Addresses) > mostAddresses {
		bad("network.addresses", "%d of them; at most %d", len(n.Addresses), mostAddresses)
	}
	for _, s := range n.Addresses {
		if a, err := netip.ParseAddrPort(s); err != nil || a.Port() == 0 || a.Addr().IsUnspecified() || a.Addr().Zone() != "" {
			bad("network.addresses", "%q is no ip:port, such as 192.0.2.1:12356 or [2001:db8::1]:12356", s)
		}
	}
}
