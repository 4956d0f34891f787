package sched

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestParseCPUList(t *testing.T) {
	for _, c := range []struct {
		name, list, want string
		bad              bool
	}{
		{name: "empty", list: "", want: ""},
		{name: "newline only", list: "\n", want: ""},
		{name: "one", list: "5\n", want: "5"},
		{name: "range and single", list: "0-3,8", want: "0-3,8"},
		{name: "unordered, overlapping, touching", list: "8,2-4,3-5,6", want: "2-6,8"},
		{name: "spaces as people write them", list: "1, 2 ,3", want: "1-3"},
		{name: "one-element range", list: "7-7", want: "7"},
		{name: "groups", list: "0-15:2/4", want: "0-1,4-5,8-9,12-13"},
		{name: "last allowed number", list: "8191", want: "8191"},
		{name: "first number too large", list: "8192", bad: true},
		{name: "huge range is refused before it is walked", list: "0-2147483647", bad: true},
		{name: "number beyond 32 bits", list: "99999999999999999999", bad: true},
		{name: "backward range", list: "4-2", bad: true},
		{name: "negative", list: "-1", bad: true},
		{name: "open range", list: "1-", bad: true},
		{name: "empty item", list: "1,,2", bad: true},
		{name: "trailing comma", list: "1,", bad: true},
		{name: "words", list: "all", bad: true},
		{name: "group of zero", list: "0-3:1/0", bad: true},
		{name: "more used than in the group", list: "0-3:3/2", bad: true},
		{name: "groups without a range", list: "3:1/2", bad: true},
		{name: "groups without a size", list: "0-3:1", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := ParseCPUList(c.list)
			if c.bad {
				if !errors.Is(err, ErrSyntax) {
					t.Fatalf("%q gave %v, %v; want ErrSyntax", c.list, s, err)
				}
				return
			}
			if err != nil || s.String() != c.want {
				t.Fatalf("%q gave %q, %v; want %q", c.list, s, err, c.want)
			}
		})
	}
}

func TestCPUSetOperations(t *testing.T) {
	a, b := set(t, "0-3,64,200"), set(t, "2-5,200")
	for _, c := range []struct {
		name      string
		got, want fmt.Stringer
	}{
		{"and", a.And(b), set(t, "2-3,200")},
		{"or", a.Or(b), set(t, "0-5,64,200")},
		{"without", a.Without(b), set(t, "0-1,64")},
		{"operands are unchanged", a, set(t, "0-3,64,200")},
	} {
		if c.got.String() != c.want.String() {
			t.Errorf("%s: %s, want %s", c.name, c.got, c.want)
		}
	}
	if got := a.List(); !slices.Equal(got, []int{0, 1, 2, 3, 64, 200}) || a.Len() != 6 || a.First() != 0 {
		t.Errorf("List %v, Len %d, First %d", got, a.Len(), a.First())
	}
	if a.Has(-1) || a.Has(4) || a.Has(1<<30) || !a.Has(64) {
		t.Error("Has is wrong")
	}
	var none CPUSet
	if !none.Empty() || none.First() != -1 || !a.Without(a).Equal(none) || !none.Subset(a) || a.Subset(none) {
		t.Error("the empty set is wrong")
	}
	if !CPUs(-1, MaxCPUs, 3).Equal(CPUs(3)) {
		t.Error("numbers outside the range are not left out")
	}
}

func TestCPUSetText(t *testing.T) {
	b, err := json.Marshal(struct{ C CPUSet }{CPUs(1, 2, 3, 9)})
	if err != nil || string(b) != `{"C":"1-3,9"}` {
		t.Fatal(string(b), err)
	}
	var back struct{ C CPUSet }
	if err := json.Unmarshal(b, &back); err != nil || back.C.String() != "1-3,9" {
		t.Fatal(back, err)
	}
	if err := json.Unmarshal([]byte(`{"C":"x"}`), &back); !errors.Is(err, ErrSyntax) {
		t.Fatal(err)
	}
}

func FuzzParseCPUList(f *testing.F) {
	for _, s := range []string{"", "0-3,8", "0-15:2/4", "(null)", "8191", "4-2", "1,,2", "0-8191:1/8191", "-", ":", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		s, err := ParseCPUList(list)
		if err != nil {
			if !errors.Is(err, ErrSyntax) || !s.Empty() {
				t.Fatalf("%q: %v, %v", list, s, err)
			}
			return
		}
		if s.Len() > MaxCPUs || len(s.List()) != s.Len() {
			t.Fatalf("%q: %d CPUs", list, s.Len())
		}
		again, err := ParseCPUList(s.String())
		if err != nil || !again.Equal(s) || again.String() != s.String() {
			t.Fatalf("%q became %q, which reads as %q, %v", list, s, again, err)
		}
	})
}
