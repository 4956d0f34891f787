package uds

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/wire"
)

// A cell without a free descriptor loses single connections, not its node.
func TestACellWithoutDescriptors(t *testing.T) {
	nodes, cells := inheritedPair(t)
	n, err := newNode(cells)
	if err != nil {
		t.Fatal(err)
	}
	sock, err := newNodeSocket(nodes)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (id uint32, ended <-chan error) {
		c := make(chan error, 1)
		ctx := soon(t)
		go func() {
			_, err := n.call(ctx, &nodeMessage{kind: nodeDial, name: "other"}, nil)
			c <- err
		}()
		var b [maxNodeBody + 1]byte
		size, _, err := sock.receive(b[:], false)
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseNodeMessage(b[:size])
		if err != nil {
			t.Fatal(err)
		}
		return m.id, c
	}
	id, connected := dial()
	a, far, err := streamPair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(far)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(sock.send(&nodeMessage{kind: nodeArrived, id: 99}, a, false), sock.send(&nodeMessage{kind: nodeConnected, id: id}, a, false))
	told := <-connected // behind the one that arrived
	if err := errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &before)); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(told, wire.StatusResourceExhausted) {
		t.Errorf("the dial: %v", told)
	}
	unix.Close(a)
	if size, err := unix.Read(far, make([]byte, 1)); size != 0 || err != nil {
		t.Errorf("the other end reads %d bytes, %v; want the end", size, err)
	}
	id, connected = dial()
	if err := sock.send(&nodeMessage{kind: nodeRefused, id: id, status: wire.StatusPermissionDenied}, -1, false); err != nil {
		t.Fatal(err)
	}
	if err := <-connected; !errors.Is(err, wire.StatusPermissionDenied) {
		t.Errorf("the next dial: %v", err)
	}
}
