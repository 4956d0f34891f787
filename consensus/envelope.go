package consensus

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// What a log's entry holds, little endian:
//
//	0        1              9            17           25           33
//	┌────────┬──────────────┬────────────┬────────────┬────────────┬─────────
//	│kind    │time, ns      │session     │sequence    │answered    │command …
//	└────────┴──────────────┴────────────┴────────────┴────────────┴─────────
//	 u8       i64            u64          u64          u64
//
// Session, sequence and answered are there for kinds that belong to a session.
// answered: all results with a sequence up to it have been received.
type entryKind uint8

const (
	entryPlain   entryKind = 1
	entrySession entryKind = 2 // a command of a session
	entryOpen    entryKind = 3 // opens a session
	entryClose   entryKind = 4 // closes it
	entryDigest  entryKind = 5 // every replica computes its digest here
)

const (
	plainHead   = 9
	sessionHead = plainHead + 24
)

// MaxCommand is the most bytes of a command: an entry has to fit into one
// message between replicas, with others.
const MaxCommand = 8 << 20

// envelope is an entry as it was read.
type envelope struct {
	kind     entryKind
	time     int64
	session  uint64
	sequence uint64
	answered uint64
	command  []byte
}

// EncodeCommand returns the entry that stands for a command without a session,
// proposed at the time now.
func EncodeCommand(command []byte, now time.Time) []byte {
	return appendCommand(make([]byte, 0, plainHead+len(command)), command, now)
}

func appendCommand(b, command []byte, now time.Time) []byte {
	b = append(b, byte(entryPlain))
	b = binary.LittleEndian.AppendUint64(b, uint64(now.UnixNano()))
	return append(b, command...)
}

// lent is memory for an entry while it is passed on.
type lent struct{ b []byte }

// maxLent is the most that is kept for the next entry.
const maxLent = 64 << 10

var entries = sync.Pool{New: func() any { return &lent{make([]byte, 0, 256)} }}

func borrow() *lent { return entries.Get().(*lent) }

func (e *lent) giveBack() {
	if cap(e.b) <= maxLent {
		e.b = e.b[:0]
		entries.Put(e)
	}
}

// EncodeDigest returns the entry at which every replica computes the digest of
// its state; see [Applier.Digest].
func EncodeDigest(now time.Time) []byte {
	b := make([]byte, plainHead)
	b[0] = byte(entryDigest)
	binary.LittleEndian.PutUint64(b[1:], uint64(now.UnixNano()))
	return b
}

func encodeSession(kind entryKind, now time.Time, session, sequence, answered uint64, command []byte) []byte {
	return appendSession(make([]byte, 0, sessionHead+len(command)), kind, now, session, sequence, answered, command)
}

func appendSession(b []byte, kind entryKind, now time.Time, session, sequence, answered uint64, command []byte) []byte {
	b = append(b, byte(kind))
	for _, n := range [...]uint64{uint64(now.UnixNano()), session, sequence, answered} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return append(b, command...)
}

// decodeEnvelope reads an entry. ok is false for what no version known here
// has written: such entries change nothing, on every replica alike.
func decodeEnvelope(b []byte) (e envelope, ok bool) {
	if len(b) < plainHead {
		return e, false
	}
	e.kind, e.time = entryKind(b[0]), int64(binary.LittleEndian.Uint64(b[1:]))
	switch e.kind {
	case entryPlain, entryDigest:
		e.command = b[plainHead:]
		return e, true
	case entrySession, entryOpen, entryClose:
		if len(b) < sessionHead {
			return e, false
		}
		e.session = binary.LittleEndian.Uint64(b[9:])
		e.sequence = binary.LittleEndian.Uint64(b[17:])
		e.answered = binary.LittleEndian.Uint64(b[25:])
		e.command = b[sessionHead:]
		return e, true
	}
	return e, false
}

// checkSize refuses what is too large for an entry.
func checkSize(command []byte) error {
	if len(command) > MaxCommand {
		return fmt.Errorf("%w: %d bytes, at most %d; write it in parts", ErrTooLarge, len(command), MaxCommand)
	}
	return nil
}
