package node

import (
	"slices"
	"testing"

	"github.com/cell-runtime/cell/node/netops"
)

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
