//go:build !nodragonboat && !s390x

package dragonboat

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	raft "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/tools"

	"github.com/cell-runtime/cell/consensus"
)

// A backup is one file:
//
//	"CELLBAK1", length u32 (little endian), the [consensus.BackupInfo] as JSON
//	a tar archive of the snapshot's files, compressed by dragonboat (snappy)
//	SHA-256 over all of that
const (
	backupMagic = "CELLBAK1"
	maxInfo     = 1 << 20
	sumSize     = sha256.Size
	// Folders of a data directory while a backup is made, or restored.
	exportPrefix = "export-"
	importPrefix = "import-"
)

// Backup implements [consensus.Group]. The state is that of this replica,
// which may lag; make a linearizable read before if it must not.
func (g *group) Backup(ctx context.Context, w io.Writer) (consensus.BackupInfo, error) {
	var none consensus.BackupInfo
	if g.applier == nil {
		return none, fmt.Errorf("%w: a witness has no state", consensus.ErrUnsupported)
	}
	ctx, cancel := consensus.WithDefaultDeadline(ctx)
	defer cancel()
	all, _, err := g.Members(ctx)
	if err != nil {
		return none, err
	}
	dir, err := os.MkdirTemp(g.h.o.Dir, exportPrefix)
	if err != nil {
		return none, err
	}
	defer os.RemoveAll(dir)
	index, err := g.h.nh.SyncRequestSnapshot(ctx, uint64(g.id), raft.SnapshotOption{Exported: true, ExportPath: dir})
	if err != nil {
		return none, requestError(g.config.Name, err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(found) == 0 {
		return none, fmt.Errorf("%w: the exported snapshot has no files", errors.Join(consensus.ErrDamaged, err))
	}
	info := consensus.BackupInfo{
		Group: g.config.Name, Index: index, Term: g.Status().Term, Time: time.Now().UTC(), Node: g.h.o.Node, Members: all,
	}
	for _, name := range found {
		if s, err := os.Stat(name); err == nil {
			info.Bytes += s.Size()
		}
	}
	return info, writeBackup(w, info, found)
}

func writeBackup(w io.Writer, info consensus.BackupInfo, files []string) error {
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint32([]byte(backupMagic), uint32(len(text)))
	if _, err := out.Write(append(head, text...)); err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	for _, name := range files {
		if err := addFile(archive, name); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

func addFile(archive *tar.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Name: filepath.Base(name), Mode: 0o600, Size: s.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}

// trailing passes on all but the last bytes of a stream, which are a checksum
// of what is before them.
type trailing struct {
	r    io.Reader
	sum  hash.Hash
	held []byte // read, not passed on
	end  error
}

func (t *trailing) Read(b []byte) (int, error) {
	for t.end == nil && len(t.held) < sumSize+len(b) {
		n := len(t.held)
		t.held = append(t.held, make([]byte, sumSize+len(b)-n)...)
		var m int
		m, t.end = t.r.Read(t.held[n:])
		t.held = t.held[:n+m]
	}
	n := min(len(b), len(t.held)-sumSize)
	if n <= 0 {
		return 0, t.end
	}
	copy(b, t.held[:n])
	t.sum.Write(t.held[:n])
	t.held = t.held[:copy(t.held, t.held[n:])]
	return n, nil
}

// check reads to the end and compares.
func (t *trailing) check() error {
	if _, err := io.Copy(io.Discard, t); err != nil {
		return err
	}
	if len(t.held) != sumSize || !bytes.Equal(t.held, t.sum.Sum(nil)) {
		return fmt.Errorf("%w: the backup does not match its checksum: it was cut off or changed", consensus.ErrDamaged)
	}
	return nil
}

// CheckBackup reads a backup to its end and returns what it is of. The error
// wraps [consensus.ErrDamaged].
func CheckBackup(r io.Reader) (consensus.BackupInfo, error) { return readBackup(r, "") }

// readBackup unpacks a backup into the directory into, or only checks it.
func readBackup(r io.Reader, into string) (info consensus.BackupInfo, err error) {
	t := &trailing{r: r, sum: sha256.New()}
	damaged := func(err error) error {
		return fmt.Errorf("%w: the backup can't be read: %w", consensus.ErrDamaged, err)
	}
	var head [len(backupMagic) + 4]byte
	if _, err := io.ReadFull(t, head[:]); err != nil {
		return info, damaged(err)
	}
	n := binary.LittleEndian.Uint32(head[len(backupMagic):])
	if string(head[:len(backupMagic)]) != backupMagic || n > maxInfo {
		return info, fmt.Errorf("%w: this is no backup of a group", consensus.ErrDamaged)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(t, text); err != nil {
		return info, damaged(err)
	}
	archive := tar.NewReader(t)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return info, damaged(err)
		}
		if into == "" {
			continue
		}
		if err := unpack(archive, filepath.Join(into, filepath.Base(h.Name))); err != nil {
			return info, err
		}
	}
	if err := t.check(); err != nil { // before anything of it is believed
		return info, err
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return info, damaged(err)
	}
	return info, nil
}

func unpack(r io.Reader, name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}

// Restore writes a backup into this node's data directory as a replica of the
// group, whose members will be the given ones, all voters. The host must not
// run. Do the same on every member, with the same backup and members; then
// start the group on each, without Members and without Join.
//
// Everything that was committed after info.Index is lost. If a majority of the
// old members lives, don't: add members instead. Old members must never run
// again beside the new ones, so their numbers can't be used: an error that
// wraps [consensus.ErrConfig] says so.
func Restore(o Options, backup io.Reader, members map[consensus.ReplicaID]consensus.NodeID, replica consensus.ReplicaID) (info consensus.BackupInfo, err error) {
	if err := o.setDefaults(); err != nil {
		return info, err
	}
	if members[replica] != o.Node {
		return info, fmt.Errorf("%w: replica %d is not this node, %s, among the new members", consensus.ErrConfig, replica, o.Node)
	}
	dir, err := openDirectory(&o)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	tmp, err := os.MkdirTemp(o.Dir, importPrefix)
	if err != nil {
		return info, err
	}
	defer os.RemoveAll(tmp)
	if info, err = readBackup(backup, tmp); err != nil {
		return info, err
	}
	targets := make(map[uint64]string)
	for r, node := range members {
		targets[uint64(r)] = string(node)
	}
	for _, old := range info.Members {
		if now, ok := members[old.Replica]; ok {
			return info, fmt.Errorf("%w: replica %d was node %s's, and can't be %s's: a number is used once; take others, from %d",
				consensus.ErrConfig, old.Replica, old.Node, now, maxReplica(info.Members)+1)
		}
	}
	o.transport = transports{&o}
	return info, importSnapshot(&o, tmp, targets, uint64(replica))
}

func maxReplica(all []consensus.Member) (most consensus.ReplicaID) {
	for _, m := range all {
		most = max(most, m.Replica)
	}
	return most
}

func importSnapshot(o *Options, dir string, targets map[uint64]string, replica uint64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: importing the snapshot: %v", consensus.ErrDamaged, r)
		}
	}()
	if err := tools.ImportSnapshot(o.hostConfig(nil), dir, targets, replica); err != nil {
		return openError(o.Dir, err)
	}
	return nil
}
