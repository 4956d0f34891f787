package linktest_test

import (
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/link/linktest"
)

// A link's own package has one test that runs all cases over it.
func ExampleRun() {
	_ = func(t *testing.T) {
		linktest.Run(t, linktest.Harness{
			Open: func(t testing.TB) (a, b link.Link) {
				x, y, err := linktest.Pipe(linktest.PipeConfig{})
				if err != nil {
					t.Fatal(err)
				}
				return x, y
			},
			CanPark: true,
		})
	}
}
