package gosrc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/schema"
)

// load writes the files into a folder and loads the first one.
func load(t *testing.T, files ...string) *Source {
	t.Helper()
	dir := t.TempDir()
	names := []string{"main.go", "other.go", "main_cell.go", "more_test.go"}
	for i, text := range files {
		if err := os.WriteFile(filepath.Join(dir, names[i]), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source, err := Load(filepath.Join(dir, names[0]))
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestASourceBecomesADescription(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  string
	}{
		"what the comments say": {
			files: []string{`package p

import "context"

// S does it.
// Twice.
//
//cell:service
type S interface {
	// M does it once.
	//cell:idempotent
	M(context.Context, Q) (R, error) // at least

	// N takes nothing.
	N(ctx context.Context) error
}

type (
	// Q asks.
	Q struct {
		// A is first.
		A, B int64 // unit: ns
		C    int32 ` + "`json:\"c\" cell:\"unit=1e-8 EUR\"`" + ` // unit: lost, the tag wins
		D    []byte
	}
	R struct{ E bool }
)
`},
			want: `cell 1

// Q asks.
struct Q {
	// A is first.
	A int64 unit "ns"
	// A is first.
	B int64 unit "ns"
	C int32 unit "1e-8 EUR"
	D bytes
}

struct R {
	E bool
}

// S does it.
// Twice.
service S {
	// M does it once.
	// at least
	idempotent call M(Q) R
	// N takes nothing.
	call N()
}
`},
		"aliases, constants and other files; generated ones and tests don't count": {
			files: []string{`package p

import (
	c "context"

	calls "github.com/cell-runtime/cell/rpc"
)

//cell:service
type S interface {
	M(ctx c.Context, req Q, in calls.Receiver[Item], out calls.Sender[Item]) error
}

type Q struct {
	Digest Digest
	Kind   Kind
	Bits   Mask
	Runes  []rune
	Small  Small
}

type Digest = [size]byte

const size = 1 << 5
`, `package p

import "no/such/package"

var x = package.Nothing(unknown)

// Item is in another file.
type Item struct{ Big Big }

// Kind counts from 0, without the type's name.
type Kind uint8

const (
	Red Kind = iota
	_
	Green
)

type Mask uint32

const (
	MaskA Mask = 1 << iota
	MaskB
)

type Big uint64

const BigMost Big = 1<<64 - 1

type Small int8

const SmallLeast Small = -128
`, "package p\n\ntype Item struct { Wrong int64 }\n", "package p\n\ntype Q struct { Wrong int64 }\n"},
			want: `cell 1

struct Q {
	Digest [32]uint8
	Kind Kind
	Bits Mask
	Runes []int32
	Small Small
}

// Item is in another file.
struct Item {
	Big Big
}

// Kind counts from 0, without the type's name.
enum Kind uint8 {
	Red = 0
	Green = 2
}

enum Mask uint32 {
	A = 1
	B = 2
}

enum Big uint64 {
	Most = 18446744073709551615
}

enum Small int8 {
	Least = -128
}

service S {
	call M(Q, in Item, out Item)
}
`},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := schema.Print(load(t, c.files...).Schema)
			if err != nil {
				t.Fatal(err)
			}
			if text != c.want {
				t.Errorf("the description is\n%s\nwant\n%s", text, c.want)
			}
		})
	}
}

func TestDeclarationsAreToldSoThatTheyAreNotGenerated(t *testing.T) {
	source := load(t, `package p

import "context"

//cell:service
type S interface{ M(context.Context, Q) error }

type Q struct{ A int64 }

func (q *Q) String() string { return "" }

var v, w = 1, 2

func f() {}
`)
	for _, name := range []string{"S", "Q", "Q.String", "v", "w", "f"} {
		if !source.Declared[name] {
			t.Errorf("%s is not among %v", name, source.Declared)
		}
	}
	if source.Package != "p" {
		t.Errorf("package %q", source.Package)
	}
}

func TestAFileThatDoesNotParseIsRefusedWithItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.go")
	if err := os.WriteFile(path, []byte("package p\n\nfunc {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "p.go:3:") {
		t.Errorf("Load returned %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "missing", "p.go")); !os.IsNotExist(err) {
		t.Errorf("Load of a missing file returned %v", err)
	}
}

func TestServicesInTwoFilesShareNoTypes(t *testing.T) {
	dir := t.TempDir()
	const one = "package p\n\nimport \"context\"\n\n//cell:service\ntype %s interface{ M(context.Context, %s) error }\n"
	for name, text := range map[string]string{
		"a.go":     fmt.Sprintf(one, "A", "Shared"),
		"b.go":     fmt.Sprintf(one, "B", "Shared"),
		"c.go":     fmt.Sprintf(one, "C", "Own") + "\ntype Own struct{ X int64 }\n",
		"types.go": "package p\n\ntype Shared struct{ X int64 }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Load(filepath.Join(dir, "a.go"))
	if err == nil || !strings.Contains(err.Error(), "types.go:3: Shared is used by services in a.go and in b.go") {
		t.Errorf("Load returned %v", err)
	}
	if _, err := Load(filepath.Join(dir, "c.go")); err != nil {
		t.Errorf("a file with types of its own: %v", err)
	}
}
