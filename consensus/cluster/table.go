package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/kv"
)

// Keys of the tables.
const (
	nodesPrefix  = "nodes/"
	groupsPrefix = "groups/"
	// numbersPrefix: from which number on replicas of a group are counted that
	// was deleted. A node that missed it has the old group's log under an old
	// number, and must not take that for the new one's.
	numbersPrefix = "numbers/"
	// VersionsPrefix: before a node's id, what runs there, as the node says.
	VersionsPrefix = "versions/"
	maxGroups      = 4096
)

// nodeEntry is where a node is.
type nodeEntry struct {
	Addr    string              `json:"addr"`
	Replica consensus.ReplicaID `json:"replica"` // in the system group
}

func (n *nodeEntry) encode() []byte {
	b, err := json.Marshal(n)
	if err != nil {
		return nil // strings and numbers always can be
	}
	return b
}

// Seat is one replica of a group, as the table has it.
type Seat struct {
	Replica consensus.ReplicaID `json:"replica"`
	Node    consensus.NodeID    `json:"node"`
	// Join: it came after the group was made.
	Join bool `json:"join,omitempty"`
	// Leaving: it is removed once another has taken its place.
	Leaving bool `json:"leaving,omitempty"`
	// Gone: it is no member any more, and its node may delete its data.
	Gone bool `json:"gone,omitempty"`
}

// Entry is a group in the table.
type Entry struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Seats are its replicas, those that go and those that come included.
	Seats []Seat `json:"seats"`
	// Next is the next replica's number.
	Next consensus.ReplicaID `json:"next"`
	// Of a store that was split: its keys are those from From up to, without, To
	// (nothing: from the first, to the last), and the group Beyond has what follows.
	From   []byte `json:"from,omitempty"`
	To     []byte `json:"to,omitempty"`
	Beyond string `json:"beyond,omitempty"`
	// Source is the group that gives it its keys, until it has them.
	Source string `json:"source,omitempty"`

	modified uint64
}

// of returns a node's seat that is not gone, or nil.
func (e *Entry) of(node consensus.NodeID) *Seat {
	for i := range e.Seats {
		if s := &e.Seats[i]; s.Node == node && !s.Gone {
			return s
		}
	}
	return nil
}

// first are the members that a group began with.
func (e *Entry) first() map[consensus.ReplicaID]consensus.NodeID {
	all := map[consensus.ReplicaID]consensus.NodeID{}
	for _, s := range e.Seats {
		if !s.Join {
			all[s.Replica] = s.Node
		}
	}
	return all
}

// staying are the nodes that have, or will have, a replica for good.
func (e *Entry) staying() (all []consensus.NodeID) {
	for _, s := range e.Seats {
		if !s.Leaving && !s.Gone {
			all = append(all, s.Node)
		}
	}
	return all
}

func decodeEntry(i *kv.Item) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(i.Value, &e); err != nil || e.Name == "" {
		return e, fmt.Errorf("%w: the table's %q", consensus.ErrDamaged, i.Key)
	}
	e.modified = i.Modified
	return e, nil
}

// prefixed is the range of all keys that begin so.
func prefixed(prefix string) kv.RangeRequest {
	return kv.RangeRequest{Start: []byte(prefix), End: []byte(prefix[:len(prefix)-1] + string(prefix[len(prefix)-1]+1))}
}

// rows reads a whole table.
func (m *Member) rows(ctx context.Context, prefix string, stale bool) (all []kv.Item, err error) {
	t := m.Table()
	if t == nil {
		_, err := m.running(SystemGroup)
		return nil, err
	}
	r := prefixed(prefix)
	r.Stale = stale
	for {
		page, err := t.Range(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if !page.More || len(page.Items) == 0 {
			return all, nil
		}
		if len(all) > maxGroups {
			// A part would do harm: what is missing counts as removed.
			return nil, fmt.Errorf("%w: the table has more than %d entries under %s", consensus.ErrConfig, maxGroups, prefix)
		}
		r.Start = append(slices.Clone(page.Items[len(page.Items)-1].Key), 0)
	}
}

// List returns all groups of the table, by name.
func (m *Member) List(ctx context.Context) ([]Entry, error) { return m.entries(ctx, false) }

// KnownGroups returns those that this node has last heard of, also where the table
// has no leader.
func (m *Member) KnownGroups(ctx context.Context) ([]Entry, error) { return m.entries(ctx, true) }

func (m *Member) entries(ctx context.Context, stale bool) ([]Entry, error) {
	items, err := m.rows(ctx, groupsPrefix, stale)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for i := range items {
		e, err := decodeEntry(&items[i])
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// find returns one group of the table.
func (m *Member) find(ctx context.Context, name string) (Entry, error) {
	all, err := m.entries(ctx, false)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range all {
		if e.Name == name {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("%w: there is no group %q in the table", consensus.ErrNoGroup, name)
}

// put writes a group if it is as it was read: modified 0 if it is new.
func (m *Member) put(ctx context.Context, e *Entry) error {
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	set, err := m.Table().CompareAndSet(ctx, kv.CasRequest{Key: []byte(groupsPrefix + e.Name), Revision: e.modified, Value: value})
	if err != nil {
		return err
	}
	if !set.Set {
		return fmt.Errorf("%w: group %q was changed by somebody else at the same time", consensus.ErrConflict, e.Name)
	}
	e.modified = set.Revision
	m.soon()
	return nil
}

// NodeInfo is a node of the cluster.
type NodeInfo struct {
	Node    consensus.NodeID
	Addr    string
	Replica consensus.ReplicaID // of the system group
	Alive   bool                // it has answered lately
	Groups  int                 // that the table gives it
}

// Nodes lists the nodes of the cluster.
func (m *Member) Nodes(ctx context.Context) ([]NodeInfo, error) { return m.nodes(ctx, false) }

// KnownNodes lists those that this node has last heard of, also where the tables
// have no leader.
func (m *Member) KnownNodes(ctx context.Context) ([]NodeInfo, error) { return m.nodes(ctx, true) }

func (m *Member) nodes(ctx context.Context, stale bool) ([]NodeInfo, error) {
	items, err := m.rows(ctx, nodesPrefix, stale)
	if err != nil {
		return nil, err
	}
	groups, err := m.entries(ctx, true)
	if err != nil {
		return nil, err
	}
	alive := m.alive()
	var all []NodeInfo
	for _, i := range items {
		var n nodeEntry
		if err := json.Unmarshal(i.Value, &n); err != nil {
			return nil, fmt.Errorf("%w: the table's %q", consensus.ErrDamaged, i.Key)
		}
		id := consensus.NodeID(strings.TrimPrefix(string(i.Key), nodesPrefix))
		_, there := alive[id]
		x := NodeInfo{Node: id, Addr: n.Addr, Replica: n.Replica, Alive: there || id == m.Node()}
		for _, e := range groups {
			if e.of(id) != nil {
				x.Groups++
			}
		}
		all = append(all, x)
	}
	return all, nil
}
