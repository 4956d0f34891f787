package capsid

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What is the same behind bubblewrap and in a container: the walls that the shim puts
// up inside, and which part of the host's file system a cell sees.

// checkWalled refuses what no backend with walls starts.
func checkWalled(s Spec) error {
	if s.Seccomp == "off" && !s.AllowUnfiltered {
		return fmt.Errorf("%w: Seccomp of %s is off, which AllowUnfiltered must allow", ErrSpec, s.Name)
	}
	if _, err := os.Stat(s.Command[0]); err != nil && s.Command[0] != shimPath {
		return fmt.Errorf("%w: the program of %s: %w", ErrStart, s.Name, err)
	}
	return nil
}

// trusted refuses a program that is to make walls where others could exchange it, and,
// where root runs it, one that is setuid. install says how to have it.
func trusted(path, install string, root bool) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return mend(install, "%w: %s: %w", ErrUnavailable, path, err)
	}
	if st.Mode&0o022 != 0 || st.Uid != 0 && st.Uid != uint32(os.Geteuid()) {
		fix := fmt.Sprintf("chown root %[1]s && chmod go-w %[1]s", path)
		if !mapped(st.Uid) { // whom it really belongs to, nobody can tell or change from here
			fix = fmt.Sprintf("this user namespace does not map its owner: have a copy that belongs to you earlier in PATH (install -D -m 755 %s $HOME/bin/%s)", path, filepath.Base(path))
		}
		return mend(fix, "%w: %s has mode %04o and belongs to uid %d, so that others could exchange it", ErrUnavailable, path, st.Mode&0o7777, st.Uid)
	}
	if root && st.Mode&unix.S_ISUID != 0 {
		return mend("chmod u-s "+path, "%w: %s is setuid (mode %04o), which a node that is root does not need", ErrUnavailable, path, st.Mode&0o7777)
	}
	return nil
}

// innerWalls decides what the shim does, and takes what has to be given back. root
// says that cells get users of their own, abi which Landlock there is.
func innerWalls(l *launch, root bool, abi int) error {
	s := l.spec
	var missing string
	l.config = shimConfig{flags: shimDropCaps | shimDeathSig, limits: s.Limits.rlimits()}
	var err error
	if s.Limits.Background {
		l.config.flags |= shimBehind
	}
	if l.config.filter, err = filterOf(s.Seccomp); err != nil {
		return err
	}
	if l.config.landlock, missing = confine(abi, placesOf(s)); missing != "" {
		l.degraded = append(l.degraded, missing)
	}
	if !root {
		l.degraded = append(l.degraded, fmt.Sprintf("no user of its own: the node is not root, so the kernel knows all its cells as uid %d", os.Geteuid()))
	}
	var said []string
	if l.group, said, err = newGroup(s); err != nil {
		return err
	}
	if len(said) > 0 {
		l.degraded = append(l.degraded, said...)
		l.config.limits = append(l.config.limits, s.Limits.substitutes()...)
	}
	if root {
		users, err := cellUsers()
		if err == nil {
			l.uid, err = users.take()
		}
		if err != nil {
			return errors.Join(err, l.group.remove())
		}
		l.release = func() { users.give(l.uid) }
		l.config.flags |= shimUID
		l.config.uid, l.config.gid = l.uid, l.uid
	}
	return nil
}

// shimPath is where the shim lies inside.
const shimPath = "/.cell-shim"

// devices are all that a capsid's /dev has.
var devices = []string{"/dev/null", "/dev/zero", "/dev/urandom"}

// system are the folders of Files.System. On most hosts all but /usr are
// symbolic links into it.
var system = []string{"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives"}

// covered says whether a path lies below one that Files names.
func covered(path string, f Files) bool {
	named := slices.Concat(f.ReadOnly, f.ReadWrite)
	if f.System {
		named = append(named, system...)
	}
	return slices.ContainsFunc(named, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

// placesOf is the same file system as Landlock sees it.
func placesOf(s Spec) []place {
	all := []place{{path: s.Command[0], file: true}}
	for _, d := range devices {
		all = append(all, place{path: d, file: true, write: true, device: true})
	}
	if s.Files.System {
		for _, p := range system {
			all = append(all, place{path: p, optional: true, file: p == "/etc/ld.so.cache"})
		}
	}
	if s.Files.Proc {
		all = append(all, place{path: "/proc"})
	}
	if s.Files.TmpSize > 0 {
		all = append(all, place{path: "/tmp", write: true})
	}
	for i, paths := range [][]string{s.Files.ReadOnly, s.Files.ReadWrite} {
		for _, p := range paths {
			st, err := os.Stat(p)
			all = append(all, place{path: p, write: i == 1, file: err == nil && !st.IsDir()})
		}
	}
	return all
}
