package ring

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv makes this binary play the other process of a test: a name from
// children, then its arguments.
const childEnv = "CELL_RING_TEST_CHILD"

// children are the other processes; each file registers its own in init.
var children = map[string]func(args []string){}

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(childEnv)); len(words) > 0 {
		play, ok := children[words[0]]
		if !ok {
			fmt.Fprintln(os.Stderr, "child: no role", words[0])
			os.Exit(2)
		}
		play(words[1:])
		os.Exit(0)
	}
	status := m.Run()
	if left := leftBehind(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "ring: the tests left behind:", left)
		status = max(status, 1)
	}
	os.Exit(status)
}

// leftBehind lists rings and doorbells that are still open or mapped.
func leftBehind() (left []string) {
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && (strings.HasPrefix(target, "/memfd:cell") || isBell(fd)) {
			left = append(left, fd+" "+target)
		}
	}
	for _, line := range ringMappings() {
		left = append(left, "mapping "+line)
	}
	return left
}

// isBell says whether the descriptor behind a path in /proc/self/fd is an end of
// a doorbell.
func isBell(path string) bool {
	fd, err := strconv.Atoi(filepath.Base(path))
	if err != nil {
		return false
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && kind == unix.SOCK_SEQPACKET
}

// ringMappings returns the lines of /proc/self/maps that show rings.
func ringMappings() (lines []string) {
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "/memfd:cell") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// emulated reports whether a user-mode emulator runs this test: it can't start
// this binary again, and it knows only some of the kernel's calls.
func emulated() bool { return os.Getenv("CELL_EMULATED") != "" }

// brief reports whether a few rounds must do, since each of them takes long or the
// caller has asked for it.
func brief() bool { return testing.Short() || emulated() || quarantineCosts }

// keepsOrder reports whether stores and later loads keep the order that the
// processor promises. qemu-user was seen to break it for arm64 on an x86 host:
// it fences before STLR and after LDAR, but not between the two, as the
// architecture demands (both are RCsc).
func keepsOrder() bool { return !emulated() || runtime.GOARCH != "arm64" }

func skipEmulated(t testing.TB, why string) {
	t.Helper()
	if emulated() {
		t.Skip("emulated processor: " + why)
	}
}
