package serial

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

var update = flag.Bool("update", false, "write testdata/serial.json anew")

const goldenFile = "../testdata/serial.json"

// golden mirrors testdata/serial.json.
type golden struct {
	About  string        `json:"about"`
	Checks []goldenCheck `json:"checks"`
	Frames []goldenFrame `json:"frames"`
	Own    []goldenOwn   `json:"own"`
	Lines  []goldenLine  `json:"lines"`
}

type goldenCheck struct {
	Bytes  string `json:"bytes"`
	CRC16  uint16 `json:"crc16"`
	CRC32C uint32 `json:"crc32c"`
}

// goldenFrame is a vesicle and its frame, delimiters included.
type goldenFrame struct {
	Name        string `json:"name"`
	Kind        uint8  `json:"kind"`
	Flags       uint8  `json:"flags"`
	Channel     uint8  `json:"channel"`
	Hops        uint8  `json:"hops"`
	Fingerprint string `json:"fingerprint"`
	Correlation uint32 `json:"correlation"`
	Payload     string `json:"payload"`
	Bytes       string `json:"bytes"`
}

// goldenOwn is a frame of the link's own: its body and the frame.
type goldenOwn struct {
	Name  string `json:"name"`
	Body  string `json:"body"`
	Bytes string `json:"bytes"`
}

// goldenLine is what stands on a line, and what a receiver makes of it.
type goldenLine struct {
	Name  string   `json:"name"`
	Bytes string   `json:"bytes"`
	Want  []string `json:"want"`
}

const goldenAbout = "Golden vectors of the frames on a serial line; docs/SERIAL.md describes them. " +
	"Bytes are hexadecimal. frames and own are encoded to exactly these bytes. lines are bytes as they come from " +
	"a line, and what a receiver without a window that takes payloads of 2000 bytes makes of them, piece by piece: " +
	"the reason why a piece between two delimiters was dropped, 'own BODY', or 'vesicle KIND FLAGS CHANNEL HOPS " +
	"FINGERPRINT CORRELATION PAYLOAD' ('-' for no payload)."

// goldenByeSession is the session of the farewell among the vectors.
const goldenByeSession = 0x11223344

// goldenMax is the payload that the receiver of the lines takes.
const goldenMax = 2000

func (f *goldenFrame) header() wire.Header {
	fingerprint, _ := strconv.ParseUint(f.Fingerprint, 16, 64)
	return wire.Header{
		Fingerprint: fingerprint, Length: uint32(len(f.Payload) / 2), Correlation: f.Correlation,
		Kind: wire.Kind(f.Kind), Flags: wire.Flags(f.Flags), Channel: wire.Channel(f.Channel), Hops: f.Hops,
	}
}

func describe(h *wire.Header, payload []byte) string {
	text := hex.EncodeToString(payload)
	if text == "" {
		text = "-"
	}
	return fmt.Sprintf("vesicle %d %d %d %d %016x %d %s", h.Kind, h.Flags, h.Channel, h.Hops, h.Fingerprint, h.Correlation, text)
}

var reasonNames = map[error]string{
	ErrCOBS: "ErrCOBS", ErrSize: "ErrSize", ErrCRC: "ErrCRC", ErrForm: "ErrForm",
	wire.ErrKind: "ErrKind", wire.ErrFlags: "ErrFlags", wire.ErrChannel: "ErrChannel",
	wire.ErrLength: "ErrLength", wire.ErrPrefix: "ErrPrefix",
}

// outcomes is what a receiver makes of line bytes, as the vectors write it.
func outcomes(line []byte) (all []string) {
	all = []string{}
	for piece := range bytes.SplitSeq(line[:bytes.LastIndexByte(line, delimiter)+1], []byte{delimiter}) {
		if len(piece) == 0 {
			continue
		}
		work := bytes.Clone(piece)
		switch body, err := decodeBody(work); {
		case len(piece) > FrameBound(goldenMax)-2:
			all = append(all, "ErrTooLong")
		case err == nil && body[0]&formKind >= formOwn:
			all = append(all, "own "+hex.EncodeToString(body))
		default:
			h, payload, err := DecodeFrame(bytes.Clone(piece))
			if err != nil {
				all = append(all, reasonNames[err])
			} else {
				all = append(all, describe(&h, payload))
			}
		}
	}
	return all
}

func loadGolden(t testing.TB) (g golden) {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		t.Fatalf("%s: %v", goldenFile, err)
	}
	return g
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenVectors(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	g := loadGolden(t)
	if len(g.Frames) < 300 || len(g.Lines) < 60 {
		t.Fatalf("%d frames and %d lines: the file is not what it was", len(g.Frames), len(g.Lines))
	}
	for _, v := range g.Checks {
		b := unhex(t, v.Bytes)
		if crc16(b) != v.CRC16 || crc32.Checksum(b, castagnoli) != v.CRC32C {
			t.Errorf("checks of %s: %#x, %#x", v.Bytes, crc16(b), crc32.Checksum(b, castagnoli))
		}
	}
	for _, v := range g.Frames {
		h, payload, want := v.header(), unhex(t, v.Payload), unhex(t, v.Bytes)
		got, err := AppendFrame(nil, h, payload)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%x, want\n%x", v.Name, err, got, want)
		}
		back, body, err := DecodeFrame(want[1 : len(want)-1])
		if err != nil || back != h || !bytes.Equal(body, payload) {
			t.Errorf("%s: comes back as %+v, %v", v.Name, back, err)
		}
	}
	for _, v := range g.Own {
		body := unhex(t, v.Body)
		n := len(body)
		line := make([]byte, FrameBound(n)+cobsSlack)
		line = line[:encodeBody(line, append(body, 0, 0, 0, 0), n)]
		if hex.EncodeToString(line) != v.Bytes {
			t.Errorf("%s: %x, want %s", v.Name, line, v.Bytes)
		}
	}
	for _, v := range g.Lines {
		b := unhex(t, v.Bytes)
		if got := outcomes(b); !slices.Equal(got, v.Want) {
			t.Errorf("%s: %q, want %q", v.Name, got, v.Want)
		}
		agree(t, v.Name, v.Want, b)
	}
}

// readerCounts has the reader of connections go over a line, and returns what it
// counted and the vesicles that it found.
func readerCounts(b []byte) (stats LineStats, vesicles []string) {
	l := &line{}
	r := newReader(l, goldenMax, len(b)+1)
	r.end = copy(r.buf, b)
	for {
		switch r.next() {
		case foundNothing:
			return l.stats, vesicles
		case foundVesicle:
			if r.seq < 0 {
				vesicles = append(vesicles, describe(&r.header, r.payload))
			}
		}
	}
}

// agree compares what the reader counted with the outcomes of the same line.
func agree(t *testing.T, name string, want []string, b []byte) {
	t.Helper()
	stats, vesicles := readerCounts(b)
	counts := map[string]uint64{"ErrCOBS": stats.BadCOBS, "ErrSize": stats.BadSize, "ErrCRC": stats.BadCRC, "ErrTooLong": stats.TooLong}
	var wanted []string
	dropped := uint64(0)
	for _, w := range want {
		switch {
		case strings.HasPrefix(w, "vesicle"):
			wanted = append(wanted, w)
		case strings.HasPrefix(w, "own"):
		default:
			counts[w]-- // those that have a counter come to zero
			dropped++
		}
	}
	if !slices.Equal(vesicles, wanted) {
		t.Errorf("%s: the reader finds %q, want %q", name, vesicles, wanted)
	}
	for _, reason := range []string{"ErrCOBS", "ErrSize", "ErrCRC", "ErrTooLong"} {
		if counts[reason] != 0 {
			t.Errorf("%s: %s is counted %d times too often: %+v", name, reason, int64(counts[reason]), stats)
		}
	}
	if all := stats.Frames + stats.Dropped(); all != uint64(len(want)) {
		t.Errorf("%s: the reader counts %d pieces of %d: %+v", name, all, len(want), stats)
	}
}

func writeGolden(t *testing.T) {
	t.Helper()
	g := golden{About: goldenAbout}
	for _, text := range []string{"", "00", "ff", "313233343536373839", strings.Repeat("00", 32), strings.Repeat("ff", 32)} {
		b := unhex(t, text)
		g.Checks = append(g.Checks, goldenCheck{text, crc16(b), crc32.Checksum(b, castagnoli)})
	}
	g.Frames = goldenFrames(t)
	g.Own = goldenOwns()
	g.Lines = goldenLines(t, g.Frames, g.Own)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(g); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goldenFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goldenFrames(t *testing.T) (all []goldenFrame) {
	rng := rand.New(rand.NewPCG(11, 12))
	add := func(name string, h wire.Header, payload []byte) {
		b, err := AppendFrame(nil, h, payload)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, goldenFrame{
			name, uint8(h.Kind), uint8(h.Flags), uint8(h.Channel), h.Hops, fmt.Sprintf("%016x", h.Fingerprint),
			h.Correlation, hex.EncodeToString(payload), hex.EncodeToString(b),
		})
	}
	for i, h := range headers() {
		add(fmt.Sprintf("header %d", i), h, unhex(t, "0102030405060708")[:rng.IntN(3)*4])
	}
	plain := wire.Header{Kind: wire.KindRequest, Fingerprint: 0xf1f2f3f4f5f6f7f8, Correlation: 0x01020304, Hops: usualHops}
	// Around full blocks: the body has 13 bytes before the payload and 4 behind.
	sizes := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128}
	for n := 233; n < 246; n++ {
		sizes = append(sizes, n)
	}
	sizes = append(sizes, 490, 491, 492, 493, 745, 746)
	for _, n := range sizes {
		for _, style := range []string{"ones", "zeros", "a zero at the end", "random"} {
			payload := bytes.Repeat([]byte{0xff}, n)
			switch {
			case style == "zeros":
				clear(payload)
			case style == "random":
				for i := range payload {
					payload[i] = byte(rng.IntN(6)) * byte(rng.IntN(256))
				}
			case style == "a zero at the end" && n > 0:
				payload[n-1] = 0
			}
			add(fmt.Sprintf("%d bytes, %s", n, style), plain, payload)
		}
	}
	return all
}

func goldenOwns() (all []goldenOwn) {
	add := func(name string, body []byte) {
		n := len(body)
		line := make([]byte, FrameBound(n)+cobsSlack)
		line = line[:encodeBody(line, append(bytes.Clone(body), 0, 0, 0, 0), n)]
		all = append(all, goldenOwn{name, hex.EncodeToString(body), hex.EncodeToString(line)})
	}
	for _, v := range []struct {
		name string
		h    hello
	}{
		{"hello, nobody known", hello{version: 1, session: 1, maxPayload: 64}},
		{"hello, asking", hello{version: 1, ask: true, session: 0xdeadbeef, maxPayload: 1024}},
		{"hello, with a window and a peer", hello{version: 1, window: 32, session: 0xffffffff, peer: 0x01020304, maxPayload: 65536}},
	} {
		var b [helloSize]byte
		v.h.put(&b)
		add(v.name, b[:])
	}
	for _, v := range []struct {
		name string
		a    ack
	}{
		{"ack, all is here", ack{next: 7, credit: 32, session: 0xaabbccdd}},
		{"ack with gaps", ack{next: 250, credit: 3, received: 0x80000005, session: 1}},
	} {
		var b [ackSize]byte
		v.a.put(&b)
		add(v.name, b[:])
	}
	var b [byeSize]byte
	putBye(&b, byeClosed, goldenByeSession)
	add("bye", b[:])
	return all
}

func goldenLines(t *testing.T, frames []goldenFrame, own []goldenOwn) (all []goldenLine) {
	add := func(name string, b []byte) {
		all = append(all, goldenLine{name, hex.EncodeToString(b), outcomes(b)})
	}
	raw := func(body ...byte) []byte {
		n := len(body)
		line := make([]byte, FrameBound(n)+cobsSlack)
		return line[:encodeBody(line, append(bytes.Clone(body), 0, 0, 0, 0), n)]
	}
	one, two := unhex(t, frames[3].Bytes), unhex(t, frames[40].Bytes)
	add("nothing", nil)
	add("delimiters alone", make([]byte, 9))
	add("two frames", slices.Concat(one, two))
	add("two frames with one delimiter between", slices.Concat(one, two[1:]))
	add("a frame without its leading delimiter", one[1:])
	add("a frame without an end", one[:len(one)-1])
	add("a frame without an end, then another", slices.Concat(one[:len(one)-1], two))
	add("a frame cut off, then another", slices.Concat(one[:7], two))
	add("noise, then a frame", slices.Concat(unhex(t, "aa55ff01"), one))
	add("two frames run into each other", slices.Concat(one[:len(one)-1], two[1:]))
	for i := range own {
		add(own[i].Name, unhex(t, own[i].Bytes))
	}
	for n := 1; n <= 12; n++ {
		add(fmt.Sprintf("COBS of %d zeros", n-1), slices.Concat([]byte{0}, bytes.Repeat([]byte{1}, n), []byte{0}))
	}
	for _, code := range []byte{2, 3, 254, 255} {
		add(fmt.Sprintf("code %d and nothing behind it", code), []byte{0, code, 0})
		add(fmt.Sprintf("code %d and too little behind it", code), []byte{0, code, 1, 0})
	}
	for i := range one[1 : len(one)-1] {
		b := bytes.Clone(one)
		b[1+i] ^= 0x10
		add(fmt.Sprintf("byte %d flipped", i), slices.Concat(b, two))
		add(fmt.Sprintf("byte %d lost", i), slices.Concat(one[:1+i], one[2+i:], two))
		add(fmt.Sprintf("byte %d doubled", i), slices.Concat(one[:2+i], one[1+i:], two))
	}
	body := func(form byte, rest ...byte) []byte {
		return slices.Concat([]byte{form}, bytes.Repeat([]byte{0x11}, 12), rest)
	}
	for _, v := range []struct {
		name string
		body []byte
	}{
		{"kind 0", body(0)}, {"kind 12", body(12)}, {"kind 15", body(15)},
		{"a reserved bit", body(0x21)}, {"another reserved bit", body(0x41)},
		{"a sequence number", body(0x81, 1, 2)},
		{"header cut off", body(1)[:12]}, {"tail cut off", body(0x11, 0, 0)},
		{"tail spelt out though it is usual", body(0x11, 0, 0, 16)},
		{"reserved flag", body(0x11, 0x40, 0, 16)}, {"more without fragment", body(0x11, 1, 0, 16)},
		{"unknown channel", body(0x11, 0, 4, 16)},
		{"deadline missing", body(0x11, 4, 0, 16, 1, 2, 3, 4, 5, 6, 7)},
		{"deadline there", body(0x11, 4, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8)},
		{"fragment prefix missing", body(0x11, 0x20, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)},
		{"fragment prefix there", body(0x11, 0x20, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)},
		{"short body that is no own frame", []byte{1, 2, 3}},
		{"hello cut short", append([]byte{formHello}, make([]byte, 9)...)},
		{"ack of a wrong length", []byte{formAck, 1}},
	} {
		add(v.name, raw(v.body...))
	}
	add("too long", slices.Concat([]byte{0}, bytes.Repeat([]byte{0x55}, 3000), []byte{0}, one))
	return all
}

// A reason that no vector has would not be tested in other languages.
func TestGoldenVectorsHaveAllReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range loadGolden(t).Lines {
		for _, w := range v.Want {
			seen[w] = true
		}
	}
	for err, name := range reasonNames {
		// A length above 1 GiB can't stand on a line.
		if !seen[name] && !errors.Is(err, wire.ErrLength) {
			t.Errorf("no line is dropped by %s", name)
		}
	}
	if !seen["ErrTooLong"] {
		t.Error("no line is too long")
	}
}
