package cgen

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/schema"
)

func generate(t *testing.T, text string) (string, error) {
	t.Helper()
	s, err := schema.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return Generate(s, "sample")
}

// compile has a C and a C++ compiler look at a header, whose layouts it asserts,
// with a handler for each declared one. names are what else it should declare: each
// is used once.
func compile(t *testing.T, header string, handlers []string, names ...string) {
	t.Helper()
	dir := t.TempDir()
	source := "#include \"sample_cell.h\"\n#include <stddef.h>\n#include <stdint.h>\n"
	for _, h := range handlers {
		source += "static uint8_t " + h + "(cell_call *c) { (void)c; return 0u; }\n"
	}
	service, _, _ := strings.Cut(handlers[0], "_")
	source += "int main(void) {\n\tint sum = (int)" + strings.ToUpper(service) + "_METHODS + (int)" + service + "_methods[0].kinds;\n"
	for _, name := range names {
		source += "\tsum += (int)" + name + ";\n"
	}
	source += "\treturn sum;\n}\n"
	for name, text := range map[string]string{"sample_cell.h": header, "main.c": source, "main.cc": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []struct{ compiler, source, standard string }{
		{"gcc", "main.c", "c99"}, {"gcc", "main.c", "gnu17"}, {"gcc", "main.c", "c2x"},
		{"g++", "main.cc", "c++11"}, {"g++", "main.cc", "gnu++20"},
	} {
		if _, err := exec.LookPath(v.compiler); err != nil {
			t.Skip(v.compiler + " is not installed: apt-get install g++")
		}
		cmd := exec.CommandContext(t.Context(), v.compiler, "-std="+v.standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
			"-I../../../../firmware", "-I"+dir, filepath.Join(dir, v.source))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s, %s: %v\n%s\n%s", v.compiler, v.standard, err, out, header)
		}
	}
}

func TestEveryFixedTypeHasItsLayoutInC(t *testing.T) {
	header, err := generate(t, `// All of it.
cell 1

// How */ it is.
enum State uint8 {
	Off = 0
	On = 1
}

struct Point {
	X int16 unit "mm"
	Y int64
}

struct Nothing {}

union Choice {
	Point Point
	None Nothing
	Word uint16
}

struct All {
	A bool
	B [3]int8
	C [2]Point
	D ?uint32
	E State
	F Choice
	G float32
	H float64
	I [2][3]uint16
	J ?Point
	K ?[4]uint8
}

service Things {
	call Get(All) Point
		was 0123456789abcdef request 8 reply 8
	oneway Put(Point)
	call Both(Point, in All, out Point) Nothing
	topic Moved(Point)
}
`)
	if err != nil {
		t.Fatal(err)
	}
	compile(t, header, []string{"things_get", "things_put", "things_both", "things_moved"})
	for _, want := range []string{"0x0123456789abcdefu", "SAMPLE_STATE_ON", "CELL_ON_ONE_WAY", "THINGS_METHODS 5u"} {
		if !strings.Contains(header, want) {
			t.Errorf("no %s in\n%s", want, header)
		}
	}
}

// Nothing of a description gets out of the comments in which it is written.
func TestDescriptionsStayInComments(t *testing.T) {
	for _, text := range []string{"*/ int evil(void); /*", "/*/ int evil(void);", "m/*s", "**//**/", "what??/", "\u202eevil\u2066", "a \\"} {
		header, err := generate(t, "// "+text+"\ncell 1\n\n// "+text+"\nstruct Point {\n\t// "+text+"\n\tX int32 unit \""+strings.TrimRight(text, " \\")+"\"\n}\n\n// "+text+
			"\nservice Things {\n\t// "+text+"\n\tcall Get(Point) Point\n}\n")
		if err != nil {
			t.Fatal(err)
		}
		outside := ""
		for rest := header; ; {
			before, after, found := strings.Cut(rest, "/*")
			outside += before
			if !found {
				break
			}
			inside, next, _ := strings.Cut(after, "*/")
			if strings.Contains(inside, "/*") {
				t.Errorf("%q: a comment in a comment: %q", text, inside)
			}
			rest = next
		}
		if strings.Contains(outside, "evil") || strings.Contains(outside, "*/") {
			t.Errorf("%q: out of its comment:\n%s", text, header)
		}
		compile(t, header, []string{"things_get"})
	}
}

func TestVariablePartsAreRefused(t *testing.T) {
	for _, field := range []string{"string", "bytes", "[]uint32", "?string", "[2]bytes"} {
		_, err := generate(t, "cell 1\n\nstruct Text {\n\tBody "+field+"\n}\n\nservice S {\n\tcall Get(Text)\n}\n")
		if err == nil || !strings.Contains(err.Error(), "Text") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestDemoHeaderIsCurrent(t *testing.T) {
	text, err := os.ReadFile("../../../../firmware/demo/device/device.cell")
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Generate(s, "device")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../../firmware/demo/device_cell.h")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("firmware/demo/device_cell.h is not what cellgen makes of device.cell: go run ./cmd/cellgen c -o firmware/demo/device_cell.h firmware/demo/device/device.cell")
	}
}
