package schema

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
)

// Identity returns the identity text of a method: the canonical description of
// that method alone. It begins with the version line; then come the types that
// its messages need, each once, in the order in which they are first mentioned
// (request, reply, in, out, event, then the fields of the types in the list);
// then the service with that method. Docs, ancestors, the word idempotent and
// everything else of the file are left out. Two methods mean the same exactly
// when their texts are equal.
//
// The text is a description in itself: Parse reads it.
func Identity(service *Service, m *Method) string {
	var p printer
	p.line("cell ", strconv.Itoa(Version))
	for _, t := range mentioned(m) {
		p.line()
		p.declaration(t, false)
	}
	p.line()
	p.line("service ", service.Name, " {")
	p.method(m, false)
	p.line("}")
	return p.String()
}

// mentioned returns the named types that the method's messages need, in the
// order of their first mention.
func mentioned(m *Method) []*Type {
	var list []*Type
	seen := map[*Type]bool{}
	mention := func(t *Type) {
		// Down to the element, by a way that ends even if the type doesn't.
		for range MaxDepth + 2 {
			if t == nil {
				return
			}
			if t.Kind.Named() {
				if t.Name != "" && !seen[t] {
					seen[t] = true
					list = append(list, t)
				}
				return
			}
			t = t.Elem
		}
	}
	for s := range Slot(slots) {
		if m.Mode.Has(s) {
			mention(m.Message(s))
		}
	}
	for i := 0; i < len(list); i++ {
		for _, f := range list[i].Fields {
			mention(f.Type)
		}
	}
	return list
}

// Fingerprint returns the method's fingerprint, which travels in the header of
// every vesicle and is never 0: the first 8 bytes, little endian, of the
// SHA-256 of its identity text. Should they be 0, a zero byte is appended to
// the text and it is hashed again, until they are not.
func Fingerprint(service *Service, m *Method) uint64 {
	return fingerprint([]byte(Identity(service, m)), sha256.Sum256)
}

// fingerprint takes the hash as an argument because no text is known whose
// SHA-256 begins with 8 zero bytes.
func fingerprint(text []byte, sum func([]byte) [sha256.Size]byte) uint64 {
	for {
		hash := sum(text)
		if f := binary.LittleEndian.Uint64(hash[:]); f != 0 {
			return f
		}
		text = append(text, 0)
	}
}

// Digest returns what stands for a whole service where 8 bytes are not enough,
// as in a handshake: the SHA-256 over the SHA-256 hashes of its methods'
// identity texts, sorted as bytes and one behind the other. The order of the
// methods does not matter.
func Digest(service *Service) [sha256.Size]byte {
	hashes := make([][]byte, len(service.Methods))
	for i := range service.Methods {
		hash := sha256.Sum256([]byte(Identity(service, &service.Methods[i])))
		hashes[i] = hash[:]
	}
	slices.SortFunc(hashes, bytes.Compare)
	return sha256.Sum256(bytes.Join(hashes, nil))
}

// Form returns the method as it is today in the form in which later versions
// will list it among their ancestors: its fingerprint and its block lengths.
// The error wraps [ErrInvalid].
func Form(service *Service, m *Method) (Ancestor, error) {
	form, err := newLayouter().blocks(m)
	if err != nil {
		return Ancestor{}, err
	}
	form.Fingerprint = Fingerprint(service, m)
	return form, nil
}

// blocks returns the block lengths of the method's messages.
func (l *layouter) blocks(m *Method) (lengths Ancestor, err error) {
	for s := range Slot(slots) {
		if !m.Mode.Has(s) {
			continue
		}
		root, err := l.root(m.Message(s))
		if err != nil {
			return Ancestor{}, err
		}
		*lengths.length(s) = root.Size
	}
	return lengths, nil
}
