package ring

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What memory ordering rests on below Go's memory model is what the compiler
// makes of a few functions. These tests read that.

// instruction is one line of the compiler's listing.
type instruction struct {
	file string // of the source, without its folder
	op   string
	args string
}

var (
	functionStart = regexp.MustCompile(`^\S+/ring\.(\S+) STEXT`)
	listed        = regexp.MustCompile(`^\t0x[0-9a-f]+ [0-9]+ \(([^):]*)(?::[0-9]+)?\)\t(\S+)(?:\t(.*))?$`)
)

// listing compiles this package for arch and returns its functions, and what
// the compiler says about inlining.
func listing(t *testing.T, arch string) (functions map[string][]instruction, remarks string) {
	t.Helper()
	skipEmulated(t, "there is no compiler in there")
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not in PATH")
	}
	cmd := exec.Command("go", "build", "-gcflags=-S -m", ".")
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%.2000s", cmd, err, out)
	}
	functions = map[string][]instruction{}
	var rest strings.Builder
	name := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if m := functionStart.FindStringSubmatch(line); m != nil {
			name = m[1]
		} else if m := listed.FindStringSubmatch(line); m != nil && name != "" {
			functions[name] = append(functions[name], instruction{path.Base(m[1]), m[2], m[3]})
		} else if !strings.HasPrefix(line, "\t") {
			rest.WriteString(line + "\n")
		}
	}
	if len(functions) < 20 {
		t.Fatalf("only %d functions in the listing: has its form changed?\n%.2000s", len(functions), out)
	}
	return functions, rest.String()
}

// find returns where op stands in code, from source file if that is given.
func find(code []instruction, op, file string) (at []int) {
	for i, in := range code {
		if in.op == op && (file == "" || in.file == file) {
			at = append(at, i)
		}
	}
	return at
}

// atomicOps are what a publishing store must not be on amd64. XCHGL AX, AX is
// how the listing spells a no-op.
func locked(code []instruction) bool {
	return slices.ContainsFunc(code, func(in instruction) bool {
		return in.op == "LOCK" || in.op == "MFENCE" || strings.HasPrefix(in.op, "XCHG") && strings.Contains(in.args, "(")
	})
}

func TestMachineCodeOfAMD64(t *testing.T) {
	functions, remarks := listing(t, "amd64")
	for _, name := range []string{"(*Producer).Claim", "(*Producer).claimRun", "(*Producer).Commit", "(*Producer).Flush",
		"(*Producer).Write", "arena.writeLines", "arena.sealLines", "arena.readyLines", "arena.readLines", "(*Consumer).pollLine",
		"(*Consumer).poll", "(*Consumer).Release", "(*Consumer).give"} {
		if len(functions[name]) == 0 {
			t.Errorf("%s is not in the listing", name)
		}
		// A state that stops is the exception, out of line of what is hot.
		if name != "(*Consumer).poll" && name != "(*Producer).claimRun" && locked(functions[name]) {
			t.Errorf("%s has a locked instruction: %v", name, functions[name])
		}
	}

	flush := functions["(*Producer).Flush"]
	publish := find(flush, "MOVL", "order_amd64.go")
	if len(publish) != 1 || !strings.HasSuffix(flush[max(0, first(publish))].args, ")") {
		t.Fatalf("Flush does not publish by one MOVL to memory: %v", publish)
	}
	ordered(t, "Flush", flush, publish[0], func(in instruction) bool {
		return in.op == "MOVL" && strings.HasPrefix(in.args, "$0, (")
	}, func(in instruction) bool { return in.file == "sleep.go" && in.op == "MOVL" })

	// Write publishes a single record by its own commit word: behind all else of
	// the record, and before it looks whether anybody sleeps.
	write := functions["(*Producer).Write"]
	publish = find(write, "MOVQ", "order_amd64.go")
	if len(publish) != 1 || !strings.HasSuffix(write[publish[0]].args, ")") {
		t.Fatalf("Write does not publish by one MOVQ to memory: %v", publish)
	}
	for i, in := range write {
		filling := in.file == "lines_unsafe.go" && strings.HasPrefix(in.op, "MOV") && strings.HasSuffix(in.args, ")")
		if filling && i > publish[0] || in.file == "sleep.go" && i < publish[0] {
			t.Errorf("Write publishes at %d, and %v stands at %d", publish[0], in, i)
		}
	}

	give := functions["(*Consumer).give"]
	if stores := find(give, "MOVQ", "order_amd64.go"); len(stores) != 1 || !strings.HasSuffix(give[stores[0]].args, ")") {
		t.Errorf("Release does not publish the cursor by one MOVQ to memory: %v", stores)
	}
	for _, want := range []string{"can inline (*Consumer).Poll", "can inline (*waker).afterPublish", "can inline storeRelease32", "can inline storeRelease64"} {
		if !strings.Contains(remarks, want) {
			t.Errorf("the compiler does not say %q", want)
		}
	}
}

func first(at []int) int {
	if len(at) == 0 {
		return -1
	}
	return at[0]
}

// ordered fails unless the end mark is stored before the publishing store at
// publish (and marks for later behind it), and the sleep word read after it.
func ordered(t *testing.T, name string, code []instruction, publish int, mark, sleep func(instruction) bool) {
	t.Helper()
	var marks, sleeps []int
	for i, in := range code {
		if mark(in) {
			marks = append(marks, i)
		}
		if sleep(in) {
			sleeps = append(sleeps, i)
		}
	}
	if len(marks) < 2 || marks[0] > publish || marks[1] < publish {
		t.Errorf("%s: end marks at %v, the publishing store at %d: one must come before it", name, marks, publish)
	}
	if len(sleeps) == 0 || sleeps[0] < publish {
		t.Errorf("%s: the sleep word is read at %v, the publishing store is at %d", name, sleeps, publish)
	}
}

func TestMachineCodeOfARM64(t *testing.T) {
	functions, remarks := listing(t, "arm64")
	flush := functions["(*Producer).Flush"]
	publish := find(flush, "STLRW", "")
	if len(publish) != 1 {
		t.Fatalf("Flush publishes by %d STLRW", len(publish))
	}
	ordered(t, "Flush", flush, publish[0], func(in instruction) bool {
		return in.op == "MOVW" && strings.HasPrefix(in.args, "ZR, ")
	}, func(in instruction) bool { return in.file == "sleep.go" && in.op == "LDARW" })

	give := functions["(*Consumer).give"]
	store, load := find(give, "STLR", ""), find(give, "LDARW", "sleep.go")
	if len(store) != 1 || len(load) != 1 || store[0] > load[0] {
		t.Errorf("Release: STLR at %v, the sleep word's LDARW at %v", store, load)
	}
	if len(find(functions["(*Consumer).poll"], "LDARW", "")) == 0 {
		t.Error("poll reads no commit word by LDARW")
	}
	if !strings.Contains(remarks, "can inline (*Consumer).Poll") {
		t.Error("Poll does not inline")
	}
}
