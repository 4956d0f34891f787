package sched

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// maxFile bounds what is read of one file. The largest that is read is
// /proc/interrupts: some 12 bytes for each CPU and line.
const maxFile = 16 << 20

// Host is a machine as its /proc and /sys describe it. It only reads. The
// methods may be called from any goroutine; nothing is cached, so each call
// sees the machine as it is then.
type Host struct {
	fsys fs.FS
}

// Local returns the machine this process runs on.
func Local() *Host { return NewHost(os.DirFS("/")) }

// NewHost returns the machine whose root directory is root: paths such as
// proc/self/status and sys/devices/system/cpu/online are looked up in it. A
// recorded machine, or a container's view below /proc/PID/root, can be passed.
func NewHost(root fs.FS) *Host { return &Host{fsys: root} }

// text returns the content of a file without surrounding white space. path is
// relative to the root, as io/fs wants it.
func (h *Host) text(path string) (string, error) {
	f, err := h.fsys.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// The size that Stat gives for files of /proc and /sys is meaningless.
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("/%s: %w", path, err)
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("/%s: more than %d bytes", path, maxFile)
	}
	return strings.TrimSpace(string(b)), nil
}

// str is text for files whose absence is an answer: "" then.
func (h *Host) str(path string) string {
	s, err := h.text(path)
	if err != nil {
		return ""
	}
	return s
}

// integer reads a file with one decimal number.
func (h *Host) integer(path string) (n int64, ok bool) {
	n, err := strconv.ParseInt(h.str(path), 10, 64)
	return n, err == nil
}

// number is integer with a value to assume when there is none.
func (h *Host) number(path string, otherwise int64) int64 {
	if n, ok := h.integer(path); ok {
		return n
	}
	return otherwise
}

// cpus reads a file with a CPU list. A missing file is the empty set.
func (h *Host) cpus(path string) (CPUSet, error) {
	list := h.str(path)
	if list == "(null)" { // what nohz_full holds when it was never set
		list = ""
	}
	s, err := ParseCPUList(list)
	if err != nil {
		return CPUSet{}, fmt.Errorf("/%s: %w", path, err)
	}
	return s, nil
}

// field returns what follows "name:" in a file of such lines, as
// /proc/self/status and /proc/cpuinfo are.
func field(text, name string) string {
	for line := range strings.SplitSeq(text, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// chosen returns the bracketed word of a sysfs choice, "always [madvise]
// never", or the whole text where nothing is bracketed.
func chosen(choice string) string {
	_, rest, ok := strings.Cut(choice, "[")
	if !ok {
		return choice
	}
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// limitSoft returns the soft limit of a line of /proc/self/limits, whose
// columns are the name, the soft limit, the hard limit and the unit.
func limitSoft(limits, name string) string {
	for line := range strings.SplitSeq(limits, "\n") {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				return f[0]
			}
		}
	}
	return ""
}
