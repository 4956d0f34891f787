package serial

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// A fault is what noise does to a line at one place.
type fault struct {
	name  string
	apply func(rng *rand.Rand, line []byte, at int) []byte
}

var faults = []fault{
	{"flip", func(rng *rand.Rand, line []byte, at int) []byte {
		line[at] ^= 1 << rng.IntN(8)
		return line
	}},
	{"change", func(rng *rand.Rand, line []byte, at int) []byte {
		line[at] ^= byte(1 + rng.IntN(255))
		return line
	}},
	{"drop", func(_ *rand.Rand, line []byte, at int) []byte { return append(line[:at], line[at+1:]...) }},
	{"duplicate", func(_ *rand.Rand, line []byte, at int) []byte {
		return append(line[:at+1], line[at:]...)
	}},
	{"insert", func(rng *rand.Rand, line []byte, at int) []byte {
		line = append(line, 0)
		copy(line[at+1:], line[at:])
		line[at] = byte(rng.Uint32())
		return line
	}},
	{"insert a delimiter", func(_ *rand.Rand, line []byte, at int) []byte {
		line = append(line, 0)
		copy(line[at+1:], line[at:])
		line[at] = delimiter
		return line
	}},
	{"burst", func(rng *rand.Rand, line []byte, at int) []byte {
		for i := at; i < min(at+1+rng.IntN(12), len(line)); i++ {
			line[i] = byte(rng.Uint32())
		}
		return line
	}},
}

// sampleFrame appends the i-th of a series of vesicles that differ.
func sampleFrame(b []byte, rng *rand.Rand, i, size int) ([]byte, wire.Header, []byte) {
	payload := make([]byte, size)
	for j := range payload {
		payload[j] = byte(rng.IntN(256) * rng.IntN(2)) // many zeros: many codes to be hit
	}
	h := wire.Header{
		Kind: wire.Kind(1 + rng.IntN(8)), Fingerprint: rng.Uint64() >> rng.IntN(60), Correlation: uint32(i), Hops: usualHops,
		Length: uint32(size),
	}
	b, _ = AppendFrame(b, h, payload)
	return b, h, payload
}

// After one fault at most two frames are missing, and nothing wrong came out.
func TestAFaultLosesAtMostTwoFrames(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	const series = 8
	worst := map[string]int{}
	for round := range 6000 {
		var line []byte
		var headers [series]wire.Header
		var payloads [series][]byte
		for i := range series {
			line, headers[i], payloads[i] = sampleFrame(line, rng, i, rng.IntN(60))
		}
		f := faults[round%len(faults)]
		line = f.apply(rng, line, rng.IntN(len(line)))
		got, last := 0, -1
		for piece := range bytes.SplitSeq(line, []byte{delimiter}) {
			h, payload, err := DecodeFrame(piece)
			if err != nil {
				continue
			}
			i := int(h.Correlation)
			if i >= series || i <= last || h != headers[i] || !bytes.Equal(payload, payloads[i]) {
				t.Fatalf("%s: a wrong frame: %+v", f.name, h)
			}
			last = i
			got++
		}
		worst[f.name] = max(worst[f.name], series-got)
		if series-got > 2 {
			t.Fatalf("%s: %d of %d frames are lost", f.name, series-got, series)
		}
	}
	t.Logf("most frames lost by one fault: %v", worst)
	if worst["drop"] == 0 || worst["burst"] == 0 {
		t.Error("the faults do nothing")
	}
}

// No frame that was hit is taken for another: none of ten million, or of three
// hundred with CELL_SOAK.
func TestFaultedFramesAreNotAccepted(t *testing.T) {
	n := 10_000_000
	if os.Getenv("CELL_SOAK") != "" {
		n = 300_000_000
	} else if testing.Short() {
		n = 200_000
	}
	rng := rand.New(rand.NewPCG(33, 34))
	accepted, hit := 0, 0
	var frame, hurt, work []byte
	var h wire.Header
	var payload []byte
	r := newReader(new(line), 64, 128)
	var own [][]byte
	for _, v := range goldenOwns() {
		own = append(own, unhex(t, v.Bytes))
	}
	for i := 0; hit < n && i < n*10/9; i++ {
		if i%64 == 0 { // making frames costs more than hitting them
			frame, h, payload = sampleFrame(frame[:0], rng, i, rng.IntN(40))
		}
		source := frame
		if i%8 == 7 {
			source = own[rng.IntN(len(own))]
		}
		hurt = append(hurt[:0], source...)
		for range 1 + rng.IntN(3) {
			hurt = faults[rng.IntN(len(faults))].apply(rng, hurt, rng.IntN(len(hurt)))
		}
		if bytes.Equal(hurt, source) {
			continue
		}
		hit++
		for piece := range bytes.SplitSeq(hurt, []byte{delimiter}) {
			if len(piece) == 0 {
				continue
			}
			work = append(work[:0], piece...)
			body, err := decodeBody(work)
			if err != nil {
				continue
			}
			accepted++ // fine, if the fault hit what lies around it
			switch {
			case body[0]&formKind >= formOwn:
				found := r.takeOwn(body)
				if found == foundBye && r.session != goldenByeSession {
					continue // not the peer's
				}
				if found != foundOther && !bytes.Contains(source, piece) {
					t.Fatalf("frame %d: %x is taken for a frame of the link's own; the line was %x, sent was %x", i, body, hurt, source)
				}
			default:
				var got wire.Header
				b, _, err := getHeader(body, &got)
				if err == nil && (got != h || !bytes.Equal(b, payload)) {
					t.Fatalf("frame %d: %+v is taken for a vesicle; sent was %+v", i, got, h)
				}
			}
		}
	}
	t.Logf("%d frames hit, %d times only beside what counts", hit, accepted)
	if hit < n {
		t.Errorf("only %d frames were hit of %d that there should be", hit, n)
	}
}

// Why vesicles don't have the shorter check: it lets frames through.
func TestSixteenBitsWouldNotDo(t *testing.T) {
	if os.Getenv("CELL_SOAK") == "" {
		t.Skip("takes a while to show; set CELL_SOAK=1")
	}
	rng := rand.New(rand.NewPCG(35, 36))
	wrong := 0
	for range 10_000_000 {
		body := make([]byte, 24, 32)
		for i := range body {
			body[i] = byte(rng.IntN(256) * rng.IntN(2))
		}
		sealed := binary.LittleEndian.AppendUint16(body, crc16(body))
		line := make([]byte, 64)
		line = line[:cobsEncode(line, sealed)]
		for range 1 + rng.IntN(3) {
			line[rng.IntN(len(line))] ^= byte(1 + rng.IntN(255))
		}
		if bytes.IndexByte(line, delimiter) >= 0 {
			continue
		}
		n, ok := cobsDecode(line)
		if got := line[1 : 1+n]; ok && n > 2 && crc16(got[:n-2]) == binary.LittleEndian.Uint16(got[n-2:]) && !bytes.Equal(got, sealed) {
			wrong++
		}
	}
	t.Logf("%d of 10,000,000 hit frames would have been accepted under 16 bits", wrong)
	if wrong == 0 {
		t.Error("none: then the shorter check could serve longer frames")
	}
}
