package capsid

import "golang.org/x/sys/unix"

// landlockABI asks the kernel which version of Landlock it has; 0 is none.
func landlockABI() int {
	n, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(n)
}
