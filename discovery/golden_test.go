package discovery

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"testing"
)

// golden mirrors testdata/pheromone.json, from which filters in the kernel and
// other implementations are tested, too.
type golden struct {
	Comment string         `json:"comment"`
	Packets []goldenPacket `json:"packets"`
	Refused []goldenBad    `json:"refused"`
}

type goldenPacket struct {
	Case   string `json:"case"`
	Secret string `json:"secret"` // of the cluster; empty: NamedCluster("golden")
	Seed   string `json:"seed"`   // of the Ed25519 key (RFC 8032)
	Beacon Beacon `json:"beacon"`
	Hex    string `json:"hex"`
}

type goldenBad struct {
	Case  string `json:"case"`
	Error string `json:"error"`
	Hex   string `json:"hex"`
}

const goldenFile = "../testdata/pheromone.json"

var goldenSecret = []byte("a secret of 32 bytes for a test.")

func goldenCluster(secret string) Cluster {
	if secret == "" {
		return NamedCluster("golden")
	}
	return NewCluster([]byte(secret))
}

func testKey(n byte) (Signer, ID) {
	return KeySigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

// manyServices do not fit a beacon.
func manyServices() (all []Service) {
	for i := range 40 {
		all = append(all, Service{Name: "service-" + string(rune('a'+i%26)) + string(rune('a'+i/26)), Fingerprints: []uint64{uint64(i) + 1, 1 << 40}})
	}
	return all
}

func goldenBeacons() []goldenPacket {
	envelope := Envelope{Flags: FlagAsk, Hops: 3, Incarnation: 0x0123456789abcdef, Counter: 7, Lifetime: 90, Revision: 2, Issued: 1_700_000_000_123, Known: 3, Digest: 0xfeedbeef}
	full := Beacon{Envelope: envelope, Name: "node-a", Host: [8]byte{1, 2, 3, 4, 5, 6, 7, 8},
		Addresses: []Address{
			{"quic", netip.MustParseAddrPort("0.0.0.0:4433")},
			{"afxdp", netip.MustParseAddrPort("10.1.2.3:7000")},
			{"quic", netip.MustParseAddrPort("[2001:db8::1]:4433")},
		},
		Services: []Service{
			{Name: "ledger", Load: 17, Fingerprints: []uint64{0x1122334455667788, 0x99aabbccddeeff00}, Ancestors: []uint64{0x0f0e0d0c0b0a0908}},
			{Name: "gateway", Draining: true},
		}}
	cases := []goldenPacket{
		{Case: "nothing to say", Secret: string(goldenSecret), Seed: "01", Beacon: Beacon{Envelope: Envelope{Incarnation: 1, Counter: 1}}},
		{Case: "all sections", Secret: string(goldenSecret), Seed: "02", Beacon: full},
		{Case: "a cluster without a key", Seed: "02", Beacon: full},
		{Case: "more services than fit", Secret: string(goldenSecret), Seed: "03", Beacon: Beacon{Envelope: envelope, Name: "b", Services: manyServices()}},
		{Case: "with credentials", Secret: string(goldenSecret), Seed: "04", Beacon: Beacon{Envelope: envelope, Credentials: bytes.Repeat([]byte{0xc0, 0xde}, 77)}},
	}
	for i := range cases {
		seed, _ := hex.DecodeString(cases[i].Seed)
		_, cases[i].Beacon.Node = testKey(seed[0])
	}
	return cases
}

func sealGolden(t *testing.T, g *goldenPacket) []byte {
	t.Helper()
	seed, err := hex.DecodeString(g.Seed)
	if err != nil || len(seed) != 1 {
		t.Fatalf("seed %q", g.Seed)
	}
	signer, id := testKey(seed[0])
	p, err := NewSealer(goldenCluster(g.Secret), id, signer).SealBeacon(&g.Beacon)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGolden(t *testing.T) {
	if os.Getenv("CELL_UPDATE_GOLDEN") != "" {
		writeGolden(t)
	}
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Packets {
		t.Run(c.Case, func(t *testing.T) {
			want, err := hex.DecodeString(c.Hex)
			if err != nil {
				t.Fatal(err)
			}
			beacon := c.Beacon
			if got := sealGolden(t, &c); !bytes.Equal(got, want) {
				t.Errorf("sealed %x\nwant   %x", got, want)
			}
			var e Envelope
			content, err := NewOpener(goldenCluster(c.Secret), nil).Open(want, &e, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseBeacon(&e, content)
			if err != nil {
				t.Fatal(err)
			}
			if services, err := AppendServices(nil, beacon.Services); err != nil {
				t.Fatal(err)
			} else if len(services) > 900 {
				if got.Listed.Count != uint16(len(beacon.Services)) || got.Services != nil {
					t.Errorf("listed %+v, %d services", got.Listed, len(got.Services))
				}
				if got.Services, err = got.Listed.Open(services); err != nil {
					t.Error(err)
				}
				got.Listed = ServiceList{}
			}
			beacon.Cluster, beacon.Node, beacon.Kind = got.Cluster, got.Node, KindBeacon
			if !reflect.DeepEqual(*got, beacon) {
				t.Errorf("read  %+v\nwant %+v", *got, beacon)
			}
		})
	}
	for _, c := range g.Refused {
		t.Run("refused: "+c.Case, func(t *testing.T) {
			p, err := hex.DecodeString(c.Hex)
			if err != nil {
				t.Fatal(err)
			}
			if err := openGolden(p); err == nil || err.Error() != c.Error {
				t.Errorf("%v; want %s", err, c.Error)
			}
		})
	}
}

func openGolden(p []byte) error {
	var e Envelope
	content, err := NewOpener(NewCluster(goldenSecret), nil).Open(p, &e, nil)
	if err == nil {
		_, err = ParseBeacon(&e, content)
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

// writeGolden makes the file anew; the difference shows what a change of the
// format breaks.
func writeGolden(t *testing.T) {
	g := golden{Comment: "Pheromones (docs/DISCOVERY.md). The key's seed is its one byte, 32 times. Numbers of services' fingerprints are 64-bit: read them as such."}
	for _, c := range goldenBeacons() {
		beacon := c.Beacon
		c.Hex = hex.EncodeToString(sealGolden(t, &c))
		c.Beacon = beacon
		g.Packets = append(g.Packets, c)
	}
	good, _ := hex.DecodeString(g.Packets[1].Hex)
	for _, c := range spoiled(good) {
		g.Refused = append(g.Refused, goldenBad{c.name, openGolden(c.packet).Error(), hex.EncodeToString(c.packet)})
	}
	text, err := json.MarshalIndent(g, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenFile, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
