package identity

import (
	"bytes"
	"crypto/x509"
	"encoding"
	"testing"
)

// FuzzText: whatever is accepted is written as the canonical text of the same
// thing.
func FuzzText(f *testing.F) {
	f.Add(numbered(1).ID().String())
	f.Add(testCluster().ID().String())
	f.Add(testToken(0).Text())
	f.Add("cell1")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil {
			if again, err := ParseID(id.String()); err != nil || again != id {
				t.Errorf("%q: %v, %v", s, again, err)
			}
		}
		if c, err := ParseClusterID(s); err == nil && c.IsZero() {
			t.Errorf("%q is the zero cluster", s)
		}
		if token, err := ParseToken(s); err == nil {
			if again, err := ParseToken(token.Text()); err != nil || again.Grant != token.Grant {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
}

// FuzzStatements: whatever is accepted encodes to the same bytes, so there is
// nothing in them that no signature covers.
func FuzzStatements(f *testing.F) {
	m, _ := testToken(3).Join(numbered(1).ID(), epoch)
	b, _ := m.MarshalBinary()
	f.Add(b)
	m.Grant = nil
	b, _ = m.MarshalBinary()
	f.Add(b)
	s, _ := NewSuccession(numbered(1), numbered(2), epoch, 1e12)
	b, _ = s.MarshalBinary()
	f.Add(b)
	l, _ := testCluster().Revoke(1, epoch, []ID{numbered(3).ID()}, []uint64{1, 2})
	b, _ = l.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, v := range []interface {
			encoding.BinaryMarshaler
			encoding.BinaryUnmarshaler
		}{new(Membership), new(Succession), new(RevocationList)} {
			if v.UnmarshalBinary(b) != nil {
				continue
			}
			if again, err := v.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
				t.Errorf("%T: %x became %x", v, b, again)
			}
		}
	})
}

// FuzzEvidence reads certificates of strangers.
func FuzzEvidence(f *testing.F) {
	c, err := NewCredentials(numbered(1))
	if err != nil {
		f.Fatal(err)
	}
	m, _ := testToken(0).Join(numbered(1).ID(), epoch)
	_ = c.SetMembership(m)
	f.Add(c.Certificate().Certificate[0])
	tr := at(epoch)
	_ = tr.SetCluster(testCluster().ID())
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, e, err := EvidenceOf([]*x509.Certificate{cert})
		if err != nil {
			return
		}
		if p, err := tr.Check(id, e); err == nil && id != numbered(1).ID() {
			t.Errorf("let in: %+v", p)
		}
	})
}

// FuzzTrustFiles: no content of a file makes the reader fail otherwise than by
// an error.
func FuzzTrustFiles(f *testing.F) {
	f.Add([]byte(numbered(1).ID().String() + " name # comment\ntoken 00ff"))
	l, _ := testCluster().Revoke(1, epoch, []ID{numbered(3).ID()}, []uint64{1, 2})
	b, _ := l.MarshalText()
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range trustFiles {
			r := &fileRules{}
			if file.read(r, data) == nil && len(r.allowed)+len(r.revoked)+len(r.serials) > MaxAllowed {
				t.Errorf("%s: too much", file.name)
			}
		}
		if k, err := parseKey(data); err == nil && k.ID().Check() != nil {
			t.Error("a weak key")
		}
	})
}
