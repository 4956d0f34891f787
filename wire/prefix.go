package wire

import "encoding/binary"

// Prefixes are optional fields between header and payload proper. They count
// as payload in [Header.Length], and they stand in a fixed order: fragment
// first (a forwarder must see it), then deadline.
const (
	// FragmentSize is the length of the prefix that [FlagFragment] announces.
	FragmentSize = 8
	// DeadlineSize is the length of the prefix that [FlagDeadline] announces.
	DeadlineSize = 8
)

// prefixSize is the least payload that flags f demand. A fragment carries the
// deadline within its first piece, not in each.
func prefixSize(f Flags) uint32 {
	if f&FlagFragment != 0 {
		return FragmentSize
	}
	if f&FlagDeadline != 0 {
		return DeadlineSize
	}
	return 0
}

// PutDeadline encodes the nanoseconds that remain for a call. The budget is
// relative because the clocks of two hosts can't be compared; the receiver
// starts it when the vesicle arrives.
func PutDeadline(b *[DeadlineSize]byte, budget uint64) {
	binary.LittleEndian.PutUint64(b[:], budget)
}

// Deadline decodes what [PutDeadline] wrote.
func Deadline(b *[DeadlineSize]byte) (budget uint64) {
	return binary.LittleEndian.Uint64(b[:])
}

// Fragment places one piece within the vesicle that it belongs to.
type Fragment struct {
	Total  uint32 // payload bytes of the whole vesicle, prefixes of fragments not counted
	Offset uint32 // where this piece begins
}

// PutFragment encodes f.
func PutFragment(b *[FragmentSize]byte, f Fragment) {
	binary.LittleEndian.PutUint32(b[0:], f.Total)
	binary.LittleEndian.PutUint32(b[4:], f.Offset)
}

// GetFragment decodes what [PutFragment] wrote and checks that a piece of n
// bytes lies within the announced whole, without overflow.
func GetFragment(b *[FragmentSize]byte, n int) (Fragment, error) {
	f := Fragment{Total: binary.LittleEndian.Uint32(b[0:]), Offset: binary.LittleEndian.Uint32(b[4:])}
	if n < 0 || f.Total > MaxLength || uint64(f.Offset)+uint64(n) > uint64(f.Total) {
		return Fragment{}, ErrFragment
	}
	return f, nil
}
