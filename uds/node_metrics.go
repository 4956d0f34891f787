package uds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/metrics"
	"github.com/cell-runtime/cell/wire"
)

// lendTimeout bounds how long a node takes to lend memory.
const lendTimeout = 5 * time.Second

// Metrics is where this process is to show its metrics: the file that the
// environment names (metrics.FromEnv), and in a capsid, which sees no files of its
// node, memory that the node lends. Where nobody wants to see any it is nil, without
// an error: options that take a *metrics.File take nil for "show nothing". o sizes a
// file; what a node lends has the size that the node gives.
//
// The program is the same with and without a capsid. Errors: those of
// metrics.Create and metrics.Borrow; link.ErrPeerGone where the node has gone; its
// refusal (RefusedError).
func Metrics(o metrics.Options) (*metrics.File, error) {
	f, err := metrics.FromEnv(o)
	if f != nil || err != nil {
		return f, err
	}
	n, err := inherited()
	if n == nil || err != nil {
		return nil, err
	}
	return n.metrics()
}

func (n *node) metrics() (*metrics.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lendTimeout)
	defer cancel()
	a, err := n.call(ctx, &nodeMessage{kind: nodeShow}, nil)
	if errors.Is(err, wire.StatusUnimplemented) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if a.m.kind != nodeLent {
		if a.fd >= 0 {
			unix.Close(a.fd)
		}
		return nil, fmt.Errorf("%w: %v where memory was asked for", errNodeMessage, a.m.kind)
	}
	return metrics.Borrow(os.NewFile(uintptr(a.fd), "metrics"))
}

// fits says whether a descriptor is what comes with a message of that kind.
func (k nodeKind) fits(fd int) bool {
	if k == nodeLent {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		return err == nil // a file in memory; its seals are looked at where it is used
	}
	return isStream(fd)
}
