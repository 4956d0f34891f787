package firmware_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cell-runtime/cell/serial"
)

// need skips a test whose tools this machine lacks; test.sh installs them.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: gcc, make, gcc-arm-none-eabi, qemu-system-arm)", tool)
		}
	}
}

// output is what a program printed, which is kept for when it fails.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// build makes a target of the Makefile and returns its path.
func build(t testing.TB, target string, variables ...string) string {
	t.Helper()
	need(t, "make", "arm-none-eabi-gcc")
	dir := t.TempDir()
	target = filepath.Join(dir, target)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append([]string{"--no-print-directory", "OUT=" + dir, target}, variables...)
	if out, err := exec.CommandContext(ctx, "make", args...).CombinedOutput(); err != nil {
		t.Fatalf("make %v: %v\n%s", args, err, out)
	}
	return target
}

// board is the demo firmware in QEMU.
type board struct {
	said output
	qmp  string // QEMU's control socket
}

// emulate starts the demo with its UART on a character device of QEMU's.
func emulate(t testing.TB, uart string) *board {
	t.Helper()
	need(t, "qemu-system-arm")
	elf := build(t, "demo.elf")
	b := &board{qmp: filepath.Join(t.TempDir(), "qmp")}
	cmd := exec.Command("qemu-system-arm", "-M", "lm3s6965evb", "-kernel", elf, "-display", "none", "-monitor", "none",
		"-chardev", uart+",id=uart", "-serial", "chardev:uart", "-qmp", "unix:"+b.qmp+",server=on,wait=off")
	cmd.Stdout, cmd.Stderr = &b.said, &b.said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) || t.Failed() {
			t.Logf("qemu: %v\n%s", err, b.said.String())
		}
	})
	return b
}

// boot starts the demo and returns the other end of its UART, a PTY.
func boot(t testing.TB) *os.File {
	t.Helper()
	master, slave, err := serial.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	emulate(t, "serial,path="+slave.Name())
	return master
}

// bootTTY starts the demo with its UART on a tty that can be opened again and
// again, as that of a USB adapter can, and returns its path.
func bootTTY(t testing.TB) (b *board, path string) {
	t.Helper()
	b = emulate(t, "pty")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, rest, ok := strings.Cut(b.said.String(), "redirected to ")
		if path, _, found := strings.Cut(rest, " "); ok && found {
			return b, path
		}
	}
	t.Fatalf("QEMU does not say where its PTY is: %s", b.said.String())
	return nil, ""
}

// reset restarts the processor, as the board's button would.
func (b *board) reset(t testing.TB) {
	t.Helper()
	c, err := net.Dial("unix", b.qmp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(`{"execute":"qmp_capabilities"}{"execute":"system_reset"}`)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if strings.Contains(lines.Text(), `"RESET"`) {
			return
		}
	}
	t.Fatal("QEMU does not say that it reset the board")
}

// connect shakes hands with the device.
func connect(t testing.TB, s serial.Stream, o *serial.Options) *serial.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := serial.Connect(ctx, s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
