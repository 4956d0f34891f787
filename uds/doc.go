// Package uds connects two processes of one host through a unix stream socket
// and upgrades the connection to shared-memory rings where it can.
//
//	l, err := uds.Listen("prices", nil)      c, err := uds.Dial(ctx, "prices", nil)
//	conn, err := l.Accept(ctx)
//
// Both ends get a [Conn], which is a [link.Link]. After a handshake of three
// messages it takes one of two paths:
//
//   - rings ([link.Info].Kind is "ring"): one sealed memfd a direction, passed
//     as a descriptor. The socket stays open beside them and carries no
//     vesicles: it is the doorbell, and the sign of life. When a process ends,
//     however it ends, the kernel closes its socket and the other side learns
//     of it.
//   - the socket itself (Kind "uds"): headers and payloads as a byte stream,
//     where rings are refused by either side or can't be had. [link.Info].Why
//     says the reason on both sides.
//
// Who may connect is decided by the kernel's word about the peer (SO_PEERCRED)
// and a [Policy], on both sides. Sockets live in a directory that only its
// owner can write to ([RuntimeDir]); a file left by a dead process is replaced,
// one of a living process never. docs/UDS.md has the wire format of the
// handshake and what each side sees of each failure.
//
// In a sandbox (package capsid) the same calls go through the one socket that
// the process inherited, and its node, a [Broker], connects it: see [EnvNode].
package uds
