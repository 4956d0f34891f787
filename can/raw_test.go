package can

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

func TestRawFramesSurviveTheKernelsLayout(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		f := Frame{ID: ID(rng.Uint32()) & idMask}
		switch rng.IntN(4) {
		case 0:
			f.Flags, f.ID = FlagStandard, f.ID&0x7ff
		case 1:
			f.Flags = FlagRemote
		case 2:
			f.Flags = FlagFD | FlagBRS
		}
		n := rng.IntN(ClassicData + 1)
		if f.Flags&FlagFD != 0 {
			n = DataLength(rng.IntN(FDData + 1))
		}
		f.Len = uint8(n)
		for i := range f.Bytes() {
			f.Data[i] = byte(rng.Uint32())
		}
		var b [canFDMTU]byte
		var got Frame
		if !getFrame(&got, b[:putFrame(&b, &f)]) || got.String() != f.String() || got.Flags != f.Flags {
			t.Fatalf("%v becomes %v", &f, &got)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "too short": make([]byte, 15), "between the formats": make([]byte, 40),
		"too long": make([]byte, 73), "more data than there is": append([]byte{0, 0, 0, 0, 9}, make([]byte, 11)...),
	} {
		if getFrame(&Frame{}, b) {
			t.Errorf("%s is a frame", name)
		}
	}
}

func TestControlMessages(t *testing.T) {
	message := func(kind int, data []byte) []byte {
		b := make([]byte, unix.CmsgSpace(len(data)))
		b[0] = byte(unix.CmsgLen(len(data))) // size_t, little endian
		b[8], b[12] = unix.SOL_SOCKET, byte(kind)
		copy(b[unix.CmsgLen(0):], data)
		return b
	}
	stamps := make([]byte, 48)
	stamps[0], stamps[8] = 7, 5 // software: 7 s and 5 ns
	s := &Socket{lost: 10}
	var f Frame
	s.note(&f, append(message(unix.SO_TIMESTAMPING, stamps), message(unix.SO_RXQ_OVFL, []byte{13, 0, 0, 0})...))
	if f.Time != 7e9+5 || f.Flags&FlagHardwareTime != 0 || f.Lost != 3 {
		t.Errorf("%+v", f)
	}
	stamps[32] = 9
	s.note(&f, message(unix.SO_TIMESTAMPING, stamps))
	if f.Time != 9e9 || f.Flags&FlagHardwareTime == 0 {
		t.Errorf("with hardware time: %+v", f)
	}
	// The kernel writes nothing else; still nothing is read beyond the end.
	whole := message(unix.SO_RXQ_OVFL, []byte{13, 0, 0, 0})
	for n := range whole {
		s.note(&f, whole[:n])
		cut := bytes.Clone(whole)
		cut[0] = byte(n)
		s.note(&f, cut)
	}
}

func TestBitRatesFromTheKernelsAnswer(t *testing.T) {
	timing := []byte{0x20, 0xa1, 0x07, 0, 0, 0, 0, 0} // 500,000
	data := putAttribute(nil, iflaCanBittiming, timing)
	data = putAttribute(data, iflaCanDataBittiming, timing)
	if r := bitrate(attribute(data, iflaCanDataBittiming)); r != 500_000 {
		t.Errorf("%d bit/s", r)
	}
	if attribute(data, 99) != nil || attribute(data[:3], iflaCanBittiming) != nil || bitrate(nil) != 0 {
		t.Error("something comes out of nothing")
	}
	for n := range data {
		_ = attribute(data[:n], iflaCanDataBittiming)
	}
	if _, err := interfaceRates(1); err == nil { // the loopback interface
		t.Error("the loopback interface has a bit rate")
	}
}

func TestOpenInterfaceSaysWhatIsMissing(t *testing.T) {
	if _, err := OpenInterface("cell-no-such", nil); err == nil || !strings.Contains(err.Error(), "ip -details link") {
		t.Errorf("an interface that is not there: %v", err)
	}
	if _, err := OpenInterface("lo", nil); err == nil {
		t.Error("the loopback interface is opened")
	}
}

func TestBusErrors(t *testing.T) {
	want := BusError{Errors: ErrorController | ErrorNoAck, State: StateTxPassive, TxErrors: 130, RxErrors: 4}
	f := want.frame()
	got, ok := ParseError(&f)
	if !ok || got != want || !strings.Contains(got.String(), "controller, no acknowledgement") {
		t.Errorf("%v, %t", got, ok)
	}
	for _, f := range []Frame{{Len: 8}, {Flags: FlagError, Len: 7}} {
		if _, ok := ParseError(&f); ok {
			t.Errorf("%+v is an error frame", f)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"node above 126":     {Node: 127},
		"window of 3":        {Window: 3},
		"window of 251":      {Window: 251},
		"payload of 19":      {MaxPayload: 19},
		"payload above all":  {MaxPayload: MaxPayload + 1},
		"too many routes":    {Routes: make([]uint64, 64)},
		"a route twice":      {Routes: []uint64{1, 2, 1}},
		"dead in no time":    {Heartbeat: 1e9, Dead: 1e9},
		"heartbeat too fast": {Heartbeat: 1},
	} {
		p := NewModel(ModelConfig{}).Open()
		if n, err := NewNode(p, c); err == nil {
			n.Close()
			t.Errorf("%s is taken", name)
		} else if !errors.Is(p.Send(&Frame{}), link.ErrClosed) {
			t.Errorf("%s: the bus is left open", name)
		}
	}
}
