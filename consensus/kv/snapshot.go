package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/btree"

	"github.com/cell-runtime/cell/consensus"
)

// A snapshot, little endian:
//
//	revision u64, leases u32, each: id u64, ttl i64, deadline i64
//	items u64, each: created u64, modified u64, lease u64,
//	                 key and value, each with its length u32 before it
//	of a store that was split: filling u32 (1: it is not open yet), and from, to
//	and next, each with its length before it
type frozen struct {
	revision uint64
	leases   []lease
	items    *btree.BTreeG[*item]
	bounds   bounds
}

// Freeze implements [consensus.ConcurrentMachine]: a copy on write.
func (m *Machine) Freeze() (consensus.Frozen, error) {
	m.mu.Lock() // Clone changes the tree that it copies
	defer m.mu.Unlock()
	f := &frozen{revision: m.revision, items: m.items.Clone(), bounds: m.bounds}
	for _, l := range m.leases {
		f.leases = append(f.leases, lease{id: l.id, ttl: l.ttl, deadline: l.deadline})
	}
	slices.SortFunc(f.leases, func(a, b lease) int { return int(int64(a.id) - int64(b.id)) })
	return f, nil
}

// Release implements [consensus.Frozen].
func (f *frozen) Release() {}

// Write implements [consensus.Frozen].
func (f *frozen) Write(w io.Writer) error {
	le := binary.LittleEndian
	b := le.AppendUint64(nil, f.revision)
	b = le.AppendUint32(b, uint32(len(f.leases)))
	for _, l := range f.leases {
		b = le.AppendUint64(b, l.id)
		b = le.AppendUint64(b, uint64(l.ttl))
		b = le.AppendUint64(b, uint64(l.deadline))
	}
	b = le.AppendUint64(b, uint64(f.items.Len()))
	var err error
	f.items.Ascend(func(i *item) bool {
		b = le.AppendUint64(b, i.created)
		b = le.AppendUint64(b, i.modified)
		b = le.AppendUint64(b, i.lease)
		b = append(le.AppendUint32(b, uint32(len(i.key))), i.key...)
		b = append(le.AppendUint32(b, uint32(len(i.value))), i.value...)
		if len(b) >= 64<<10 {
			_, err = w.Write(b)
			b = b[:0]
		}
		return err == nil
	})
	if err == nil {
		_, err = w.Write(f.bounds.append(b))
	}
	return err
}

// append appends the section of a store that was split.
func (b *bounds) append(to []byte) []byte {
	if *b == (bounds{}) {
		return to
	}
	filling := uint32(0)
	if b.filling {
		filling = 1
	}
	to = binary.LittleEndian.AppendUint32(to, filling)
	for _, s := range []string{b.from, b.to, b.next} {
		to = append(binary.LittleEndian.AppendUint32(to, uint32(len(s))), s...)
	}
	return to
}

// bounds reads that section, if it is there.
func (d *decoder) bounds() (b bounds) {
	filling := d.u32()
	if errors.Is(d.err, io.EOF) { // not even its first byte
		d.err = nil
		return b
	}
	b.filling = filling != 0
	for _, s := range []*string{&b.from, &b.to, &b.next} {
		*s = string(d.bytes(MaxKey))
	}
	return b
}

// Restore implements [consensus.ConcurrentMachine].
func (m *Machine) Restore(r io.Reader) error {
	fresh := New()
	d := decoder{r: r}
	fresh.revision = d.u64()
	leases := d.count(uint64(d.u32()), MaxLeases)
	for n := uint64(0); n < leases && d.err == nil; n++ {
		l := &lease{id: d.u64(), ttl: int64(d.u64()), deadline: int64(d.u64()), keys: make(map[string]bool)}
		if old := fresh.leases[l.id]; old != nil { // twice: the last one counts
			fresh.due.Delete(old)
		}
		fresh.leases[l.id] = l
		fresh.due.ReplaceOrInsert(l)
	}
	items := d.u64()
	for n := uint64(0); n < items && d.err == nil; n++ {
		i := &item{created: d.u64(), modified: d.u64(), lease: d.u64()}
		i.key = string(d.bytes(MaxKey))
		i.value = d.bytes(MaxValue)
		if l := fresh.leases[i.lease]; l != nil {
			l.keys[i.key] = true
		}
		fresh.items.ReplaceOrInsert(i)
	}
	if d.err == nil {
		fresh.bounds = d.bounds()
	}
	if d.err != nil {
		return fmt.Errorf("%w: kv: a snapshot: %w", consensus.ErrDamaged, d.err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision, m.items, m.leases, m.due, m.bounds = fresh.revision, fresh.items, fresh.leases, fresh.due, fresh.bounds
	m.hub.reset(m.revision)
	m.tellGranted()
	return nil
}

// decoder reads numbers and keeps the first error.
type decoder struct {
	r   io.Reader
	b   [8]byte
	err error
}

func (d *decoder) read(n int) []byte {
	if d.err == nil {
		_, d.err = io.ReadFull(d.r, d.b[:n])
	}
	if d.err != nil {
		clear(d.b[:])
	}
	return d.b[:n]
}

func (d *decoder) u32() uint32 { return binary.LittleEndian.Uint32(d.read(4)) }
func (d *decoder) u64() uint64 { return binary.LittleEndian.Uint64(d.read(8)) }

// count bounds a number of things.
func (d *decoder) count(n, most uint64) uint64 {
	if n > most && d.err == nil {
		d.err = fmt.Errorf("%d of what there may be %d", n, most)
	}
	if d.err != nil {
		return 0
	}
	return n
}

func (d *decoder) bytes(most uint64) []byte {
	n := d.count(uint64(d.u32()), most)
	if n == 0 {
		return nil
	}
	var b bytes.Buffer
	if _, d.err = io.CopyN(&b, d.r, int64(n)); d.err != nil {
		return nil
	}
	return b.Bytes()
}
