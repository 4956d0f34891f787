package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/broker"
	"github.com/cell-runtime/cell/ebpf"
)

func TestBrokerByHand(t *testing.T) {
	inLab(t, func(string) {
		path := filepath.Join(t.TempDir(), "xdp")
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		out := &waitingWriter{said: make(chan struct{})}
		var handed broker.Handed
		var err, refused error
		go func() {
			defer interrupt()
			select {
			case <-out.said:
			case <-time.After(20 * time.Second):
				return
			}
			if c, h, e := broker.Dial(path, 0); e != nil {
				err = e
			} else {
				handed = h
				_, _, refused = broker.Dial(path, 0)
				_ = unix.Close(h.FD)
				_ = c.Close()
			}
		}()
		code := Run(ctx, []string{"broker", "--iface", "veth0", "--port", "47101", "--mode", "generic", "--socket", path, "--allow", "root,1234"},
			&Env{In: strings.NewReader(""), Out: out, Err: &strings.Builder{}})
		if code != ExitOK || err != nil || handed.Port != 47101 || handed.Mode != ebpf.ModeGeneric || handed.Queue != 0 {
			t.Errorf("code %d, %v, %+v, %s", code, err, handed, out)
		}
		if refused == nil || !strings.Contains(refused.Error(), "somebody else's") {
			t.Errorf("the same queue twice: %v", refused)
		}
		if there, err := ebpf.Attached(handed.Interface); err != nil || len(there) != 0 {
			t.Errorf("left attached: %v, %v", there, err)
		}
	})
}

func TestBrokerWrongUsage(t *testing.T) {
	for what, args := range map[string][]string{
		"no socket":            {"--iface", "lo", "--port", "1"},
		"no port":              {"--iface", "lo", "--socket", "s"},
		"no interface":         {"--port", "1", "--socket", "s"},
		"no mode of ours":      {"--iface", "lo", "--port", "1", "--socket", "s", "--mode", "tcx"},
		"a queue too many":     {"--iface", "lo", "--port", "1", "--socket", "s", "--queue", "64"},
		"a user who isn't one": {"--iface", "lo", "--port", "1", "--socket", "s", "--allow", "nobody at all"},
	} {
		if code, out, _ := run(t, append([]string{"broker"}, args...)...); code != ExitUsage {
			t.Errorf("%s: code %d, %s", what, code, out)
		}
	}
}

func TestWhoMayHaveAQueue(t *testing.T) {
	may, err := allowed([]string{"root", "1234"})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uint32]bool{0: true, 1234: true, 1: false, 4294967295: false} {
		if err := may(unix.Ucred{Uid: id}); (err == nil) != want {
			t.Errorf("user %d: %v", id, err)
		}
	}
}
