package firmware_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cell-runtime/cell/firmware/firmwaretest"
)

// limits of what cell.h takes for a service of two methods: flash (text and
// constants, the dispatch table among them) and memory (with the buffer for
// payloads of 128 bytes), in bytes.
const (
	mostFlash  = 1024
	mostMemory = 256
)

func TestSize(t *testing.T) {
	firmwaretest.Need(t, "arm-none-eabi-size")
	for _, cpu := range []string{"cortex-m0", "cortex-m3", "cortex-m4"} {
		t.Run(cpu, func(t *testing.T) {
			elf := firmwaretest.Build(t, "size-"+cpu+".elf", "CPU="+cpu)
			out, err := exec.CommandContext(t.Context(), "arm-none-eabi-size", elf).Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(out), "\n")
			fields := strings.Fields(lines[1])
			text, err1 := strconv.Atoi(fields[0])
			data, err2 := strconv.Atoi(fields[1])
			bss, err3 := strconv.Atoi(fields[2])
			if err1 != nil || err2 != nil || err3 != nil {
				t.Fatalf("arm-none-eabi-size prints\n%s", out)
			}
			t.Logf("%d bytes of flash, %d of memory", text+data, data+bss)
			if text+data > mostFlash || data+bss > mostMemory {
				t.Errorf("%d bytes of flash and %d of memory; at most %d and %d", text+data, data+bss, mostFlash, mostMemory)
			}
			if text < 500 {
				t.Errorf("%d bytes of text: was the service left out by the linker?", text)
			}
		})
	}
}

// compilers that can build the fuzz target, the best first.
var compilers = []struct {
	name  string
	flags []string
	args  func(seconds int) []string
}{
	{"clang", []string{"-DCELL_LIBFUZZER", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"}, func(seconds int) []string {
		return []string{fmt.Sprint("-max_total_time=", seconds), "-max_len=2048", "-print_final_stats=1"}
	}},
	{"gcc", []string{"-fsanitize=address,undefined", "-fno-sanitize-recover"}, func(seconds int) []string {
		return []string{fmt.Sprint(seconds), fmt.Sprint(time.Now().UnixNano())}
	}},
	{"gcc", nil, func(seconds int) []string { return []string{fmt.Sprint(seconds), fmt.Sprint(time.Now().UnixNano())} }},
}

// TestFuzz feeds a node on a line and one on a bus what a fuzzer thinks of:
// libFuzzer where clang and its runtime are installed, else the targets' own
// loop. CELL_FUZZ_SECONDS says for how long; with CELL_FUZZ_LIBFUZZER=1 nothing
// else than libFuzzer will do.
func TestFuzz(t *testing.T) {
	if testing.Short() {
		t.Skip("another program, which the race detector does not see")
	}
	seconds := 2
	if text := os.Getenv("CELL_FUZZ_SECONDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("CELL_FUZZ_SECONDS is %q; it must be a number of seconds", text)
		}
		seconds = n
	}
	for _, target := range []string{"fuzz", "fuzz_can"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			fuzz(t, target, seconds)
		})
	}
}

// fuzz builds a target with the best compiler that does, and runs it.
func fuzz(t *testing.T, target string, seconds int) {
	dir := t.TempDir()
	program := filepath.Join(dir, target)
	usable := compilers
	if os.Getenv("CELL_FUZZ_LIBFUZZER") == "1" {
		usable = usable[:1]
	}
	var tried bytes.Buffer
	for _, c := range usable {
		if _, err := exec.LookPath(c.name); err != nil {
			fmt.Fprintln(&tried, err)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(seconds)*time.Second)
		defer cancel()
		flags := append([]string{"-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o", program, "test/" + target + ".c"}, c.flags...)
		if out, err := exec.CommandContext(ctx, c.name, flags...).CombinedOutput(); err != nil {
			fmt.Fprintf(&tried, "%s %v: %v\n%s", c.name, c.flags, err, out)
			continue
		}
		cmd := exec.CommandContext(ctx, program, c.args(seconds)...)
		cmd.Dir = dir // where libFuzzer leaves what crashed
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", c.name, c.flags, err, out)
		}
		t.Logf("%s %v: %s", c.name, c.flags, lastLine(out))
		return
	}
	if _, err := exec.LookPath("gcc"); err == nil || len(usable) == 1 {
		t.Fatalf("no compiler builds %s:\n%s", target, tried.String())
	}
	t.Skip("neither clang nor gcc is installed")
}

func lastLine(out []byte) string {
	for _, line := range strings.Split(string(out), "\n") {
		if strings.HasPrefix(line, "Done ") || strings.Contains(line, " inputs, ") {
			return line
		}
	}
	return ""
}
