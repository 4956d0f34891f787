// Package can carries vesicles over a CAN bus: classic CAN with its 8 bytes a
// frame, and CAN FD with its 64.
//
// A [Node] joins a [Bus] under a number from 0 to 126 and holds a [Conn], which
// is a [link.Link], to every peer that it dials or accepts:
//
//	bus, err := can.OpenInterface("can0", &can.InterfaceOptions{Node: 1})
//	node, err := can.NewNode(bus, can.Config{Node: 1})
//	conn, err := node.Dial(ctx, 5)
//
// The bus is a small interface, so that the protocol runs over SocketCAN
// ([OpenInterface]) and, bit for bit the same, over a model of a bus
// ([NewModel]) that knows arbitration, bit times and faults and needs no kernel.
//
// A request of up to 7 bytes travels in one classic frame, and so does its
// reply: the 29-bit identifier holds priority, message class, both nodes and a
// route number, and one byte of data the rest of the 20-byte header, which
// comes out bit-identical. What is longer is cut up under a window of
// acknowledged frames. [FramesNeeded] is the arithmetic; docs/CAN.md has the
// layout of every frame.
package can
