package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/ebpf"
)

// inLab runs f on a host of its own, with an interface veth0 and a place for
// pins.
func inLab(t *testing.T, f func(pins string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a network namespace and attaches programs")
	}
	if err := ebpf.Probe(); err != nil {
		t.Skip(err)
	}
	lab, err := netlab.New(netlab.Options{})
	if err != nil {
		t.Skip(err)
	}
	defer lab.Close()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Skipf("no BPF file system: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	_ = lab.A.Do(func() error { f(filepath.Join(dir, "cell")); return nil })
}

func TestEbpfByHand(t *testing.T) {
	inLab(t, func(pins string) {
		on := func(command string, more ...string) (int, string, string) {
			return run(t, append([]string{"ebpf", command, "--iface", "veth0", "--pin-root", pins}, more...)...)
		}
		var did attached
		code, out, complaints := on("attach", "--port", "47100", "--cluster", "00112233aabbccdd", "--pin", "-o", "json")
		if err := json.Unmarshal([]byte(out), &did); code != ExitOK || err != nil || did.Mode != "driver" || !did.Pin || did.Program != "pheromone" {
			t.Errorf("attach: code %d, %v, %s%s", code, err, out, complaints)
			return
		}
		if code, out, complaints := on("attach", "--port", "47100", "--mode", "driver"); code != ExitFailed || !strings.Contains(complaints, "pheromone_xdp") {
			t.Errorf("a second: code %d, %s%s", code, out, complaints)
		}
		var all []ebpf.Listed
		code, out, complaints = on("list", "-o", "json")
		if err := json.Unmarshal([]byte(strings.ReplaceAll(out, `"driver"`, "1")), &all); code != ExitOK || err != nil || len(all) != 1 || all[0].Program != "pheromone" || all[0].Pin == "" {
			t.Errorf("list: code %d, %v, %s%s", code, err, out, complaints)
		}
		if code, out, _ := on("list"); code != ExitOK || !strings.Contains(out, "veth0") || !strings.Contains(out, "driver") {
			t.Errorf("list: code %d, %s", code, out)
		}
		var c counted
		code, out, complaints = on("stats", "-o", "json")
		if err := json.Unmarshal([]byte(out), &c); code != ExitOK || err != nil || len(c.Counters) == 0 || c.Counters[0].Name != "accepted" {
			t.Errorf("stats: code %d, %v, %s%s", code, err, out, complaints)
		}
		if code, out, _ := on("stats"); code != ExitOK || !strings.Contains(out, "dropped") {
			t.Errorf("stats: code %d, %s", code, out)
		}
		if code, _, complaints := on("detach", "--program", "redirect"); code != ExitFailed || !strings.Contains(complaints, "no redirect on veth0") {
			t.Errorf("detaching what is not there: code %d, %s", code, complaints)
		}
		if code, out, complaints := on("detach"); code != ExitOK {
			t.Errorf("detach: code %d, %s%s", code, out, complaints)
		}
		if code, out, _ := on("list", "-o", "json"); code != ExitOK || strings.TrimSpace(out) != "[]" {
			t.Errorf("left behind: code %d, %s", code, out)
		}
	})
}

// Without --pin the attachment ends with the command.
func TestEbpfAttachUntilInterrupted(t *testing.T) {
	inLab(t, func(pins string) {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		out := &waitingWriter{said: make(chan struct{})}
		go func() {
			select {
			case <-out.said:
			case <-time.After(20 * time.Second):
			}
			interrupt()
		}()
		code := Run(ctx, []string{"ebpf", "attach", "--iface", "veth0", "--port", "47100", "--pin-root", pins}, &Env{In: strings.NewReader(""), Out: out, Err: out})
		if code != ExitOK || !strings.Contains(out.String(), "interrupt it") {
			t.Errorf("code %d, %s", code, out)
		}
		if all, err := ebpf.List(pins, 0); err != nil || len(all) != 0 {
			t.Errorf("left behind: %+v, %v", all, err)
		}
	})
}

// waitingWriter tells when a command says how it is ended.
type waitingWriter struct {
	bytes.Buffer
	said chan struct{}
}

func (w *waitingWriter) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("interrupt it")) {
		defer close(w.said)
	}
	return w.Buffer.Write(b)
}

func TestEbpfWrongUsage(t *testing.T) {
	for what, args := range map[string][]string{
		"no interface":            {"attach", "--port", "1"},
		"no port":                 {"attach", "--iface", "lo"},
		"a cluster of four bytes": {"attach", "--iface", "lo", "--port", "1", "--cluster", "00112233"},
		"no mode of ours":         {"attach", "--iface", "lo", "--port", "1", "--mode", "fast"},
		"redirect by hand":        {"attach", "--iface", "lo", "--port", "1", "--program", "redirect"},
		"no program of ours":      {"stats", "--iface", "lo", "--program", "firewall"},
		"detach from nothing":     {"detach"},
	} {
		if code, out, complaints := run(t, append([]string{"ebpf"}, args...)...); code != ExitUsage {
			t.Errorf("%s: code %d, want %d; %s%s", what, code, ExitUsage, out, complaints)
		}
	}
	if code, _, complaints := run(t, "ebpf", "list", "--iface", "no-such-interface"); code != ExitFailed || !strings.Contains(complaints, "ip link") {
		t.Errorf("code %d, %s", code, complaints)
	}
}
