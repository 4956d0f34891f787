package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrStatement: a signed statement is malformed, or its signature is wrong.
var ErrStatement = errors.New("identity: bad statement")

// ErrExpired: a statement was good once, or will be.
var ErrExpired = errors.New("identity: not valid at this time")

// What is signed is binary: a version byte and fields of fixed size, little
// endian, like everything of Cell's on the wire; the signature comes last and
// covers all that is before it.
const (
	statementVersion = 1

	// ClockSkew is how far ahead another node's clock may be when it says from
	// when a statement holds. It does not prolong anything.
	ClockSkew = 5 * time.Minute

	// maxTime, the end of the year 9999, bounds times that are computed with.
	maxTime = 253402300799
)

// fields reads a statement from the front. After the first fault it reads
// zeros and ok is false.
type fields struct {
	rest []byte
	ok   bool
}

func newFields(b []byte) *fields { return &fields{rest: b, ok: true} }

func (f *fields) take(n int) []byte {
	if !f.ok || n > len(f.rest) {
		f.ok = false
		return make([]byte, n) // n is a constant of the callers'
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) byte() byte              { return f.take(1)[0] }
func (f *fields) uint32() uint32          { return binary.LittleEndian.Uint32(f.take(4)) }
func (f *fields) uint64() uint64          { return binary.LittleEndian.Uint64(f.take(8)) }
func (f *fields) key() (k [32]byte)       { return [32]byte(f.take(len(k))) }
func (f *fields) signature() (s [64]byte) { return [64]byte(f.take(len(s))) }

func (f *fields) time() time.Time {
	s := f.uint64()
	if s > maxTime {
		f.ok = false
		s = 0
	}
	return time.Unix(int64(s), 0).UTC()
}

// done reports whether everything was there and nothing is left.
func (f *fields) done() bool { return f.ok && len(f.rest) == 0 }

func appendTime(b []byte, t time.Time) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(min(max(t.Unix(), 0), maxTime)))
}

// seconds cuts a time to what statements carry.
func seconds(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), 0), maxTime), 0).UTC()
}

// checkTimes returns ErrExpired unless now lies within.
func checkTimes(what string, notBefore, notAfter, now time.Time) error {
	switch {
	case now.Add(ClockSkew).Before(notBefore):
		return fmt.Errorf("%w: %s is valid from %s on, and it is %s; set the clocks", ErrExpired, what, stamp(notBefore), stamp(now))
	case !now.Before(notAfter):
		return fmt.Errorf("%w: %s was valid until %s, and it is %s", ErrExpired, what, stamp(notAfter), stamp(now))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
