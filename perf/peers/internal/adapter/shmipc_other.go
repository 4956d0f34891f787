//go:build !amd64 && !arm64

package adapter

import "github.com/cell-runtime/cell/perf/peers/internal/peer"

// shmipcAdapters is empty: see shmipc.go.
var shmipcAdapters []peer.Adapter
