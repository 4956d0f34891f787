package capsidtest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// tellsEnds reports whether the kernel tells how a process ended that another one has
// reaped (PIDFD_INFO_EXIT, Linux 6.15). Before that, what waits for a cell behind
// walls says 137 both of SIGKILL and of an exit with that status.
func tellsEnds() bool {
	var name unix.Utsname
	var major, minor int
	if err := unix.Uname(&name); err != nil {
		return false
	}
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 15)
}
