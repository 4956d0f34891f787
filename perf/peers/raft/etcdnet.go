package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// etcdNet carries the messages of etcd's Raft over TCP: a connection to each
// peer, a length before each message, as many in a write as there are.
type etcdNet struct {
	listener net.Listener
	queues   map[uint64]chan *raftpb.Message
	stop     chan struct{}
	done     sync.WaitGroup
	step     func(*raftpb.Message)

	mu    sync.Mutex
	conns []net.Conn
}

func newEtcdNet(s setup, step func(*raftpb.Message)) (*etcdNet, error) {
	l, err := net.Listen("tcp", s.Addrs[s.Replica-1])
	if err != nil {
		return nil, err
	}
	n := &etcdNet{listener: l, queues: map[uint64]chan *raftpb.Message{}, stop: make(chan struct{}), step: step}
	for i, addr := range s.Addrs {
		if i+1 == s.Replica {
			continue
		}
		q := make(chan *raftpb.Message, 4096)
		n.queues[uint64(i+1)] = q
		n.done.Go(func() { n.write(addr, q) })
	}
	n.done.Go(n.accept)
	return n, nil
}

func (n *etcdNet) send(all []*raftpb.Message) {
	for _, m := range all {
		select {
		case n.queues[m.GetTo()] <- m:
		default: // lost; Raft sends it again
		}
	}
}

func (n *etcdNet) write(addr string, q chan *raftpb.Message) {
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			n.keep(c)
			n.pump(c, q)
			c.Close()
		}
		select {
		case <-n.stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (n *etcdNet) pump(c net.Conn, q chan *raftpb.Message) {
	w := bufio.NewWriterSize(c, 256<<10)
	var b []byte
	for {
		select {
		case m := <-q:
			var err error
			if b, err = (proto.MarshalOptions{}).MarshalAppend(b[:0], m); err != nil {
				return
			}
			var head [4]byte
			binary.LittleEndian.PutUint32(head[:], uint32(len(b)))
			_, _ = w.Write(head[:])
			if _, err := w.Write(b); err != nil {
				return
			}
			if len(q) > 0 {
				continue
			}
			if err := w.Flush(); err != nil {
				return
			}
		case <-n.stop:
			return
		}
	}
}

func (n *etcdNet) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.keep(c)
		n.done.Go(func() { n.receive(c) })
	}
}

func (n *etcdNet) receive(c net.Conn) {
	r := bufio.NewReaderSize(c, 256<<10)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		b := make([]byte, binary.LittleEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		m := new(raftpb.Message)
		if err := proto.Unmarshal(b, m); err != nil {
			return
		}
		n.step(m)
	}
}

// keep notes a connection, to be closed at the end.
func (n *etcdNet) keep(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
}

func (n *etcdNet) close() {
	close(n.stop)
	n.listener.Close()
	n.mu.Lock()
	for _, c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	n.done.Wait()
}
