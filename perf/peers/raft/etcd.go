package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// etcdReplica drives etcd's Raft the way etcd's server does: one goroutine
// takes each Ready, the leader sends before it writes, entries are synced to
// disk once for each Ready, and reads that wait share one ReadIndex.
type etcdReplica struct {
	id      uint64
	node    raft.Node
	storage *raft.MemoryStorage
	log     *etcdLog
	net     *etcdNet
	stop    chan struct{}
	done    sync.WaitGroup
	leader  atomic.Uint64

	commands, bytes uint64 // the machine
	applied         atomic.Uint64
	compacted       uint64

	next    atomic.Uint64
	mu      sync.Mutex
	waiting map[uint64]chan struct{} // proposals, by number

	reads     chan chan struct{}
	readState chan raft.ReadState
	moved     *sync.Cond // applied has grown
	movedLock sync.Mutex
}

func openEtcd(s setup) (replicas, error) {
	if s.Groups != 1 {
		return nil, errNotThere
	}
	e := &etcdReplica{id: uint64(s.Replica), storage: raft.NewMemoryStorage(), stop: make(chan struct{}), waiting: map[uint64]chan struct{}{},
		reads: make(chan chan struct{}, 4096), readState: make(chan raft.ReadState, 4096)}
	e.moved = sync.NewCond(&e.movedLock)
	e.next.Store(e.id << 48)
	var err error
	if e.log, err = newEtcdLog(s.Dir); err != nil {
		return nil, err
	}
	c := &raft.Config{ID: e.id, ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks, Storage: e.storage, MaxSizePerMsg: 1 << 20,
		MaxInflightMsgs: 512, CheckQuorum: true, PreVote: true, MaxUncommittedEntriesSize: 1 << 30,
		Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}}
	var peers []raft.Peer
	for i := range s.Addrs {
		peers = append(peers, raft.Peer{ID: uint64(i + 1)})
	}
	e.node = raft.StartNode(c, peers)
	if e.net, err = newEtcdNet(s, func(m *raftpb.Message) { _ = e.node.Step(context.Background(), m) }); err != nil {
		return nil, err
	}
	e.done.Go(func() { e.run(s.Tick) })
	e.done.Go(e.serveReads)
	return e, nil
}

// run is the loop over Ready.
func (e *etcdReplica) run(tick time.Duration) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			e.node.Tick()
		case rd := <-e.node.Ready():
			e.ready(&rd)
			e.node.Advance()
		case <-e.stop:
			return
		}
	}
}

func (e *etcdReplica) ready(rd *raft.Ready) {
	if rd.SoftState != nil {
		e.leader.Store(rd.SoftState.Lead)
	}
	for _, r := range rd.ReadStates {
		select {
		case e.readState <- r:
		default:
		}
	}
	leads := e.leader.Load() == e.id
	if leads {
		e.net.send(rd.Messages)
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		_ = e.storage.SetHardState(rd.HardState)
	}
	if err := e.log.save(rd.HardState, rd.Entries, rd.MustSync); err != nil {
		panic(err)
	}
	if err := e.storage.Append(rd.Entries); err != nil {
		panic(err)
	}
	if !leads {
		e.net.send(rd.Messages)
	}
	e.apply(rd.CommittedEntries)
}

func (e *etcdReplica) apply(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	for _, x := range entries {
		switch x.GetType() {
		case raftpb.EntryType_EntryConfChange:
			var cc raftpb.ConfChange
			if err := proto.Unmarshal(x.GetData(), &cc); err != nil {
				panic(err)
			}
			e.node.ApplyConfChange(&cc)
		case raftpb.EntryType_EntryNormal:
			e.execute(x.GetData())
		}
	}
	last := entries[len(entries)-1].GetIndex()
	e.movedLock.Lock()
	e.applied.Store(last)
	e.movedLock.Unlock()
	e.moved.Broadcast()
	if last > e.compacted+snapshotEntries+keepEntries {
		e.compacted = last - keepEntries
		_ = e.storage.Compact(e.compacted)
	}
}

// execute is the machine, and the proposer's answer.
func (e *etcdReplica) execute(data []byte) {
	if len(data) < 8 {
		return
	}
	e.commands++
	e.bytes += uint64(len(data) - 8)
	id := binary.LittleEndian.Uint64(data)
	if id>>48 != e.id {
		return
	}
	e.mu.Lock()
	c := e.waiting[id]
	delete(e.waiting, id)
	e.mu.Unlock()
	if c != nil {
		c <- struct{}{}
	}
}

func (e *etcdReplica) leads(int) bool { return e.leader.Load() == e.id }

type etcdPending struct{ c chan struct{} }

var etcdChannels = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

func (p etcdPending) wait() error {
	select {
	case <-p.c:
		etcdChannels.Put(p.c)
		return nil
	default:
	}
	t := time.NewTimer(requestTimeout)
	defer t.Stop()
	select {
	case <-p.c:
		etcdChannels.Put(p.c)
		return nil
	case <-t.C:
		return context.DeadlineExceeded
	}
}

func (e *etcdReplica) begin(_ int, command []byte) (pending, error) {
	id, c := e.next.Add(1), etcdChannels.Get().(chan struct{})
	data := append(binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(command)), id), command...)
	e.mu.Lock()
	e.waiting[id] = c
	e.mu.Unlock()
	if err := e.node.Propose(context.Background(), data); err != nil {
		return nil, err
	}
	return etcdPending{c}, nil
}

func (e *etcdReplica) propose(_ context.Context, g int, command []byte) error {
	p, err := e.begin(g, command)
	if err != nil {
		return err
	}
	return p.wait()
}

func (e *etcdReplica) read(ctx context.Context, _ int) error {
	c := make(chan struct{})
	select {
	case e.reads <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveReads asks once for all reads that have come meanwhile.
func (e *etcdReplica) serveReads() {
	var all []chan struct{}
	for n := uint64(0); ; n++ {
		all = all[:0]
		select {
		case c := <-e.reads:
			all = append(all, c)
		case <-e.stop:
			return
		}
		for more := true; more; {
			select {
			case c := <-e.reads:
				all = append(all, c)
			default:
				more = false
			}
		}
		if !e.confirm(n) {
			return
		}
		for _, c := range all {
			close(c)
		}
	}
}

// confirm waits until this replica has applied what was committed by now.
func (e *etcdReplica) confirm(n uint64) bool {
	request := binary.LittleEndian.AppendUint64(nil, n)
	for {
		_ = e.node.ReadIndex(context.Background(), request)
		again := time.NewTimer(time.Second)
		for waiting := true; waiting; {
			select {
			case r := <-e.readState:
				if string(r.RequestCtx) != string(request) {
					continue
				}
				again.Stop()
				e.movedLock.Lock()
				for e.applied.Load() < r.Index {
					e.moved.Wait()
				}
				e.movedLock.Unlock()
				return true
			case <-again.C:
				waiting = false
			case <-e.stop:
				return false
			}
		}
	}
}

func (e *etcdReplica) close() error {
	close(e.stop)
	e.done.Wait()
	e.node.Stop()
	e.net.close()
	if err := e.log.close(); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}
