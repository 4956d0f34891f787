//go:build !nodragonboat && !s390x

package dragonboat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	raft "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/cell-runtime/cell/consensus"
)

// group is one replica.
type group struct {
	h       *Host
	config  consensus.GroupConfig
	id      consensus.GroupID
	applier *consensus.Applier // nil for a witness
	user    raft.INodeUser
	session *client.Session // without exactly-once: sessions are ours
	readers readers

	answered, roused atomic.Int64 // when something was answered, and when the replica was roused; as rest.now
}

func (g *group) Name() string                 { return g.config.Name }
func (g *group) Replica() consensus.ReplicaID { return g.config.Replica }
func (g *group) Applier() *consensus.Applier  { return g.applier }

// timeoutOf returns how long a request may take; the error is for a context
// that has ended.
func (g *group) timeoutOf(ctx context.Context) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, consensus.ContextError(ctx)
	}
	d, ok := ctx.Deadline()
	if !ok {
		return consensus.DefaultTimeout, nil
	}
	left := g.until(d)
	if left <= 0 {
		return 0, consensus.ErrTimeout
	}
	return left, nil
}

// until is how long it is until a moment, or up to a beat more: dragonboat counts
// times in ticks, for which the clock needn't be read at each request.
func (g *group) until(d time.Time) time.Duration {
	r := g.h.rest
	if r == nil {
		return time.Until(d)
	}
	return d.Sub(r.began) - time.Duration(r.now.Load())
}

func (g *group) ProposeEntry(ctx context.Context, entry []byte) (consensus.Result, error) {
	timeout, err := g.timeoutOf(ctx)
	if err != nil {
		return consensus.Result{}, err
	}
	return g.propose(ctx, entry, timeout)
}

// ProposeWithin implements [consensus.Hasty].
func (g *group) ProposeWithin(ctx context.Context, entry []byte, patience time.Duration) (consensus.Result, error) {
	timeout, err := g.timeoutOf(ctx)
	if err != nil {
		return consensus.Result{}, err
	}
	return g.propose(ctx, entry, min(timeout, patience))
}

func (g *group) propose(ctx context.Context, entry []byte, timeout time.Duration) (consensus.Result, error) {
	g.rouse()
	rs, err := g.user.Propose(g.session, entry, max(timeout, g.h.o.Tick))
	if err != nil {
		return consensus.Result{}, g.refused(err)
	}
	return g.wait(ctx, rs)
}

// refused is for a request that did not begin.
func (g *group) refused(err error) error {
	if err == raft.ErrSystemBusy { //nolint:errorlint // the commonest, of who sends as much as goes
		return errBusy
	}
	if errors.Is(err, raft.ErrInvalidOperation) {
		return fmt.Errorf("%w: replica %d of group %q is a %v", consensus.ErrUnsupported, g.config.Replica, g.config.Name, g.config.Role)
	}
	return requestError(g.config.Name, err)
}

var errBusy = fmt.Errorf("%w (the queue of proposals is full)", consensus.ErrBusy)

// wait waits for a request's answer.
func (g *group) wait(ctx context.Context, rs *raft.RequestState) (consensus.Result, error) {
	done := ctx.Done()
	if done == nil { // it always ends, by its timeout
		return g.answer(rs, <-rs.AppliedC())
	}
	select {
	case r := <-rs.AppliedC():
		return g.answer(rs, r)
	case <-done:
		// Not released: the answer may still be on its way into it.
		return consensus.Result{}, consensus.ContextError(ctx)
	}
}

func (g *group) answer(rs *raft.RequestState, r raft.RequestResult) (consensus.Result, error) {
	rs.Release()
	if !r.Completed() {
		return consensus.Result{}, g.failed(&r)
	}
	g.served()
	return consensus.Result(r.GetResult()), nil
}

// failed is the error of a request that ended otherwise than completed.
func (g *group) failed(r *raft.RequestResult) error {
	err := consensus.ErrOutcomeUnknown
	switch {
	case r.Timeout():
		err = consensus.ErrTimeout
	case r.Dropped():
		err = consensus.ErrNoLeader
	case r.Rejected():
		err = consensus.ErrConflict
	case r.Aborted():
		err = consensus.ErrConflict
	}
	return fmt.Errorf("%w (group %q)", err, g.config.Name)
}

// pending is an entry under way.
type pending struct {
	g  *group
	rs *raft.RequestState
}

func (p *pending) Wait(ctx context.Context) (consensus.Result, error) { return p.g.wait(ctx, p.rs) }

func (g *group) Begin(entry []byte, timeout time.Duration) (consensus.Pending, error) {
	g.rouse()
	rs, err := g.user.Propose(g.session, entry, max(timeout, g.h.o.Tick))
	if err != nil {
		return nil, g.refused(err)
	}
	return &pending{g, rs}, nil
}

// ReadIndex asks again what got no answer: a question that was on its way to a
// leader that died is lost without a word, and asking twice does no harm.
func (g *group) ReadIndex(ctx context.Context) error {
	if g.applier == nil {
		return fmt.Errorf("%w: a witness has no state to read", consensus.ErrUnsupported)
	}
	patience := max(2*time.Duration(g.h.o.ElectionTicks)*g.h.o.Tick, 200*time.Millisecond)
	for began := time.Now(); ; {
		timeout, err := g.timeoutOf(ctx)
		if err != nil {
			return err
		}
		if _, ok := ctx.Deadline(); !ok { // the default's time goes on from the first attempt
			timeout -= time.Since(began)
		}
		// What is left of ctx is ctx's to say: others may wait for the same answer.
		if err = g.read(ctx, patience); err == nil {
			return nil
		}
		if timeout <= patience || !errors.Is(err, consensus.ErrTimeout) {
			return err
		}
	}
}

func (g *group) Status() consensus.Status {
	s := consensus.Status{Group: g.config.Name, ID: g.id, Replica: g.config.Replica, Role: g.config.Role}
	if leader, term, known, err := g.h.nh.GetLeaderID(uint64(g.id)); err == nil {
		s.Term = term
		if known {
			s.Leader = consensus.ReplicaID(leader)
		}
	}
	if g.applier != nil {
		p := g.applier.Position()
		s.Kind, s.Applied, s.AppliedTime = g.applier.Kind(), p.Index, time.Unix(0, p.Time)
		s.Digest, _ = g.applier.Digest()
	}
	s.Members = g.h.voters.of(g.h.nh, uint64(g.id))
	return s
}

func members(voters, others, witnesses map[uint64]string) []consensus.Member {
	var all []consensus.Member
	for role, of := range map[consensus.Role]map[uint64]string{
		consensus.Voter: voters, consensus.NonVoter: others, consensus.Witness: witnesses,
	} {
		for r, node := range of {
			all = append(all, consensus.Member{Replica: consensus.ReplicaID(r), Node: consensus.NodeID(node), Role: role})
		}
	}
	slices.SortFunc(all, func(a, b consensus.Member) int { return cmp.Compare(a.Replica, b.Replica) })
	return all
}

func (g *group) Members(ctx context.Context) ([]consensus.Member, uint64, error) {
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	g.rouse()
	m, err := g.h.nh.SyncGetShardMembership(ctx, uint64(g.id))
	if err != nil {
		return nil, 0, requestError(g.config.Name, err)
	}
	return members(m.Nodes, m.NonVotings, m.Witnesses), m.ConfigChangeID, nil
}

// change makes a membership change with the number of the last one.
func (g *group) change(ctx context.Context, last uint64, f func(ctx context.Context, last uint64) error) error {
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	if last == 0 {
		_, n, err := g.Members(ctx)
		if err != nil {
			return err
		}
		last = n
	}
	return requestError(g.config.Name, f(ctx, last))
}

func (g *group) Add(ctx context.Context, m consensus.Member, change uint64) error {
	if !validNode(string(m.Node)) || m.Replica == 0 {
		return fmt.Errorf("%w: a member needs a number and a node, not %d and %q", consensus.ErrConfig, m.Replica, m.Node)
	}
	return g.change(ctx, change, func(ctx context.Context, last uint64) error {
		nh, id, replica, node := g.h.nh, uint64(g.id), uint64(m.Replica), string(m.Node)
		switch m.Role {
		case consensus.NonVoter:
			return nh.SyncRequestAddNonVoting(ctx, id, replica, node, last)
		case consensus.Witness:
			return nh.SyncRequestAddWitness(ctx, id, replica, node, last)
		}
		return nh.SyncRequestAddReplica(ctx, id, replica, node, last)
	})
}

func (g *group) RemoveMember(ctx context.Context, r consensus.ReplicaID, change uint64) error {
	return g.change(ctx, change, func(ctx context.Context, last uint64) error {
		return g.h.nh.SyncRequestDeleteReplica(ctx, uint64(g.id), uint64(r), last)
	})
}

// transferPatience is after how long a transfer is asked for again: the leader
// gives up on one whose target does not catch up.
const transferPatience = 500 * time.Millisecond

func (g *group) Transfer(ctx context.Context, to consensus.ReplicaID) error {
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	all, _, err := g.Members(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(m consensus.Member) bool { return m.Replica == to && m.Role == consensus.Voter }) {
		return fmt.Errorf("%w: replica %d of group %q, or no voter: only a voter can lead", consensus.ErrNotMember, to, g.config.Name)
	}
	for {
		changed := g.h.leaders.changed()
		if g.Status().Leader == to {
			return nil
		}
		if err := g.h.nh.RequestLeaderTransfer(uint64(g.id), uint64(to)); err != nil && !errors.Is(err, raft.ErrSystemBusy) {
			return requestError(g.config.Name, err)
		}
		select {
		case <-changed:
		case <-time.After(transferPatience):
		case <-ctx.Done():
			return fmt.Errorf("%w: the leader is still replica %d", consensus.ContextError(ctx), g.Status().Leader)
		}
	}
}

func (g *group) Snapshot(ctx context.Context) (uint64, error) {
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	index, err := g.h.nh.SyncRequestSnapshot(ctx, uint64(g.id), raft.SnapshotOption{
		OverrideCompactionOverhead: true, CompactionOverhead: min(g.config.KeepEntries, 1000),
	})
	if errors.Is(err, raft.ErrRejected) { // there is one at this index already
		return g.applier.Position().Index, nil
	}
	return index, requestError(g.config.Name, err)
}

// nothing is the machine of a witness, which has none.
type nothing struct{}

func (nothing) Update(statemachine.Entry) (r statemachine.Result, err error) { return r, nil }
func (nothing) Lookup(any) (any, error)                                      { return nil, consensus.ErrUnsupported }
func (nothing) Close() error                                                 { return nil }

func (nothing) SaveSnapshot(io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return nil
}

func (nothing) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return nil
}

var _ consensus.Group = (*group)(nil)
