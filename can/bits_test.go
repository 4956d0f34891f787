package can

import (
	"fmt"
	"testing"
	"time"
)

func TestFrameBits(t *testing.T) {
	for _, v := range []struct {
		name  string
		frame Frame
		want  Bits
	}{
		// 29-bit classic frames are 64 bits and the data, and 3 of pause; of
		// these 54 and the data may be stuffed.
		{"classic, no data", Frame{}, Bits{Nominal: 67, StuffNominal: 13}},
		{"classic, 8 bytes", Frame{Len: 8}, Bits{Nominal: 131, StuffNominal: 29}},
		{"11 bits, 8 bytes", Frame{Len: 8, Flags: FlagStandard}, Bits{Nominal: 111, StuffNominal: 24}},
		{"remote", Frame{Len: 8, Flags: FlagRemote}, Bits{Nominal: 67, StuffNominal: 13}},
		{"FD, 8 bytes", Frame{Len: 8, Flags: FlagFD | FlagBRS}, Bits{Nominal: 49, StuffNominal: 8, Data: 5 + 64 + 27, StuffData: 17}},
		{"FD, 64 bytes", Frame{Len: 64, Flags: FlagFD | FlagBRS}, Bits{Nominal: 49, StuffNominal: 8, Data: 5 + 512 + 32, StuffData: 129}},
		{"FD, one rate", Frame{Len: 64, Flags: FlagFD}, Bits{Nominal: 49 + 549, StuffNominal: 137}},
	} {
		if got := FrameBits(&v.frame); got != v.want {
			t.Errorf("%s: %+v, want %+v", v.name, got, v.want)
		}
	}
	b := FrameBits(&Frame{Len: 8})
	if least, most := b.Least(Rates{Nominal: 1_000_000}), b.Most(Rates{Nominal: 1_000_000}); least != 131*time.Microsecond || most != 160*time.Microsecond {
		t.Errorf("at 1 Mbit/s: %v to %v", least, most)
	}
}

func TestLoad(t *testing.T) {
	var l Load
	f := Frame{Len: 8}
	for range 1000 {
		l.Add(&f, Rates{Nominal: 500_000})
	}
	half := l
	l.Add(&Frame{Flags: FlagError, Len: 8}, Rates{Nominal: 500_000})
	if l != half || l.Frames != 1000 || l.Bytes != 8000 {
		t.Errorf("%+v", l)
	}
	if least, most := l.Share(time.Second); fmt.Sprintf("%.3f %.3f", least, most) != "0.262 0.320" {
		t.Errorf("1000 frames a second at 500 kbit/s: %.3f to %.3f", least, most)
	}
	if d := l.Sub(half); d != (Load{}) {
		t.Errorf("difference: %+v", d)
	}
}

func TestDataLength(t *testing.T) {
	codes := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64}
	for n := range 65 {
		want := 0
		for _, c := range codes {
			if want = c; c >= n {
				break
			}
		}
		if got := DataLength(n); got != want {
			t.Errorf("%d bytes travel in %d, want %d", n, got, want)
		}
	}
	if DataLength(65) != 0 {
		t.Error("65 bytes fit a frame")
	}
}

func TestIDFields(t *testing.T) {
	id := MakeID(5, ClassCredit, 0x55, 0x2A, 0x155)
	if id.Priority() != 5 || id.Class() != ClassCredit || id.To() != 0x55 || id.From() != 0x2A || id.Detail() != 0x155 {
		t.Errorf("%v", id)
	}
	if id := MakeID(255, 255, 255, 255, 0xFFFF); id != idMask {
		t.Errorf("%08x", uint32(id))
	}
}

func TestFrameString(t *testing.T) {
	for _, v := range []struct {
		frame Frame
		want  string
	}{
		{Frame{ID: 0x1CC50A02, Len: 2, Data: [64]byte{1, 0xAB}}, "1CC50A02#01AB"},
		{Frame{ID: 0x123, Flags: FlagStandard}, "123#"},
		{Frame{ID: 1, Flags: FlagFD | FlagBRS, Len: 1}, "00000001##100"},
		{Frame{ID: 1, Flags: FlagRemote}, "00000001#R"},
		{BusError{Errors: ErrorBusOff}.frame(), "20000040#0000000000000000"},
	} {
		if got := v.frame.String(); got != v.want {
			t.Errorf("%s, want %s", got, v.want)
		}
	}
}
