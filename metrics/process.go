package metrics

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// process identifies a process beyond the life of its number: PIDs are
// reused, but not with the same start time within one boot.
type process struct {
	pid   int
	start uint64 // field 22 of /proc/PID/stat, clock ticks since boot
	boot  [16]byte
}

// thisProcess identifies the caller.
func thisProcess() (process, error) { return processOf(os.Getpid()) }

// processOf identifies a process that runs.
func processOf(pid int) (process, error) {
	p := process{pid: pid}
	var err error
	if p.start, _, err = readStat(pid); err != nil {
		return process{}, fmt.Errorf("metrics: learning when process %d was started (is /proc mounted?): %w", pid, err)
	}
	if p.boot, err = bootID(); err != nil {
		return process{}, fmt.Errorf("metrics: learning the kernel's boot id: %w", err)
	}
	return p, nil
}

// alive reports whether the process still runs. In doubt it does: who asks is
// about to take its file away.
func (p process) alive() bool {
	if p.pid <= 0 {
		return false
	}
	if boot, err := bootID(); err == nil && boot != p.boot {
		return false
	}
	start, state, err := readStat(p.pid)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	// Z and X: dead, only not reaped yet.
	return start == p.start && state != 'Z' && state != 'X'
}

// readStat returns start time and state of a process; see proc_pid_stat(5).
func readStat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The second field is the command in parentheses and may contain both
	// spaces and parentheses; count from the last one.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return 0, 0, fmt.Errorf("metrics: /proc/%d/stat has an unknown form", pid)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0], err
}

// bootID returns the random id that the kernel drew at boot.
func bootID() (id [16]byte, err error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id, err
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(b)), "-", ""))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("metrics: boot id %q has an unknown form", b)
	}
	return [16]byte(raw), nil
}
