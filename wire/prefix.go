package wire

import "encoding/binary"

// Prefixes are optional fields between header and payload proper. They count
// as payload in [Header.Length], and they stand in a fixed order: fragment
// first (a forwarder must see it), then deadline.
const (
	// FragmentSize is the length of the prefix that [FlagFragment] announces:
	// total u32, offset u32, sequence u32.
	FragmentSize = 12
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
//
// Pieces belong together when fingerprint, correlation, kind, channel and
// Sequence agree. Without the sequence, two items of one stream, which agree
// in everything else, could be mixed on a link that loses pieces.
type Fragment struct {
	// Total is the payload bytes of the whole vesicle, with its deadline
	// prefix if it has one, without the prefixes of its fragments.
	Total uint32
	// Offset is where this piece begins within those Total bytes.
	Offset uint32
	// Sequence tells vesicles that a sender splits from each other: it starts
	// anywhere (best at random, so that a sender which restarts doesn't
	// continue its former self) and counts up by one for each split vesicle.
	Sequence uint32
}

// PutFragment encodes f.
func PutFragment(b *[FragmentSize]byte, f Fragment) {
	binary.LittleEndian.PutUint32(b[0:], f.Total)
	binary.LittleEndian.PutUint32(b[4:], f.Offset)
	binary.LittleEndian.PutUint32(b[8:], f.Sequence)
}

// GetFragment decodes what [PutFragment] wrote and checks that a piece of n
// bytes is not empty and lies within the announced whole, without overflow.
// Each byte of b is read once, so b may be memory that a hostile peer is
// writing to.
func GetFragment(b *[FragmentSize]byte, n int) (Fragment, error) {
	f := Fragment{
		Total:    binary.LittleEndian.Uint32(b[0:]),
		Offset:   binary.LittleEndian.Uint32(b[4:]),
		Sequence: binary.LittleEndian.Uint32(b[8:]),
	}
	if n <= 0 || f.Total > MaxLength || uint64(f.Offset)+uint64(n) > uint64(f.Total) {
		return Fragment{}, ErrFragment
	}
	return f, nil
}
