package rpc

import (
	"time"

	"github.com/cell-runtime/cell/engine"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/schema/view"
	"github.com/cell-runtime/cell/wire"
)

// InlineFunc serves a unary or one-way method on the engine's thread. req is
// the request in the memory of the link; reply is the place of the answer
// there, of arbitrary content: at least the reply's root block long, see
// [ServerOptions.InlineReply] for messages with variable parts, and empty for
// one-way methods. Both may be touched until the function returns, and req
// never written. It returns how many bytes the reply has.
//
// It must not block: every link of the engine waits meanwhile. A panic costs
// this call alone, which ends with wire.StatusInternal.
type InlineFunc func(c *Call, req, reply []byte) (n int, err error)

// Call is what an inline handler knows of the call it serves. It is valid
// until the handler returns.
type Call struct {
	link   *serverLink
	served *served
	header *wire.Header
	budget uint64 // ns; 0: no deadline
	arena  view.Arena
}

// Method returns the method being called.
func (c *Call) Method() *Method { return c.served.method }

// Fingerprint returns the fingerprint that the caller used: the method's own
// or that of one of its ancestors.
func (c *Call) Fingerprint() uint64 { return c.header.Fingerprint }

// RequestBlock returns the length in bytes of the root block that every
// request of this form has: today's, or that of the ancestor that the caller
// knows. A shorter one is malformed.
func (c *Call) RequestBlock() int { return c.served.requestBlock }

// Now returns the engine's coarse clock in nanoseconds; see
// [engine.Engine.Now].
func (c *Call) Now() int64 { return c.link.port.Now() }

// Remaining returns the time that was left for the call when it arrived, and
// false if the caller set no deadline.
func (c *Call) Remaining() (time.Duration, bool) {
	return time.Duration(min(c.budget, uint64(noDeadline))), c.budget != 0
}

// Peer says who calls, as far as the link can prove it.
func (c *Call) Peer() link.Peer { return c.link.info.Peer }

// Port returns the port through which the call came.
func (c *Call) Port() *engine.Port { return c.link.port }

// Priority returns the caller's priority: 0 is ordinary, 3 most urgent.
func (c *Call) Priority() uint8 { return c.header.Flags.Priority() }

// Arena is where generated code keeps account of a reply with variable parts
// while the handler builds it, since what is passed to a handler must not lie
// on the stack.
func (c *Call) Arena() *view.Arena { return &c.arena }
