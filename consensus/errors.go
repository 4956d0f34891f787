package consensus

import "github.com/cell-runtime/cell/wire"

// failure is a sentinel that stands for a status: rpc.StatusOf finds it.
type failure struct {
	status wire.Status
	text   string
}

func (f *failure) Error() string { return "consensus: " + f.text }
func (f *failure) Unwrap() error { return f.status }

// The errors, each wrapping the status that a caller of a service sees.
var (
	// ErrNoLeader: the proposal or read was dropped, since the group has no
	// leader that this replica knows. It was not executed: send it again.
	ErrNoLeader error = &failure{wire.StatusUnavailable, "the group has no leader at present"}
	// ErrOutcomeUnknown: the replica stopped with the proposal under way,
	// which may be executed or not. A [Session] makes sending it again safe.
	ErrOutcomeUnknown error = &failure{wire.StatusPeerGone, "the replica stopped with the request under way, which may have been executed"}
	// ErrTimeout: no answer within the deadline; a proposal may have been
	// executed or may be yet.
	ErrTimeout error = &failure{wire.StatusDeadlineExceeded, "no answer in time; a proposal may have been executed"}
	// ErrCanceled: the caller gave up; a proposal may have been executed.
	ErrCanceled error = &failure{wire.StatusCanceled, "canceled; a proposal may have been executed"}
	// ErrBusy: too much is under way. It was not executed.
	ErrBusy error = &failure{wire.StatusResourceExhausted, "too much is under way; nothing was executed"}
	// ErrTooLarge: a command above [MaxCommand].
	ErrTooLarge error = &failure{wire.StatusTooLarge, "the command is too large"}
	// ErrNoGroup: no such group, or no replica of it, on this node.
	ErrNoGroup error = &failure{wire.StatusNotFound, "the group has no replica here"}
	// ErrGroupExists: the group was started on this node already.
	ErrGroupExists error = &failure{wire.StatusAlreadyExists, "the group is running here already"}
	// ErrNotMember: this replica was removed from its group, or a change names
	// a member that is none.
	ErrNotMember error = &failure{wire.StatusFailedPrecondition, "no member of the group"}
	// ErrConflict: a change, of a group's members, say, met another one, or
	// something that makes it impossible. Nothing was changed.
	ErrConflict error = &failure{wire.StatusAborted, "refused as things are; nothing was changed"}
	// ErrSessionExpired: the group has forgotten the session. What was sent
	// last through it may have been executed.
	ErrSessionExpired error = &failure{wire.StatusFailedPrecondition, "the session has expired; its last request may have been executed"}
	// ErrUnsupported: this kind of machine or backend can't do that.
	ErrUnsupported error = &failure{wire.StatusUnimplemented, "not supported"}
	// ErrConfig: options that can't be right.
	ErrConfig error = &failure{wire.StatusInvalidArgument, "wrong configuration"}
	// ErrClosed: the host was closed. Nothing was executed.
	ErrClosed error = &failure{wire.StatusDraining, "closed"}
	// ErrDirectory: the data directory belongs to another node, was written by
	// a newer version, or is in use. Nothing in it was touched.
	ErrDirectory error = &failure{wire.StatusFailedPrecondition, "the data directory can't be used"}
	// ErrDamaged: what was read from disk is not what was written.
	ErrDamaged error = &failure{wire.StatusDataLoss, "damaged data"}
)
