package quic

import (
	"errors"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// Many links that begin at once open all of their lanes in one moment, which is
// no breach of anything.
func TestManyLinksBeginAtOnce(t *testing.T) {
	a, b := listen(t, 1, nil, 2), listen(t, 2, nil, 1)
	const links, lanes = 40, 32
	var xs, ys []*Link
	for range links {
		x, y := linked(t, a, b, &LinkOptions{Lanes: lanes})
		xs, ys = append(xs, x), append(ys, y)
	}
	for i := range uint32(lanes) {
		for _, x := range xs {
			var out [1]wire.Vesicle
			_, err := x.Claim(out[:], 8)
			must(t, err)
			out[0].Header = wire.Header{Kind: wire.KindRequest, Correlation: i + 1}
			must(t, x.Commit(out[:]))
			if err := x.Flush(); err != nil && !errors.Is(err, link.ErrFull) {
				t.Fatal(err)
			}
		}
	}
	for i, y := range ys {
		got := 0
		eventually(t, "all vesicles", func() bool {
			var in [64]wire.Vesicle
			n, err := y.Poll(in[:])
			if err != nil {
				t.Fatalf("link %d, after %d vesicles: %v", i, got, err)
			}
			must(t, y.Release(n))
			got += n
			_ = xs[i].Flush()
			return got == lanes
		})
	}
}
