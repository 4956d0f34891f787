package capsid

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/sched"
)

// probeWalls says what the kernel gives, for the backends with walls.
func probeWalls(root bool, abi int) []sched.Finding {
	return []sched.Finding{probeUser(root), probeUserNamespaces(root), probeLandlock(abi), probeGroups()}
}

func probeUser(root bool) sched.Finding {
	f := sched.Finding{ID: "capsid.user", Evidence: fmt.Sprintf("this process is uid %d", os.Geteuid())}
	if root {
		f.What = "each cell gets a user of its own that nobody else has"
		return f
	}
	f.Severity = sched.Info
	f.What = "cells can't get users of their own: namespaces alone keep them apart"
	f.Fix = "run the node as root, which it needs for nothing else"
	return f
}

func probeUserNamespaces(root bool) sched.Finding {
	f := sched.Finding{ID: "capsid.userns", What: "this process may make user namespaces", Evidence: "one was made, and no setting restricts them"}
	closed := closedUserNamespaces()
	if len(closed) == 0 {
		return f
	}
	var evidence, fixes []string
	for _, c := range closed {
		evidence = append(evidence, c.what)
		fixes = append(fixes, c.fix)
	}
	f.Evidence = strings.Join(evidence, ", ")
	f.What, f.Severity = "processes may not make user namespaces, which a node that is root does without", sched.Info
	if !root {
		f.What, f.Severity = "this process may not make user namespaces", sched.Problem
		f.Fix = strings.Join(fixes, "; ") + "; or run the node as root"
	}
	return f
}

// closedDoor is what keeps a process from making user namespaces.
type closedDoor struct{ what, fix string }

// userNamespaceSettings are the kernel's.
var userNamespaceSettings = []struct{ file, bad, fix string }{
	{"/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "cp dist/apparmor/cellnode-bwrap /etc/apparmor.d/ && apparmor_parser -r /etc/apparmor.d/cellnode-bwrap"},
}

// closedUserNamespaces says why no user namespaces can be made: by the kernel's
// settings, and where those say nothing, by trying.
func closedUserNamespaces() (closed []closedDoor) {
	if !exists("/proc/self/ns/user") {
		return []closedDoor{{"the kernel has no user namespaces", "a kernel with CONFIG_USER_NS"}}
	}
	for _, s := range userNamespaceSettings {
		text, err := os.ReadFile(s.file)
		if v := strings.TrimSpace(string(text)); err == nil && v == s.bad {
			closed = append(closed, closedDoor{s.file + " is " + v, s.fix})
		}
	}
	if len(closed) > 0 {
		return closed
	}
	switch err := tryUserNamespace(); {
	case errors.Is(err, unix.ENOSPC):
		return []closedDoor{{"as many as user.max_user_namespaces allows exist", "sysctl -w user.max_user_namespaces=15000"}}
	case err != nil:
		return []closedDoor{{"making one fails: " + err.Error(),
			"in a container allow it: a seccomp profile that permits unshare (docker run --security-opt seccomp=unconfined), and a user that the container's own namespace maps"}}
	}
	return nil
}

// tryUserNamespace starts the shim in a user namespace, where it ends at once for
// want of a command.
func tryUserNamespace() error {
	f, err := shimFile()
	if err != nil {
		return nil // which has a finding of its own
	}
	// By its own descriptor: from inside, this process's are out of reach.
	p, err := os.StartProcess("/proc/self/fd/3", []string{"cell-shim"}, &os.ProcAttr{
		Files: []*os.File{nil, nil, nil, f}, Sys: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER},
	})
	if err != nil {
		return err
	}
	_, err = p.Wait()
	return err
}

func probeLandlock(abi int) sched.Finding {
	f := sched.Finding{ID: "capsid.landlock", What: "Landlock holds cells to their files, signals and sockets", Evidence: fmt.Sprintf("version %d of its interface", abi)}
	if _, missing := confine(abi, nil); missing != "" {
		f.Severity, f.What = sched.Info, missing
		f.Fix = "a kernel of 6.12 or later, with landlock among lsm= at boot"
	}
	return f
}

func probeGroups() sched.Finding {
	f := sched.Finding{ID: "capsid.cgroup", What: "limits of memory, processes and CPU can be set"}
	all := []string{"memory", "pids", "cpu", "cpuset"}
	have, lack := groupsHere(all)
	var evidence, fixes []string
	for _, c := range all {
		if how := have[c]; how != "" {
			evidence = append(evidence, c+" "+how)
		}
	}
	for _, l := range lack {
		one := sched.Finding{}
		blame(&one, l.err, "run the node as root")
		evidence = append(evidence, strings.Join(l.controllers, ", ")+": "+one.Evidence)
		fixes = append(fixes, one.Fix)
	}
	f.Evidence = strings.Join(evidence, "; ")
	if len(lack) > 0 {
		f.Severity, f.Fix = sched.Warning, strings.Join(fixes, "; ")
		f.What = "not all limits can be set; cells that ask for them are not started, unless their limits say missing = rlimits"
	}
	return f
}

// lacking is why some controllers can't be had.
type lacking struct {
	controllers []string
	err         error
}

// groupsHere says which controllers can be had, and how, and why others can't:
// those that fail alike stand together.
func groupsHere(controllers []string) (have map[string]string, lack []lacking) {
	have = map[string]string{}
	p, placesErr := places()
	for _, c := range controllers {
		h, err := hierarchy{}, placesErr
		if err == nil {
			h, err = p.of(c, false)
		}
		if err != nil {
			i := slices.IndexFunc(lack, func(l lacking) bool { return alike(l.err, err) })
			if i < 0 {
				i, lack = len(lack), append(lack, lacking{err: err})
			}
			lack[i].controllers = append(lack[i].controllers, c)
			continue
		}
		have[c] = "(version 1)"
		if h.v2 {
			have[c] = "(version 2)"
		}
	}
	_ = Sweep()
	return have, lack
}

// alike reports whether two errors ask for the same mending for the same reason.
func alike(a, b error) bool {
	var x, y *mendable
	if !errors.As(a, &x) || !errors.As(b, &y) {
		return a.Error() == b.Error()
	}
	var e, g unix.Errno
	return x.fix == y.fix && errors.As(a, &e) == errors.As(b, &g) && e == g
}

// CanLimit says why the limits can't be set on this host, in the words of Start,
// or nil. l.Missing is not looked at.
func CanLimit(l Limits) error {
	need := l.needsGroup()
	if len(need) == 0 {
		return nil
	}
	_, lack := groupsHere(need)
	var all []error
	for _, l := range lack {
		all = append(all, fmt.Errorf("%w: %s: %w", ErrUnavailable, strings.Join(l.controllers, ", "), l.err))
	}
	return errors.Join(all...)
}
