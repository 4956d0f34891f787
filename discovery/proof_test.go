package discovery

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
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

// TestNobodyElseSaysThatANodeAnswers: a member that is asked to probe a dead node,
// and says that it has answered, keeps it alive for nobody.
func TestNobodyElseSaysThatANodeAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		// lie is what the helper hands on, given the nonce that it was asked with.
		lie  func(now Instant, nonce []byte) []byte
		dies bool
	}{
		"its own answer": {func(now Instant, nonce []byte) []byte {
			return sealed(t, 2, Envelope{Kind: KindAck, Issued: uint64(now.Wall)}, nonce)
		}, true},
		"an answer that is not signed": {func(now Instant, nonce []byte) []byte {
			p := sealed(t, 3, Envelope{Kind: KindAck, Issued: uint64(now.Wall)}, nonce)
			p[len(p)-1] ^= 1
			return p
		}, true},
		"an answer to another question": {func(now Instant, _ []byte) []byte {
			return sealed(t, 3, Envelope{Kind: KindAck, Issued: uint64(now.Wall)}, make([]byte, 8))
		}, true},
		"something else that it has signed": {func(now Instant, nonce []byte) []byte {
			return sealed(t, 3, Envelope{Kind: KindProbe, Issued: uint64(now.Wall)}, nonce)
		}, true},
		"its answer": {func(now Instant, nonce []byte) []byte {
			return sealed(t, 3, Envelope{Kind: KindAck, Incarnation: 1, Counter: 1 << 20, Issued: uint64(now.Wall)}, nonce)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Cluster: NamedCluster("liars"), Trust: func(ID) Trust { return ByName }}
			asker, helper, dead := newPeer(t, 1, config), newPeer(t, 2, config), newPeer(t, 3, config)
			w := &cable{now: Instant{Mono: 1, Wall: 1_700_000_000_000}, peers: []*peer{asker, helper, dead}}
			w.pass(5 * time.Second)
			w.peers = w.peers[:2]
			var asked [][]byte // nonces
			w.see = func(from *peer, a *Action) {
				if from == asker && a.Kind == SendTo && a.To == helper.addr && a.Data[5] == byte(KindAskFor) {
					asked = append(asked, bytes.Clone(a.Data[bodyAt:bodyAt+8]))
				}
			}
			signer, _ := testKey(2)
			counter := uint64(1 << 30)
			for range 4000 {
				w.pass(time.Millisecond)
				for _, nonce := range asked {
					counter++
					p, err := NewSealer(config.Cluster, helper.id, signer).Seal(&Envelope{Kind: KindAck, Incarnation: 1, Counter: counter, Issued: uint64(w.now.Wall)},
						append(bytes.Clone(nonce), c.lie(w.now, nonce)...))
					if err != nil {
						t.Fatal(err)
					}
					w.step(asker, &Packet{Data: p, From: helper.addr})
				}
				asked = asked[:0]
			}
			if asker.Alive(dead.id) == c.dies {
				t.Errorf("four seconds after it has died it is alive: %v", asker.Alive(dead.id))
			}
		})
	}
}

// sealed is a pheromone of a node by its number.
func sealed(t *testing.T, node byte, e Envelope, body []byte) []byte {
	t.Helper()
	signer, id := testKey(node)
	p, err := NewSealer(NamedCluster("liars"), id, signer).Seal(&e, body)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
