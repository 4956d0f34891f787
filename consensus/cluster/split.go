package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
)

// Split gives the keys of a store from a key on to a new group, on the same nodes.
// It returns when the table says so; the new group's leader does the rest, and
// whoever leads it next goes on with that. Until the new group has its keys, calls
// that need them wait. Where a key has a lease, or somebody else has written into
// the new group, the table is set back.
func (m *Member) Split(ctx context.Context, name string, at []byte, group string) error {
	if err := checkName(group); err != nil {
		return err
	}
	old, err := m.settled(ctx, name)
	if err != nil {
		return err
	}
	switch {
	case old.Kind != Kind:
		return fmt.Errorf("%w: group %q is no store of keys", consensus.ErrUnsupported, name)
	case len(at) == 0 || len(at) > kv.MaxKey:
		return fmt.Errorf("%w: a key has 1 to %d bytes, not %d", consensus.ErrConfig, kv.MaxKey, len(at))
	case bytes.Compare(at, old.From) <= 0 || len(old.To) > 0 && bytes.Compare(at, old.To) >= 0:
		return fmt.Errorf("%w: %q is not within the keys of group %q, from %q up to %q", consensus.ErrConfig, at, name, old.From, old.To)
	}
	var nodes []NodeInfo
	for _, s := range old.Seats {
		if s.Leaving && !s.Gone {
			return fmt.Errorf("%w: a replica of group %q moves: wait for that", consensus.ErrConflict, name)
		}
		if !s.Gone {
			nodes = append(nodes, NodeInfo{Node: s.Node})
		}
	}
	e := Entry{Name: group, Kind: Kind, From: at, To: old.To, Beyond: old.Beyond, Source: name}
	old.To, old.Beyond = at, group
	return m.insert(ctx, &e, nodes, old)
}

// maxName is the most bytes of a group's name: with what is before it, its socket's
// has 64 (uds.MaxName).
const maxName = 61

// checkName refuses names that a group, and the socket of its store, can't have.
func checkName(name string) error {
	good := name != "" && len(name) <= maxName && name[0] != '.' && name != SystemGroup
	for _, c := range []byte(name) {
		good = good && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_", c) >= 0)
	}
	if !good {
		return fmt.Errorf("%w: a group can't be called %.80q: a name, which is also that of its store's socket, has 1 to %d letters, digits, dots, dashes and underscores of ASCII, begins with no dot, and is not %q",
			consensus.ErrConfig, name, maxName, SystemGroup)
	}
	return nil
}

// settled is find for what must not happen while a store is split: the replicas of
// both groups have to stay where they are.
func (m *Member) settled(ctx context.Context, name string) (Entry, error) {
	all, err := m.entries(ctx, false)
	if err != nil {
		return Entry{}, err
	}
	var found *Entry
	for i := range all {
		e := &all[i]
		if e.Source != "" && (e.Source == name || e.Name == name) {
			return Entry{}, fmt.Errorf("%w: group %q is being given the keys of %q: wait for that", consensus.ErrConflict, e.Name, e.Source)
		}
		if e.Name == name {
			found = e
		}
	}
	if found == nil {
		return Entry{}, fmt.Errorf("%w: there is no group %q in the table", consensus.ErrNoGroup, name)
	}
	return *found, nil
}

// mayGo refuses to delete a group to which another one sends callers.
func (m *Member) mayGo(ctx context.Context, name string) error {
	all, err := m.entries(ctx, false)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Beyond == name {
			return fmt.Errorf("%w: group %q has the keys from %q on of the store of which %q is a part: delete that one first", consensus.ErrConflict, name, e.To, e.Name)
		}
	}
	return nil
}

// fill gives a new part of a store its keys, as its leader.
func (m *Member) fill(ctx context.Context, e *Entry) error {
	from, err := m.Store(e.Source)
	if err != nil {
		return fmt.Errorf("splitting group %q: %w", e.Source, err)
	}
	to, err := m.Store(e.Name)
	if err != nil {
		return err
	}
	err = kv.Give(ctx, from, to, string(e.From), e.Name)
	if errors.Is(err, kv.ErrCantSplit) {
		return errors.Join(fmt.Errorf("group %q can't be split: %w", e.Source, err), m.unsplit(ctx, e))
	}
	if err != nil {
		return fmt.Errorf("splitting group %q: %w", e.Source, err)
	}
	m.o.Logger.Info("raft: a store was split", "group", e.Source, "at", string(e.From), "new", e.Name)
	e.Source = ""
	return m.put(ctx, e)
}

// unsplit takes the new group out of the table, and has the old one keep its keys.
func (m *Member) unsplit(ctx context.Context, e *Entry) error {
	old, err := m.find(ctx, e.Source)
	if err != nil {
		return err
	}
	old.To, old.Beyond = e.To, e.Beyond
	return m.commit(ctx, e.deletion(), e.Name, old)
}
