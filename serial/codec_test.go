package serial

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// cobsPlain is COBS as its paper describes it, byte by byte.
func cobsPlain(src []byte) []byte {
	out, code := []byte{0}, 0
	full := false
	for _, b := range src {
		if full {
			out = append(out, 0)
			code, full = len(out)-1, false
		}
		if b == 0 {
			out[code] = byte(len(out) - code)
			out = append(out, 0)
			code = len(out) - 1
			continue
		}
		out = append(out, b)
		if len(out)-code == 255 {
			out[code] = 255
			full = true
		}
	}
	out[code] = byte(len(out) - code)
	return out
}

func checkCOBS(t *testing.T, src []byte) {
	t.Helper()
	want := cobsPlain(src)
	dst := make([]byte, cobsBound(len(src))+cobsSlack)
	got := dst[:cobsEncode(dst, src)]
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes: encoded\n%x, want\n%x", len(src), got, want)
	}
	if bytes.IndexByte(got, 0) >= 0 || len(got) > cobsBound(len(src)) {
		t.Fatalf("%d bytes: a zero within, or %d bytes above the bound %d", len(src), len(got), cobsBound(len(src)))
	}
	n, ok := cobsDecode(got)
	if !ok || !bytes.Equal(got[1:1+n], src) {
		t.Fatalf("%d bytes do not come back: %t\n%x, want\n%x", len(src), ok, got[1:1+n], src)
	}
}

func TestCOBSAgainstTheTextbook(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 1100 {
		for _, zeros := range []int{0, 1, 2, 40, 250, 600} {
			src := make([]byte, n)
			for i := range src {
				if src[i] = byte(1 + rng.IntN(255)); zeros > 0 && rng.IntN(zeros) == 0 {
					src[i] = 0
				}
			}
			checkCOBS(t, src)
		}
	}
	// One zero at every place around full blocks.
	for n := 250; n < 262; n++ {
		for z := range n {
			src := bytes.Repeat([]byte{0xff}, n)
			src[z] = 0
			checkCOBS(t, src)
		}
	}
}

func TestChecksums(t *testing.T) {
	// The check values of the catalogue of parametrised CRC algorithms.
	if got := crc16([]byte("123456789")); got != 0x906e {
		t.Errorf("CRC-16/X-25 of the check string: %#x, want 0x906e", got)
	}
	body := make([]byte, 9, 13)
	copy(body, "123456789")
	if n := seal(body); n != 13 || !bytes.Equal(body[9:13], []byte{0x83, 0x92, 0x06, 0xe3}) {
		t.Errorf("CRC-32C of the check string: %x", body[:n])
	}
	for n := range 64 {
		body := make([]byte, n, n+4)
		m := seal(body)
		got, err := unseal(body[:m])
		if n == 0 {
			if !errors.Is(err, ErrSize) {
				t.Errorf("an empty body: %v", err)
			}
			continue
		}
		if err != nil || len(got) != n {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
		if n <= shortBody && m != n+2 || n > shortBody && m != n+4 {
			t.Errorf("a body of %d bytes has a check of %d", n, m-n)
		}
	}
	for _, n := range []int{0, 1, 2, 11, 12} {
		if _, err := unseal(make([]byte, n)); !errors.Is(err, ErrSize) {
			t.Errorf("a frame of %d bytes: %v, want ErrSize", n, err)
		}
	}
}

// headers lists headers whose forms differ in every respect.
func headers() (hs []wire.Header) {
	for kind := wire.KindRequest; kind <= wire.KindControl; kind++ {
		for _, c := range []uint32{0, 1, 255, 256, 65535, 65536, 1<<32 - 1} {
			for _, tail := range [][3]uint8{{0, 0, 16}, {0, 0, 0}, {2, 0, 16}, {0, 3, 16}, {0x18, 1, 255}} {
				hs = append(hs, wire.Header{
					Fingerprint: 0x0123456789abcdef * uint64(kind), Correlation: c, Kind: kind,
					Flags: wire.Flags(tail[0]), Channel: wire.Channel(tail[1]), Hops: tail[2],
				})
			}
		}
	}
	return hs
}

func TestFramesComeBackBitIdentical(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, h := range headers() {
		for _, n := range []int{0, 1, 7, 8, 235, 236, 237, 238, 239, 240, 241, 1024, MaxPayload} {
			if n > 2000 && h.Kind != wire.KindEvent {
				continue
			}
			payload := make([]byte, n)
			for i := range payload {
				payload[i] = byte(rng.Uint32())
			}
			h.Length = uint32(n)
			line, err := AppendFrame([]byte("before"), h, payload)
			if err != nil {
				t.Fatal(err)
			}
			line = line[len("before"):]
			if len(line) > FrameBound(n) || line[0] != 0 || line[len(line)-1] != 0 || bytes.IndexByte(line[1:len(line)-1], 0) >= 0 {
				t.Fatalf("%d payload bytes: a frame of %d bytes, at most %d, delimited by zeros alone: %x", n, len(line), FrameBound(n), line)
			}
			got, body, err := DecodeFrame(line[1 : len(line)-1])
			if err != nil || got != h || !bytes.Equal(body, payload) {
				t.Fatalf("%+v came back as %+v, %v", h, got, err)
			}
		}
	}
}

func TestSequenceNumbersAreNotPartOfTheHeader(t *testing.T) {
	for _, h := range headers() {
		for _, seq := range []int{0, 1, 255} {
			var place [maxHeader + 3 + crc32Size]byte
			copy(place[maxHeader:], "abc")
			start := putHeader(place[:], &h, seq)
			var got wire.Header
			payload, s, err := getHeader(place[start:maxHeader+3], &got)
			h.Length = 3
			if err != nil || s != seq || got != h || string(payload) != "abc" {
				t.Fatalf("%+v, sequence %d: %+v, %d, %q, %v", h, seq, got, s, payload, err)
			}
		}
	}
}

func TestAppendFrameRefuses(t *testing.T) {
	for _, v := range []struct {
		name string
		h    wire.Header
		n    int
		want error
	}{
		{"a header without a kind", wire.Header{}, 0, wire.ErrKind},
		{"a reserved flag", wire.Header{Kind: 1, Flags: 0x40}, 0, wire.ErrFlags},
		{"a deadline without one", wire.Header{Kind: 1, Flags: wire.FlagDeadline}, 7, wire.ErrPrefix},
		{"too much", wire.Header{Kind: 1}, MaxPayload + 1, nil},
	} {
		t.Run(v.name, func(t *testing.T) {
			b, err := AppendFrame(nil, v.h, make([]byte, v.n))
			if err == nil || len(b) != 0 || v.want != nil && !errors.Is(err, v.want) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

func TestOwnFramesComeBack(t *testing.T) {
	hi := hello{version: 1, ask: true, window: 32, session: 0xdeadbeef, peer: 7, maxPayload: 4096}
	var hb [helloSize]byte
	hi.put(&hb)
	if got, ok := getHello(hb[:]); !ok || got != hi {
		t.Errorf("hello: %+v", got)
	}
	a := ack{next: 250, credit: 9, received: 0x80000001, session: 0xaabbccdd}
	var ab [ackSize]byte
	a.put(&ab)
	if got, ok := getAck(ab[:]); !ok || got != a {
		t.Errorf("ack: %+v", got)
	}
	var bb [byeSize]byte
	putBye(&bb, byeClosed, 99)
	if reason, session, ok := getBye(bb[:]); !ok || reason != byeClosed || session != 99 {
		t.Errorf("bye: %d, %d, %t", reason, session, ok)
	}
	if _, ok := getHello(make([]byte, helloSize)); ok {
		t.Error("a hello of session 0 is believed")
	}
}

func TestLineBytesThatArePayload(t *testing.T) {
	// The least compact header there is, and payload without a zero.
	h := wire.Header{Kind: wire.KindReply, Fingerprint: 1<<64 - 1, Correlation: 1<<32 - 1, Flags: 2, Hops: 3}
	for _, v := range []struct{ size, percent int }{{64, 70}, {256, 90}, {1024, 97}, {4096, 98}} {
		line, err := AppendFrame(nil, h, bytes.Repeat([]byte{0xff}, v.size))
		if err != nil {
			t.Fatal(err)
		}
		// One more for the sequence number of a window.
		if 100*v.size < v.percent*(len(line)+1) {
			t.Errorf("%d bytes of payload take %d on the line: below %d %%", v.size, len(line)+1, v.percent)
		}
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	const n = 1024
	place := make([]byte, maxHeader+n+crc32Size)
	line := make([]byte, FrameBound(n)+cobsSlack)
	h := wire.Header{Kind: wire.KindRequest, Correlation: 1 << 20}
	var got wire.Header
	if a := testing.AllocsPerRun(100, func() {
		size := encodeVesicle(line, place, &h, n, 5)
		body, err := decodeBody(line[1 : size-1])
		if err == nil {
			_, _, err = getHeader(body, &got)
		}
		if err != nil {
			t.Fatal(err)
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func benchmarkPayload(n int) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{64, 256, 1024, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			place := make([]byte, maxHeader+n+crc32Size)
			copy(place[maxHeader:], benchmarkPayload(n))
			line := make([]byte, FrameBound(n)+cobsSlack)
			h := wire.Header{Kind: wire.KindRequest, Fingerprint: 0x123456789abcdef, Correlation: 1 << 20}
			b.SetBytes(int64(n))
			for b.Loop() {
				encodeVesicle(line, place, &h, n, -1)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{64, 256, 1024, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := wire.Header{Kind: wire.KindRequest, Fingerprint: 0x123456789abcdef, Correlation: 1 << 20}
			line, err := AppendFrame(nil, h, benchmarkPayload(n))
			if err != nil {
				b.Fatal(err)
			}
			line = line[1 : len(line)-1]
			work := make([]byte, len(line))
			b.SetBytes(int64(n))
			for b.Loop() {
				copy(work, line) // decoding spends it
				if _, _, err := DecodeFrame(work); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
