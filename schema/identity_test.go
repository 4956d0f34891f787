package schema

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

func TestFingerprintIsNeverZero(t *testing.T) {
	var texts []string
	got := fingerprint([]byte("text"), func(text []byte) (hash [sha256.Size]byte) {
		if texts = append(texts, string(text)); len(texts) == 3 {
			binary.LittleEndian.PutUint64(hash[:], 7)
		}
		hash[31] = 1 // what is behind the first eight bytes does not count
		return hash
	})
	if got != 7 || len(texts) != 3 || texts[1] != "text\x00" || texts[2] != "text\x00\x00" {
		t.Errorf("%d after %q", got, texts)
	}
}

// What is no part of the identity must not change it, and everything else
// must: see TestCompare. Here is what Diff can't see.
func TestDigest(t *testing.T) {
	service := func(text string) *Service { return parse(t, text).Services[0] }
	one := Digest(service("cell 1\nservice S {\ncall A()\ncall B()\n}"))
	if one != Digest(service("// doc\ncell 1\nstruct Unused {}\nservice S {\nidempotent call B()\n\twas 0000000000000001 request 0 reply 0\ncall A()\n}")) {
		t.Error("order, ancestors or unused types change the digest")
	}
	for name, text := range map[string]string{
		"a method more":  "cell 1\nservice S {\ncall A()\ncall B()\ncall C()\n}",
		"a method less":  "cell 1\nservice S {\ncall A()\n}",
		"another name":   "cell 1\nservice T {\ncall A()\ncall B()\n}",
		"another mode":   "cell 1\nservice S {\ncall A()\noneway B()\n}",
		"another method": "cell 1\nservice S {\ncall A()\ncall C()\n}",
	} {
		if one == Digest(service(text)) {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

// Identities may be asked for before anybody has validated.
func TestIdentityOfNonsense(t *testing.T) {
	loop := &Type{Kind: Slice}
	loop.Elem = loop
	self := structOf("Self")
	self.Fields = []Field{field("A", self), field("B", loop), field("C", nil), field("D", scalar(77))}
	m := Method{Name: "M", Mode: ServerStream, Request: self, Reply: scalar(Uint8)}
	s := &Service{Name: "S", Methods: []Method{m, {}}}
	if Fingerprint(s, &s.Methods[0]) == 0 || Fingerprint(s, &s.Methods[1]) == 0 {
		t.Error("zero")
	}
	if _, err := Form(s, &m); err == nil {
		t.Error("a form of nonsense")
	}
	if err := (&Schema{Types: []*Type{self}, Services: []*Service{s}}).Validate(); err == nil {
		t.Error("nonsense is valid")
	}
}
