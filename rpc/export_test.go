package rpc

import (
	"testing"
	"time"
)

// NeverTryByTheClock has connections sleep until a descriptor ends it.
func NeverTryByTheClock(t testing.TB) {
	most, pace := parkMost, unflushedPace
	parkMost, unflushedPace = time.Hour, time.Hour
	t.Cleanup(func() { parkMost, unflushedPace = most, pace })
}

// DropPiecesAfter has servers drop requests in pieces that make no progress for d.
func DropPiecesAfter(t testing.TB, d time.Duration) {
	old := piecesIdle
	piecesIdle = d
	t.Cleanup(func() { piecesIdle = old })
}

// PiecesHeld returns the bytes that s holds of requests in pieces.
func (s *Server) PiecesHeld() int64 { return s.pieces.Held() }

// UnservedMark is what tells a dispatcher's refusal.
const UnservedMark = unservedMark

// LetLookAgain has the next call look for the link's end, as after a while.
func LetLookAgain(c *Conn) {
	s := c.current.Load()
	s.glanced.Store(s.glanced.Load() - glancePace)
}
