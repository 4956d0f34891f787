package ring

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Who a process is, beyond its pid, which the kernel gives to another one
// later: the low half of its start time, in ticks since boot. Two processes
// that share pid and this half are 1.4 years apart.

// processID packs both into one word. A start of 0 means unknown.
func processID(pid int, start uint32) uint64 { return uint64(uint32(pid))<<32 | uint64(start) }

func pidOf(id uint64) uint32   { return uint32(id >> 32) }
func startOf(id uint64) uint32 { return uint32(id) }

// self is this process's identity.
var self = sync.OnceValue(func() uint64 {
	start, _ := processStart(os.Getpid()) // 0 where there is no /proc
	return processID(os.Getpid(), start)
})

// processGone reports whether the process with that identity has certainly
// ended. Every doubt (no permission to look, no /proc) counts as life.
func processGone(id uint64) bool {
	pid := int(int32(pidOf(id)))
	if id == self() || pid <= 0 {
		return false
	}
	// A pidfd is readable when all threads have ended, also that of a zombie,
	// for which kill succeeds and which keeps its start time.
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		defer unix.Close(fd)
		if hasEnded(fd) {
			return true
		}
	} else if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return true
	}
	start, err := processStart(pid)
	return err == nil && start != 0 && startOf(id) != 0 && start != startOf(id)
}

// hasEnded asks a pidfd without waiting.
func hasEnded(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&unix.POLLIN != 0
}

// processStart reads the low half of field 22 of /proc/PID/stat (proc(5)).
func processStart(pid int) (start uint32, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStart(b)
}

var errStat = errors.New("ring: not a line of /proc/PID/stat")

// parseStart finds the start time. The name of the program, field 2, stands in
// brackets and may contain anything, brackets and spaces too.
func parseStart(stat []byte) (start uint32, err error) {
	const behindName = 22 - 3 // field 3 is the first behind the name
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errStat
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= behindName {
		return 0, errStat
	}
	ticks, err := strconv.ParseUint(string(fields[behindName]), 10, 64)
	if err != nil {
		return 0, errStat
	}
	return uint32(ticks), nil
}
