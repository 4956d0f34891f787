package wire_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

// golden mirrors testdata/header.json, which every implementation is tested
// against.
type golden struct {
	About     string `json:"about"`
	Constants struct {
		Version      int `json:"version"`
		HeaderSize   int `json:"header_size"`
		MaxLength    int `json:"max_length"`
		DeadlineSize int `json:"deadline_size"`
		FragmentSize int `json:"fragment_size"`
		StatusLimit  int `json:"status_limit"`
	} `json:"constants"`
	Kinds                map[string]uint8 `json:"kinds"`
	Flags                map[string]uint8 `json:"flags"`
	Channels             map[string]uint8 `json:"channels"`
	Statuses             map[string]uint8 `json:"statuses"`
	Headers              []goldenHeader   `json:"headers"`
	InvalidHeaders       []goldenInvalid  `json:"invalid_headers"`
	ErrorPayloads        []goldenError    `json:"error_payloads"`
	InvalidErrorPayloads []goldenInvalid  `json:"invalid_error_payloads"`
	Deadlines            []struct {
		Name   string   `json:"name"`
		Budget uint64   `json:"budget,string"`
		Bytes  hexBytes `json:"bytes"`
	} `json:"deadlines"`
	Fragments []struct {
		Name     string   `json:"name"`
		Total    uint32   `json:"total"`
		Offset   uint32   `json:"offset"`
		Sequence uint32   `json:"sequence"`
		Size     int      `json:"size"`
		Bytes    hexBytes `json:"bytes"`
	} `json:"fragments"`
	InvalidFragments []goldenInvalid `json:"invalid_fragments"`
}

type goldenHeader struct {
	Name        string       `json:"name"`
	Length      uint32       `json:"length"`
	Fingerprint string       `json:"fingerprint"`
	Correlation uint32       `json:"correlation"`
	Kind        wire.Kind    `json:"kind"`
	Flags       wire.Flags   `json:"flags"`
	Channel     wire.Channel `json:"channel"`
	Hops        uint8        `json:"hops"`
	Bytes       hexBytes     `json:"bytes"`
}

type goldenError struct {
	Name    string      `json:"name"`
	Status  wire.Status `json:"status"`
	Message string      `json:"message"`
	Details hexBytes    `json:"details"`
	Bytes   hexBytes    `json:"bytes"`
}

type goldenInvalid struct {
	Name   string   `json:"name"`
	Reason string   `json:"reason"`
	Size   int      `json:"size"`
	Bytes  hexBytes `json:"bytes"`
}

// hexBytes are bytes that the file writes in hexadecimal.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) error {
	*b = make([]byte, hex.DecodedLen(len(text)))
	_, err := hex.Decode(*b, text)
	return err
}

// reasons are the sentinels by the names that the file uses.
var reasons = map[string]error{
	"ErrShort": wire.ErrShort, "ErrVersion": wire.ErrVersion, "ErrKind": wire.ErrKind,
	"ErrFlags": wire.ErrFlags, "ErrChannel": wire.ErrChannel, "ErrLength": wire.ErrLength,
	"ErrPrefix": wire.ErrPrefix, "ErrFragment": wire.ErrFragment,
	"ErrErrorPayload": wire.ErrErrorPayload,
}

func loadGolden(t testing.TB) golden {
	t.Helper()
	text, err := os.ReadFile("../testdata/header.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		t.Fatalf("testdata/header.json: %v", err)
	}
	return g
}

func (v goldenHeader) header(t testing.TB) wire.Header {
	t.Helper()
	fingerprint, err := strconv.ParseUint(v.Fingerprint, 16, 64)
	if err != nil || len(v.Fingerprint) != 16 {
		t.Fatalf("fingerprint %q is not 16 hexadecimal digits", v.Fingerprint)
	}
	return wire.Header{
		Fingerprint: fingerprint, Length: v.Length, Correlation: v.Correlation,
		Kind: v.Kind, Flags: v.Flags, Channel: v.Channel, Hops: v.Hops,
	}
}

func TestGoldenConstants(t *testing.T) {
	c := loadGolden(t).Constants
	for _, v := range []struct {
		name       string
		file, code int
	}{
		{"version", c.Version, wire.Version},
		{"header_size", c.HeaderSize, wire.HeaderSize},
		{"max_length", c.MaxLength, wire.MaxLength},
		{"deadline_size", c.DeadlineSize, wire.DeadlineSize},
		{"fragment_size", c.FragmentSize, wire.FragmentSize},
	} {
		if v.file != v.code {
			t.Errorf("%s: file says %d, code %d", v.name, v.file, v.code)
		}
	}
	for status, valid := range map[int]bool{c.StatusLimit - 1: true, c.StatusLimit: false} {
		_, err := wire.DecodeError([]byte{byte(status), 0, 0, 0, 0, 0, 0, 0})
		if (err == nil) != valid {
			t.Errorf("status_limit %d: decoding status %d gives %v", c.StatusLimit, status, err)
		}
	}
}

func TestGoldenHeaders(t *testing.T) {
	for _, v := range loadGolden(t).Headers {
		t.Run(v.Name, func(t *testing.T) {
			want := v.header(t)
			got, err := wire.Decode(v.Bytes)
			if err != nil || got != want {
				t.Errorf("Decode(%x) = %+v, %v, want %+v", v.Bytes, got, err, want)
			}
			if err := want.Validate(); err != nil {
				t.Errorf("Validate() = %v", err)
			}
			if b := want.Append(nil); !bytes.Equal(b, v.Bytes) {
				t.Errorf("Append = %x, want %x", b, v.Bytes)
			}
			var loaded wire.Header
			e := [wire.HeaderSize]byte(v.Bytes)
			if !loaded.Load(&e, v.Length) || loaded != want {
				t.Errorf("Load with limit %d = %+v, want %+v", v.Length, loaded, want)
			}
			if v.Length > 0 && loaded.Load(&e, v.Length-1) {
				t.Errorf("Load accepts length %d above limit %d", v.Length, v.Length-1)
			}
		})
	}
}

func TestGoldenInvalidHeaders(t *testing.T) {
	for _, v := range loadGolden(t).InvalidHeaders {
		t.Run(v.Name, func(t *testing.T) {
			h, err := wire.Decode(v.Bytes)
			if !errors.Is(err, reason(t, v)) {
				t.Errorf("Decode(%x) = %v, want %s", v.Bytes, err, v.Reason)
			}
			if h != (wire.Header{}) {
				t.Errorf("Decode(%x) returns %+v beside its error", v.Bytes, h)
			}
			if len(v.Bytes) == wire.HeaderSize {
				if e := [wire.HeaderSize]byte(v.Bytes); h.Load(&e, wire.MaxLength) {
					t.Errorf("Load accepts %x", v.Bytes)
				}
			}
		})
	}
}

func TestGoldenErrorPayloads(t *testing.T) {
	g := loadGolden(t)
	for _, v := range g.ErrorPayloads {
		t.Run(v.Name, func(t *testing.T) {
			e := wire.ErrorPayload{Status: v.Status, Message: v.Message, Details: v.Details}
			if b := e.Append(nil); !bytes.Equal(b, v.Bytes) {
				t.Errorf("Append = %x, want %x", b, v.Bytes)
			}
			got, err := wire.DecodeError(v.Bytes)
			if err != nil || got.Status != e.Status || got.Message != e.Message || !bytes.Equal(got.Details, e.Details) {
				t.Errorf("DecodeError(%x) = %+v, %v, want %+v", v.Bytes, got, err, e)
			}
		})
	}
	for _, v := range g.InvalidErrorPayloads {
		t.Run("invalid: "+v.Name, func(t *testing.T) {
			if e, err := wire.DecodeError(v.Bytes); !errors.Is(err, reason(t, v)) {
				t.Errorf("DecodeError(%x) = %+v, %v, want %s", v.Bytes, e, err, v.Reason)
			}
		})
	}
}

func TestGoldenPrefixes(t *testing.T) {
	g := loadGolden(t)
	for _, v := range g.Deadlines {
		t.Run("deadline: "+v.Name, func(t *testing.T) {
			var b [wire.DeadlineSize]byte
			wire.PutDeadline(&b, v.Budget)
			if !bytes.Equal(b[:], v.Bytes) {
				t.Errorf("PutDeadline(%d) = %x, want %x", v.Budget, b, v.Bytes)
			}
			if got := wire.Deadline((*[wire.DeadlineSize]byte)(v.Bytes)); got != v.Budget {
				t.Errorf("Deadline(%x) = %d, want %d", v.Bytes, got, v.Budget)
			}
		})
	}
	for _, v := range g.Fragments {
		t.Run("fragment: "+v.Name, func(t *testing.T) {
			want := wire.Fragment{Total: v.Total, Offset: v.Offset, Sequence: v.Sequence}
			var b [wire.FragmentSize]byte
			wire.PutFragment(&b, want)
			if !bytes.Equal(b[:], v.Bytes) {
				t.Errorf("PutFragment(%+v) = %x, want %x", want, b, v.Bytes)
			}
			got, err := wire.GetFragment((*[wire.FragmentSize]byte)(v.Bytes), v.Size)
			if err != nil || got != want {
				t.Errorf("GetFragment(%x, %d) = %+v, %v, want %+v", v.Bytes, v.Size, got, err, want)
			}
		})
	}
	for _, v := range g.InvalidFragments {
		t.Run("invalid fragment: "+v.Name, func(t *testing.T) {
			f, err := wire.GetFragment((*[wire.FragmentSize]byte)(v.Bytes), v.Size)
			if !errors.Is(err, reason(t, v)) {
				t.Errorf("GetFragment(%x, %d) = %+v, %v, want %s", v.Bytes, v.Size, f, err, v.Reason)
			}
		})
	}
}

func reason(t *testing.T, v goldenInvalid) error {
	t.Helper()
	err := reasons[v.Reason]
	if err == nil {
		t.Fatalf("reason %q is no sentinel of package wire", v.Reason)
	}
	return err
}
