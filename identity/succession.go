package identity

import (
	"fmt"
	"time"
)

// Succession is a node's word that another key takes its key's place. Both
// have signed it: the old one, because nobody else may hand over its trust, and
// the new one, so that nobody can claim a key that he hasn't got.
//
// While it is valid, whoever trusts the old key trusts the new one, too, and
// nothing changes for the old one. By its end the allow lists and memberships
// must name the new key.
//
// Encoded it is, little endian: version 1, old 32, new 32, not before 8, not
// after 8, signatures of the old and the new key 64 each.
type Succession struct {
	Old, New  ID
	NotBefore time.Time
	NotAfter  time.Time

	byOld, byNew [64]byte
}

const (
	successionSize = 1 + 32 + 32 + 8 + 8 + 64 + 64
	// MaxSuccession is the longest time for which one may be valid: an old key
	// that is stolen later must not be able to vouch for ever.
	MaxSuccession = 90 * 24 * time.Hour
)

// NewSuccession makes one that is valid from now on for overlap, which is at
// most [MaxSuccession].
func NewSuccession(old, next *Key, now time.Time, overlap time.Duration) (*Succession, error) {
	if overlap <= 0 || overlap > MaxSuccession {
		return nil, fmt.Errorf("identity: an overlap of %v; it must be above 0 and at most %v", overlap, MaxSuccession)
	}
	s := &Succession{Old: old.ID(), New: next.ID(), NotBefore: seconds(now), NotAfter: seconds(now.Add(overlap))}
	if s.Old == s.New {
		return nil, fmt.Errorf("identity: %v can't succeed itself", s.Old)
	}
	s.byOld = [64]byte(old.Sign(domainSuccession, s.signed()))
	s.byNew = [64]byte(next.Sign(domainSuccession, s.signed()))
	return s, nil
}

func (s *Succession) signed() []byte {
	b := append(make([]byte, 0, successionSize), statementVersion)
	b = append(b, s.Old[:]...)
	b = append(b, s.New[:]...)
	return appendTime(appendTime(b, s.NotBefore), s.NotAfter)
}

// MarshalBinary implements [encoding.BinaryMarshaler].
func (s *Succession) MarshalBinary() ([]byte, error) {
	return append(append(s.signed(), s.byOld[:]...), s.byNew[:]...), nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]; it checks the form
// and no signature. Error: [ErrStatement].
func (s *Succession) UnmarshalBinary(b []byte) error {
	f := newFields(b)
	version := f.byte()
	*s = Succession{Old: f.key(), New: f.key(), NotBefore: f.time(), NotAfter: f.time(), byOld: f.signature(), byNew: f.signature()}
	if !f.done() || version != statementVersion {
		return fmt.Errorf("%w: %d bytes are no succession of version %d", ErrStatement, len(b), statementVersion)
	}
	return nil
}

// MarshalText implements [encoding.TextMarshaler]: the form that people copy.
func (s *Succession) MarshalText() ([]byte, error) {
	b, err := s.MarshalBinary()
	return []byte(encodeText(textSuccession, b)), err
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Succession) UnmarshalText(text []byte) error {
	b, err := decodeText(textSuccession, "a succession", string(text))
	if err != nil {
		return err
	}
	return s.UnmarshalBinary(b)
}

// Verify returns nil if both keys have signed and it is valid now. Errors:
// [ErrStatement], [ErrExpired].
func (s *Succession) Verify(now time.Time) error {
	switch {
	case s.Old == s.New || s.NotAfter.Sub(s.NotBefore) > MaxSuccession:
		return fmt.Errorf("%w: a succession of a key by itself, or for longer than %v", ErrStatement, MaxSuccession)
	case !Verify(s.Old, domainSuccession, s.signed(), s.byOld[:]):
		return fmt.Errorf("%w: the old key has not signed the succession", ErrStatement)
	case !Verify(s.New, domainSuccession, s.signed(), s.byNew[:]):
		return fmt.Errorf("%w: the new key has not signed the succession", ErrStatement)
	}
	return checkTimes("the succession", s.NotBefore, s.NotAfter, now)
}
