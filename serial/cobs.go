package serial

import (
	"encoding/binary"
	"math/bits"
)

// Consistent overhead byte stuffing (Cheshire and Baker, IEEE/ACM Transactions
// on Networking 7(2), 1999) writes any bytes without a zero among them. A block
// is a code and what follows it:
//
//	code c = 1..254: c-1 bytes that are not zero, then a zero that is not written
//	code 255:        254 bytes that are not zero, and no zero
//
// and the last block's zero, if it has one, does not count. The codes stand
// where the zeros stood, but for those of full blocks, which are added.
const cobsFull = 254 // bytes of a block of code 255

// cobsSlack is how many bytes cobsEncode may write behind its result.
const cobsSlack = 8

// cobsBound is the most bytes that n bytes become.
func cobsBound(n int) int { return n + n/cobsFull + 1 }

const (
	low7  = 0x7f7f7f7f7f7f7f7f
	high1 = 0x8080808080808080
)

// cobsEncode writes src to dst, which has room for cobsBound(len(src)) +
// cobsSlack bytes and does not overlap it, and returns how many bytes it became.
//
// It moves eight bytes at a time and then puts codes over the zeros among them:
// a zero and its code share one place.
func cobsEncode(dst, src []byte) int {
	code, w := 0, 1 // where the block's code goes; where the next byte goes
	for len(src) >= 8 {
		if w-code+7 > cobsFull {
			// The block may become full within these eight.
			code, w, src = cobsFill(dst, src, code, w)
			continue
		}
		x := binary.LittleEndian.Uint64(src)
		binary.LittleEndian.PutUint64(dst[w:], x)
		// Exactly the bytes that are zero, by their highest bits.
		for zeros := ^((x&low7 + low7) | x) & high1; zeros != 0; zeros &= zeros - 1 {
			z := w + bits.TrailingZeros64(zeros)>>3
			dst[code] = byte(z - code)
			code = z
		}
		w += 8
		src = src[8:]
	}
	for len(src) > 0 {
		code, w, src = cobsFill(dst, src, code, w)
	}
	dst[code] = byte(w - code)
	return w
}

// cobsFill goes byte by byte until a block ends or src does.
func cobsFill(dst, src []byte, code, w int) (nextCode, next int, rest []byte) {
	if w-code > cobsFull {
		// Full, and more follows: without more, it would have been the last.
		dst[code] = cobsFull + 1
		code, w = w, w+1
	}
	for i, b := range src {
		if b == 0 {
			dst[code] = byte(w - code)
			return w, w + 1, src[i+1:]
		}
		dst[w] = b
		w++
		if w-code > cobsFull {
			return code, w, src[i+1:]
		}
	}
	return code, w, nil
}

// cobsDecode decodes b, which has no zero in it, in place: the result is
// b[1 : 1+n]. It is false if b is not what an encoder writes; b's content is
// then arbitrary.
//
// Until the first full block nothing moves: a code's place becomes its zero's.
func cobsDecode(b []byte) (n int, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	at, c := 0, int(b[0]) // the code at hand
	for c <= cobsFull {
		next := at + c
		if c == 0 || next >= len(b) {
			return len(b) - 1, c != 0 && next == len(b)
		}
		at, c = next, int(b[next])
		b[next] = 0
	}
	w := at + 1
	for {
		next := at + c
		if c == 0 || next > len(b) {
			return 0, false
		}
		if w != at+1 {
			copy(b[w:], b[at+1:next])
		}
		w += c - 1
		if next == len(b) {
			return w - 1, true
		}
		if c <= cobsFull {
			b[w] = 0
			w++
		}
		at, c = next, int(b[next])
	}
}
