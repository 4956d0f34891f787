package ebpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// A beacon is one UDP datagram, of which this package knows the front and the
// end (numbers little-endian); docs/DISCOVERY.md has the rest:
//
//	 0  magic        4 bytes  "CELP"
//	 4  version      u8
//	 5  kind         u8
//	 6  length       u16      of the whole beacon
//	 8  cluster      8 bytes
//	16  node         32 bytes the sender's public key (Ed25519)
//	48  incarnation  u64      greater each time the node starts
//	56  counter      u64      greater with each beacon
//	64  flags        u8
//	65  hops         u8       over how many links others may pass it on
//	66  and more that is of no concern here
//	-64 signature    64 bytes
const (
	beaconMagic       = "CELP"
	beaconVersion     = 1
	beaconMarked      = 64 // the end of what makes it that one
	beaconNode        = 16
	beaconIncarnation = 48
	beaconCounter     = 56
	beaconHops        = 65
	beaconSignature   = 64

	// ShortestBeacon and LongestBeacon are the least and the most bytes that
	// any rules can admit.
	ShortestBeacon = 168
	LongestBeacon  = 2039 // with the UDP header, 11 bits
)

// Rules say which beacons pass. Zero fields get the default, but for Port, which
// must be given.
type Rules struct {
	// Port is the UDP port of discovery. Nothing else may use it: what is no
	// beacon is dropped there.
	Port uint16
	// Cluster is the only cluster whose beacons pass; zeros: any.
	Cluster [8]byte
	// Version is that of the beacon's format; default 1.
	Version uint8
	// MinHops is the least time to live (IPv4) or hop limit (IPv6) that a
	// packet must have left. 255 keeps out everything that has come through a
	// router (RFC 5082), if genuine beacons are sent with 255. Default 0.
	MinHops uint8
	// MaxHops is the most that a beacon's own field of hops may say; default
	// 255, which is anything.
	MaxHops uint8
	// Longest is the most bytes of a beacon; default 1,200.
	Longest int
	// Each source address may send a beacon per Every in the long run, Burst
	// of them at once; default 50 ms and 64. A negative Every: no limit.
	Every time.Duration
	Burst int
	// The same for the first beacons of sources that were not seen lately, all
	// together: forged addresses are new ones. Default 10 ms and 256; a
	// negative NewEvery: no limit.
	NewEvery time.Duration
	NewBurst int
}

// settle returns r with its defaults filled in.
func (r Rules) settle() (Rules, error) {
	fill := func(d *time.Duration, n *int, every time.Duration, burst int) {
		if *d == 0 {
			*d = every
		}
		if *n == 0 {
			*n = burst
		}
	}
	fill(&r.Every, &r.Burst, 50*time.Millisecond, 64)
	fill(&r.NewEvery, &r.NewBurst, 10*time.Millisecond, 256)
	if r.Version == 0 {
		r.Version = beaconVersion
	}
	if r.MaxHops == 0 {
		r.MaxHops = 255
	}
	if r.Longest == 0 {
		r.Longest = 1200
	}
	switch {
	case r.Port == 0:
		return r, fmt.Errorf("ebpf: Rules.Port is 0; it must be the UDP port of discovery")
	case r.Longest < ShortestBeacon || r.Longest > LongestBeacon:
		return r, fmt.Errorf("ebpf: Rules.Longest is %d; it must be %d to %d bytes", r.Longest, ShortestBeacon, LongestBeacon)
	case r.Burst < 1 || r.Burst > 1<<20 || r.NewBurst < 1 || r.NewBurst > 1<<20:
		return r, fmt.Errorf("ebpf: Rules.Burst is %d and NewBurst %d; they must be 1 to %d beacons", r.Burst, r.NewBurst, 1<<20)
	case r.Every > 24*time.Hour || r.NewEvery > 24*time.Hour:
		return r, fmt.Errorf("ebpf: Rules.Every is %v and NewEvery %v; they must be a day at most", r.Every, r.NewEvery)
	}
	return r, nil
}

// pace is a limit of rate as both forms of the filter take it, in ns.
type pace struct{ interval, tolerance uint64 }

func newPace(every time.Duration, burst int) pace {
	if every < 0 {
		return pace{}
	}
	return pace{uint64(every), uint64(every) * uint64(burst-1)}
}

// Reason is why a packet passed or was dropped.
type Reason uint8

// Up to ReasonOther a packet passes; the others are dropped.
const (
	ReasonAccepted  Reason = iota // a beacon that nothing speaks against; its signature was not looked at
	ReasonOther                   // for another port: not judged
	ReasonFragment                // the first fragment of a datagram to the port
	ReasonHeaders                 // to the port, with IPv4 options or IPv6 extension headers
	ReasonLength                  // too short, too long, or not as long as it says
	ReasonMagic                   // no beacon
	ReasonVersion                 // a beacon of another format
	ReasonCluster                 // of another cluster
	ReasonHops                    // has come through more routers, or may go further, than is allowed
	ReasonOld                     // its counter is not above the floor for its node
	ReasonReplay                  // has come already, with the same signature
	ReasonRate                    // its source sends too many
	ReasonStrangers               // there are too many sources that are new
	reasons
)

var reasonNames = [reasons]string{
	"accepted", "other", "fragment", "headers", "length", "magic", "version",
	"cluster", "hops", "old", "replay", "rate", "strangers",
}

func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// Passes says whether a packet goes on to the kernel for that reason.
func (r Reason) Passes() bool { return r <= ReasonOther }

// judgeFormat is the part of the judgement that remembers nothing. b is a
// datagram's payload.
func (r *Rules) judgeFormat(b []byte, left uint8) Reason {
	switch {
	case len(b) < ShortestBeacon || len(b) > r.Longest:
		return ReasonLength
	case string(b[:4]) != beaconMagic:
		return ReasonMagic
	case b[4] != r.Version:
		return ReasonVersion
	case int(binary.LittleEndian.Uint16(b[6:])) != len(b):
		return ReasonLength
	case r.Cluster != [8]byte{} && !bytes.Equal(b[8:16], r.Cluster[:]):
		return ReasonCluster
	case left < r.MinHops || b[beaconHops] > r.MaxHops:
		return ReasonHops
	}
	return ReasonAccepted
}
