package uds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to the listener of name in the runtime directory, or, where
// nobody listens on this host, to one on another host that the node of this one
// has found (in the folder "remote"); in a cell in a capsid, to whom its node lets
// it reach by that name (EnvNode). A nil o
// means defaults. ctx bounds connecting and shaking hands, which take
// Options.HandshakeTimeout at most; it does not concern the connection
// afterwards.
//
// Errors: ErrName, ErrDir, ErrNoListener, ErrRefused (errors.As to
// *RefusedError says who refused and why), link.ErrPeerGone if the listener
// (or the node) died meanwhile, or the context's.
func Dial(ctx context.Context, name string, o *Options) (*Conn, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	if n, err := viaNode(o); n != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return patiently(ctx, s.WaitForListener, func() (*Conn, error) { return dialNode(ctx, n, s.brokered(o), name) })
	}
	if err := tooManyLeft(); err != nil {
		return nil, err
	}
	d, path, err := locate(s, name)
	if err != nil {
		return nil, err
	}
	return patiently(ctx, s.WaitForListener, func() (*Conn, error) { return dialOnce(ctx, s, d, path, name) })
}

func dialOnce(ctx context.Context, s *Options, d, path, name string) (*Conn, error) {
	dir, err := openDir(d, false)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w as %q: there is no directory %s; start the service, or set %s as it does", ErrNoListener, name, d, EnvDir)
	}
	if err != nil {
		return nil, err
	}
	dir.close()
	ctx, cancel := context.WithTimeoutCause(ctx, s.HandshakeTimeout,
		fmt.Errorf("no connection within %v (Options.HandshakeTimeout): %w", s.HandshakeTimeout, context.DeadlineExceeded))
	defer cancel()
	c, path, err := connectAny(ctx, d, path, name)
	if err != nil {
		return nil, err
	}
	return overSocket(ctx, c, s, path, ringFDs, request)
}

// remoteDir is the folder of a runtime directory in which a node has sockets for
// names that other hosts serve: see package node/network.
const remoteDir = "remote"

// connectAny connects to the listener of name on this host, or, where nobody
// listens, to the node, if another host serves the name. It returns to which path.
func connectAny(ctx context.Context, d, path, name string) (*net.UnixConn, string, error) {
	c, err := connect(ctx, path, name)
	if !errors.Is(err, ErrNoListener) {
		return c, path, err
	}
	remote, nameErr := socketPath(d+"/"+remoteDir, name)
	if nameErr != nil {
		return nil, "", err
	}
	dir, dirErr := openDir(d+"/"+remoteDir, false)
	if dirErr != nil {
		return nil, "", err
	}
	dir.close()
	if _, statErr := os.Lstat(remote); errors.Is(statErr, unix.ENOENT) {
		return nil, "", err // no other host is known to serve the name
	}
	c, remoteErr := connect(ctx, remote, name)
	if errors.Is(remoteErr, ErrNoListener) {
		remoteErr = fmt.Errorf("%w as %q on this host, and the node that knew of it on another died and left %s; start the node again", ErrNoListener, name, remote)
	}
	return c, remote, remoteErr
}

const (
	dialPace    = time.Millisecond
	dialPaceMax = 20 * time.Millisecond
)

// connect waits, within ctx, for a place in the listener's queue: where TCP
// would, a unix socket says EAGAIN.
func connect(ctx context.Context, path, name string) (*net.UnixConn, error) {
	var d net.Dialer
	for pace := dialPace; ; pace = min(2*pace, dialPaceMax) {
		c, err := d.DialContext(ctx, "unix", path)
		switch {
		case err == nil:
			return c.(*net.UnixConn), nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("uds: dialing %q: %w", name, context.Cause(ctx))
		case errors.Is(err, os.ErrDeadlineExceeded): // the socket's clock may be just ahead of the context's
			return nil, fmt.Errorf("uds: dialing %q: %w (%w)", name, err, context.DeadlineExceeded)
		case errors.Is(err, unix.ENOENT):
			return nil, fmt.Errorf("%w as %q: there is no %s; start the service, or set %s as it does", ErrNoListener, name, path, EnvDir)
		case errors.Is(err, unix.ECONNREFUSED):
			return nil, fmt.Errorf("%w as %q: %s was left behind by a process that died; start the service again", ErrNoListener, name, path)
		case errors.Is(err, unix.EACCES):
			return nil, fmt.Errorf("uds: no permission to connect to %s: %w; run as the listener's user, or have it let yours in: a node's cell by users in its configuration, another listener by its Options.Mode and Policy", path, err)
		case !errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("uds: dialing %q: %w", name, err)
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return nil, fmt.Errorf("uds: dialing %q, whose queue is full: %w", name, context.Cause(ctx))
		}
	}
}
