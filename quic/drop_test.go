package quic

import (
	"errors"
	"testing"

	"github.com/cell-runtime/cell/link"
)

func TestWhoIsKnownToBeGoneIsDropped(t *testing.T) {
	a, b := listen(t, 1, nil, 2, 3), listen(t, 2, nil, 1)
	other := listen(t, 3, nil, 1)
	x, _ := linked(t, a, b, nil)
	y, far := linked(t, a, other, nil)
	if n := a.Drop(b.key.ID()); n != 1 {
		t.Errorf("%d connections were dropped", n)
	}
	eventually(t, "the link ends", func() bool { return errors.Is(x.CheckPeer(), link.ErrPeerGone) })
	works(t, y, far)
	x, z := linked(t, a, b, nil)
	works(t, x, z)
	if n := a.Drop(numbered(9).ID()); n != 0 {
		t.Errorf("%d connections of nobody", n)
	}
}
