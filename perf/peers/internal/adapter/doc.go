// Package adapter holds the measured products, each as a peer.Adapter in a file
// of its own. They use the products as their documentation says, with the
// settings that their own benchmarks use where there are any; what differs from
// the defaults stands in the file, with the reason.
package adapter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/perf/peers/internal/peer"
)

// All returns every adapter in the order of reports: what the cores can do,
// Cell, what moves bytes, what makes calls, what moves messages.
func All() []peer.Adapter {
	return slices.Concat(
		[]peer.Adapter{cacheLine},
		cellRPCAdapters,
		cellAdapters,
		unixAdapters,
		shmipcAdapters,
		[]peer.Adapter{netRPC, grpcAdapter, drpcAdapter, mangosAdapter, natsAdapter},
	)
}

// Names returns the names of all.
func Names(all []peer.Adapter) []string {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names
}

// ByName returns one of all.
func ByName(all []peer.Adapter, name string) (peer.Adapter, error) {
	i := slices.IndexFunc(all, func(a peer.Adapter) bool { return a.Name == name })
	if i < 0 {
		return peer.Adapter{}, fmt.Errorf("no peer %q; there are %s", name, strings.Join(Names(all), ", "))
	}
	return all[i], nil
}

var everything = peer.Works
