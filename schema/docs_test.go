package schema_test

import (
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/schema"
)

// codeBlocks returns the indented or fenced pieces of docs/SCHEMA.md.
func codeBlocks(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/SCHEMA.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for i, piece := range strings.Split(string(text), "```\n") {
		if i%2 == 1 {
			blocks = append(blocks, piece)
		}
	}
	return blocks
}

// blockWith returns the first piece that begins with these words.
func blockWith(t *testing.T, begin string) string {
	t.Helper()
	for _, block := range codeBlocks(t) {
		if strings.HasPrefix(block, begin) {
			return block
		}
	}
	t.Fatalf("docs/SCHEMA.md has no piece that begins with %q", begin)
	return ""
}

func TestDocumentedExample(t *testing.T) {
	text := blockWith(t, "// Prices")
	s, err := schema.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustPrint(t, s); got != text {
		t.Errorf("the example is not canonical:\n%s", got)
	}
	service := s.Service("Quotes")
	if got, want := schema.Identity(service, service.Method("Halted")), blockWith(t, "cell 1\n"); got != want {
		t.Errorf("the identity text is\n%s\nthe page says\n%s", got, want)
	}

	var want []byte
	for _, line := range regexp.MustCompile(`(?m)^ *\d+ +((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)`).FindAllStringSubmatch(blockWith(t, "offset"), -1) {
		b, err := hex.DecodeString(strings.ReplaceAll(line[1], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b...)
	}
	c, err := schema.NewCodec(s.Type("Quote"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.FromJSON([]byte(`{"Bid": 100, "State": "Open", "Venues": [{"Code": 7, "Name": "XETRA"}]}`))
	if err != nil || string(got) != string(want) {
		t.Errorf("%v: the message is\n%x\nthe page says\n%x", err, got, want)
	}
}

func TestDocumentedDifference(t *testing.T) {
	for _, c := range schema.Diff(loadSchema(t, "quotes2.cell"), loadSchema(t, "quotes3.cell")) {
		if c.Method == "Get" && c.String()+"\n" != blockWith(t, "Quotes.Get") {
			t.Errorf("the page should say\n%v", c)
		}
	}
}

// The page's table of limits has them all.
func TestDocumentedLimits(t *testing.T) {
	text, err := os.ReadFile("../docs/SCHEMA.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| text of a description | 1 MiB |", "| name, unit | 64 bytes each |", "| types, services in a description | 4096, 256 |",
		"| methods of a service | 256 |", "| fields of a struct, alternatives of a union | 256 |", "| values of an enum | 4096 |",
		"| ancestors of a method | 64;", "| structs, unions, arrays, slices, optionals within each other, the message counted | 16 |",
		"| what lies in place: a struct's block, an array | 16 MiB |", "| a message | 1 GiB;",
	} {
		if !strings.Contains(string(text), row) {
			t.Errorf("no row %s", row)
		}
	}
	if [...]int{schema.MaxText, schema.MaxName, schema.MaxUnit, schema.MaxTypes, schema.MaxServices, schema.MaxMethods,
		schema.MaxFields, schema.MaxValues, schema.MaxAncestors, schema.MaxDepth, schema.MaxBlock, schema.MaxMessage, schema.DefaultValues} !=
		[...]int{1 << 20, 64, 64, 4096, 256, 256, 256, 4096, 64, 16, 16 << 20, 1 << 30, 1 << 20} {
		t.Error("a limit differs from the page")
	}
}
