//go:build !nodragonboat && !s390x

package dragonboat

import (
	"errors"
	"syscall"
	"testing"

	"github.com/cell-runtime/cell/consensus"
)

// A process that is being started has copies of all descriptors until it executes its
// program. They hold nothing that was given back.
func TestADirectoryIsFreeOnceItIsClosed(t *testing.T) {
	path := t.TempDir()
	d, err := lockDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDirectory(path); !errors.Is(err, consensus.ErrDirectory) {
		t.Errorf("while it is in use: %v", err)
	}
	forked, err := syscall.Dup(int(d.lock.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(forked)
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if d, err = lockDirectory(path); err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}
