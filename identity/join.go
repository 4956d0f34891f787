package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Join makes the node whose identity lies in directory path a member of the
// token's cluster: it makes the key if there is none, and writes the files
// cluster and membership. A node that is a member of another cluster must leave
// that first ([Leave]).
func Join(path string, t *Token, now time.Time) (*Membership, error) {
	k, err := LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	m, err := t.Join(k.ID(), now)
	if err != nil {
		return nil, err
	}
	return m, SaveMembership(path, m)
}

// SaveMembership keeps a membership in directory path, with the cluster as the
// one whose members are let in. Error: [ErrStatement] if it is another cluster
// than the one that is there.
func SaveMembership(path string, m *Membership) error {
	b, err := m.MarshalText()
	if err != nil {
		return err
	}
	return changeDir(path, false, func(d *dir) error {
		r := &fileRules{}
		data, _, err := d.read(fileCluster, maxTrustFile, false)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		default:
			if err := r.readCluster(data); err != nil {
				return fmt.Errorf("%s: %w", d.name(fileCluster), err)
			}
		}
		if !r.cluster.IsZero() && r.cluster != m.Cluster {
			return fmt.Errorf("%w: this node belongs to %v and can't join %v as well; leave that first", ErrStatement, r.cluster, m.Cluster)
		}
		if err := d.write(fileMembership, append(b, '\n')); err != nil {
			return err
		}
		return d.write(fileCluster, []byte(m.Cluster.String()+"\n"))
	})
}

// Leave removes what Join wrote. The node keeps its key and its allow list.
func Leave(path string) error {
	return changeDir(path, false, func(d *dir) error {
		return errors.Join(d.remove(fileMembership), d.remove(fileCluster), d.remove(fileList))
	})
}
