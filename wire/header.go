package wire

import (
	"encoding/binary"
	"errors"
)

const (
	// HeaderSize is the length of an encoded header in bytes.
	HeaderSize = 20

	// Version is the protocol version that this package speaks; it is the
	// high nibble of byte 16.
	Version = 1

	// MaxLength bounds Header.Length in bytes (1 GiB). A link states a far
	// smaller bound of its own; this one exists so that no arithmetic on a
	// length that came from outside can overflow 32 bits.
	MaxLength = 1 << 30
)

// Byte offsets of the fields within an encoded header.
const (
	offLength      = 0
	offFingerprint = 4
	offCorrelation = 12
	offVersionKind = 16
	offFlags       = 17
	offChannel     = 18
	offHops        = 19
)

// The layout is the contract with every other implementation; a change of any
// offset must fail to compile, not fail to interoperate.
var (
	_ = [1]struct{}{}[offFingerprint-offLength-4]
	_ = [1]struct{}{}[offCorrelation-offFingerprint-8]
	_ = [1]struct{}{}[offVersionKind-offCorrelation-4]
	_ = [1]struct{}{}[offFlags-offVersionKind-1]
	_ = [1]struct{}{}[offChannel-offFlags-1]
	_ = [1]struct{}{}[offHops-offChannel-1]
	_ = [1]struct{}{}[HeaderSize-offHops-1]
)

// Kind says what a vesicle is within a conversation.
type Kind uint8

// The kinds. Zero is none of them, so that zeroed memory never decodes.
const (
	KindRequest    Kind = 1 // opens a call
	KindReply      Kind = 2 // ends a call with a result
	KindError      Kind = 3 // ends a call with a status; see [ErrorPayload]
	KindEvent      Kind = 4 // one-way: a topic's message or a call without reply
	KindStreamItem Kind = 5 // one item of a stream within a call
	KindCredit     Kind = 6 // allows the peer to send more stream items
	KindCancel     Kind = 7 // the caller no longer wants the reply
	KindControl    Kind = 8 // the link's own affairs, never the application's

	kindLast = KindControl
)

// Flags modify how the payload is to be read.
type Flags uint8

// The flag bits. Bits 6 and 7 are reserved and must be zero.
const (
	// FlagMore says that further fragments of this vesicle follow. It is
	// valid only together with FlagFragment.
	FlagMore Flags = 1 << 0
	// FlagEnd says that the sender's stream ends with this vesicle.
	FlagEnd Flags = 1 << 1
	// FlagDeadline says that the payload begins with a [DeadlineSize]-byte
	// budget in nanoseconds; see [PutDeadline].
	FlagDeadline Flags = 1 << 2
	// FlagFragment says that the payload begins with a [FragmentSize]-byte
	// prefix that names the whole length, this fragment's offset and the
	// sender's sequence number; see [PutFragment]. The last fragment carries
	// it too, so that a lost first fragment can't make the last one look like
	// a whole vesicle.
	FlagFragment Flags = 1 << 5

	flagPriorityShift       = 3
	flagPriorityMask  Flags = 3 << flagPriorityShift
	flagsReserved     Flags = 0xC0
)

// Priority returns the two priority bits: 0 is ordinary, 3 most urgent.
func (f Flags) Priority() uint8 { return uint8(f&flagPriorityMask) >> flagPriorityShift }

// WithPriority returns f with its priority bits set to p, of which only the
// low two bits count.
func (f Flags) WithPriority(p uint8) Flags {
	return f&^flagPriorityMask | Flags(p)<<flagPriorityShift&flagPriorityMask
}

// Channel keeps different users of one link apart.
type Channel uint8

// The channels.
const (
	ChannelApplication Channel = 0
	ChannelConsensus   Channel = 1
	ChannelOperations  Channel = 2
	ChannelDiscovery   Channel = 3

	channelLast = ChannelDiscovery
)

// Reasons why bytes are not a header. [Decode] and [Header.Validate] return
// exactly these values.
var (
	ErrShort    = errors.New("wire: fewer bytes than a header has (20)")
	ErrVersion  = errors.New("wire: unknown protocol version")
	ErrKind     = errors.New("wire: unknown kind")
	ErrFlags    = errors.New("wire: reserved flag bit set, or more-fragments without fragment")
	ErrChannel  = errors.New("wire: unknown channel")
	ErrLength   = errors.New("wire: length above 1 GiB")
	ErrPrefix   = errors.New("wire: payload shorter than the prefixes its flags announce")
	ErrFragment = errors.New("wire: fragment is empty or lies outside the length it announces")
)

// Header is a decoded header. Fields are in host order; [Header.Put],
// [Header.Load] and [Decode] convert. The zero value is invalid (it has no kind).
type Header struct {
	// Fingerprint is the structural identity of the method or topic that the
	// payload belongs to, and thereby the route.
	Fingerprint uint64
	// Length is the number of payload bytes that follow the header.
	Length uint32
	// Correlation is chosen by the caller, unique among its outstanding
	// calls on one link, and echoed by every answer.
	Correlation uint32
	Kind        Kind
	Flags       Flags
	Channel     Channel
	// Hops is how many forwarders may still pass the vesicle on.
	Hops uint8
}

// Put encodes h into b. It does not validate: a header that was built from
// the package's constants is valid. (A Kind above 15 would spill into the
// version; [Header.Validate] refuses it.)
func (h *Header) Put(b *[HeaderSize]byte) {
	binary.LittleEndian.PutUint32(b[offLength:], h.Length)
	binary.LittleEndian.PutUint64(b[offFingerprint:], h.Fingerprint)
	binary.LittleEndian.PutUint32(b[offCorrelation:], h.Correlation)
	// The compiler merges the four loads into one, and the store is one.
	tail := uint32(h.Kind) | uint32(h.Flags)<<8 | uint32(h.Channel)<<16 | uint32(h.Hops)<<24
	binary.LittleEndian.PutUint32(b[offVersionKind:], tail|Version<<4)
}

// The last four bytes of a header as one little-endian word, and the bits of
// it that must have a certain value in every header.
const (
	tailKind      = 0x0f
	tailFixed     = 0xf0 | uint32(flagsReserved)<<8 | 0xfc<<16
	tailFixedWant = Version << 4
	tailRare      = uint32(FlagMore|FlagFragment|FlagDeadline) << 8
)

// Tail is the last four bytes of a header as one little-endian word: version,
// kind, flags, channel and hops.
type Tail uint32

// Unpack decodes b into h without checking it, and returns the length and the
// tail, on which Valid must be called before h may be believed. Each byte of b
// is read exactly once, so b may be memory to which a hostile peer is writing.
// Unpack and Valid are [Header.Load] in two parts that can be inlined.
func (h *Header) Unpack(b *[HeaderSize]byte) (length uint32, t Tail) {
	tail := binary.LittleEndian.Uint32(b[offVersionKind:])
	length = binary.LittleEndian.Uint32(b[offLength:])
	h.Length = length
	h.Fingerprint = binary.LittleEndian.Uint64(b[offFingerprint:])
	h.Correlation = binary.LittleEndian.Uint32(b[offCorrelation:])
	// The version goes by subtraction, which leaves the compiler one word to
	// store; if it is another one, these are arbitrary, and the tail not valid.
	fields := tail - Version<<4
	h.Kind = Kind(fields)
	h.Flags = Flags(fields >> 8)
	h.Channel = Channel(fields >> 16)
	h.Hops = uint8(fields >> 24)
	return length, Tail(tail)
}

// Valid reports whether a header with tail t and the given length is valid,
// lengths above limit, which is MaxLength or less, excluded.
func (t Tail) Valid(length, limit uint32) bool {
	return uint32(t)&tailFixed == tailFixedWant && uint32(t)&tailKind-1 < uint32(kindLast) && length <= limit &&
		(uint32(t)&tailRare == 0 || t.rare(length))
}

// rare checks what only the flags of tailRare make necessary.
func (t Tail) rare(length uint32) bool {
	f := Flags(t >> 8)
	return f&(FlagMore|FlagFragment) != FlagMore && length >= prefixSize(f)
}

// Load decodes b into h and reports whether it is valid and announces at most
// limit bytes of payload, where limit is MaxLength or less; if not, h's content
// is arbitrary and [Decode] names the reason. Like Unpack it reads each byte of
// b once.
func (h *Header) Load(b *[HeaderSize]byte, limit uint32) bool {
	length, t := h.Unpack(b)
	return t.Valid(length, limit)
}

// Validate reports the first reason why h may not be acted upon, or nil.
// It checks the header alone; whether Length bytes follow is the link's to
// know.
func (h *Header) Validate() error {
	switch {
	case h.Kind-1 >= kindLast: // unsigned: also refuses 0
		return ErrKind
	case h.Flags&flagsReserved != 0 || h.Flags&(FlagMore|FlagFragment) == FlagMore:
		return ErrFlags
	case h.Channel > channelLast:
		return ErrChannel
	case h.Length > MaxLength:
		return ErrLength
	case h.Length < prefixSize(h.Flags):
		return ErrPrefix
	}
	return nil
}

// Decode reads and validates a header from the front of b. It never retains b.
func Decode(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, ErrShort
	}
	// A copy, so that the reason below is about the bytes that Load saw even
	// if a hostile peer is writing to b.
	e := [HeaderSize]byte(b)
	var h Header
	if h.Load(&e, MaxLength) {
		return h, nil
	}
	if e[offVersionKind]>>4 != Version {
		return Header{}, ErrVersion
	}
	return Header{}, h.Validate()
}

// Append appends the encoded header to b and returns the extended slice.
func (h *Header) Append(b []byte) []byte {
	var e [HeaderSize]byte
	h.Put(&e)
	return append(b, e[:]...)
}

// Vesicle is one header and its payload: the unit that travels.
//
// Whose memory Payload is, and until when it may be touched, is stated by the
// function that hands a Vesicle out: a claimed one belongs to the claimant
// until commit, a polled one to the reader until release.
type Vesicle struct {
	Header  Header
	Payload []byte
}
