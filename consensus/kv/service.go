package kv

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/internal/wall"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

const (
	defaultLimit = 1000
	// rangeBytes bounds a reply of Range.
	rangeBytes = 4 << 20
	// expiryInterval is how often the leader looks for leases that have ended.
	expiryInterval = 250 * time.Millisecond
	// idleInterval is the same for a store without leases, which says when it has
	// one: to one of those who serve it, if there are several.
	idleInterval = time.Minute
	watchBatch   = 64
)

// Service serves a store to callers, by this node's replica of its group.
type Service struct {
	group   consensus.Group
	hub     *hub
	granted <-chan struct{} // see [Machine]

	opening turn
	mu      sync.Mutex
	session *consensus.Session
}

var _ KV = (*Service)(nil)

// Serve registers the store with a server. The group's machine must be
// [Machines]. Until ctx ends, it also ends leases whose time is over, when this
// replica leads.
func Serve(ctx context.Context, server *rpc.Server, g consensus.Group) (*Service, error) {
	s := &Service{group: g, opening: newTurn()}
	if _, err := g.Applier().Read(lookup(func(m *Machine) { s.hub, s.granted = m.hub, m.granted })); err != nil {
		return nil, err
	}
	if err := RegisterKV(server, s); err != nil {
		return nil, err
	}
	go s.expire(ctx)
	return s, nil
}

// expire proposes, as the leader, that leases end whose time has come by this
// node's clock. Which do is decided by the log's time. Without leases it hardly
// looks: a node may have hundreds of stores of which nothing is asked.
func (s *Service) expire(ctx context.Context) {
	t := time.NewTimer(expiryInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.granted:
		case <-t.C:
		}
		now := wall.Now() // by which the log's time is told, too
		var next int64
		s.look(func(m *Machine) { next = m.next() })
		if next == 0 {
			t.Reset(idleInterval)
			continue
		}
		t.Reset(expiryInterval)
		if now.UnixNano() < next || !s.group.Status().Leads() {
			continue
		}
		each, cancel := context.WithTimeout(ctx, time.Second)
		_, _ = consensus.Propose(each, s.group, encodeCommand(Action{Expire: &Expire{}})) // or the next time
		cancel()
	}
}

// look reads this replica's state.
func (s *Service) look(f lookup) { _, _ = s.group.Applier().Read(f) } // a lookup has no error

func encodeCommand(a Action) []byte {
	c := Command{Do: a}
	b := make([]byte, c.SizeCell())
	n, err := c.EncodeCell(b)
	if err != nil { // what was measured fits
		return nil
	}
	return b[:n]
}

// answerMargin is what is left of a caller's time to tell him why it was not enough.
const answerMargin = 50 * time.Millisecond

// within is a request's time: that of its caller, without what it takes to answer.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	d, ok := ctx.Deadline()
	if !ok {
		return consensus.WithDefaultDeadline(ctx)
	}
	return context.WithDeadline(ctx, d.Add(-min(answerMargin, time.Until(d)/8)))
}

// do executes an action once, in a session of this member's.
func (s *Service) do(ctx context.Context, a Action) (Outcome, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	session, err := s.open(ctx)
	if err != nil {
		return Outcome{}, err
	}
	r, err := session.Propose(ctx, encodeCommand(a))
	if errors.Is(err, consensus.ErrSessionExpired) {
		s.mu.Lock()
		if s.session == session {
			s.session = nil // the next call opens another
		}
		s.mu.Unlock()
	}
	if err != nil {
		return Outcome{}, err
	}
	return outcomeOf(r)
}

func (s *Service) open(ctx context.Context) (*consensus.Session, error) {
	if session := s.opened(); session != nil {
		return session, nil
	}
	if err := s.opening.take(ctx); err != nil {
		return nil, err
	}
	defer s.opening.give()
	if session := s.opened(); session != nil { // by somebody else meanwhile
		return session, nil
	}
	session, err := consensus.NewSession(ctx, s.group)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = session
	return session, nil
}

func (s *Service) opened() *consensus.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

// outcomeOf reads a result of the machine. A refusal is an error.
func outcomeOf(r consensus.Result) (o Outcome, err error) {
	if err := o.DecodeCell(r.Data); err != nil {
		return o, rpc.Errorf(wire.StatusInternal, "an outcome that can't be read: %w", err)
	}
	return o, o.err()
}

func (o *Outcome) err() error {
	if o.Status == 0 {
		return nil
	}
	return rpc.Errorf(wire.Status(o.Status), "%s", o.Message)
}

// read runs f over the state, as fresh as asked for, and returns its age.
func (s *Service) read(ctx context.Context, stale bool, maxAge int64, f lookup) (age int64, err error) {
	if !stale {
		ctx, cancel := within(ctx)
		defer cancel()
		for {
			_, err := consensus.Query(ctx, s.group, f)
			if !errors.Is(err, consensus.ErrNoLeader) {
				return 0, err
			}
			select { // there will be one, or the caller's time is over
			case <-ctx.Done():
				return 0, err
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	if maxAge <= 0 {
		maxAge = -1
	}
	_, old, err := consensus.QueryStale(ctx, s.group, f, time.Duration(maxAge))
	return int64(old), err
}

// Get implements [KV].
func (s *Service) Get(ctx context.Context, req GetRequest) (reply GetReply, err error) {
	var elsewhere error
	age, err := s.read(ctx, req.Stale, req.MaxAge, func(m *Machine) {
		elsewhere, reply = m.bounds.has(string(req.Key)), GetReply{}
		if i, found := m.items.Get(&item{key: string(req.Key)}); found && elsewhere == nil {
			reply = GetReply{Found: true, Value: i.value, Created: i.created, Modified: i.modified, Lease: i.lease}
		}
	})
	reply.Age = age
	return reply, cmp.Or(err, elsewhere)
}

// Range implements [KV].
func (s *Service) Range(ctx context.Context, req RangeRequest) (reply RangeReply, err error) {
	var elsewhere error
	age, err := s.read(ctx, req.Stale, req.MaxAge, func(m *Machine) {
		reply, elsewhere = m.keysFrom(&req)
	})
	reply.Age = age
	return reply, cmp.Or(err, elsewhere)
}

// keysFrom returns the keys of a range that are this store's. Where all of those
// were told already, the error says who has the others.
func (m *Machine) keysFrom(req *RangeRequest) (reply RangeReply, elsewhere error) {
	start, end := string(req.Start), string(req.End)
	if start == "" { // before the first key that there can be
		start = m.bounds.from
	}
	if elsewhere = m.bounds.has(start); elsewhere != nil {
		return reply, elsewhere
	}
	beyond := m.bounds.hasRange(start, end)
	if beyond != nil {
		end = m.bounds.to
	}
	reply = m.page(start, end, int(req.Limit))
	if beyond != nil && !reply.More {
		if len(reply.Items) == 0 {
			return reply, beyond
		}
		reply.More = true
	}
	return reply, nil
}

// page returns some keys, whosever they are.
func (m *Machine) page(start, end string, limit int) RangeReply {
	if limit == 0 {
		limit = defaultLimit
	}
	size, reply := 0, RangeReply{Revision: m.revision}
	m.items.AscendGreaterOrEqual(&item{key: start}, func(i *item) bool {
		if end != "" && i.key >= end {
			return false
		}
		size += len(i.key) + len(i.value) + 64
		if len(reply.Items) >= limit || size > rangeBytes && len(reply.Items) > 0 {
			reply.More = true
			return false
		}
		reply.Items = append(reply.Items, Item{Key: []byte(i.key), Value: i.value, Created: i.created, Modified: i.modified, Lease: i.lease})
		return true
	})
	return reply
}

// Part is which keys a store has, where it was split.
type Part struct {
	From, To string // From and what follows up to To, which is not; "": the last
	Next     string // the group that has To and what follows; "" where there is none
	Filling  bool   // it is not open yet
	Last     string // the last key that there is in the store; "": none
}

// Part returns which keys the store has.
func (s *Service) Part(ctx context.Context) (p Part, err error) {
	_, err = s.read(ctx, false, 0, func(m *Machine) {
		b := &m.bounds
		p = Part{From: b.from, To: b.to, Next: b.next, Filling: b.filling}
		if i, ok := m.items.Max(); ok {
			p.Last = i.key
		}
	})
	return p, err
}

// Moved returns some keys, from start on, that are here though they are another
// group's; none when those are over.
func (s *Service) Moved(ctx context.Context, start string) (items []Item, err error) {
	_, err = s.read(ctx, false, 0, func(m *Machine) {
		items = nil
		if m.bounds.to != "" {
			items = m.page(max(start, m.bounds.to), "", 0).Items
		}
	})
	return items, err
}

// Put implements [KV].
func (s *Service) Put(ctx context.Context, req PutRequest) (PutReply, error) {
	o, err := s.do(ctx, req.action())
	if err != nil {
		return PutReply{}, err
	}
	return PutReply{Revision: o.Txn.Revision, Existed: o.Txn.Results[0].Found}, nil
}

// CompareAndSet implements [KV].
func (s *Service) CompareAndSet(ctx context.Context, req CasRequest) (CasReply, error) {
	o, err := s.do(ctx, req.action())
	if err != nil {
		return CasReply{}, err
	}
	return casReply(o.Txn), nil
}

// Delete implements [KV].
func (s *Service) Delete(ctx context.Context, req DeleteRequest) (DeleteReply, error) {
	o, err := s.do(ctx, req.action())
	if err != nil {
		return DeleteReply{}, err
	}
	return DeleteReply{Revision: o.Txn.Revision, Deleted: o.Txn.Results[0].Deleted}, nil
}

// Txn implements [KV].
func (s *Service) Txn(ctx context.Context, req TxnRequest) (TxnReply, error) {
	if err := (&Action{Txn: &req}).checkCaller(); err != nil {
		return TxnReply{}, err
	}
	return s.txn(ctx, &req)
}

func (s *Service) txn(ctx context.Context, req *TxnRequest) (TxnReply, error) {
	o, err := s.do(ctx, Action{Txn: req})
	if err != nil {
		return TxnReply{}, err
	}
	return *o.Txn, nil
}

// Grant implements [KV].
func (s *Service) Grant(ctx context.Context, req GrantRequest) (Lease, error) {
	o, err := s.do(ctx, Action{Grant: &req})
	if err != nil {
		return Lease{}, err
	}
	return *o.Lease, nil
}

// KeepAlive implements [KV].
func (s *Service) KeepAlive(ctx context.Context, req LeaseRequest) (Lease, error) {
	o, err := s.do(ctx, Action{KeepAlive: &req})
	if err != nil {
		return Lease{}, err
	}
	return *o.Lease, nil
}

// Revoke implements [KV].
func (s *Service) Revoke(ctx context.Context, req LeaseRequest) error {
	_, err := s.do(ctx, Action{Revoke: &req})
	return err
}

// Watch implements [KV].
func (s *Service) Watch(ctx context.Context, req WatchRequest, out rpc.Sender[Event]) error {
	var elsewhere error
	if !req.All {
		s.look(func(m *Machine) { elsewhere = m.bounds.has(string(req.Key)) })
	}
	cursor, err := s.hub.first(req.From)
	if err := cmp.Or(elsewhere, err); err != nil {
		return err
	}
	var batch [watchBatch]Event
	for {
		n, after, err := s.hub.next(ctx, cursor, batch[:])
		if err != nil {
			return err
		}
		for i := range batch[:n] {
			if batch[i].Revision < req.From || !req.matches(&batch[i]) {
				continue
			}
			if err := out.Send(batch[i]); err != nil {
				return err
			}
		}
		cursor = after
	}
}

// Execute implements [KV].
func (s *Service) Execute(ctx context.Context, req Command) (Outcome, error) {
	if err := req.Do.checkCaller(); err != nil {
		return Outcome{}, err
	}
	o, err := s.do(ctx, req.Do)
	if o.Status != 0 { // the caller reads it there
		err = nil
	}
	return o, err
}

// OpenSession implements [KV].
func (s *Service) OpenSession(ctx context.Context) (SessionReply, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	id, err := consensus.SessionsOf(s.group).OpenSession(ctx)
	return SessionReply{Session: id}, err
}

// Propose implements [KV].
func (s *Service) Propose(ctx context.Context, req Proposal) (Outcome, error) {
	if err := req.Command.Do.checkCaller(); err != nil {
		return Outcome{}, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	once := consensus.Once{Session: req.Session, Sequence: req.Sequence, Answered: req.Answered}
	r, err := consensus.SessionsOf(s.group).ProposeOnce(ctx, once, encodeCommand(req.Command.Do))
	if err != nil {
		return Outcome{}, err
	}
	o := Outcome{}
	return o, o.DecodeCell(r.Data)
}

// CloseSession implements [KV].
func (s *Service) CloseSession(ctx context.Context, req SessionRequest) error {
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	return consensus.SessionsOf(s.group).CloseSession(ctx, req.Session)
}

// Info implements [KV].
func (s *Service) Info(context.Context) (InfoReply, error) {
	st := s.group.Status()
	r := InfoReply{Group: st.Group, Replica: uint64(st.Replica), Leader: uint64(st.Leader), Term: st.Term, Applied: st.Applied}
	for _, m := range st.Members {
		r.Members = append(r.Members, MemberInfo{Replica: uint64(m.Replica), Node: string(m.Node), Role: m.Role.String()})
	}
	s.look(func(m *Machine) {
		r.Revision, r.Keys, r.Leases = m.revision, uint64(m.items.Len()), uint64(len(m.leases))
	})
	return r, nil
}
