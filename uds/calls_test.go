package uds

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestDialWaitsForAListenerThatComesLater(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := &Options{Dir: t.TempDir(), WaitForListener: 20 * time.Second}
	dial := Dialer("late", o)
	done := make(chan error, 1)
	go func() {
		l, err := dial(ctx)
		if err == nil {
			err = l.Close()
		}
		done <- err
	}()
	time.Sleep(30 * time.Millisecond)
	l, err := Listen("late", o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := l.AcceptLink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A listener that dies while it is dialed is one that has gone: the next one is
// waited for as if there had been none.
func TestDialWaitsForTheListenerBehindOneThatDies(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "replaced.sock")
	dying, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	o := &Options{Dir: dir, WaitForListener: patience}
	done := make(chan error, 1)
	go func() {
		l, err := Dialer("replaced", o)(soon(t))
		if err == nil {
			err = l.Close()
		}
		done <- err
	}()
	c, err := dying.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = dying.Close()
	_ = c.Close()
	l, err := Listen("replaced", o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		if c, err := l.Accept(t.Context()); err == nil {
			_ = c.Close()
		}
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = l.Close()
	<-accepted
}

func TestDialWaitsNoLongerThanAsked(t *testing.T) {
	for name, wait := range map[string]time.Duration{"not at all": 0, "a little": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			o := &Options{Dir: t.TempDir(), WaitForListener: wait}
			if l, err := Dialer("nobody", o)(t.Context()); !errors.Is(err, ErrNoListener) || l != nil {
				t.Errorf("%v, %v", l, err)
			}
		})
	}
	t.Run("until its context ends", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		o := &Options{Dir: t.TempDir(), WaitForListener: time.Hour}
		if l, err := Dialer("nobody", o)(ctx); !errors.Is(err, ErrNoListener) || l != nil {
			t.Errorf("%v, %v", l, err)
		}
	})
}

func TestAcceptLinkOfAClosedListener(t *testing.T) {
	l, err := Listen("gone", &Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if c, err := l.AcceptLink(t.Context()); !errors.Is(err, ErrListenerClosed) || c != nil {
		t.Errorf("%v, %v", c, err)
	}
}
