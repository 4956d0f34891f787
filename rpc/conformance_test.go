package rpc_test

import (
	"testing"

	"github.com/cell-runtime/cell/rpc/rpctest"
)

func TestConformance(t *testing.T) {
	for _, o := range openers {
		t.Run(o.name, func(t *testing.T) { rpctest.Run(t, rpctest.Harness{Open: o.open}) })
	}
}
