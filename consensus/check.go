package consensus

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrNondeterministic: two replicas of a machine came to different states or
// results from the same log.
var ErrNondeterministic = errors.New("consensus: the machine is not deterministic")

// CheckOptions tune [Check]. The zero value of every field means its default.
type CheckOptions struct {
	// Every is after how many entries the states are compared; default 64, and
	// then every one of the interval in which they came to differ.
	Every int
	// Replicas is how many machines go beside each other; default 3. The last
	// one is replaced by a copy restored from a snapshot whenever states are
	// compared, so that Snapshot and Restore are checked with Apply.
	Replicas int
}

// Check runs several replicas of a machine on the same log of entries, as
// [EncodeCommand] makes them, and compares all results, and the states as their
// snapshots have them. What differs is named by its entry in an error that
// wraps [ErrNondeterministic].
//
// Go's maps are walked in another order each time and its clock goes on, so
// most machines that depend on either are found. Machines with storage of
// their own must get another place from each call of their constructor.
func Check(m Machines, entries [][]byte, o CheckOptions) error {
	if o.Every <= 0 {
		o.Every = 64
	}
	if o.Replicas < 2 {
		o.Replicas = 3
	}
	c := checker{machines: m, entries: entries, every: o.Every, replicas: o.Replicas}
	at, err := c.run()
	if err == nil || o.Every == 1 || !errors.Is(err, ErrNondeterministic) {
		return err
	}
	// Again from the start, comparing after each entry, to say which it was;
	// what depends on chance may pass this time.
	narrow := checker{machines: m, entries: entries[:at+1], every: 1, from: max(0, at-o.Every), replicas: o.Replicas}
	if _, precise := narrow.run(); precise != nil {
		return precise
	}
	return err
}

type checker struct {
	machines Machines
	entries  [][]byte
	every    int
	from     int // states before this entry are not compared
	replicas int
}

// run returns the entry at which a difference was seen.
func (c *checker) run() (at int, err error) {
	all := make([]*Applier, c.replicas)
	defer func() {
		for _, a := range all {
			if a != nil {
				err = errors.Join(err, a.Close())
			}
		}
	}()
	for i := range all {
		if all[i], err = c.fresh(); err != nil {
			return 0, err
		}
	}
	for n, entry := range c.entries {
		if err := c.apply(all, n, entry); err != nil {
			return n, err
		}
		if n < c.from || (n+1)%c.every != 0 && n+1 != len(c.entries) {
			continue
		}
		if err := c.compare(all, n); err != nil {
			return n, err
		}
	}
	return 0, nil
}

func (c *checker) fresh() (*Applier, error) {
	a, err := NewApplier(1, c.machines)
	if err != nil {
		return nil, err
	}
	_, err = a.Open()
	return a, err
}

// apply applies one entry everywhere and compares the results.
func (c *checker) apply(all []*Applier, n int, entry []byte) error {
	var first Result
	for i, a := range all {
		raw := [1]Raw{{Index: uint64(n) + 1, Entry: bytes.Clone(entry)}}
		if err := a.Apply(raw[:]); err != nil {
			return fmt.Errorf("entry %d, replica %d: %w", n, i, err)
		}
		if r := raw[0].Result; i == 0 {
			first = r
		} else if r.Value != first.Value || !bytes.Equal(r.Data, first.Data) {
			return fmt.Errorf("%w: entry %d (%.40q): replica 0 returned %d %.40q, replica %d %d %.40q",
				ErrNondeterministic, n, entry, first.Value, first.Data, i, r.Value, r.Data)
		}
	}
	return nil
}

// compare compares the states, and replaces the last replica by a restored one.
func (c *checker) compare(all []*Applier, n int) error {
	var first []byte
	for i, a := range all {
		state, err := a.stateBytes()
		if err != nil {
			return fmt.Errorf("snapshot of replica %d after entry %d: %w", i, n, err)
		}
		if i == 0 {
			first = state
		} else if !bytes.Equal(first, state) {
			return fmt.Errorf("%w: after entry %d (%.40q) the snapshots of replicas 0 and %d differ, from byte %d on, of %d and %d",
				ErrNondeterministic, n, c.entries[n], i, firstDifference(first, state), len(first), len(state))
		}
	}
	last := len(all) - 1
	copied, err := c.fresh()
	if err != nil {
		return err
	}
	old := all[last]
	all[last] = copied
	if err := old.Close(); err != nil {
		return err
	}
	if err := copied.Restore(bytes.NewReader(first)); err != nil {
		return fmt.Errorf("restoring the snapshot after entry %d: %w", n, err)
	}
	return nil
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
