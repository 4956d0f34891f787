//go:build !nodragonboat && !s390x

package dragonboat

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	raft "github.com/lni/dragonboat/v4"

	"github.com/cell-runtime/cell/consensus"
)

// A store that finds its newest log file damaged can't tell that from a write
// that was torn by a loss of power, and leaves out what follows: a replica would
// come back without entries, and votes, that it has promised to keep. So the
// data directory has another file, cell-raft.marks, which says how far each
// replica had come at least. A log that ends before its mark has lost something,
// and its replica does not start.
const (
	marksFile = "cell-raft.marks"
	marksPace = time.Second
	maxMarks  = 4 << 20
)

// mark is how far a replica had applied its log, which it has therefore had.
type mark struct {
	Replica consensus.ReplicaID `json:"replica"`
	Index   uint64              `json:"index"`
}

// readMarks reads the marks; a file that is damaged is an error, one that isn't
// there has none.
func readMarks(dir string) (map[string]mark, error) {
	all := map[string]mark{}
	name := filepath.Join(dir, marksFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	text, sum, ok := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\nsha256 ")
	if got := sha256.Sum256([]byte(text)); len(b) > maxMarks || !ok || hex.EncodeToString(got[:]) != sum || json.Unmarshal([]byte(text), &all) != nil {
		return nil, fmt.Errorf("%w: %s, which says how far the logs go: if nothing else is damaged, delete it", consensus.ErrDamaged, name)
	}
	return all, nil
}

// writeMarks replaces the marks. Older ones are right, too, they only say less;
// what a loss of power leaves must be one or the other.
func writeMarks(dir string, all map[string]mark) error {
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return replaceFile(dir, marksFile, fmt.Appendf(nil, "%s\nsha256 %x\n", text, sha256.Sum256(text)))
}

// keepMarks writes marks while the host runs, and has what was known of members
// looked up anew.
func (h *Host) keepMarks() {
	defer close(h.marked)
	t := time.NewTicker(marksPace)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			h.noteMarks()
			h.roster.forget()
		case <-h.closing:
			return
		}
	}
}

// noteMarks writes how far the replicas are, if that has changed.
func (h *Host) noteMarks() {
	h.marksMu.Lock()
	defer h.marksMu.Unlock()
	h.mu.Lock()
	now := maps.Clone(h.marks)
	for name, g := range h.groups {
		if g != nil && g.applier != nil {
			m := mark{g.config.Replica, g.applier.Position().Index}
			if old := now[name]; old.Replica == m.Replica { // a machine in memory begins anew
				m.Index = max(m.Index, old.Index)
			}
			now[name] = m
		}
	}
	same := maps.Equal(now, h.marks)
	h.marks = now
	h.mu.Unlock()
	if same {
		return
	}
	if err := writeMarks(h.o.Dir, now); err != nil {
		h.o.Logger.Warn("raft: noting how far logs go", "err", err)
	}
}

// checkMark refuses a replica whose log ends before its mark.
func (h *Host) checkMark(g *group) error {
	h.mu.Lock()
	m, ok := h.marks[g.config.Name]
	h.mu.Unlock()
	if h.dir == nil || !ok || m.Replica != g.config.Replica {
		return nil
	}
	log, err := h.nh.GetLogReader(uint64(g.id))
	if err != nil {
		return err
	}
	if _, last := log.GetRange(); last < m.Index {
		_ = h.nh.StopReplica(uint64(g.id), uint64(g.config.Replica))
		return fmt.Errorf("%w: replica %d of group %q had applied entry %d, and its log ends at %d: %s",
			consensus.ErrDamaged, g.config.Replica, g.config.Name, m.Index, last, damagedRemedy)
	}
	return nil
}

// forgetMark is for a replica whose data is deleted.
func (h *Host) forgetMark(name string) {
	h.marksMu.Lock()
	defer h.marksMu.Unlock()
	h.mu.Lock()
	delete(h.marks, name)
	all := maps.Clone(h.marks)
	h.mu.Unlock()
	if h.dir != nil {
		_ = writeMarks(h.o.Dir, all)
	}
}

// replicaInfos are the replicas that a store has.
func replicaInfos(nh *raft.NodeHost) (all []string) {
	info := nh.GetNodeHostInfo(raft.NodeHostInfoOption{})
	for _, r := range info.LogInfo {
		all = append(all, fmt.Sprintf("replica %d of group %016x", r.ReplicaID, r.ShardID))
	}
	return all
}
