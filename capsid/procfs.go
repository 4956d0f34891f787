package capsid

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// stat is what of /proc/PID/stat is needed here (proc_pid_stat(5)).
type stat struct {
	ppid, pgrp   int
	utime, stime int64 // in USER_HZ
	threads      int
	start        uint64 // after boot, in USER_HZ
	rss          int64  // pages
}

// readStat reads /proc/PID/stat.
func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(text))
}

func parseStat(text string) (stat, error) {
	// The name in brackets may contain anything, brackets too.
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 22 {
		return stat{}, fmt.Errorf("capsid: %.40q is no line of /proc/PID/stat", text)
	}
	var s stat
	var err error
	number := func(field int) int64 { // numbered as in the manual, from 1
		n, e := strconv.ParseInt(f[field-3], 10, 64)
		if e != nil {
			err = fmt.Errorf("capsid: field %d of /proc/PID/stat: %w", field, e)
		}
		return n
	}
	s.ppid, s.pgrp, s.utime, s.stime = int(number(4)), int(number(5)), number(14), number(15)
	s.threads, s.start, s.rss = int(number(20)), uint64(number(22)), number(24)
	return s, err
}
