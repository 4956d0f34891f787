package capsid

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sweepOrphans ends what bubblewrap has left of starts whose node was killed in
// a moment of a few microseconds: its first process has asked to end with the
// node, and has not yet told the second one, which waits for that word, to go
// on. It returns how many there were.
//
// What is looked for: a bubblewrap that was to execute the shim, in the process
// group of a first process that is no more. The group keeps that one's number
// from being given to another, and of the cells of a living node the first
// process is there, or the rest is about to be ended.
func sweepOrphans() (found int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !isOrphan(pid) {
			continue
		}
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// Looked at again, now that the number can't come to mean another.
		if isOrphan(pid) && unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0) == nil {
			found++
		}
		unix.Close(pidfd)
	}
	return found
}

func isOrphan(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || !strings.HasPrefix(string(text), fmt.Sprintf("%d (bwrap) ", pid)) {
		return false
	}
	st, err := parseStat(string(text))
	// A group of 0 was made outside of this pid namespace, where nobody here sees
	// whether its first process lives.
	if err != nil || st.pgrp == 0 || st.pgrp == pid || exists(fmt.Sprintf("/proc/%d", st.pgrp)) {
		return false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(line, []byte("\x00--\x00"+shimPath+"\x00"))
}
