package node

import (
	"time"

	"github.com/cell-runtime/cell/can"
	"github.com/cell-runtime/cell/node/config"
)

// Tests, and the nodes that they start, look at their cells more often.
func init() { housekeeping = 100 * time.Millisecond }

// OpenBus has nodes that are started from now on open CAN buses by open.
func OpenBus(open func(config.Device) (can.Bus, error)) { openBus = open }
