package view_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/schema/view"
)

// ref returns a reference.
func ref(offset, count uint32) []byte {
	b := make([]byte, view.RefSize)
	binary.LittleEndian.PutUint32(b, offset)
	binary.LittleEndian.PutUint32(b[4:], count)
	return b
}

func TestReferencesLeadNowhereButIntoTheMessage(t *testing.T) {
	msg := []byte("0123456789")
	for name, c := range map[string]struct {
		offset, count uint32
		size          int
		want          string
	}{
		"within":                     {2, 3, 1, "234"},
		"to the end":                 {8, 2, 1, "89"},
		"of larger elements":         {2, 2, 4, "23456789"},
		"of none":                    {2, 0, 1, ""},
		"one byte beyond":            {8, 3, 1, ""},
		"one element beyond":         {2, 3, 4, ""},
		"behind the end":             {11, 1, 1, ""},
		"far behind":                 {math.MaxUint32, math.MaxUint32, 1, ""},
		"far behind, large elements": {math.MaxUint32, math.MaxUint32, 1 << 24, ""},
		"count that wraps 32 bits":   {0, 1 << 31, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := view.Elements(msg, ref(c.offset, c.count), c.size)
			if string(got) != c.want || len(got) != cap(got) {
				t.Errorf("got %q with room for %d, want %q", got, cap(got), c.want)
			}
			if c.size == 1 && string(view.Text(msg, ref(c.offset, c.count))) != c.want {
				t.Errorf("Text differs")
			}
		})
	}
}

func TestBlocksOfOlderSendersAreCompletedWithZeros(t *testing.T) {
	carried := []byte{1, 1, 1, 1, 2, 2, 3, 3, 3}
	for name, c := range map[string]struct {
		carried []byte
		want    []byte
	}{
		"nothing":              {nil, make([]byte, 12)},
		"less than a field":    {carried[:3], make([]byte, 12)},
		"a field":              {carried[:4], []byte{1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
		"a field and a half":   {carried[:5], []byte{1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
		"two fields":           {carried[:6], []byte{1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0}},
		"two fields and a bit": {carried, []byte{1, 1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := view.Extended(c.carried, 12, 4, 6, 12); !bytes.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if got := view.Zeros(1 << 16); len(got) != 1<<16 || slices.Max(got) != 0 {
		t.Error("many zeros are not so")
	}
	for name, c := range map[string]struct {
		msg  []byte
		want int
	}{
		"no prefix":      {[]byte{4, 0, 0}, 0},
		"a prefix alone": {[]byte{4, 0, 0, 0}, 4},
		"a lie":          {[]byte{0xFF, 0xFF, 0xFF, 0xFF, 0}, 5},
	} {
		if got := view.Carried(c.msg); got != c.want {
			t.Errorf("%s: %d bytes are carried, want %d", name, got, c.want)
		}
	}
}

func TestListsOfNumbers(t *testing.T) {
	b := make([]byte, 4*4)
	w := view.BuildSlice[int32](b, view.Lease{})
	for i := range w.Len() {
		w.Set(i, int32(-i))
	}
	if want := []byte{0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0xFF, 0xFF, 0xFD, 0xFF, 0xFF, 0xFF}; !bytes.Equal(b, want) {
		t.Errorf("written as %v", b)
	}
	s := view.SliceOver[int32](b, view.Lease{})
	if got := s.AppendTo([]int32{9}); !slices.Equal(got, []int32{9, 0, -1, -2, -3}) {
		t.Errorf("appended: %v", got)
	}
	room := make([]int32, 1, 9)
	if got := s.AppendTo(room); &got[0] != &room[0] {
		t.Error("AppendTo allocated although there was room")
	}
	var two [2]int32
	if n := s.CopyTo(two[:]); n != 2 || two != [2]int32{0, -1} {
		t.Errorf("copied %d: %v", n, two)
	}
	if got := s.Sub(1, 3).AppendTo(nil); !slices.Equal(got, []int32{-1, -2}) {
		t.Errorf("Sub: %v", got)
	}
	for _, bounds := range [][2]int{{-5, 0}, {4, 9}, {3, 1}} {
		if n := s.Sub(bounds[0], bounds[1]).Len(); n != 0 {
			t.Errorf("Sub(%d, %d) has %d elements", bounds[0], bounds[1], n)
		}
	}
	if s.At(-1) != 0 || s.At(4) != 0 || s.At(math.MaxInt) != 0 {
		t.Error("elements that are not there are not 0")
	}
	var all []int32
	for i, x := range s.All() {
		if i == 3 {
			break
		}
		all = append(all, x)
	}
	if !slices.Equal(all, []int32{0, -1, -2}) {
		t.Errorf("All: %v", all)
	}
	if n := w.CopyFrom([]int32{1, 2, 3, 4, 5}); n != 4 || s.At(3) != 4 {
		t.Errorf("CopyFrom wrote %d", n)
	}
}

// numbers holds every kind of number to its little-endian form, which hosts
// of either kind must write.
func numbers[T view.Scalar](t *testing.T, x T, want ...byte) {
	t.Helper()
	b := make([]byte, len(want)+1) // and unaligned
	w := view.BuildSlice[T](b[1:], view.Lease{})
	w.Set(0, x)
	if !bytes.Equal(b[1:], want) {
		t.Errorf("%v is written as %x, want %x", x, b[1:], want)
	}
	s := view.SliceOver[T](b[1:], view.Lease{})
	if got := s.At(0); got != x {
		t.Errorf("%v is read as %v", x, got)
	}
	if got := s.AppendTo(nil); len(got) != 1 || got[0] != x {
		t.Errorf("%v is appended as %v", x, got)
	}
	clear(b)
	if w.CopyFrom([]T{x}); !bytes.Equal(b[1:], want) {
		t.Errorf("%v is copied as %x, want %x", x, b[1:], want)
	}
}

func TestNumbersAreLittleEndian(t *testing.T) {
	type named uint16
	numbers(t, int8(-2), 0xFE)
	numbers(t, uint8(2), 2)
	numbers(t, int16(-2), 0xFE, 0xFF)
	numbers(t, named(0x0102), 2, 1)
	numbers(t, uint32(0x01020304), 4, 3, 2, 1)
	numbers(t, int64(0x0102030405060708), 8, 7, 6, 5, 4, 3, 2, 1)
	numbers(t, float32(1), 0, 0, 0x80, 0x3F)
	numbers(t, -2.0, 0, 0, 0, 0, 0, 0, 0, 0xC0)
}

func TestListsOfBoolsAndTexts(t *testing.T) {
	b := []byte{9, 0}
	s := view.BoolsOver(b, view.Lease{})
	if !s.At(0) || s.At(1) || s.At(2) || s.At(-1) || s.Len() != 2 {
		t.Error("bools are read wrongly")
	}
	view.BuildBools(b, view.Lease{}).CopyFrom([]bool{false, true, true})
	if got := s.AppendTo(nil); !slices.Equal(got, []bool{false, true}) {
		t.Errorf("bools: %v", got)
	}
	var a view.Arena
	place := bytes.Repeat([]byte{7}, 64)
	if err := a.Begin(place, 8); err != nil {
		t.Fatal(err)
	}
	texts := view.BuildTexts(&a, a.Elements(place[:8], 3, view.RefSize, 4), view.Lease{})
	view.CopyTexts(texts, []string{"one", "", "three", "four"})
	n, err := a.Finish()
	if err != nil || n != 8+3*view.RefSize+8 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	got := view.TextsOver(place[:n], view.Elements(place[:n], place[:8], view.RefSize), view.Lease{})
	var all []string
	for _, text := range got.All() {
		all = append(all, string(text))
	}
	if !slices.Equal(all, []string{"one", "", "three"}) || got.At(3) != nil {
		t.Errorf("texts: %q", all)
	}
}

func TestPlacesThatAreTooSmallAreTold(t *testing.T) {
	var a view.Arena
	if err := a.Begin(make([]byte, 7), 8); !errors.Is(err, view.ErrSpace) {
		t.Errorf("a place smaller than the block: %v", err)
	}
	if _, err := a.Finish(); !errors.Is(err, view.ErrSpace) {
		t.Errorf("Finish then: %v", err)
	}
	for name, f := range map[string]func(ref []byte) int{
		"a text":            func(r []byte) int { return len(a.Text(r, 9)) },
		"a string":          func(r []byte) int { a.PutString(r, "012345678"); return 0 },
		"elements":          func(r []byte) int { return len(a.Elements(r, 2, 8, 8)) },
		"far too many":      func(r []byte) int { return len(a.Elements(r, math.MaxInt, 1<<20, 8)) },
		"less than none":    func(r []byte) int { return len(a.Elements(r, -1, 8, 8)) },
		"a text of -1":      func(r []byte) int { return len(a.Text(r, -1)) },
		"numbers":           func(r []byte) int { view.PutSlice(&a, r, make([]uint64, 2)); return 0 },
		"a text in a list":  func(r []byte) int { return len(view.BuildTexts(&a, nil, view.Lease{}).Make(0, 9)) },
		"padding, then one": func(r []byte) int { a.PutString(r, "0"); return len(a.Elements(r, 1, 8, 8)) },
	} {
		t.Run(name, func(t *testing.T) {
			place := bytes.Repeat([]byte{7}, 20)
			if err := a.Begin(place[:16], 8); err != nil {
				t.Fatal(err)
			}
			n := f(place[:8])
			_, err := a.Finish()
			if n != 0 || !errors.Is(err, view.ErrSpace) || !strings.Contains(err.Error(), "there are 16") {
				t.Errorf("%d bytes of room, %v", n, err)
			}
			if !bytes.Equal(place[16:], []byte{7, 7, 7, 7}) {
				t.Error("it wrote behind its place")
			}
		})
	}
	// What is written to the elements of a list that did not fit goes nowhere.
	copy(view.Place(nil, 5, 8), "anything")
}

func TestPaddingIsZero(t *testing.T) {
	var a view.Arena
	place := bytes.Repeat([]byte{7}, 64)
	if err := a.Begin(place, 16); err != nil {
		t.Fatal(err)
	}
	a.PutString(place[:8], "abc")
	view.PutSlice(&a, place[8:16], []uint64{1})
	n, err := a.Finish()
	if err != nil || n != 32 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if want := append([]byte("abc"), 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0); !bytes.Equal(place[16:n], want) {
		t.Errorf("the parts are %v", place[16:n])
	}
	if got := view.Grow(view.Grow(16, 3, 1, 1), 1, 8, 8); got != n {
		t.Errorf("Grow says %d", got)
	}
}

func TestMessagesAreChecked(t *testing.T) {
	msg := func(block uint32, n int) []byte {
		b := make([]byte, n)
		binary.LittleEndian.PutUint32(b, block)
		return b
	}
	for name, c := range map[string]struct {
		msg     []byte
		minimum int
		want    error
	}{
		"whole":                        {msg(16, 32), 16, nil},
		"newer":                        {msg(24, 32), 16, nil},
		"empty where that is allowed":  {nil, 0, nil},
		"empty":                        {nil, 16, view.ErrShort},
		"half a prefix":                {[]byte{0, 0}, 0, view.ErrShort},
		"shorter than its block":       {msg(16, 15), 16, view.ErrShort},
		"a block shorter than it must": {msg(15, 32), 16, view.ErrBlock},
		"a block of nothing":           {msg(0, 32), 0, view.ErrBlock},
		"a block longer than it is":    {msg(33, 32), 16, view.ErrBlock},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := view.NewChecker(c.msg, c.minimum); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	for name, c := range map[string]struct {
		refs [][2]uint32
		size int
		want error
	}{
		"one part":                   {[][2]uint32{{16, 2}}, 8, nil},
		"an empty one anywhere":      {[][2]uint32{{1000, 0}}, 8, nil},
		"within the block":           {[][2]uint32{{8, 1}}, 8, view.ErrReference},
		"beyond the end":             {[][2]uint32{{24, 2}}, 8, view.ErrReference},
		"not aligned":                {[][2]uint32{{20, 1}}, 8, view.ErrReference},
		"twice the same":             {[][2]uint32{{16, 2}, {16, 2}}, 8, view.ErrOverlap},
		"more than fits by one":      {[][2]uint32{{16, 2}, {24, 1}}, 8, view.ErrOverlap},
		"a count that wraps 64 bits": {[][2]uint32{{16, math.MaxUint32}}, 1 << 24, view.ErrReference},
	} {
		t.Run(name, func(t *testing.T) {
			checker, err := view.NewChecker(msg(16, 32), 16)
			for _, r := range c.refs {
				if err == nil {
					_, err = checker.Elements(ref(r[0], r[1]), c.size, 8)
				}
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	err := view.In("Order", view.In("Legs", view.InElement(3, view.In("Name", view.ErrReference))))
	if err.Error() != "Order.Legs[3].Name: "+view.ErrReference.Error() || !errors.Is(err, view.ErrReference) {
		t.Errorf("the path reads %v", err)
	}
	if view.In("Order", nil) != nil || view.InElement(1, nil) != nil {
		t.Error("no error became one")
	}
}

func TestABudgetEndsWhatOverlaps(t *testing.T) {
	d := view.NewBudget(10)
	if d.CopyString([]byte("12345")) != "12345" || string(d.CopyBytes([]byte("1234"))) != "1234" || d.Err() != nil {
		t.Fatal("what was in the budget was refused")
	}
	if got := view.MakeSlice[uint64](&d, 1<<40, 8); got != nil || !errors.Is(d.Err(), view.ErrOverlap) {
		t.Errorf("%d elements beyond the budget, %v", len(got), d.Err())
	}
	if d.CopyString([]byte("1")) != "" || d.CopyBytes([]byte("1")) != nil {
		t.Error("a spent budget was used")
	}
	if view.CopySlice(&d, view.SliceOver[int16]([]byte{1, 2}, view.Lease{})) != nil ||
		d.CopyBools(view.BoolsOver([]byte{1}, view.Lease{})) != nil {
		t.Error("a spent budget was used by lists")
	}
}
