package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/netlab"
	"github.com/cell-runtime/cell/uds"
)

// TestMain is the program itself where a test has started it.
func TestMain(m *testing.M) {
	if os.Getenv("CELL_MATH_TEST") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The same client over shared memory and over AF_XDP, as processes.
func TestTheSameClient(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces and AF_XDP sockets")
	}
	l, err := netlab.New(netlab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Setenv("CELL_MATH_TEST", "1")
	t.Setenv(uds.EnvDir, filepath.Join(t.TempDir(), "run"))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	command := func(args ...string) (*exec.Cmd, *bytes.Buffer) {
		cmd, out := exec.CommandContext(ctx, os.Args[0], args...), &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = out, out
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		return cmd, out
	}
	for _, c := range []struct {
		name        string
		serve, call []string
		says        string
	}{
		{"over shared memory", []string{"serve"}, []string{"call", "1", "2", "3.5"}, "mean 2.1666666666666665\n"},
		{"over AF_XDP", []string{"serve", "10.77.0.2:47102"}, []string{"call", "10.77.0.1:47101", "10.77.0.2:47102", "1", "2", "3.5"}, "afxdp to 10.77.0.2:47102"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, log := command(c.serve...)
			if err := l.B.Do(server.Start); err != nil {
				t.Fatal(err)
			}
			client, out := command(c.call...)
			err := l.A.Do(client.Start)
			if err == nil {
				err = client.Wait()
			}
			if err != nil || !strings.Contains(out.String(), c.says) || !strings.HasSuffix(out.String(), "mean 2.1666666666666665\n") {
				t.Errorf("%v: %s", err, out)
			}
			_ = server.Process.Signal(unix.SIGTERM)
			if err := server.Wait(); err != nil {
				t.Errorf("the server: %v: %s", err, log)
			}
		})
	}
}
