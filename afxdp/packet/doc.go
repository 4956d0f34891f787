// Package packet puts UDP datagrams into Ethernet frames and takes them out:
// IPv4 without options (RFC 791), IPv6 without extension headers (RFC 8200), UDP
// (RFC 768), one VLAN tag or none (IEEE 802.1Q). A [Flow] is one conversation,
// both addresses and both ports; what belongs to another is refused.
package packet

import (
	"errors"
	"net/netip"
)

// Flow is one end of a conversation, as that end sees it.
type Flow struct {
	Local, Remote       netip.AddrPort // both IPv4 or both IPv6, without a zone
	LocalMAC, RemoteMAC [6]byte        // the next hop's, if the remote is not on the link
	VLAN                uint16         // 1 to 4094, or 0 for none
}

// Sizes in bytes.
const (
	ethernetSize = 14
	vlanSize     = 4
	ipv4Size     = 20
	ipv6Size     = 40
	udpSize      = 8

	// MaxHeaders is the longest that stands before a datagram.
	MaxHeaders = ethernetSize + vlanSize + ipv6Size + udpSize
)

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeVLAN = 0x8100
	typeQinQ = 0x88a8

	protocolUDP = 17
	hopLimit    = 64
)

// Why a frame is not a datagram of a flow.
var (
	ErrShort    = errors.New("packet: shorter than its headers say")
	ErrForeign  = errors.New("packet: not UDP of this flow")
	ErrFragment = errors.New("packet: a fragment")
	ErrChecksum = errors.New("packet: wrong checksum")
)
