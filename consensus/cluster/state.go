package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cell-runtime/cell/consensus"
)

// phase is how far a node is on its way into a cluster.
type phase string

const (
	phaseNew      phase = "new"
	phasePromised phase = "promised" // to found a cluster with certain others
	phaseFormed   phase = "formed"
)

// state is what a member must not forget, in the file cluster.json, whose last
// line is a checksum of what is above.
type state struct {
	Format  int    `json:"format"`
	Phase   phase  `json:"phase"`
	Cluster string `json:"cluster,omitempty"` // the id of the cluster, or of the promise
	// Serial grows with each change, and tells old news from new. It begins with
	// the time, so that a node which has lost its state does not begin before.
	Serial uint64 `json:"serial,omitempty"`
	// Founder collects promises. It alone says that the cluster is founded.
	Founder consensus.NodeID `json:"founder,omitempty"`
	// Asked is the founder's serial when it asked: what it has said before does
	// not end the promise.
	Asked uint64 `json:"asked,omitempty"`

	First   map[consensus.ReplicaID]consensus.NodeID `json:"first,omitempty"` // members, where this node is one of the first
	Replica consensus.ReplicaID                      `json:"replica,omitempty"`
	Join    bool                                     `json:"join,omitempty"` // it came later
	Role    consensus.Role                           `json:"role,omitempty"`
	Addrs   map[consensus.NodeID]string              `json:"addrs,omitempty"`
}

const (
	stateFile   = "cluster.json"
	stateFormat = 1
)

func now() uint64 { return uint64(time.Now().UnixNano()) }

func readState(dir string) (state, error) {
	none := state{Format: stateFormat, Phase: phaseNew, Serial: now(), Addrs: map[consensus.NodeID]string{}}
	name := filepath.Join(dir, stateFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	damaged := func(why string) error {
		return fmt.Errorf("%w: %s %s: this node can't know what it has promised; move its directory away, and let it join as a new one",
			consensus.ErrDamaged, name, why)
	}
	text, sum, ok := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\nsha256 ")
	if got := sha256.Sum256([]byte(text)); !ok || hex.EncodeToString(got[:]) != sum {
		return none, damaged("does not match its checksum")
	}
	var s state
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return none, damaged("can't be read")
	}
	if s.Format > stateFormat {
		return none, fmt.Errorf("%w: %s has format %d, which a newer version has written: run that one", consensus.ErrDirectory, name, s.Format)
	}
	if s.Addrs == nil {
		s.Addrs = map[consensus.NodeID]string{}
	}
	return s, nil
}

// write makes the state durable.
func (s *state) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, stateFile+".new")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing after the rename
	_, err = fmt.Fprintf(f, "%s\nsha256 %x\n", text, sha256.Sum256(text))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, stateFile)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// change changes the state durably, or not at all.
func (m *Member) change(f func(*state) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.state
	if err := f(&next); err != nil {
		return err
	}
	next.Serial = max(next.Serial+1, now())
	if err := next.write(m.o.Dir); err != nil {
		return err
	}
	m.state = next
	return nil
}
