package kv

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/wire"
)

// A store that has grown too large for one group is split: another group gets
// the keys from some key on. Each part then has a range of the keys, and says of
// those behind it which group has them, so that who began at the first part finds
// every key. A part that is new takes no requests until it has its keys.

// bounds are which keys a store has; the zero value has all.
type bounds struct {
	from, to string // keys from from up to, without, to; "": to the last
	next     string // the group that has those from to on
	filling  bool   // it has no keys yet but by OpFill
}

// dropMost is the most keys that one OpDrop removes.
const dropMost = 1000

// otherPart is why a store doesn't take a request that another one may.
type otherPart struct {
	wire.Status
	text string
}

func (e *otherPart) Error() string { return e.text }
func (e *otherPart) Unwrap() error { return e.Status }

// errMoved is a refusal that [movedOf] reads.
func (b *bounds) errMoved() error {
	return &otherPart{wire.StatusFailedPrecondition, fmt.Sprintf("%s%q are in group %q", movedText, b.to, b.next)}
}

const (
	movedText   = "kv: the keys from "
	fillingText = "kv: the store is not open yet: it is being given its keys"
)

// movedOf says which group has the keys from a key on, by a refusal's text. The
// text may have been through other processes, which put words before it.
func movedOf(err error) (from, group string, ok bool) {
	if err == nil {
		return "", "", false
	}
	_, text, found := strings.Cut(err.Error(), movedText)
	if !found {
		return "", "", false
	}
	from, rest, err := unquote(text)
	rest, found = strings.CutPrefix(rest, " are in group ")
	if err != nil || !found {
		return "", "", false
	}
	group, _, err = unquote(rest)
	return from, group, err == nil
}

// unquote reads a quoted string at the beginning of a text.
func unquote(text string) (s, rest string, err error) {
	q, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", "", err
	}
	s, err = strconv.Unquote(q)
	return s, text[len(q):], err
}

// has refuses a key that the store doesn't have, whether or not there is
// something.
func (b *bounds) has(key string) error {
	switch {
	case b.filling:
		return &otherPart{wire.StatusUnavailable, fillingText}
	case b.to != "" && key >= b.to:
		return b.errMoved()
	case key < b.from:
		return &otherPart{wire.StatusOutOfRange, fmt.Sprintf("kv: the keys before %q are in another part of the store: ask its first group", b.from)}
	}
	return nil
}

// hasRange refuses a range that goes beyond the store's keys.
func (b *bounds) hasRange(start, end string) error {
	if err := b.has(start); err != nil {
		return err
	}
	if b.to != "" && (end == "" || end > b.to) {
		return b.errMoved()
	}
	return nil
}

// admits refuses a transaction in which something isn't this store's.
func (b *bounds) admits(r *TxnRequest) error {
	for i := range r.If {
		if err := b.has(string(r.If[i].Key)); err != nil {
			return err
		}
	}
	for _, ops := range [][]Op{r.Then, r.Else} {
		for i := range ops {
			o := &ops[i]
			err := b.has(string(o.Key))
			if err == nil && o.Kind == OpDelete && len(o.End) > 0 {
				err = b.hasRange(string(o.Key), string(o.End))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// checkParts refuses what splits a store unless it stands alone, or OpFill among
// its like.
func (r *TxnRequest) checkParts() (splits bool, err error) {
	for _, ops := range [][]Op{r.Then, r.Else} {
		for i := range ops {
			splits = splits || ops[i].Kind > OpDelete
		}
	}
	if !splits {
		return false, nil
	}
	if len(r.If) > 0 || len(r.Else) > 0 {
		return true, fmt.Errorf("what splits a store has no conditions")
	}
	for i := range r.Then {
		if len(r.Then) > 1 && r.Then[i].Kind != OpFill {
			return true, fmt.Errorf("operation %d: of what splits a store, only OpFill goes with others", i)
		}
	}
	return true, nil
}

// checkCaller refuses what splits a store to those who call the service: a key that
// is given away or dropped out of turn is lost. [Give] does it in the right order.
func (a *Action) checkCaller() error {
	if a.Txn == nil {
		return nil
	}
	for _, ops := range [][]Op{a.Txn.Then, a.Txn.Else} {
		for i := range ops {
			if k := ops[i].Kind; k >= OpBound && k <= OpDrop {
				return rpc.Errorf(wire.StatusPermissionDenied, "kv: operation %d, of kind %d, is a step of splitting a store, which only its own nodes take: have them split it (cellnode raft split)", i, k)
			}
		}
	}
	return nil
}

// split executes what splits a store. All of it may be repeated.
func (m *Machine) split(r *TxnRequest) Outcome {
	reply := &TxnReply{Succeeded: true}
	for i := range r.Then {
		o := &r.Then[i]
		var err error
		var did OpResult
		switch o.Kind {
		case OpBound:
			err = m.bound(o)
		case OpSplit:
			err = m.splitAt(string(o.Key), string(o.Value))
		case OpFill:
			err = m.fill(o)
		case OpOpen:
			m.bounds.filling = false
		case OpDrop:
			did.Deleted = m.drop()
		}
		if err != nil {
			return refuse(wire.StatusFailedPrecondition, "%v", err)
		}
		reply.Results = append(reply.Results, did)
	}
	reply.Revision = m.revision
	return Outcome{Txn: reply}
}

// bound makes an empty store one of some keys, which it has to be filled with.
func (m *Machine) bound(o *Op) error {
	b := bounds{from: string(o.Key), to: string(o.End), next: string(o.Value), filling: true}
	switch {
	case m.bounds == b:
		return nil
	case b.to != "" && b.from >= b.to:
		return fmt.Errorf("kv: no key is from %q up to %q", b.from, b.to)
	case m.bounds != bounds{} || m.revision > 0 || len(m.leases) > 0:
		return fmt.Errorf("kv: the store was used already")
	}
	m.bounds = b
	return nil
}

// splitAt gives the keys from at on to another group. They stay until OpDrop, for
// that one to read.
func (m *Machine) splitAt(at, group string) error {
	b := &m.bounds
	switch {
	case b.to == at && b.next == group:
		return nil
	case b.filling || group == "" || at <= b.from || b.to != "" && at >= b.to:
		return fmt.Errorf("kv: the store has the keys from %q up to %q and can't be split at %q", b.from, b.to, at)
	}
	var leased string
	m.items.AscendGreaterOrEqual(&item{key: at}, func(i *item) bool {
		if i.lease != 0 {
			leased = i.key
		}
		return leased == ""
	})
	if leased != "" {
		return fmt.Errorf("kv: %q has a lease, which can't go along: split when it has ended, or above it", leased)
	}
	b.to, b.next = at, group
	m.moved = true
	return nil
}

// fill puts a key into a store that is not open yet.
func (m *Machine) fill(o *Op) error {
	b, key := m.bounds, string(o.Key)
	if !b.filling || key < b.from || b.to != "" && key >= b.to {
		return fmt.Errorf("kv: %q can't be filled in", key)
	}
	old, _ := m.items.Get(&item{key: key})
	m.put(&Op{Key: o.Key, Value: o.Value}, old, m.revision+1)
	return nil
}

// drop removes keys that are another group's, some at a time. Nobody who watches
// is told: to them nothing has changed.
func (m *Machine) drop() (deleted uint64) {
	if m.bounds.to == "" {
		return 0
	}
	var some []*item
	m.items.AscendGreaterOrEqual(&item{key: m.bounds.to}, func(i *item) bool {
		some = append(some, i)
		return len(some) < dropMost
	})
	for _, i := range some {
		m.items.Delete(i)
	}
	return uint64(len(some))
}
