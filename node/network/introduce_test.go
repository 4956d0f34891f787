package network

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/link/linktest"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

func header() wire.Header {
	return wire.Header{Kind: wire.KindRequest, Channel: wire.ChannelOperations, Fingerprint: introduceFingerprint}
}

func TestFingerprintsAreWhatTheyAreSaidToBe(t *testing.T) {
	for text, want := range map[string]uint64{"cell node introduce v1": introduceFingerprint, "cell node gossip v1": gossipFingerprint} {
		if sum := sha256.Sum256([]byte(text)); binary.LittleEndian.Uint64(sum[:]) != want {
			t.Errorf("%s: %x", text, sum[:8])
		}
	}
}

func TestIntroductions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *wire.Header, b []byte) []byte
		want   error
	}{
		"a cell":               {func(_ *wire.Header, b []byte) []byte { return b }, nil},
		"gossip":               {func(*wire.Header, []byte) []byte { return appendIntroduction(nil, purposeGossip, "") }, nil},
		"another version":      {func(_ *wire.Header, b []byte) []byte { b[0] = 2; return b }, errIntroduction},
		"no purpose":           {func(_ *wire.Header, b []byte) []byte { b[1] = 0; return b }, errIntroduction},
		"an unknown purpose":   {func(_ *wire.Header, b []byte) []byte { b[1] = 99; return b }, errIntroduction},
		"a name cut":           {func(_ *wire.Header, b []byte) []byte { return b[:len(b)-1] }, errIntroduction},
		"more than a name":     {func(_ *wire.Header, b []byte) []byte { return append(b, 0) }, errIntroduction},
		"nothing":              {func(*wire.Header, []byte) []byte { return nil }, errIntroduction},
		"no name":              {func(*wire.Header, []byte) []byte { return appendIntroduction(nil, purposeCell, "") }, uds.ErrName},
		"a path":               {func(*wire.Header, []byte) []byte { return appendIntroduction(nil, purposeCell, "../x") }, uds.ErrName},
		"a name where none is": {func(*wire.Header, []byte) []byte { return appendIntroduction(nil, purposeList, "x") }, errIntroduction},
		"a long name": {func(*wire.Header, []byte) []byte {
			return appendIntroduction(nil, purposeCell, strings.Repeat("x", 200))
		}, uds.ErrName},
		"an event":              {func(h *wire.Header, b []byte) []byte { h.Kind = wire.KindEvent; return b }, errIntroduction},
		"another channel":       {func(h *wire.Header, b []byte) []byte { h.Channel = wire.ChannelApplication; return b }, errIntroduction},
		"a call, without words": {func(h *wire.Header, b []byte) []byte { h.Fingerprint = 7; return b }, errIntroduction},
	} {
		t.Run(name, func(t *testing.T) {
			h := header()
			b := c.change(&h, appendIntroduction(nil, purposeCell, "ledger"))
			if _, _, err := parseIntroduction(&h, b); !errors.Is(err, c.want) {
				t.Errorf("%v; want %v", err, c.want)
			}
		})
	}
}

// TestARefusalIsReadFromALinkThatIsClosed: a peer that has no place for a link says
// so at once, and may close it before the introduction is said.
func TestARefusalIsReadFromALinkThatIsClosed(t *testing.T) {
	a, b, err := linktest.Pipe(linktest.PipeConfig{})
	must(t, err)
	defer a.Close()
	must(t, answer(t.Context(), b, introduceCorrelation, rpc.Errorf(wire.StatusResourceExhausted, "no place")))
	must(t, b.Close())
	err = introduce(t.Context(), a, purposeAlive, "", nil)
	if !errors.Is(err, errAnswered) || rpc.StatusOf(err) != wire.StatusResourceExhausted || !strings.Contains(err.Error(), "no place") {
		t.Errorf("%v; want what the peer said", err)
	}
}

func FuzzIntroduction(f *testing.F) {
	f.Add(appendIntroduction(nil, purposeCell, "ledger"))
	f.Add([]byte{1, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := header()
		p, name, err := parseIntroduction(&h, b)
		if err == nil && !bytes.Equal(appendIntroduction(nil, p, name), b) {
			t.Errorf("%x was read as purpose %d of %q", b, p, name)
		}
	})
}

func TestWordsOfPeersCommandNoTerminal(t *testing.T) {
	if got := printable("a\x1b[2Jb\n" + strings.Repeat("x", 2*mostWords)); len(got) != mostWords || strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("%q", got)
	}
}
