package firmwaretest

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-runtime/cell/internal/leash"
)

// Board is firmware in QEMU, on an emulated lm3s6965evb.
type Board struct {
	t    testing.TB
	said output
	cmd  *exec.Cmd
	held *leash.Leash
	qmp  string // QEMU's control socket
	once sync.Once
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

// Start starts firmware with its UART on a character device of QEMU's, such as
// "serial,path=/dev/pts/7" or "pty".
func Start(t testing.TB, elf, uart string) *Board {
	t.Helper()
	Need(t, "qemu-system-arm")
	b := &Board{t: t, qmp: filepath.Join(t.TempDir(), "qmp")}
	b.cmd = exec.Command("qemu-system-arm", "-M", "lm3s6965evb", "-kernel", elf, "-display", "none", "-monitor", "none",
		"-chardev", uart+",id=uart", "-serial", "chardev:uart", "-qmp", "unix:"+b.qmp+",server=on,wait=off")
	b.cmd.Stdout, b.cmd.Stderr = &b.said, &b.said
	var err error
	if b.held, err = leash.Start(b.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

// StartTTY starts firmware with its UART on a tty that can be opened again and
// again, as that of a USB adapter can, and returns the tty's path.
func StartTTY(t testing.TB, elf string) (b *Board, path string) {
	t.Helper()
	b = Start(t, elf, "pty")
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, rest, ok := strings.Cut(b.said.String(), "redirected to ")
		if path, _, found := strings.Cut(rest, " "); ok && found {
			return b, path
		}
	}
	t.Fatalf("QEMU does not say where its PTY is: %s", b.said.String())
	return nil, ""
}

// Stop ends the board, as pulling its plug would: a PTY of its goes away.
// Stopping again does nothing.
func (b *Board) Stop() {
	b.once.Do(func() {
		_ = b.cmd.Process.Kill()
		var exit *exec.ExitError
		if err := b.cmd.Wait(); err != nil && !errors.As(err, &exit) || b.t.Failed() {
			b.t.Logf("qemu: %v\n%s", err, b.said.String())
		}
		b.held.Release()
	})
}

// Reset restarts the processor, as the board's button would.
func (b *Board) Reset() {
	b.t.Helper()
	c, err := net.Dial("unix", b.qmp)
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(`{"execute":"qmp_capabilities"}{"execute":"system_reset"}`)); err != nil {
		b.t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		b.t.Fatal(err)
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if strings.Contains(lines.Text(), `"RESET"`) {
			return
		}
	}
	b.t.Fatal("QEMU does not say that it reset the board")
}

// Plug makes path a link to tty, in one step, as udev does.
func Plug(t testing.TB, tty, path string) {
	t.Helper()
	next := path + ".new"
	if err := os.Symlink(tty, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}
