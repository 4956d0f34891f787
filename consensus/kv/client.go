package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// action is what a request means to the machine.
func (r PutRequest) action() Action {
	return Action{Txn: &TxnRequest{Then: []Op{{Kind: OpPut, Key: r.Key, Value: r.Value, Lease: r.Lease}}}}
}

// action tests the key, sets it, and reads it in any case.
func (r CasRequest) action() Action {
	c := Condition{Test: TestModified, Key: r.Key, Revision: r.Revision}
	if r.Revision == 0 {
		c = Condition{Test: TestMissing, Key: r.Key}
	}
	return Action{Txn: &TxnRequest{
		If:   []Condition{c},
		Then: []Op{{Kind: OpPut, Key: r.Key, Value: r.Value, Lease: r.Lease}},
		Else: []Op{{Kind: OpGet, Key: r.Key}},
	}}
}

func casReply(t *TxnReply) CasReply {
	if t.Succeeded {
		return CasReply{Set: true, Revision: t.Revision}
	}
	return CasReply{Revision: t.Results[0].Modified}
}

func (r DeleteRequest) action() Action {
	return Action{Txn: &TxnRequest{Then: []Op{{Kind: OpDelete, Key: r.Key, End: r.End}}}}
}

// Client calls a store through any of its members: when one is gone, or knows
// no leader for long, the next one is asked. Its writes are executed once,
// however often they have to be sent. Its methods may be called from any number
// of goroutines.
type Client struct {
	members []*KVClient
	hang    []func() error // closes what Dial opened
	at      atomic.Uint32  // index of the member that answered last

	opening turn
	mu      sync.Mutex
	session *consensus.Session

	part  func(group string) *Client // of a store that may be split; see [DialStore]
	parts []part                     // that were heard of, by their first key
}

// NewClient returns a client of the store whose members are reached through
// the callers, such as a [rpc.Conn] for each.
func NewClient(members ...rpc.Caller) *Client {
	c := &Client{opening: newTurn()}
	for _, m := range members {
		c.members = append(c.members, NewKVClient(m))
	}
	return c
}

// elsewhere: another member may do better.
func elsewhere(err error) bool {
	for _, s := range []wire.Status{wire.StatusUnavailable, wire.StatusPeerGone, wire.StatusDraining,
		wire.StatusDeadlineExceeded, wire.StatusResourceExhausted} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// notExecuted: the member that was asked has executed nothing.
func notExecuted(err error) bool {
	return errors.Is(err, wire.StatusUnavailable) || errors.Is(err, wire.StatusResourceExhausted) || errors.Is(err, wire.StatusDraining)
}

const (
	// patience is how long one member may take before the next one is asked.
	patience = time.Second
	// writePatience is the same for what a session sends, which is safe to send
	// to another member soon: that one waits for the same result.
	writePatience = 400 * time.Millisecond
)

// try calls the member that answered last, and moves on when it fails; what
// it does must be safe to repeat. One round over all members, at least.
func try[R any](ctx context.Context, c *Client, f func(context.Context, *KVClient) (R, error)) (R, error) {
	var none R
	if len(c.members) == 0 {
		return none, fmt.Errorf("%w: kv: a client without members", consensus.ErrConfig)
	}
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	for round := 0; ; round++ {
		at := c.at.Load()
		each, done := context.WithTimeout(ctx, patience)
		r, err := f(each, c.members[int(at)%len(c.members)])
		done()
		if err == nil || !elsewhere(err) {
			return r, err
		}
		c.at.CompareAndSwap(at, at+1) // also if ctx has ended: the next call need not wait for this one
		if ctx.Err() != nil {
			return r, err
		}
		if (round+1)%len(c.members) == 0 { // all of them: there may be an election
			select {
			case <-ctx.Done():
				return none, err
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// sessions is the store's sessions as [consensus.Session] wants them.
type sessions struct{ c *Client }

func (s sessions) OpenSession(ctx context.Context) (uint64, error) {
	r, err := try(ctx, s.c, func(ctx context.Context, m *KVClient) (SessionReply, error) {
		ctx, cancel := context.WithTimeout(ctx, writePatience)
		defer cancel()
		return m.OpenSession(ctx)
	})
	return r.Session, err
}

func (s sessions) ProposeOnce(ctx context.Context, o consensus.Once, command []byte) (consensus.Result, error) {
	p := Proposal{Session: o.Session, Sequence: o.Sequence, Answered: o.Answered}
	if err := p.Command.DecodeCell(command); err != nil {
		return consensus.Result{}, err
	}
	unsure := false // a member that was asked may have executed it
	r, err := try(ctx, s.c, func(ctx context.Context, m *KVClient) (Outcome, error) {
		ctx, cancel := context.WithTimeout(ctx, writePatience)
		defer cancel()
		r, err := m.Propose(ctx, p)
		unsure = unsure || err != nil && !notExecuted(err)
		return r, err
	})
	if unsure && notExecuted(err) { // as the last one says, for itself
		err = fmt.Errorf("%w: another member did not answer; the last one: %v", consensus.ErrOutcomeUnknown, err)
	}
	if err != nil {
		return consensus.Result{}, err
	}
	return result(r), nil
}

func (s sessions) CloseSession(ctx context.Context, id uint64) error {
	_, err := try(ctx, s.c, func(ctx context.Context, m *KVClient) (rpc.Empty, error) {
		return rpc.Empty{}, m.CloseSession(ctx, SessionRequest{id})
	})
	return err
}

// do executes an action once, at the part of the store that has its keys. Errors:
// those of the session, and refusals of the machine.
func (c *Client) do(ctx context.Context, a Action) (Outcome, error) {
	return routed(ctx, c, firstKey(a), func(ctx context.Context, c *Client) (Outcome, error) { return c.execute(ctx, a) })
}

// execute executes an action once, here.
func (c *Client) execute(ctx context.Context, a Action) (Outcome, error) {
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	s, err := c.open(ctx)
	if err != nil {
		return Outcome{}, err
	}
	r, err := s.Propose(ctx, encodeCommand(a))
	if err != nil {
		if errors.Is(err, wire.StatusFailedPrecondition) { // the session has expired
			c.mu.Lock()
			if c.session == s {
				c.session = nil
			}
			c.mu.Unlock()
		}
		return Outcome{}, err
	}
	return outcomeOf(r)
}

func (c *Client) open(ctx context.Context) (*consensus.Session, error) {
	if s := c.opened(); s != nil {
		return s, nil
	}
	if err := c.opening.take(ctx); err != nil {
		return nil, err
	}
	defer c.opening.give()
	if s := c.opened(); s != nil { // by somebody else meanwhile
		return s, nil
	}
	s, err := consensus.OpenSession(ctx, sessions{c})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	return s, nil
}

func (c *Client) opened() *consensus.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Close lets the store forget the client's sessions. The callers stay open.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	s, parts := c.session, slices.Clone(c.parts)
	c.session = nil
	c.mu.Unlock()
	var all []error
	for _, p := range parts {
		all = append(all, p.c.Close(ctx))
	}
	if s != nil {
		all = append(all, s.Close(ctx))
	}
	return errors.Join(all...)
}

// Get reads a key: linearizable, unless req says otherwise.
func (c *Client) Get(ctx context.Context, req GetRequest) (GetReply, error) {
	return routed(ctx, c, req.Key, func(ctx context.Context, c *Client) (GetReply, error) {
		return try(ctx, c, func(ctx context.Context, m *KVClient) (GetReply, error) { return m.Get(ctx, req) })
	})
}

// Info asks the member that answered last.
func (c *Client) Info(ctx context.Context) (InfoReply, error) {
	return try(ctx, c, func(ctx context.Context, m *KVClient) (InfoReply, error) { return m.Info(ctx) })
}

// Put sets a key.
func (c *Client) Put(ctx context.Context, key, value []byte, lease uint64) (PutReply, error) {
	o, err := c.do(ctx, PutRequest{Key: key, Value: value, Lease: lease}.action())
	if err != nil {
		return PutReply{}, err
	}
	return PutReply{Revision: o.Txn.Revision, Existed: o.Txn.Results[0].Found}, nil
}

// CompareAndSet sets a key whose last change was at a revision; 0: if missing.
func (c *Client) CompareAndSet(ctx context.Context, key []byte, revision uint64, value []byte) (CasReply, error) {
	o, err := c.do(ctx, CasRequest{Key: key, Revision: revision, Value: value}.action())
	if err != nil {
		return CasReply{}, err
	}
	return casReply(o.Txn), nil
}

// Delete removes a key, or all from key up to, without, end.
func (c *Client) Delete(ctx context.Context, key, end []byte) (DeleteReply, error) {
	o, err := c.do(ctx, DeleteRequest{Key: key, End: end}.action())
	if err != nil {
		return DeleteReply{}, err
	}
	return DeleteReply{Revision: o.Txn.Revision, Deleted: o.Txn.Results[0].Deleted}, nil
}

// Txn executes a transaction.
func (c *Client) Txn(ctx context.Context, req TxnRequest) (TxnReply, error) {
	o, err := c.do(ctx, Action{Txn: &req})
	if err != nil {
		return TxnReply{}, err
	}
	return *o.Txn, nil
}

// Grant makes a lease.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	return c.lease(ctx, Action{Grant: &GrantRequest{Ttl: int64(ttl)}})
}

// KeepAlive begins a lease's time anew.
func (c *Client) KeepAlive(ctx context.Context, id uint64) (Lease, error) {
	return c.lease(ctx, Action{KeepAlive: &LeaseRequest{Id: id}})
}

func (c *Client) lease(ctx context.Context, a Action) (Lease, error) {
	o, err := c.do(ctx, a)
	if err != nil {
		return Lease{}, err
	}
	return *o.Lease, nil
}

// Revoke ends a lease and removes its keys.
func (c *Client) Revoke(ctx context.Context, id uint64) error {
	_, err := c.do(ctx, Action{Revoke: &LeaseRequest{Id: id}})
	return err
}
