package bulk_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cell-runtime/cell/bulk"
)

// pattern returns n bytes whose period, a prime, divides no size of a piece: a
// piece that lands elsewhere shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func TestCopyMovesWhatFitsAndNothingElse(t *testing.T) {
	const piece = 64 << 10
	for _, c := range []struct {
		name     string
		dst, src int
	}{
		{"nothing", 0, 0},
		{"nothing into room", 8, 0},
		{"something into none", 0, 8},
		{"one byte", 1, 1},
		{"a line's payload", 40, 40},
		{"one byte short of what goes by lines", 511, 511},
		{"by lines", 512, 512},
		{"by lines, and a byte", 513, 513},
		{"by lines, three quarters of a turn", 960, 960},
		{"by lines, a vesicle of 1 KiB", 1000, 1000},
		{"by lines, a line short of a turn", 1023, 1023},
		{"one byte short of a string", 8191, 8191},
		{"a string", 8192, 8192},
		{"one byte short of a piece", piece - 1, piece - 1},
		{"a piece", piece, piece},
		{"a piece and a byte", piece + 1, piece + 1},
		{"several pieces", 5 * piece, 5 * piece},
		{"several pieces and a rest", 5*piece + 24, 5*piece + 24},
		{"room for less than the source", 2*piece + 7, 3 * piece},
		{"more room than the source has", 3 * piece, 2*piece + 7},
		{"above the runtime's non-temporal threshold", 1<<20 + 64, 1<<20 + 64},
	} {
		for _, at := range []int{0, 1, 24} { // payloads begin 24 bytes into a line
			t.Run(fmt.Sprintf("%s, offset %d", c.name, at), func(t *testing.T) {
				src, want := pattern(c.src), min(c.dst, c.src)
				memory := bytes.Repeat([]byte{0xee}, at+c.dst+64)
				if n := bulk.Copy(memory[at:at+c.dst], src); n != want {
					t.Errorf("Copy returned %d, want %d", n, want)
				}
				if !bytes.Equal(memory[at:at+want], src[:want]) {
					t.Error("the bytes differ")
				}
				for i, b := range memory {
					if (i < at || i >= at+want) && b != 0xee {
						t.Fatalf("byte %d, outside of what was to be copied, is %#x", i-at, b)
					}
				}
			})
		}
	}
}

// Lengths of every remainder, which the last store of a line has to make good.
func TestCopyOfEveryLength(t *testing.T) {
	src, dst := pattern(1200), make([]byte, 1200+64)
	for n := range src {
		clear(dst)
		if got := bulk.Copy(dst[8:], src[:n]); got != n {
			t.Fatalf("%d bytes: Copy returned %d", n, got)
		}
		if !bytes.Equal(dst[8:8+n], src[:n]) || bytes.Count(dst[8+n:], []byte{0}) != len(dst)-8-n || bytes.Count(dst[:8], []byte{0}) != 8 {
			t.Fatalf("%d bytes: other bytes are there, or beside", n)
		}
	}
}

func TestCopyAllocatesNothing(t *testing.T) {
	dst, src := make([]byte, 1<<20), pattern(1<<20)
	if n := testing.AllocsPerRun(10, func() { bulk.Copy(dst, src) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func ExampleCopy() {
	place := make([]byte, 8) // in practice, the payload of a claim
	n := bulk.Copy(place, []byte("vesicles"))
	fmt.Println(n, string(place[:n]))
	// Output: 8 vesicles
}
