package gogen_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/gogen"
	"github.com/cell-runtime/cell/schema"
)

func TestGoNames(t *testing.T) {
	for name, want := range map[string]string{
		"Price": "Price", "price": "Price", "user_id": "UserId", "UserID": "UserID",
		"a_1": "A1", "x__y_": "XY", "HTTP_server": "HTTPServer",
	} {
		if got := gogen.GoName(name); got != want {
			t.Errorf("GoName(%q) is %q, want %q", name, got, want)
		}
	}
}

func TestNamesThatCollideInGoAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		declared []string
		want     string
	}{
		"a struct called like a view":     {"struct A {\n x uint8\n}\nstruct AView {\n x uint8\n}", nil, "AView"},
		"a field called like a setter":    {"struct A {\n x uint8\n SetX [2]uint8\n}", nil, "SetX"},
		"a field called like a method":    {"struct A {\n DecodeCell uint8\n}", nil, "A.DecodeCell"},
		"a service called like a client":  {"struct SClient {\n x uint8\n}\nservice S {\n call M()\n}", nil, "SClient"},
		"a name that the package has":     {"struct A {\n x uint8\n}", []string{"A", "ViewA"}, "ViewA"},
		"an import that the package has":  {"struct A {\n x uint8\n}", []string{"view"}, "view"},
		"an enum value and a type":        {"enum E uint8 {\n X = 1\n}\nstruct EX {\n x uint8\n}", nil, "EX"},
		"two lists with the same name":    {"struct A {\n b [][]int8\n}\nstruct ABList {\n x uint8\n}", nil, "ABList"},
		"a method called like a constant": {"struct SAddFingerprint {\n x uint8\n}\nservice S {\n call Add()\n}", nil, "SAddFingerprint"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := schema.Parse("cell 1\n" + c.text + "\n")
			if err != nil {
				t.Fatal(err)
			}
			declared := map[string]bool{}
			for _, name := range c.declared {
				declared[name] = true
			}
			_, err = gogen.Generate(s, gogen.Options{Package: "p", Source: "p.cell", Declared: declared})
			if !errors.Is(err, gogen.ErrName) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %s", err, c.want)
			}
		})
	}
}

func TestCommentsCanNotBecomeCode(t *testing.T) {
	s, err := schema.Parse("cell 1\n\n// go:generate rm\n//go:embed x\n// */ func init() {}\nstruct A {\n\t// math.Pi and ring.Create are not imported for this\n\tx uint8 unit \"ns */\"\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	code, err := gogen.Generate(s, gogen.Options{Package: "p", Source: "p.cell"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\n//go:generate", "\n//go:embed x", "\t\"math\"", "cell/ring"} {
		if strings.Contains(string(code), bad) {
			t.Errorf("the code has %q", bad)
		}
	}
}
