package consensus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The bounds of what a group remembers for exactly-once execution. They are
// part of the replicated behaviour: all replicas must have the same.
const (
	// MaxSessions is how many sessions a group remembers; the one unused for
	// longest goes when another is opened.
	MaxSessions = 4096
	// MaxUnanswered is how many results of one session are kept until their
	// receipt is confirmed, beside that of the oldest command without one.
	MaxUnanswered = 256
	// MaxKept is the most bytes of result kept for one session.
	MaxKept = 4 << 20
)

// outcome precedes the result of an entry that belongs to a session.
type outcome byte

const (
	outcomeDone    outcome = 0 // executed, now or before; the result follows
	outcomeExpired outcome = 1 // the session is not known
	outcomeFull    outcome = 2 // too many unanswered; not executed
	outcomeRefused outcome = 3 // the machine keeps no sessions
)

type keptResult struct {
	sequence uint64
	result   Result
}

// sessionState is what replicas remember of a session. It belongs to the
// replicated state.
type sessionState struct {
	id       uint64
	used     uint64       // index of the entry that used it last
	answered uint64       // results up to here are forgotten
	kept     []keptResult // by sequence
	bytes    int          // of the kept results' data
}

// sessionTable is the sessions of one group, on one replica.
type sessionTable struct {
	byID map[uint64]*sessionState
}

func newSessionTable() *sessionTable {
	return &sessionTable{byID: make(map[uint64]*sessionState)}
}

// open makes a session whose id is the entry's index.
func (t *sessionTable) open(index uint64) {
	if len(t.byID) >= MaxSessions {
		oldest := (*sessionState)(nil)
		for _, s := range t.byID { // used is unique: the order does not matter
			if oldest == nil || s.used < oldest.used {
				oldest = s
			}
		}
		delete(t.byID, oldest.id)
	}
	t.byID[index] = &sessionState{id: index, used: index}
}

// begin says what to do with a command: execute it (run), or give the result
// that was kept, or refuse.
func (t *sessionTable) begin(e *envelope, index uint64) (s *sessionState, kept Result, run bool, why outcome) {
	s = t.byID[e.session]
	if s == nil {
		return nil, kept, false, outcomeExpired
	}
	s.used = index
	if e.answered > s.answered {
		s.forget(e.answered)
	}
	if e.sequence <= s.answered { // a late copy of what was answered long ago
		return s, kept, false, outcomeExpired
	}
	if i, found := s.find(e.sequence); found {
		return s, s.kept[i].result, false, outcomeDone
	}
	// The oldest one always runs: all others are kept until it has been answered.
	if e.sequence != s.answered+1 && (len(s.kept) >= MaxUnanswered || s.bytes > MaxKept) {
		return s, kept, false, outcomeFull
	}
	return s, kept, true, outcomeDone
}

func (s *sessionState) find(sequence uint64) (int, bool) {
	if n := len(s.kept); n == 0 || s.kept[n-1].sequence < sequence { // as they come, mostly
		return n, false
	}
	return slices.BinarySearchFunc(s.kept, sequence, func(k keptResult, n uint64) int {
		switch {
		case k.sequence < n:
			return -1
		case k.sequence > n:
			return 1
		}
		return 0
	})
}

func (s *sessionState) keep(sequence uint64, r Result) {
	i, _ := s.find(sequence)
	s.kept = slices.Insert(s.kept, i, keptResult{sequence, r})
	s.bytes += len(r.Data)
}

func (s *sessionState) forget(answered uint64) {
	s.answered = answered
	n := 0
	for n < len(s.kept) && s.kept[n].sequence <= answered {
		s.bytes -= len(s.kept[n].result.Data)
		n++
	}
	if len(s.kept)-n <= fewKept {
		s.kept = slices.Delete(s.kept, 0, n)
		return
	}
	clear(s.kept[:n])
	s.kept = s.kept[n:] // all are moved when there is no more room, not each time
}

// fewKept are so few results that moving them costs less than other memory.
const fewKept = 16

// clone returns a copy that stays as it is; results are shared, since they
// never change.
func (t *sessionTable) clone() *sessionTable {
	c := newSessionTable()
	for id, s := range t.byID {
		d := *s
		d.kept = slices.Clone(s.kept)
		c.byID[id] = &d
	}
	return c
}

// write appends the table in canonical order.
func (t *sessionTable) write(w io.Writer) error {
	ids := make([]uint64, 0, len(t.byID))
	for id := range t.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(ids)))
	for _, id := range ids {
		s := t.byID[id]
		b = binary.LittleEndian.AppendUint64(b, s.id)
		b = binary.LittleEndian.AppendUint64(b, s.used)
		b = binary.LittleEndian.AppendUint64(b, s.answered)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.kept)))
		for _, k := range s.kept {
			b = binary.LittleEndian.AppendUint64(b, k.sequence)
			b = binary.LittleEndian.AppendUint64(b, k.result.Value)
			b = binary.LittleEndian.AppendUint32(b, uint32(len(k.result.Data)))
			b = append(b, k.result.Data...)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	_, err := w.Write(b)
	return err
}

// readSessionTable reads what write wrote. The error wraps [ErrDamaged].
func readSessionTable(r io.Reader) (*sessionTable, error) {
	t := newSessionTable()
	d := reader{r: r}
	count := d.u32()
	if count > MaxSessions {
		return nil, fmt.Errorf("%w: %d sessions in a snapshot, at most %d", ErrDamaged, count, MaxSessions)
	}
	for range count {
		s := &sessionState{id: d.u64(), used: d.u64(), answered: d.u64()}
		kept := d.u32()
		if kept > MaxUnanswered+1 {
			return nil, fmt.Errorf("%w: %d results of a session in a snapshot, at most %d", ErrDamaged, kept, MaxUnanswered+1)
		}
		for range kept {
			k := keptResult{sequence: d.u64(), result: Result{Value: d.u64()}}
			k.result.Data = d.bytes(d.u32())
			s.bytes += len(k.result.Data)
			s.kept = append(s.kept, k)
		}
		if d.err != nil {
			break
		}
		t.byID[s.id] = s
	}
	if d.err != nil {
		return nil, fmt.Errorf("%w: sessions of a snapshot: %w", ErrDamaged, d.err)
	}
	return t, nil
}

// reader reads numbers and keeps the first error.
type reader struct {
	r   io.Reader
	b   [8]byte
	err error
}

func (d *reader) fill(b []byte) {
	if d.err == nil {
		_, d.err = io.ReadFull(d.r, b)
	}
	if d.err != nil {
		clear(b)
	}
}

func (d *reader) u32() uint32 {
	d.fill(d.b[:4])
	return binary.LittleEndian.Uint32(d.b[:4])
}

func (d *reader) u64() uint64 {
	d.fill(d.b[:8])
	return binary.LittleEndian.Uint64(d.b[:8])
}

// bytes reads n bytes; nil for none, as a machine that set no data has it. What
// is allocated grows with what is there, not with what n says.
func (d *reader) bytes(n uint32) []byte {
	if n == 0 || d.err != nil {
		return nil
	}
	var b bytes.Buffer
	_, d.err = io.CopyN(&b, d.r, int64(n))
	return b.Bytes()
}
