package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// open listens for callers of the cell.
func (c *cell) open() (err error) {
	if err := c.letsIn(); err != nil {
		return err
	}
	c.gate, err = uds.Open(c.name, &uds.Options{Dir: c.node.dir, Policy: c.admit, Mode: c.mode()}, c.join)
	return err
}

// letsIn checks that other users get as far as the socket, if they may call.
func (c *cell) letsIn() error {
	others := func(u uint32) bool { return u != 0 && int(u) != os.Geteuid() }
	if !slices.ContainsFunc(c.config.Users, others) {
		return nil
	}
	st, err := os.Stat(c.node.dir)
	if err != nil {
		return err
	}
	if m := st.Mode().Perm(); m&0o001 == 0 {
		return fmt.Errorf("%w: cells.%s.users can't call: the runtime directory %s has mode %04o, which lets no other user in; chmod 711 %s (under systemd RuntimeDirectoryMode=0711)", config.ErrConfig, c.name, c.node.dir, m, c.node.dir)
	}
	return nil
}

// mode is the permission of the socket: for other users, if those may call.
func (c *cell) mode() os.FileMode {
	if len(c.config.Users) > 0 {
		return 0o666
	}
	return 0o600
}

// admit decides which process outside may call, and have the cell started by
// calling.
func (c *cell) admit(p link.Peer) error {
	c.mu.Lock()
	users := c.config.Users
	c.mu.Unlock()
	if p.UID == 0 || int(p.UID) == os.Geteuid() || slices.Contains(users, p.UID) {
		return nil
	}
	c.node.audit.refused(fmt.Sprintf("user %d, %s", p.UID, c.name), who(p), c.name, "the user may not call it")
	return fmt.Errorf("user %d may not call %s; cells.%s.users in the node's configuration says who may (now %v)", p.UID, c.name, c.name, users)
}

// join connects a caller with a process of the current version, which is
// started if need be. Callers of a cell of several versions are served by the
// front: only a call says for which it was made. It owns conn.
func (c *cell) join(ctx context.Context, conn *net.UnixConn, peer link.Peer) {
	c.mu.Lock()
	v, f := c.versions[len(c.versions)-1], c.front
	if len(c.versions) == 1 {
		f = nil
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(v.config.ReadyTimeout))
	defer cancel()
	if f != nil {
		c.serveBy(ctx, f, conn)
		return
	}
	for {
		i, err := c.ensure(ctx, v, who(peer), "it was called")
		if errors.Is(err, errReplaced) {
			v = c.current()
			continue
		}
		if err == nil {
			v.used.Store(time.Now().UnixNano())
			i.callers.Add(1) // until the next look says how many there are
			if err = i.broker.Offer(ctx, conn, peer, c.name); err == nil {
				return
			}
			if errors.Is(err, uds.ErrNoListener) && i.vanishes(ctx) {
				continue // there is another, or will be
			}
		}
		if !c.node.network.Take(ctx, c.name, conn, peer) {
			refuse(conn, peer, c.name, err)
		}
		return
	}
}

// refuse tells a caller why it comes to nothing.
func refuse(conn *net.UnixConn, peer link.Peer, name string, why error) {
	var refused *uds.RefusedError // it has a status of its own
	if !errors.As(why, &refused) {
		why = fmt.Errorf("%w: %w", statusFor(why), why)
	}
	b := uds.NewBroker(uds.BrokerOptions{Reach: func(context.Context, link.Peer, string) error { return why }})
	defer b.Close()
	_ = b.Forward(context.Background(), conn, peer, name)
}

// serveBy serves a caller by the front.
func (c *cell) serveBy(ctx context.Context, f *front, conn *net.UnixConn) {
	l, err := uds.Server(ctx, conn, &uds.Options{Policy: uds.AnyUser}) // the gate, or broker, has looked
	if err != nil {
		return
	}
	if err := f.server.Serve(c.node.engine, l); err != nil {
		c.say("a caller is turned away: %v", err)
		_ = l.Close()
	}
}

// broker is a process's one way out: it may serve the cell's name, and reach
// those cells of the node that the configuration lets it.
func (c *cell) broker(i *instance) *uds.Broker {
	return uds.NewBroker(uds.BrokerOptions{
		Serve: func(_ link.Peer, name string) error {
			if name != c.name {
				return fmt.Errorf("%w: this cell is configured as %q and may not serve %q", wire.StatusPermissionDenied, c.name, name)
			}
			return nil
		},
		Reach: func(_ context.Context, peer link.Peer, name string) error {
			if name == c.name || peer.ID != c.name {
				return nil // led here by the node
			}
			return c.mayReach(name)
		},
		Outside: func(ctx context.Context, name string) (*net.UnixConn, error) { return c.reach(ctx, i, name) },
		Show:    func(link.Peer) (*os.File, error) { return i.show() },
	})
}

// mayReach decides whether the cell may call a name.
func (c *cell) mayReach(name string) error {
	c.mu.Lock()
	allowed := c.config.Reach
	c.mu.Unlock()
	_, err := c.node.find(name)
	here := err == nil || c.node.device(name) != nil
	err = reachable(c.name, name, allowed, here, c.node.network.Serves(name))
	if err != nil && len(allowed) > 0 {
		c.node.audit.refused(c.name, c.name, name, "it is not in its reach")
	}
	return err
}

// reachable says why a cell may not call a name: one of this node (here), or one
// that other nodes serve (elsewhere). A cell that says nothing of its reach may
// call what is on its own node.
func reachable(cell, name string, allowed []string, here, elsewhere bool) error {
	switch {
	case slices.Contains(allowed, name), len(allowed) == 0 && here:
		return nil
	case len(allowed) > 0:
		return fmt.Errorf("%w: %s may not call %q, which is not in cells.%s.reach", wire.StatusPermissionDenied, cell, name, cell)
	case elsewhere:
		return fmt.Errorf("%w: %q is served by other nodes alone, which a cell may call only if it says so; name it in cells.%s.reach", wire.StatusPermissionDenied, name, cell)
	}
	return fmt.Errorf("%w: %q is no cell of this node; name it in cells.%s.reach to let %s call it", wire.StatusNotFound, name, cell, cell)
}

// mostLed bounds the connections of one process that wait for whom they are led
// to: each costs the node descriptors meanwhile.
const mostLed = 64

// reach connects one of the cell's processes to another cell of the node, or,
// by a name that is none, to a process outside.
func (c *cell) reach(ctx context.Context, i *instance, name string) (*net.UnixConn, error) {
	target, err := c.node.find(name)
	if errors.Is(err, ErrUnknown) {
		return uds.DialSocket(ctx, name, &uds.Options{Dir: c.node.dir})
	}
	if err != nil {
		return nil, err
	}
	if led := i.led.Add(1); led > mostLed {
		i.led.Add(-1)
		return nil, fmt.Errorf("%w: %d connections of %v are being led to others, the node's limit for one process", wire.StatusResourceExhausted, mostLed, i)
	}
	near, far, err := pair()
	if err != nil {
		i.led.Add(-1)
		return nil, err
	}
	caller := link.Peer{PID: i.process.PID(), UID: i.process.UID(), ID: c.name, Addr: c.name}
	// Whoever serves shakes hands when it gets there, so the caller is not kept.
	c.node.work.Go(func() {
		defer i.led.Add(-1)
		target.join(c.node.ctx, far, caller)
	})
	return near, nil
}

// pair makes two sockets that are connected to each other.
func pair() (a, b *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	ends := [2]*net.UnixConn{}
	for n, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		conn, connErr := net.FileConn(f)
		_ = f.Close() // conn has a descriptor of its own
		if connErr != nil {
			err = errors.Join(err, connErr)
			continue
		}
		ends[n] = conn.(*net.UnixConn)
	}
	if err != nil {
		for _, end := range ends {
			if end != nil {
				_ = end.Close()
			}
		}
		return nil, nil, err
	}
	return ends[0], ends[1], nil
}

// who names a caller for the audit.
func who(p link.Peer) string {
	if p.ID != "" {
		return fmt.Sprintf("%s, process %d", p.ID, p.PID)
	}
	return fmt.Sprintf("user %d, process %d", p.UID, p.PID)
}

// statusFor is the status that callers are told for an error of starting.
func statusFor(err error) wire.Status {
	switch {
	case errors.Is(err, ErrCeiling):
		return wire.StatusResourceExhausted
	case errors.Is(err, ErrFailed):
		return wire.StatusFailedPrecondition
	case errors.Is(err, ErrStopping):
		return wire.StatusDraining
	}
	return wire.StatusUnavailable
}
