package uds

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// A listener whose time is up, or that closes, refuses what the dialer accepts in
// the same moment.
func TestRefusalThatCrossesTheAccept(t *testing.T) {
	for _, path := range []Path{PathRing, PathStream} {
		for _, gone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v/the listener is gone: %v", path, gone), func(t *testing.T) {
				a, b := socketPair(t)
				o := offer{version: versionHigh, path: path, maxPayload: 4096}
				var fds []int
				if path == PathRing {
					o.ringSize = 4096
					for range ringFDs {
						m, err := ring.Create(ring.Options{Size: 4096})
						if err != nil {
							t.Fatal(err)
						}
						defer m.Close()
						fds = append(fds, m.FD())
					}
				}
				x := newExchange(b, link.Peer{}, 0)
				if err := x.send(o.append(nil), fds...); err != nil {
					t.Fatal(err)
				}
				x.tell(refuse(wire.StatusDraining, "going home"))
				if gone {
					b.Close()
				}
				c, err := Client(soon(t), a, nil)
				if gone {
					if !errors.Is(err, wire.StatusDraining) {
						t.Errorf("the dialer hears %v", err)
					}
				} else if err != nil {
					t.Errorf("the dialer has not read it yet, and says %v", err)
				} else {
					defer c.Close()
					err = awaitError(t, c, WaitPark)
					if !errors.Is(err, link.ErrPeerGone) {
						t.Errorf("the connection says %v", err)
					}
				}
				if !strings.Contains(fmt.Sprint(err), "going home") {
					t.Errorf("the reason is lost: %v", err)
				}
			})
		}
	}
}
