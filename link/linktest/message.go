package linktest

import (
	"encoding/binary"
	"fmt"

	"github.com/cell-runtime/cell/wire"
)

// stream is a sequence of vesicles that both sides can compute: number i has
// size(i) bytes of payload, made by fill, and the header made by header.
type stream struct {
	count  int
	batch  int // vesicles to claim, and to poll, at once
	size   func(i int) int
	header func(i, size int) wire.Header // nil: plainHeader
}

func constant(size int) func(int) int { return func(int) int { return size } }

func (st *stream) headerOf(i int) wire.Header {
	size := st.size(i)
	if st.header == nil {
		return plainHeader(i, size)
	}
	h := st.header(i, size)
	h.Length = uint32(size)
	return h
}

// plainHeader differs in every field from vesicle to vesicle; Correlation is
// the number, by which a receiver recognizes it.
func plainHeader(i, size int) wire.Header {
	h := wire.Header{
		Length: uint32(size), Fingerprint: mix(uint64(i)), Correlation: uint32(i),
		Kind: wire.Kind(1 + i%7), Channel: wire.Channel(i % 4), Hops: uint8(i),
	}
	h.Flags = h.Flags.WithPriority(uint8(i / 3))
	if i%5 == 0 {
		h.Flags |= wire.FlagEnd
	}
	return h
}

// mix scatters the bits of x (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// fill writes the payload of vesicle i.
func fill(b []byte, i int) {
	x := mix(uint64(i) + 1)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, x)
		x += 0x9e3779b97f4a7c15
		b = b[8:]
	}
	for j := range b {
		b[j] = byte(x >> (8 * j))
	}
}

// verify compares a payload with that of vesicle i.
func verify(b []byte, i int) error {
	x, whole := mix(uint64(i)+1), b
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != x {
			return fmt.Errorf("vesicle %d: payload of %d bytes differs near offset %d", i, len(whole), len(whole)-len(b))
		}
		x += 0x9e3779b97f4a7c15
		b = b[8:]
	}
	for j := range b {
		if b[j] != byte(x>>(8*j)) {
			return fmt.Errorf("vesicle %d: payload of %d bytes differs at offset %d", i, len(whole), len(whole)-len(b)+j)
		}
	}
	return nil
}

// check compares a polled vesicle with number i of the stream.
func (st *stream) check(v *wire.Vesicle, i int) error {
	if want := st.headerOf(i); v.Header != want {
		return fmt.Errorf("vesicle %d: header %+v, want %+v", i, v.Header, want)
	}
	if len(v.Payload) != int(v.Header.Length) {
		return fmt.Errorf("vesicle %d: %d bytes of payload, header says %d", i, len(v.Payload), v.Header.Length)
	}
	return verify(v.Payload, i)
}
