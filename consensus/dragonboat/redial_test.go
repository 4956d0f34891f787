//go:build !nodragonboat && !s390x

package dragonboat

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/consensustest"
)

// newTransport makes a transport of a node, whose messages go to a channel.
func newTransport(t *testing.T, n *nodes, i int, got chan<- raftpb.MessageBatch) *transport {
	o := n.options(i)
	o.Logger = slog.New(slog.DiscardHandler)
	return transports{&o}.Create(config.NodeHostConfig{}, func(m raftpb.MessageBatch) { got <- m }, nil).(*transport)
}

// A node that comes back is reached by the next message, however long it was
// away: dragonboat must not hear that it can't be reached, since it would not
// try for a second or more.
func TestANodeThatComesBackIsReachedAtOnce(t *testing.T) {
	n := &nodes{t: t, dir: t.TempDir(), addrs: map[consensus.NodeID]string{}}
	from, to := n.add(), n.add()
	got := make(chan raftpb.MessageBatch, 1<<10)
	sender := newTransport(t, n, from, nil)
	if err := sender.Start(); err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	conn, err := sender.GetConnection(t.Context(), string(n.keys[to].id))
	if err != nil {
		t.Fatal("while the node is away: ", err)
	}
	defer conn.Close()
	send := func(index uint64) {
		m := raftpb.MessageBatch{SourceAddress: string(n.keys[from].id), Requests: []raftpb.Message{{Type: raftpb.Heartbeat, To: 2, From: 1, LogIndex: index}}}
		if err := conn.SendMessageBatch(m); err != nil {
			t.Fatal(err)
		}
	}
	for life := range uint64(3) {
		for range 10 { // lost
			send(life)
			time.Sleep(time.Millisecond)
		}
		receiver := newTransport(t, n, to, got)
		if err := receiver.Start(); err != nil {
			t.Fatal(err)
		}
		for arrived := false; !arrived; time.Sleep(time.Millisecond) {
			send(100 + life)
			select {
			case m := <-got:
				arrived = m.Requests[0].LogIndex == 100+life
			default:
			}
		}
		if err := receiver.Close(); err != nil {
			t.Fatal(err)
		}
		for len(got) > 0 {
			<-got
		}
	}
}

// What only a replica itself may tell itself would end the process, or change
// the members, if another node said it.
func TestMessagesThatNeverTravelAreRefused(t *testing.T) {
	for kind, ok := range map[raftpb.MessageType]bool{
		raftpb.Heartbeat: true, raftpb.Replicate: true, raftpb.TimeoutNow: true, raftpb.SnapshotReceived: true, raftpb.Propose: true,
		raftpb.LocalTick: false, raftpb.Election: false, raftpb.CheckQuorum: false, raftpb.Unreachable: false, raftpb.SnapshotStatus: false,
		raftpb.LeaderHeartbeat: false, raftpb.BatchedReadIndex: false, raftpb.ConfigChangeEvent: false, raftpb.InstallSnapshot: false,
	} {
		m := raftpb.MessageBatch{SourceAddress: "a", Requests: []raftpb.Message{{Type: kind, To: 1, From: 2}}}
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		passed := false
		err = newFrameReader(bytes.NewReader(appendFrame(nil, b))).receiveBatch("a", func(raftpb.MessageBatch) error { passed = true; return nil })
		if passed != ok || ok != (err == nil) || !ok && !errors.Is(err, errFrame) {
			t.Errorf("%v: passed on: %v, %v", kind, passed, err)
		}
	}
	m := raftpb.MessageBatch{SourceAddress: "a", Requests: []raftpb.Message{{Type: raftpb.Heartbeat}}}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := newFrameReader(bytes.NewReader(appendFrame(nil, b))).receiveBatch("a", nil); !errors.Is(err, errFrame) {
		t.Errorf("a message to replica 0: %v", err)
	}
}

// An address at which nobody listens is of a process that has ended; one that
// can't be reached may be of a node that lives.
func TestRefusals(t *testing.T) {
	n := &nodes{t: t, dir: t.TempDir(), addrs: map[consensus.NodeID]string{}}
	from, to := n.add(), n.add()
	sender := newTransport(t, n, from, nil)
	id := string(n.keys[to].id)
	if !sender.refuses(id) {
		t.Error("nobody listens, and that was not noticed")
	}
	l, err := net.Listen("tcp", n.addrs[n.keys[to].id])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if sender.refuses(id) {
		t.Error("somebody listens, and was taken for gone")
	}
	if sender.refuses("nobody knows it") {
		t.Error("a node whose address is not known was taken for gone")
	}
}

// from is a connection of which only its other end's address is known.
type from struct {
	net.Conn
	ip net.IP
}

func (f *from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: f.ip, Port: 1} }

// One address takes a bounded number of places while nobody knows who is there.
func TestStrangersTakeNotAllPlaces(t *testing.T) {
	n := &nodes{t: t, dir: t.TempDir(), addrs: map[consensus.NodeID]string{}}
	receiver := newTransport(t, n, n.add(), nil)
	stranger, member := net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2)
	var admitted []net.Conn
	for range maxPeers {
		if c := (&from{ip: stranger}); receiver.admit(c) {
			admitted = append(admitted, c)
		}
	}
	if len(admitted) != maxStrangers {
		t.Errorf("%d strangers of one address have places, want %d", len(admitted), maxStrangers)
	}
	if !receiver.admit(&from{ip: member}) {
		t.Error("there is no place for another address")
	}
	receiver.known(admitted[0]) // it has proven who it is
	if !receiver.admit(&from{ip: stranger}) || receiver.admit(&from{ip: stranger}) {
		t.Error("who has proven who it is must not count, and all others must")
	}
}

// What a node sends in the name of a replica that is known to be another node's
// is refused: dragonboat would end the process.
func TestANodeSpeaksForItsOwnReplicas(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 2)
	groups := n.start("theirs", nil)
	stranger := n.add() // a node like the others, without a replica
	sender := newTransport(t, n, stranger, nil)
	if err := sender.Start(); err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	conn, err := sender.GetConnection(t.Context(), string(n.keys[0].id))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := conn.(*redialed)
	for deadline := time.Now().Add(30 * time.Second); r.ended == nil || !r.ended.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection goes on")
		}
		forged := raftpb.Message{Type: raftpb.ReplicateResp, ShardID: uint64(groups[0].Status().ID), From: 2, To: 1, LogIndex: 1 << 40}
		err := conn.SendMessageBatch(raftpb.MessageBatch{SourceAddress: string(n.keys[stranger].id),
			BinVer: raftio.TransportBinVersion, DeploymentId: sender.deployment, Requests: []raftpb.Message{forged}})
		if err != nil {
			t.Fatal(err)
		}
	}
	consensustest.Ready(t, groups[0])
}
