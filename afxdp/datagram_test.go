package afxdp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// goldenHead is what testdata/afxdp/data.hex begins with.
func goldenHead() head {
	return head{
		kind: typeData, session: 0x01020304, peer: 0x05060708, sequence: 9,
		next: 10, limit: 11, here: 0x8000000000000001,
	}
}

func goldenDatagram() []byte {
	b := make([]byte, headSize)
	front := goldenHead()
	front.put(b)
	for _, payload := range []string{"hello", "", "four"} {
		h := wire.Header{Kind: wire.KindEvent, Fingerprint: 7, Length: uint32(len(payload))}
		b = append(h.Append(b), payload...)
		for len(b)%recordAlign != 0 {
			b = append(b, 0)
		}
	}
	return b
}

func TestGoldenDatagram(t *testing.T) {
	text, err := os.ReadFile("../testdata/afxdp/data.hex")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := goldenDatagram(); !bytes.Equal(got, want) {
		t.Errorf("encoded\n%x, the file has\n%x", got, want)
	}
	h, err := getHead(want)
	if err != nil || h != goldenHead() {
		t.Errorf("decoded %+v, %v", h, err)
	}
}

func TestDatagramsThatAreNone(t *testing.T) {
	good := goldenDatagram()
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for _, v := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, errShort},
		{"one byte short", good[:headSize-1], errShort},
		{"other magic", change(0, 0), errFormat},
		{"other version", change(2, 2), errFormat},
		{"type 0", change(3, 0), errFormat},
		{"type 6", change(3, 6), errFormat},
		{"session 0", append(append(bytes.Clone(good[:4]), 0, 0, 0, 0), good[8:]...), errFormat},
		{"a short hello", change(3, byte(typeHello))[:helloSize-1], errShort},
	} {
		if _, err := getHead(v.b); !errors.Is(err, v.want) {
			t.Errorf("%s: %v, want %v", v.name, err, v.want)
		}
	}
	records := good[headSize:]
	ends := map[int]bool{28: true, 48: true, len(records): true}
	for n := range len(records) + 1 {
		if err := checkRecords(records[:n]); (err == nil) != ends[n] {
			t.Errorf("the first %d of %d bytes of vesicles: %v", n, len(records), err)
		}
	}
}

func TestUnwrap(t *testing.T) {
	for _, v := range []struct {
		near uint64
		low  uint32
		want uint64
	}{
		{0, 0, 0}, {5, 7, 7}, {7, 5, 5}, {1<<32 - 1, 2, 1<<32 + 2}, {1<<32 + 2, 0xffffffff, 1<<32 - 1}, {1 << 40, 1, 1<<40 + 1},
	} {
		if got := unwrap(v.near, v.low); got != v.want {
			t.Errorf("unwrap(%d, %d) = %d, want %d", v.near, v.low, got, v.want)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(goldenDatagram())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := getHead(b)
		if err != nil {
			return
		}
		again := make([]byte, headSize)
		if h.put(again); !bytes.Equal(again, b[:headSize]) {
			t.Fatalf("head %x became %x", b[:headSize], again)
		}
		if checkRecords(b[headSize:]) != nil {
			return
		}
		for rest := b[headSize:]; len(rest) > 0; {
			var v wire.Vesicle
			rest = nextRecord(rest, &v)
			if v.Header.Validate() != nil || int(v.Header.Length) != len(v.Payload) {
				t.Fatalf("a vesicle that can't be: %+v, %d bytes", v.Header, len(v.Payload))
			}
		}
	})
}
