package uds

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/wire"
)

// The messages between a cell and its node, on the socket that the cell
// inherited: SOCK_SEQPACKET, so each arrives whole or not at all. Little endian.
//
//	0 "CelN" ─ 4 kind u8 ─ 5 zero ─ 6 status u16 ─ 8 id u32 ─ 12 pid u32 ─ 16 uid u32 ─ 20 gid u32
//	24 name length u8 ─ name ─ text length u16 (≤ 512) ─ text
//
// Cell to node: listen, unlisten, dial, show; to each the node answers with done,
// connected, lent or refused of the same id, unlisten excepted. Node to cell: arrived
// has the id of the listen that it belongs to. connected and arrived carry one
// descriptor, a connected SOCK_STREAM socket, and say who the other side is:
// pid, uid, gid, and its cell's name as text. That is the node's word; what a
// cell says of itself is ignored. lent carries memory of a fixed size.
//
// Kinds beyond these are of a later version: a node refuses them as
// unimplemented, a cell passes over them, and neither ends for them.
const (
	nodeMagic   = "CelN"
	nodePrefix  = 24
	maxNodeBody = nodePrefix + 1 + MaxName + 2 + maxText
)

type nodeKind uint8

const (
	nodeListen    nodeKind = 1 // cell: serve name from now on
	nodeUnlisten  nodeKind = 2 // cell: no longer; id is that of the listen
	nodeDial      nodeKind = 3 // cell: a connection to name
	nodeDone      nodeKind = 4 // node: the listen stands
	nodeConnected nodeKind = 5 // node: the dial's connection
	nodeArrived   nodeKind = 6 // node: a connection for a listen
	nodeRefused   nodeKind = 7 // node: status and text say why
	nodeReady     nodeKind = 8 // cell: it serves what it is there for
	nodeShow      nodeKind = 9 // cell: it wants to show its metrics

	nodeLent nodeKind = 10 // node: memory to show them in
)

func (k nodeKind) String() string {
	names := [...]string{1: "listen", "unlisten", "dial", "done", "connected", "arrived", "refused", "ready", "show", "lent"}
	if k >= nodeListen && int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("message %d", uint8(k))
}

// fromCell reports whether a cell may say it.
func (k nodeKind) fromCell() bool {
	return k >= nodeListen && k <= nodeDial || k == nodeReady || k == nodeShow
}

// later reports whether it is of a version that came after this one.
func (k nodeKind) later() bool { return k > nodeLent }

// named reports whether it must have a name.
func (k nodeKind) named() bool { return k == nodeListen || k == nodeDial }

// carries reports whether a descriptor comes with it.
func (k nodeKind) carries() bool { return k == nodeConnected || k == nodeArrived || k == nodeLent }

// errNodeMessage: bytes that are no message between cell and node.
var errNodeMessage = errors.New("malformed message between cell and node")

type nodeMessage struct {
	kind   nodeKind
	status wire.Status
	id     uint32
	peer   link.Peer // PID, UID, GID
	name   string
	text   string
}

func (m *nodeMessage) append(b []byte) []byte {
	b = append(append(b, nodeMagic...), byte(m.kind), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(m.status))
	for _, v := range []uint32{m.id, uint32(m.peer.PID), m.peer.UID, m.peer.GID} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(append(b, byte(len(m.name))), m.name...)
	return appendText(b, m.text)
}

// parseNodeMessage reads one message. The name is valid or empty, the text
// printable.
func parseNodeMessage(b []byte) (nodeMessage, error) {
	switch {
	case len(b) < nodePrefix+1 || string(b[:4]) != nodeMagic:
		return nodeMessage{}, fmt.Errorf("%w: %d bytes that begin with %.8q", errNodeMessage, len(b), b)
	case len(b) > maxNodeBody:
		return nodeMessage{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", errNodeMessage, len(b), maxNodeBody)
	}
	le := binary.LittleEndian
	status := le.Uint16(b[6:])
	m := nodeMessage{
		kind: nodeKind(b[4]), status: wire.Status(status), id: le.Uint32(b[8:]),
		peer: link.Peer{PID: int(le.Uint32(b[12:])), UID: le.Uint32(b[16:]), GID: le.Uint32(b[20:])},
	}
	if m.kind < nodeListen || b[5] != 0 || status > 0xff {
		return nodeMessage{}, fmt.Errorf("%w: there is no %v with status %d", errNodeMessage, m.kind, status)
	}
	n, rest := int(b[nodePrefix]), b[nodePrefix+1:]
	if n > MaxName || n > len(rest) {
		return nodeMessage{}, fmt.Errorf("%w: a name of %d bytes in %d", errNodeMessage, n, len(rest))
	}
	m.name = string(rest[:n])
	if n > 0 || m.kind.named() {
		if err := ValidateName(m.name); err != nil {
			return nodeMessage{}, fmt.Errorf("%w: %w", errNodeMessage, err)
		}
	}
	var err error
	m.text, err = parseLastText(rest[n:])
	if err != nil {
		err = fmt.Errorf("%w: %w", errNodeMessage, err)
	}
	return m, err
}
