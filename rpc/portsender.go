package rpc

import (
	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// portSender is the sending half of a port as a link.Sender, for a
// link.Fragmenter: it goes through the port, which must know of every claim.
type portSender struct{ port *engine.Port }

var _ link.Sender = portSender{}

func (s portSender) Claim(out []wire.Vesicle, size int) (int, error) {
	return s.port.ClaimBatch(out, size)
}
func (s portSender) Commit(vs []wire.Vesicle) error { return s.port.CommitBatch(vs) }
func (s portSender) Abort()                         { s.port.Abort() }
func (s portSender) Flush() error                   { return s.port.Flush() }
func (s portSender) ArmSpace(int) bool              { return false } // the engine's affair
func (s portSender) DisarmSpace()                   {}
func (s portSender) SendStats() link.Stats          { return s.port.Link().SendStats() }
