package gosrc_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/gogen"
	"github.com/cell-runtime/cell/cmd/cellgen/internal/gosrc"
	"github.com/cell-runtime/cell/schema"
)

// FuzzLoad reads arbitrary text as a Go file: it must be refused with its
// reasons, or become a description that is read back as it was, from which code
// can be generated.
func FuzzLoad(f *testing.F) {
	trade, err := os.ReadFile("../trade/trade.go")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(trade))
	f.Add("package p\nimport \"context\"\n//cell:service\ntype S interface{ M(ctx context.Context, q Q) (Q, error) }\ntype Q struct { A [1 << 3]E; B *U; C []*string }\n//cell:union\ntype U struct { X *int8 }\ntype E uint8\nconst (EA E = iota; EB)\n")
	f.Add("package p\n//cell:service\ntype S interface{\n//cell:topic\nM()\n}\n")
	f.Add("package p\ntype A = B\ntype B = A\n//cell:service\ntype S interface{ A; M(A) error }\n")
	dir, err := os.MkdirTemp("", "gosrc")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "p.go")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		source, err := gosrc.Load(path)
		if err != nil {
			if !errors.Is(err, gosrc.ErrRefused) {
				t.Fatalf("refused without saying so: %v", err)
			}
			return
		}
		printed, err := schema.Print(source.Schema)
		if err != nil {
			t.Fatalf("what was loaded can't be printed: %v", err)
		}
		parsed, err := schema.Parse(printed)
		if err != nil {
			t.Fatalf("what was printed can't be parsed: %v\n%s", err, printed)
		}
		if again, err := schema.Print(parsed); err != nil || again != printed {
			t.Fatalf("printed again: %v\n%s\nwant\n%s", err, again, printed)
		}
		_, err = gogen.Generate(parsed, gogen.Options{Package: source.Package, Source: "p.cell", Declared: source.Declared})
		if err != nil && !errors.Is(err, gogen.ErrName) {
			t.Fatalf("no code: %v\n%s", err, printed)
		}
	})
}
