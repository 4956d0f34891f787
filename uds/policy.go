package uds

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// Policy decides whether to talk to a peer, from what the kernel says of it:
// PID, UID and GID at the time when it connected (or listened). It returns nil,
// or why not, which the peer is told. It runs before a byte of the peer is
// read, in the listener's own goroutine, so it must not block.
type Policy func(link.Peer) error

// SameUser is the default policy: the peer runs as this process's effective
// user, or as root.
func SameUser(p link.Peer) error {
	if me := uint32(os.Geteuid()); p.UID != me && p.UID != 0 {
		return fmt.Errorf("uid %d is neither this process's (%d) nor root; run both as one user or set Options.Policy", p.UID, me)
	}
	return nil
}

// AnyUser is the policy that admits everybody whom file permissions let
// through.
func AnyUser(link.Peer) error { return nil }

// Users returns the policy that admits the given users and nobody else, not
// even root unless 0 is among them. For peers of other users, [Options].Mode
// and the directory must let them reach the socket too.
func Users(uids ...uint32) Policy {
	return func(p link.Peer) error {
		for _, u := range uids {
			if p.UID == u {
				return nil
			}
		}
		return fmt.Errorf("uid %d is not among the admitted %v", p.UID, uids)
	}
}

// peerOf asks the kernel who is at the other end. A uid of another user
// namespace reads as the overflow uid, usually 65534, and a pid of an outer
// pid namespace as 0.
func peerOf(c *net.UnixConn, addr string) (link.Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return link.Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return link.Peer{}, err
	}
	if credErr != nil {
		return link.Peer{}, fmt.Errorf("uds: SO_PEERCRED: %w", credErr)
	}
	return link.Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid, Addr: addr}, nil
}
