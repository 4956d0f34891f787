package node

import "time"

// Tests, and the nodes that they start, look at their cells more often.
func init() { housekeeping = 100 * time.Millisecond }
