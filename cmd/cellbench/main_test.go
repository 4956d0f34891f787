package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/cmd/cellbench/internal/bench"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/report"
	"github.com/cell-runtime/cell/cmd/cellbench/internal/scratch"
	"github.com/cell-runtime/cell/sched"
)

// mainEnv makes this test binary the program itself.
const mainEnv = "CELLBENCH_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" || len(os.Args) > 1 && (os.Args[1] == bench.PeerArg || os.Args[1] == scratch.Arg || os.Args[1] == spawnArg) {
		main()
	}
	os.Exit(m.Run())
}

func TestWrongUsage(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"bogus", "usage: cellbench [command]"},
		{"rtt --bogus", "not defined: -bogus"},
		{"--bogus", "not defined: -bogus"},
		{"rtt 64", `unexpected argument "64"`},
		{"rtt --link pigeon", "ring or uds"},
		{"rtt --size -1", "such as 64, 4K or 1M"},
		{"rtt --size 64Q", "such as 64, 4K or 1M"},
		{"rtt --size 23", "from 24"},
		{"rtt --size 8G", "below 2G"},
		{"stream --batch 0", "from 1 to"},
		{"stream --batch lots", "invalid value"},
		{"rtt --batch 2", "streams and topics only"},
		{"rtt --rate never", "write max, 50000 or 2M"},
		{"rtt --rate -5", "write max, 50000 or 2M"},
		{"rtt --rate 0", "write max, 50000 or 2M"},
		{"rtt --wait pray", "spin, yield, park or adaptive"},
		{"rtt --ring 5000", "power of two"},
		{"rtt --ring 4K --size 4K", "at least twice"},
		{"rtt --rounds 0", "from 1 to"},
		{"rtt --duration -1s", "from 1ms"},
		{"rtt --duration soon", "invalid value"},
		{"rtt --cpus 0", "two CPU numbers such as 2,3"},
		{"rtt --cpus a,b", "two CPU numbers such as 2,3"},
		{"rtt --cpus 0,1,2", "two CPU numbers such as 2,3"},
		{"rtt --cpus 0,0", "two different CPUs"},
		{"rtt --cpus 0,100000", "online are"},
		{"rtt --cpus 0,-1", "online are"},
		{"rtt --input x", "not defined"},
		{"stream --input x --rate 5", "closed loop only"},
		{"stream --input /", "name a file"},
		{"stream --hgrm x", "give a --rate"},
		{"stream --size 24 --rate 5", "at least 32"},
		{"fanin --peers 0", "1 to"},
		{"fanin --peers 2 --busy 3", "at most all are busy"},
		{"fanin --rate 5", "closed loop"},
		{"rpc --caller nobody", "engine or goroutine"},
		{"rpc --caller goroutine --window 2", "makes one call at a time"},
		{"rpc --handler nobody", "inline or pool"},
		{"rpc --window lots", "invalid value"},
		{"rpc --batch 2", "topics only"},
		{"rpc --size 40", "from 56"},
		{"rpc --link broadcast", "topics only"},
		{"rpc --window 2 --hgrm x", "leave --hgrm out"},
		{"rpc --topic --window 2", "leave it out"},
		{"rpc --topic --link uds", "leave it out"},
		{"rpc --topic --size 128", "events have 64"},
		{"rpc --topic --hgrm x", "leave --hgrm out"},
		{"limit --rounds 0", "from 1 to"},
		{"limit --rounds -1", "from 1 to"},
		{"limit --duration 1ns", "from 1ms"},
		{"jitter --duration 0s", "from 1ms"},
		{"jitter --threshold 1ns", "from 100ns"},
		{"suite --duration 1ms", "from 75ms"},
		{"compare", "name two"},
		{"compare one.json", "name two"},
		{"compare a b c", "name two"},
		{"compare --cpus 0,1 a b", "not defined"},
	} {
		t.Run(c.args, func(t *testing.T) {
			o := cellbench(t, strings.Fields(c.args)...)
			if o.status != exitUsage || o.stdout != "" || !strings.Contains(o.stderr, c.says) {
				t.Errorf("status %d, want %d with %q\n%s%s", o.status, exitUsage, c.says, o.stdout, o.stderr)
			}
			if strings.Contains(o.stderr, "goroutine 1 [") || !strings.Contains(o.stderr, "help") {
				t.Errorf("a refusal says where help is:\n%s", o.stderr)
			}
		})
	}
}

func TestWhatFails(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.json")
	if err := os.WriteFile(garbage, []byte("no JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"a missing result", []string{"compare", filepath.Join(dir, "a"), garbage}, "no such file or directory; name a file that --json has written"},
		{"a result that is none", []string{"compare", garbage, garbage}, "garbage.json"},
		{"a missing input", []string{"stream", "--input", filepath.Join(dir, "a")}, "no such file"},
		{"a full disk", []string{"rtt", "--rounds", "1", "--json", "/dev/full"}, "no space left"},
		{"a directory for a file", []string{"rtt", "--rounds", "1", "--html", dir}, "name a file in it"},
		{"a place for files that is a file", []string{"suite", "--out", garbage}, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o outcome
			if c.args[0] == "rtt" {
				o = measuring(t, 10*time.Millisecond, c.args...)
			} else {
				o = cellbench(t, c.args...)
			}
			if o.status != exitFailed || !strings.Contains(o.stderr, c.says) {
				t.Errorf("status %d, want %d with %q\n%s%s", o.status, exitFailed, c.says, o.stdout, o.stderr)
			}
		})
	}
}

func TestAFileThatCannotBeWrittenLosesNothingElse(t *testing.T) {
	needTwoCPUs(t)
	o := measuring(t, 10*time.Millisecond, "rtt", "--rounds", "1", "--html", "/dev/full", "--json", "-")
	if o.status != exitFailed || !strings.Contains(o.stderr, "no space left") {
		t.Errorf("status %d\n%s", o.status, o.stderr)
	}
	if _, err := report.Read(strings.NewReader(o.stdout)); err != nil {
		t.Errorf("the JSON is lost: %v\n%s", err, o.stdout)
	}
}

func needTwoCPUs(t *testing.T) {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}} {
		o := cellbench(t, args...)
		if o.status != exitOK || o.stderr != "" {
			t.Errorf("%v: status %d, %s", args, o.status, o.stderr)
		}
		for _, c := range commands() {
			if !strings.Contains(o.stdout, c.name) || !strings.Contains(o.stdout, c.short) {
				t.Errorf("%v doesn't show %s", args, c.name)
			}
		}
	}
	for _, c := range commands() {
		o := cellbench(t, c.name, "--help")
		if o.status != exitOK || o.stderr != "" || !strings.Contains(o.stdout, "usage: cellbench "+c.name) {
			t.Errorf("%s --help: status %d\n%s%s", c.name, o.status, o.stdout, o.stderr)
		}
	}
}

// Every flag of every command occurs in the documentation.
func TestHelpThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"help"}, {"--help"}, {"rtt", "--help"}} {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env, cmd.Stdout = append(os.Environ(), mainEnv+"=1"), full
		if _ = cmd.Run(); cmd.ProcessState.ExitCode() != exitFailed {
			t.Errorf("%v: %v, want status %d", args, cmd.ProcessState, exitFailed)
		}
	}
}

func TestDocumentationHasEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/CELLBENCH.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, c := range commands() {
		if !strings.Contains(string(text), "| `"+c.name+"`") {
			t.Errorf("docs/CELLBENCH.md has no row for the command %s", c.name)
		}
		for line := range strings.Lines(cellbench(t, c.name, "--help").stdout) {
			name, ok := strings.CutPrefix(line, "  --")
			if !ok {
				continue
			}
			found++
			name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
			if !strings.Contains(string(text), "| `--"+name+"`") && !strings.Contains(string(text), "| `--"+name+" ") {
				t.Errorf("docs/CELLBENCH.md has no row for --%s, a flag of %s", name, c.name)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d flags looked at", found)
	}
}

func TestOnlyJSONOnStandardOutput(t *testing.T) {
	needTwoCPUs(t)
	for _, args := range [][]string{
		{"rtt"}, {"rtt", "--link", "uds", "--rate", "2000"}, {"stream", "--no-c"}, {"stream", "--no-c", "--rate", "10K"},
		{"fanin", "--peers", "3", "--busy", "1"}, {"rpc"}, {"rpc", "--caller", "goroutine"}, {"rpc", "--window", "8"}, {"limit"}, {"stream", "--input", "/proc/self/exe"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			o := measuring(t, 50*time.Millisecond, append(args, "--rounds", "1", "--json", "-")...)
			if o.status != exitOK || o.stderr != "" {
				t.Fatalf("status %d\n%s", o.status, o.stderr)
			}
			rep, err := report.Read(strings.NewReader(o.stdout))
			if err != nil {
				t.Fatalf("%v\n%s", err, o.stdout)
			}
			for _, r := range rep.Results {
				if args[0] != r.Kind || r.Link == "" {
					t.Errorf("kind %q, link %q", r.Kind, r.Link)
				}
			}
			if !json.Valid([]byte(o.stdout)) {
				t.Error("more than one JSON value")
			}
		})
	}
}

func TestJitterAsTableAndJSON(t *testing.T) {
	needTwoCPUs(t)
	if o := cellbench(t, "jitter", "--duration", "20ms"); o.status != exitOK || !strings.Contains(o.stdout, "core: a thread that spins on CPU") {
		t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	o := cellbench(t, "jitter", "--duration", "20ms", "--json", "-")
	if rep, err := report.Read(strings.NewReader(o.stdout)); err != nil || rep.Results[0].Link != "core" || o.stderr != "" {
		t.Errorf("%v\n%s%s", err, o.stdout, o.stderr)
	}
}

func TestSuiteAndCompare(t *testing.T) {
	needTwoCPUs(t)
	dir := filepath.Join(t.TempDir(), "new", "results")
	o := measuring(t, 2*time.Second, "--no-c", "--out", dir)
	if o.status != exitOK || !strings.Contains(o.stdout, "Round trips") || !strings.Contains(o.stdout, "core") {
		t.Fatalf("status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	file := filepath.Join(dir, "cellbench.json")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rep, err := report.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(suiteSpecs()) + 1; len(rep.Results) != n {
		t.Errorf("%d results, want %d", len(rep.Results), n)
	}
	page, err := os.ReadFile(filepath.Join(dir, "cellbench.html"))
	if err != nil || !bytes.Contains(page, []byte("</html>")) {
		t.Errorf("page of %d bytes: %v", len(page), err)
	}
	if o := cellbench(t, "compare", file, file); o.status != exitOK || !strings.Contains(o.stdout, "ring") {
		t.Errorf("compare: status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
	if o := cellbench(t, "compare", "--json", "-", file, file); o.status != exitOK || !json.Valid([]byte(o.stdout)) {
		t.Errorf("compare as JSON: status %d\n%s%s", o.status, o.stdout, o.stderr)
	}
}

// Ctrl-C and a service manager's stop: an end soon, a sentence, and nothing
// left, the peer process included, whose stderr is the one that Wait waits for.
func TestInterruptedInTheMiddle(t *testing.T) {
	needTwoCPUs(t)
	for i, args := range []string{
		"rtt --wait spin", "rtt --wait park", "rtt --link uds --wait park", "rtt --rate 1000",
		"stream --no-c", "stream --no-c --rate 1000 --wait park", "stream --size 1M", "fanin --peers 3", "limit", "jitter",
		"rpc", "rpc --caller goroutine --wait park", "rpc --link uds --window 8", "rpc --topic --no-c",
	} {
		// How either is taken does not depend on what is measured.
		sig := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}[i%2]
		t.Run(fmt.Sprint(sig, " ", args), func(t *testing.T) {
			cmd, finish := program(t, append(strings.Fields(args), "--duration", "10m")...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			underWay(t, cmd)
			time.Sleep(50 * time.Millisecond)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			o := finish()
			if o.status != exitFailed || !strings.Contains(o.stderr, "interrupted") || o.stdout != "" {
				t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
			}
		})
	}
}

// With too few descriptors it measures all the same or says what to raise, and
// soon.
func TestFewDescriptors(t *testing.T) {
	needTwoCPUs(t)
	refused := 0
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for n := 10; n <= 24; n += 2 {
		for _, duration := range []string{"20ms", "10s"} {
			cmd, finish := program(t)
			cmd.Path = "/bin/sh"
			cmd.Args = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" rtt --rounds 1 --warmup 1ms --duration %s`, n, duration), exe}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			o := finish()
			if strings.Contains(o.stderr, "lengthen --duration") { // the host stalled for as long
				continue
			}
			if o.status != exitOK {
				refused++
				if !strings.Contains(o.stderr, "RLIMIT_NOFILE") {
					t.Errorf("with %d descriptors: status %d\n%s", n, o.status, o.stderr)
				}
			}
			break
		}
	}
	if refused == 0 {
		t.Error("nothing was refused: this test shows nothing")
	}
}

// What can't be written to is refused before anything is measured.
func TestOutputsAreCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"rtt --json " + dir + "/none/x", "rtt --html " + dir, "stream --hgrm " + file + "/x", "limit --json " + dir + "/none/x", "suite --out " + file} {
		o := cellbench(t, append(strings.Fields(args), "--duration", "1h")...)
		if o.status != exitFailed || !strings.Contains(o.stderr, dir) || !strings.Contains(o.stderr, "name a ") {
			t.Errorf("%s: status %d\n%s", args, o.status, o.stderr)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// kill -9 lets the program clean up nothing; its peer does.
func TestKilledInTheMiddle(t *testing.T) {
	needTwoCPUs(t)
	for _, args := range []string{"rtt --wait park", "stream --link uds --no-c", "fanin --peers 3"} {
		t.Run(args, func(t *testing.T) {
			cmd, finish := program(t, append(strings.Fields(args), "--duration", "10m")...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			underWay(t, cmd)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			finish()
		})
	}
}

// underWay waits until a run of program has something to clean up: its directory,
// or, if it needs none, some CPU time that it has spent.
func underWay(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	temp := strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR=")
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if made, _ := filepath.Glob(temp + "/*"); len(made) > 0 {
			return
		}
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		// PID (NAME) STATE … utime is the 14th, in hundredths of a second.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 11 {
			if spent, _ := strconv.Atoi(string(fields[11])); spent > 25 {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("the program does not get under way")
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "64": 64, "4K": 4 << 10, "4k": 4 << 10, "4KB": 4 << 10, "4KiB": 4 << 10, "1M": 1 << 20, "1G": 1 << 30, "2047M": 2047 << 20,
	} {
		if got, err := parseBytes("--size", text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "K", "-1", "1.5K", "1T", "4KK", "4 K", "0x40", "2G", "9999999999999999999", "1e3"} {
		if got, err := parseBytes("--size", text); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "--size") {
			t.Errorf("%q is %d, %v; want a refusal that names the flag", text, got, err)
		}
	}
}

func TestChooseCPUs(t *testing.T) {
	topo, err := sched.Local().Topology()
	if err != nil {
		t.Fatal(err)
	}
	needTwoCPUs(t)
	usable := topo.Usable.List()
	a, b := usable[0], usable[1]
	for text, want := range map[string][2]int{fmt.Sprintf("%d,%d", a, b): {a, b}, fmt.Sprintf(" %d , %d ", b, a): {b, a}} {
		if got, err := chooseCPUs(text); err != nil || got != want {
			t.Errorf("%q chooses %v, %v; want %v", text, got, err, want)
		}
	}
	if got, err := chooseCPUs(""); err != nil || got[0] == got[1] {
		t.Errorf("by itself: %v, %v", got, err)
	}
	for _, text := range []string{",", "0", "0,", ",0", "0,0", "0,1,2", "0-1", "zero,one", "0,100000", "-1,0"} {
		if got, err := chooseCPUs(text); !errors.Is(err, errUsage) {
			t.Errorf("%q chooses %v, %v; want a refusal", text, got, err)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	o := newFlags("rtt", "")
	o.usage = func(io.Writer) error { return nil }
	if err := o.parse([]string{"--help"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v", err)
	}
}
