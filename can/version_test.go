package can

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/wire"
)

// otherDevice makes device.c of the header as another release has it: with that
// version of the protocol.
func otherDevice(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"cell.h", "cell_can.h", "can/device.c"} {
		text, err := os.ReadFile(filepath.Join("../firmware", name))
		if err != nil {
			t.Fatal(err)
		}
		const here = "#define CELL_CAN_VERSION 2u"
		if name == "cell_can.h" && !strings.Contains(string(text), here) {
			t.Fatal("cell_can.h has another version than this test")
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.ReplaceAll(string(text), here, "#define CELL_CAN_VERSION "+version+"u"))
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "can/device.c")
}

// first is a device of version 1: it answers hellos of its own version, and is
// silent to all others.
func first(t *testing.T, s *sim) {
	port := s.model.Open(5)
	s.others = func() {
		var fs [16]Frame
		n, _ := port.Receive(fs[:])
		for i := range fs[:n] {
			f := &fs[i]
			if f.Flags&FlagError != 0 || f.ID.Class() != ClassControl || f.ID.Detail() != opHello<<opShift || f.Data[0]>>4 != 1 {
				continue
			}
			answer := Frame{ID: MakeID(6, ClassControl, f.ID.From(), 5, 0), Len: 8}
			copy(answer.Data[:], []byte{1<<4 | helloAsks, 8, 64, 0, 7, 0, 1, 0})
			if err := port.Send(&answer); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.pause = time.Millisecond
}

// A device of another version is not absent: who dials it learns of both versions,
// and what to do.
func TestOtherVersionsAreNamed(t *testing.T) {
	for _, v := range []struct {
		name    string
		version string
		prepare func(t *testing.T, s *sim)
	}{
		{"a device of version 1, which only answers its own", "1", first},
		{"a device of a later version", "3", func(t *testing.T, s *sim) {
			d := startProgram(t, s, otherDevice(t, "3"))
			s.others, s.pause = func() { d.act(s) }, time.Millisecond
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := newSim(t, ModelConfig{}, Config{Node: 1})
			v.prepare(t, s)
			c, _, err := s.nodes[0].begin(5)
			if err != nil {
				t.Fatal(err)
			}
			s.until("the end of the handshake", func() bool { return c.stage == stageEnded })
			_, err = c.dialled()
			if !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			for _, want := range []string{"node 5 speaks version " + v.version, "this side version 2", "firmware/cell_can.h"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if s.model.Now() > 2*time.Second {
				t.Errorf("it took %v", s.model.Now())
			}
		})
	}
}

// Who asks in another version is told this one's, once, and no link comes of it.
func TestNodesNameTheirVersion(t *testing.T) {
	s := newSim(t, ModelConfig{}, Config{Node: 1})
	port := s.model.Open(9)
	ask := Frame{ID: MakeID(6, ClassControl, 1, 9, opHello<<opShift), Len: 8}
	copy(ask.Data[:], []byte{3<<4 | helloAsks, 64, 0, 16, 7, 0, 0, 5})
	if err := port.Send(&ask); err != nil {
		t.Fatal(err)
	}
	s.idle(3 * time.Second)
	var fs [64]Frame
	n, _ := port.Receive(fs[:])
	var w hello
	if n != 1 || fs[0].ID != MakeID(6, ClassControl, 9, 1, opHello<<opShift) || !w.load(fs[0].Bytes()) || w.version != protocolVersion || w.asks {
		t.Errorf("answered by %d frames, %v", n, &fs[0])
	}
	if stats := s.nodes[0].Stats(); stats.OtherVersion != 1 || s.nodes[0].conns[9] != nil || s.nodes[0].waiting != 0 {
		t.Errorf("%+v", stats)
	}
}

// Two nodes of this version that look for each other ask for older ones meanwhile,
// and are not mistaken for such.
func TestProbesAreNoVersion(t *testing.T) {
	s := newSim(t, ModelConfig{}, Config{Node: 1, Routes: []uint64{known}}, Config{Node: 2})
	late := s.nodes[1]
	s.nodes = s.nodes[:1]
	x, _, err := s.nodes[0].begin(2)
	if err != nil {
		t.Fatal(err)
	}
	s.idle(2 * time.Second)
	if x.stage != stageHello {
		t.Fatalf("the handshake has ended: %v", x.cause)
	}
	s.nodes = append(s.nodes, late)
	y, _, err := late.begin(1)
	if err != nil {
		t.Fatal(err)
	}
	s.until("linked", func() bool { return x.stage == stageOpen && y.stage == stageOpen })
	s.send(x, wire.Header{Fingerprint: known, Kind: wire.KindEvent}, numbered(1, 5))
	s.receive(y)
	x.Close()
	y.Close()
}
