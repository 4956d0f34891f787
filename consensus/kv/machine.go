package kv

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/google/btree"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// The bounds. They are checked by every replica, so all must have the same.
const (
	MaxKey    = 4 << 10
	MaxValue  = 1 << 20
	MaxOps    = 256     // conditions and operations of a transaction, each
	MaxLeases = 100_000 // of a store
	// MinTTL is the shortest lease, and MaxTTL the longest, in ns.
	MinTTL = 1e9
	MaxTTL = 365 * 24 * 3600e9
)

// item is a key of the store. Items never change: another takes its place.
type item struct {
	key      string
	value    []byte
	created  uint64
	modified uint64
	lease    uint64
}

// lease is a promise to keep some keys until a time of the log.
type lease struct {
	id       uint64
	ttl      int64
	deadline int64
	keys     map[string]bool
}

// Machine is the store as a state machine. Make one for each replica.
type Machine struct {
	mu       sync.RWMutex // against Read
	revision uint64
	items    *btree.BTreeG[*item]
	leases   map[uint64]*lease
	due      *btree.BTreeG[*lease] // the same leases, by deadline
	bounds   bounds

	// Not part of the state.
	hub     *hub
	granted chan struct{} // there are leases, where there may have been none: who ends them looks
	now     []Event
	moved   bool // some keys went to another group just now
}

var _ consensus.ConcurrentMachine = (*Machine)(nil)

// New returns an empty store.
func New() *Machine {
	return &Machine{items: newTree(), leases: make(map[uint64]*lease), due: newDue(), hub: newHub(), granted: make(chan struct{}, 1)}
}

func newTree() *btree.BTreeG[*item] {
	return btree.NewG(32, func(a, b *item) bool { return a.key < b.key })
}

// newDue orders leases by deadline, and those of one deadline as they were granted.
func newDue() *btree.BTreeG[*lease] {
	return btree.NewG(32, func(a, b *lease) bool {
		return a.deadline < b.deadline || a.deadline == b.deadline && a.id < b.id
	})
}

// Machines is what [consensus.GroupConfig] needs.
func Machines() consensus.Machines {
	return consensus.Machines{Concurrent: func() consensus.ConcurrentMachine { return New() }}
}

// Apply implements [consensus.ConcurrentMachine].
func (m *Machine) Apply(batch []consensus.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		m.applyOne(&batch[i])
	}
	m.hub.publish(m.revision, m.now)
	clear(m.now)
	m.now = m.now[:0]
	if m.moved { // who watches has to look where they are
		m.moved = false
		m.hub.reset(m.revision)
	}
}

func (m *Machine) applyOne(e *consensus.Entry) {
	now := consensus.PositionOf(e).Time
	m.expire(now)
	var c Command
	if err := CheckCommand(e.Command, 0); err != nil {
		e.Result = result(refuse(wire.StatusInvalidArgument, "malformed command: %v", err))
		return
	}
	if err := c.DecodeCell(e.Command); err != nil {
		e.Result = result(refuse(wire.StatusInvalidArgument, "malformed command: %v", err))
		return
	}
	e.Result = result(m.execute(&c.Do, now))
}

// result is an outcome as the log has it: Value is the status.
func result(o Outcome) consensus.Result {
	b := make([]byte, o.SizeCell())
	n, err := o.EncodeCell(b)
	if err != nil { // what was measured fits
		return consensus.Result{Value: uint64(wire.StatusInternal)}
	}
	return consensus.Result{Value: uint64(o.Status), Data: b[:n]}
}

func refuse(status wire.Status, format string, args ...any) Outcome {
	return Outcome{Status: uint8(status), Message: fmt.Sprintf(format, args...)}
}

func (m *Machine) execute(a *Action, now int64) Outcome {
	switch {
	case a.Txn != nil:
		return m.txn(a.Txn)
	case a.Grant != nil:
		return m.grant(a.Grant.Ttl, now)
	case a.KeepAlive != nil:
		return m.keepAlive(a.KeepAlive.Id, now)
	case a.Revoke != nil:
		return m.revoke(a.Revoke.Id)
	case a.Expire != nil: // was done already, before the command
		return Outcome{}
	}
	return refuse(wire.StatusUnimplemented, "a command that this replica does not know: all members must run the program that has it")
}

// check refuses a transaction before any of it is executed.
func (r *TxnRequest) check(leases func(uint64) bool) error {
	if len(r.If) > MaxOps || len(r.Then) > MaxOps || len(r.Else) > MaxOps {
		return fmt.Errorf("more than %d conditions or operations", MaxOps)
	}
	for i := range r.If {
		c := &r.If[i]
		if c.Test < TestExists || c.Test > TestModified {
			return fmt.Errorf("condition %d: test %d is none", i, c.Test)
		}
		if err := checkKey(c.Key); err != nil {
			return fmt.Errorf("condition %d: %w", i, err)
		}
	}
	for _, ops := range [][]Op{r.Then, r.Else} {
		for i := range ops {
			if err := ops[i].check(leases); err != nil {
				return fmt.Errorf("operation %d: %w", i, err)
			}
		}
	}
	return nil
}

func (o *Op) check(leases func(uint64) bool) error {
	switch {
	case o.Kind < OpGet || o.Kind > OpDrop:
		return fmt.Errorf("kind %d is none", o.Kind)
	case o.Kind == OpOpen || o.Kind == OpDrop:
		return nil
	case len(o.End) > MaxKey:
		return checkKey(o.End)
	case len(o.Value) > MaxValue:
		return fmt.Errorf("a value of %d bytes, at most %d", len(o.Value), MaxValue)
	case o.Kind == OpPut && o.Lease != 0 && !leases(o.Lease):
		return fmt.Errorf("lease %d is not there: it has ended", o.Lease)
	}
	return checkKey(o.Key)
}

func checkKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("a key has 1 to %d bytes, not %d", MaxKey, len(key))
	}
	return nil
}

func (m *Machine) txn(r *TxnRequest) Outcome {
	if err := r.check(func(id uint64) bool { return m.leases[id] != nil }); err != nil {
		return refuse(wire.StatusInvalidArgument, "%v", err)
	}
	if splits, err := r.checkParts(); err != nil {
		return refuse(wire.StatusInvalidArgument, "%v", err)
	} else if splits {
		return m.split(r)
	}
	if err := m.bounds.admits(r); err != nil {
		return refuse(rpc.StatusOf(err), "%v", err)
	}
	reply := &TxnReply{Succeeded: true}
	for i := range r.If {
		reply.Succeeded = reply.Succeeded && m.holds(&r.If[i])
	}
	ops := r.Then
	if !reply.Succeeded {
		ops = r.Else
	}
	revision := m.revision + 1 // of all that changes here
	for i := range ops {
		reply.Results = append(reply.Results, m.operate(&ops[i], revision))
	}
	reply.Revision = m.revision
	return Outcome{Txn: reply}
}

func (m *Machine) holds(c *Condition) bool {
	old, found := m.items.Get(&item{key: string(c.Key)})
	switch c.Test {
	case TestExists:
		return found
	case TestMissing:
		return !found
	case TestValue:
		return found && string(old.value) == string(c.Value)
	case TestModified:
		return found && old.modified == c.Revision
	}
	return false
}

func (m *Machine) operate(o *Op, revision uint64) OpResult {
	if o.Kind == OpDelete && len(o.End) > 0 {
		keys := m.keysWithin(string(o.Key), string(o.End))
		for _, k := range keys {
			m.remove(k, revision, ChangeDelete)
		}
		return OpResult{Found: len(keys) > 0, Deleted: uint64(len(keys))}
	}
	old, found := m.items.Get(&item{key: string(o.Key)})
	var r OpResult
	if found {
		r = OpResult{Found: true, Value: old.value, Modified: old.modified}
	}
	switch o.Kind {
	case OpPut:
		m.put(o, old, revision)
	case OpDelete:
		if found {
			m.remove(old.key, revision, ChangeDelete)
			r.Deleted = 1
		}
	}
	return r
}

func (m *Machine) keysWithin(start, end string) (keys []string) {
	m.items.AscendRange(&item{key: start}, &item{key: end}, func(i *item) bool {
		keys = append(keys, i.key)
		return true
	})
	return keys
}

// put sets a key; old is what is there, or nil.
func (m *Machine) put(o *Op, old *item, revision uint64) {
	i := &item{key: string(o.Key), value: slices.Clone(o.Value), created: revision, modified: revision, lease: o.Lease}
	if old != nil {
		i.created = old.created
		m.unbind(old)
	}
	if l := m.leases[i.lease]; l != nil {
		l.keys[i.key] = true
	}
	m.items.ReplaceOrInsert(i)
	m.changed(revision, Event{Change: ChangePut, Key: []byte(i.key), Value: i.value, Revision: revision})
}

func (m *Machine) remove(key string, revision uint64, why Change) {
	old, found := m.items.Delete(&item{key: key})
	if !found {
		return
	}
	m.unbind(old)
	m.changed(revision, Event{Change: why, Key: []byte(key), Revision: revision})
}

func (m *Machine) unbind(i *item) {
	if l := m.leases[i.lease]; l != nil {
		delete(l.keys, i.key)
	}
}

func (m *Machine) changed(revision uint64, e Event) {
	m.revision = revision
	m.now = append(m.now, e)
}

func (m *Machine) grant(ttl, now int64) Outcome {
	switch {
	case ttl < MinTTL || ttl > MaxTTL:
		return refuse(wire.StatusInvalidArgument, "a lease lasts from a second to a year, not %d ns", ttl)
	case len(m.leases) >= MaxLeases:
		return refuse(wire.StatusResourceExhausted, "there are %d leases already", MaxLeases)
	}
	m.revision++
	l := &lease{id: m.revision, ttl: ttl, deadline: now + ttl, keys: make(map[string]bool)}
	m.leases[l.id] = l
	m.due.ReplaceOrInsert(l)
	m.tellGranted()
	return Outcome{Lease: &Lease{Id: l.id, Ttl: ttl}}
}

func (m *Machine) tellGranted() {
	select {
	case m.granted <- struct{}{}:
	default: // it is told already
	}
}

func (m *Machine) keepAlive(id uint64, now int64) Outcome {
	l := m.leases[id]
	if l == nil {
		return refuse(wire.StatusNotFound, "lease %d has ended", id)
	}
	m.due.Delete(l) // by the old deadline
	l.deadline = now + l.ttl
	m.due.ReplaceOrInsert(l)
	return Outcome{Lease: &Lease{Id: id, Ttl: l.ttl}}
}

func (m *Machine) revoke(id uint64) Outcome {
	l := m.leases[id]
	if l == nil {
		return refuse(wire.StatusNotFound, "lease %d has ended", id)
	}
	m.end(l, ChangeDelete)
	return Outcome{}
}

// end removes a lease and its keys, in order.
func (m *Machine) end(l *lease, why Change) {
	keys := make([]string, 0, len(l.keys))
	for k := range l.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	delete(m.leases, l.id)
	m.due.Delete(l)
	revision := m.revision + 1
	for _, k := range keys {
		m.remove(k, revision, why)
	}
}

// expire ends the leases whose deadline has come, before anything else is done
// at that time of the log; those that are due at once in the order in which they
// were granted.
func (m *Machine) expire(now int64) {
	var due []*lease
	m.due.Ascend(func(l *lease) bool {
		if l.deadline <= now {
			due = append(due, l)
		}
		return l.deadline <= now
	})
	slices.SortFunc(due, func(a, b *lease) int { return cmp.Compare(a.id, b.id) })
	for _, l := range due {
		m.end(l, ChangeExpired)
	}
}

// next is the earliest deadline; 0: there are no leases.
func (m *Machine) next() int64 {
	if l, ok := m.due.Min(); ok {
		return l.deadline
	}
	return 0
}

// lookup is a query: a function that reads the machine.
type lookup func(m *Machine)

// Read implements [consensus.ConcurrentMachine]. The query is this package's.
func (m *Machine) Read(query any) (any, error) {
	f, ok := query.(lookup)
	if !ok {
		return nil, fmt.Errorf("%w: kv: a query of type %T", consensus.ErrConfig, query)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	f(m)
	return nil, nil
}
