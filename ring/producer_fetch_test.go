package ring

import (
	"bytes"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

func TestFetchChangesNothing(t *testing.T) {
	x := newPair(t, MinSize)
	for range 3 * MinSize / line { // at every offset, with every kind of claim
		x.p.Fetch()
		x.write(1, 40)
		x.receive(40)

		var claimed [1]wire.Vesicle
		if _, err := x.p.Claim(claimed[:], 100); err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(claimed[0].Payload)
		x.p.Fetch()
		if !bytes.Equal(before, claimed[0].Payload) {
			t.Fatal("a claimed place has changed")
		}
		x.p.Abort()
		x.empty()
	}
	x.p.Stop(false)
	x.p.Fetch()
}
