package trade

import (
	"reflect"
	"testing"

	"github.com/cell-runtime/cell/cmd/cellgen/internal/quotes/newer"
	"github.com/cell-runtime/cell/rpc"
)

// What rpc makes of a description at run time is what cellgen writes.
func TestParsedServicesAreThoseOfGeneratedCode(t *testing.T) {
	for _, want := range []*rpc.ServiceDesc{ExchangeDesc, newer.QuotesDesc} {
		all, err := rpc.ParseServices(want.Text)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		got := all[0]
		if got.Name != want.Name || got.Digest != want.Digest || got.Text != want.Text || len(got.Methods) != len(want.Methods) {
			t.Fatalf("%+v; want %+v", got, want)
		}
		for i := range got.Methods {
			g, w := &got.Methods[i], &want.Methods[i]
			if g.String() != w.String() || g.Fingerprint != w.Fingerprint || g.Mode != w.Mode || g.Idempotent != w.Idempotent ||
				g.Request != w.Request || g.Reply != w.Reply || g.In != w.In || g.Out != w.Out || g.Event != w.Event ||
				!reflect.DeepEqual(g.Ancestors, w.Ancestors) {
				t.Errorf("%+v; want %+v", g, w)
			}
		}
	}
	if _, err := rpc.ParseServices("cell 1\nservice {"); err == nil {
		t.Error("nonsense was parsed")
	}
}
