package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// Load is Decode without reasons. Both must judge alike, for every value of
// the bytes that are judged.
func TestLoadAndValidateAgree(t *testing.T) {
	lengths := []uint32{0, 7, 8, 11, 12, 13, wire.MaxLength, wire.MaxLength + 1, 1<<32 - 1}
	for vk := range 256 {
		for flags := range 256 {
			for _, channel := range []uint8{0, 1, 2, 3, 4, 7, 128, 255} {
				for _, length := range lengths {
					h := wire.Header{Length: length, Flags: wire.Flags(flags), Channel: wire.Channel(channel), Kind: wire.Kind(vk & 15)}
					e := [wire.HeaderSize]byte(h.Append(nil))
					e[16] = byte(vk)
					var got wire.Header
					want := vk>>4 == wire.Version && h.Validate() == nil
					if got.Load(&e, wire.MaxLength) != want {
						t.Fatalf("Load(%x) = %t, Validate: %v", e, !want, h.Validate())
					}
					if _, err := wire.Decode(e[:]); (err == nil) != want {
						t.Fatalf("Decode(%x) = %v, want valid: %t", e, err, want)
					}
				}
			}
		}
	}
}

func TestPriority(t *testing.T) {
	for flags := range 256 {
		for p := range 8 {
			f := wire.Flags(flags).WithPriority(uint8(p))
			if f.Priority() != uint8(p&3) || (f^wire.Flags(flags))&^(3<<3) != 0 {
				t.Fatalf("%#x.WithPriority(%d) = %#x", flags, p, f)
			}
		}
	}
}

func TestNamesOfUnknownNumbers(t *testing.T) {
	for _, v := range []struct {
		got  fmt.Stringer
		want string
	}{
		{wire.Kind(0), "kind 0"}, {wire.Kind(9), "kind 9"}, {wire.Kind(255), "kind 255"},
		{wire.Channel(4), "channel 4"}, {wire.Channel(100), "channel 100"},
		{wire.Status(17), "status 17"}, {wire.Status(63), "status 63"}, {wire.Status(200), "status 200"},
	} {
		if v.got.String() != v.want {
			t.Errorf("got %q, want %q", v.got, v.want)
		}
	}
}

func TestStatusIsASentinel(t *testing.T) {
	err := fmt.Errorf("lookup of %q: %w", "k", wire.StatusNotFound)
	if !errors.Is(err, wire.StatusNotFound) || errors.Is(err, wire.StatusInternal) {
		t.Errorf("errors.Is does not tell statuses apart in %v", err)
	}
}

func TestNoAllocations(t *testing.T) {
	h := wire.Header{Kind: wire.KindRequest, Length: 64, Fingerprint: 1, Correlation: 2, Hops: 8}
	var e [wire.HeaderSize]byte
	var p [wire.FragmentSize]byte
	bad := make([]byte, wire.HeaderSize)
	failed := wire.ErrorPayload{Status: wire.StatusAborted, Details: []byte{1}}
	payload, buf := failed.Append(nil), make([]byte, 0, 64)
	for name, f := range map[string]func(){
		"Put":             func() { h.Put(&e) },
		"Load":            func() { h.Put(&e); h.Load(&e, wire.MaxLength) },
		"Append":          func() { h.Append(buf) },
		"Decode":          func() { _, _ = wire.Decode(e[:]) },
		"Decode, refused": func() { _, _ = wire.Decode(bad) },
		"fragment":        func() { wire.PutFragment(&p, wire.Fragment{Total: 9}); _, _ = wire.GetFragment(&p, 9) },
		"error":           func() { failed.Append(buf); _, _ = wire.DecodeError(payload) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	g := loadGolden(f)
	for _, v := range g.Headers {
		f.Add([]byte(v.Bytes))
	}
	for _, v := range g.InvalidHeaders {
		f.Add([]byte(v.Bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := wire.Decode(b)
		if err != nil {
			if h != (wire.Header{}) {
				t.Fatalf("%+v beside %v", h, err)
			}
			return
		}
		if again := h.Append(nil); !bytes.Equal(again, b[:wire.HeaderSize]) {
			t.Fatalf("decoded %x, encoded %x", b[:wire.HeaderSize], again)
		}
		if err := h.Validate(); err != nil {
			t.Fatalf("decoded, but invalid: %v", err)
		}
	})
}

func FuzzDecodeError(f *testing.F) {
	g := loadGolden(f)
	for _, v := range g.ErrorPayloads {
		f.Add([]byte(v.Bytes))
	}
	for _, v := range g.InvalidErrorPayloads {
		f.Add([]byte(v.Bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := wire.DecodeError(b)
		if err != nil {
			return
		}
		if again := e.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("decoded %x, encoded %x", b, again)
		}
		_ = e.Status.String()
	})
}

func FuzzGetFragment(f *testing.F) {
	for _, v := range loadGolden(f).Fragments {
		f.Add([]byte(v.Bytes), v.Size)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if len(b) != wire.FragmentSize {
			return
		}
		p, err := wire.GetFragment((*[wire.FragmentSize]byte)(b), n)
		if err != nil {
			return
		}
		if n < 1 || uint64(p.Offset)+uint64(n) > uint64(p.Total) || p.Total > wire.MaxLength {
			t.Fatalf("accepted %+v for %d bytes", p, n)
		}
		var again [wire.FragmentSize]byte
		if wire.PutFragment(&again, p); !bytes.Equal(again[:], b) {
			t.Fatalf("decoded %x, encoded %x", b, again)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	h := wire.Header{Kind: wire.KindRequest, Length: 64, Fingerprint: 1, Correlation: 2, Hops: 8}
	var e [wire.HeaderSize]byte
	for b.Loop() {
		h.Put(&e)
	}
}

func BenchmarkLoad(b *testing.B) {
	h := wire.Header{Kind: wire.KindRequest, Length: 64, Fingerprint: 1, Correlation: 2, Hops: 8}
	var e [wire.HeaderSize]byte
	h.Put(&e)
	for b.Loop() {
		h.Load(&e, wire.MaxLength)
	}
}
