// Package consensustest holds backends of package consensus to what its
// interface says, with one suite for all of them, and has machines to do it
// with.
package consensustest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cell-runtime/cell/consensus"
)

// Register is a machine of numbered counters: a command of 9 bytes or more is
// an operation, a counter (one byte's worth, as '0' to '9' or any byte) and a
// number. It remembers how many commands it has executed, so that a repeated
// one shows.
//
//	'+' KEY u64   adds, and returns the sum
//	'=' KEY u64   sets, and returns what was there
//
// Anything else is refused: Result.Data says so. A query is a key (byte) or
// "count"; the answer is a uint64.
type Register struct {
	count  uint64
	values map[byte]uint64
}

// NewRegister returns one without counters.
func NewRegister() *Register { return &Register{values: make(map[byte]uint64)} }

// Command makes a command of a [Register].
func Command(op, key byte, n uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{op, key}, n)
}

// Apply implements [consensus.Machine].
func (m *Register) Apply(e *consensus.Entry) {
	c := e.Command
	if len(c) != 10 || c[0] != '+' && c[0] != '=' {
		e.Result = consensus.Result{Data: []byte("refused")}
		return
	}
	m.count++
	key, n := c[1], binary.LittleEndian.Uint64(c[2:])
	old := m.values[key]
	if c[0] == '+' {
		n += old
		old = n
	}
	m.values[key] = n
	e.Result = consensus.Result{Value: old}
}

// ErrQuery is the answer to a query that is none.
var ErrQuery = errors.New("consensustest: no such query")

// Read implements [consensus.Machine].
func (m *Register) Read(query any) (any, error) {
	switch q := query.(type) {
	case byte:
		return m.values[q], nil
	case string:
		if q == "count" {
			return m.count, nil
		}
	}
	return nil, fmt.Errorf("%w: %v", ErrQuery, query)
}

// Snapshot implements [consensus.Machine].
func (m *Register) Snapshot(w io.Writer) error {
	b := binary.LittleEndian.AppendUint64(nil, m.count)
	keys := make([]byte, 0, len(m.values))
	for k := range m.values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(keys)))
	for _, k := range keys {
		b = append(b, k)
		b = binary.LittleEndian.AppendUint64(b, m.values[k])
	}
	_, err := w.Write(b)
	return err
}

// Restore implements [consensus.Machine].
func (m *Register) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(b) < 10 || len(b)-10 != 9*int(binary.LittleEndian.Uint16(b[8:])) {
		return fmt.Errorf("%w: a snapshot of %d bytes", consensus.ErrDamaged, len(b))
	}
	m.count, m.values = binary.LittleEndian.Uint64(b), make(map[byte]uint64)
	for b = b[10:]; len(b) > 0; b = b[9:] {
		m.values[b[0]] = binary.LittleEndian.Uint64(b[1:])
	}
	return nil
}

// Concurrent is a [Register] whose snapshots are written beside Apply.
type Concurrent struct {
	mu sync.RWMutex
	r  *Register
}

// NewConcurrent returns one without counters.
func NewConcurrent() *Concurrent { return &Concurrent{r: NewRegister()} }

// Apply implements [consensus.ConcurrentMachine].
func (m *Concurrent) Apply(batch []consensus.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		m.r.Apply(&batch[i])
	}
}

// Read implements [consensus.ConcurrentMachine].
func (m *Concurrent) Read(query any) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.r.Read(query)
}

type frozen struct{ *Register }

func (f frozen) Write(w io.Writer) error { return f.Snapshot(w) }
func (f frozen) Release()                {}

// Freeze implements [consensus.ConcurrentMachine].
func (m *Concurrent) Freeze() (consensus.Frozen, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := NewRegister()
	c.count = m.r.count
	for k, v := range m.r.values {
		c.values[k] = v
	}
	return frozen{c}, nil
}

// Restore implements [consensus.ConcurrentMachine].
func (m *Concurrent) Restore(r io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.r.Restore(r)
}
