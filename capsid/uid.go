package capsid

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Users of cells, where the node is root: each living cell has one of its own,
// so that nothing that the kernel grants by user (signals, /proc, ptrace, keys,
// limits) goes from one cell to another. They come from a range that neither
// accounts, nor containers, nor user namespaces have (systemd's UIDS-GIDS).
const (
	firstUID  = 1_880_000_000
	uidBlock  = 1024 // of one node
	uidBlocks = 200_000
	blockTry  = 64
)

// uids hands out the users of one block, which is this node's alone as long as
// it lives: an abstract socket of the block's name is bound, and the kernel
// frees that with the process, however it ends.
type uids struct {
	mu    sync.Mutex
	first uint32
	next  uint32
	taken [uidBlock]bool
}

var cellUsers = sync.OnceValues(func() (*uids, error) {
	for range blockTry {
		block := rand.N(uint32(uidBlocks))
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@cell-uids-%d", block)})
		if err == nil { // and stays bound
			return &uids{first: firstUID + block*uidBlock}, nil
		}
		unix.Close(fd)
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: no block of users is free", ErrUnavailable)
})

// take returns a user that no living cell has.
func (u *uids) take() (uint32, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for range uint32(uidBlock) {
		i := u.next % uidBlock
		u.next++
		if !u.taken[i] {
			u.taken[i] = true
			return u.first + i, nil
		}
	}
	return 0, fmt.Errorf("%w: %d cells run already, each with a user of its own; stop some", ErrUnavailable, uidBlock)
}

func (u *uids) give(uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.taken[uid-u.first] = false
}

// mapped reports whether this process's user namespace has a user of that number.
// Files of users that it has not appear to be those of one number of the kernel's
// choice (/proc/sys/kernel/overflowuid).
func mapped(uid uint32) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	return inMap(string(text), uid)
}

// inMap looks in lines of "first inside, first outside, how many"
// (user_namespaces(7)).
func inMap(text string, uid uint32) bool {
	for line := range strings.Lines(text) {
		var first, outside, n uint64
		if _, err := fmt.Sscan(line, &first, &outside, &n); err == nil && uint64(uid) >= first && uint64(uid) < first+n {
			return true
		}
	}
	return false
}
