package cluster

import (
	"fmt"

	"github.com/cell-runtime/cell/consensus"
)

// CheckState reads what a member has promised, and says it; the error wraps
// consensus.ErrDamaged or consensus.ErrDirectory.
func CheckState(dir string) ([]string, error) {
	s, err := readState(dir)
	if err != nil {
		return nil, err
	}
	switch s.Phase {
	case phaseFormed:
		return []string{fmt.Sprintf("of cluster %s, replica %d of group %q", s.Cluster, s.Replica, SystemGroup)}, nil
	case phasePromised:
		return []string{"promised to found a cluster with others, which has not happened yet"}, nil
	}
	return []string{"in no cluster"}, nil
}

// Restored makes the state of a member whose replica of the system group was
// written into its data directory from a backup. Error: consensus.ErrConflict
// where there is a state already.
func Restored(dir, cluster string, replica consensus.ReplicaID) error {
	s, err := readState(dir)
	if err != nil {
		return err
	}
	if s.Phase != phaseNew {
		return fmt.Errorf("%w: %s is the directory of a member already", consensus.ErrConflict, dir)
	}
	s.Phase, s.Cluster, s.Replica = phaseFormed, cluster, replica
	return s.write(dir)
}
