package xsk

import (
	"slices"
	"testing"
)

func TestPartsOfAPacket(t *testing.T) {
	const size = 2048
	for name, c := range map[string]struct {
		in   Desc
		want []Desc
	}{
		"within a frame":       {Desc{4096 + 100, 200, OptionMetadata}, []Desc{{4196, 200, OptionMetadata}}},
		"up to a frame's end":  {Desc{2048 + 48, 2000, 0}, []Desc{{2096, 2000, 0}}},
		"one byte beyond":      {Desc{48, 2001, 0}, []Desc{{48, 2000, OptionContinued}, {2048, 1, 0}}},
		"a frame in the midst": {Desc{2000, 4048, OptionMetadata}, []Desc{{2000, 48, OptionMetadata | OptionContinued}, {2048, 2048, OptionContinued}, {4096, 1952, 0}}},
		"from a frame's start": {Desc{0, 4096, 0}, []Desc{{0, 2048, OptionContinued}, {2048, 2048, 0}}},
	} {
		ds := make([]Desc, 4)
		if got := ds[:c.in.Parts(size, ds)]; !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestPacketsOverFrames(t *testing.T) {
	for _, spanning := range []bool{false, true} {
		u, err := NewUmem(UmemOptions{Frames: 3, FrameSize: 2048, Spanning: spanning})
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			d      Desc
			within bool // one frame
			there  bool
		}{
			"a frame":              {Desc{2048, 2048, 0}, true, true},
			"over two":             {Desc{2000, 100, 0}, false, true},
			"all":                  {Desc{0, 3 * 2048, 0}, false, true},
			"beyond the end":       {Desc{2000, 3 * 2048, 0}, false, false},
			"behind the end":       {Desc{3 * 2048, 0, 0}, false, false},
			"around the address 0": {Desc{^uint64(0) - 10, 100, 0}, false, false},
		} {
			want := c.within || spanning && c.there
			if got := u.Packet(c.d); (got != nil) != want || want && len(got) != int(c.d.Length) {
				t.Errorf("spanning %t, %s: %d bytes, want them: %t", spanning, name, len(got), want)
			}
		}
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	}
}
