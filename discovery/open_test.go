package discovery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

type spoiledPacket struct {
	name   string
	packet []byte
	want   error
}

// spoiled returns faulty variants of a good pheromone of the golden cluster.
func spoiled(good []byte) []spoiledPacket {
	change := func(at int, b byte) []byte {
		p := bytes.Clone(good)
		p[at] = b
		return p
	}
	reseal := func(p []byte, node byte) []byte { // with the right MAC
		p = bytes.Clone(p[:len(p)-tailSize])
		m := newMAC(NewCluster(goldenSecret))
		p = append(p, m.of(p)...)
		signer, _ := testKey(node)
		return append(p, signer.Sign(p)...)
	}
	section := func(p ...byte) []byte {
		signer, id := testKey(2)
		p, err := NewSealer(NewCluster(goldenSecret), id, signer).Seal(&Envelope{Kind: KindBeacon}, p)
		if err != nil {
			panic(err)
		}
		return p
	}
	oversized := append(bytes.Clone(good), make([]byte, MaxPacket)...)
	binary.LittleEndian.PutUint16(oversized[6:], uint16(len(oversized)))
	return []spoiledPacket{
		{"empty", nil, ErrTruncated},
		{"an envelope and no tail", good[:MinPacket-1], ErrTruncated},
		{"cut short", good[:len(good)-1], ErrTruncated},
		{"a byte more", append(bytes.Clone(good), 0), ErrOversized},
		{"longer than the most", oversized, ErrOversized},
		{"other magic", change(0, 'c'), ErrMagic},
		{"other version", change(4, 9), ErrVersion},
		{"kind 0", change(5, 0), ErrKind},
		{"unknown kind", change(5, 200), ErrKind},
		{"other cluster", change(8, good[8]+1), ErrCluster},
		{"false MAC", change(len(good)-tailSize, good[len(good)-tailSize]+1), ErrMAC},
		{"false signature", change(len(good)-1, good[len(good)-1]^1), ErrSignature},
		{"signed by another", reseal(good, 9), ErrSignature},
		{"section cut", section(sectionName, 9, 0, 'a'), ErrBody},
		{"bytes after the sections", section(0), ErrBody},
		{"name with a control character", section(sectionName, 1, 0, 7), ErrBody},
		{"address without a medium", section(sectionAddress, 1, 0, 0), ErrBody},
		{"address of five bytes", section(sectionAddress, 9, 0, 1, 'q', 1, 2, 1, 2, 3, 4, 5), ErrBody},
		{"service without a name", section(sectionService, 5, 0, 0, 0, 0, 0, 0), ErrBody},
		{"service with more ancestors than fingerprints", section(sectionService, 6, 0, 0, 0, 1, 'a', 0, 1), ErrBody},
		{"service that lacks a fingerprint", section(sectionService, 6, 0, 0, 0, 1, 'a', 1, 0), ErrBody},
		{"list of services of three bytes", section(sectionServices, 3, 0, 1, 2, 3), ErrBody},
		{"host of one byte", section(sectionHost, 1, 0, 1), ErrBody},
	}
}

func sealedGood(t testing.TB) []byte {
	t.Helper()
	signer, id := testKey(2)
	b := goldenBeacons()[1].Beacon
	p, err := NewSealer(NewCluster(goldenSecret), id, signer).SealBeacon(&b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSpoiledPheromonesAreRefused(t *testing.T) {
	for _, c := range spoiled(sealedGood(t)) {
		t.Run(c.name, func(t *testing.T) {
			var e Envelope
			content, err := NewOpener(NewCluster(goldenSecret), nil).Open(c.packet, &e, nil)
			if err == nil {
				_, err = ParseBeacon(&e, content)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v; want %v", err, c.want)
			}
		})
	}
}

// TestEveryByteIsSigned: in a cluster without a key the signature alone must
// notice a change of any bit.
func TestEveryByteIsSigned(t *testing.T) {
	signer, id := testKey(2)
	b := goldenBeacons()[1].Beacon
	good, err := NewSealer(NamedCluster("golden"), id, signer).SealBeacon(&b)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOpener(NamedCluster("golden"), nil)
	var e Envelope
	if _, err := o.Open(good, &e, nil); err != nil {
		t.Fatal(err)
	}
	for at := range good {
		good[at] ^= 1 << (at % 8)
		if _, err := o.Open(good, &e, nil); err == nil {
			t.Errorf("byte %d was changed, and the pheromone accepted", at)
		}
		good[at] ^= 1 << (at % 8)
	}
}

func TestDroppedAllocatesNothing(t *testing.T) {
	o := NewOpener(NewCluster(goldenSecret), nil)
	refuse := Screen(func(*Envelope) error { return ErrReplay })
	good := sealedGood(t)
	for _, c := range append(spoiled(good), spoiledPacket{"refused by the screen", good, ErrReplay}) {
		if errors.Is(c.want, ErrSignature) || errors.Is(c.want, ErrBody) {
			continue // crypto/ed25519 allocates; see Limits for how often it is asked
		}
		t.Run(c.name, func(t *testing.T) {
			var e Envelope
			if n := testing.AllocsPerRun(100, func() {
				if _, err := o.Open(c.packet, &e, refuse); err != c.want {
					t.Errorf("%v; want %v", err, c.want)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestWhatCannotBeSaidIsRefused(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	many := make([]Address, MaxAddresses+1)
	for i := range many {
		many[i] = Address{"quic", netip.MustParseAddrPort("1.2.3.4:5")}
	}
	for name, b := range map[string]Beacon{
		"name too long":               {Name: long},
		"name with a space":           {Name: "a b"},
		"too many addresses":          {Addresses: many},
		"address without a medium":    {Addresses: []Address{{"", netip.MustParseAddrPort("1.2.3.4:5")}}},
		"address with a zone":         {Addresses: []Address{{"quic", netip.MustParseAddrPort("[fe80::1%eth9]:5")}}},
		"invalid address":             {Addresses: []Address{{"quic", netip.AddrPort{}}}},
		"service without a name":      {Services: []Service{{}}},
		"service with a long name":    {Services: []Service{{Name: long}}},
		"too many fingerprints":       {Services: []Service{{Name: "a", Fingerprints: make([]uint64, 200), Ancestors: make([]uint64, 56)}}},
		"more services than anything": {Services: make([]Service, MaxServices+1)},
	} {
		t.Run(name, func(t *testing.T) {
			signer, id := testKey(1)
			if p, err := NewSealer(NewCluster(goldenSecret), id, signer).SealBeacon(&b); !errors.Is(err, ErrBody) {
				t.Errorf("%d bytes, %v", len(p), err)
			}
		})
	}
}

func TestAListOfServicesThatWasNotNamedIsRefused(t *testing.T) {
	encoded, err := AppendServices(nil, manyServices())
	if err != nil {
		t.Fatal(err)
	}
	l := list(encoded, 40)
	for name, c := range map[string]struct {
		list ServiceList
		data []byte
	}{
		"changed":       {l, append(bytes.Clone(encoded[:len(encoded)-1]), 9)},
		"cut":           {l, encoded[:100]},
		"another count": {list(encoded, 39), encoded},
		"no list":       {list([]byte("nonsense"), 1), []byte("nonsense")},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := c.list.Open(c.data); !errors.Is(err, ErrBody) {
				t.Errorf("%d services, %v", len(s), err)
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	good := sealedGood(f)
	f.Add(good)
	for _, c := range spoiled(good) {
		f.Add(c.packet)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var e Envelope
		if _, err := NewOpener(NewCluster(goldenSecret), nil).Open(p, &e, nil); err == nil && len(p) > MaxPacket {
			t.Errorf("accepted %d bytes", len(p))
		}
		// As if the signature were right: the body must hold its own.
		if parseEnvelope(p, &e) != nil {
			return
		}
		b, err := ParseBeacon(&e, body(p))
		if err != nil {
			return
		}
		again, err := b.appendBody(nil)
		if err != nil {
			t.Fatalf("read %+v, which can't be written: %v", b, err)
		}
		second, err := ParseBeacon(&e, again)
		if err != nil {
			t.Fatalf("wrote what can't be read: %v", err)
		}
		if twice, err := second.appendBody(nil); err != nil || !bytes.Equal(again, twice) {
			t.Errorf("written %x, then %x, %v", again, twice, err)
		}
	})
}

// TestAMachineDropsWithoutAllocating: nor does the machine around the opener.
func TestAMachineDropsWithoutAllocating(t *testing.T) {
	cluster := NewCluster(goldenSecret)
	m := newPeer(t, 1, Config{Cluster: cluster, Trust: func(ID) Trust { return ByName }})
	signer, id := testKey(2)
	now := Instant{Mono: 1, Wall: 1_700_000_000_000}
	b := Beacon{Envelope: Envelope{Incarnation: 1, Counter: 1, Issued: uint64(now.Wall)}}
	good, err := NewSealer(cluster, id, signer).SealBeacon(&b)
	if err != nil {
		t.Fatal(err)
	}
	p := Packet{Data: good, From: netip.MustParseAddrPort("192.0.2.2:7"), Group: true}
	if m.Step(now, &p); !m.Alive(id) {
		t.Fatal("its beacon was not accepted")
	}
	m.Step(now, &p)
	before := m.Stats().Drops.Replay
	if n := testing.AllocsPerRun(100, func() { m.Step(now, &p) }); n != 0 {
		t.Errorf("%v allocations for a pheromone that was seen before", n)
	}
	if m.Stats().Drops.Replay <= before {
		t.Error("it was not dropped as a replay")
	}
}
