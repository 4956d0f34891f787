package rpc

// Encoder is a message that can be written. Generated for every message
// struct, with value receivers.
type Encoder interface {
	// SizeCell returns the length in bytes of the encoded message.
	SizeCell() int
	// EncodeCell writes the message to the front of b, which has at least
	// SizeCell bytes of arbitrary content, and returns how many it wrote.
	EncodeCell(b []byte) (int, error)
}

// Decoder is a message that can be read. Generated for every message struct,
// with a pointer receiver.
type Decoder interface {
	// DecodeCell reads the message from b and keeps no reference to b. It
	// must be safe on any bytes.
	DecodeCell(b []byte) error
}

// Empty is the message without fields, of length 0.
type Empty struct{}

// SizeCell implements [Encoder].
func (Empty) SizeCell() int { return 0 }

// EncodeCell implements [Encoder].
func (Empty) EncodeCell([]byte) (int, error) { return 0, nil }

// DecodeCell implements [Decoder]. A newer peer may have appended fields,
// which are ignored.
func (*Empty) DecodeCell([]byte) error { return nil }
