package broker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/afxdp/broker"
	"github.com/cell-runtime/cell/afxdp/netlab"
)

// running serves on a socket until the test ends, and returns its path and what
// is reported.
func running(t *testing.T, lab *netlab.Lab, b *broker.Broker) (path string, reports chan error, ended chan error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "broker")
	l, err := broker.Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	reports, ended = make(chan error, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- lab.A.Do(func() error { return b.Run(ctx, l, func(err error) { reports <- err }) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, broker.ErrDetached) {
			t.Error(err)
		}
		ended <- nil
	})
	return path, reports, ended
}

func take(t *testing.T, path string, queue uint32) (*net.UnixConn, broker.Handed) {
	t.Helper()
	c, h, err := broker.Dial(path, queue)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(h.FD); err != nil {
		t.Error(err)
	}
	return c, h
}

// What clients do wrong costs them their own connection and nobody else's.
func TestClientsThatMisbehave(t *testing.T) {
	lab, b := brokerOn(t, broker.Options{Queues: []uint32{0, 1}})
	path, reports, _ := running(t, lab, b)
	owner, h := take(t, path, 1) // whom nothing of the following concerns
	defer owner.Close()
	if h.Mode != b.Mode() || h.Port != testPort || h.Interface != lab.A.Index {
		t.Errorf("%+v", h)
	}
	request := func(queue uint32) []byte {
		return binary.LittleEndian.AppendUint32([]byte("CEXS"), queue)
	}
	for _, v := range []struct {
		name string
		sent []byte
		says string // of the report
	}{
		{"says nothing", nil, "reading a request"},
		{"says half of it", request(0)[:4], "reading a request"},
		{"asks for something else", []byte("GET / HT"), "no request"},
		{"asks for a queue that is not handed out", request(9), "not handed out"},
		{"asks for somebody's queue", request(1), "somebody else's"},
	} {
		t.Run(v.name, func(t *testing.T) {
			c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if len(v.sent) > 0 {
				if _, err := c.Write(v.sent); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-reports; err == nil || !strings.Contains(err.Error(), v.says) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("says more than there is to say", func(t *testing.T) {
		c, _ := take(t, path, 0)
		defer c.Close()
		if _, err := c.Write([]byte("more")); err != nil {
			t.Fatal(err)
		}
		if err := <-reports; err == nil || !strings.Contains(err.Error(), "loses the queue") {
			t.Errorf("%v", err)
		}
	})
	t.Run("goes at once", func(t *testing.T) {
		for range 10 {
			for !free(path) { // the broker has to notice
				time.Sleep(time.Millisecond)
			}
		}
	})
}

// free says whether queue 0 can be had. It is given back at once.
func free(path string) bool {
	c, h, err := broker.Dial(path, 0)
	if err != nil {
		return false
	}
	_, _ = unix.Close(h.FD), c.Close()
	return true
}

// However many ask and say nothing, who has something to ask is served, or told
// that there are too many.
func TestManyWhoSayNothing(t *testing.T) {
	lab, b := brokerOn(t, broker.Options{})
	path, _, _ := running(t, lab, b)
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			if c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"}); err == nil {
				var one [1]byte
				_, _ = c.Read(one[:]) // till the broker has enough of it
				c.Close()
			}
		})
	}
	for end := time.Now().Add(time.Minute); !free(path); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody is served")
		}
	}
	wg.Wait()
}

func TestBrokerEndsWhenItsProgramIsGone(t *testing.T) {
	lab, b := brokerOn(t, broker.Options{})
	path, _, ended := running(t, lab, b)
	c, _ := take(t, path, 0)
	defer c.Close()
	veth, err := lab.A.Net.LinkByIndex(lab.A.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.A.Net.LinkDel(veth); err != nil {
		t.Fatal(err)
	}
	err = <-ended
	ended <- err
	if !errors.Is(err, broker.ErrDetached) {
		t.Errorf("%v", err)
	}
	var one [1]byte
	if n, err := c.Read(one[:]); err == nil {
		t.Errorf("the owner of a dead queue reads %d bytes", n)
	}
}

func TestNamesOfSockets(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dead, err := broker.Listen(in("dead"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	living, err := broker.Listen(in("living"), 0o660)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	if i, err := os.Stat(in("living")); err != nil || i.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", i, err)
	}
	for _, v := range []struct {
		name string
		want error
	}{{"file", broker.ErrInUse}, {"living", broker.ErrInUse}, {"dead", nil}, {"new", nil}, {"none/at/all", os.ErrNotExist}} {
		l, err := broker.Listen(in(v.name), 0o600)
		if fmt.Sprint(v.want) != fmt.Sprint(err) && !errors.Is(err, v.want) {
			t.Errorf("%s: %v", v.name, err)
		}
		if l != nil {
			l.Close()
		}
	}
	if _, err := os.Stat(in("file")); err != nil {
		t.Errorf("a file that is no socket: %v", err)
	}
}
