package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/wire"
)

func TestWhomACellMayCall(t *testing.T) {
	for name, c := range map[string]struct {
		allowed         []string
		here, elsewhere bool
		status          wire.Status
		says            string
	}{
		"of its own node, nothing said of its reach": {here: true},
		"of its own node and others":                 {here: true, elsewhere: true},
		"of other nodes, nothing said of its reach":  {elsewhere: true, status: wire.StatusPermissionDenied, says: "served by other nodes alone"},
		"of nobody":                        {status: wire.StatusNotFound, says: "no cell of this node"},
		"in its reach":                     {allowed: []string{"rates", "ledger"}},
		"in its reach, of other nodes":     {allowed: []string{"ledger"}, elsewhere: true},
		"not in its reach":                 {allowed: []string{"rates"}, here: true, status: wire.StatusPermissionDenied, says: "not in cells.orders.reach"},
		"not in its reach, of other nodes": {allowed: []string{"rates"}, elsewhere: true, status: wire.StatusPermissionDenied, says: "not in cells.orders.reach"},
	} {
		err := reachable("orders", "ledger", c.allowed, c.here, c.elsewhere)
		switch {
		case c.status == 0 && err == nil:
		case c.status == 0 || !errors.Is(err, c.status) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "cells.orders.reach"):
			t.Errorf("%s: %v", name, err)
		}
	}
}
