package quic

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

var update = flag.Bool("update", false, "write ../testdata/quic.json anew")

func TestGoldenVectors(t *testing.T) {
	h := wire.Header{Fingerprint: 0x1122334455667788, Correlation: 9, Kind: wire.KindRequest, Length: 2, Hops: 16}
	got := map[string]string{
		"opening, 8 lanes":                     hex.EncodeToString(opening{lanes: 8, maxPayload: 65536, credit: 982848}.append(nil)),
		"opening, 1 lane, lossy events":        hex.EncodeToString(opening{lanes: 1, lossy: true, maxPayload: 1000, credit: 5}.append(nil)),
		"answer, accepted":                     hex.EncodeToString(appendAnswer(nil, statusAccepted, 65536, 1000, "")),
		"answer, refused":                      hex.EncodeToString(appendAnswer(nil, statusRefused, 0, 0, "no")),
		"lane 3 of link 4, one vesicle of two": hex.EncodeToString(append(h.Append([]byte{4, 0, 0, 0, 0, 0, 0, 0, 3}), "ab"...)),
		"control: credit of 258, farewell after 2 lanes, everything received": hex.EncodeToString(
			[]byte{credited, 2, 1, 0, 0, farewell, 2, received}),
	}
	file := filepath.Join("..", "testdata", "quic.json")
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		must(t, err)
		must(t, os.WriteFile(file, append(b, '\n'), 0o644))
	}
	b, err := os.ReadFile(file)
	must(t, err)
	var want map[string]string
	must(t, json.Unmarshal(b, &want))
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s:\n got %s\nwant %s", name, got[name], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d vectors, the file has %d", len(got), len(want))
	}
}

func TestOpeningsThatAreRefused(t *testing.T) {
	good := [openingSize]byte(opening{lanes: 8, maxPayload: 65536, credit: 1}.append(nil))
	for name, spoil := range map[string]func(b []byte){
		"no magic":            func(b []byte) { b[0] = 'c' },
		"another version":     func(b []byte) { b[4] = 2 },
		"no lanes":            func(b []byte) { b[5] = 0 },
		"too many lanes":      func(b []byte) { b[5] = maxLanes + 1 },
		"unknown flags":       func(b []byte) { b[6] = 0x80 },
		"a reserved byte":     func(b []byte) { b[7] = 1 },
		"vesicles of nothing": func(b []byte) { clear(b[8:12]) },
		"vesicles too small":  func(b []byte) { copy(b[8:12], []byte{1, 0, 0, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := good
			spoil(b[:])
			if o, err := parseOpening(b); err == nil {
				t.Errorf("%+v", o)
			}
		})
	}
	if o, err := parseOpening(good); err != nil || o.lanes != 8 || o.maxPayload != 65536 || o.credit != 1 {
		t.Errorf("%+v, %v", o, err)
	}
}

// FuzzProtocol: whatever a peer says where links are opened, nothing beyond the
// bounds comes of it.
func FuzzProtocol(f *testing.F) {
	f.Add(opening{lanes: 8, maxPayload: 65536, credit: 7}.append(nil))
	f.Add(appendAnswer(nil, statusAccepted, 1000, 5, "text"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= openingSize {
			o, err := parseOpening([openingSize]byte(b))
			if err == nil && (o.lanes < 1 || o.lanes > maxLanes || o.maxPayload < link.MinFragmentPayload || o.maxPayload > maxReceive) {
				t.Errorf("%+v", o)
			}
			if err == nil && !bytes.Equal(o.append(nil)[:8], b[:8]) {
				t.Errorf("%x became %x", b, o.append(nil))
			}
		}
		if most, credit, err := readAnswer(bytes.NewReader(b), 5000); err == nil && (most > 5000 || credit > maxReceive) {
			t.Errorf("%d, %d", most, credit)
		}
	})
}

// FuzzLane: whatever comes on a lane, what is delivered is valid, and an error
// says that the rest isn't.
func FuzzLane(f *testing.F) {
	h := wire.Header{Kind: wire.KindRequest, Length: 3}
	f.Add(append(h.Append(nil), "abc"...), uint8(1))
	f.Add(bytes.Repeat(append(h.Append(nil), "abc"...), 40), uint8(7))
	f.Fuzz(func(t *testing.T, data []byte, chunk uint8) {
		if len(data) > 20000 {
			return
		}
		var r receiver
		if err := r.open(minReceive, 1000); err != nil {
			t.Fatal(err)
		}
		defer r.close()
		err := r.read(&chunked{bytes.NewReader(data), int(chunk) + 1})
		if err != nil && !errors.Is(err, link.ErrCorrupt) {
			t.Fatal(err)
		}
		total := 0
		var in [16]wire.Vesicle
		for {
			n, err := r.out.Poll(in[:])
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range in[:n] {
				if v.Header.Validate() != nil || int(v.Header.Length) != len(v.Payload) || len(v.Payload) > 1000 {
					t.Fatalf("%+v with %d bytes", v.Header, len(v.Payload))
				}
				if !bytes.Contains(data, v.Payload) {
					t.Fatal("bytes that nobody sent")
				}
				total += frameSize + len(v.Payload)
			}
			if r.release(n) != nil || n == 0 {
				break
			}
		}
		if err == nil && total != len(data) {
			t.Fatalf("%d bytes became vesicles of %d without an error", len(data), total)
		}
	})
}

// chunked gives a few bytes at once.
type chunked struct {
	r io.Reader
	n int
}

func (c *chunked) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }
