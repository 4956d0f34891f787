package capsid

import (
	"fmt"
	"os"
	"strings"

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
	f := sched.Finding{ID: "capsid.userns", What: "an unprivileged process may make user namespaces"}
	var closed []string
	for file, bad := range map[string]string{
		"/proc/sys/user/max_user_namespaces":                     "0",
		"/proc/sys/kernel/unprivileged_userns_clone":             "0",
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
	} {
		text, err := os.ReadFile(file)
		if v := strings.TrimSpace(string(text)); err == nil && v == bad {
			closed = append(closed, file+" is "+v)
		}
	}
	if !exists("/proc/self/ns/user") {
		closed = append(closed, "the kernel has no user namespaces (CONFIG_USER_NS)")
	}
	f.Evidence = strings.Join(closed, ", ")
	if len(closed) == 0 {
		f.Evidence = "user.max_user_namespaces is not 0, and nothing else restricts them"
		return f
	}
	f.What = "an unprivileged process may not make user namespaces"
	f.Severity = sched.Info // root needs none
	if !root {
		f.Severity = sched.Problem
		f.Fix = "run the node as root; or sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1; on Ubuntu install an AppArmor profile for bwrap"
	}
	return f
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
	p, err := places()
	var have, lack []string
	for _, c := range []string{"memory", "pids", "cpu", "cpuset"} {
		if err == nil {
			var h hierarchy
			if h, err = p.of(c); err == nil {
				version := 1
				if h.v2 {
					version = 2
				}
				have = append(have, fmt.Sprintf("%s (version %d)", c, version))
				continue
			}
		}
		lack = append(lack, fmt.Sprintf("%s: %v", c, err))
		err = nil
	}
	_ = Sweep()
	f.Evidence = strings.Join(append(have, lack...), "; ")
	if len(lack) > 0 {
		f.Severity = sched.Warning
		f.What = "not all limits can be set; cells that ask for them are not started, unless their limits say missing = rlimits"
		f.Fix = "run the node as root, or under systemd with Delegate=yes (for a user's manager: Delegate=cpu cpuset memory pids in user@.service.d)"
	}
	return f
}
