package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// requestTime is how long a process may take to ask.
	requestTime = 2 * time.Second
	// asking is how many may ask at once, beside those that have a queue.
	asking = 32
	// lookPace is how often the program is looked after.
	lookPace = time.Second
)

var (
	// ErrInUse: another broker listens there, or something that is no socket
	// has the name.
	ErrInUse = errors.New("broker: the socket's name is taken")
	// ErrDetached: somebody has detached the program, or removed the interface.
	ErrDetached = errors.New("broker: the program is not attached any more")
)

// Listen makes the unix socket on which [Broker.Run] serves, with the given
// permissions: who may write to it may ask, and Options.Allow decides. What a
// dead broker has left behind under the name is replaced.
//
// Errors: [ErrInUse], and what the kernel says.
func Listen(path string, mode fs.FileMode) (*net.UnixListener, error) {
	address := &net.UnixAddr{Name: path, Net: "unixpacket"}
	l, err := net.ListenUnix(address.Net, address)
	if errors.Is(err, unix.EADDRINUSE) {
		if err := clear(path, address); err != nil {
			return nil, err
		}
		l, err = net.ListenUnix(address.Net, address)
	}
	if err != nil {
		return nil, fmt.Errorf("broker: listening on %s: %w", path, err)
	}
	// Until here the umask has kept others out.
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: %w", err), l.Close())
	}
	return l, nil
}

// clear removes the socket of a process that is dead.
func clear(path string, address *net.UnixAddr) error {
	i, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if i.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w: %s is no socket; choose another name", ErrInUse, path)
	}
	c, err := net.DialUnix(address.Net, nil, address)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("%w: somebody listens on %s (ss -xlp shows who)", ErrInUse, path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w: %s: %w", ErrInUse, path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("broker: removing what a dead process left: %w", err)
	}
	return nil
}

// Run serves whoever connects to l, which it closes, until ctx ends, and then
// returns nil. report, if not nil, hears of each process that got nothing; it may
// be called by several goroutines. Sockets belong to the network namespace of the
// calling thread: lock the goroutine to it where threads differ.
//
// Errors: [ErrDetached], after which everybody's queue is dead.
func (b *Broker) Run(ctx context.Context, l *net.UnixListener, report func(error)) error {
	r := runner{Broker: b, report: report, jobs: make(chan func()), places: make(chan struct{}, len(b.options.Queues)+asking)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.work.Go(func() { r.accept(l) })
	defer func() {
		r.cancel()
		_ = l.Close() // it ends accept; what could be left of it is a name
		r.work.Wait()
	}()
	look := time.NewTicker(lookPace)
	defer look.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return nil
		case job := <-r.jobs:
			job()
		case <-look.C:
			if there, err := b.redirect.Attached(); err == nil && !there {
				return ErrDetached
			}
		}
	}
}

// runner is a broker at work.
type runner struct {
	*Broker
	ctx    context.Context
	cancel func()
	report func(error)
	jobs   chan func() // for the goroutine of Run
	places chan struct{}
	work   sync.WaitGroup
}

func (r *runner) accept(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(requestTime / 100) // out of descriptors, or the like
			continue
		}
		select {
		case r.places <- struct{}{}:
			r.work.Go(func() { r.attend(c) })
		default:
			r.say(errors.Join(errors.New("broker: too many ask at once"), refuse(c, 0, "too many ask at once; try again"), c.Close()))
		}
	}
}

// attend serves one connection.
func (r *runner) attend(c *net.UnixConn) {
	stop := context.AfterFunc(r.ctx, func() { _ = c.Close() })
	err := r.serve(c, r.inRun)
	stop()
	_ = c.Close() // it may be closed already
	<-r.places
	if r.ctx.Err() == nil {
		r.say(err)
	}
}

func (r *runner) say(err error) {
	if err != nil && r.report != nil {
		r.report(err)
	}
}

// inRun does f on the goroutine of Run.
func (r *runner) inRun(f func() error) error {
	done := make(chan error, 1)
	select {
	case r.jobs <- func() { done <- f() }:
		return <-done
	case <-r.ctx.Done():
		return net.ErrClosed
	}
}
