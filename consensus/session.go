package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cell-runtime/cell/consensus/internal/wall"
	"github.com/cell-runtime/cell/wire"
)

// Proposer is the part of a [Group] that a session needs: a log.
type Proposer interface {
	// ProposeEntry appends an entry and waits until it was applied here. The
	// entry is the caller's again when it returns, at the latest a little after
	// ctx's deadline, whether or not ctx ends then.
	ProposeEntry(ctx context.Context, entry []byte) (Result, error)
}

// Hasty is a [Proposer] that can be told for how long to wait at most, beside what
// ctx says, without a clock being read for that.
type Hasty interface {
	ProposeWithin(ctx context.Context, entry []byte, patience time.Duration) (Result, error)
}

// Once marks a command, so that it is executed once however often it arrives.
type Once struct {
	Session  uint64
	Sequence uint64 // of the command within its session, from 1
	Answered uint64 // results up to this sequence are no longer needed
}

// Sessions are where sessions are kept: a group, or a service before one.
type Sessions interface {
	OpenSession(ctx context.Context) (id uint64, err error)
	ProposeOnce(ctx context.Context, once Once, command []byte) (Result, error)
	CloseSession(ctx context.Context, id uint64) error
}

// SessionsOf returns the sessions of a group.
func SessionsOf(p Proposer) Sessions { return logSessions{p} }

type logSessions struct{ p Proposer }

func (l logSessions) OpenSession(ctx context.Context) (uint64, error) {
	r, err := l.propose(ctx, encodeSession(entryOpen, wall.Now(), 0, 0, 0, nil))
	return r.Value, err
}

func (l logSessions) ProposeOnce(ctx context.Context, o Once, command []byte) (Result, error) {
	return l.proposeOnce(ctx, 0, o, command)
}

// proposeOnce is ProposeOnce that waits for so long at most; 0 is as long as ctx says.
func (l logSessions) proposeOnce(ctx context.Context, patience time.Duration, o Once, command []byte) (Result, error) {
	if err := checkSize(command); err != nil {
		return Result{}, err
	}
	e := borrow()
	defer e.giveBack()
	e.b = appendSession(e.b, entrySession, wall.Now(), o.Session, o.Sequence, o.Answered, command)
	if h, ok := l.p.(Hasty); ok && patience > 0 {
		r, err := h.ProposeWithin(ctx, e.b, patience)
		if err != nil {
			return Result{}, err
		}
		return outcomeOf(r)
	}
	if patience > 0 {
		ctx = sooner{ctx, time.Now().Add(patience)}
	}
	return l.propose(ctx, e.b)
}

func (l logSessions) CloseSession(ctx context.Context, id uint64) error {
	_, err := l.propose(ctx, encodeSession(entryClose, wall.Now(), id, 0, 0, nil))
	return err
}

func (l logSessions) propose(ctx context.Context, entry []byte) (Result, error) {
	r, err := l.p.ProposeEntry(ctx, entry)
	if err != nil {
		return Result{}, err
	}
	return outcomeOf(r)
}

// Session executes commands exactly once, however often they have to be sent:
// what a lost leader leaves unanswered is sent again, and the group knows what
// it has executed already. Any number of goroutines may use it; their commands
// are not ordered among each other. One waits while [MaxUnanswered] others were
// begun since the oldest one without answer.
//
// A group remembers [MaxSessions] sessions. One that was pushed out, by many
// newer ones, ends with [ErrSessionExpired].
type Session struct {
	to Sessions
	id uint64

	mu       sync.Mutex
	next     uint64
	answered uint64              // all up to here
	later    [MaxUnanswered]bool // answered beyond it: of each sequence, by its remainder
	room     chan struct{}       // closed when answered grows; nil where nobody waits for that
}

const (
	// sessionPatience is between two attempts to reach a group without leader.
	sessionPatience = 20 * time.Millisecond
	// attemptPatience is how long the first attempt may take: what was on its
	// way to a leader that died is lost without a word, and is sent again. Each
	// further attempt may take twice as long, up to maxAttemptPatience, so that
	// a group which is only slow is not given more and more to do.
	attemptPatience    = 300 * time.Millisecond
	maxAttemptPatience = 5 * time.Second
)

// NewSession opens a session with a group. The machine must be in memory:
// one with storage of its own has to remember by itself what it has executed.
func NewSession(ctx context.Context, p Proposer) (*Session, error) {
	return OpenSession(ctx, SessionsOf(p))
}

// OpenSession is [NewSession] over anything that keeps sessions.
func OpenSession(ctx context.Context, to Sessions) (*Session, error) {
	for patience := attemptPatience; ; patience = min(2*patience, maxAttemptPatience) {
		// A session opened by an attempt without answer is never used, and is
		// pushed out in time.
		each, cancel := context.WithTimeout(ctx, patience)
		id, err := to.OpenSession(each)
		cancel()
		if err == nil {
			return &Session{to: to, id: id}, nil
		}
		if !worthRepeating(err) || !pause(ctx) {
			return nil, err
		}
	}
}

// ID is the session's number within its group.
func (s *Session) ID() uint64 { return s.id }

// Propose executes a command exactly once. It sends it again until ctx ends;
// an error that wraps [ErrTimeout], [ErrCanceled] or [ErrOutcomeUnknown] means
// that it may have been executed, once, or may be yet.
func (s *Session) Propose(ctx context.Context, command []byte) (Result, error) {
	if err := checkSize(command); err != nil {
		return Result{}, err
	}
	sequence, answered, err := s.begin(ctx)
	if err != nil {
		return Result{}, err
	}
	defer s.end(sequence)
	unsure := false
	for patience := attemptPatience; ; patience = min(2*patience, maxAttemptPatience) {
		r, err := s.attempt(ctx, patience, Once{Session: s.id, Sequence: sequence, Answered: answered}, command)
		if err == nil {
			return r, nil
		}
		if !worthRepeating(err) || !pause(ctx) {
			if unsure {
				err = notSure(ctx, err)
			}
			return Result{}, err
		}
		unsure = unsure || !errors.Is(err, ErrNoLeader) && !errors.Is(err, ErrBusy)
		answered = s.received() // what is not needed any more makes room
	}
}

// attempt sends a command once.
func (s *Session) attempt(ctx context.Context, patience time.Duration, o Once, command []byte) (Result, error) {
	if log, ok := s.to.(logSessions); ok { // which keeps to deadlines without a timer for each
		return log.proposeOnce(ctx, patience, o, command)
	}
	each, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.to.ProposeOnce(each, o, command)
}

// sooner is a context with an earlier deadline, which it only tells: a
// [Proposer] ends by itself what has taken too long.
type sooner struct {
	context.Context
	deadline time.Time
}

func (s sooner) Deadline() (time.Time, bool) {
	if d, ok := s.Context.Deadline(); ok && d.Before(s.deadline) {
		return d, true
	}
	return s.deadline, true
}

// notSure is the error of a command whose last attempt failed with err, after
// one that nobody knows the outcome of: err must not say "not executed".
func notSure(ctx context.Context, err error) error {
	for _, status := range []wire.Status{wire.StatusUnavailable, wire.StatusResourceExhausted, wire.StatusDraining} {
		if !errors.Is(err, status) {
			continue
		}
		why := ErrOutcomeUnknown
		if ctx.Err() != nil {
			why = ContextError(ctx)
		}
		return fmt.Errorf("%w: an earlier attempt was not answered; the last one: %v", why, err)
	}
	return err
}

// Close tells the group that it may forget the session.
func (s *Session) Close(ctx context.Context) error { return s.to.CloseSession(ctx, s.id) }

// begin returns the next sequence, and up to which results are not needed any more.
// It waits until the group would remember one more. Many callers come here at once,
// with the answers of one batch, so there is little done under the lock.
func (s *Session) begin(ctx context.Context) (sequence, answered uint64, err error) {
	for {
		s.mu.Lock()
		if s.next-s.answered < MaxUnanswered {
			s.next++
			sequence, answered = s.next, s.answered
			s.mu.Unlock()
			return sequence, answered, nil
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return 0, 0, fmt.Errorf("%w: waiting for one of %d places of the session: not sent", ContextError(ctx), MaxUnanswered)
		}
	}
}

func (s *Session) received() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered
}

// end notes that a command's caller waits no longer: its result is not needed,
// whether it came or not.
func (s *Session) end(sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later[sequence%MaxUnanswered] = true
	if !s.later[(s.answered+1)%MaxUnanswered] {
		return
	}
	for s.later[(s.answered+1)%MaxUnanswered] {
		s.answered++
		s.later[s.answered%MaxUnanswered] = false
	}
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

func outcomeOf(r Result) (Result, error) {
	if len(r.Data) == 0 {
		return Result{}, fmt.Errorf("%w: a session's result without outcome", ErrDamaged)
	}
	o := outcome(r.Data[0])
	r.Data = r.Data[1:]
	switch o {
	case outcomeDone:
		return r, nil
	case outcomeExpired:
		return Result{}, ErrSessionExpired
	case outcomeFull:
		return Result{}, fmt.Errorf("%w: too many unanswered results of the session", ErrBusy)
	case outcomeRefused:
		return Result{}, fmt.Errorf("%w: a machine with storage of its own keeps no sessions", ErrUnsupported)
	}
	return Result{}, fmt.Errorf("%w: outcome %d of a session", ErrDamaged, o)
}

// worthRepeating: the next attempt may find a leader, room, or another server.
func worthRepeating(err error) bool {
	for _, status := range []wire.Status{
		wire.StatusUnavailable, wire.StatusResourceExhausted, wire.StatusDeadlineExceeded, wire.StatusPeerGone, wire.StatusDraining,
	} {
		if errors.Is(err, status) {
			return !errors.Is(err, ErrClosed) // this very replica: no attempt will help
		}
	}
	return false
}

// pause waits a moment; false if ctx has ended.
func pause(ctx context.Context) bool {
	t := time.NewTimer(sessionPatience)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// ContextError returns the sentinel for the end of ctx.
func ContextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ErrCanceled
	}
	return ErrTimeout
}
