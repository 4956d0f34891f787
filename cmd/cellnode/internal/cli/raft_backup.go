package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/consensus"
	"github.com/cell-runtime/cell/consensus/cluster/admin"
	"github.com/cell-runtime/cell/node/raftnode"
)

func newRaftBackup(env *Env) *cobra.Command {
	var timeout time.Duration
	var force bool
	cmd := &cobra.Command{
		Use:   "backup GROUP FILE",
		Short: "Write a group's state into a file, with a checksum",
		Long: `Writes the state of a group, with all that was acknowledged before, into a new file.
The file is there whole, or not at all; one that is there already is left alone,
unless --force is given. cellnode raft check reads one to its end.`,
		Example: "  cellnode raft backup orders orders.backup",
		Args:    cobra.ExactArgs(2),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long it may take")
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := os.Lstat(args[1]); err == nil && !force { // before the work; place has the last word
			return fmt.Errorf("%w: %s: name another file, or say --force", fs.ErrExist, args[1])
		}
		if _, err := os.Stat(filepath.Dir(args[1])); err != nil {
			return fmt.Errorf("there is no folder for %s: %w: make it, or name another file", args[1], err)
		}
		return raftDo(cmd, env, timeout, func(ctx context.Context, m *admin.RaftClient) error {
			info, err := backup(ctx, m, args[0], args[1], force)
			if err != nil {
				return err
			}
			return env.Show(saved{info.Group, info.Index, info.Term, info.Bytes}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "group %q at index %d, term %d, %d bytes, is in %s\n", info.Group, info.Index, info.Term, info.Bytes, args[1])
				return err
			})
		})
	}
	return cmd
}

// backup receives a backup into a file, which is there whole or not at all.
// saved is a backup for programs.
type saved struct {
	Group string `json:"group"`
	Index uint64 `json:"index"` // of the last entry that is in it
	Term  uint64 `json:"term"`
	Bytes int64  `json:"bytes"` // of the state
}

func backup(ctx context.Context, m *admin.RaftClient, group, file string, force bool) (info admin.BackupInfo, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".new")
	if err != nil {
		return info, err
	}
	defer os.Remove(f.Name()) // does nothing after the rename
	defer f.Close()
	s, err := m.Backup(ctx, admin.Place{Group: group})
	if err != nil {
		return info, err
	}
	for {
		c, err := s.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return info, err
		}
		if _, err := f.Write(c.Data); err != nil {
			return info, err
		}
	}
	if info, err = s.Reply(); err != nil {
		return info, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return info, err
	}
	return info, place(f.Name(), file, force)
}

// place gives a finished file its name, durably. Without force, not that of a
// file that is there.
func place(finished, file string, force bool) error {
	var err error
	if !force {
		err = unix.Renameat2(unix.AT_FDCWD, finished, unix.AT_FDCWD, file, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // not on every file system
			err = os.Link(finished, file) // nor does this replace; the first name is removed by the caller
		}
	} else {
		err = os.Rename(finished, file)
	}
	if err != nil {
		return fmt.Errorf("the backup can't be named %s: %w", file, err)
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func newRaftCheck(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE|DIR",
		Short: "Read a backup, or a member's data directory, and say whether it is whole",
		Long: `Reads a backup to its end and compares its checksum; or looks at the data directory
of a member that does not run: what it has promised, whose it is, whether its store
opens, which compares the checksums of its logs, and how far each log must go. The
exit code is 1 where something is damaged, and the message says what to do.`,
		Example: "  cellnode raft check orders.backup\n  cellnode raft check /var/lib/cell/raft",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			var found []string
			if s.IsDir() {
				found, err = raftnode.CheckDir(args[0])
			} else {
				found, err = checkFile(args[0])
			}
			if err != nil {
				return err
			}
			return env.Show(found, func(w io.Writer) error {
				for _, line := range append(found, "in order") {
					if _, err := fmt.Fprintln(w, line); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func checkFile(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	i, err := raftnode.CheckBackup(f)
	if err != nil {
		return nil, err
	}
	found := []string{fmt.Sprintf("a backup of group %q at index %d, made %s by node %s", i.Group, i.Index, i.Time.Format(time.RFC3339), i.Node)}
	for _, m := range i.Members {
		found = append(found, fmt.Sprintf("member %d was node %s, %v", m.Replica, m.Node, m.Role))
	}
	return found, nil
}

func newRaftRestore(env *Env) *cobra.Command {
	var dir string
	var members []string
	var replica uint64
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Write a backup of the tables into the data directory of a new member",
		Long: `Makes a data directory in which the group "cluster" is what the backup has. Do it on every new
member, with the same file and the same --member flags; then start them. It is for
when a majority of the group is gone for good: whatever was committed after the
backup is lost, old members must never run beside the new ones, and numbers that
the old ones had are refused. If a majority lives, add members instead.`,
		Example: "  cellnode raft restore cluster.backup --dir /var/lib/cell/raft --replica 101 --member 101=n1-… --member 102=n1-…",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "data directory to make")
	cmd.Flags().StringArrayVar(&members, "member", nil, "`NUMBER=NODE` of a new member; once for each")
	cmd.Flags().Uint64Var(&replica, "replica", 0, "which of them this node is")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		all, err := parseMembers(members)
		if err != nil {
			return err
		}
		if dir == "" || all[consensus.ReplicaID(replica)] == "" {
			return usagef("name --dir, and one of the --member numbers by --replica")
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		i, err := raftnode.Restore(raftnode.Settings{Dir: dir, Listen: "127.0.0.1:0"}, f, all, consensus.ReplicaID(replica))
		if err != nil {
			return err
		}
		return env.Show(saved{i.Group, i.Index, i.Term, i.Bytes}, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "group %q at index %d is in %s; what was committed after that is lost\n", i.Group, i.Index, dir)
			return err
		})
	}
	return cmd
}

func parseMembers(texts []string) (map[consensus.ReplicaID]consensus.NodeID, error) {
	all := map[consensus.ReplicaID]consensus.NodeID{}
	for _, t := range texts {
		number, node, ok := strings.Cut(t, "=")
		n, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || n == 0 || node == "" || all[consensus.ReplicaID(n)] != "" {
			return nil, usagef("--member %q: a NUMBER=NODE, each number once", t)
		}
		all[consensus.ReplicaID(n)] = consensus.NodeID(node)
	}
	return all, nil
}
