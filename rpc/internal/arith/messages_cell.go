package arith

import (
	"encoding/binary"
	"fmt"

	"github.com/cell-runtime/cell/wire"
)

// Block lengths of the messages.
const (
	addRequestBlock   = 16
	addReplyBlock     = 8
	countRequestBlock = 4
	countReplyBlock   = 4
	numberBlock       = 8
	textBlock         = 12 // block length u32, then offset and count of Bytes
)

func short(what string, have, want int) error {
	return fmt.Errorf("%w: %s of %d bytes, its block has %d", wire.StatusInvalidArgument, what, have, want)
}

// SizeCell implements rpc.Encoder.
func (m AddRequest) SizeCell() int { return addRequestBlock }

// EncodeCell implements rpc.Encoder.
func (m AddRequest) EncodeCell(b []byte) (int, error) {
	if len(b) < addRequestBlock {
		return 0, short("AddRequest", len(b), addRequestBlock)
	}
	binary.LittleEndian.PutUint64(b[0:], uint64(m.A))
	binary.LittleEndian.PutUint64(b[8:], uint64(m.B))
	return addRequestBlock, nil
}

// DecodeCell implements rpc.Decoder.
func (m *AddRequest) DecodeCell(b []byte) error {
	if len(b) < addRequestBlock {
		return short("AddRequest", len(b), addRequestBlock)
	}
	m.A = int64(binary.LittleEndian.Uint64(b[0:]))
	m.B = int64(binary.LittleEndian.Uint64(b[8:]))
	return nil
}

// SizeCell implements rpc.Encoder.
func (m AddReply) SizeCell() int { return addReplyBlock }

// EncodeCell implements rpc.Encoder.
func (m AddReply) EncodeCell(b []byte) (int, error) {
	if len(b) < addReplyBlock {
		return 0, short("AddReply", len(b), addReplyBlock)
	}
	binary.LittleEndian.PutUint64(b, uint64(m.Sum))
	return addReplyBlock, nil
}

// DecodeCell implements rpc.Decoder.
func (m *AddReply) DecodeCell(b []byte) error {
	if len(b) < addReplyBlock {
		return short("AddReply", len(b), addReplyBlock)
	}
	m.Sum = int64(binary.LittleEndian.Uint64(b))
	return nil
}

// SizeCell implements rpc.Encoder.
func (m CountRequest) SizeCell() int { return countRequestBlock }

// EncodeCell implements rpc.Encoder.
func (m CountRequest) EncodeCell(b []byte) (int, error) {
	if len(b) < countRequestBlock {
		return 0, short("CountRequest", len(b), countRequestBlock)
	}
	binary.LittleEndian.PutUint32(b, m.N)
	return countRequestBlock, nil
}

// DecodeCell implements rpc.Decoder.
func (m *CountRequest) DecodeCell(b []byte) error {
	if len(b) < countRequestBlock {
		return short("CountRequest", len(b), countRequestBlock)
	}
	m.N = binary.LittleEndian.Uint32(b)
	return nil
}

// SizeCell implements rpc.Encoder.
func (m CountReply) SizeCell() int { return countReplyBlock }

// EncodeCell implements rpc.Encoder.
func (m CountReply) EncodeCell(b []byte) (int, error) {
	if len(b) < countReplyBlock {
		return 0, short("CountReply", len(b), countReplyBlock)
	}
	binary.LittleEndian.PutUint32(b, m.Sent)
	return countReplyBlock, nil
}

// DecodeCell implements rpc.Decoder.
func (m *CountReply) DecodeCell(b []byte) error {
	if len(b) < countReplyBlock {
		return short("CountReply", len(b), countReplyBlock)
	}
	m.Sent = binary.LittleEndian.Uint32(b)
	return nil
}

// SizeCell implements rpc.Encoder.
func (m Number) SizeCell() int { return numberBlock }

// EncodeCell implements rpc.Encoder.
func (m Number) EncodeCell(b []byte) (int, error) {
	if len(b) < numberBlock {
		return 0, short("Number", len(b), numberBlock)
	}
	binary.LittleEndian.PutUint64(b, uint64(m.Value))
	return numberBlock, nil
}

// DecodeCell implements rpc.Decoder.
func (m *Number) DecodeCell(b []byte) error {
	if len(b) < numberBlock {
		return short("Number", len(b), numberBlock)
	}
	m.Value = int64(binary.LittleEndian.Uint64(b))
	return nil
}

// SizeCell implements rpc.Encoder.
func (m Text) SizeCell() int { return textBlock + len(m.Bytes) }

// EncodeCell implements rpc.Encoder.
func (m Text) EncodeCell(b []byte) (int, error) {
	if len(b) < m.SizeCell() {
		return 0, short("Text", len(b), m.SizeCell())
	}
	offset := 0
	if len(m.Bytes) > 0 {
		offset = textBlock
	}
	binary.LittleEndian.PutUint32(b[0:], textBlock)
	binary.LittleEndian.PutUint32(b[4:], uint32(offset))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(m.Bytes)))
	copy(b[textBlock:], m.Bytes)
	return m.SizeCell(), nil
}

// DecodeCell implements rpc.Decoder.
func (m *Text) DecodeCell(b []byte) error {
	if len(b) < textBlock {
		return short("Text", len(b), textBlock)
	}
	offset, n := uint64(binary.LittleEndian.Uint32(b[4:])), uint64(binary.LittleEndian.Uint32(b[8:]))
	if offset+n > uint64(len(b)) {
		return fmt.Errorf("%w: Text.Bytes lies outside the message", wire.StatusInvalidArgument)
	}
	m.Bytes = append([]byte(nil), b[offset:offset+n]...)
	return nil
}
