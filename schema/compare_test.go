package schema

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func parse(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return s
}

// base is what the changes below are made to.
const base = `cell 1
struct Q {
	A uint8
	B Inner
	C E
	D U
}
struct Inner {
	X uint32
	Y uint32 unit "m"
}
enum E uint8 {
	One = 1
	Two = 2
}
union U {
	I Inner
	N uint8
}
struct R {
	S string
}
struct Item {}
service S {
	call M(Q) R
}
`

func TestCompare(t *testing.T) {
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(base) }
	for _, c := range []struct {
		name, newer string
		verdict     Verdict
		says        []string
	}{
		{"nothing", base, Same, nil},
		{"documentation, order of types, types that nobody uses, idempotent, ancestors",
			"// doc\n" + replace("enum E", "// doc\nenum E", "struct Item {}\n", "struct Unused {}\n",
				"call M(Q) R", "idempotent call M(Q) R\n\t\twas 0000000000000001 request 0 reply 0"), Same, nil},
		{"appended to the request", replace("\tD U\n", "\tD U\n\tF uint8\n"), Additive, []string{"Q.F: uint8 was appended"}},
		{"appended to both", replace("\tD U\n", "\tD U\n\tF uint8\n", "\tS string\n", "\tS string\n\tT []string\n"),
			Additive, []string{"Q.F: uint8 was appended", "R.T: []string was appended"}},
		{"first variable field appended", replace("\tD U\n", "\tD U\n\tF string\n"), NewEndpoint, []string{"Q.F: string was appended, the first field of variable length"}},
		{"type of a field", replace("A uint8", "A uint16"), NewEndpoint, []string{"Q.A: uint8 became uint16"}},
		{"type of a field and appended", replace("A uint8", "A uint16", "\tD U\n", "\tD U\n\tF uint8\n"), NewEndpoint, []string{"Q.A: uint8 became uint16"}},
		{"slice to array", replace("A uint8", "A [1]uint8"), NewEndpoint, []string{"Q.A: uint8 became [1]uint8"}},
		{"unit", replace(`unit "m"`, `unit "km"`), NewEndpoint, []string{`Inner.Y: its unit "m" became "km"`}},
		{"unit left out", replace(` unit "m"`, ``), NewEndpoint, []string{`Inner.Y: its unit "m" became none`}},
		{"field renamed", replace("A uint8", "AA uint8"), NewEndpoint, []string{"Q.A: its name became AA"}},
		{"field removed", replace("\tA uint8\n", ""), NewEndpoint, []string{"Q.A: it was removed"}},
		{"last field removed", replace("\tD U\n", ""), NewEndpoint, []string{"Q.D: it was removed"}},
		{"field inserted", replace("\tC E\n", "\tF bool\n\tC E\n"), NewEndpoint, []string{"Q.F: it was added in front of or between others, not appended"}},
		{"fields swapped", replace("\tC E\n\tD U\n", "\tD U\n\tC E\n"), NewEndpoint, []string{"Q.D: it was behind C, now it is in front of it"}},
		{"appended to a nested struct", replace("\tX uint32\n", "\tX uint32\n", "\tY uint32 unit \"m\"\n", "\tY uint32 unit \"m\"\n\tZ uint8\n"),
			NewEndpoint, []string{"Inner.Z: it was appended, but Inner lies within another type"}},
		{"nested type renamed", replace("Inner", "Outer"), NewEndpoint, []string{"Q.B: Inner became Outer", "U.I: Inner became Outer"}},
		{"kind of a nested type", replace("enum E uint8 {\n\tOne = 1\n\tTwo = 2", "struct E {\n\tOne uint8"), NewEndpoint, []string{"E: enum became struct"}},
		{"value added to an enum", replace("Two = 2", "Two = 2\n\tThree = 3"), NewEndpoint, []string{"E.Three: it was appended, but who knows the old enum alone"}},
		{"value's number", replace("Two = 2", "Two = 3"), NewEndpoint, []string{"E.Two: 2 became 3"}},
		{"value's name", replace("Two = 2", "Zwei = 2"), NewEndpoint, []string{"E.Two: its name became Zwei"}},
		{"integer below an enum", replace("E uint8", "E int16"), NewEndpoint, []string{"E: an enum over uint8 became one over int16"}},
		{"alternative added", replace("\tN uint8\n", "\tN uint8\n\tO bool\n"), NewEndpoint, []string{"U.O: it was appended, but who knows the old union alone"}},
		{"alternative's type", replace("N uint8", "N int8"), NewEndpoint, []string{"U.N: uint8 became int8"}},
		{"message renamed", replace("R", "Reply"), NewEndpoint, []string{"the reply was R, now it is Reply"}},
		{"reply dropped", replace("(Q) R", "(Q)"), NewEndpoint, []string{"the reply was R, now it is empty"}},
		{"mode", replace("(Q) R", "(Q, out Item) R"), NewEndpoint, []string{"M: a unary method became server stream"}},
		{"removed, and a new one", replace("call M", "call N"), Added, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			changes := Diff(parse(t, base), parse(t, c.newer))
			got := changes[0]
			if got.Verdict != c.verdict || len(got.Details) != len(c.says) {
				t.Fatalf("got %v, want %v %q", got, c.verdict, c.says)
			}
			for i, says := range c.says {
				if !strings.Contains(got.Details[i], says) {
					t.Errorf("got %q, want %q", got.Details[i], says)
				}
			}
			if c.verdict == Added && (len(changes) != 2 || changes[1].Verdict != Removed || changes[1].Method != "M") {
				t.Errorf("changes %v", changes)
			}
		})
	}
}

func TestCompareEmptyMessages(t *testing.T) {
	const before = "cell 1\nstruct Named {}\nservice S {\n\tcall M()\n\tcall N(Named)\n}\n"
	for _, c := range []struct {
		name, newer string
		m, n        Verdict
	}{
		{"grow fixed", "cell 1\nstruct Q {\nA uint8\n}\nstruct Named {\nA uint8\n}\nservice S {\ncall M(Q) Q\ncall N(Named)\n}", Additive, Additive},
		{"grow variable", "cell 1\nstruct Q {\nA string\n}\nstruct Named {\nA string\n}\nservice S {\ncall M(Q) Q\ncall N(Named)\n}", Additive, Additive},
		{"get a name, lose it", "cell 1\nstruct Named {}\nservice S {\ncall M(Named)\ncall N()\n}", Additive, NewEndpoint},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Diff(parse(t, before), parse(t, c.newer))
			if got[0].Verdict != c.m || got[1].Verdict != c.n {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestInherit(t *testing.T) {
	text := func(fields string) string {
		return "cell 1\nstruct Q {\n" + fields + "}\nservice S {\n\tcall M(Q) Q\n}\n"
	}
	form := func(s *Schema) Ancestor {
		a, err := Form(s.Services[0], &s.Services[0].Methods[0])
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first, second, third := parse(t, text("A uint32\n")), parse(t, text("A uint32\nB uint64\n")), parse(t, text("A uint32\nB uint64\nC uint8\n"))
	inherit := func(older, newer *Schema, want Verdict, ancestors ...Ancestor) {
		t.Helper()
		changes, err := Inherit(older, newer)
		if err != nil || len(changes) != 1 || changes[0].Verdict != want {
			t.Fatalf("%v, %v, want %v", changes, err, want)
		}
		got := newer.Services[0].Methods[0].Ancestors
		if len(got) != len(ancestors) || len(got) > 0 && !reflect.DeepEqual(got, ancestors) {
			t.Errorf("ancestors %v, want %v", got, ancestors)
		}
		if err := newer.Validate(); err != nil {
			t.Error(err)
		}
	}
	inherit(first, second, Additive, form(first))
	inherit(second, third, Additive, form(first), form(second))
	inherit(third, parse(t, text("A uint32\nB uint64\nC uint8\n")), Same, form(first), form(second))
	inherit(third, parse(t, text("A uint32\nB uint64\n")), NewEndpoint, form(first))
	inherit(third, parse(t, text("A uint32\n")), NewEndpoint)
	inherit(third, parse(t, text("A uint16\n")), NewEndpoint)
	if got, want := form(second), (Ancestor{Fingerprint: form(second).Fingerprint, Request: 16, Reply: 16}); got != want {
		t.Errorf("form %+v, want %+v", got, want)
	}

	byHand := parse(t, text("A uint32\nB uint64\nC uint8\n"))
	byHand.Services[0].Methods[0].Ancestors = []Ancestor{{Fingerprint: 7, Request: 4, Reply: 4}, form(first)}
	inherit(second, byHand, Additive, form(first), form(second), Ancestor{Fingerprint: 7, Request: 4, Reply: 4})

	many := parse(t, text("A uint32\n"))
	for i := range MaxAncestors {
		many.Services[0].Methods[0].Ancestors = append(many.Services[0].Methods[0].Ancestors, Ancestor{Fingerprint: uint64(i + 1)})
	}
	newer := parse(t, text("A uint32\nB uint8\n"))
	changes, err := Inherit(many, newer)
	if got := newer.Services[0].Methods[0].Ancestors; err != nil || len(got) != MaxAncestors || got[0].Fingerprint != 2 || !strings.Contains(changes[0].String(), "accepted no more") {
		t.Errorf("%d ancestors, %v, %v", len(got), changes, err)
	}

	if _, err := Inherit(&Schema{Doc: "\x00"}, newer); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "older") {
		t.Errorf("invalid older schema: %v", err)
	}
}
