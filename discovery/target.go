package discovery

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cell-runtime/cell/identity"
)

var (
	// ErrTarget: what a client asks for can't be read.
	ErrTarget = errors.New("discovery: not a target")
	// ErrNoPath: nobody has what a client asks for, or nobody can be reached.
	ErrNoPath = errors.New("discovery: no path")
)

// Scheme is what targets begin with.
const Scheme = "cell://"

// Target is what a client looks for. Any part may be left out, but not all.
type Target struct {
	Service string
	// Fingerprint is a method's or topic's that the service must accept, as
	// its own or as an ancestor of it.
	Fingerprint uint64
	// Node must have it.
	Node ID
}

// ParseTarget reads cell://SERVICE, cell://SERVICE#FINGERPRINT, cell://#FINGERPRINT,
// each perhaps with @NODE at its end, where a fingerprint is 16 hexadecimal
// digits and a node its printed ID. Error: [ErrTarget].
func ParseTarget(text string) (Target, error) {
	var t Target
	rest, ok := strings.CutPrefix(text, Scheme)
	if !ok {
		return t, fmt.Errorf("%w: %q does not begin with %s", ErrTarget, text, Scheme)
	}
	rest, node, hasNode := strings.Cut(rest, "@")
	name, fingerprint, hasFingerprint := strings.Cut(rest, "#")
	if !validText(name, MaxName) || strings.Contains(name, "/") {
		return t, fmt.Errorf("%w: service %q in %q; at most %d printable ASCII characters, no '/'", ErrTarget, name, text, MaxName)
	}
	t.Service = name
	if hasFingerprint {
		f, err := strconv.ParseUint(fingerprint, 16, 64)
		if err != nil || len(fingerprint) != 16 || f == 0 {
			return t, fmt.Errorf("%w: fingerprint %q in %q; 16 hexadecimal digits", ErrTarget, fingerprint, text)
		}
		t.Fingerprint = f
	}
	if hasNode {
		id, err := identity.ParseID(node)
		if err != nil {
			return t, fmt.Errorf("%w: node in %q: %w", ErrTarget, text, err)
		}
		t.Node = id
	}
	if t.Service == "" && t.Fingerprint == 0 {
		return t, fmt.Errorf("%w: %q names neither a service nor a fingerprint", ErrTarget, text)
	}
	return t, nil
}

// String returns what [ParseTarget] reads.
func (t Target) String() string {
	s := Scheme + t.Service
	if t.Fingerprint != 0 {
		s += fmt.Sprintf("#%016x", t.Fingerprint)
	}
	if !t.Node.IsZero() {
		s += "@" + t.Node.String()
	}
	return s
}

// match reports whether a service is what the target asks for, and whether only
// by an earlier form.
func (t *Target) match(s *Service) (ok, ancestor bool) {
	if t.Service != "" && s.Name != t.Service {
		return false, false
	}
	if t.Fingerprint == 0 {
		return true, false
	}
	return s.Provides(t.Fingerprint)
}
