package consensustest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cell-runtime/cell/consensus"
)

// Disk is a [Register] that keeps itself in a file: a whole state at each Sync,
// replaced by rename.
type Disk struct {
	file string
	mu   sync.RWMutex
	r    *Register
	at   consensus.Position
}

// NewDisk returns one that keeps its state in the directory dir.
func NewDisk(dir string) *Disk {
	return &Disk{file: filepath.Join(dir, "register"), r: NewRegister()}
}

func (m *Disk) bytes() []byte {
	var b bytes.Buffer
	var head [16]byte
	binary.LittleEndian.PutUint64(head[:], m.at.Index)
	binary.LittleEndian.PutUint64(head[8:], uint64(m.at.Time))
	b.Write(head[:])
	_ = m.r.Snapshot(&b) // a Buffer takes everything
	return b.Bytes()
}

func (m *Disk) load(b []byte) error {
	if len(b) < 16 {
		return fmt.Errorf("%w: %d bytes", consensus.ErrDamaged, len(b))
	}
	m.at = consensus.Position{Index: binary.LittleEndian.Uint64(b), Time: int64(binary.LittleEndian.Uint64(b[8:]))}
	return m.r.Restore(bytes.NewReader(b[16:]))
}

// Open implements [consensus.DiskMachine].
func (m *Disk) Open() (consensus.Position, error) {
	b, err := os.ReadFile(m.file)
	if errors.Is(err, os.ErrNotExist) {
		return consensus.Position{}, os.MkdirAll(filepath.Dir(m.file), 0o700)
	}
	if err != nil {
		return consensus.Position{}, err
	}
	err = m.load(b)
	return m.at, err
}

// Apply implements [consensus.DiskMachine].
func (m *Disk) Apply(batch []consensus.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		m.r.Apply(&batch[i])
		m.at = consensus.PositionOf(&batch[i])
	}
	return nil
}

// Skip implements [consensus.DiskMachine].
func (m *Disk) Skip(p consensus.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = p
	return nil
}

// Read implements [consensus.DiskMachine].
func (m *Disk) Read(query any) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.r.Read(query)
}

// Sync implements [consensus.DiskMachine].
func (m *Disk) Sync() error {
	m.mu.RLock()
	b := m.bytes()
	m.mu.RUnlock()
	f, err := os.CreateTemp(filepath.Dir(m.file), "new")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), m.file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(m.file))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

type written []byte

func (b written) Write(w io.Writer) error { _, err := w.Write(b); return err }
func (b written) Release()                {}

// Freeze implements [consensus.DiskMachine].
func (m *Disk) Freeze() (consensus.Frozen, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return written(m.bytes()), nil
}

// Restore implements [consensus.DiskMachine].
func (m *Disk) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	err = m.load(b)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.Sync()
}

// Close implements [consensus.DiskMachine].
func (m *Disk) Close() error { return nil }
