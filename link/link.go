// Package link is what every transport of Cell implements, so that engine and
// rpc work over all of them unchanged: shared-memory rings, unix sockets,
// AF_XDP queues, QUIC, serial lines and CAN buses.
//
// A [Link] is one end of a path of vesicles to one peer. Every signature is a
// batch: a call that crosses an interface, a ring or the kernel is paid once
// for many vesicles. Backpressure is explicit: a link that has no room says
// [ErrFull]; it never queues without bound on the caller's behalf.
//
// The suite in link/linktest holds every implementation to what is written
// here. Vesicles that are too long for a link travel in pieces: see
// [Fragmenter] and [Reassembler].
package link

import (
	"github.com/cell-runtime/cell/ring"
	"github.com/cell-runtime/cell/wire"
)

// Errors that every link returns, possibly wrapped with context. Compare with
// errors.Is. They are the ring's own, so that its errors need no translation
// on the hot path.
var (
	// ErrFull: no room for even one vesicle now. Nothing was claimed. Poll
	// again later, or use ArmSpace to be woken.
	ErrFull = ring.ErrFull
	// ErrTooLarge: the vesicle can never fit this link; see Info.MaxPayload
	// and [Fragmenter].
	ErrTooLarge = ring.ErrTooLarge
	// ErrClosed: this side was shut down or closed.
	ErrClosed = ring.ErrClosed
	// ErrPeerGone: the peer ended, died or was lost. Vesicles that it
	// published before are still polled first; then every call returns this.
	ErrPeerGone = ring.ErrPeerGone
	// ErrCorrupt: the peer broke the protocol of the medium (bytes that can't
	// be a record, a cursor that went backwards). The link is shut down.
	ErrCorrupt = ring.ErrCorrupt
	// ErrOrder: Commit, Abort or Release was called for more vesicles than
	// are outstanding: a fault of the caller, by which nothing was changed.
	ErrOrder = ring.ErrOrder
)

// Sender is the outgoing half of a link. Its methods are called by one
// goroutine at a time.
type Sender interface {
	// Claim reserves places for up to len(out) vesicles of up to size payload
	// bytes each and returns how many it got. It sets out[i].Payload to the
	// place, of length size, which the caller owns until Commit or Abort; the
	// content is arbitrary. out[i].Header is left as it is. n < len(out) with
	// a nil error means that the link is full after n; n is 0 only with an
	// error. Claims may follow each other before a Commit.
	Claim(out []wire.Vesicle, size int) (n int, err error)

	// Commit takes back the oldest len(vs) outstanding claims, in the order
	// of claiming, and makes them ready to travel. The caller sets each
	// Header (Length is filled in from len(Payload)) and may have shortened
	// each Payload, but not moved it. After Commit the payloads must not be
	// touched. Nothing need reach the peer before Flush.
	Commit(vs []wire.Vesicle) error

	// Abort gives up all outstanding claims.
	Abort()

	// Flush publishes everything committed. One Flush for many Commits is
	// the point of the interface. Where the medium can take only a part now,
	// Flush returns ErrFull and must be called again; nothing is lost.
	Flush() error

	// ArmSpace announces that the sender wants to sleep until a vesicle of
	// size payload bytes may fit. It returns false if there is room already,
	// or the link has failed: then don't sleep. After true, wait on the
	// descriptors of WaitFDs, then call DisarmSpace.
	ArmSpace(size int) bool
	// DisarmSpace ends what ArmSpace began. Calling it unarmed is harmless.
	DisarmSpace()

	// SendStats returns this half's counters. It belongs to the sender's
	// goroutine like every method here: the counters are plain memory.
	SendStats() Stats
}

// Receiver is the incoming half of a link. Its methods are called by one
// goroutine at a time, which may be another than the sender's.
type Receiver interface {
	// Poll fills in with vesicles that have arrived, in order, and returns
	// how many; 0 with a nil error means none now. Each Header has been
	// validated and each Payload lies in the link's memory: it may be read
	// until its Release, and never written. Successive Polls go on behind
	// what is outstanding. A hostile peer that shares the memory may change
	// payload bytes after Poll returned, so validate a copy or validate
	// nothing.
	Poll(in []wire.Vesicle) (n int, err error)

	// Release gives the oldest n polled vesicles back to the link. A negative
	// n is as wrong as one above what is outstanding: ErrOrder.
	Release(n int) error

	// Arm announces that the receiver wants to sleep until something
	// arrives. It returns false if something is there already, or the link
	// has failed: then Poll instead. After true, wait on the descriptors of
	// WaitFDs, then call Disarm.
	Arm() bool
	// Disarm ends what Arm began and consumes pending wake-ups. Calling it
	// unarmed is harmless.
	Disarm()

	// ReceiveStats returns this half's counters; see SendStats.
	ReceiveStats() Stats
}

// Link is one end of a path of vesicles to one peer. See the package comment,
// and the concurrency rules of [Sender] and [Receiver].
type Link interface {
	Sender
	Receiver

	// Info says what the link is and which path it takes. It does not change.
	Info() Info

	// WaitFDs appends the descriptors that become readable (POLLIN or
	// POLLHUP, level-triggered until Disarm or CheckPeer) when an armed side
	// should look again or the peer is gone. They stay the link's own.
	WaitFDs(fds []int) []int

	// CheckPeer looks at the sign of life once, with at most one system call
	// that never blocks, and returns nil, ErrPeerGone or ErrClosed. Poll does
	// so by itself after long silence; an engine calls it when a descriptor
	// of WaitFDs fires. It belongs to the receiver's goroutine.
	CheckPeer() error

	// Shutdown makes every later Claim, Flush and Poll return ErrClosed,
	// wakes sleepers of both sides and lets the peer see the end. It may be
	// called from any goroutine, often; it frees nothing.
	Shutdown()

	// Close shuts down and frees memory and descriptors. The caller sees to
	// it that no other method runs meanwhile and that no claimed or polled
	// payload is touched afterwards. Closing again does nothing, and Shutdown
	// stays harmless.
	Close() error
}

// Info describes a link.
type Info struct {
	// Kind names the medium: "ring", "uds", "afxdp", "udp", "quic", "serial",
	// "can".
	Kind string
	// Peer is who the other end is, as far as the medium can prove it.
	Peer Peer
	// MaxPayload is the most payload bytes of one vesicle on this link.
	MaxPayload int
	// ZeroCopy: payloads are written and read in the memory that the peer
	// shares or the device reads.
	ZeroCopy bool
	// Ordered: vesicles arrive in the order of Commit.
	Ordered bool
	// Reliable: while the link lives, every flushed vesicle arrives once.
	Reliable bool
	// Hostile: the peer can change a payload while it is being read.
	Hostile bool
	// Why says, one sentence each, why a better path was not taken. Empty
	// where this is the best one.
	Why []string
}

// Peer identifies the other end of a link.
type Peer struct {
	// PID, UID and GID are the kernel's word (SO_PEERCRED) on the same host;
	// PID is 0 elsewhere.
	PID      int
	UID, GID uint32
	// ID is a proven identity between hosts (a node's key), if any.
	ID string
	// Addr is where the peer is, for people.
	Addr string
}

// Stats are the counters of one half of a link since it was opened.
type Stats struct {
	Vesicles uint64 // committed, or polled
	Bytes    uint64 // payload bytes of those
	Flushes  uint64 // batches published, or released
	Full     uint64 // times that Claim or Flush said ErrFull
	Wakes    uint64 // system calls made to wake the peer, or times woken
	Dropped  uint64 // vesicles that this half had to give up
	Corrupt  uint64 // protocol faults of the peer
}
