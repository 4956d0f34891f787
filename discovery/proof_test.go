package discovery

import (
	"net/netip"
	"testing"
)

// Strangers whose credentials must be looked at cost what those cost.
func TestProofsTakeFromTheBudget(t *testing.T) {
	cluster := NewCluster(goldenSecret)
	signer, id := testKey(1)
	looked := 0
	m, err := New(Config{
		Cluster: cluster, Node: id, Signer: signer, Incarnation: 1, Seed: 1, Limits: Limits{VerifyOther: 2 * (1 + proofCost)},
		Trust: func(ID) Trust { return Unproven },
		Admit: func(ID, []byte) Trust { looked++; return Distrusted },
	})
	if err != nil {
		t.Fatal(err)
	}
	const wall = 1_700_000_000_000
	from := netip.MustParseAddrPort("10.0.0.1:7000")
	for second, want := range []int{2, 4} {
		for n := byte(10); n < 60; n++ {
			signer, id := testKey(n)
			b := Beacon{Envelope: Envelope{Node: id, Incarnation: 1, Counter: 1, Issued: wall}, Credentials: []byte{9, 1, 0, 0}}
			p, err := NewSealer(cluster, id, signer).SealBeacon(&b)
			if err != nil {
				t.Fatal(err)
			}
			m.Step(Instant{Mono: int64(second) * 1e9, Wall: wall}, &Packet{Data: p, From: from})
		}
		if looked != want {
			t.Errorf("second %d: %d credentials were looked at, want %d", second, looked, want)
		}
	}
	drops := m.Stats().Drops
	if total := drops.Total(); total != 100 {
		t.Errorf("%d of 100 were dropped", total)
	}
}

// Under a point of small order a signature of anything is easily made.
func TestWeakKeysSignNoPheromones(t *testing.T) {
	weak := ID{0: 1}
	signature := make([]byte, signatureSize)
	signature[0] = 1
	if Ed25519.Verify(weak, []byte("anything"), signature) {
		t.Error("a forged signature is believed")
	}
	signer, id := testKey(1)
	if message := []byte("x"); !Ed25519.Verify(id, message, signer.Sign(message)) {
		t.Error("a signature is not believed")
	}
}
