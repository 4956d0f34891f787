package consensus

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Applier is one replica's machine as a backend drives it: it unpacks the
// log's entries, keeps the log's time and the sessions, and passes commands to
// the machine. Calls exclude each other as those of [ConcurrentMachine]; Read
// may be called beside all of them, and for a [Machine] is locked out here.
type Applier struct {
	kind Kind
	seed uint64

	memory     Machine
	concurrent ConcurrentMachine
	disk       DiskMachine

	lock     sync.RWMutex // of a Machine, against Read
	sessions *sessionTable
	batch    []Entry // of the call of Apply that runs
	one      [1]Entry
	time     int64 // of the last entry

	applied     atomic.Uint64 // index of the last entry
	appliedTime atomic.Int64
	confirmed   atomic.Int64 // when this replica was known to lack nothing, ns
	digest      atomic.Pointer[Digest]
}

// Digest is a replica's state at one index, as a hash.
type Digest struct {
	Index uint64
	Sum   [32]byte
}

// Raw is an entry of the log and, after Apply, what its proposer gets.
type Raw struct {
	Index  uint64
	Entry  []byte
	Result Result
}

// NewApplier makes a group's machine. seed is the same on all replicas: the
// group's id.
func NewApplier(seed uint64, m Machines) (*Applier, error) {
	kind, err := m.Kind()
	if err != nil {
		return nil, err
	}
	a := &Applier{kind: kind, seed: seed, sessions: newSessionTable()}
	switch kind {
	case KindMemory:
		a.memory = m.Memory()
	case KindConcurrent:
		a.concurrent = m.Concurrent()
	case KindDisk:
		a.disk = m.Disk()
	}
	return a, nil
}

// Kind returns the machine's kind.
func (a *Applier) Kind() Kind { return a.kind }

// Position returns how far the replica has applied its log. Any goroutine may
// call it.
func (a *Applier) Position() Position {
	return Position{Index: a.applied.Load(), Time: a.appliedTime.Load()}
}

// Digest returns the digest computed last, at the entry of [EncodeDigest].
func (a *Applier) Digest() (Digest, bool) {
	d := a.digest.Load()
	if d == nil {
		return Digest{}, false
	}
	return *d, true
}

// Confirm notes that the replica has applied all that was committed before the
// time t, by this node's clock. Backends call it when a ReadIndex that began
// then has succeeded.
func (a *Applier) Confirm(t time.Time) {
	for n := t.UnixNano(); ; {
		old := a.confirmed.Load()
		if n <= old || a.confirmed.CompareAndSwap(old, n) {
			return
		}
	}
}

// Age is how much time's worth of writes may be missing here at most: since
// the last entry applied, by its proposer's clock, or the last [Applier.Confirm].
func (a *Applier) Age() time.Duration {
	known := max(a.confirmed.Load(), a.appliedTime.Load())
	return max(0, time.Since(time.Unix(0, known)))
}

// Open opens a [DiskMachine] and returns the index of the last entry in it; 0
// for other kinds.
func (a *Applier) Open() (uint64, error) {
	if a.kind != KindDisk {
		return 0, nil
	}
	p, err := a.disk.Open()
	if err != nil {
		return 0, err
	}
	a.moved(p.Index, p.Time)
	return p.Index, nil
}

func (a *Applier) moved(index uint64, t int64) {
	a.time = t
	a.applied.Store(index)
	a.appliedTime.Store(t)
}

// Apply executes entries in order and sets their results. An error is a
// [DiskMachine]'s, and final for this replica.
func (a *Applier) Apply(raws []Raw) error {
	if a.kind == KindMemory {
		a.lock.Lock()
		defer a.lock.Unlock()
	}
	if a.kind == KindMemory {
		for i := range raws {
			if err := a.applyOne(&raws[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return a.applyBatches(raws)
}

// applyBatches passes runs of plain commands on as batches. What needs the
// state as it is at one entry (sessions, digests) is a batch of its own.
func (a *Applier) applyBatches(raws []Raw) error {
	for start := 0; start < len(raws); {
		a.batch = a.batch[:0]
		end, t := start, a.time
		for ; end < len(raws); end++ {
			e, ok := decodeEnvelope(raws[end].Entry)
			if !ok || e.kind != entryPlain {
				break
			}
			t = max(t, e.time)
			a.batch = append(a.batch, Entry{Index: raws[end].Index, Command: e.command, time: t, seed: a.seed})
		}
		if end == start {
			if err := a.applyOne(&raws[end]); err != nil {
				return err
			}
			start++
			continue
		}
		if err := a.run(a.batch); err != nil {
			return err
		}
		for i := range a.batch {
			raws[start+i].Result = a.batch[i].Result
		}
		clear(a.batch) // keeps nothing of the log alive
		a.moved(raws[end-1].Index, t)
		start = end
	}
	return nil
}

// run passes a batch to the machine.
func (a *Applier) run(batch []Entry) error {
	switch a.kind {
	case KindMemory:
		for i := range batch {
			a.memory.Apply(&batch[i])
		}
		return nil
	case KindConcurrent:
		a.concurrent.Apply(batch)
		return nil
	}
	return a.disk.Apply(batch)
}

func (a *Applier) applyOne(raw *Raw) error {
	e, ok := decodeEnvelope(raw.Entry)
	if !ok {
		err := a.skip(raw.Index, a.time)
		a.moved(raw.Index, a.time)
		return err
	}
	t := max(a.time, e.time)
	var err error
	switch e.kind {
	case entryPlain:
		raw.Result, err = a.execute(raw.Index, t, e.command)
	case entryDigest:
		if err = a.takeDigest(raw, t); err == nil {
			err = a.skip(raw.Index, t)
		}
	default:
		raw.Result, err = a.applySession(raw.Index, t, &e)
	}
	a.moved(raw.Index, t)
	return err
}

// skip tells a [DiskMachine] of an entry that concerns it no further: the log
// counts it, and must not be found ahead of the machine after a restart.
func (a *Applier) skip(index uint64, t int64) error {
	if a.kind != KindDisk {
		return nil
	}
	return a.disk.Skip(Position{Index: index, Time: t})
}

func (a *Applier) execute(index uint64, t int64, command []byte) (Result, error) {
	a.one[0] = Entry{Index: index, Command: command, time: t, seed: a.seed}
	err := a.run(a.one[:])
	r := a.one[0].Result
	a.one[0] = Entry{} // keeps nothing of the log alive
	return r, err
}

// applySession executes an entry of a session; the result begins with an
// outcome.
func (a *Applier) applySession(index uint64, t int64, e *envelope) (Result, error) {
	if a.kind == KindDisk {
		return withOutcome(outcomeRefused, Result{}), a.skip(index, t)
	}
	switch e.kind {
	case entryOpen:
		a.sessions.open(index)
		return withOutcome(outcomeDone, Result{Value: index}), nil
	case entryClose:
		delete(a.sessions.byID, e.session)
		return withOutcome(outcomeDone, Result{}), nil
	}
	s, result, run, why := a.sessions.begin(e, index)
	if !run {
		return withOutcome(why, result), nil
	}
	result, err := a.execute(index, t, e.command)
	s.keep(e.sequence, result)
	return withOutcome(outcomeDone, result), err
}

// bareOutcomes are the results without data.
var bareOutcomes = [...][1]byte{outcomeDone: {byte(outcomeDone)}, outcomeExpired: {byte(outcomeExpired)}, outcomeFull: {byte(outcomeFull)}, outcomeRefused: {byte(outcomeRefused)}}

func withOutcome(o outcome, r Result) Result {
	if len(r.Data) == 0 {
		return Result{Value: r.Value, Data: bareOutcomes[o][:]}
	}
	data := make([]byte, 1, 1+len(r.Data))
	data[0] = byte(o)
	return Result{Value: r.Value, Data: append(data, r.Data...)}
}

// takeDigest hashes the state before the entry. Two replicas that differ here
// differ in their state.
func (a *Applier) takeDigest(raw *Raw, t int64) error {
	h := sha256.New()
	f, err := a.freeze()
	if err != nil {
		return err
	}
	defer f.Release()
	if err := f.Write(h); err != nil {
		return err
	}
	d := &Digest{Index: raw.Index}
	h.Sum(d.Sum[:0])
	a.digest.Store(d)
	raw.Result = Result{Value: raw.Index, Data: d.Sum[:]}
	return nil
}

// Read answers a query from this replica's state as it is now.
func (a *Applier) Read(query any) (any, error) {
	switch a.kind {
	case KindMemory:
		a.lock.RLock()
		defer a.lock.RUnlock()
		return a.memory.Read(query)
	case KindConcurrent:
		return a.concurrent.Read(query)
	}
	return a.disk.Read(query)
}

// A snapshot's head: magic, index, time, then the sessions, then the machine.
const snapshotMagic = 0x31534c4c_45430a1a // "\x1a\nCELLS1", little endian

// frozenState is the applier's part beside the machine's.
type frozenState struct {
	index    uint64
	time     int64
	sessions *sessionTable
	machine  Frozen
}

func (f *frozenState) Write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 64<<10)
	var head [24]byte
	binary.LittleEndian.PutUint64(head[0:], snapshotMagic)
	binary.LittleEndian.PutUint64(head[8:], f.index)
	binary.LittleEndian.PutUint64(head[16:], uint64(f.time))
	if _, err := b.Write(head[:]); err != nil {
		return err
	}
	if err := f.sessions.write(b); err != nil {
		return err
	}
	if err := f.machine.Write(b); err != nil {
		return err
	}
	return b.Flush()
}

func (f *frozenState) Release() { f.machine.Release() }

// inPlace is a [Machine] as it is; nobody applies meanwhile.
type inPlace struct{ m Machine }

func (p inPlace) Write(w io.Writer) error { return p.m.Snapshot(w) }
func (p inPlace) Release()                {}

func (a *Applier) freeze() (Frozen, error) {
	f := &frozenState{index: a.applied.Load(), time: a.time, sessions: a.sessions}
	switch a.kind {
	case KindMemory:
		f.machine = inPlace{a.memory}
		return f, nil
	case KindConcurrent:
		m, err := a.concurrent.Freeze()
		f.machine, f.sessions = m, a.sessions.clone()
		return f, err
	}
	m, err := a.disk.Freeze()
	f.machine = m
	return f, err
}

// Freeze returns the replica's state as it is now, to be written beside Apply.
// That of a [Machine] is only valid while nothing is applied.
func (a *Applier) Freeze() (Frozen, error) { return a.freeze() }

// Restore replaces the replica's state by what a Frozen has written. An error
// wraps [ErrDamaged] where the bytes are wrong; the state is undefined then.
func (a *Applier) Restore(r io.Reader) error {
	if a.kind == KindMemory {
		a.lock.Lock()
		defer a.lock.Unlock()
	}
	b := bufio.NewReaderSize(r, 64<<10)
	d := reader{r: b}
	magic, index, t := d.u64(), d.u64(), int64(d.u64())
	switch {
	case d.err != nil:
		return fmt.Errorf("%w: a snapshot's head: %w", ErrDamaged, d.err)
	case magic != snapshotMagic:
		return fmt.Errorf("%w: no snapshot of this program: it begins with %#x", ErrDamaged, magic)
	}
	sessions, err := readSessionTable(b)
	if err != nil {
		return err
	}
	switch a.kind {
	case KindMemory:
		err = a.memory.Restore(b)
	case KindConcurrent:
		err = a.concurrent.Restore(b)
	default:
		err = a.disk.Restore(b)
	}
	if err != nil {
		return fmt.Errorf("restoring the machine at index %d: %w", index, err)
	}
	a.sessions = sessions
	a.moved(index, t)
	return nil
}

// Sync makes a [DiskMachine] durable.
func (a *Applier) Sync() error {
	if a.kind != KindDisk {
		return nil
	}
	return a.disk.Sync()
}

// Close closes a [DiskMachine].
func (a *Applier) Close() error {
	if a.kind != KindDisk {
		return nil
	}
	return a.disk.Close()
}

// stateBytes returns the whole state as a snapshot has it.
func (a *Applier) stateBytes() ([]byte, error) {
	f, err := a.freeze()
	if err != nil {
		return nil, err
	}
	defer f.Release()
	var b bytes.Buffer
	err = f.Write(&b)
	return b.Bytes(), err
}
