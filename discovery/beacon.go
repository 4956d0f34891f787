package discovery

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of a beacon's content.
const (
	// MaxName is the most bytes of a service's or node's name.
	MaxName = 64
	// MaxMedium is the most bytes of the name of a medium.
	MaxMedium = 16
	// MaxAddresses is the most addresses of a node.
	MaxAddresses = 16
	// MaxFingerprints is the most fingerprints of one service, ancestors
	// included.
	MaxFingerprints = 255
	// MaxServices is the most services of a node, in its beacon or fetched.
	MaxServices = 1024
	// maxServiceList bounds what is fetched.
	maxServiceList = 1 << 20
	// MaxCredentials is the most bytes of a node's credentials.
	MaxCredentials = 600
)

// Sections of a beacon's body: type u8, length u16, content. A reader passes
// over types that it doesn't know.
const (
	sectionAddress  = 1 // medium length u8, medium, port u16, IP 4 or 16 bytes
	sectionService  = 2 // see appendService
	sectionServices = 3 // number u16, 16 bytes of SHA-256 over their sections
	sectionName     = 4 // of the node, for people
	sectionHost     = 5 // 8 bytes that nodes of one host have in common
	// What speaks for the node besides its key; see Config.Admit.
	sectionCredentials = 6
)

const sectionHead = 3

// Address is where a node can be reached over one medium.
type Address struct {
	Medium string // as link.Info.Kind: "quic", "afxdp", …
	// Addr is the address. An unspecified IP (0.0.0.0, ::) stands for the one
	// from which the node's pheromones come.
	Addr netip.AddrPort
}

// Service is one service of a node.
type Service struct {
	Name string
	Load uint8 // 0 idle … 255 full
	// Draining: it finishes what it has and takes nothing new.
	Draining bool
	// Fingerprints are its methods' and topics', Ancestors those of earlier
	// forms that it still accepts.
	Fingerprints, Ancestors []uint64
}

// Beacon is what a node says of itself.
type Beacon struct {
	Envelope
	Name      string // of the node, for people
	Host      [8]byte
	Addresses []Address
	// Credentials speak for the node besides its key; see [Config].Admit.
	Credentials []byte
	// Services are all of the node's, or none if they don't fit: then Count
	// and Digest say which list to fetch.
	Services []Service
	Listed   ServiceList

	raw []byte // as it was signed
}

// ServiceList names a list of services that is too long for a beacon.
type ServiceList struct {
	Count  uint16
	Digest [16]byte
}

// validText says whether s is printable ASCII without spaces or quotes.
func validText(s string, most int) bool {
	return len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' })
}

func appendSection(to []byte, kind byte, content func([]byte) []byte) []byte {
	at := len(to)
	to = content(append(to, kind, 0, 0))
	binary.LittleEndian.PutUint16(to[at+1:], uint16(len(to)-at-sectionHead))
	return to
}

func appendAddress(to []byte, a Address) ([]byte, error) {
	if a.Medium == "" || !validText(a.Medium, MaxMedium) || !a.Addr.IsValid() || a.Addr.Addr().Zone() != "" {
		return nil, fmt.Errorf("%w: address %q over %q: a medium has 1 to %d printable ASCII characters, an address no zone", ErrBody, a.Addr, a.Medium, MaxMedium)
	}
	return appendSection(to, sectionAddress, func(to []byte) []byte {
		to = append(append(to, byte(len(a.Medium))), a.Medium...)
		to = binary.LittleEndian.AppendUint16(to, a.Addr.Port())
		return append(to, a.Addr.Addr().AsSlice()...)
	}), nil
}

// appendService appends a section: load u8, flags u8 (bit 0 draining), name
// length u8, name, fingerprints u8, of which ancestors u8, the fingerprints u64
// each, ancestors last.
func appendService(to []byte, s *Service) ([]byte, error) {
	n := len(s.Fingerprints) + len(s.Ancestors)
	if s.Name == "" || !validText(s.Name, MaxName) || n > MaxFingerprints {
		return nil, fmt.Errorf("%w: service %q with %d fingerprints: a name has 1 to %d printable ASCII characters, a service at most %d fingerprints", ErrBody, s.Name, n, MaxName, MaxFingerprints)
	}
	return appendSection(to, sectionService, func(to []byte) []byte {
		var flags byte
		if s.Draining {
			flags = 1
		}
		to = append(append(to, s.Load, flags, byte(len(s.Name))), s.Name...)
		to = append(to, byte(n), byte(len(s.Ancestors)))
		for _, f := range s.Fingerprints {
			to = binary.LittleEndian.AppendUint64(to, f)
		}
		for _, f := range s.Ancestors {
			to = binary.LittleEndian.AppendUint64(to, f)
		}
		return to
	}), nil
}

// AppendServices appends a list of services in the form in which it is fetched.
// Errors: [ErrBody].
func AppendServices(to []byte, services []Service) ([]byte, error) {
	if len(services) > MaxServices {
		return nil, fmt.Errorf("%w: %d services; a node has at most %d", ErrBody, len(services), MaxServices)
	}
	var err error
	for i := range services {
		if to, err = appendService(to, &services[i]); err != nil {
			return nil, err
		}
	}
	return to, nil
}

// list returns how a beacon names the list whose form is encoded.
func list(encoded []byte, n int) ServiceList {
	sum := sha256.Sum256(encoded)
	return ServiceList{Count: uint16(n), Digest: [16]byte(sum[:])}
}

// Open decodes a list of services that was fetched, if it is the one that l
// names. Errors: [ErrBody].
func (l ServiceList) Open(encoded []byte) ([]Service, error) {
	if len(encoded) > maxServiceList || list(encoded, int(l.Count)) != l {
		return nil, fmt.Errorf("%w: %d bytes are not the list of services that the beacon named; fetch it again", ErrBody, len(encoded))
	}
	var b Beacon
	if err := b.parse(encoded); err != nil {
		return nil, err
	}
	if len(b.Services) != int(l.Count) || len(b.Addresses) > 0 {
		return nil, fmt.Errorf("%w: a list of %d services holds %d", ErrBody, l.Count, len(b.Services))
	}
	return b.Services, nil
}

// appendBody appends the beacon's sections. Services that don't fit a packet
// beside the rest are named by a digest. Errors: [ErrBody].
func (b *Beacon) appendBody(to []byte) ([]byte, error) {
	begin := len(to)
	if !validText(b.Name, MaxName) || len(b.Addresses) > MaxAddresses || len(b.Credentials) > MaxCredentials {
		return nil, fmt.Errorf("%w: name %q, %d addresses, %d bytes of credentials: a name has at most %d printable ASCII characters, a node at most %d addresses and %d bytes of credentials", ErrBody, b.Name, len(b.Addresses), len(b.Credentials), MaxName, MaxAddresses, MaxCredentials)
	}
	if b.Name != "" {
		to = appendSection(to, sectionName, func(to []byte) []byte { return append(to, b.Name...) })
	}
	if b.Host != [8]byte{} {
		to = appendSection(to, sectionHost, func(to []byte) []byte { return append(to, b.Host[:]...) })
	}
	if len(b.Credentials) > 0 {
		to = appendSection(to, sectionCredentials, func(to []byte) []byte { return append(to, b.Credentials...) })
	}
	var err error
	for _, a := range b.Addresses {
		if to, err = appendAddress(to, a); err != nil {
			return nil, err
		}
	}
	if len(to)-begin > MaxBody-sectionHead-18 {
		return nil, fmt.Errorf("%w: name, credentials and %d addresses take %d bytes, and %d fit; name fewer addresses", ErrBody, len(b.Addresses), len(to)-begin, MaxBody-sectionHead-18)
	}
	services, err := AppendServices(nil, b.Services)
	if err != nil {
		return nil, err
	}
	if len(to)-begin+len(services) <= MaxBody {
		return append(to, services...), nil
	}
	l := list(services, len(b.Services))
	return appendSection(to, sectionServices, func(to []byte) []byte {
		return append(binary.LittleEndian.AppendUint16(to, l.Count), l.Digest[:]...)
	}), nil
}

// parse reads sections. Everything is copied out of body.
func (b *Beacon) parse(body []byte) error {
	for len(body) > 0 {
		if len(body) < sectionHead {
			return fmt.Errorf("%w: %d bytes after the last section", ErrBody, len(body))
		}
		kind, size := body[0], int(binary.LittleEndian.Uint16(body[1:]))
		if body = body[sectionHead:]; size > len(body) {
			return fmt.Errorf("%w: section %d announces %d bytes and %d are there", ErrBody, kind, size, len(body))
		}
		if err := b.section(kind, body[:size]); err != nil {
			return err
		}
		body = body[size:]
	}
	return nil
}

func (b *Beacon) section(kind byte, p []byte) error {
	ok := true
	switch kind {
	case sectionName:
		b.Name = string(p)
		ok = validText(b.Name, MaxName)
	case sectionHost:
		if ok = len(p) == len(b.Host); ok {
			b.Host = [8]byte(p)
		}
	case sectionCredentials:
		b.Credentials = append([]byte(nil), p...)
		ok = len(p) <= MaxCredentials
	case sectionAddress:
		var a Address
		if a, ok = parseAddress(p); ok {
			b.Addresses = append(b.Addresses, a)
		}
		ok = ok && len(b.Addresses) <= MaxAddresses
	case sectionService:
		var s Service
		if s, ok = parseService(p); ok {
			b.Services = append(b.Services, s)
		}
		ok = ok && len(b.Services) <= MaxServices
	case sectionServices:
		if ok = len(p) == 18; ok {
			b.Listed = ServiceList{Count: binary.LittleEndian.Uint16(p), Digest: [16]byte(p[2:])}
		}
	}
	if !ok {
		return fmt.Errorf("%w: section %d, %d bytes", ErrBody, kind, len(p))
	}
	return nil
}

func parseAddress(p []byte) (a Address, ok bool) {
	if len(p) < 1 || int(p[0]) > MaxMedium || p[0] == 0 || len(p) < 1+int(p[0])+2 {
		return a, false
	}
	n := 1 + int(p[0])
	a.Medium = string(p[1:n])
	ip, ok := netip.AddrFromSlice(p[n+2:])
	a.Addr = netip.AddrPortFrom(ip, binary.LittleEndian.Uint16(p[n:]))
	return a, ok && validText(a.Medium, MaxMedium)
}

func parseService(p []byte) (s Service, ok bool) {
	if len(p) < 3 || p[1] > 1 || int(p[2]) > MaxName || p[2] == 0 || len(p) < 3+int(p[2])+2 {
		return s, false
	}
	s.Load, s.Draining = p[0], p[1] == 1
	n := 3 + int(p[2])
	s.Name = string(p[3:n])
	all, ancestors := int(p[n]), int(p[n+1])
	p = p[n+2:]
	if ancestors > all || len(p) != 8*all || !validText(s.Name, MaxName) {
		return s, false
	}
	for i := range all {
		f := binary.LittleEndian.Uint64(p[8*i:])
		if i < all-ancestors {
			s.Fingerprints = append(s.Fingerprints, f)
		} else {
			s.Ancestors = append(s.Ancestors, f)
		}
	}
	return s, true
}

// ParseBeacon reads the content of a beacon whose envelope is e and which was
// opened (see [Opener.Open]). It keeps nothing of body. Errors: [ErrBody].
func ParseBeacon(e *Envelope, body []byte) (*Beacon, error) {
	b := &Beacon{Envelope: *e}
	if err := b.parse(body); err != nil {
		return nil, err
	}
	return b, nil
}

// SealBeacon returns the beacon as a pheromone. Errors: [ErrBody].
func (s *Sealer) SealBeacon(b *Beacon) ([]byte, error) {
	content, err := b.appendBody(nil)
	if err != nil {
		return nil, err
	}
	b.Kind = KindBeacon
	return s.Seal(&b.Envelope, content)
}

// Provides reports whether s accepts calls with the fingerprint, and whether as
// an ancestor of what it has now.
func (s *Service) Provides(fingerprint uint64) (ok, ancestor bool) {
	if slices.Contains(s.Fingerprints, fingerprint) {
		return true, false
	}
	ancestor = slices.Contains(s.Ancestors, fingerprint)
	return ancestor, ancestor
}
