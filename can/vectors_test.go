package can

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

const vectorsPath = "../testdata/can/vectors.txt"

// direction is one direction of a link between a node that has routes and a
// peer that has none, as the golden vectors describe it.
type direction struct {
	size, bits int
	to, from   NodeID
	prints     []uint64
}

func (d *direction) String() string {
	s := fmt.Sprintf("link %d %d %d %d", d.size, d.bits, d.to, d.from)
	for _, p := range d.prints {
		s += fmt.Sprintf(" %016x", p)
	}
	return s
}

func (d *direction) routes() *routes {
	r := &routes{}
	r.peer.set(d.prints)
	r.settle()
	return r
}

func (d *direction) encoder() *encoder {
	e := &encoder{routes: d.routes(), to: d.to, from: d.from, fd: d.size == FDData}
	e.memory.reset(uint8(d.bits))
	return e
}

func (d *direction) decoder() *decoder {
	c := &decoder{routes: d.routes(), fd: d.size == FDData, maxPayload: 512}
	c.memory.reset(uint8(d.bits))
	return c
}

func vesicleLine(h wire.Header, payload []byte) string {
	return fmt.Sprintf("vesicle %d %d %d %d %08x %016x %s", h.Kind, h.Flags, h.Channel, h.Hops, h.Correlation, h.Fingerprint, hexOrDash(payload))
}

func frameLine(f *Frame) string {
	return fmt.Sprintf("frame %08x %d %s", uint32(f.ID), f.Flags&FlagFD, hexOrDash(f.Bytes()))
}

func hexOrDash(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

const vectorsHead = `# Golden vectors of frames on a CAN bus; docs/CAN.md explains the layout. Every
# implementation encodes the vesicles to the frames that follow them, byte for
# byte, and decodes the frames to the vesicles.
#
#   link SIZE BITS TO FROM FINGERPRINT...
#       A new direction: data bytes of a frame, bits of the correlation tables,
#       nodes, and the fingerprints of route 0, 1 ...
#   vesicle KIND FLAGS CHANNEL HOPS CORRELATION FINGERPRINT PAYLOAD
#   frame IDENTIFIER FD DATA
#   bad REASON
#       A new direction like the one before; the last of the frames that follow
#       must be refused.
#
# Numbers of a link and a vesicle are decimal, except for correlation and
# fingerprint; all else is hexadecimal, most significant digit first.
`

// makeVectors writes the vectors.
func makeVectors() string {
	var b strings.Builder
	b.WriteString(vectorsHead)
	const p, q, other = 0x0123456789abcdef, 0xfedcba9876543210, 0x5555aaaa5555aaaa
	for _, d := range []*direction{
		{ClassicData, 2, 1, 5, []uint64{p, q}},
		{ClassicData, 5, 126, 0, []uint64{1, 2, 3, p, q}},
		{FDData, 3, 5, 1, []uint64{p, q}},
		{ClassicData, 0, 1, 2, []uint64{q, p}},
	} {
		fmt.Fprintln(&b, d)
		e, number := d.encoder(), uint16(0)
		emit := func(h wire.Header, n int) {
			payload := numbered(int(number)*7+n, n)
			fmt.Fprintln(&b, vesicleLine(h, payload))
			e.begin(h, payload, number)
			for e.busy {
				var f Frame
				e.next(&f, number)
				number++
				fmt.Fprintln(&b, frameLine(&f))
			}
		}
		for kind := wire.KindRequest; kind <= wire.KindControl; kind++ {
			for i, n := range []int{0, 7, 8, 20} {
				emit(wire.Header{Kind: kind, Fingerprint: p, Correlation: uint32(i), Hops: 16}, n)
			}
		}
		for i := range 12 { // slots and generations
			emit(wire.Header{Kind: wire.KindRequest, Fingerprint: q, Correlation: uint32(i/3)<<8 | uint32(i%3), Hops: 16}, i%8)
		}
		for i := range 4 { // a stream and its end
			h := wire.Header{Kind: wire.KindStreamItem, Fingerprint: p, Correlation: 0x301, Hops: 16}
			if i == 3 {
				h.Flags = wire.FlagEnd
			}
			emit(h, 4)
		}
		for priority := range uint8(4) {
			h := wire.Header{Kind: wire.KindEvent, Fingerprint: other, Channel: 2, Hops: 3, Flags: wire.Flags(0).WithPriority(priority)}
			emit(h, 6)
			h.Fingerprint = p
			emit(h, 6)
		}
		emit(wire.Header{Kind: wire.KindRequest, Fingerprint: p, Flags: wire.FlagDeadline, Correlation: 9, Hops: 255}, 11)
		emit(wire.Header{Kind: wire.KindReply, Fingerprint: p, Flags: wire.FlagFragment | wire.FlagMore, Correlation: 9, Hops: 255}, 20)
		for _, n := range []int{3, 4, 5, 57, 58, 59, 60, 61, 62, 63, 64, 100, 300, 512} {
			emit(wire.Header{Kind: wire.KindReply, Fingerprint: p, Correlation: 0xFFFFFFFE, Hops: 255}, n)
		}
		makeBad(&b, d)
	}
	return b.String()
}

// makeBad writes frames that no encoder makes.
func makeBad(b *strings.Builder, d *direction) {
	fd := FrameFlags(0)
	if d.size == FDData {
		fd = FlagFD | FlagBRS
	}
	start := func(data ...byte) Frame {
		f := Frame{ID: MakeID(7, ClassStart, d.to, d.from, 0), Len: uint8(DataLength(len(data))), Flags: fd}
		copy(f.Data[:], data)
		return f
	}
	with := func(f Frame, change func(f *Frame)) Frame { change(&f); return f }
	short := Frame{ID: MakeID(7, ClassEvent, d.to, d.from, 0), Len: 1, Flags: fd}
	e := d.encoder()
	var whole []Frame
	e.begin(wire.Header{Kind: wire.KindReply, Fingerprint: d.prints[0], Hops: 16, Correlation: 77}, numbered(1, 2*d.size), 0)
	for e.busy {
		var f Frame
		e.next(&f, uint16(len(whole)))
		whole = append(whole, f)
	}
	last := len(whole) - 1
	for _, v := range []struct {
		reason error
		frames []Frame
	}{
		{errEmpty, []Frame{with(short, func(f *Frame) { f.Len = 0 })}},
		{errPriority, []Frame{with(short, func(f *Frame) { f.ID = f.ID&^(7<<priorityShift) | 6<<priorityShift })}},
		{errRoute, []Frame{with(short, func(f *Frame) { f.ID |= noRoute << sequenceBits })}},
		{errToken, []Frame{with(short, func(f *Frame) { f.Data[0] = 1 })}},
		{errToken, []Frame{with(short, func(f *Frame) { f.ID, f.Data[0] = f.ID&^(7<<classShift)|ID(ClassReply)<<classShift, 1<<d.bits })}},
		{errOrder, []Frame{with(short, func(f *Frame) { f.ID |= 7 << classShift })}},
		{errLength, []Frame{start(0, 0)}},
		{errLength, []Frame{start(0, 0, 0x80, 0)}},
		{errLength, []Frame{start(3, 1, 5, 0, 0, 0, 0, 0)}},
		{errLength, []Frame{start(3, 3, 0, 0)}},
		{errLength, []Frame{start(3, 6, 0, 0)}},
		{errLength, []Frame{start(0x80|3, 6, 0, 0, 0, 0)}},
		{errToken, []Frame{start(1, 4, 0, 0x80)}},
		{errHeader, []Frame{start(0x80|0x08|3, 7, 0, 0, 0, 0, 0)}},
		{errHeader, []Frame{start(0x80|3, 7, 0x80, 0, 0, 0, 0)}},
		{errOrder, []Frame{whole[0], short}},
		{errOrder, []Frame{whole[0], whole[0]}},
		{errOrder, []Frame{whole[0], with(whole[1], func(f *Frame) { f.ID ^= 2 << priorityShift })}},
		{errPart, []Frame{whole[0], with(whole[1], func(f *Frame) { f.Len-- })}},
		{errCheck, append(append([]Frame{}, whole[:last]...), with(whole[last], func(f *Frame) { f.Data[0] ^= 1 }))},
		{errCheck, append([]Frame{with(whole[0], func(f *Frame) { f.Data[d.size-1] ^= 0x40 })}, whole[1:]...)},
		{errCheck, append([]Frame{with(whole[0], func(f *Frame) { f.ID ^= 1 << fromShift })}, whole[1:]...)},
	} {
		if d.bits == maxEntriesBits && v.reason == errToken && v.frames[0].ID.Class() == ClassReply {
			continue // every place is in the table
		}
		fmt.Fprintf(b, "bad %s\n", strings.ReplaceAll(v.reason.Error(), "\n", " "))
		for i := range v.frames {
			fmt.Fprintln(b, frameLine(&v.frames[i]))
		}
	}
}

func TestGoldenVectors(t *testing.T) {
	if *update {
		if err := os.WriteFile(vectorsPath, []byte(makeVectors()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(vectorsPath)
	if err != nil {
		t.Fatal(err)
	}
	if string(golden) != makeVectors() {
		t.Error("the encoder makes other frames than the golden vectors; if the format is meant to change, go test -update")
	}
	var d *direction
	var dec *decoder
	var p piece
	bad, refused, whole := "", error(nil), false
	var want string
	check := func(line int) {
		if bad != "" && (refused == nil || refused.Error() != bad) {
			t.Errorf("before line %d: %v, want %q", line, refused, bad)
		}
		bad, refused = "", nil
	}
	number := 0
	for lines := bufio.NewScanner(bytes.NewReader(golden)); lines.Scan(); {
		number++
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "link":
			check(number)
			d = parseDirection(t, rest)
			dec = d.decoder()
		case "bad":
			check(number)
			dec, bad = d.decoder(), rest
		case "vesicle":
			want, whole = lines.Text(), false
		case "frame":
			f := parseFrame(t, rest)
			if refused != nil {
				t.Fatalf("line %d: refused too early: %v", number, refused)
			}
			whole, refused = decode(dec, &f, &p)
			if bad == "" && refused != nil {
				t.Fatalf("line %d: %v", number, refused)
			}
			if bad == "" && whole {
				if got := vesicleLine(p.header, p.payload); got != want {
					t.Errorf("line %d: decoded\n%s, want\n%s", number, got, want)
				}
			}
		}
	}
	check(number)
}

// decode feeds one frame.
func decode(d *decoder, f *Frame, p *piece) (whole bool, err error) {
	if d.busy {
		return d.next(f, p)
	}
	n, err := d.need(f)
	if err != nil {
		return false, err
	}
	p.payload = make([]byte, n)
	return d.begin(f, p)
}

func parseDirection(t testing.TB, s string) *direction {
	d := &direction{}
	words := strings.Fields(s)
	if _, err := fmt.Sscan(strings.Join(words[:4], " "), &d.size, &d.bits, &d.to, &d.from); err != nil {
		t.Fatal(err)
	}
	for _, w := range words[4:] {
		var p uint64
		if _, err := fmt.Sscanf(w, "%x", &p); err != nil {
			t.Fatal(err)
		}
		d.prints = append(d.prints, p)
	}
	return d
}

func parseFrame(t testing.TB, s string) (f Frame) {
	var fd int
	var data string
	if _, err := fmt.Sscanf(s, "%x %d %s", (*uint32)(&f.ID), &fd, &data); err != nil {
		t.Fatal(err)
	}
	if fd == 1 {
		f.Flags = FlagFD | FlagBRS
	}
	b, err := hex.DecodeString(strings.Trim(data, "-"))
	if err != nil {
		t.Fatal(err)
	}
	f.Len = uint8(copy(f.Data[:], b))
	return f
}

// Whatever frames come, what comes out is a valid vesicle or a refusal.
func FuzzDecoder(f *testing.F) {
	golden, err := os.ReadFile(vectorsPath)
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		if rest, ok := strings.CutPrefix(line, "frame "); ok {
			x := parseFrame(f, rest)
			f.Add(uint32(x.ID), x.Bytes(), uint32(x.ID)+1, x.Bytes(), x.Flags&FlagFD != 0)
		}
	}
	f.Fuzz(func(t *testing.T, id1 uint32, data1 []byte, id2 uint32, data2 []byte, fd bool) {
		d := &direction{size: ClassicData, bits: 2, to: 1, from: 5, prints: []uint64{1, 2, 3}}
		if fd {
			d.size = FDData
		}
		dec := d.decoder()
		var p piece
		for i := range 8 {
			frame := Frame{ID: ID(id1) & idMask}
			data := data1
			if i > 0 {
				frame.ID, data = ID(id2)&idMask, data2
			}
			frame.Len = uint8(copy(frame.Data[:DataLength(min(len(data), d.size))], data))
			frame.Len = uint8(DataLength(int(frame.Len)))
			if frame.ID.Class() == ClassControl {
				return
			}
			whole, err := decode(dec, &frame, &p)
			if err != nil {
				return
			}
			if whole && (p.header.Validate() != nil || int(p.header.Length) != len(p.payload) || len(p.payload) > dec.maxPayload) {
				t.Fatalf("%+v with %d bytes", p.header, len(p.payload))
			}
		}
	})
}
