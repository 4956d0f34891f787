package arith

import "encoding/binary"

// AddRequestView reads an AddRequest in place.
type AddRequestView struct{ b *[addRequestBlock]byte }

// ViewAddRequest checks b once and returns a view of it, which lives as long
// as b does.
func ViewAddRequest(b []byte) (AddRequestView, error) {
	if len(b) < addRequestBlock {
		return AddRequestView{}, short("AddRequest", len(b), addRequestBlock)
	}
	return AddRequestView{(*[addRequestBlock]byte)(b)}, nil
}

// A is AddRequest.A.
func (v AddRequestView) A() int64 { return int64(binary.LittleEndian.Uint64(v.b[0:])) }

// B is AddRequest.B.
func (v AddRequestView) B() int64 { return int64(binary.LittleEndian.Uint64(v.b[8:])) }

// AddRequestBuilder writes an AddRequest in place.
type AddRequestBuilder struct{ b *[addRequestBlock]byte }

// BuildAddRequest returns a builder over the front of b, which it zeroes.
func BuildAddRequest(b []byte) (AddRequestBuilder, error) {
	if len(b) < addRequestBlock {
		return AddRequestBuilder{}, short("AddRequest", len(b), addRequestBlock)
	}
	m := AddRequestBuilder{(*[addRequestBlock]byte)(b)}
	*m.b = [addRequestBlock]byte{}
	return m, nil
}

// SetA sets AddRequest.A.
func (m AddRequestBuilder) SetA(x int64) { binary.LittleEndian.PutUint64(m.b[0:], uint64(x)) }

// SetB sets AddRequest.B.
func (m AddRequestBuilder) SetB(x int64) { binary.LittleEndian.PutUint64(m.b[8:], uint64(x)) }

// Len returns the length of the message.
func (m AddRequestBuilder) Len() int { return addRequestBlock }

// AddReplyView reads an AddReply in place.
type AddReplyView struct{ b *[addReplyBlock]byte }

// ViewAddReply checks b once and returns a view of it, which lives as long as
// b does.
func ViewAddReply(b []byte) (AddReplyView, error) {
	if len(b) < addReplyBlock {
		return AddReplyView{}, short("AddReply", len(b), addReplyBlock)
	}
	return AddReplyView{(*[addReplyBlock]byte)(b)}, nil
}

// Sum is AddReply.Sum.
func (v AddReplyView) Sum() int64 { return int64(binary.LittleEndian.Uint64(v.b[0:])) }

// AddReplyBuilder writes an AddReply in place.
type AddReplyBuilder struct{ b *[addReplyBlock]byte }

// BuildAddReply returns a builder over the front of b, which it zeroes.
func BuildAddReply(b []byte) (AddReplyBuilder, error) {
	if len(b) < addReplyBlock {
		return AddReplyBuilder{}, short("AddReply", len(b), addReplyBlock)
	}
	m := AddReplyBuilder{(*[addReplyBlock]byte)(b)}
	*m.b = [addReplyBlock]byte{}
	return m, nil
}

// SetSum sets AddReply.Sum.
func (m AddReplyBuilder) SetSum(x int64) { binary.LittleEndian.PutUint64(m.b[0:], uint64(x)) }

// Len returns the length of the message.
func (m AddReplyBuilder) Len() int { return addReplyBlock }

// TextView reads a Text in place.
type TextView struct{ b []byte }

// ViewText checks b once and returns a view of it, which lives as long as b
// does.
func ViewText(b []byte) (TextView, error) {
	if len(b) < textBlock {
		return TextView{}, short("Text", len(b), textBlock)
	}
	return TextView{b}, nil
}

// Bytes is Text.Bytes in place; empty where the message lies.
func (v TextView) Bytes() []byte {
	offset, n := uint64(binary.LittleEndian.Uint32(v.b[4:])), uint64(binary.LittleEndian.Uint32(v.b[8:]))
	if offset+n > uint64(len(v.b)) {
		return nil
	}
	return v.b[offset : offset+n : offset+n]
}

// TextBuilder writes a Text in place.
type TextBuilder struct {
	b   []byte
	end *int
}

// Len returns the length of the message so far.
func (m *TextBuilder) Len() int { return *m.end }

// BuildText returns a builder over b, whose block it zeroes.
func BuildText(b []byte, end *int) (TextBuilder, error) {
	if len(b) < textBlock {
		return TextBuilder{}, short("Text", len(b), textBlock)
	}
	clear(b[:textBlock])
	binary.LittleEndian.PutUint32(b, textBlock)
	*end = textBlock
	return TextBuilder{b, end}, nil
}

// SetBytes sets Text.Bytes. It fails where the place has no room for it.
func (m *TextBuilder) SetBytes(x []byte) error {
	if len(x) > len(m.b)-*m.end {
		return short("Text", len(m.b), *m.end+len(x))
	}
	binary.LittleEndian.PutUint32(m.b[4:], uint32(*m.end))
	binary.LittleEndian.PutUint32(m.b[8:], uint32(len(x)))
	*m.end += copy(m.b[*m.end:], x)
	return nil
}
