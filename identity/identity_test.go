package identity

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write ../testdata/identity.json anew")

// epoch is when the tests take place.
var epoch = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// numbered returns the key of a seed that is all b.
func numbered(b byte) *Key {
	var seed [32]byte
	for i := range seed {
		seed[i] = b
	}
	return FromSeed(seed)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// text returns how a value is copied.
func text(t testing.TB, v interface{ MarshalText() ([]byte, error) }) string {
	t.Helper()
	b, err := v.MarshalText()
	must(t, err)
	return string(b)
}

func testCluster() *Cluster { return &Cluster{key: numbered(9)} }

func testToken(uses uint32) *Token {
	return testCluster().newToken(numbered(8), 0x0123456789abcdef, epoch, 24*time.Hour, uses)
}

// The vectors of testdata/identity.json are for every implementation of these formats.
func TestGoldenVectors(t *testing.T) {
	got := map[string]string{}
	key := numbered(1)
	got["id of the seed 01…01"] = key.ID().String()
	got["cluster of the seed 09…09"] = testCluster().ID().String()
	got["signature of \"hello\" for the domain \"test v1\""] = hexOf(key.Sign("test v1", []byte("hello")))
	got["token, any number of uses"] = testToken(0).Text()
	got["token, three uses"] = testToken(3).Text()
	m, err := testToken(0).Join(key.ID(), epoch.Add(time.Hour))
	must(t, err)
	got["membership by token"] = text(t, m)
	m = &Membership{Cluster: testCluster().ID(), Node: key.ID(), Serial: 77, NotBefore: epoch, NotAfter: epoch.Add(time.Hour)}
	m.signature = [64]byte(testCluster().key.Sign(domainMembership, m.signed()))
	got["membership by the cluster's key"] = text(t, m)
	s, err := NewSuccession(key, numbered(2), epoch, 24*time.Hour)
	must(t, err)
	got["succession"] = text(t, s)
	l, err := testCluster().Revoke(5, epoch, []ID{numbered(3).ID()}, []uint64{0x0123456789abcdef})
	must(t, err)
	got["revocations"] = text(t, l)
	c, err := NewCredentials(numbered(2))
	must(t, err)
	must(t, c.SetSuccessions(s))
	must(t, c.SetMembership(m))
	got["certificate with a membership and a succession"] = hexOf(c.Certificate().Certificate[0])

	file := filepath.Join("..", "testdata", "identity.json")
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		must(t, err)
		must(t, os.WriteFile(file, append(b, '\n'), 0o644))
	}
	b, err := os.ReadFile(file)
	must(t, err)
	var want map[string]string
	must(t, json.Unmarshal(b, &want))
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s:\n got %s\nwant %s", name, got[name], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d vectors, the file has %d", len(got), len(want))
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, x := range b {
		s.WriteByte(digits[x>>4])
		s.WriteByte(digits[x&15])
	}
	return s.String()
}

func TestIDsAreCopiedWhole(t *testing.T) {
	id := numbered(1).ID()
	good := id.String()
	for name, s := range map[string]string{"as printed": good, "in capitals": strings.ToUpper(good), "with a line's end": " " + good + "\n"} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseID(s); err != nil || got != id {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	for name, s := range map[string]string{
		"empty": "", "cut off": good[:len(good)-1], "cut off by a group": good[:len(good)-8], "a letter too many": good + "a",
		"without prefix": good[len(textID):], "a cluster's": testCluster().ID().String(),
		"two letters exchanged": good[:20] + good[21:22] + good[20:21] + good[22:], "foreign characters": good[:20] + "-" + good[21:],
		"the zero ID": ID{}.String(),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseID(s); !errors.Is(err, ErrText) && !errors.Is(err, ErrWeak) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	// Each single letter mistyped.
	for i := len(textID); i < len(good); i++ {
		c := byte('a')
		if good[i] == c {
			c = 'b'
		}
		if _, err := ParseID(good[:i] + string(c) + good[i+1:]); !errors.Is(err, ErrText) {
			t.Errorf("letter %d mistyped: %v", i, err)
		}
	}
}

// Each listed point is indeed one for which anybody can sign: with S = 0 the
// equation becomes R = -k·A, which for A of small order has few right sides.
func TestWeakKeysVerifyNothing(t *testing.T) {
	for _, weak := range smallOrder {
		forged := false
		for sign := range byte(2) {
			id := weak
			id[31] |= sign << 7
			if !errors.Is(id.Check(), ErrWeak) {
				t.Errorf("%x passes", id)
			}
			for n := byte(0); n < 255 && !forged; n++ {
				message := []byte{n}
				for _, r := range smallOrder {
					for s := range byte(2) {
						r[31] = r[31]&0x7f | s<<7
						sig := append(r[:], make([]byte, 32)...)
						if ed25519.VerifyWithOptions(id[:], message, sig, Domain("x").options()) == nil {
							forged = true
						}
						if Verify(id, "x", message, sig) {
							t.Fatalf("a forged signature of %x is believed", id)
						}
					}
				}
			}
		}
		if !forged {
			t.Errorf("%x is on the list, but nothing could be forged for it", weak)
		}
	}
	if err := numbered(1).ID().Check(); err != nil {
		t.Error(err)
	}
}

func TestSignaturesAreOfOneDomain(t *testing.T) {
	k, message := numbered(1), []byte("message")
	long := Domain(strings.Repeat("x", 300))
	for _, d := range []Domain{"a", "b", "", long, long + "x"} {
		sig := k.Sign(d, message)
		if len(sig) != SignatureSize || !Verify(k.ID(), d, message, sig) {
			t.Errorf("domain %.5q: its own signature is not believed", d)
		}
		for _, other := range []Domain{"c", "ab", long + "y"} {
			if Verify(k.ID(), other, message, sig) {
				t.Errorf("a signature for %.5q is believed for %.5q", d, other)
			}
		}
		if ed25519.Verify(k.ID().public(), message, sig) {
			t.Errorf("domain %.5q: the signature is one of plain Ed25519", d)
		}
		if Verify(k.ID(), d, message, sig[:63]) || Verify(numbered(2).ID(), d, message, sig) || Verify(k.ID(), d, message[1:], sig) {
			t.Error("a signature is believed that is none")
		}
	}
}

func TestKeysShowNothingSecret(t *testing.T) {
	k, token := numbered(1), testToken(0)
	secret := textEncoding.EncodeToString(k.private)[:20]
	for _, s := range []string{k.String(), k.GoString(), token.String(), token.GoString()} {
		if strings.Contains(s, secret) || strings.Contains(s, textToken) {
			t.Errorf("%s", s)
		}
	}
}
