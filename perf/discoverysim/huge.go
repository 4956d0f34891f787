package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hugePages asks the kernel, every second, to back the heap by huge pages
// (madvise(2), MADV_HUGEPAGE, and MADV_COLLAPSE for what is there already: by itself
// the kernel gathers some megabytes a minute). A step reads here and there in a table
// of its node, and with ten thousand nodes three quarters of its time would be spent
// on finding where pages are. Where the kernel refuses, the simulation takes longer.
func hugePages() {
	for {
		adviseHeap()
		time.Sleep(time.Second)
	}
}

// worthwhile is the least mapping that is asked for, in bytes.
const worthwhile = 4 << 20

// adviseHeap asks for what is mapped now without a file (proc(5), maps): the heap,
// and little else.
func adviseHeap() {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		var may, offset, device, file string
		_, err := fmt.Sscanf(lines.Text(), "%x-%x %s %s %s %s", &from, &to, &may, &offset, &device, &file)
		if err == nil && strings.HasPrefix(may, "rw") && file == "0" && to-from >= worthwhile {
			for _, advice := range []uintptr{unix.MADV_HUGEPAGE, unix.MADV_COLLAPSE} {
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, advice)
			}
		}
	}
}
