package uds

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// A cell that is newer than its node is told what the node lacks, and goes on.
func TestANewCellAtAnOldNode(t *testing.T) {
	b := broker(t, open)
	cell := cellOf(t, b, "new")
	serveEcho(t, cellOf(t, b, "bystander"), "echo")
	if _, err := cell.node.call(soon(t), &nodeMessage{kind: nodeLent + 1, name: "anything"}, nil); !errors.Is(err, wire.StatusUnimplemented) {
		t.Errorf("what no node knows yet: %v", err)
	}
	c, err := Dial(soon(t), "echo", cell)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	talk(t, c, "as before")
}

// A node that is newer than its cell says what the cell passes over.
func TestAnOldCellAtANewNode(t *testing.T) {
	nodes, cells := inheritedPair(t)
	n, err := newNode(cells)
	if err != nil {
		t.Fatal(err)
	}
	node, err := newNodeSocket(nodes)
	if err != nil {
		t.Fatal(err)
	}
	near, far, err := streamPair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(near)
	asked := make(chan error, 1)
	go func() {
		_, err := n.call(soon(t), &nodeMessage{kind: nodeDial, name: "x"}, nil)
		asked <- err
	}()
	var heard [maxNodeBody]byte
	if _, _, err := node.receive(heard[:], false); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		nodeMessage
		fd int
	}{
		{nodeMessage{kind: nodeLent + 1}, -1},
		{nodeMessage{kind: nodeLent + 2}, far},
		{nodeMessage{kind: nodeRefused, id: 1, status: wire.StatusNotFound}, -1},
	} {
		if err := node.send(&m.nodeMessage, m.fd, true); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(far)
	if err := <-asked; !errors.Is(err, ErrNoListener) {
		t.Errorf("the answer behind them: %v", err)
	}
	var end [1]byte
	if n, err := unix.Read(near, end[:]); n != 0 || err != nil {
		t.Errorf("the descriptor that came with one is open still: %d, %v", n, err)
	}
}
